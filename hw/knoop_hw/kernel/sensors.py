"""Sensors that have a driver in the kernel: which there are, which one node.toml means, and how they are read.

What `sensors/iio.py` and `sensors/hwmon.py` share. A device is found by what stays: its name, its label, or where it
hangs. `iio:device0` and `hwmon3` are numbers of the day, given in the order in which drivers came. Source: the kernel's
Documentation/ABI/testing/sysfs-bus-iio (`name`, `label`), Documentation/hwmon/sysfs-interface.rst, drivers/base/core.c
(`device`, `subsystem`: links of every device). docs/adr/0020-kernel-sensors.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from knoop_hw.bus import CHIPS
from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.kernel import hwmon_abi, iio_abi, overlays
from knoop_hw.kernel.attributes import Channel
from knoop_hw.kernel.buses import driver_of, in_order, text_of
from knoop_hw.kernel.functions import CONFIG_TXT, TREE, set_by_card
from knoop_hw.source import Field, Sample, answer, poll

log = logging.getLogger(__name__)

Kind = Literal["iio", "hwmon"]
KINDS: tuple[Kind, ...] = ("iio", "hwmon")
# drivers/w1/slaves/w1_therm.c shows a thermometer as hwmon, too: there 85 °C is a
# reading as any other, and each comes twice.
_ONEWIRE = "w1_slave_temp"
_FIELD: Mapping[Kind, Callable[[str], Field]] = {"iio": iio_abi.field, "hwmon": hwmon_abi.field}
_CHANNELS = {"iio": iio_abi.channels, "hwmon": hwmon_abi.channels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """`name` as its driver calls it, `chip` as its bus does, `label` as the board's maker does.

    `address` is its place on its `bus` (`1-0076` on `i2c`). `shown` is its folder of the day below /sys, `path` the one
    behind it, which holds the address: another chip that gets the same number is not there.
    """

    kind: Kind
    name: str
    chip: str = ""
    label: str = ""
    address: str = ""
    bus: str = ""
    shown: Path
    path: Path

    def fits(self, wanted: str) -> bool:
        """Whether node.toml may mean this one. `dht11@4` is the DHT11 on line 4 (drivers/iio/humidity/dht11.c)."""
        names = {self.name, self.name.partition("@")[0], self.chip, self.label, self.address} - {"", self.shown.name}
        return wanted.casefold() in {name.casefold() for name in names}

    def __str__(self) -> str:
        return f"{self.name} ({self.address})" if self.address else self.name

    def channels(self) -> tuple[Channel, ...]:
        """What it measures; none when it has gone meanwhile."""
        try:
            return _CHANNELS[self.kind](self.path)
        except OSError:
            return ()


def devices(kind: Kind, root: Path = Path("/")) -> tuple[Device, ...]:
    """All of them below `root` but 1-Wire's thermometers, which are `onewire`'s; never fails, and asks no chip."""
    if kind == "iio":
        return tuple(_iio(entry) for entry in in_order((root / "sys/bus/iio/devices").glob("iio:device*")))
    there = map(_hwmon, in_order((root / "sys/class/hwmon").glob("hwmon*")))
    return tuple(device for device in there if device.name != _ONEWIRE)


def reference(device: Device, among: Iterable[Device]) -> str:
    """How node.toml can name this one and no other; "" when nothing tells them apart."""
    others = [other for other in among if other.path != device.path]
    names = (device.chip, device.name, device.label, device.address)
    return next((name for name in names if device.fits(name) and not any(other.fits(name) for other in others)), "")


def checked(kind: Kind, device: str, fields: tuple[str, ...]) -> tuple[Field, ...]:
    """The fields that are meant. Raises ValueError that begins with the key."""
    if not device.strip() or re.fullmatch(r"iio:device\d+|hwmon\d+", device.strip()):  # numbers of the day
        raise ValueError('device: name the chip, such as "bme280"; `knoop probe sensors` lists them')
    if re.fullmatch(rf"{_ONEWIRE}|[0-9a-f]{{2}}-[0-9a-f]{{12}}", device.strip().casefold()):
        raise ValueError('device: a 1-Wire thermometer, whose 85 °C only its own driver knows; set driver = "onewire"')
    if not fields or len(set(fields)) < len(fields):
        raise ValueError("fields: name each value once, and at least one; `knoop probe sensors` lists them")
    made = []
    for name in fields:
        try:
            made.append(_FIELD[kind](name))
        except ValueError as error:
            raise ValueError(f"fields: {error}") from None
    return tuple(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """What `[sensor.NAME]` says of one, whichever of the two drivers it is for (`KIND`)."""

    KIND: ClassVar[Kind]

    name: str
    device: str
    fields: tuple[str, ...]
    every_s: Annotated[Seconds, Between(0.1, 86400)] = 10.0
    root: Path = Path("/")

    def __post_init__(self) -> None:
        """Refuse fields that no device has (ValueError)."""
        checked(self.KIND, self.device, self.fields)


def fields(config: Chip) -> tuple[Field, ...]:
    """The configured ones, with the units that the kernel's ABI gives them, whether this device has them or not."""
    return checked(config.KIND, config.device, config.fields)


