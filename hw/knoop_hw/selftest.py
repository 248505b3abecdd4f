"""Two lines joined by a wire: does this board do what Knoop relies on? Measured, not assumed.

Nothing is driven before the pulls have shown the wire, where the chip has pulls; both lines end as inputs.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from knoop_hw.clock import Clock
from knoop_hw.jumper import Pull, Seen, Wire

Verdict = Literal["ok", "no", "note", "not tried"]

PATIENCE_S = 1.0  # for an edge to arrive: a kernel takes 0.1 ms, an emulated board some 10 ms
PULL_S = 0.02  # for a pull of 50 kΩ to charge a jumper wire of some 100 pF: 5 µs, and much more for a wall's cable
QUIET_S = 0.25  # no edge for so long: no more will come
DEBOUNCE_S = 0.05
PACED = 500  # edges made one by one
PULSES = 500  # to be counted exactly; twice as many edges, fewer than the 1024 that are kept
STORM = 200  # pulses that nobody reads while they come; each level arrives before the next one is made
MOST_LATE = 3  # edges that never came: no use in waiting for more
GAP_S = 0.0005  # after a level is there: its interrupt may still be on its way, to another processor
KEPT = 16  # edges kept then: the rest must be reported as lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one check found: a sentence, and its figures for scripts."""

    check: str
    verdict: Verdict
    text: str
    figures: Mapping[str, float | bool] = field(default_factory=dict)


async def examine(wire: Wire, *, clock: Clock) -> AsyncGenerator[Outcome, None]:
    """Every check in its order, each as it is done. Ends early when there is no wire. Raises DeviceError."""
    try:
        pulls, joined, outcome = await _pulls(wire, clock)
        yield outcome
        if joined is False:
            yield Outcome(check="wire", verdict="no", text="the pull of one line does not reach the other: is the wire "
                          "there, and on these two lines? Nothing was driven")  # fmt: skip
            return
        levels = _levels(wire)
        yield levels
        if levels.verdict != "ok":
            return
        for outcome in _one_by_one(wire, clock):
            yield outcome
        yield _burst(wire)
        yield await _storm(wire, clock)
        yield await _debounce(wire, clock)
        for name, let_go in (("released", _released), ("kill -9", _killed)):
            yield await _after(name, let_go, wire, clock, pulls=pulls)
    finally:
        wire.close()


def verdict(outcomes: Sequence[Outcome], *, simulated: bool) -> str:
    """One sentence about all of it."""
    wrong = [outcome.check for outcome in outcomes if outcome.verdict == "no"]
    if simulated:
        return "Simulated lines: this shows what the self-test says, and nothing about a board."
    if wrong:
        return f"Not what Knoop relies on: {', '.join(wrong)}."
    return "This board does what Knoop relies on."


async def _pulls(wire: Wire, clock: Clock) -> tuple[bool, bool | None, Outcome]:
    """Whether the chip has pulls; whether they show the wire (None: unknown)."""
    seen: dict[str, bool] = {}
    tries: tuple[tuple[str, Pull, Pull], ...] = (
        ("in up", "up", "none"), ("in down", "down", "none"), ("out up", "none", "up"), ("out down", "none", "down"),
    )  # fmt: skip
    for name, pull_in, pull_out in tries:
        wire.rest(pull_out)
        wire.listen(pull_in)
        await clock.sleep(PULL_S)
        seen[name] = wire.level()
    own, other = (seen[f"{line} up"] and not seen[f"{line} down"] for line in ("in", "out"))
    if own:
        text = f"pull-up and pull-down of {wire.names[1]} work"
        text += f", and those of {wire.names[0]} through the wire" if other else ""
        return True, other, Outcome(check="pulls", verdict="ok", text=text, figures=seen)
    if len({*seen.values()}) == 1:
        text = f"without effect: it stays {_word(wire.level())}. The chip has none, or something holds the line"
    else:
        text = "not what was asked for: something else moves the line"
    return False, None, Outcome(check="pulls", verdict="note", text=text, figures=seen)


def _levels(wire: Wire) -> Outcome:
    """High and low arrive."""
    wire.drive(False)
    wire.listen("none")
    for level in [True, False] * 10:
        wire.drive(level)
        wire.edges(PATIENCE_S)
        if wire.level() != level:
            out, into = wire.names
            text = f"{out} was driven {_word(level)}, and {into} stays {_word(not level)}: is the wire there?"
            return Outcome(check="levels", verdict="no", text=text)
    return Outcome(check="levels", verdict="ok", text="high and low arrive, 10 times each")


