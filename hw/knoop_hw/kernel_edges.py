"""What is pure about the kernel's edges: how many were lost, when they were, how often to look when they come fast.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

KEPT = 64  # edges that the kernel keeps a line, and that one wake-up reads: what is lost beyond is counted all the same


@dataclass(frozen=True, slots=True)
class Change:
    """An edge as the kernel saw it: `high` after it, boottime, and how many before it were counted but not kept."""

    high: bool
    at_ns: int
    lost: int


class Numbers:
    """The kernel's sequence numbers of one line: 32 bits, from 1. Pure."""

    def __init__(self) -> None:
        self._last = 0

    def lost(self, number: int) -> int:
        """How many are missing between the last one and this one."""
        gap = (number - self._last - 1) % 2**32
        self._last = number
        return gap


class Ahead:
    """How far boottime is ahead of the clock that the kernel stamps edges with. Pure.

    It only grows, by each suspend. So the most that was ever seen is right, also after a program had to wait between
    asking for boottime and asking for the other.
    """

    def __init__(self) -> None:
        self._ns = 0

    def seen(self, boottime_ns: int, monotonic_ns: int) -> int:
        """Nanoseconds; the clocks were asked in this order, just now."""
        self._ns = max(self._ns, boottime_ns - monotonic_ns)
        return self._ns


class Pace:
    """How often a line may wake the loop: `BURST` times at once, then `PER_S` times a second. Pure.

    A bouncing contact stays below it. In a storm the line rests meanwhile; the kernel keeps the last edges and counts
    all, so each wake-up reads up to KEPT of them, whatever the rate.
    """

    BURST = 50
    PER_S = 50  # at 50 µs an edge and a wake-up of 64, 16 % of one core is the most a storm can take

    def __init__(self) -> None:
        self._credit = float(self.BURST)
        self._at_ns = 0

    def rest_s(self, now_ns: int) -> float:
        """How long to rest after a wake-up at `now_ns`; 0 for not at all."""
        self._credit = min(self.BURST, self._credit + (now_ns - self._at_ns) / 1e9 * self.PER_S) - 1
        self._at_ns = now_ns
        return max(0.0, (1 - self._credit) / self.PER_S)
