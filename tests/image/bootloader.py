"""What a Raspberry Pi's firmware does with the FAT partition: config.txt, kernel, initramfs, device tree, overlays.

QEMU skips it all, so this plays it: by Raspberry Pi's documentation of config.txt (filters, `include`, `initramfs`,
`os_prefix`, `overlay_prefix`, `upstream_kernel`, `dtoverlay`, `dtparam`) and of device trees (`__overrides__`, of which
numbers of 32 bits are enough here). Overlays are merged by fdtoverlay.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.card import Card

# The boards the image is for: the names of their device trees in the mainline kernel, and the filters they answer to.
BOARDS = {
    "bcm2837-rpi-zero-2-w.dtb": ("pi3", "pi02"), "bcm2837-rpi-3-b.dtb": ("pi3",),
    "bcm2837-rpi-3-b-plus.dtb": ("pi3", "pi3+"), "bcm2837-rpi-3-a-plus.dtb": ("pi3", "pi3+"),
    "bcm2711-rpi-4-b.dtb": ("pi4",), "bcm2711-rpi-400.dtb": ("pi4", "pi400"), "bcm2711-rpi-cm4-io.dtb": ("pi4", "cm4"),
}  # fmt: skip
PI_3B = "bcm2837-rpi-3-b.dtb"
FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
_FILTER = re.compile(r"\[(.*)\]")
_DEEPEST = 8  # files that include one another


@dataclass(frozen=True, slots=True)
class Line:
    """A line of config.txt that says something; `only` are the filters that stand over it."""

    key: str
    value: str
    only: str


@dataclass(slots=True)
class Settings:
    """What config.txt comes to on one board; overlays in order, each with its parameters."""

    values: dict[str, str] = field(default_factory=dict)
    initramfs: str = ""
    overlays: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the kernel is started with."""

    kernel: Path
    initrd: Path
    tree: Path
    command_line: str


def lines(card: Card, name: str = "config.txt", *, depth: int = 0) -> Iterator[Line]:
    """Every line, those of included files in their place. A file that is not there is an AssertionError."""
    assert depth < _DEEPEST, f"{name}: files include one another"
    try:
        text = card.read(name).decode("utf-8")
    except FileNotFoundError:
        raise AssertionError(f"{name} is not on the FAT partition") from None
    only = "all"
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if found := _FILTER.fullmatch(line):
            only = found[1].strip().lower()
        elif line.startswith("include "):
            yield from lines(card, line.split(None, 1)[1], depth=depth + 1)
        elif line.startswith("initramfs "):
            yield Line("initramfs", line.split()[1], only)
        else:
            key, _, value = line.partition("=")
            yield Line(key.strip(), value.strip(), only)


def settings(card: Card, board: str) -> Settings:
    """What holds on a board, which is the name of its device tree."""
    made, of_overlay = Settings(), False
    for line in lines(card):
        if line.only not in ("all", *BOARDS[board]):
            continue
        if line.key == "initramfs":
            made.initramfs = line.value
        elif line.key == "dtoverlay":
            name, _, rest = line.value.partition(",")
            of_overlay = bool(name)
            if name:
                made.overlays.append((name, _parameters(rest)))
        elif line.key == "dtparam":
            (made.overlays[-1][1] if of_overlay else made.parameters).update(_parameters(line.value))
        else:
            made.values[line.key] = line.value
    return made


def named(card: Card) -> frozenset[str]:
    """Every file that config.txt needs on some board of ours, by its name on the FAT partition."""
    found = {"config.txt", *FIRMWARE}
    for board in BOARDS:
        made = settings(card, board)
        found |= {_kernel(made), _initrd(made), _tree(made, board), _command_line(made)}
        found |= {_overlay(made, name) for name, _ in made.overlays}
    for line in lines(card):  # what stands under a filter that is none of our boards'
        if line.key in {"kernel", "initramfs", "device_tree", "cmdline"}:
            found.add(line.value)
        elif line.key == "dtoverlay" and line.value:
            found.add(f"overlays/{line.value.partition(',')[0]}.dtbo")
    return frozenset(found)


