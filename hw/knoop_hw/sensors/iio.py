"""Any sensor with an IIO driver in the kernel: BME280, SCD30, ADS1115, BH1750, MAX31865, DHT22 and hundreds more.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-iio. What its files mean is in `iio_abi`. Buffers and triggers,
for thousands of samples a second, are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from knoop_hw.kernel.sensors import Chip, Kind, fields
from knoop_hw.kernel.sensors import opened as open  # noqa: A004 -- the contract's name

__all__ = ("Config", "fields", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Chip):
    """`device`: the chip's name as the kernel has it, its label, or its place on its bus ("1-0076", "spi0.0").

    `fields` are the values that become channels: temperature, humidity, pressure, illuminance, co2, voltage0 …
    `every_s`: how often. `root`: where sys is mounted.
    """

    KIND: ClassVar[Kind] = "iio"
