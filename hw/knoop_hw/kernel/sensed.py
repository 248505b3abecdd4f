"""Sensors and cameras that the kernel knows: what there is and what it measures; its values only when asked.

Source, all of the kernel: what `iio_abi`, `hwmon_abi` and `thermal` name; Documentation/userspace-api/media (v4l2
device names), media-devnode.c (`model` of a media device).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knoop_hw.errors import BadReading
from knoop_hw.kernel import sensors as kernel_sensors
from knoop_hw.kernel import thermal
from knoop_hw.kernel.attributes import Channel
from knoop_hw.kernel.buses import driver_of, in_order, text_of

# A camera's chip answers on an I²C bus, and its sub-device is called after both: `imx219 10-0010`.
_CHIP = re.compile(r"(\w+) \d+-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One channel of a sensor: what the kernel calls it, its unit, and its value where it was read.

    `field` is its name in node.toml, "" for what no driver of ours has. `name` is its label where it has one.
    """

    name: str
    field: str = ""
    label: str = ""
    unit: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """A sensor with a driver of the kernel's: `name` is its chip's, `path` its folder in sysfs.

    `device` is how node.toml names it and no other, "" where nothing tells it from another. `address` is its place on
    its `bus`.
    """

    kind: Literal["iio", "hwmon", "thermal"]
    name: str
    path: str
    device: str = ""
    address: str = ""
    bus: str = ""
    channels: tuple[Measured, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """`device` is what a program opens; a chip on the board's own connector is reached by libcamera."""

    name: str
    device: str
    by: Literal["libcamera", "v4l2"]


def sensors(root: Path = Path("/"), *, values: bool = False) -> tuple[Sensed, ...]:
    """All that there are below `root`; never fails. `values`: ask each chip, which takes a slow one up to seconds."""
    known = (_known(kind, root, values=values) for kind in kernel_sensors.KINDS)
    return (*(sensor for sensors in known for sensor in sensors), *_zones(root))


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


def _known(kind: kernel_sensors.Kind, root: Path, *, values: bool) -> Iterator[Sensed]:
    there = kernel_sensors.devices(kind, root)
    for device in there:
        yield Sensed(
            kind=kind, name=device.name, path=f"/{device.shown.relative_to(root)}", address=device.address,
            bus=device.bus, device=kernel_sensors.reference(device, there),
            channels=tuple(
                Measured(name=channel.label or channel.name, field=channel.field, label=channel.label,
                         unit=channel.unit, value=_value(channel) if values else None)
                for channel in device.channels()
            ),
        )  # fmt: skip


def _zones(root: Path) -> Iterator[Sensed]:
    for zone in thermal.zones(root):
        yield Sensed(kind="thermal", name=zone.name, path=f"/{zone.path.relative_to(root)}",
                     channels=(Measured(name="temp", unit="°C", value=zone.known()),))  # fmt: skip


def _value(channel: Channel) -> float | None:
    try:
        return channel.read()
    except (OSError, BadReading):
        return None