def load(card: Card, board: str, folder: Path) -> Loaded:
    """Take out of the FAT partition what this board would start; overlays are merged into the tree."""
    made = settings(card, board)
    folder.mkdir(exist_ok=True)
    return Loaded(
        kernel=card.extract(_kernel(made), folder), initrd=card.extract(_initrd(made), folder),
        tree=merged(card, board, folder), command_line=" ".join(card.text(_command_line(made)).split()),
    )


def merged(card: Card, board: str, folder: Path) -> Path:
    """The device tree that the kernel of this board gets."""
    made = settings(card, board)
    folder.mkdir(exist_ok=True)
    assert not made.parameters, f"dtparam outside of an overlay: {made.parameters}; this plays no firmware that does so"
    base, result = card.extract(_tree(made, board), folder), folder / "merged.dtb"
    overlays = []
    for name, parameters in made.overlays:
        overlay = card.extract(_overlay(made, name), folder)
        for key, value in parameters.items():
            _set(overlay, key, int(value, 0))
        overlays.append(str(overlay))
    if not overlays:
        result.write_bytes(base.read_bytes())
        return result
    done = subprocess.run(
        ["fdtoverlay", "-i", str(base), "-o", str(result), *overlays], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{[name for name, _ in made.overlays]} do not merge with {board}: {done.stderr}"
    return result


def node_of(tree: Path, property_name: str, value: str, *, below: str = "/") -> str | None:
    """The path of the first node with this property, None when there is none; the value as fdtget shows it."""
    if _get(tree, below, property_name) == value:
        return below
    for child in _fdtget("-l", str(tree), below).split():
        if found := node_of(tree, property_name, value, below=f"{below.rstrip('/')}/{child}"):
            return found
    return None


def onewire_line(card: Card, folder: Path) -> int | None:
    """On which line a Raspberry Pi 3B that starts from this card has a 1-Wire bus; None when it has none."""
    tree = merged(card, PI_3B, folder)
    wire = node_of(tree, "compatible", "w1-gpio")
    return None if wire is None else int(_get(tree, wire, "gpios").split()[1])


def _set(overlay: Path, parameter: str, value: int) -> None:
    """Each target of `__overrides__` is a phandle of the overlay and `property:offset`, which ends with a zero byte."""
    raw = bytes(int(byte, 16) for byte in _fdtget("-t", "bx", str(overlay), "/__overrides__", parameter).split())
    assert raw, f"{overlay.name} has no parameter {parameter}"
    while raw:
        phandle, (target, _, raw) = int.from_bytes(raw[:4], "big"), raw[4:].partition(b"\0")
        name, _, offset = target.decode("ascii").partition(":")
        node = node_of(overlay, "phandle", str(phandle))
        assert node and offset, f"{overlay.name}: {parameter} is {target!r} of {phandle}: no number in its own node"
        content = [int(byte, 16) for byte in _fdtget("-t", "bx", str(overlay), node, name).split()]
        content[int(offset) : int(offset) + 4] = value.to_bytes(4, "big")
        subprocess.run(["fdtput", "-t", "bx", str(overlay), node, name, *(f"{byte:x}" for byte in content)], check=True)


def _get(tree: Path, node: str, name: str) -> str:
    return _fdtget("-d", "", str(tree), node, name)


def _fdtget(*arguments: str) -> str:
    return subprocess.run(["fdtget", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _parameters(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in text.split(",") if part)
    return {key: value for key, _, value in parts}


def _prefixed(made: Settings, name: str) -> str:
    return made.values.get("os_prefix", "") + name


def _kernel(made: Settings) -> str:
    return _prefixed(made, made.values.get("kernel", "kernel8.img"))


def _initrd(made: Settings) -> str:
    assert made.initramfs, "config.txt names no initramfs"
    return _prefixed(made, made.initramfs)


def _tree(made: Settings, board: str) -> str:
    """`upstream_kernel=1` makes the firmware look for the mainline kernel's names."""
    if named_tree := made.values.get("device_tree"):
        return _prefixed(made, named_tree)
    assert made.values.get("upstream_kernel") == "1", "config.txt does not say upstream_kernel=1"
    return _prefixed(made, board)


def _command_line(made: Settings) -> str:
    return _prefixed(made, made.values.get("cmdline", "cmdline.txt"))


def _overlay(made: Settings, name: str) -> str:
    return f"{_prefixed(made, made.values.get('overlay_prefix', 'overlays/'))}{name}.dtbo"
