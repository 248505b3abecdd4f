"""Which telegrams of DSMR 2.2 and 3.0 to believe: they have no CRC, and parity misses two flipped bits of one byte.

What is left is what a meter does not do: change its lines or the width of a number, count back, count more than the
connection carries, or be in another state for one telegram. What passes all the same: other digits of a power, up to
MOST_KW, and of a total by no more than it may count in that time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from knoop_hw.errors import BadReading
from knoop_hw.protocols.p1_telegram import parse

# The largest connection that has such a meter is 3 x 80 A at 230 V: 55 kW (Dutch small consumers).
MOST_KW = 60.0
PERIOD_S = 10.0  # between two telegrams
HOUR_S = 3600.0
# Field → the most that it grows in an hour, and how old it may be when it is sent. Gas: G25, the largest for small
# consumers, carries 40 m³/h and is read once an hour. Heat: 1 GJ/h is 278 kW. Water: DN 40 carries 16 m³/h.
_COUNTERS: Mapping[str, tuple[float, float]] = {
    **{f"{name}_{tariff}": (MOST_KW, PERIOD_S) for name in ("energy", "returned") for tariff in ("t1", "t2")},
    "gas": (40, HOUR_S), "water": (16, HOUR_S), "heat": (1, HOUR_S),
}  # fmt: skip
_STATES = ("tariff", "breaker", "limit")

_GRAMMAR = re.compile(
    rb"/[A-Za-z]{3}\d[ -~]*\r\n(?:\r\n)?"
    rb"(?:(?:\d-\d{1,2}:\d{1,3}\.\d{1,3}\.\d{1,3}(?:\([ -'*-~]*\))+|\(\d+(?:\.\d+)?\))\r\n)+!"
)
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
# Messages come and go; what type of meter it is must not change by a digit.
_MESSAGES, _TYPE = re.compile(rb"\d-\d:96\.13\."), re.compile(rb"\d-\d:24\.1\.0\(")


@dataclass(frozen=True, slots=True)
class _Seen:
    shape: tuple[bytes, ...]
    values: Mapping[str, float]
    at_ns: int

    def follows(self, earlier: _Seen | None) -> bool:
        """Whether one meter may have sent both."""
        if earlier is None or self.shape != earlier.shape or self.values.keys() != earlier.values.keys():
            return False
        if any(self.values.get(name) != earlier.values.get(name) for name in _STATES):
            return False
        elapsed_s = (self.at_ns - earlier.at_ns) / 1e9
        for name, (per_hour, late_s) in _COUNTERS.items():
            if name in self.values:
                grown = self.values[name] - earlier.values[name]
                if not 0 <= grown <= per_hour * (elapsed_s + late_s) / HOUR_S:
                    return False
        return True


class Unchecked:
    """`believes` tells, of one telegram after the other, whether it can be right.

    A telegram is believed when it may follow the last one believed. If not it is kept, and the next one is believed
    when it may follow that: so it begins, and so it goes on with another tariff, another meter, or after a number that
    was wrong. `doubted` counts those that nothing followed.
    """

    def __init__(self) -> None:
        self.doubted = 0
        self._last: _Seen | None = None
        self._other: _Seen | None = None

    def believes(self, telegram: bytes, boottime_ns: int) -> bool:
        """Whether to take this one; `telegram` goes from `/` to `!`."""
        seen = _seen(telegram, boottime_ns)
        if seen is None:
            self.doubted += 1
            return False
        follows = seen.follows(self._other)
        if self._other is not None and not follows:
            self.doubted += 1
        if follows or seen.follows(self._last):
            self._last, self._other = seen, None
            return True
        self._other = seen
        return False


def _seen(telegram: bytes, at_ns: int) -> _Seen | None:
    if _GRAMMAR.fullmatch(telegram) is None:
        return None
    try:
        values = parse(telegram)
    except BadReading:
        return None
    if any(values.get(name, 0) > MOST_KW for name in ("power", "power_returned")):
        return None
    return _Seen(_shape(telegram), values, at_ns)


def _shape(telegram: bytes) -> tuple[bytes, ...]:
    """The lines with their numbers blotted out; codes, units and widths stay."""
    lines = []
    for line in telegram.split(b"\r\n"):
        if _TYPE.match(line):
            lines.append(line)
        elif not _MESSAGES.match(line):
            code, bracket, groups = line.partition(b"(")
            lines.append(code + bracket + groups.translate(_DIGITS))
    return tuple(lines)