@dataclass(slots=True, kw_only=True)
class Readings:
    """An open device: a Source. A value that alone cannot be read is an error, the others are told."""

    fields: tuple[Field, ...]
    device: Device
    channels: Mapping[str, Channel]
    every_s: float
    clock: Clock
    _asked_ns: int = 0  # when the value was asked for that is being read

    def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """Raises DeviceError when it is gone, OSError or BadReading when nothing can be read, and Stuck.

        Each value has its time: an SCD41 waits up to 5 s for its next measurement, for each of them
        (drivers/iio/chemical/scd4x.c).
        """
        return poll(self._take, every_s=self.every_s, clock=self.clock, step_ns=lambda: self._asked_ns)

    def _take(self) -> tuple[Sample, ...]:
        samples, failures = [], []
        for field in self.fields:
            at_ns = self._asked_ns = self.clock.boottime_ns()
            value = None
            failed = False
            if channel := self.channels.get(field.name):
                try:
                    value = channel.read()
                except (OSError, BadReading) as error:
                    failed = True
                    failures.append(error)
            quality: Literal["ok", "missing", "error"] = "error" if failed else "missing" if value is None else "ok"
            samples.append(Sample(field=field.name, value=value, quality=quality, boottime_ns=at_ns))
        if failures and all(sample.value is None for sample in samples):
            if not self.device.path.exists():
                raise DeviceError(f"{self.device} is gone, look at its wires")
            raise failures[0]
        return tuple(samples)


@asynccontextmanager
async def opened(config: Chip, *, clock: Clock) -> AsyncIterator[Readings]:
    """Find the device. Raises DeviceError."""
    given = fields(config)
    find = partial(_found, config.KIND, config.device, given, config.root)
    found, channels = await answer(find, clock=clock)
    if lacking := [field.name for field in given if field.name not in channels]:
        _say(config.name, str(found), ", ".join(lacking), _listed(channels))
    wanted = {field.name: channels[field.name] for field in given if field.name in channels}
    yield Readings(fields=given, device=found, channels=wanted, every_s=config.every_s, clock=clock)


@lru_cache(maxsize=256)  # once, however often the device goes and comes back
def _say(name: str, device: str, lacking: str, there: str) -> None:
    log.warning("sensor.%s: %s has no %s; it has %s", name, device, lacking, there)


