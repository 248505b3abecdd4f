"""A clock for halves that hang."""

from __future__ import annotations

import heapq

from knoop_hw.clock import FakeClock


class Stopping(FakeClock):
    """Time that can also pass while nobody runs, as under SIGSTOP."""

    def skip(self, seconds: float) -> None:
        """Who should have woken meanwhile wakes when time moves again."""
        self._move(self.boottime_ns() + int(seconds * 1e9))
        now = self.boottime_ns()
        self._sleepers = [(max(due, now), count, future) for due, count, future in self._sleepers]
        heapq.heapify(self._sleepers)