def _one_by_one(wire: Wire, clock: Clock) -> Iterator[Outcome]:
    """Each edge before the next one is made: none may be missing. From asking for a level to having read its edge."""
    wire.drive(False)
    wire.listen("none")
    took, last, late = [], 0, 0
    for level in [True, False] * (PACED // 2):
        begun = clock.boottime_ns()
        wire.drive(level)
        if seen := wire.edges(PATIENCE_S):
            took.append((clock.boottime_ns() - begun) / 1e6)
            last = seen[-1].number
        elif (late := late + 1) > MOST_LATE:
            break
    sent = len(took) + late
    text = f"{len(took)} of {sent}, one after the other, and the kernel counted {last}"
    yield Outcome(check="edges", verdict="ok" if len(took) == last == sent else "no", text=text,
                  figures={"sent": sent, "read": len(took), "counted": last})  # fmt: skip
    if len(took) > 1:
        median, p99 = statistics.median(took), statistics.quantiles(took, n=100)[98]
        text = f"from setting to having read the edge: median {median:.3g} ms, p99 {p99:.3g} ms"
        yield Outcome(check="latency", verdict="ok", text=text,
                      figures={"median_ms": round(median, 4), "p99_ms": round(p99, 4)})  # fmt: skip


def _burst(wire: Wire) -> Outcome:
    """As fast as they can be made, and read afterwards: what is too fast for the kernel says how fast it is."""
    wire.drive(False)
    wire.listen("none", keep=1024)
    for _ in range(PULSES):
        wire.drive(True)
        wire.drive(False)
    seen = _all(wire)
    sent, came, counted = 2 * PULSES, len(seen), seen[-1].number if seen else 0
    figures = {"sent": sent, "read": came, "counted": counted}
    text = f"{came} of {sent} as fast as they could be made"
    if came == counted == sent:
        return Outcome(check="burst", verdict="ok", text=text, figures=figures)
    text += f"; the kernel counted {counted}: the others came while it was busy with the one before"
    return Outcome(check="burst", verdict="no" if counted > sent or came > counted else "note", text=text,
                   figures=figures)  # fmt: skip


async def _storm(wire: Wire, clock: Clock) -> Outcome:
    """More edges than the kernel keeps, unread: those that are gone must be known."""
    wire.drive(False)
    wire.listen("none", keep=KEPT)
    for level in [True, False] * STORM:
        wire.drive(level)
        if not _arrives(wire, level, clock):
            return Outcome(check="loss", verdict="no", text=f"{_word(level)} did not arrive within {PATIENCE_S:g} s")
        await clock.sleep(GAP_S)
    seen = _all(wire)
    sent, came = 2 * STORM, len(seen)
    known = seen[-1].number - came if seen else 0
    figures = {"sent": sent, "read": came, "lost": known}
    text = f"{sent} edges that nobody read: the kernel kept {came} and says that {known} are lost"
    if came + known == sent:
        return Outcome(check="loss", verdict="ok", text=text + ", which is exact", figures=figures)
    text += f"; {sent - came - known} more came too fast to be noticed"
    return Outcome(check="loss", verdict="note" if came + known < sent else "no", text=text, figures=figures)


async def _debounce(wire: Wire, clock: Clock) -> Outcome:
    """A burst that ends at the other level is one edge."""
    wire.drive(False)
    wire.listen("none", debounce_s=DEBOUNCE_S)
    level, counts = False, []
    for _ in range(6):
        for _ in range(9):
            level = not level
            wire.drive(level)
        await clock.sleep(DEBOUNCE_S + QUIET_S)
        counts.append(len(_all(wire, QUIET_S)))
    figures = {"bursts": len(counts), "edges": sum(counts)}
    if counts == [1] * len(counts):
        text = f"{len(counts)} bursts of 9 edges are {len(counts)} edges (rest {DEBOUNCE_S * 1000:g} ms)"
        return Outcome(check="debounce", verdict="ok", text=text, figures=figures)
    text = f"{len(counts)} bursts of 9 edges are {sum(counts)} edges instead of {len(counts)}"
    return Outcome(check="debounce", verdict="no", text=text, figures=figures)


def _released(wire: Wire, level: bool) -> None:
    wire.drive(level)
    wire.release()


def _killed(wire: Wire, level: bool) -> None:
    wire.kill_child(level)


async def _after(
    name: str, let_go: Callable[[Wire, bool], None], wire: Wire, clock: Clock, *, pulls: bool
) -> Outcome:
    """What the line does when nobody holds it any more: read by the other one, which pulls the other way."""
    kept: dict[bool, bool] = {}
    for level in (True, False):
        against: Pull = "down" if level else "up"
        wire.listen(against if pulls else "none")
        let_go(wire, level)
        await clock.sleep(QUIET_S)
        kept[level] = wire.level() == level
    figures = {"high kept": kept[True], "low kept": kept[False]}
    how = "against a pull" if pulls else "without a pull, so it may just not have drifted yet"
    if all(kept.values()):
        text = f"the line keeps its level ({how})"
    elif not any(kept.values()):
        text = "the line lets go: a pull moves it. An output is an input then"
    else:
        text = f"high is {_kept(kept[True])}, low is {_kept(kept[False])}"
    return Outcome(check=name, verdict="note", text=text, figures=figures)


def _arrives(wire: Wire, level: bool, clock: Clock) -> bool:
    """Whether the listening line shows this level in time; its edges stay unread."""
    until_ns = clock.boottime_ns() + int(PATIENCE_S * 1e9)
    while wire.level() != level:
        if clock.boottime_ns() > until_ns:
            return False
    return True


def _all(wire: Wire, patience_s: float = PATIENCE_S) -> list[Seen]:
    """Every edge until none comes any more."""
    seen: list[Seen] = []
    while came := wire.edges(patience_s if not seen else QUIET_S):
        seen += came
    return seen


def _word(level: bool) -> str:
    return "high" if level else "low"


def _kept(kept: bool) -> str:
    return "kept" if kept else "not kept"
