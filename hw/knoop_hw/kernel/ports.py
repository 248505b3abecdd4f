"""The serial ports that there are, under the names that stay.

Source: udev's 60-serial.rules (`/dev/serial/by-id`); the kernel's Documentation/ABI/testing/sysfs-tty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knoop_hw import rights
from knoop_hw.kernel.buses import in_order, text_of

# In the by-id names of cables that say what they are for, as "P1_Converter_Cable"; most have the name of their chip
# only (FT232R, CH340), and that is in every other adapter, too.
_METER_CABLE = re.compile(r"(?<![a-z0-9])p1(?![a-z0-9])|dsmr|slimme|smart.?meter", re.IGNORECASE)
_RECEIVERS = ("u-blox", "GPS", "GNSS", "SiRF")  # in the by-id names of receivers and of the chips in them


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPort:
    """A port under the name that stays the same when it is plugged in elsewhere; `node` is the kernel's name today.

    `console`: the kernel writes its messages there, so that nothing else can be connected.
    """

    device: Path
    kind: Literal["usb", "board"] = "usb"
    node: str = ""
    usable: bool
    perhaps_meter: bool = False
    perhaps_gps: bool = False
    console: bool = False


def serial_ports(root: Path = Path("/")) -> tuple[SerialPort, ...]:
    """All of them below `root`; never fails. Paths in the result begin with `/`."""
    return (*_usb_ports(root), *_board_ports(root))


def _usb_ports(root: Path) -> Iterator[SerialPort]:
    for port in sorted((root / "dev/serial/by-id").glob("*")):
        yield SerialPort(
            device=Path("/") / port.relative_to(root), usable=rights.may(port), node=port.resolve().name,
            perhaps_meter=_METER_CABLE.search(port.name) is not None,
            perhaps_gps=any(mark in port.name for mark in _RECEIVERS),
        )


def _board_ports(root: Path) -> Iterator[SerialPort]:
    """UARTs that have a chip behind them, by the board's name where there is one."""
    names = {path.resolve().name: path for path in in_order((root / "dev").glob("serial[0-9]"))}
    consoles = text_of(root / "sys/class/tty/console/active").split()
    for tty in in_order((root / "sys/class/tty").glob("tty[A-Z]*")):
        if not _has_chip(tty) or not (root / "dev" / tty.name).exists():
            continue
        device = names.get(tty.name, root / "dev" / tty.name)
        yield SerialPort(
            device=Path("/") / device.relative_to(root), kind="board", node=tty.name, usable=rights.may(device),
            console=tty.name in consoles,
        )


def _has_chip(tty: Path) -> bool:
    """sysfs-tty: `type` 0 has none. Only root reads it; the ports that a PC merely might have have one parent."""
    kind, device = text_of(tty / "type"), (tty / "device").resolve()
    if not device.exists() or any(re.fullmatch(r"usb\d+", part) for part in device.parts):
        return False
    return kind != "0" if kind else not any(part.startswith("serial8250") for part in device.parts)
