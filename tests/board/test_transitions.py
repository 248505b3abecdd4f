"""The law of outputs on a real kernel: the host records every transition of a line, and there are no others.

Each event of tests/hw/law.py happens to four pairs of halves at once, each on lines of its own, again and again while
they live on; their server is away all the time. Times are shorter than the law's own: a dead man of 1 s, an agent that
is away for 2 s, a hardware half that hangs for 0.4 s (what a longer hang makes due is left to the other runners).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest
from tests.board.guest import Guest
from tests.board.pair import Pair
from tests.hw import law
from tests.hw.law import EVENTS, LAW, Half, Row, name_of, tables, telling

LINES = ((0, 1), (2, 3), (4, 5), (6, 7))
# `--times` is how often each pair meets an event; a reload of the hardware half has four kinds, which share it. What
# an event consists of happens within it: a restart is a stop and a start.
PARTS = {"start", "hw stop", "hw kill", "agent stop", "agent kill"}
NEEDS_A_LINE = {"hw reload other", "hw reload gone"}  # for a table that is no row's
AWAY_S, HANG_S = 2.0, 0.4
SETTLED_S = 0.1  # the kernel moves a line before the program goes on; a straggler is found before the next round


class Quick(Pair):
    """A pair for which the law's long times are shorter."""

    async def wait(self, for_s: float) -> None:
        await super().wait(AWAY_S if for_s == law.AWAY_S else for_s)

    async def pause(self, half: Half, for_s: float) -> None:
        await super().pause(half, {"agent": AWAY_S, "hw": HANG_S}[half])


@dataclass(slots=True)
class Found:
    """What went otherwise than the law says, and how long after an agent's end its dead man let go."""

    wrong: list[str] = field(default_factory=list)
    let_go_s: list[float] = field(default_factory=list)


def quick(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows whose times fit ours, with other dead men than one of 2 s: 1 s where the agent goes.

    Where it stays it is 5 s: an agent whose place was taken a moment ago comes back slowly (`SHORT_NS` in knoop.board).
    """
    for row in rows:
        if row.event == "hw hang":
            if not row.moves:
                yield row
        elif row.dead_man == "true" and (row.event.startswith("agent") or row.event == "start"):
            yield replace(row, dead_man='"1s"', within_s=row.within_s and (1.0 - law.BEAT_S, 1.0))
        elif row.dead_man == "true":
            yield replace(row, dead_man='"5s"')
        elif row.dead_man != '"3s"' and "min_off" not in row.more:
            yield row


def chosen(event: str) -> list[tuple[Row, ...]]:
    """The eight rows that tell most, in shares for pairs: those that move come first, each with one of the others."""
    rows = list(quick(telling(event, 14)))[:8]
    if event in NEEDS_A_LINE:
        return [(row,) for row in rows]
    half = (len(rows) + 1) // 2
    return [(row, rows[(half + index) % len(rows)]) for index, row in enumerate(rows[:half])]


@pytest.fixture(scope="module")
def pairs(guest: Guest) -> Iterator[list[Quick]]:
    made = [Quick(guest, guest.lines, f"/root/pair{numbers[0]}", numbers) for numbers in LINES]
    yield made
    for pair in made:
        pair.close()


async def rounds(rows: Sequence[Row], pair: Quick, times: int) -> Found:
    """Let the event happen so often to these outputs."""
    found = Found()
    await pair.begin(tables(rows, pair))
    for number in range(times):
        if rows[0].event == "start":
            await law.leave_as_before(rows, pair)
            await pair.begin(tables(rows, pair))
        else:
            await ready(rows, pair)
        await once(rows, pair, number, found)
    return found


async def ready(rows: Sequence[Row], pair: Quick) -> None:
    """Both halves run, each output is as the row has it before; the agent's beat is heard where that matters."""

    def as_before() -> bool:
        return all(pair.level(index) is row.levels([row.before])[0] for index, row in enumerate(rows))

    await pair.start("hw")
    await pair.start("agent")
    if rows[0].event == "hw reload gone":
        await pair.reload("hw", tables(rows, pair))
    needs_a_beat = rows[0].event.startswith("agent") or any(row.dead_man for row in rows)
    for _ in range(3):  # on so busy a machine the dead man may come before the agent does
        if needs_a_beat or not as_before():
            pair.arm({name_of(index): row.before for index, row in enumerate(rows)})
            needs_a_beat = False
    assert as_before()


async def once(rows: Sequence[Row], pair: Quick, number: int, found: Found) -> None:
    """Let the event happen, and look at what every line did."""
    name = rows[0].event
    steps = EVENTS[name].do(pair, rows)
    if number % 2 and name.startswith("hw reload") and name != "hw reload gone":
        steps = iter([pair.reload("hw", tables(rows, pair))])  # and back again, which is the same to the outputs
    former, begun = len(await pair.moves()), pair.now_s()
    done = begun
    for step, action in enumerate(steps):
        await action
        if not step and not EVENTS[name].lasting:
            done = pair.now_s()
    longest = max((row.within_s[1] + pair.slack_s for row in rows if row.within_s), default=SETTLED_S)
    if name == "start" and any(row.dead_man for row in rows):
        longest = 1.0 + pair.slack_s
    await pair.wait(max(SETTLED_S, longest - (pair.now_s() - done)))
    seen = (await pair.moves())[former:]
    for row, pin in zip(rows, pair.pins, strict=False):
        own = [move for move in seen if move.pin == pin]
        wrong = law.wrong(row, own, begun=begun - pair.slack_s, done=done + pair.slack_s)
        found.wrong += [f"{number + 1}. {text}" for text in wrong]
        found.let_go_s += [move.at_s - begun for move in own if row.within_s]


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "server away"])
def test_the_law(event, pairs, request, report):
    shares = chosen(event)
    chosen_move = any(row.moves for share in shares for row in share)
    assert chosen_move == any(row.moves for row in quick(LAW) if row.event == event)
    times = request.config.getoption("times")
    times = 1 if event in PARTS else max(2, -(-times // 4)) if event.startswith("hw reload") else times
    work = [(shares[number % len(shares)], pair, times) for number, pair in enumerate(pairs)]
    with ThreadPoolExecutor(len(pairs)) as pool:
        found = list(pool.map(lambda task: asyncio.run(rounds(*task)), work))
    wrong = [text for one in found for text in one.wrong]
    assert not wrong, "\n".join(wrong)
    outputs = times * sum(len(share) for share, *_ in work)
    let_go_s = [one for each in found for one in each.let_go_s]
    timed = f"; a dead man of 1 s was safe after {min(let_go_s):.2f} to {max(let_go_s):.2f} s" if let_go_s else ""
    report(f"{event}: outputs that met it", f"{outputs}{timed}")
