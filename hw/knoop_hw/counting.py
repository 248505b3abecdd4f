"""What pulses say: how many ever, and how fast. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

GATE_NS = 1_000_000_000  # a rate is measured over at least this long, from pulse to pulse
SLOWEST_NS = 3600_000_000_000  # one pulse an hour is the least that is a flow; a total says more about less than that
ZERO_NS = 2_000_000_000  # nor is a flow over within an instant of its last pulse
MOST = 2**53  # pulses: beyond it a float, which a reading is, does not hold every whole number
ZERO_PERIODS = 16  # pulses that stay away for as many periods as this: less than 1/16 of what it was


class Measured(NamedTuple):
    """Pulses per second. `known` is false until two pulses, or an hour without one, say what it is."""

    per_s: float
    known: bool = True


class Rate:
    """How fast pulses come: `pulse` for each, in order of time, and `elapse` when `due_ns` has come.

    Measured from pulse to pulse (so exact while the flow is steady, whatever the gate), at most once in GATE_NS. When
    pulses stay away it is at most 1 / (time since the last pulse): told at twice the usual period, four times and so
    on, and then 0. The first pulse after that says that something flows, the second one how much.
    """

    def __init__(self, now_ns: int) -> None:
        self.measured = Measured(0.0, known=False)
        self._from_ns: int | None = None  # the pulse that is measured from
        self._last_ns = now_ns  # the last pulse; before the first one, when looking began
        self._told_ns = now_ns - GATE_NS
        self._count = 0  # pulses after the one that is measured from
        self._period_ns = 0.0  # between pulses when last measured; 0 while nothing flows

    def pulse(self, count: int, at_ns: int) -> Measured | None:
        """`count` pulses, the last of them at `at_ns`; a new rate where they tell one."""
        self._last_ns = at_ns
        if self._from_ns is None:
            self._from_ns, self._count = at_ns, 0
            return None
        self._count += count
        return self._measure(at_ns) if at_ns - max(self._from_ns, self._told_ns) >= GATE_NS else None

    def elapse(self, now_ns: int) -> Measured | None:
        """A new rate because time passed."""
        due_ns = self.due_ns
        if due_ns is None or now_ns < due_ns:
            return None
        if self._measurable:
            return self._measure(now_ns)
        if now_ns >= self._zero_ns:
            self._from_ns, self._count, self._period_ns = None, 0, 0.0
            return self._tell(Measured(0.0), now_ns)
        return self._tell(Measured(1e9 / (now_ns - self._last_ns)), now_ns)

    @property
    def due_ns(self) -> int | None:
        """When `elapse` has something to tell."""
        if self._from_ns is not None and self._measurable:
            return max(self._from_ns, self._told_ns) + GATE_NS
        if not self._period_ns:
            return self._zero_ns if not self.measured.known or self._from_ns is not None else None
        told_after_ns = 1e9 / self.measured.per_s  # the period itself, or how long ago the last pulse was when told
        return max(min(self._last_ns + int(2 * told_after_ns), self._zero_ns), self._told_ns + GATE_NS)

    @property
    def _zero_ns(self) -> int:
        if not self._period_ns:
            return self._last_ns + SLOWEST_NS
        longest = max(SLOWEST_NS, 2 * self._period_ns)
        return self._last_ns + int(min(max(ZERO_PERIODS * self._period_ns, ZERO_NS), longest))

    @property
    def _measurable(self) -> bool:
        """Whether there are two pulses with time between them."""
        return self._from_ns is not None and self._last_ns > self._from_ns

    def _measure(self, now_ns: int) -> Measured | None:
        if self._from_ns is None or not self._measurable:
            return None
        self._period_ns = (self._last_ns - self._from_ns) / self._count
        self._from_ns, self._count = self._last_ns, 0
        return self._tell(Measured(1e9 / self._period_ns), now_ns)

    def _tell(self, measured: Measured, now_ns: int) -> Measured | None:
        self._told_ns = now_ns
        changed, self.measured = measured != self.measured, measured
        return measured if changed else None


def written(totals: Mapping[str, int]) -> str:
    """Totals as they are kept."""
    return json.dumps(dict(totals), sort_keys=True) + "\n"


def read(text: str) -> dict[str, int]:
    """What `written` wrote. Raises ValueError for anything else."""
    try:
        raw = json.loads(text)
    except RecursionError:
        raw = None
    if not isinstance(raw, dict) or not all(type(count) is int and 0 <= count < MOST for count in raw.values()):
        raise ValueError("not a table of counts")
    return raw
