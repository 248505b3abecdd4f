"""How much goes out at once, and in whose turn: the answers set the pace. Pure.

Whatever was written stands in front of what is written next. So a portion is as large as the link answers in half a
second, and of what can wait only one is under way, whichever sink it is for: a live event waits for that one at most.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST = 4  # readings: less than 2 kB, which also a link of 4 kB/s answers in time
# An answer is to take about 0.5 s: a live event behind it then arrives within 2 s. Above half of that a portion only
# creeps up: where any answer takes 0.3 s (a server with a slow disk), a small portion is not answered sooner.
QUICK_S, GOOD_S, SLOW_S = 0.25, 0.5, 0.75
DISTANCE_S = 1.0  # a round trip by satellite, twice; what takes longer is a thin link or a busy server


class Pace:
    """The size of one sink's portions: it grows with quick answers to full ones, and is halved by slow answers.

    What the quickest answer took is the distance to the server, DISTANCE_S at most: smaller portions do not shorten it.
    """

    def __init__(self, most: int, *, first: int = FIRST) -> None:
        self.most = most
        self.size = min(first, most)
        self._distance_s = DISTANCE_S

    def answered(self, count: int, took_s: float) -> None:
        """A portion of so many readings was answered after so many seconds."""
        self._distance_s = min(self._distance_s, took_s)
        took_s -= self._distance_s
        if took_s > SLOW_S:
            self.size = max(1, min(self.size, count) // 2)
        elif took_s < GOOD_S and count >= self.size:
            self.size = min(self.most, self.size * 2 if took_s < QUICK_S else self.size + max(1, self.size // 4))


class Turn:
    """Who may send what can wait: one at a time, the others in the order in which they asked.

    Whoever has to wait is called when it may be its turn, and then asks again.
    """

    def __init__(self) -> None:
        self._queue: dict[str, Callable[[], None]] = {}

    def take(self, who: str, call: Callable[[], None]) -> bool:
        """Whether it is this one's turn, which lasts until it leaves; else it is called later."""
        self._queue.setdefault(who, call)
        return next(iter(self._queue)) == who

    def leave(self, who: str) -> None:
        """This one is done, or does not want its turn any more; leaving twice is fine."""
        if next(iter(self._queue), who) != who:
            self._queue.pop(who, None)
        elif self._queue:
            del self._queue[who]
            for call in self._queue.values():
                call()
                break
