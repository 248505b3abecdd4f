"""The machine itself: CPU temperature, load, memory, disk, uptime. Reads /proc and /sys, no library.

Source: proc(5); the kernel's Documentation/ABI/testing/sysfs-class-thermal (millidegrees Celsius).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import BadReading
from knoop_hw.source import Field, Sample, poll


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`every_s`: how often. `mount`: any path on the file system to watch. `root`:

    Where proc and sys are mounted.
    """

    every_s: Annotated[Seconds, Between(0.1, 86400)] = 60.0
    mount: Path = Path("/")
    root: Path = Path("/")


def fields(config: Config) -> tuple[Field, ...]:
    """The temperature only where the machine has a thermal zone."""
    always = (
        Field(name="load", digits=2), Field(name="memory", unit="%"), Field(name="disk", unit="%"),
        Field(name="uptime", unit="s"),
    )  # fmt: skip
    return always if _zone(config.root) is None else (Field(name="temperature", unit="°C"), *always)


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[System]:  # noqa: A001 -- the contract's name
    """Begin to measure; always succeeds."""
    yield System(config, clock)


class System:
    """The open sensor."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.fields = fields(config)
        zone = _zone(config.root)
        self._read: dict[str, Callable[[], float]] = {
            "load": lambda: float(self._words("loadavg")[0]),
            "memory": self._memory,
            "disk": self._disk,
            "uptime": lambda: float(self._words("uptime")[0]),
        }
        if zone is not None:
            self._read["temperature"] = lambda: int(zone.read_text(encoding="ascii")) / 1000

    def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """All values every `every_s`; raises OSError when the kernel does not answer."""
        return poll(self._sample, every_s=self._config.every_s, clock=self._clock)

    def _sample(self) -> tuple[Sample, ...]:
        now_ns = self._clock.boottime_ns()
        return tuple(
            Sample(field=item.name, value=self._read[item.name](), boottime_ns=now_ns) for item in self.fields
        )  # fmt: skip

    def _words(self, name: str) -> list[str]:
        return (self._config.root / "proc" / name).read_text(encoding="ascii").split()

    def _memory(self) -> float:
        """Share in use, in %: what is not available without swapping (proc(5), MemAvailable)."""
        words = self._words("meminfo")
        try:
            total, available = (int(words[words.index(key) + 1]) for key in ("MemTotal:", "MemAvailable:"))
        except ValueError:
            raise BadReading("/proc/meminfo has no MemTotal or MemAvailable") from None
        return round(100 * (total - available) / total, 2)

    def _disk(self) -> float:
        """Share in use of what an ordinary user may use, in %, as df counts it."""
        space = os.statvfs(self._config.mount)
        used = space.f_blocks - space.f_bfree
        return round(100 * used / ((used + space.f_bavail) or 1), 2)


def _zone(root: Path) -> Path | None:
    """The CPU's thermal zone: one whose type names the CPU, else the first."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    named = [zone for zone in zones if "cpu" in _type(zone) or "x86_pkg" in _type(zone)]
    return next(iter([*named, *zones]), None)


def _type(zone: Path) -> str:
    try:
        return (zone.parent / "type").read_text(encoding="ascii")
    except OSError:
        return ""
