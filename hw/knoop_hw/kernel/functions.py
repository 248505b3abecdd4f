"""Which lines of the header a function of the board has: I²C, SPI, UART, 1-Wire, PWM; from the running device tree.

Everybody may read it, and nothing is opened. Source: the kernel's Documentation/devicetree/bindings/pinctrl
(pinctrl-bindings.txt; brcm,bcm2835-gpio.txt: `brcm,pins`; raspberrypi,rp1-gpio.yaml: `pins` of names like gpio2),
Documentation/ABI/testing/sysfs-firmware-ofw (/proc/device-tree); drivers/base (core.c: `of_node`; dd.c: a device gets
its lines from pinctrl_bind_pins, just before its driver's probe).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knoop_hw import places

TREE = Path("proc/device-tree")
CONFIG_TXT = "/boot/firmware/config.txt"  # where a Raspberry Pi switches them on and off
RP1 = "raspberrypi,rp1-gpio"
LAST_LINE = 27  # of the header; higher ones are the board's own: its SD card, its radio, its lamps
# A node's name before its address (the Devicetree specification 0.4, 2.2.2 "Generic names") → what people call it.
KINDS = {
    "i2c": "I²C", "i2cmux": "I²C", "spi": "SPI", "serial": "UART", "onewire": "1-Wire", "pwm": "PWM", "i2s": "I²S",
    "sound": "sound", "audio": "sound", "mmc": "SD", "mmcnr": "SD", "sdhci": "SD", "dpi": "display",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """What has a line: `kind` in people's words, `name` as the device tree's aliases have it (`i2c1`), or its node."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.name})"


def set_by_card(root: Path = Path("/")) -> bool:
    """Whether this is Knoop's own image: what is switched on is what knoop.toml on the card says, not CONFIG_TXT."""
    return (root / places.IMAGE.relative_to("/")).is_dir()


def functions(root: Path = Path("/")) -> dict[str, Function]:
    """`GPIO2` → Function, for every line of the header that a device of the tree has; never fails.

    One that is not enabled has none, and neither has one without a driver: the kernel gives it its lines when a
    driver comes. Empty where there is no device tree, or none of a Raspberry Pi. What a program muxed by itself is not
    seen.
    """
    tree = root / TREE
    nodes = dict(_nodes(tree))
    users = {node: _cells(node / "pinctrl-0") for node, has in nodes.items() if "pinctrl-0" in has}
    if not users:
        return {}
    handles = {_cells(node / "phandle")[:1]: node for node, has in nodes.items() if "phandle" in has}
    held: dict[str, Function] = {}
    aliases, idle = _aliases(tree), _idle(root)
    for node, wanted in users.items():
        if not _enabled(node, tree) or node.name.startswith("gpio"):  # the controller's own defaults hold nothing
            continue
        if node.resolve() in idle:
            continue
        path = f"/{node.relative_to(tree)}"
        name = node.name.partition("@")[0]
        function = Function(kind=KINDS.get(name, name), name=aliases.get(path, node.name))
        for phandle in wanted:
            lines = _lines(handles[phandle,], tree) if (phandle,) in handles else ()
            held |= {f"GPIO{line}": function for line in lines if line <= LAST_LINE}
    return held


def _nodes(tree: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Each node with the names of its properties: most have none that matter, and reading is what takes time."""
    for folder, names, properties in os.walk(tree):
        names.sort()
        yield Path(folder), frozenset(properties)


def _lines(node: Path, tree: Path) -> tuple[int, ...]:
    """The lines of a pin configuration: its own, and for the Raspberry Pi 5's RP1 those of its groups.

    That board's processor calls pins of its own gpio24 as well; they do not come to the header.
    """
    if numbers := _cells(node / "brcm,pins"):
        return numbers
    names = [name for place in (node, *sorted(node.glob("*"))) for name in _strings(place / "pins")]
    controllers = (folder for folder in node.parents if folder.is_relative_to(tree))
    if not names or not any(RP1 in _strings(folder / "compatible") for folder in controllers):
        return ()
    return tuple(int(match[1]) for name in names if (match := re.fullmatch(r"gpio(\d+)", name)))


def _enabled(node: Path, tree: Path) -> bool:
    """Whether it and all above it are on: no `status`, or okay (the specification, 2.3.4)."""
    above = [node, *(folder for folder in node.parents if folder.is_relative_to(tree))]
    return all((_strings(place / "status") or ["okay"])[0] in {"okay", "ok"} for place in above)


def _idle(root: Path) -> set[Path]:
    """The nodes whose devices are there without a driver, and none is on its way: udev has loaded what it will."""
    if (root / "run/udev/queue").exists():  # systemd-udevd(8) has it while there is something to do
        return set()
    bound: dict[Path, bool] = {}
    for link in (root / "sys/bus").glob("*/devices/*/of_node"):
        node = link.resolve()
        bound[node] = bound.get(node, False) or (link.parent / "driver").exists()
    return {node for node, driver in bound.items() if not driver}


def _aliases(tree: Path) -> dict[str, str]:
    """Path → name; the kernel's own names (i2c1) before the board's (i2c_arm), which are for people and overlays."""
    found: dict[str, str] = {}
    for alias in sorted((tree / "aliases").glob("*"), key=lambda path: (not re.search(r"\d$", path.name), path.name)):
        for path in _strings(alias):
            found.setdefault(path, alias.name)
    return found


def _cells(property_: Path) -> tuple[int, ...]:
    raw = _bytes(property_)
    return struct.unpack(f">{len(raw) // 4}I", raw) if raw and len(raw) % 4 == 0 else ()


def _strings(property_: Path) -> list[str]:
    return [text for text in _bytes(property_).decode("utf-8", "replace").split("\0") if text]


def _bytes(property_: Path) -> bytes:
    try:
        return property_.read_bytes()
    except OSError:  # no such property, or a folder of that name
        return b""
