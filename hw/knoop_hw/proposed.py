"""Sections of node.toml for sensors that were found: working as they are where there is no choice. Pure.

What needs one (which input of an ADC, is there a meter on that cable) is behind a #.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from knoop_hw.found import Found
from knoop_hw.kernel.ports import SerialPort
from knoop_hw.kernel.sensed import Sensed
from knoop_hw.toml_text import comment, quoted

WIDTH = 76  # with what stands around it below 80
# What hangs on these is a sensor that somebody put there; what hangs on others is mostly the machine's own.
_SENSORS_BUSES = {"i2c", "spi", "hid", "usb"}
# The machine's own that `system` tells, drives and network cards, and what IIO shows a second time.
_COVERED_BUSES = {"thermal", "pci", "nvme", "scsi", "net", "mdio_bus", "power_supply"}
_COVERED = {"acpitz", "coretemp", "cpu_thermal", "iio_hwmon", "k10temp", "rpi_volt"}
TAKEN = ("machine", "door", "lamp", "meter", "gps")  # by the other sections that are proposed


def sensors(found: Found) -> Iterator[list[str]]:
    """A section for each sensor, unless no driver of ours can read it."""
    taken = set(TAKEN)
    for sensor in found.sensors:
        if sensor.kind in found.drivers and not _covered(sensor, found):
            yield from _known(sensor, taken)
    yield from _thermometers(found, taken)
    yield from _receivers(found)
    yield from _meters(found)
    yield from _later(found)


def _covered(sensor: Sensed, found: Found) -> bool:
    """Whether another section tells it; thermal_hwmon.c shows each thermal zone as a hwmon device, too."""
    zones = {zone.name.replace("-", "_") for zone in found.sensors if zone.kind == "thermal"}
    own = sensor.kind == "hwmon" and (sensor.bus in _COVERED_BUSES or sensor.name in {*zones, *_COVERED})
    return own or sensor.kind == "thermal"


def _known(sensor: Sensed, taken: set[str]) -> Iterator[list[str]]:
    fields = list(dict.fromkeys(item.field for item in sensor.channels if item.field))
    where = f" ({comment(sensor.address)})" if sensor.address not in {"", sensor.name} else ""
    if not fields:
        return
    if not sensor.device:
        yield [f"# Nothing tells {comment(sensor.name)}{where} from another that is called so."]
        return
    lines = [
        f"[sensor.{_name(sensor.device, taken)}]", f'driver = "{sensor.kind}"', f"device = {quoted(sensor.device)}",
    ]  # fmt: skip
    inputs = [field for field in fields if field.startswith("voltage")]
    if inputs == fields and len(fields) > 1:  # an ADC: pairs are what its inputs make together
        lines += _list("fields", [field for field in fields if "_" not in field] or fields)
        yield [f"# {comment(sensor.name)}{where}; which of its inputs are yours?", *_behind(lines)]
        return
    lines += _list("fields", fields)
    if sensor.kind == "hwmon" and sensor.bus not in _SENSORS_BUSES:
        yield [f"# {comment(sensor.name)}{where}, something of this machine's own:", *_behind(lines)]
    else:
        yield [f"# {comment(sensor.name)}{where}", *lines]


def _thermometers(found: Found, taken: set[str]) -> Iterator[list[str]]:
    """Those of a bus together: they measure at once."""
    for bus in found.buses if "onewire" in found.drivers else ():
        addresses = [device.address for device in bus.devices if device.name.endswith("temperature")]
        if bus.kind != "w1" or not addresses:
            continue
        lines = [f"[sensor.{_name('thermometer', taken)}]", 'driver = "onewire"']
        if len(addresses) == 1:
            yield [*lines, f"address = {quoted(addresses[0])}"]
            continue
        names: set[str] = set()
        yield [*lines, f"[{lines[0][1:-1]}.sensors]   # name them as you like",
               *(f"{_name(f't_{address[-4:]}', names)} = {quoted(address)}" for address in addresses)]  # fmt: skip


def _receivers(found: Found) -> Iterator[list[str]]:
    receivers = [port for port in found.serial if port.perhaps_gps]
    for number, port in enumerate(receivers if "nmea" in found.drivers else (), 1):
        yield [f"[sensor.gps{number if number > 1 else ''}]", 'driver = "nmea"', _device(port)]


def _meters(found: Found) -> Iterator[list[str]]:
    ports = [port for port in found.serial if port.kind == "usb" and not port.perhaps_gps]
    for number, port in enumerate(sorted(ports, key=lambda port: not port.perhaps_meter), 1):
        lines = [f"[sensor.meter{number if number > 1 else ''}]", 'driver = "p1"', _device(port)]
        if port.perhaps_meter:
            yield ["# If a smart meter is on this cable:", *_behind(lines)]
        else:
            lines[1] += '   # or "modbus", or "lines" for text: docs/drivers.md'
            yield ["# What hangs on it? If it is a smart meter:", *_behind(lines)]


def _later(found: Found) -> Iterator[list[str]]:
    """What the kernel knows and Knoop does not: a driver for it would be called so."""
    known = [(str(sensor.kind), sensor.name, sensor.path) for sensor in found.sensors if sensor.kind != "thermal"]
    known += [("onewire", device.name, f"/sys/bus/w1/devices/{device.address}")
              for bus in found.buses if bus.kind == "w1" for device in bus.devices]  # fmt: skip
    known += [("nmea", "a GPS receiver, it seems", str(port.device)) for port in found.serial if port.perhaps_gps]
    for driver, name, path in known:
        if driver not in found.drivers:
            yield [f"# Known to the kernel; a driver in Knoop comes later: {comment(name)}", f"#   {comment(path)}"]


def _name(wanted: str, taken: set[str]) -> str:
    """A table's name that is free."""
    base = re.sub(r"[^a-z0-9]+", "_", wanted.lower()).strip("_")
    base = base if re.match(r"[a-z]", base) else f"sensor_{base}".rstrip("_")
    name = next(name for number in range(1, len(taken) + 2)
                if (name := f"{base}{f'_{number}' if number > 1 else ''}") not in taken)  # fmt: skip
    taken.add(name)
    return name


def _device(port: SerialPort) -> str:
    return f"device = {quoted(str(port.device))}"


def _list(key: str, values: list[str]) -> list[str]:
    whole = f"{key} = [{', '.join(map(quoted, values))}]"
    return textwrap.wrap(whole, WIDTH, break_long_words=False, break_on_hyphens=False)


def _behind(lines: list[str]) -> list[str]:
    return [f"#{line}" for line in lines]
