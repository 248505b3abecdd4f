"""What is on this machine, read from proc, sys and dev: lines, buses, ports, sensors, cameras. Nothing is moved.

Whatever a right is missing for is in `unseen` with its remedy. How it is said is in `probe`. Source: the kernel's
Documentation/ABI/testing/{gpio-cdev,sysfs-gpio}, Documentation/driver-api/pin-control.rst (debugfs: `pins`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knoop_hw import chips, rights, source
from knoop_hw.chips import Chip
from knoop_hw.errors import DeviceError
from knoop_hw.kernel.buses import Bus, buses, in_order, text_of
from knoop_hw.kernel.functions import LAST_LINE, TREE, Function, functions, set_by_card
from knoop_hw.kernel.ports import SerialPort, serial_ports
from knoop_hw.kernel.sensed import Camera, Sensed, cameras, sensors
from knoop_hw.pins import BOARD

_DEBUG = Path("sys/kernel/debug")
GPIO = "GPIO lines"  # as `unseen` calls them where no chip could be asked
LEVELS = "levels"  # as it calls what the lines show


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that node.toml can name: `GPIO17`, its position on the 40-pin header (None on a board without one), and
    what the kernel calls it.

    `state` is `unknown` where no right let us look. `function`: I²C and others that have it. `level` only where it
    could be read without asking for the line, which would change one that has a function.
    """

    name: str
    position: int | None
    called: str = ""
    state: Literal["free", "used", "unknown"] = "unknown"
    consumer: str = ""
    direction: Literal["input", "output", ""] = ""
    level: bool | None = None
    function: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """What could not be looked at, why, and what to do."""

    what: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All of it. `lines` are those of `chip` (its name), empty on a machine that has none for node.toml.

    `by_card`: buses are switched on by knoop.toml (`functions.set_by_card`).
    """

    board: str = ""
    kernel: str = ""
    chips: tuple[Chip, ...] = ()
    chip: str = ""
    lines: tuple[Line, ...] = ()
    buses: tuple[Bus, ...] = ()
    serial: tuple[SerialPort, ...] = ()
    sensors: tuple[Sensed, ...] = ()
    cameras: tuple[Camera, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    drivers: tuple[str, ...] = ()
    by_card: bool = False


Look = Callable[[], Sequence[tuple[Chip, tuple[chips.Line, ...]]]]
"""Every chip with its lines, as the kernel describes them. Raises DeviceError."""


def every_chip() -> list[tuple[Chip, tuple[chips.Line, ...]]]:
    """This machine's; a chip that is not for us has no lines here. Raises DeviceError."""
    return [(chip, () if chip.closed else chips.lines(chip)) for chip in chips.here()]


def machine(
    root: Path = Path("/"), *, look: Look = every_chip, chip: str | None = None, values: bool = False
) -> Found:
    """What can be found below `root`; never fails. Paths in the result begin with `/`.

    `look` asks the chips, which no files can stand in for; `chip` is which of them has the lines, as `[board] chip`.
    `values`: of the kernel's sensors, too.
    """
    unseen: list[Unseen] = []
    told, model = _told(look, unseen), board(root)
    name, lines = _lines(root, told, unseen, chip, pi="raspberry pi" in model.lower())
    ports = serial_ports(root)
    there = buses(root)
    unseen += _shut(root, [*(bus.device for bus in there if not bus.usable and bus.device),
                           *(str(port.device) for port in ports if not (port.usable or port.console))])  # fmt: skip
    return Found(
        board=model, kernel=kernel(root), chips=tuple(told), chip=name,
        lines=lines, buses=there, serial=ports,
        sensors=sensors(root, values=values), cameras=cameras(root), unseen=tuple(unseen), drivers=source.names(),
        by_card=set_by_card(root),
    )


def board(root: Path = Path("/")) -> str:
    """The board's own name; on a PC what its maker wrote into the firmware."""
    dmi = root / "sys/class/dmi/id"
    return text_of(root / TREE / "model") or f"{text_of(dmi / 'sys_vendor')} {text_of(dmi / 'product_name')}".strip()


def kernel(root: Path = Path("/")) -> str:
    """The kernel's release."""
    return text_of(root / "proc/sys/kernel/osrelease")


