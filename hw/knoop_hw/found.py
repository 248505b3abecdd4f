"""What is on this machine, found without opening anything: serial ports, GPIO chips, a thermal zone.

Source: udev's 60-serial.rules (`/dev/serial/by-id`); the kernel's Documentation/ABI/testing/sysfs-class-thermal and
gpio character devices.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# By-id names of the chips in cables sold for P1 ports: FT232R in most, PL2303 and CH340 in cheap ones. A guess only.
_METER_CABLES = ("P1", "FTDI", "Prolific", "1a86")


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPort:
    """A port under the name that stays the same when it is plugged in elsewhere."""

    device: Path
    usable: bool
    perhaps_meter: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`lines`: whether there are GPIO lines; `lines_usable`: whether this user may open them."""

    serial: tuple[SerialPort, ...] = ()
    lines: bool = False
    lines_usable: bool = False
    temperature: bool = False


def machine(root: Path = Path("/")) -> Found:
    """What can be found below `root`; never fails. Paths in the result begin with `/`."""
    chips = sorted((root / "dev").glob("gpiochip*"))
    ports = sorted((root / "dev/serial/by-id").glob("*"))
    return Found(
        serial=tuple(
            SerialPort(
                device=Path("/") / port.relative_to(root), usable=_usable(port),
                perhaps_meter=any(mark in port.name for mark in _METER_CABLES),
            )
            for port in ports
        ),
        lines=bool(chips),
        lines_usable=any(map(_usable, chips)),
        temperature=any((root / "sys/class/thermal").glob("thermal_zone*/temp")),
    )


def _usable(device: Path) -> bool:
    return os.access(device, os.R_OK | os.W_OK)
