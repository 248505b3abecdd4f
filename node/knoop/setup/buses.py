"""What config.txt must say for the buses that node.toml names, on Knoop's own image: its overlays, no others. Pure.

The result is the file that config.txt includes as knoop-buses.txt. Debian's device trees have no parameters, so that
`dtparam=i2c_arm=on` and its like do nothing there (docs/adr/0046). I²C and the console's serial lines are on in them:
they go off only for a node that has one of their lines itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from knoop_hw import bus

FILE = "knoop-buses.txt"
# The kernel's command line without a console on the header's serial lines; it lies beside cmdline.txt.
NO_CONSOLE = "cmdline=cmdline-uart.txt"
# The alternative of each line that brings the PWM there (BCM2835 ARM Peripherals, 6.2), and its channel.
PULSES = {"GPIO12": (4, 0), "GPIO13": (4, 1), "GPIO18": (2, 0), "GPIO19": (2, 1)}
_HEAD = "# Written by knoop-setup from [board] buses in knoop.toml: edit that file, this one is made anew."


def config_txt(buses: Iterable[str], *, pulses: Sequence[str] = (), lines: Collection[str] = ()) -> str:
    """The whole file. `pulses`: pins of outputs of the kind pwm; `lines`: pins of all other outputs and of inputs.

    Raises ValueError, a sentence for each thing wrong, where a configuration that knoop.config took can still not be
    had here.
    """
    there = [bus.named(text) for text in buses]
    problems = [problem for _, problem in bus.clashes(there)]
    problems += _too_many([one.text for one in there if one.kind == "w1"])
    problems += _twins([one for one in there if one.kind == "chip"])
    problems += _one_channel(pulses)
    if problems:
        raise ValueError("\n".join(problems))
    said = [line for one in there for line in _bus(one)]
    kinds = {one.kind for one in there}
    taken = {*lines, *(line for one in there for line in one.lines)}
    if "i2c" not in kinds and taken & {*bus.LINES["i2c"]}:
        said.append("dtoverlay=knoop-i2c-off")
    if "uart" not in kinds and taken & {*bus.LINES["uart"]}:
        said += ["dtoverlay=knoop-uart-off", NO_CONSOLE]
    return "".join(f"{line}\n" for line in (_HEAD, *said, *_pulses(pulses)))


def _bus(one: bus.Bus) -> Iterator[str]:
    if one.kind == "i2c":
        yield f"dtoverlay=knoop-i2c,speed={one.speed_khz * 1000}"
    elif one.kind == "chip":
        at = f",addr={one.address:#04x}" if one.address != bus.CHIPS[one.chip][1] else ""
        yield f"dtoverlay=knoop-{one.chip}{at}"
    elif one.kind == "spi":
        yield "dtoverlay=knoop-spi"
    elif one.kind == "uart":
        yield from ("dtoverlay=knoop-uart", NO_CONSOLE)
    else:
        pull = ",pull=2" if one.pullup else ""
        yield f"dtoverlay=knoop-w1,gpiopin={_number(one.lines[0])}{pull}"


def _pulses(pins: Sequence[str]) -> Iterator[str]:
    said = [(_number(pin), PULSES[pin][0]) for pin in sorted(pins, key=lambda pin: PULSES[pin][1])]
    if len(said) == 1:
        yield f"dtoverlay=knoop-pwm,pin={said[0][0]},func={said[0][1]}"
    elif said:
        (pin, function), (pin2, function2) = said
        yield f"dtoverlay=knoop-pwm-2chan,pin={pin},func={function},pin2={pin2},func2={function2}"


def _too_many(onewires: Sequence[str]) -> Iterator[str]:
    if len(onewires) > 1:
        yield f"{' and '.join(onewires)}: the image has one 1-Wire bus, which takes many sensors; join their wires"


def _twins(chips: Sequence[bus.Bus]) -> Iterator[str]:
    taken: dict[str, str] = {}
    for one in chips:
        if (other := taken.setdefault(one.chip, one.text)) != one.text:
            yield f"{other} and {one.text}: the image takes one chip of a kind; leave one of them out"


def _one_channel(pins: Sequence[str]) -> Iterator[str]:
    taken: dict[int, str] = {}
    for pin in pins:
        if pin not in PULSES:
            yield f"{pin} has no pulses of the kernel's; take one of {', '.join(PULSES)}"
        elif (other := taken.setdefault(PULSES[pin][1], pin)) != pin:
            free = " or ".join(line for line, (_, channel) in PULSES.items() if channel != PULSES[pin][1])
            yield f"{pin} shows the same pulses as {other}; take {free}"


def _number(pin: str) -> int:
    return int(pin.removeprefix("GPIO"))
