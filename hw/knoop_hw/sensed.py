"""Sensors and cameras that the kernel knows: what there is and what it measures; its values only when asked.

Source, all of the kernel: Documentation/ABI/testing/sysfs-bus-iio, Documentation/hwmon/sysfs-interface.rst,
Documentation/ABI/testing/sysfs-class-thermal, Documentation/userspace-api/media (v4l2 device names), media-devnode.c
(`model` of a media device).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
    found = (*_iio(root), *_hwmon(root), *_zones(root))
    if not values:
        return found
    return tuple(replace(sensor, channels=tuple(_read(root, sensor, item) for item in sensor.channels))
                 for sensor in found)  # fmt: skip


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


def _iio(root: Path) -> Iterator[Sensed]:
    for device in in_order((root / "sys/bus/iio/devices").glob("iio:device*")):
        names = sorted({match[1] for file in device.glob("in_*") if (match := re.fullmatch(r"in_(\w+)_(?:raw|input)",
                                                                                          file.name))})  # fmt: skip
        channels = tuple(Measured(name=name, unit=IIO.get(_kind(name), ("", 1))[0]) for name in names)
        yield _sensor("iio", device, root, channels)


def _hwmon(root: Path) -> Iterator[Sensed]:
    for device in in_order((root / "sys/class/hwmon").glob("hwmon*")):
        files = in_order(file for file in device.glob("*_input") if _kind(file.name) in HWMON)
        channels = tuple(
            Measured(name=text_of(file.with_name(file.name.replace("_input", "_label"))) or file.name[: -len("_input")],
                     unit=HWMON[_kind(file.name)][0])
            for file in files
        )
        yield _sensor("hwmon", device, root, channels)


def _zones(root: Path) -> Iterator[Sensed]:
    for zone in in_order((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _milli(zone / "temp")
        yield Sensed(kind="thermal", name=text_of(zone / "type") or zone.name, path=f"/{zone.relative_to(root)}",
                     channels=(Measured(name="temp", unit="°C", value=value),))  # fmt: skip


def _sensor(kind: Literal["iio", "hwmon"], device: Path, root: Path, channels: tuple[Measured, ...]) -> Sensed:
    name = text_of(device / "name") or device.name
    return Sensed(kind=kind, name=name, path=f"/{device.relative_to(root)}", channels=channels)


def _read(root: Path, sensor: Sensed, item: Measured) -> Measured:
    folder = root / sensor.path.lstrip("/")
    if sensor.kind == "thermal":
        return item
    if sensor.kind == "hwmon":
        label = next((file for file in folder.glob("*_label") if text_of(file) == item.name), None)
        file = f"{label.name[: -len('_label')] if label else item.name}_input"
        raw, divisor = _number(folder / file), HWMON[_kind(file)][1]
        return replace(item, value=None if raw is None else raw / divisor)
    kind = _kind(item.name)
    raw = _number(folder / f"in_{item.name}_input")
    if raw is None and (raw := _number(folder / f"in_{item.name}_raw")) is not None:
        offset, scale = (_shared(folder, item.name, kind, what) for what in ("offset", "scale"))
        raw = (raw + (offset or 0.0)) * (1.0 if scale is None else scale)
    return replace(item, value=None if raw is None else raw / IIO.get(kind, ("", 1))[1])


def _shared(folder: Path, name: str, kind: str, what: str) -> float | None:
    """The channel's own offset or scale, else that of its type."""
    own = _number(folder / f"in_{name}_{what}")
    return _number(folder / f"in_{kind}_{what}") if own is None else own


def _kind(name: str) -> str:
    """`temp` of temp1_input, `voltage` of voltage0, `concentration` of concentration_co2."""
    match = re.match(r"[a-z]+", name)
    return match[0] if match else ""


def _milli(file: Path) -> float | None:
    value = _number(file)
    return None if value is None else value / 1000


def _number(file: Path) -> float | None:
    try:
        value = float(text_of(file))
    except ValueError:  # nothing, or an error of the chip's
        return None
    return value if math.isfinite(value) else None
