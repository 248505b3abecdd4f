"""How long the end of a node may take, from SIGTERM to its exit: 5 s in sum, whoever does not answer. Pure.

    1.0 s  SETTLE_S   what is on its way to the server may still be acknowledged, else it is told again
    1.2 s  LINK_S     every task ends; the good-bye to the server is the longest (session.GOODBYE_S)
    0.3 s  ANSWERS_S  what is being said to people, and the audit
    the rest          what is in memory goes to the disk; nearly all of it, where the server and people are quick
    0.8 s  CLOSE_S    both databases fold their logs in, which the next start would do as well

A part that takes less leaves the rest to the disk: of all that may be late it is the one that must not be cut short.
"""

from __future__ import annotations

from knoop_hw.clock import Clock

WHOLE_S = 4.3  # the interpreter's own end takes 0.2 s on a PC, perhaps 0.6 s on a Raspberry Pi Zero
SETTLE_S = 1.0
LINK_S = 1.2
ANSWERS_S = 0.3
CLOSE_S = 0.8
PATIENT_S = 5.0  # for each part, where the node goes on with another agent


class Ending:
    """The time that is left. Before `begin` there is no hurry."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ns: int | None = None

    def begin(self) -> None:
        """The node was told to stop; the first time counts."""
        if self._until_ns is None:
            self._until_ns = self._clock.boottime_ns() + int(WHOLE_S * 1e9)

    def left_s(self, at_most_s: float = PATIENT_S, *, keep_s: float = CLOSE_S) -> float:
        """How long the next part may take, `keep_s` kept back for what comes behind it."""
        if self._until_ns is None:
            return PATIENT_S
        left_s = (self._until_ns - self._clock.boottime_ns()) / 1e9 - keep_s
        return max(0.0, min(at_most_s, left_s))
