"""What a hand does to a button: click, double, long, from the times of edges. Pure.

Nothing is made up: a press that began before anybody looked, or whose edges were lost, is no gesture.
"""

from __future__ import annotations

from typing import NamedTuple

from knoop_hw import model


class Gesture(NamedTuple):
    """One gesture. `at_ns` is the boottime at which its first press began.

    `gap`: edges before it were lost, and with them perhaps gestures.
    """

    value: model.Gesture
    at_ns: int
    gap: bool = False


class Gestures:
    """The gestures of one button: `edge` for each change, in order of time, and `elapse` when `due_ns` has come.

    A `long` is told while the button is still held, after `long_ns` (0: never). A `double` is told with the second
    press, when that begins within `double_ns` of the first one's release (0: none; a click is then told on its
    release, else when no second press came). `settle_ns` is how much later than it happened an edge may be heard of:
    the debounce. What is told does not depend on when `elapse` is called, as long as no edge is later or lost.
    """

    def __init__(self, *, double_ns: int, long_ns: int, settle_ns: int, pressed: bool) -> None:
        """`pressed`: how the button stands now. What is held already becomes no gesture."""
        self._double_ns, self._long_ns, self._settle_ns = double_ns, long_ns, settle_ns
        self._pressed = pressed
        self._began_ns: int | None = None  # of a press that can still become something
        self._clicked: tuple[int, int] | None = None  # began and released: a click that may become a double
        self._gap = False

    def edge(self, pressed: bool, at_ns: int, *, lost: int = 0) -> list[Gesture]:
        """The button is `pressed` or not from `at_ns` on; what that tells."""
        if lost or pressed == self._pressed:  # the same level twice: an edge between them is missing
            return self._after_a_gap(pressed, at_ns)
        told = self._until(at_ns)
        self._pressed = pressed
        if pressed and self._clicked is not None:
            began_ns, self._clicked = self._clicked[0], None
            told.append(self._told("double", began_ns))
        elif pressed:
            self._began_ns = at_ns
        elif self._began_ns is not None:
            began_ns, self._began_ns = self._began_ns, None
            if self._double_ns:
                self._clicked = (began_ns, at_ns)
            else:
                told.append(self._told("click", began_ns))
        return told

    def elapse(self, now_ns: int) -> list[Gesture]:
        """What is told because time passed."""
        return self._until(now_ns - self._settle_ns)

    @property
    def due_ns(self) -> int | None:
        """When `elapse` has something to tell."""
        if self._clicked is not None:
            return self._clicked[1] + self._double_ns + 1 + self._settle_ns
        if self._began_ns is not None and self._long_ns:
            return self._began_ns + self._long_ns + self._settle_ns
        return None

    def _until(self, at_ns: int) -> list[Gesture]:
        """What had become certain before an edge at `at_ns`: there is at most one such thing."""
        if self._clicked is not None and at_ns > self._clicked[1] + self._double_ns:
            began_ns, self._clicked = self._clicked[0], None
            return [self._told("click", began_ns)]
        if self._began_ns is not None and self._long_ns and at_ns >= self._began_ns + self._long_ns:
            began_ns, self._began_ns = self._began_ns, None
            return [self._told("long", began_ns)]
        return []

    def _after_a_gap(self, pressed: bool, at_ns: int) -> list[Gesture]:
        """A click that was over was at least one; of a press under way nobody knows when it ended."""
        told = [] if self._clicked is None else [self._told("click", self._clicked[0])]
        self._pressed, self._clicked, self._gap = pressed, None, True
        self._began_ns = at_ns if pressed else None
        return told

    def _told(self, value: model.Gesture, at_ns: int) -> Gesture:
        gap, self._gap = self._gap, False
        return Gesture(value, at_ns, gap)