def _told(look: Look, unseen: list[Unseen]) -> dict[Chip, tuple[chips.Line, ...]]:
    try:
        told = dict(look())
    except DeviceError as error:
        told = {}
        unseen.append(_missed(str(error).removeprefix("board: ")))
    closed = [chip.closed for chip in told if chip.closed]
    unseen += [_missed(why) for why in closed[:1]]  # they are all closed for one reason
    return told


def levels_unseen(*names: str) -> Unseen:
    """That the levels of lines were not read, and how to see those of these."""
    return Unseen(
        what=LEVELS, why="only root reads them without asking for a line, which may change it",
        remedy=f"sudo knoop probe; or as inputs: knoop probe --watch {' '.join(names)}",
    )  # fmt: skip


def _missed(sentence: str) -> Unseen:
    why, _, remedy = sentence.partition("; ")
    return Unseen(what=GPIO, why=why, remedy=remedy or "see what `gpioinfo` says")


def _lines(
    root: Path, told: Mapping[Chip, tuple[chips.Line, ...]], unseen: list[Unseen], wanted: str | None,
    *, pi: bool,
) -> tuple[str, tuple[Line, ...]]:
    """The chip that node.toml's lines are on, and those lines; on a Raspberry Pi also where we may not ask the chip."""
    try:
        chip = chips.choose([*told], wanted)
    except DeviceError:
        chip = Chip(path="")
    pi = pi or chip.label in chips.HEADERS
    if not pi and not chip.path:
        return "", ()
    held, muxed = functions(root), _muxed(root)
    if not rights.may(root / _DEBUG):
        unseen.append(levels_unseen("GPIO17"))
    positions = {number: position for position, number in BOARD.items()} if pi else {}
    made = []
    for number in range(LAST_LINE + 1):
        line = chips.line_of(f"GPIO{number}", told.get(chip, ()))
        if line is not None or pi:
            made.append(_line(number, positions.get(number), line, held, muxed.get(number, ("", None))))
    return chip.name, tuple(made)


def _line(
    number: int, position: int | None, line: chips.Line | None, held: Mapping[str, Function],
    muxed: tuple[str, bool | None],
) -> Line:  # fmt: skip
    name, (function, level) = f"GPIO{number}", muxed
    owner = str(held[name]) if name in held else "" if function.startswith("gpio_") else function
    return Line(
        name=name, position=position, called=line.name if line else "", function=owner, level=level,
        state="unknown" if line is None else "used" if line.used else "free",
        consumer=line.consumer if line else "", direction=_direction(line, owner, function),
    )  # fmt: skip


def _direction(line: chips.Line | None, owner: str, function: str) -> Literal["input", "output", ""]:
    if function in {"gpio_in", "gpio_out"}:
        return "input" if function == "gpio_in" else "output"
    return "" if line is None or owner else line.direction  # of a line with a function it says nothing


def _muxed(root: Path) -> dict[int, tuple[str, bool | None]]:
    """Line → function and level, from debugfs: root only. `pin 17 (gpio17) function gpio_in in hi; irq 0 (none)`."""
    found: dict[int, tuple[str, bool | None]] = {}
    for file in in_order((root / _DEBUG / "pinctrl").glob("*/pins")) if rights.may(root / _DEBUG) else ():
        for match in re.finditer(r"^pin \d+ \(gpio(\d+)\).* function (\w+) in (hi|lo);", text_of(file), re.MULTILINE):
            found.setdefault(int(match[1]), (match[2], match[3] == "hi"))
    return found


def _shut(root: Path, devices: Iterable[str]) -> Iterator[Unseen]:
    """Devices that are there and not for us, those of one remedy together."""
    by_remedy: dict[str, list[str]] = {}
    for device in devices:
        path = root / device.lstrip("/")
        if path.exists():
            by_remedy.setdefault(rights.remedy(path), []).append(device)
    for remedy, names in by_remedy.items():
        yield Unseen(what=", ".join(names), why=f"{rights.us()} may not open {'it' if len(names) == 1 else 'them'}",
                     remedy=remedy)  # fmt: skip
