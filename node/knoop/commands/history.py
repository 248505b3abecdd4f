"""history: what a channel was, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from knoop.access import Role
from knoop.command import N_, Command, House, Instant, Reply, Request, Sentence, Span, chosen, counted, refuse
from knoop.record import Record
from knoop_hw.model import Channel

USUAL_S = 86400.0
LONGEST_S = 366 * 86400.0
MOST_RECORDS = 10_000  # a day at one every 9 s; more is counted as "the newest"
MOST_CHANNELS = 5
LAST = 5  # entries listed


async def run(request: Request, house: House) -> Reply:
    """Least, mean and most of a number, and the last entries, over a day unless said otherwise."""
    channels = chosen(request, house)
    if not channels:
        return refuse(N_("Say of what and since when, for example: {example}"), example="history door 24h")
    if len(channels) > MOST_CHANNELS:
        choices = tuple(channel.name for channel in channels)
        return refuse(N_("That is too much at once; choose from: {choices}."), choices=choices)
    until_ns = house.clock.time_ns()
    span_s = min(request.for_s or USUAL_S, LONGEST_S)
    lines: list[Sentence] = []
    for channel in channels:
        records = await house.store.history(
            channel.name, since_ns=until_ns - round(span_s * 1e9), until_ns=until_ns, limit=MOST_RECORDS
        )
        lines += _summary(channel, records, span_s, until_ns)
        if len(channels) == 1:
            lines += [_entry(record) for record in records[-LAST:]]
    return Reply(tuple(lines))


def _summary(channel: Channel, records: Sequence[Record], span_s: float, until_ns: int) -> list[Sentence]:
    values = {"channel": channel, "span": Span(span_s)}
    if not records:
        return [Sentence(N_("{channel}: nothing in the last {span}."), values)]
    lines = [
        counted(
            "{channel}, last {span}: {count} reading.",
            "{channel}, last {span}: {count} readings.",
            len(records),
            **values,
        )
    ]
    if len(records) == MOST_RECORDS:
        lines = [Sentence(N_("{channel}: the newest {count} readings."), values | {"count": len(records)})]
    numbers = [r for r in records if isinstance(r.value, int | float) and not isinstance(r.value, bool)]
    if numbers:
        ranked = sorted(numbers, key=lambda record: float(record.value or 0))
        mean = replace(numbers[-1], value=_mean(numbers, until_ns), quality="ok")
        spread = {"least": ranked[0], "mean": mean, "most": ranked[-1]}
        lines.append(Sentence(N_("Least {least}, mean {mean}, most {most}."), spread))
    return lines


def _mean(numbers: Sequence[Record], until_ns: int) -> float:
    """The mean over time: each value counts for as long as it lasted, as unchanged ones are not repeated."""
    ends = [*(record.at_ns for record in numbers[1:]), until_ns]
    weighed = [
        (float(record.value or 0), max(0, end - record.at_ns))
        for record, end in zip(numbers, ends, strict=True)
        if end is not None and record.at_ns is not None
    ]
    total = sum(weight for _, weight in weighed)
    if not total:
        return sum(float(record.value or 0) for record in numbers) / len(numbers)
    return sum(value * weight for value, weight in weighed) / total


def _entry(record: Record) -> Sentence:
    return Sentence("{time} {value}", {"time": Instant(record.at_ns), "value": record})


COMMAND = Command(
    verb="history",
    role=Role.VIEWER,
    summary=N_("what something was"),
    usage=("history temp", "history door 24h"),
    run=run,
    takes="channels",
    aliases=("geschiedenis", "verloop", "historie"),
)
