"""The buses of this machine, what hangs on them, and its pulse makers, as the kernel shows them; nothing is opened.

Source, all of the kernel: Documentation/i2c/dev-interface.rst and i2c-sysfs.rst, Documentation/spi/spi-summary.rst
and spidev.rst, Documentation/w1/w1-generic.rst, Documentation/ABI/testing/sysfs-class-pwm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knoop_hw import rights

BusKind = Literal["i2c", "spi", "w1", "pwm"]
# The first byte of a 1-Wire address says what it is (Documentation/w1/slaves/w1_therm.rst, w1_ds28e04.rst …).
FAMILIES = {
    "10": "DS18S20, temperature", "22": "DS1822, temperature", "28": "DS18B20, temperature",
    "3b": "DS1825, temperature", "42": "DS28EA00, temperature", "01": "DS2401, serial number",
    "26": "DS2438, battery", "29": "DS2408, 8 switches", "3a": "DS2413, 2 switches", "1d": "DS2423, counters",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A device on a bus: its address there, what the kernel calls it, and the driver that has it ("" for none)."""

    address: str
    name: str
    driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """`name` as the kernel has it: `i2c-1`, `spi0`, `w1_bus_master1`, `pwmchip0`.

    `label`: the adapter's own name. `device`: what a program opens, "" where there is nothing to open; `usable` by us.
    `channels`: how many pulse makers there are.
    """

    kind: BusKind
    name: str
    label: str = ""
    device: str = ""
    usable: bool = True
    devices: tuple[Attached, ...] = ()
    channels: int = 0


def buses(root: Path = Path("/")) -> tuple[Bus, ...]:
    """All that there are below `root`; never fails."""
    return (*_i2c(root), *_spi(root), *_one_wire(root), *_pwm(root))


def text_of(file: Path) -> str:
    """What a file of sysfs says, "" where it is not or says an error."""
    try:
        return file.read_text("utf-8", "replace").strip("\0\n ")
    except (OSError, TypeError):  # TypeError is what Python makes of EAGAIN there: a read that returned None
        return ""


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted by the numbers in their names: i2c-2 before i2c-10."""
    return sorted(paths, key=lambda path: [int(part) if part.isdigit() else part for part in
                                           re.split(r"(\d+)", path.name)])  # fmt: skip


def driver_of(device: Path) -> str:
    """The driver that a device of sysfs is bound to, "" for none."""
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""


def _i2c(root: Path) -> Iterable[Bus]:
    there = root / "sys/bus/i2c/devices"
    for adapter in in_order(there.glob("i2c-*")):
        number = adapter.name.removeprefix("i2c-")
        devices = tuple(
            Attached(address=f"0x{device.name.partition('-')[2][-2:]}", name=text_of(device / "name"),
                     driver=driver_of(device))
            for device in in_order(there.glob(f"{number}-*"))
        )
        yield _bus("i2c", adapter.name, root, f"dev/{adapter.name}", label=text_of(adapter / "name"), devices=devices)


def _spi(root: Path) -> Iterable[Bus]:
    for controller in in_order((root / "sys/class/spi_master").glob("spi*")):
        there = in_order((root / "sys/bus/spi/devices").glob(f"{controller.name}.*"))
        devices = tuple(
            Attached(address=device.name, name=text_of(device / "modalias").removeprefix("spi:"),
                     driver=driver_of(device))
            for device in there
        )
        open_to_programs = in_order((root / "dev").glob(f"spidev{controller.name.removeprefix('spi')}.*"))
        device = str(open_to_programs[0].relative_to(root)) if open_to_programs else ""
        yield _bus("spi", controller.name, root, device, devices=devices)


def _one_wire(root: Path) -> Iterable[Bus]:
    there = root / "sys/bus/w1/devices"
    for master in in_order(there.glob("w1_bus_master*")):
        names = [name for name in text_of(master / "w1_master_slaves").split("\n") if re.match(r"[0-9a-f]{2}-", name)]
        devices = tuple(
            Attached(address=name, name=FAMILIES.get(name[:2], f"family {name[:2]}"), driver=driver_of(there / name))
            for name in names
        )
        yield Bus(kind="w1", name=master.name, devices=devices)


def _pwm(root: Path) -> Iterable[Bus]:
    for chip in in_order((root / "sys/class/pwm").glob("pwmchip*")):
        count = text_of(chip / "npwm")
        yield Bus(kind="pwm", name=chip.name, channels=int(count) if count.isdigit() else 0)


def _bus(kind: BusKind, name: str, root: Path, device: str, **more: object) -> Bus:
    path = root / device
    there = bool(device) and path.exists()
    usable = rights.may(path) if there else False
    return Bus(kind=kind, name=name, device=f"/{device}" if there else "", usable=usable, **more)  # type: ignore[arg-type]  # as each kind has it
