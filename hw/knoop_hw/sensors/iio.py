"""Any sensor with an IIO driver in the kernel: BME280, SCD30, ADS1115, BH1750, MAX31865, DHT22 and hundreds more.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-iio. What its files mean is in `iio_abi`. Buffers and triggers,
for thousands of samples a second, are not used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.kernel.sensors import Readings, checked, opened
from knoop_hw.source import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`device`: the chip's name as the kernel has it, its label, or its place on its bus ("1-0076", "spi0.0").

    `fields` are the values that become channels: temperature, humidity, pressure, illuminance, co2, voltage0 …
    `every_s`: how often. `root`: where sys is mounted.
    """

    name: str
    device: str
    fields: tuple[str, ...]
    every_s: Annotated[Seconds, Between(0.1, 86400)] = 10.0
    root: Path = Path("/")

    def __post_init__(self) -> None:
        """Refuse fields that no device has (ValueError)."""
        checked("iio", self.device, self.fields)


def fields(config: Config) -> tuple[Field, ...]:
    """The configured ones, with the units that the kernel's ABI gives them, whether this device has them or not."""
    return checked("iio", config.device, config.fields)


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Readings]:  # noqa: A001 -- the contract's name
    """Find the device; raises DeviceError."""
    yield await opened(
        "iio", fields(config), name=config.name, device=config.device, every_s=config.every_s, root=config.root,
        clock=clock,
    )  # fmt: skip
