"""Which changes of a line last, where the kernel does not say so. Pure."""

from __future__ import annotations


class Debounce:
    """A level that counts once it has rested for `rest_ns`. Pure.

    The accepted level carries the time of the edge that began its rest, not of the moment it was believed.
    """

    def __init__(self, level: bool, *, rest_ns: int) -> None:
        self.level = level
        self._rest_ns = rest_ns
        self._edge: tuple[bool, int] | None = None

    def edge(self, level: bool, at_ns: int) -> int | None:
        """The line changed to `level`. When the level before it began, if that has rested and nobody asked `settle`."""
        if self._edge is not None and self._edge[0] == level:
            return None  # the edge between was lost: the level may have rested since the first
        rested_ns = None if self.due_ns is None or at_ns <= self.due_ns else self.settle(at_ns, actual=not level)
        self._edge = None if self._edge is None and level == self.level else (level, at_ns)
        return rested_ns

    @property
    def due_ns(self) -> int | None:
        """When `settle` may be asked."""
        return None if self._edge is None else self._edge[1] + self._rest_ns

    def settle(self, now_ns: int, *, actual: bool) -> int | None:
        """When the new level began, if it has rested by now and the line (`actual`) still has it.

        Else None.
        """
        if self._edge is None or self.due_ns is None or now_ns < self.due_ns:
            return None
        level, at_ns = self._edge
        if actual != level:  # an edge was lost: what the line shows counts, from now
            self._edge = (actual, now_ns)
            return None
        self._edge = None
        if level == self.level:
            return None
        self.level = level
        return at_ns
