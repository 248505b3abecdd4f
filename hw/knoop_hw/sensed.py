"""Sensors and cameras that the kernel knows: what there is and what it measures; its values only when asked.

Source, all of the kernel: Documentation/ABI/testing/sysfs-bus-iio, Documentation/hwmon/sysfs-interface.rst,
Documentation/ABI/testing/sysfs-class-thermal, Documentation/userspace-api/media (v4l2 device names), media-devnode.c
(`model` of a media device).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knoop_hw.buses import driver_of, in_order, text_of

# IIO: a channel's type → its unit, and what its processed value is divided by to be in it (the ABI's "What:" entries).
IIO = {
    "temp": ("°C", 1000), "humidityrelative": ("%", 1000), "pressure": ("hPa", 0.1), "illuminance": ("lx", 1),
    "voltage": ("mV", 1), "current": ("mA", 1), "power": ("mW", 1), "resistance": ("Ω", 1), "ph": ("pH", 1),
    "accel": ("m/s²", 1), "anglvel": ("rad/s", 1), "magn": ("G", 1), "proximity": ("", 1), "concentration": ("%", 1),
    "massconcentration": ("µg/m³", 1), "count": ("", 1), "distance": ("m", 1), "intensity": ("", 1),
}  # fmt: skip
HWMON = {
    "temp": ("°C", 1000), "humidity": ("%", 1000), "in": ("V", 1000), "curr": ("A", 1000), "power": ("W", 1e6),
    "energy": ("J", 1e6), "fan": ("rpm", 1),
}  # fmt: skip
# A camera's chip answers on an I²C bus, and its sub-device is called after both: `imx219 10-0010`.
_CHIP = re.compile(r"(\w+) \d+-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One channel of a sensor: what the kernel calls it, its unit, and its value where it was read."""

    name: str
    unit: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """A sensor with a driver of the kernel's: `name` is its chip's, `path` its folder in sysfs."""

    kind: Literal["iio", "hwmon", "thermal"]
    name: str
    path: str
    channels: tuple[Measured, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """`device` is what a program opens; a chip on the board's own connector is reached by libcamera."""

    name: str
    device: str
    by: Literal["libcamera", "v4l2"]


def sensors(root: Path = Path("/"), *, values: bool = False) -> tuple[Sensed, ...]:
    """All that there are below `root`; never fails. `values`: ask each chip, which takes a slow one up to seconds."""
    return (*_iio(root, values=values), *_hwmon(root, values=values), *_zones(root))


def cameras(root: Path = Path("/")) -> tuple[Camera, ...]:
    """Chips on the board's connectors, and USB's; not the decoders and scalers that a Raspberry Pi also shows."""
    found = []
    media = {text_of(device / "model"): device.name for device in in_order((root / "sys/bus/media/devices").glob("*"))}
    receiver = next((f"/dev/{name}" for model, name in media.items() if model in {"unicam", "rp1-cfe"}), "")
    for video in in_order((root / "sys/class/video4linux").glob("*")):
        name = text_of(video / "name")
        if video.name.startswith("v4l-subdev") and (chip := _CHIP.fullmatch(name)):
            found.append(Camera(name=chip[1], device=receiver or f"/dev/{video.name}", by="libcamera"))
        elif text_of(video / "index") in {"", "0"} and driver_of(video / "device") == "uvcvideo":
            found.append(Camera(name=name, device=f"/dev/{video.name}", by="v4l2"))
    return tuple(found)


def _iio(root: Path, *, values: bool) -> Iterator[Sensed]:
    for device in in_order((root / "sys/bus/iio/devices").glob("iio:device*")):
        names = sorted({match[1] for file in device.glob("in_*") if (match := re.fullmatch(r"in_(\w+)_(?:raw|input)",
                                                                                          file.name))})  # fmt: skip
        yield _sensor("iio", device, root, tuple(
            _measured(name, IIO.get(_kind(name), ("", 1)), _processed(device, name) if values else None)
            for name in names
        ))  # fmt: skip


def _hwmon(root: Path, *, values: bool) -> Iterator[Sensed]:
    for device in in_order((root / "sys/class/hwmon").glob("hwmon*")):
        files = in_order(file for file in device.glob("*_input") if _kind(file.name) in HWMON)
        yield _sensor("hwmon", device, root, tuple(
            _measured(text_of(file.with_name(file.name.replace("_input", "_label"))) or file.name[: -len("_input")],
                      HWMON[_kind(file.name)], _number(file) if values else None)
            for file in files
        ))  # fmt: skip


def _zones(root: Path) -> Iterator[Sensed]:
    for zone in in_order((root / "sys/class/thermal").glob("thermal_zone*")):
        yield Sensed(kind="thermal", name=text_of(zone / "type") or zone.name, path=f"/{zone.relative_to(root)}",
                     channels=(_measured("temp", ("°C", 1000), _number(zone / "temp")),))  # fmt: skip


def _sensor(kind: Literal["iio", "hwmon"], device: Path, root: Path, channels: tuple[Measured, ...]) -> Sensed:
    name = text_of(device / "name") or device.name
    return Sensed(kind=kind, name=name, path=f"/{device.relative_to(root)}", channels=channels)


def _measured(name: str, scale: tuple[str, float], raw: float | None) -> Measured:
    unit, divisor = scale
    return Measured(name=name, unit=unit, value=None if raw is None else raw / divisor)


def _processed(device: Path, name: str) -> float | None:
    """What an IIO device says of a channel, in the ABI's unit."""
    raw = _number(device / f"in_{name}_input")
    if raw is None and (raw := _number(device / f"in_{name}_raw")) is not None:
        offset, scale = (_shared(device, name, what) for what in ("offset", "scale"))
        raw = (raw + (offset or 0.0)) * (1.0 if scale is None else scale)
    return raw


def _shared(device: Path, name: str, what: str) -> float | None:
    """The channel's own offset or scale, else that of its type."""
    own = _number(device / f"in_{name}_{what}")
    return _number(device / f"in_{_kind(name)}_{what}") if own is None else own


def _kind(name: str) -> str:
    """`temp` of temp1_input, `voltage` of voltage0, `concentration` of concentration_co2."""
    match = re.match(r"[a-z]+", name)
    return match[0] if match else ""


def _number(file: Path) -> float | None:
    try:
        value = float(text_of(file))
    except ValueError:  # nothing, or an error of the chip's
        return None
    return value if math.isfinite(value) else None
