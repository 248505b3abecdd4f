"""A plan carried out on a rig, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.faults import verdict
from tests.faults.plan import Fault
from tests.faults.rig import BELL, Rig
from tests.faults.verdict import Hit, Recovery, Verdict

from knoop_bench.errors import BenchError

ALARMS = frozenset({f"{BELL}.n"})
SETTLE_S = 150.0  # a node whose sessions were short waits up to 60 s before it tries again, and may try twice
TOLD_S = 60.0  # then alarms a client did not receive are told again: after a login, after 1 min
NOTHING_S = 4.0  # with a link, and nothing came for so long: the rest was pushed while the judge was away
HISTORY_S = 300.0  # tens of thousands of readings, a hundred a page, no faster than a node answers
LINK_S = 5.0  # a fault waits so long for a link that it can hit
LOOK_S = 0.5
AWAY_S = 120.0  # a pause is at most 60 s and a login 30: whoever is away for longer does not try any more


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run found. `problems`: why it failed, in sentences; none when the promise was kept."""

    seed: int
    server: str
    date: str
    planned: int
    hits: list[Hit] = field(default_factory=list)
    took_s: float = 0.0
    verdict: Verdict | None = None
    judged: str = ""
    inversions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    pushed: int = 0
    repeats: int = 0
    recoveries: dict[str, Recovery] = field(default_factory=dict)
    interrupted: bool = False
    broken: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        found = [f"it broke off: {self.broken}"] if self.broken else []
        if self.verdict is None:
            return [*found, "nothing was judged"]
        if (away_s := _longest_away_s(self.hits)) > AWAY_S:
            found.append(f"without a link for {away_s:.0f} s, though it could have had one between faults")
        found += [f"lost: {one.channel} {one.number}" for one in self.verdict.lost]
        found += [f"never published: {identity}" for identity in self.verdict.unpublished]
        found += [f"the node numbered it and it never came: {identity}" for identity in self.missing]
        found += [f"in the wrong order: {text}" for text in self.inversions]
        found += [f"one identity, two contents: {identity}" for identity in self.conflicts]
        return found + [f"an alarm that the person did not receive: {identity}" for identity in self.verdict.unalarmed]


def _longest_away_s(hits: Sequence[Hit]) -> float:
    """From the end of the first to the begin of the last of those in a row that met no link."""
    longest_s, since_s = 0.0, None
    for hit in hits:
        since_s = None if hit.online else since_s or hit.ended_s
        longest_s = max(longest_s, hit.began_s - since_s if since_s else 0.0)
    return longest_s


async def carry_out(
    rig: Rig, faults: Sequence[Fault], outcome: Outcome, *, events: int, per_s: float,
    say: Callable[[str], None] = lambda _line: None, settle_s: float = SETTLE_S, told_s: float = TOLD_S,
) -> None:
    """Feed, strike and heal, wait until all is quiet, judge. Interrupted, it judges what there is."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    enough = asyncio.Event()
    feeding = asyncio.create_task(rig.feeder.run(count=events, per_s=per_s, enough=enough))
    try:
        await _strike(rig, faults, outcome, say)
        enough.set()
        await feeding
        say(f"all {len(rig.feeder.fed)} are said; waiting for what is on its way")
        await _settle(rig, settle_s, outcome)
        await _told(rig, told_s)
    except asyncio.CancelledError:
        outcome.interrupted = True
        raise
    except Exception as error:
        outcome.broken = repr(error)
        raise
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        outcome.took_s = loop.time() - began_s
        _judge(rig, outcome)


async def _strike(rig: Rig, faults: Sequence[Fault], outcome: Outcome, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    zero_s = loop.time()
    for fault in faults:
        await asyncio.sleep(zero_s + fault.at_s - loop.time())
        await _linked(rig)
        began_s, online = loop.time(), rig.wire.connections > 0
        repeats = rig.judge.verdict().repeats
        if outcome.hits:
            outcome.hits[-1] = replace(outcome.hits[-1], repeats=repeats - outcome.repeats)
        outcome.repeats = repeats
        try:
            await rig.strike(fault)
            await asyncio.sleep(began_s + fault.for_s - loop.time())
        finally:
            await rig.heal(fault)
        outcome.hits.append(Hit(fault=fault, began_s=began_s, ended_s=loop.time(), online=online))
        zero_s += max(0.0, loop.time() - zero_s - fault.until_s)  # what takes longer moves those that follow
        got = sum(1 for _ in verdict.arrivals(rig.feeder.fed, rig.judge.readings))
        say(
            f"[{fault.number:3}/{len(faults)}] {_clock(loop.time() - outcome.hits[0].began_s)}"
            f"  {fault!s:34}{'' if online else ' (while offline)'}  {len(rig.feeder.fed)} said, {got} arrived"
        )


async def _linked(rig: Rig) -> None:
    """Wait for a connection, though not for long: what happens while there is none happens, too."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINK_S):
            while not rig.wire.connections:
                await asyncio.sleep(0.05)


async def _settle(rig: Rig, settle_s: float, outcome: Outcome) -> None:
    """Wait until nothing more is pushed, then ask for what is still missing: the judge was away now and then, too."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + settle_s
    came_s, missing = loop.time(), len(_verdict(rig).lost)
    while missing and loop.time() < min(ends_s, came_s + NOTHING_S):
        await asyncio.sleep(LOOK_S)
        before, missing = missing, len(_verdict(rig).lost)
        if missing != before or not (rig.wire.connections and rig.judge.subscribed):
            came_s = loop.time()
    try:
        await rig.judge.close_gaps(within_s=HISTORY_S)
    except BenchError as error:
        outcome.notes.append(f"the history was not read to its end: {error}")


async def _told(rig: Rig, told_s: float) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + told_s
    while loop.time() < until_s and _verdict(rig).unalarmed:
        await asyncio.sleep(LOOK_S)


def _verdict(rig: Rig) -> Verdict:
    return verdict.judge(
        rig.feeder.fed, rig.judge.readings, kills=rig.kills, told=rig.person.told, alarms=ALARMS,
        away=rig.away,
    )


def _judge(rig: Rig, outcome: Outcome) -> None:
    outcome.verdict = _verdict(rig)
    ledger = rig.judge.verdict()
    strict = ledger.of({"event", "alarm"})
    outcome.judged = str(ledger)
    outcome.inversions, outcome.conflicts = strict.inversions, ledger.conflicts
    outcome.missing = strict.lost
    if outcome.hits:
        outcome.hits[-1] = replace(outcome.hits[-1], repeats=ledger.repeats - outcome.repeats)
    outcome.pushed, outcome.repeats = ledger.arrivals, ledger.repeats
    outcome.recoveries = verdict.recoveries(
        outcome.hits, rig.feeder.fed, rig.judge.readings, outcome.verdict.lost
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02}:{int(seconds) % 60:02}"


def today() -> str:
    """The date of a report."""
    return time.strftime("%Y-%m-%d", time.gmtime())
