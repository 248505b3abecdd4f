"""Before a line is opened: whatever would not go, all at once, in sentences that say what to do.

Nothing is requested and nothing moves; what can only be found out by doing is left to `lines`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from knoop_hw import chips
from knoop_hw.chips import Chip, Line
from knoop_hw.errors import DeviceError
from knoop_hw.kernel.functions import CONFIG_TXT, Function, functions, set_by_card
from knoop_hw.pwm import KernelPwm
from knoop_hw.tables import Config, Input, Output

# What switches a function of the board on, in its config.txt (Raspberry Pi's documentation, "config.txt").
_SWITCH = {
    "I²C": "dtparam=i2c_arm=on", "SPI": "dtparam=spi=on", "UART": "enable_uart=1", "1-Wire": "dtoverlay=w1-gpio",
    "PWM": "dtoverlay=pwm", "I²S": "dtparam=i2s=on", "sound": "dtoverlay=audremap",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is known of this machine before anything is opened: its chip, that chip's lines, the board's functions.

    `by_card`: what is switched on is what knoop.toml says (`functions.set_by_card`).
    """

    chip: Chip
    lines: Sequence[Line]
    functions: Mapping[str, Function]
    pwm: KernelPwm = field(default_factory=KernelPwm)
    by_card: bool = False


def look(chip: str | None, root: Path = Path("/")) -> Machine:
    """This machine, with the chip that `[board] chip` names. Raises DeviceError where there is none for us."""
    chosen = chips.choose(chips.here(root / "dev"), chip)
    return Machine(chip=chosen, lines=chips.lines(chosen), functions=functions(root), pwm=KernelPwm(root),
                   by_card=set_by_card(root))


def preflight(config: Config, machine: Machine, *, held: Collection[str] = ()) -> None:
    """Raise DeviceError with a sentence for each line that would not open. `held`: lines that we have already."""
    problems = [
        f"{place}: {problem}"
        for place, line in _wanted(config)
        if (problem := _problem(line, machine, driver=config.board.driver, held=held))
    ]
    if problems:
        raise DeviceError("\n".join(problems))


def _wanted(config: Config) -> Iterator[tuple[str, Input | Output]]:
    for output in config.outputs:
        yield f"output.{output.name}", output
    for line in config.inputs:
        yield f"input.{line.name}", line


def _problem(wanted: Input | Output, machine: Machine, *, driver: str, held: Collection[str]) -> str:
    pin = wanted.pin
    if wanted.kind == "pwm" and driver == "gpiod":  # the line is the kernel's own and must not be asked for
        return _without_pulses(pin, machine)
    return trouble(pin, machine, held=held)


def trouble(pin: str, machine: Machine, *, held: Collection[str] = ()) -> str:
    """Why this line would not open, and what to do; "" where it would."""
    line = chips.line_of(pin, machine.lines)
    if line is None:
        last = len(machine.lines) - 1
        return f"{machine.chip} has no line {pin}, only GPIO0 to GPIO{last}; take one of those, or set [board] chip"
    function = machine.functions.get(pin)
    if function is not None:
        return f"{pin} belongs to the board's {function}; take another line, or {_off(function, machine)}"
    if line.used and pin not in held:
        return f"{pin} is in use by '{line.consumer or 'another driver'}'; end that, or take another line"
    return ""


def _without_pulses(pin: str, machine: Machine) -> str:
    try:
        machine.pwm.find(pin, machine.functions)
    except DeviceError as error:
        return str(error)
    return ""


def _off(function: Function, machine: Machine) -> str:
    if machine.by_card:
        return "take what has it out of knoop.toml ([board] buses, or an output of the kind pwm) and start again"
    setting = _SWITCH.get(function.kind)
    if setting is None:
        return f"switch that off in {CONFIG_TXT}"
    return f"switch that off: take {setting} out of {CONFIG_TXT}, then restart"
