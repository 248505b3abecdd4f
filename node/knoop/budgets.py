"""How much each person may still ask: a bucket of tokens a bare address. Pure; times come in as boottime."""

from __future__ import annotations

from collections import OrderedDict

from knoop.jid import Jid

MOST = 1000  # people whose haste is known


class Budgets:
    """`burst` things at once, and `per_s` a second on and on."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst, self._per_s = float(burst), per_s
        self._left: OrderedDict[Jid, tuple[float, int, bool]] = OrderedDict()

    def spend(self, who: Jid, now_ns: int) -> tuple[bool, bool]:
        """Whether there was something left; and whether it is to be told that there was not: once in a flood."""
        left, at_ns, told = self._left.pop(who, (self._burst, now_ns, False))
        left = min(self._burst, left + (now_ns - at_ns) / 1e9 * self._per_s)
        enough, told = left >= 1, told and left < self._burst / 2
        self._left[who] = (left - enough, now_ns, told or not enough)
        if len(self._left) > MOST:
            self._left.popitem(last=False)
        return enough, not (enough or told)
