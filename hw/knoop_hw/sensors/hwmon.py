"""Any sensor with a hwmon driver in the kernel: SHT3x, SHT4x, LM75, TMP102, INA219, fans and hundreds more.

Source: the kernel's Documentation/hwmon/sysfs-interface.rst. What its files mean is in `hwmon_abi`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from knoop_hw.kernel.sensors import Chip, Kind, fields
from knoop_hw.kernel.sensors import opened as open  # noqa: A004 -- the contract's name

__all__ = ("Config", "fields", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Chip):
    """`device`: the chip's name as the kernel has it, its label, or its place on its bus ("1-0044").

    `fields` are the values that become channels: temperature (temp1), temperature2, humidity, voltage0 (in0), current,
    power, energy, fan. `every_s`: how often. `root`: where sys is mounted.
    """

    KIND: ClassVar[Kind] = "hwmon"
