"""Time: the one place that asks the machine for it.

Durations and orders come from CLOCK_BOOTTIME, which counts through suspend and never jumps; wall-clock time is
only for people and for the wire.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, Protocol

TIME_ERROR: Final = 5  # adjtimex(2): nothing has set this clock, or not for many hours
# What systemd-timesyncd touches at its first answer of a boot (systemd-timesyncd.service(8)); chrony and ntpd tell the
# kernel alone.
TIMESYNC = Path("/run/systemd/timesync/synchronized")
RTC = Path("/sys/class/rtc")
RTC_APART_S = 60  # what a battery clock may have drifted since it set the time; a dead battery is off by years


class Clock(Protocol):
    """What anything that depends on time is given."""

    @property
    def boot_id(self) -> str:
        """The id of this boot: two boottimes compare only within one."""
        ...

    def boottime_ns(self) -> int:
        """Nanoseconds since boot, suspend included."""
        ...

    def time_ns(self) -> int:
        """Wall-clock nanoseconds since 1970 (UTC); may jump, may be wrong."""
        ...

    def synced(self) -> bool:
        """Whether this machine says that something set its wall clock: the network's time, or a battery clock."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Return after `seconds`; at once when they are not positive."""
        ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self.boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def time_ns(self) -> int:
        return time.time_ns()

    def synced(self) -> bool:
        return bool(kernel_synchronised()) or TIMESYNC.exists() or _has_battery(self.time_ns())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def kernel_synchronised() -> bool | None:
    """Whether the kernel knows that something keeps its clock right (adjtimex(2)); None where it does not say."""
    import ctypes  # noqa: PLC0415 -- only the agent asks, and only until it is so

    answer: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # a timex of zeros only asks
    return None if answer < 0 else answer != TIME_ERROR


def _has_battery(time_ns: int) -> bool:
    """Whether the kernel took the time from a battery clock at boot, and that clock still says the same.

    A Raspberry Pi 5 without its battery sets 1970, which systemd then moves to the last shutdown: neither is now.
    """
    for rtc in RTC.glob("*"):
        try:
            set_us = (rtc / "hctosys").read_text(encoding="ascii").strip() == "1"
            if set_us and abs(int((rtc / "since_epoch").read_text(encoding="ascii")) - time_ns / 1e9) < RTC_APART_S:
                return True
        except (OSError, ValueError):
            continue  # a battery clock that does not answer has set nothing
    return False


def monotonic_ns() -> int:
    """Nanoseconds of CLOCK_MONOTONIC, which the kernel stamps edges with: a boottime that stands still in suspend."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def monotonic_us() -> int:
    """Microseconds of CLOCK_MONOTONIC, for systemd, which asks for just this clock (sd_notify(3), MONOTONIC_USEC)."""
    return monotonic_ns() // 1000


class FakeClock:
    """Time that moves only by `advance`: every sleeper wakes in order and runs before the next one."""

    def __init__(
        self, *, time_ns: int = 1_795_342_503_000_000_000, boottime_ns: int = 1_000_000_000, synced: bool = True
    ) -> None:
        self.boot_id = "00000000-0000-4000-8000-000000000000"
        self.is_set = synced
        self._time_ns = time_ns
        self._boottime_ns = boottime_ns
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def boottime_ns(self) -> int:
        return self._boottime_ns

    def time_ns(self) -> int:
        return self._time_ns

    def synced(self) -> bool:
        return self.is_set

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._boottime_ns + int(seconds * 1e9), self._count, future))
        await future

    def jump(self, seconds: float) -> None:
        """Set the wall clock off by `seconds`; boottime does not notice."""
        self._time_ns += int(seconds * 1e9)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, each sleeper woken at its own instant."""
        end = self._boottime_ns + int(seconds * 1e9)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._move(due)
            if not future.done():
                future.set_result(None)
            await self._settle()
        self._move(end)
        await self._settle()

    def _move(self, boottime_ns: int) -> None:
        self._time_ns += boottime_ns - self._boottime_ns
        self._boottime_ns = boottime_ns

    @staticmethod
    async def _settle() -> None:
        for _ in range(20):  # a woken task may wake another; deeper chains than this do not exist
            await asyncio.sleep(0)
