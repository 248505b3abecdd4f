"""The machine itself: temperature, load, memory, disk, uptime; its supply, throttling and wear where it tells.

Source: proc(5); of the kernel drivers/hwmon/raspberrypi-hwmon.c (`rpi_volt`: whether the voltage was too low within
the last two seconds) and drivers/mmc/core/mmc.c (`life_time`, `pre_eol_info`: EXT_CSD bytes 267 to 269 of JESD84-B50,
in hexadecimal); `thermal` for the temperature, `firmware` for a Raspberry Pi's own flags, the only thing here that
needs a right.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

from knoop_hw import rights
from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import BadReading
from knoop_hw.kernel import firmware, thermal
from knoop_hw.kernel.attributes import number
from knoop_hw.kernel.buses import text_of
from knoop_hw.model import Value
from knoop_hw.source import Field, Polled

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`every_s`: how often. `mount`: any path on the file system to watch. `root`:

    Where proc, sys and dev are mounted.
    """

    every_s: Annotated[Seconds, Between(0.1, 86400)] = 60.0
    mount: Path = Path("/")
    root: Path = Path("/")


def fields(config: Config) -> tuple[Field, ...]:
    """What this machine tells, as proc and sys show it: both halves see these two alike, and dev they do not.

    What is bad news is a boolean of class `telemetry` like everything here: whom it concerns has an alert for it.
    """
    root = config.root
    flags = [field.name for field in _FLAGS] if firmware.here(root) else ["undervoltage"] if _alarm(root) else []
    return (
        *([Field(name="temperature", unit="°C")] if thermal.zones(root) else []),
        Field(name="load", digits=2), Field(name="memory", unit="%"),
        *([Field(name="swap", unit="%")] if _swap(root) is not None else []),
        Field(name="disk", unit="%"), Field(name="uptime", unit="s"),
        *(field for field in _FLAGS if field.name in flags),
        *([Field(name="wear", unit="%")] if _wear(root) is not None else []),
    )  # fmt: skip


_FLAGS = tuple(Field(name=name, type="boolean") for name in firmware.Throttled.__slots__)


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Polled]:  # noqa: A001 -- the contract's name
    """Begin to measure; always succeeds."""
    given = fields(config)
    devices = [path for name in firmware.DEVICES if (path := config.root / "dev" / name).exists()]
    if _FLAGS[-1] in given and not any(os.access(path, os.R_OK) for path in devices):
        remedy = rights.remedy(devices[0]) if devices else "let the unit see /dev/vcio_gencmd or /dev/vcio"
        log.warning("throttled is missing, the firmware may not be asked by us: %s", remedy)
    read = partial(_read, config, thermal.of_the_processor(config.root), frozenset(field.name for field in given))
    yield Polled(fields=given, read=read, every_s=config.every_s, clock=clock)


def _read(config: Config, zone: thermal.Zone | None, wanted: frozenset[str]) -> dict[str, Value]:
    """All values, without what cannot be told; raises OSError when the kernel does not answer."""
    proc, root = config.root / "proc", config.root
    values: dict[str, Value] = {
        "load": float(_words(proc / "loadavg")[0]),
        "memory": _memory(_words(proc / "meminfo")),
        "uptime": float(_words(proc / "uptime")[0]),
    }
    try:
        values["disk"] = _disk(config.mount)
    except OSError as error:  # a drive that was pulled out is no reason to be silent about the processor
        _say(config.mount, error.strerror)
    if zone is not None:
        values["temperature"] = zone.known()
    if "swap" in wanted:
        values["swap"] = _swap(root)
    if "wear" in wanted:
        values["wear"] = _wear(root)
    if "throttled" in wanted:
        with suppress(OSError, BadReading):  # the others are there; that we may not ask has been said
            values |= asdict(firmware.throttled(root))
    if "undervoltage" in wanted and (alarm := _alarm(root)) is not None:
        with suppress(OSError, BadReading):
            values["undervoltage"] = bool(values.get("undervoltage")) or number(alarm) != 0
    return values


@lru_cache(maxsize=16)  # once, however often it is asked
def _say(mount: Path, why: str) -> None:
    log.warning("disk is missing, %s cannot be asked: %s; mount it, or correct 'mount'", mount, why)


def _words(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split()


def _memory(words: list[str]) -> float:
    """Share in use, in %: what is not available without swapping (proc(5), MemAvailable)."""
    try:
        total, available = (int(words[words.index(key) + 1]) for key in ("MemTotal:", "MemAvailable:"))
    except ValueError:
        raise BadReading("/proc/meminfo has no MemTotal or MemAvailable") from None
    return round(100 * (total - available) / total, 2)


def _swap(root: Path) -> float | None:
    """Share in use, in %; None where there is none."""
    try:
        words = _words(root / "proc/meminfo")
        total, free = (int(words[words.index(key) + 1]) for key in ("SwapTotal:", "SwapFree:"))
    except (OSError, ValueError):
        return None
    return round(100 * (total - free) / total, 2) if total else None


def _disk(mount: Path) -> float:
    """Share in use of what an ordinary user may use, in %, as df counts it."""
    space = os.statvfs(mount)
    used = space.f_blocks - space.f_bfree
    return round(100 * used / ((used + space.f_bavail) or 1), 2)


def _alarm(root: Path) -> Path | None:
    """The file that is 1 while a Raspberry Pi's supply is too low."""
    names = (root / "sys/class/hwmon").glob("hwmon*/name")
    return next((name.with_name("in0_lcrit_alarm") for name in names if text_of(name) == "rpi_volt"), None)


# Of `pre_eol_info`: how much of its spare blocks a card has used, at least.
_SPARE_USED = {2: 80.0, 3: 90.0}


def _wear(root: Path) -> float | None:
    """How worn the most worn eMMC is, in % of what it is made for; None where no card tells (no SD card does).

    Life is told in steps of 10 %, of which this is the upper end; 110 for more than all.
    """
    worn: list[float] = []
    for file in (root / "sys/block").glob("mmcblk*/device/life_time"):
        with suppress(ValueError):
            worn += [10.0 * step for word in text_of(file).split() if 0 < (step := int(word, 16)) <= 11]
        with suppress(ValueError):
            spare = int(text_of(file.with_name("pre_eol_info")), 16)
            worn += [_SPARE_USED[spare]] if spare in _SPARE_USED else []
    return max(worn, default=None)
