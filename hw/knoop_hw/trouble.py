"""Trouble in the log: a line when it begins and one when it is over, and for what comes and goes no flood of them."""

from __future__ import annotations

import logging
from collections import deque

MOST = 3  # troubles of one thing that are told in WITHIN_S; a plug that is put in again takes two or three tries
WITHIN_S = 600.0  # at worst some 900 lines a day of one thing, which a log on a card bears


class Trouble:
    """The troubles of one thing, `what`. Time comes in with each word."""

    def __init__(self, what: str, *, log: logging.Logger) -> None:
        self._what, self._log = what, log
        self._told_ns: deque[int] = deque(maxlen=MOST)
        self._lasts = self._told = False
        self._counted = 0
        self._reason = self._end = ""

    def is_(self, reason: str, now_ns: int, *, end: str = "is back", follow: bool = False) -> None:
        """There is trouble; `end` tells its end.

        Said again while it lasts, it is told only if it was merely counted until now. `follow`: that the reason is
        another one by now is told to who asks for more (-v).
        """
        self._counted += not self._lasts
        self._lasts = True
        if follow and self._told and reason != self._reason:
            self._log.debug("%s: now: %s", self._what, reason)
        self._reason = reason
        if self._told or self._often(now_ns):
            return
        missed = self._counted - 1
        times = f"; {missed} more since this was last said" if missed else ""
        self._told_ns.append(now_ns)
        last = f"; it comes and goes, and is told at most {MOST} times in {WITHIN_S / 60:g} min"
        more = last if self._often(now_ns) else ""
        self._log.warning("%s: %s%s%s", self._what, reason, times, more)
        self._told, self._counted, self._end = True, 0, end

    def _often(self, now_ns: int) -> bool:
        """Whether it was told as often lately as it may be."""
        return len(self._told_ns) == MOST and now_ns - self._told_ns[0] < WITHIN_S * 1e9

    def over(self) -> None:
        """There is no trouble, or none any more."""
        if self._told:
            self._log.warning("%s: %s", self._what, self._end)
        self._lasts = self._told = False
