"""Whether what should move does: each step that may not take long notes itself while it is under way. Pure.

Feeding a watchdog from a timer proves only that the timer runs. Waits that may last (for something to send, for a
server that refuses, for a room, for the pace of a server, for a disk) are no steps; asking the server is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from knoop_hw.clock import Clock

STUCK_S = 60.0  # a question to the server ends within 20 s, with the link if need be; thrice that is no slowness


class Progress:
    """The steps under way in one agent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: dict[object, tuple[str, int]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What runs inside is to end soon, however; `name` says what it is."""
        key = object()
        self._steps[key] = (name, self._clock.boottime_ns())
        try:
            yield
        finally:
            del self._steps[key]

    def stuck(self) -> tuple[str, ...]:
        """The steps that have taken more than STUCK_S, the oldest first."""
        before_ns = self._clock.boottime_ns() - int(STUCK_S * 1e9)
        return tuple(name for name, since_ns in self._steps.values() if since_ns < before_ns)
