"""What an observer got of a node's readings, and what that says about loss, repeats and order. Pure.

A reading is known by run, channel and seq alone. Within one run and channel every seq from 1 to the highest one that
anything told of must be there; what is not is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from xml.etree import ElementTree as ET

READINGS = "{urn:knoop:1:readings}"
STATE = "{urn:knoop:1:state}"

Way = Literal["push", "history"]
Key = tuple[str, str]
"""A run and a channel."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """One reading, and how it came: `pushed` and `fetched` are how often, `way` and `at_s` are of the first time.

    `number` is its place among the first arrivals, `at_s` the event loop's time. `at` is when it happened (UTC), None
    where the node did not know yet. `value` is the text on the wire.
    """

    run: str
    channel: str
    seq: int
    cls: str
    value: str
    quality: str
    at: datetime | None
    way: Way
    at_s: float
    number: int
    pushed: int = 0
    fetched: int = 0

    @property
    def identity(self) -> str:
        """What makes it recognisable as a repeat."""
        return f"{self.run}-{self.channel}-{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What is known of one channel in one run. `lost` are seqs that nothing brought.

    `inversions` are pairs of seqs: the first was pushed for the first time after the second, greater one.
    `repeats` are pushes of what was known already; `repaired` came by history only, or by history first.
    """

    run: str
    channel: str
    cls: str
    highest: int
    readings: int
    arrivals: int
    repeats: int
    repaired: int
    lost: tuple[int, ...]
    inversions: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All series, and what they add up to. `conflicts` are identities that came with different contents."""

    series: tuple[Series, ...]
    conflicts: tuple[str, ...]

    @property
    def readings(self) -> int:
        """Different readings that came."""
        return sum(one.readings for one in self.series)

    @property
    def arrivals(self) -> int:
        """Readings pushed, repeats included."""
        return sum(one.arrivals for one in self.series)

    @property
    def repeats(self) -> int:
        """Pushed readings that were known already."""
        return sum(one.repeats for one in self.series)

    @property
    def repaired(self) -> int:
        """Readings that history brought first."""
        return sum(one.repaired for one in self.series)

    @property
    def lost(self) -> tuple[str, ...]:
        """The identities of what must exist and did not come."""
        return tuple(f"{one.run}-{one.channel}-{seq}" for one in self.series for seq in one.lost)

    @property
    def inversions(self) -> tuple[str, ...]:
        """What was pushed for the first time after a later one of its series, as `run-channel: seq after seq`."""
        return tuple(
            f"{one.run}-{one.channel}: {seq} after {greater}" for one in self.series for seq, greater in one.inversions
        )

    @property
    def duplicate_rate(self) -> float:
        """Repeats per pushed reading."""
        return self.repeats / self.arrivals if self.arrivals else 0.0

    def of(self, classes: Collection[str]) -> Verdict:
        """The same for these classes only; a series that only the state told of has the class that it said."""
        kept = tuple(one for one in self.series if one.cls in classes)
        names = {(one.run, one.channel) for one in kept}
        conflicts = (identity for identity in self.conflicts if tuple(identity.split("-")[:2]) in names)
        return Verdict(series=kept, conflicts=tuple(conflicts))

    def __str__(self) -> str:
        """One line for a report."""
        text = (
            f"{self.readings} readings in {len(self.series)} series, {len(self.lost)} lost, "
            f"{len(self.inversions)} inversions, {self.repeats} repeats of {self.arrivals} pushed "
            f"({self.duplicate_rate:.2%}), {self.repaired} by history"
        )
        return f"{text}, {len(self.conflicts)} CONFLICTS" if self.conflicts else text


@dataclass(slots=True)
class _Series:
    cls: str = ""
    highest: int = 0
    arrivals: int = 0
    repeats: int = 0
    pushed_up_to: int = 0
    readings: dict[int, Reading] = field(default_factory=dict)
    inversions: list[tuple[int, int]] = field(default_factory=list)


class Ledger:
    """Enters payloads as they come; answers what is missing."""

    def __init__(self) -> None:
        self._series: dict[Key, _Series] = {}
        self._conflicts: list[str] = []
        self._in_order: list[Reading] = []

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Each reading once, in the order of first arrival."""
        return tuple(self._in_order)

    def enter(self, payload: ET.Element, *, way: Way, at_s: float) -> int:
        """A `readings` element came; returns how many readings in it were new. Raises ValueError for another one."""
        if payload.tag != f"{READINGS}readings":
            raise ValueError(f"{payload.tag} is no readings element")
        start, new = payload.get("at"), 0
        began = None if start is None else datetime.fromisoformat(start)
        for child in payload:
            if not child.tag.startswith(READINGS):
                continue
            at = None if began is None else began + timedelta(milliseconds=int(child.get("dt", "0")))
            reading = Reading(
                run=payload.attrib["run"], channel=child.attrib["channel"], seq=int(child.attrib["seq"]),
                cls=child.get("class", "telemetry"), value=child.text or "", quality=child.get("quality", "ok"), at=at,
                way=way, at_s=at_s, number=len(self._in_order),
            )
            new += self._enter(reading, way)
        return new

    def note(self, payload: ET.Element) -> None:
        """A `state` element came: these seqs exist, whether or not their readings came. Raises ValueError."""
        if payload.tag != f"{STATE}state":
            raise ValueError(f"{payload.tag} is no state element")
        for child in payload:
            if child.tag.startswith(STATE) and "seq" in child.attrib:
                series = self._series.setdefault((child.attrib["run"], child.attrib["channel"]), _Series())
                series.cls = child.get("class", "telemetry")
                series.highest = max(series.highest, int(child.attrib["seq"]))

    def gaps(self) -> Iterator[tuple[str, str, int, int]]:
        """Run, channel, first and last seq of each stretch in which something is missing: one a series."""
        for (run, channel), series in self._series.items():
            if lost := _lost(series):
                yield run, channel, lost[0], lost[-1]

    def verdict(self) -> Verdict:
        """What is known by now."""
        return Verdict(
            series=tuple(_judged(run, channel, series) for (run, channel), series in sorted(self._series.items())),
            conflicts=tuple(self._conflicts),
        )

    def _enter(self, reading: Reading, way: Way) -> bool:
        series = self._series.setdefault((reading.run, reading.channel), _Series())
        known = series.readings.get(reading.seq)
        if known is None:
            series.readings[reading.seq] = reading
            series.cls = reading.cls
            series.highest = max(series.highest, reading.seq)
            self._in_order.append(reading)
            if way == "push" and reading.seq < series.pushed_up_to:
                series.inversions.append((reading.seq, series.pushed_up_to))
        elif (known.cls, known.value, known.quality) != (reading.cls, reading.value, reading.quality):
            self._conflicts.append(reading.identity)
        entry = known or reading
        if way == "push":
            series.arrivals += 1
            series.repeats += known is not None
            series.pushed_up_to = max(series.pushed_up_to, reading.seq)
            entry.pushed += 1
        else:
            entry.fetched += 1
        return known is None


def _lost(series: _Series) -> list[int]:
    if len(series.readings) == series.highest:
        return []
    return [seq for seq in range(1, series.highest + 1) if seq not in series.readings]


def _judged(run: str, channel: str, series: _Series) -> Series:
    return Series(
        run=run, channel=channel, cls=series.cls, highest=series.highest, readings=len(series.readings),
        arrivals=series.arrivals, repeats=series.repeats,
        repaired=sum(reading.way == "history" for reading in series.readings.values()),
        lost=tuple(_lost(series)), inversions=tuple(series.inversions),
    )


def timestamp(at: datetime) -> str:
    """UTC to the millisecond, as the wire has it (XEP-0082)."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
