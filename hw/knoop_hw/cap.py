"""A storm on one input: how much of it is told, what was left out, and when it begins and is over. Pure."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

BURST = 20  # ten times on and off at once: more than a hand or a door does, and no storm of messages
INTERVAL_NS = 100_000_000  # then ten a second: what a store on an SD card and a chat app take for hours
CALM_NS = 10_000_000_000  # a storm that pauses for less is one storm, and two lines in the log


class Passed(NamedTuple, Generic[T]):
    """What passed. `gap`: something before it did not."""

    item: T
    gap: bool


class Cap(Generic[T]):
    """At most BURST items at once and one more every INTERVAL_NS; the newest of those held back passes in the end.

    `left_out` counts those that never will.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._empty_ns = 0  # when all that passed is paid for (GCRA: the theoretical arrival time)
        self._held: T | None = None
        self._gap = False

    def offer(self, item: T, now_ns: int, *, gap: bool = False) -> Passed[T] | None:
        """What may be told at once; else it is held in place of one held before. `gap`: something before it is lost."""
        self._gap = self._gap or gap
        if self._held is not None:
            self.left_out += 1
            self._gap = True
        self._held = item
        return self.elapse(now_ns)

    def elapse(self, now_ns: int) -> Passed[T] | None:
        """The item held back, if its time has come."""
        due_ns = self.due_ns
        if self._held is None or due_ns is None or now_ns < due_ns:
            return None
        told = Passed(self._held, self._gap)
        self._empty_ns = max(self._empty_ns, now_ns) + INTERVAL_NS
        self._held, self._gap = None, False
        return told

    @property
    def due_ns(self) -> int | None:
        """When `elapse` has something to tell."""
        return None if self._held is None else self._empty_ns - (BURST - 1) * INTERVAL_NS


class Storm:
    """When changes are lost or left out: since when, how many, and when that is over.

    Fed with running totals. `edges`, `lost`, `left_out` and `lasted_s` are of this storm, or of the last one.
    """

    def __init__(self) -> None:
        self.edges = self.lost = self.left_out = 0
        self._before = (0, 0, 0)
        self._since_ns = self._last_ns = 0
        self._look_ns: int | None = None

    def begins(self, now_ns: int, *, edges: int, lost: int, left_out: int) -> bool:
        """Whether a storm begins with these totals; once a storm."""
        before, self._before = self._before, (edges, lost, left_out)
        worse = before[1:] != (lost, left_out)
        begins = worse and self._look_ns is None
        if begins:
            self._since_ns, self._look_ns = now_ns, now_ns + CALM_NS
            self.edges = self.lost = self.left_out = 0
        if self._look_ns is not None:
            self.edges += edges - before[0]
            self.lost += lost - before[1]
            self.left_out += left_out - before[2]
        if worse:
            self._last_ns = now_ns
        return begins

    def is_over(self, now_ns: int) -> bool:
        """Whether it ends: nothing was lost or left out for CALM_NS; once a storm."""
        if self._look_ns is None or now_ns < self._look_ns:
            return False
        calm_ns = self._last_ns + CALM_NS
        self._look_ns = calm_ns if now_ns < calm_ns else None
        return self._look_ns is None

    @property
    def lasted_s(self) -> float:
        """Seconds from the first change that did not pass to the last."""
        return (self._last_ns - self._since_ns) / 1e9

    @property
    def due_ns(self) -> int | None:
        """When `is_over` is to be asked. Seldom moved: moving a timer costs more than an edge."""
        return self._look_ns
