"""The machine itself: CPU temperature, load, memory, disk, uptime. Reads /proc and /sys, no library.

Source: proc(5); the kernel's Documentation/ABI/testing/sysfs-class-thermal (millidegrees Celsius).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import BadReading
from knoop_hw.source import Field, Polled


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
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Polled]:  # noqa: A001 -- the contract's name
    """Begin to measure; always succeeds."""
    read = partial(_read, config, _zone(config.root))
    yield Polled(fields=fields(config), read=read, every_s=config.every_s, clock=clock)


def _read(config: Config, zone: Path | None) -> dict[str, float]:
    """All values; raises OSError when the kernel does not answer."""
    proc = config.root / "proc"
    values = {
        "load": float(_words(proc / "loadavg")[0]),
        "memory": _memory(_words(proc / "meminfo")),
        "disk": _disk(config.mount),
        "uptime": float(_words(proc / "uptime")[0]),
    }
    if zone is not None:
        values["temperature"] = int(zone.read_text(encoding="ascii")) / 1000
    return values


def _words(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split()


def _memory(words: list[str]) -> float:
    """Share in use, in %: what is not available without swapping (proc(5), MemAvailable)."""
    try:
        total, available = (int(words[words.index(key) + 1]) for key in ("MemTotal:", "MemAvailable:"))
    except ValueError:
        raise BadReading("/proc/meminfo has no MemTotal or MemAvailable") from None
    return round(100 * (total - available) / total, 2)


def _disk(mount: Path) -> float:
    """Share in use of what an ordinary user may use, in %, as df counts it."""
    space = os.statvfs(mount)
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
