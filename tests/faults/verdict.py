"""What was lost, what came in the wrong order, what a kill cost, how long it took to recover. Pure."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from tests.faults.feeder import Fed
from tests.faults.plan import Fault

IN_HAND_S = 1.0  # how far before its kill -9 a reading was fed that the hardware half may still have had in its hands


class Got(Protocol):
    """A reading as an observer knows it: `knoop_bench.ledger.Reading`, or what another judge has of its kind."""

    run: str
    channel: str
    seq: int
    value: str
    at_s: float
    way: Any
    pushed: int

    @property
    def identity(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A fault as it happened, in the loop's time; `repeats` are those that came until the next one began."""

    fault: Fault
    began_s: float
    ended_s: float
    online: bool
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What one kill -9 of the hardware half cost: so many numbers, the oldest of them fed so long before."""

    at_s: float
    unwritten: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How long after its end the first number said after it arrived; `overtaken` by the next fault are not counted."""

    hits: int
    offline: int
    overtaken: int
    median_s: float | None
    longest_s: float | None
    repeats: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of everything fed: `lost` has neither arrived nor was it in the hands of a hardware half when that was killed.

    `unpublished` was only found by asking, although who judges was there when those before and after it were pushed.
    `unalarmed` are alarms that arrived at the subscriber and not at the person.
    """

    fed: int
    arrived: int
    by_history: int
    lost: tuple[Fed, ...]
    unpublished: tuple[str, ...]
    kills: tuple[Kill, ...]
    alarms: int
    told: int
    unalarmed: tuple[str, ...]
    told_again: int
    latency_median_s: float | None
    latency_longest_s: float | None

    @property
    def unwritten(self) -> int:
        """What the kills of the hardware half cost, in sum."""
        return sum(kill.unwritten for kill in self.kills)


def judge(
    fed: Sequence[Fed], got: Sequence[Got], *, kills: Sequence[float], told: Sequence[str], alarms: Collection[str],
    away: Sequence[tuple[float, float]] = (),
) -> Verdict:  # fmt: skip
    """`kills`: when the hardware half was killed. `told`: ids of the messages to the person. `alarms`: channels.

    `away`: from when to when who judges was not there.
    """
    by_number = arrivals(fed, got)
    missing = [one for one in fed if (one.channel, one.number) not in by_number]
    found, excused = [], set[Fed]()
    for at_s in kills:
        mine = _in_hand(fed, missing, at_s)
        excused |= mine
        found.append(Kill(
            at_s=at_s, unwritten=len(mine), oldest_s=max((at_s - one.at_s for one in mine), default=0.0),
        ))  # fmt: skip
    wanted = [reading.identity for (channel, _), reading in by_number.items() if channel in alarms]
    times, counts = _latencies(fed, by_number), Counter(told)
    return Verdict(
        fed=len(fed), arrived=len(by_number), by_history=sum(one.way == "history" for one in by_number.values()),
        lost=tuple(one for one in missing if one not in excused),
        unpublished=tuple(unpublished(fed, by_number, got, away)), kills=tuple(found),
        alarms=len(wanted), told=sum(identity in counts for identity in wanted),
        unalarmed=tuple(identity for identity in wanted if identity not in counts),
        told_again=sum(counts[identity] - 1 for identity in wanted if identity in counts),
        latency_median_s=median(times) if times else None, latency_longest_s=max(times, default=None),
    )


def arrivals(fed: Iterable[Fed], got: Iterable[Got]) -> dict[tuple[str, int], Got]:
    """(channel, number) → the reading that brought it first, of those numbers that were fed."""
    wanted = {(one.channel, one.number) for one in fed}
    found: dict[tuple[str, int], Got] = {}
    for reading in got:
        if reading.value and (key := (reading.channel, _number(reading.value))) in wanted:
            found.setdefault(key, reading)
    return found


def unpublished(
    fed: Iterable[Fed], by_number: Mapping[tuple[str, int], Got], got: Iterable[Got],
    away: Sequence[tuple[float, float]],
) -> Iterator[str]:  # fmt: skip
    """What was never pushed, and not because who judges was away: it was due between those before and after it."""
    pushed: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for reading in got:
        if reading.way == "push":
            insort(pushed[reading.run, reading.channel], (reading.seq, reading.at_s))
    for one in fed:
        reading = by_number.get((one.channel, one.number))
        if reading is None or reading.pushed:
            continue
        series = pushed[reading.run, reading.channel]
        place = bisect_right(series, (reading.seq, 0.0))
        after_s = max(one.at_s, series[place - 1][1] if place else 0.0)
        before_s = series[place][1] if place < len(series) else float("inf")
        if not any(began_s <= before_s and after_s <= ended_s for began_s, ended_s in away):
            yield reading.identity


def recoveries(hits: Sequence[Hit], fed: Sequence[Fed], got: Iterable[Got], lost: Iterable[Fed]) -> dict[str, Recovery]:
    """Fault's name → what followed its hits."""
    by_number = arrivals(fed, got)
    began_s = [hit.began_s for hit in hits]
    times: Mapping[str, list[float]] = defaultdict(list)
    losses: Counter[str] = Counter()
    for one in lost:  # it may have been on its way for a while: blame who began last before it was said or in 1 s
        at = bisect_right(began_s, one.at_s + 1.0) - 1
        losses[hits[at].fault.name if at >= 0 else "none"] += 1
    overtaken: Counter[str] = Counter()
    after = _first_after(fed, by_number)
    for number, hit in enumerate(hits):
        arrival_s = after(hit.ended_s)
        until_s = began_s[number + 1] if number + 1 < len(hits) else float("inf")
        if arrival_s is None or arrival_s > until_s:
            overtaken[hit.fault.name] += 1
        else:
            times[hit.fault.name].append(arrival_s - hit.ended_s)
    return {name: _recovery(name, hits, times[name], overtaken[name], losses[name]) for name in sorted(
        {hit.fault.name for hit in hits}
    )}


