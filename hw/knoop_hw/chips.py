"""The GPIO chips of this machine: which one's lines come to the header, what each line is called, who has it.

Labels are those of the kernel's drivers (pinctrl-bcm2835.c, pinctrl-rp1.c); lines are counted as on Raspberry Pi's
header: line n of the chip is GPIOn, unless a line of that name is elsewhere on it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from knoop_hw import rights
from knoop_hw.errors import DeviceError

# Zero to 3 and Zero 2 W; 4, 400 and CM4; 5, 500 and CM5, whose chip is gpiochip0 or gpiochip4 depending on the kernel.
HEADERS = frozenset({"pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"})
SIMULATED = 'or try without lines: [board] driver = "simulated"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A GPIO chip. `closed` says why it does not open and what to do; then only `path` is known."""

    path: str
    label: str = ""
    size: int = 0
    closed: str = ""

    @property
    def name(self) -> str:
        """`gpiochip0`."""
        return Path(self.path).name

    def __str__(self) -> str:
        return f"{self.name} ({self.label})" if self.label else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line as the kernel describes it: `consumer` is who has it, if `used`."""

    number: int
    name: str = ""
    used: bool = False
    consumer: str = ""
    direction: Literal["input", "output"] = "input"


def gpiod() -> Any:
    """The library. Raises DeviceError where it is not installed."""
    try:
        import gpiod as library  # noqa: PLC0415 -- 0.8 MB that a board without lines does not need
    except ImportError:
        text = f"board: the Python package gpiod is not installed; `pip install gpiod`, {SIMULATED}"
        raise DeviceError(text) from None
    return library


def here(devices: Path = Path("/dev")) -> tuple[Chip, ...]:
    """Every chip, each once: a link to a chip is that chip. Raises DeviceError without the library."""
    library = gpiod()
    found = sorted(path for path in devices.glob("gpiochip*") if not path.is_symlink())
    return tuple(_described(library, path) for path in found)


def _described(library: Any, path: Path) -> Chip:
    try:
        with library.Chip(str(path)) as chip:
            info = chip.get_info()
            return Chip(path=str(path), label=info.label, size=info.num_lines)
    except OSError as error:
        return Chip(path=str(path), closed=_why(path, error))


def _why(path: Path, error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{rights.us()} may not open {path}; {rights.remedy(path)}"
    return f"{path} does not open ({error.strerror or error})"


def lines(chip: Chip) -> tuple[Line, ...]:
    """What the kernel says of each line; nothing is requested. Raises DeviceError."""
    library = gpiod()
    try:
        with library.Chip(chip.path) as opened:
            infos = [opened.get_line_info(number) for number in range(chip.size)]
    except OSError as error:
        raise DeviceError(f"board: {_why(Path(chip.path), error)}") from None
    output = library.line.Direction.OUTPUT
    return tuple(
        Line(number=info.offset, name=info.name or "", used=info.used, consumer=info.consumer or "",
             direction="output" if info.direction == output else "input")
        for info in infos
    )  # fmt: skip


def choose(chips: Sequence[Chip], wanted: str | None = None) -> Chip:
    """The chip of `[board] chip` (its path, name or label), else the header's, else the only one.

    Raises DeviceError that says what there is and what to do.
    """
    if wanted is not None:
        return _named(chips, wanted)
    headers = [chip for chip in chips if chip.label in HEADERS]
    if len(headers) == 1:
        return headers[0]
    closed = [chip.closed for chip in chips if chip.closed]
    if closed:
        raise DeviceError("\n".join(f"board: {why}" for why in closed))
    if not chips:
        raise DeviceError(f"board: this machine has no GPIO chip (/dev/gpiochip*); run on one that has, {SIMULATED}")
    if len(chips) == 1:
        return chips[0]
    text = f'board: which of these has the lines? {_listed(chips)}; name it: [board] chip = "{chips[0].name}"'
    raise DeviceError(text)


def _named(chips: Sequence[Chip], wanted: str) -> Chip:
    path = str(Path(wanted).resolve())  # a link to a chip, as /dev/gpiochip4 on a Raspberry Pi 5
    by_name = [chip for chip in chips if chip.name == wanted or (wanted.startswith("/") and chip.path == path)]
    found = by_name or [chip for chip in chips if chip.label == wanted]
    if len(found) != 1:
        there = f"there is {_listed(chips)}" if chips else "there is none"
        raise DeviceError(f"board: chip: '{wanted}' is not one chip of this machine; {there}")
    if found[0].closed:
        raise DeviceError(f"board: {found[0].closed}")
    return found[0]


def _listed(chips: Iterable[Chip]) -> str:
    return ", ".join(str(chip) for chip in chips)


def line_of(pin: str, lines: Sequence[Line]) -> Line | None:
    """The line that is `GPIO17`: the one of that name, else the seventeenth; None where there is neither."""
    number = int(pin.removeprefix("GPIO"))
    named = (line for line in lines if line.name == pin)
    return next(named, lines[number] if number < len(lines) else None)