def _found(kind: Kind, wanted: str, fields: tuple[Field, ...], root: Path) -> tuple[Device, dict[str, Channel]]:
    """The device that is meant, and its channels by field. Raises DeviceError."""
    there, wanted = devices(kind, root), wanted.strip()
    fitting = {device: {item.field: item for item in device.channels() if item.field}
               for device in there if device.fits(wanted)}  # fmt: skip
    if not fitting:
        raise DeviceError(f"there is no {kind} device '{wanted}'; {'; '.join(_remedies(kind, wanted, there, root))}")
    # One chip may be two devices, an accelerometer and a gyroscope: then the fields tell which.
    meant = {device: has for device, has in fitting.items() if all(field.name in has for field in fields)} or fitting
    if len(meant) > 1:
        ways = " or ".join(f'device = "{reference(device, there) or device}"' for device in meant)
        raise DeviceError(f"{len(meant)} {kind} devices are '{wanted}'; say which: {ways}")
    device, has = next(iter(meant.items()))
    if not any(field.name in has for field in fields):
        raise DeviceError(f"{device} has none of these fields; it has {_listed(has)}")
    return device, has


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none that we know"


def _remedies(kind: Kind, wanted: str, there: tuple[Device, ...], root: Path) -> Iterator[str]:
    """What to do about it, the likeliest only, and what there is."""
    other: Kind = "hwmon" if kind == "iio" else "iio"
    pi = "raspberry pi" in text_of(root / TREE / "model").lower()
    idle = next(_without_a_driver(wanted, root), None)
    if any(device.fits(wanted) for device in devices(other, root)):
        yield f'the kernel has it as {other}: driver = "{other}"'
    elif any(device.fits(overlays.called(wanted)) for device in there):
        yield f'the kernel calls it device = "{overlays.called(wanted)}"'
    elif idle is not None:
        yield f"it is known at {idle[1]} and has no driver: `sudo modprobe {idle[0]}`, or see why in `sudo dmesg`"
    elif (other_chip := _at(overlays.address_of(wanted), (*there, *devices(other, root)))) is not None:
        name, kind_there = reference(other_chip, there) or other_chip.address, other_chip.kind
        driver = f'driver = "{kind_there}", ' if kind_there != kind else ""
        yield f'at its address is {other_chip}: if that is it, {driver}device = "{name}"'
    elif set_by_card(root) and (chip := overlays.called(wanted)) in CHIPS:
        yield f'add "i2c:{chip}" to [board] buses in knoop.toml on the card and start again'
    elif remedy := overlays.how(wanted, pi=pi and not set_by_card(root), config_txt=CONFIG_TXT):
        yield remedy
    yield f"there {'is' if len(there) == 1 else 'are'} {', '.join(map(str, there)) or 'none at all'}"


def _at(address: int | None, there: Iterable[Device]) -> Device | None:
    """Which of these has this address on an I²C bus: no other chip can be made known there."""
    places = (device for device in there if device.bus == "i2c" and address is not None)
    return next((device for device in places if device.address.endswith(f"-{address:04x}")), None)


def _without_a_driver(wanted: str, root: Path) -> Iterator[tuple[str, str]]:
    """Module alias and address of what somebody declared on a bus where nothing says by itself that it is there."""
    for bus in ("i2c", "spi"):
        for device in in_order((root / "sys/bus" / bus / "devices").glob("*")):
            name = text_of(device / "name") or text_of(device / "modalias").rpartition(":")[2]
            if wanted.casefold() in {device.name.casefold(), name.casefold()} and not driver_of(device):
                yield f"{bus}:{name}", device.name


def _iio(entry: Path) -> Device:
    path = entry.resolve()
    return _device("iio", entry, path, path.parent if entry.is_symlink() else None)


def _hwmon(entry: Path) -> Device:
    """The attributes of a few old drivers are the parent's (`hwmon_device_register`)."""
    parent = (entry / "device").resolve() if (entry / "device").exists() else None
    return _device("hwmon", entry, parent if parent and not (entry / "name").exists() else entry.resolve(), parent)


def _device(kind: Kind, entry: Path, path: Path, parent: Path | None) -> Device:
    return Device(
        kind=kind, name=text_of(path / "name") or entry.name, label=text_of(path / "label"), shown=entry, path=path,
        chip=text_of(parent / "name") if parent else "", address=parent.name if parent else "",
        bus=_bus(parent) if parent else "",
    )  # fmt: skip


def _bus(parent: Path) -> str:
    try:
        return (parent / "subsystem").readlink().name
    except OSError:
        return ""