def slope_per_min(samples: Sequence[tuple[float, float]]) -> float:
    """Least squares: how much the second of (seconds, value) grows a minute; 0.0 for fewer than two."""
    if len(samples) < 2:
        return 0.0
    mean_s = sum(at for at, _ in samples) / len(samples)
    mean = sum(value for _, value in samples) / len(samples)
    spread = sum((at - mean_s) ** 2 for at, _ in samples)
    return 60.0 * sum((at - mean_s) * (value - mean) for at, value in samples) / spread if spread else 0.0


def _in_hand(fed: Sequence[Fed], missing: Sequence[Fed], at_s: float) -> set[Fed]:
    """The end of what each channel had said by `at_s`, as far as it is missing; a gap before it is another matter."""
    gone, found, whole = set(missing), set[Fed](), set[str]()
    for one in reversed(fed):
        if one.at_s > at_s or one.channel in whole:
            continue
        if one in gone and at_s - one.at_s <= IN_HAND_S:
            found.add(one)
        else:
            whole.add(one.channel)
    return found


def _latencies(fed: Iterable[Fed], by_number: Mapping[tuple[str, int], Got]) -> list[float]:
    found = []
    for one in fed:
        reading = by_number.get((one.channel, one.number))
        if reading is not None and reading.way != "history":
            found.append(reading.at_s - one.at_s)
    return found


def _first_after(fed: Sequence[Fed], by_number: Mapping[tuple[str, int], Got]) -> Any:
    """A function: when the first number that was said after a moment arrived. `fed` is in order."""
    said_s = [one.at_s for one in fed]
    arrived_s = [
        reading.at_s if (reading := by_number.get((one.channel, one.number))) and reading.way != "history"
        else float("inf") for one in fed
    ]  # fmt: skip
    earliest, best = [float("inf")] * (len(fed) + 1), float("inf")
    for at in reversed(range(len(fed))):
        best = min(best, arrived_s[at])
        earliest[at] = best
    return lambda moment_s: None if (at := earliest[bisect_right(said_s, moment_s)]) == float("inf") else at


def _recovery(name: str, hits: Iterable[Hit], times: Sequence[float], overtaken: int, lost: int) -> Recovery:
    mine = [hit for hit in hits if hit.fault.name == name]
    return Recovery(
        hits=len(mine), offline=sum(not hit.online for hit in mine), overtaken=overtaken, lost=lost,
        median_s=round(median(times), 2) if times else None, longest_s=round(max(times), 2) if times else None,
        repeats=sum(hit.repeats for hit in mine),
    )  # fmt: skip


def _number(text: str) -> int:
    try:
        return int(float(text))
    except ValueError:
        return -1
