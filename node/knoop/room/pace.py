"""How fast a node speaks in a room, alarms apart: one thing in five seconds, a few waiting, the rest counted. Pure."""

from __future__ import annotations

from collections import deque

EVERY_S = 5.0  # fifty nodes that answer somebody at this pace are still readable, and below servers' own limits
MOST = 10  # answers that wait; somebody who asks faster than that reads none of them


class Pace:
    """The sayings of one room that wait; times are nanoseconds of boottime."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self.free_ns = 0  # when the next thing may be said

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, text: str) -> bool:
        """Let a saying wait for its turn; False when it was dropped because too many wait."""
        if len(self._waiting) >= MOST:
            self._dropped += 1
            return False
        self._waiting.append(text)
        return True

    def take(self, now_ns: int) -> tuple[str, int] | None:
        """The next saying, and how many were dropped, which the last one waiting tells; None before its time."""
        if not self._waiting or now_ns < self.free_ns:
            return None
        text = self._waiting.popleft()
        self.said(now_ns)
        if self._waiting or not self._dropped:
            return text, 0
        dropped, self._dropped = self._dropped, 0
        return text, dropped

    def said(self, now_ns: int) -> None:
        """Something was said at this instant: the next thing waits."""
        self.free_ns = now_ns + round(EVERY_S * 1e9)
