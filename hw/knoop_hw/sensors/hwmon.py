"""Any sensor with a hwmon driver in the kernel: SHT3x, SHT4x, LM75, TMP102, INA219, fans and hundreds more.

Source: the kernel's Documentation/hwmon/sysfs-interface.rst. What its files mean is in `hwmon_abi`.
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
    """`device`: the chip's name as the kernel has it, its label, or its place on its bus ("1-0044").

    `fields` are the values that become channels: temperature (temp1), temperature2, humidity, voltage0 (in0), current,
    power, energy, fan. `every_s`: how often. `root`: where sys is mounted.
    """

    name: str
    device: str
    fields: tuple[str, ...]
    every_s: Annotated[Seconds, Between(0.1, 86400)] = 10.0
    root: Path = Path("/")

    def __post_init__(self) -> None:
        """Refuse fields that no device has (ValueError)."""
        checked("hwmon", self.device, self.fields)


def fields(config: Config) -> tuple[Field, ...]:
    """The configured ones, with the units that the kernel's ABI gives them, whether this device has them or not."""
    return checked("hwmon", config.device, config.fields)


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Readings]:  # noqa: A001 -- the contract's name
    """Find the device; raises DeviceError."""
    yield await opened(
        "hwmon", fields(config), name=config.name, device=config.device, every_s=config.every_s, root=config.root,
        clock=clock,
    )  # fmt: skip
