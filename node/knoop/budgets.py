"""How much each person may still ask: a bucket of tokens a bare address. Pure; times come in as boottime."""

from __future__ import annotations

from collections import OrderedDict

from knoop.jid import Jid

MOST = 1000  # people whose haste is known
ANYBODY = Jid("", "")  # who has no rights, all as one: an attacker has as many addresses as he likes


class Budgets:
    """`burst` things at once, and `per_s` a second on and on."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst, self._per_s = float(burst), per_s
        self._left: OrderedDict[Jid, tuple[float, int, bool]] = OrderedDict()

    def spend(self, who: Jid, now_ns: int) -> tuple[bool, bool]:
        """Whether there was something left; and whether it is to be told that there was not: once in a flood."""
        left, told = self.left(who, now_ns), self._left.pop(who, (0, 0, False))[2]
        enough, told = left >= 1, told and left < self._burst / 2
        self._left[who] = (left - enough, now_ns, told or not enough)
        if len(self._left) > MOST:
            self._left.popitem(last=False)
        return enough, not (enough or told)

    def left(self, who: Jid, now_ns: int) -> float:
        """How much there is left, which is not spent by asking."""
        left, at_ns, _ = self._left.get(who, (self._burst, now_ns, False))
        return min(self._burst, left + (now_ns - at_ns) / 1e9 * self._per_s)
