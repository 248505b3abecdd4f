"""history: what a channel was, in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from knoop.access import Role
from knoop.command import N_, Command, House, Instant, Reply, Request, Sentence, Span, chosen, counted, refuse
from knoop.record import Record
from knoop.sparkline import buckets, sparkline
from knoop_hw.model import Channel

USUAL_S = 86400.0
LONGEST_S = 366 * 86400.0
MOST_RECORDS = 10_000  # a day at one every 9 s; more is counted as "the newest"
MOST_CHANNELS = 5
LAST = 5  # entries listed
AHEAD_S = 86400.0  # readings of the hours that a clock was set back by (a zone, a summer time) are no less history


async def run(request: Request, house: House) -> Reply:
    """Least, mean and most of a number and its curve, or how often and how long; over a day unless said otherwise."""
    channels = chosen(request, house)
    if not channels:
        example = Sentence(N_("history door 24h"))
        return refuse(N_("Say of what and since when, for example: {example}"), example=example)
    if len(channels) > MOST_CHANNELS:
        choices = tuple(channel.name for channel in channels)
        return refuse(N_("That is too much at once; choose from: {choices}."), choices=choices)
    until_ns = house.clock.time_ns()
    span_s = min(request.for_s or USUAL_S, LONGEST_S)
    since_ns = until_ns - round(span_s * 1e9)
    lines: list[Sentence] = []
    for channel in channels:
        records = await house.store.history(
            channel.name, since_ns=since_ns, until_ns=until_ns + round(AHEAD_S * 1e9), limit=MOST_RECORDS
        )
        before = await house.store.history(channel.name, until_ns=since_ns - 1, limit=1)
        timed = [(record.at_ns, record) for record in records if record.at_ns is not None]
        timed.sort(key=lambda each: each[0])  # as they came, but for a clock that was set back between two
        if before and len(records) < MOST_RECORDS:  # what was then, lasted until the first change
            timed.insert(0, (since_ns, before[0]))
        lines += _summary(channel, records, span_s, before)
        if not records:
            continue
        if channel.type == "number":
            lines += _numbers(timed, since_ns, until_ns)
        elif channel.kind == "button":
            lines += _gestures(records)
        elif channel.type == "boolean":
            lines += _times(timed, until_ns)
        if len(channels) == 1:
            lines += [_entry(record) for record in records[-LAST:]]
    return Reply(tuple(lines))


def _summary(channel: Channel, records: Sequence[Record], span_s: float, before: Sequence[Record]) -> list[Sentence]:
    values = {"channel": channel, "span": Span(span_s)}
    if not records and before and channel.kind != "button":  # a gesture does not last
        return [Sentence(N_("{channel}: no change in the last {span}, still {value}."), values | {"value": before[0]})]
    if not records:
        return [Sentence(N_("{channel}: nothing in the last {span}."), values)]
    if len(records) == MOST_RECORDS:
        return [Sentence(N_("{channel}: the newest {count} readings."), values | {"count": len(records)})]
    return [
        counted(
            "{channel}, last {span}: {count} reading.",
            "{channel}, last {span}: {count} readings.",
            len(records),
            **values,
        )
    ]


def _numbers(timed: Sequence[tuple[int, Record]], since_ns: int, until_ns: int) -> list[Sentence]:
    """Least and most with their times, the mean over time, and the curve."""
    points = [(at_ns, float(r.value) if isinstance(r.value, int | float) else None) for at_ns, r in timed]
    known = [(value, at_ns, record) for (at_ns, value), (_, record) in zip(points, timed, strict=True)
             if value is not None]  # fmt: skip
    if not known:
        return []
    (_, least_ns, least), (_, most_ns, most) = min(known, key=lambda k: k[0]), max(known, key=lambda k: k[0])
    values = {
        "least": least, "least_at": Instant(least_ns), "most": most, "most_at": Instant(most_ns),
        "mean": replace(least, value=_rounded(_mean(points, until_ns), least, most), quality="ok"),
    }
    lines = [Sentence(N_("Lowest {least} ({least_at}), mean {mean}, highest {most} ({most_at})."), values)]
    if len(known) > 1 and least.value != most.value:
        start_ns = max(since_ns, points[0][0]) if len(timed) >= MOST_RECORDS else since_ns
        lines.append(Sentence("{curve}", {"curve": sparkline(buckets(points, since_ns=start_ns, until_ns=until_ns))}))
    return lines


def _rounded(mean: float, *ends: Record) -> float:
    """With a decimal more than the readings have, where a channel does not say how many: `158.3` of 0 and 255."""
    exponents = (Decimal(f"{end.value:.10g}").normalize().as_tuple().exponent for end in ends)
    return round(mean, 1 + max(-min(each, 0) if isinstance(each, int) else 0 for each in exponents))


def _gestures(records: Sequence[Record]) -> list[Sentence]:
    """How often each gesture of a button was made."""
    count = Counter(record.value for record in records if record.value)
    kinds = {record.value: record for record in records if record.value}
    done = tuple(
        Sentence("{gesture} {count}×", {"gesture": replace(kinds[value], quality="ok"), "count": often})
        for value, often in count.most_common()
    )
    return [Sentence(N_("In all: {done}."), {"done": done})] if done else []


def _times(timed: Sequence[tuple[int, Record]], until_ns: int) -> list[Sentence]:
    """How often and how long it was on or open, or there was motion."""
    count, on_ns, before = 0, 0, None
    for (at_ns, record), end_ns in zip(timed, [*(at_ns for at_ns, _ in timed[1:]), until_ns], strict=True):
        if record.value is True:
            count += before is not True
            on_ns += max(0, end_ns - at_ns)
        before = record.value
    if not count:
        return []
    values = {"state": replace(timed[-1][1], value=True, quality="ok"), "span": Span(round(on_ns / 1e9))}
    return [counted("In all: {state} {count} time, for {span}.", "In all: {state} {count} times, for {span}.", count,
                    **values)]  # fmt: skip


def _mean(points: Sequence[tuple[int, float | None]], until_ns: int) -> float:
    """The mean over time: each value counts for as long as it lasted, as unchanged ones are not repeated."""
    ends = [*(at_ns for at_ns, _ in points[1:]), until_ns]
    weighed = [(v, max(0, end - at_ns)) for (at_ns, v), end in zip(points, ends, strict=True) if v is not None]
    total = sum(weight for _, weight in weighed)
    if not total:
        return sum(value for value, _ in weighed) / len(weighed)
    return sum(value * weight for value, weight in weighed) / total


def _entry(record: Record) -> Sentence:
    return Sentence("{time} {value}", {"time": Instant(record.at_ns), "value": record})


COMMAND = Command(
    verb=N_("history"),
    role=Role.VIEWER,
    summary=N_("what something was"),
    usage=(N_("history temp"), N_("history door 24h")),
    run=run,
    takes="channels",
    aliases=("geschiedenis", "verloop", "historie"),
)
