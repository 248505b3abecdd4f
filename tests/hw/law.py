"""The law of outputs: what happens to a line, as data, and the one way to hold a board against it.

`LAW` has a row for every case of the transition table (docs/outputs.md shows it): an event meets an output of
some configuration that is on or off, and its line makes exactly these transitions, in this order. A transition
more is as wrong as one less: a lock that pulses on a restart is open.

Three runners hold a board against it, each with a `Rig` of its own:

* tests/hw/test_law.py: the simulated board in one process, in fake time; every row;
* tests/integration/test_halves_law.py: real processes on the simulated board, real signals; the trace is the observer;
* tests/board/test_transitions.py: a real kernel in an emulated board; the host watches the lines from outside.

A runner takes rows of one event, as many as its board has lines (`batches`), and calls `obey(rows, rig)`, which
lays out one output for each row, brings each to its level before, lets the event happen, waits, and compares.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import Literal, NamedTuple, Protocol

Half = Literal["hw", "agent"]
BEAT_S = 0.5  # how often the agent says that it lives
AWAY_S = 4.0  # how long a half is away or hangs: longer than `dead_man = true` (2 s), shorter than "10s"
WATCH_S = 2.5  # how long a line is watched after an event: longer than anything that a row has no bound for
OFF, ON = False, True


class Move(NamedTuple):
    """A transition of a line as the rig's observer saw it, on the rig's own time; `level` true is high."""

    at_s: float
    pin: str
    level: bool


class Rig(Protocol):
    """A board that can be made to stop, die, hang and start.

    Every call returns when what it asks for has happened: a started half answers (the agent: the hardware half
    has heard its first beat), a stopped one is gone.
    """

    pins: Sequence[str]
    """The lines it may use; `obey` needs one more than it is given rows."""

    slack_s: float
    """What this machine and its observer may add to a bound in time, and take from it."""

    async def begin(self, tables: str) -> None:
        """Nothing runs, nothing is remembered from before; node.toml has these tables. Lines stay as they are."""

    async def start(self, half: Half) -> None:
        """Start this half with the node.toml of now."""

    async def stop(self, half: Half) -> None:
        """SIGTERM. Stopping what does not run is fine."""

    async def kill(self, half: Half) -> None:
        """SIGKILL; after the hardware half `knoop-hw --safe` runs, as its unit's ExecStopPost= does."""

    async def pause(self, half: Half, for_s: float) -> None:
        """SIGSTOP, and after `for_s` SIGCONT."""

    async def upgrade(self, half: Half) -> None:
        """New code is installed. The hardware half is told (SIGUSR2) and started again if it leaves."""

    async def reload(self, half: Half, tables: str) -> None:
        """node.toml has these tables now; SIGHUP."""

    async def cut(self, for_s: float) -> None:
        """The server is away for so long."""

    async def set(self, name: str, value: bool) -> None:
        """Through the agent, as a person's command; it must be done."""

    async def wait(self, for_s: float) -> None:
        """Let time pass."""

    def now_s(self) -> float:
        """The rig's own time, in which `moves` are stamped."""

    async def moves(self) -> Sequence[Move]:
        """Every transition of every line so far."""


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


Do = Callable[["Rig", "Sequence[Row]"], Iterator[Awaitable[None]]]


@dataclass(frozen=True, slots=True)
class Event:
    """`cell`: its row of the transition table. `do`: what the rig is asked for, given the tables of the rows."""

    cell: str
    words: str
    do: Do
    lasting: bool = False  # its first step returns only after the bound has passed


def _steps(*steps: tuple[str, *tuple[object, ...]]) -> Do:
    def do(rig: Rig, _rows: Sequence[Row]) -> Iterator[Awaitable[None]]:
        for name, *arguments in steps:
            yield getattr(rig, name)(*arguments)

    return do


def _unchanged(_row: Row) -> str:
    return ""


def _changed(row: Row) -> str:
    """A key that the row has not, and that moves nothing by itself."""
    return 'min_off = "50ms"\n' if row.dead_man or row.safe == "keep" else 'dead_man = "1h"\n'


def _reload(half: Half, *, own: Callable[[Row], str] = _unchanged, same: bool = True, other: bool = False) -> Do:
    """With what `own` adds to each row's table, which is there if `same`; with a table that is no row's."""

    def do(rig: Rig, rows: Sequence[Row]) -> Iterator[Awaitable[None]]:
        text = tables([replace(row, more=row.more + own(row)) for row in rows], rig) if same else ""
        yield rig.reload(half, text + f'[output.other]\npin = "{rig.pins[len(rows)]}"\n' * other)

    return do


_AGENT, _HW = "the agent stops, crashes, hangs, is upgraded", "the hardware half stops, restarts, is killed"
_RELOAD, _SERVER, _START = "a reload", "the server is away", "the hardware half starts"

EVENTS = {
    "start": Event(_START, "it starts", _steps(("start", "hw"))),
    "hw stop": Event(_HW, "it stops", _steps(("stop", "hw"))),
    "hw kill": Event(_HW, "`kill -9`, then `knoop-hw --safe`", _steps(("kill", "hw"))),
    "hw restart": Event(_HW, "it stops and starts", _steps(("stop", "hw"), ("start", "hw"))),
    "hw crash": Event(_HW, "`kill -9`, `knoop-hw --safe`, start", _steps(("kill", "hw"), ("start", "hw"))),
    "hw hang": Event(_HW, f"it hangs for {AWAY_S:g} s", _steps(("pause", "hw", AWAY_S)), lasting=True),
    "hw upgrade": Event(_HW, "it is upgraded", _steps(("upgrade", "hw"))),
    "agent stop": Event(_AGENT, "it stops", _steps(("stop", "agent"))),
    "agent kill": Event(_AGENT, "`kill -9`", _steps(("kill", "agent"))),
    "agent hang": Event(_AGENT, f"it hangs for {AWAY_S:g} s", _steps(("pause", "agent", AWAY_S)), lasting=True),
    "agent restart": Event(
        _AGENT, f"it stops, and starts {AWAY_S:g} s later",
        _steps(("stop", "agent"), ("wait", AWAY_S), ("start", "agent")),
    ),
    "agent crash": Event(
        _AGENT, f"`kill -9`, and a start {AWAY_S:g} s later",
        _steps(("kill", "agent"), ("wait", AWAY_S), ("start", "agent")),
    ),
    "agent upgrade": Event(_AGENT, "it is upgraded", _steps(("upgrade", "agent"))),
    "hw reload same": Event(_RELOAD, "nothing changed", _reload("hw")),
    "hw reload other": Event(_RELOAD, "another table came", _reload("hw", other=True)),
    "hw reload words": Event(_RELOAD, "only what it is called", _reload("hw", own=lambda _: 'label = "Relay"\n')),
    "hw reload own": Event(_RELOAD, "its own table changed", _reload("hw", own=_changed)),
    "hw reload gone": Event(_RELOAD, "its own table went", _reload("hw", same=False, other=True)),
    "agent reload": Event(_RELOAD, "only the agent reloads", _reload("agent")),
    "server away": Event(_SERVER, f"for {AWAY_S:g} s", _steps(("cut", AWAY_S)), lasting=True),
}  # fmt: skip


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Row:
    """When `event` meets this output while it is on or off (`before`), its line makes these `moves`: true is on.

    `within_s`: the last of them comes not sooner than the first of these after the event began, and not later than
    the second after its first step was done. `more`: further keys of its table.
    """

    event: str
    initial: Literal["off", "on", "restore"]
    safe: Literal["off", "on", "keep"]
    dead_man: str | None  # as node.toml has it
    before: bool
    moves: tuple[bool, ...]
    within_s: tuple[float, float] | None = None
    more: str = ""
    active_low: bool = False
    pwm: bool = False

    @property
    def already_safe(self) -> bool:
        """Which column of the transition table it belongs to."""
        return self.safe == "keep" or self.before is (self.safe == "on")

    def levels(self, moves: Iterable[bool]) -> list[bool]:
        """What the moves are on the wire: true is high."""
        return [on is not self.active_low for on in moves]

    def table(self, name: str, pin: str) -> str:
        """Its table in node.toml."""
        lines = [f"[output.{name}]", f'pin = "{pin}"', f'initial = "{self.initial}"', f'safe = "{self.safe}"']
        lines += ['kind = "pwm"'] * self.pwm + ["active_low = true"] * self.active_low
        lines += [] if self.dead_man is None else [f"dead_man = {self.dead_man}"]
        return "\n".join(lines) + f"\n{self.more}"

    def __str__(self) -> str:
        words = [self.event, f"initial {self.initial}", f"safe {self.safe}"]
        words += [f"dead_man {self.dead_man}"] if self.dead_man else []
        words += [self.more.strip().replace('"', "")] if self.more else []
        words += ["was on" if self.before else "was off"]
        return ", ".join(words + ["active_low"] * self.active_low + ["pwm"] * self.pwm)


def _nothing(*events: str, **more: str) -> Iterator[Row]:
    """These events move no output, whatever its configuration."""
    for event, initial, safe, before in product(events, ("off", "on", "restore"), ("off", "on", "keep"), (OFF, ON)):
        yield Row(event, initial, safe, None, before, (), **more)  # type: ignore[arg-type]  # product forgets


LET_GO = (2.0 - BEAT_S, 2.0)  # the dead man of 2 s, counted from a beat that was up to BEAT_S before the event
_DEAD = ("agent stop", "agent kill", "agent hang", "agent restart", "agent crash")
_GONE = ("hw stop", "hw kill")
_BACK = ("hw restart", "hw crash", "hw reload own")

LAW: tuple[Row, ...] = (
    # The agent goes: only the dead man moves something, once, to safe, and coming back moves nothing.
    *_nothing("agent stop", "agent kill", "agent hang", "agent restart", "agent crash", "agent upgrade"),
    *(Row(event, "off", "off", "true", ON, (OFF,), LET_GO) for event in _DEAD),
    *(Row(event, "off", "on", "true", OFF, (ON,), LET_GO) for event in _DEAD),
    *(Row(event, "restore", "off", "true", ON, (OFF,), LET_GO) for event in _DEAD),
    *(Row(event, "off", "off", '"3s"', ON, (OFF,), (3.0 - BEAT_S, 3.0)) for event in _DEAD),
    *(Row(event, "off", "off", '"1min"', ON, ()) for event in _DEAD),
    *(Row(event, "on", "off", "true", OFF, ()) for event in _DEAD),
    *(Row(event, "off", "on", "true", ON, ()) for event in _DEAD),
    Row("agent upgrade", "off", "off", '"1min"', ON, ()),
    Row("agent upgrade", "off", "off", "true", OFF, ()),

    # The hardware half goes: one transition to safe, none where it is safe already.
    *(Row(event, initial, "off", None, ON, (OFF,)) for event in _GONE for initial in ("off", "on", "restore")),
    *(Row(event, initial, "off", None, OFF, ()) for event in _GONE for initial in ("off", "on", "restore")),
    *(Row(event, initial, "on", None, OFF, (ON,)) for event in _GONE for initial in ("off", "on", "restore")),
    *(Row(event, initial, "on", None, ON, ()) for event in _GONE for initial in ("off", "on", "restore")),
    *(Row(event, initial, "keep", None, ON, ()) for event in _GONE for initial in ("off", "on", "restore")),
    *(Row(event, initial, "keep", None, OFF, ()) for event in _GONE for initial in ("off", "on", "restore")),
    *(Row(event, "off", "off", "true", ON, (OFF,)) for event in _GONE),
    *(Row(event, "off", "off", '"1min"', OFF, ()) for event in _GONE),

    # It comes back, or opens the line anew because its own table changed: to safe as above, then `initial`.
    *(Row(event, "off", "off", None, ON, (OFF,)) for event in _BACK),
    *(Row(event, "off", "off", None, OFF, ()) for event in _BACK),
    *(Row(event, "off", "on", None, ON, (OFF,)) for event in _BACK),
    *(Row(event, "off", "on", None, OFF, (ON, OFF)) for event in _BACK),
    *(Row(event, "off", "keep", None, ON, (OFF,)) for event in _BACK),
    *(Row(event, "off", "keep", None, OFF, ()) for event in _BACK),
    *(Row(event, "on", "off", None, ON, (OFF, ON)) for event in _BACK),
    *(Row(event, "on", "off", None, OFF, (ON,)) for event in _BACK),
    *(Row(event, "on", "on", None, ON, ()) for event in _BACK),
    *(Row(event, "on", "on", None, OFF, (ON,)) for event in _BACK),
    *(Row(event, "on", "keep", None, ON, ()) for event in _BACK),
    *(Row(event, "on", "keep", None, OFF, (ON,)) for event in _BACK),
    *(Row(event, "restore", "off", None, ON, (OFF, ON)) for event in _BACK),
    *(Row(event, "restore", "off", None, OFF, ()) for event in _BACK),
    *(Row(event, "restore", "on", None, ON, ()) for event in _BACK),
    *(Row(event, "restore", "on", None, OFF, (ON, OFF)) for event in _BACK),
    *(Row(event, "restore", "keep", None, ON, ()) for event in _BACK),
    *(Row(event, "restore", "keep", None, OFF, ()) for event in _BACK),
    *(Row(event, "off", "off", '"1min"', ON, (OFF,)) for event in _BACK),
    *(Row(event, "restore", "off", '"1min"', ON, (OFF, ON)) for event in _BACK),

    # What must rest rests first, as it may have been on: `initial` comes later.
    *(Row(event, "on", "off", None, ON, (OFF, ON), more='min_off = "1s"\n') for event in _BACK),
    *(Row(event, "on", "off", None, OFF, (ON,), more='min_off = "1s"\n') for event in _BACK),
    *(Row(event, "restore", "off", None, ON, (OFF, ON), more='min_off = "1s"\n') for event in _BACK),
    *(Row(event, "restore", "keep", None, ON, (), more='min_off = "1s"\n') for event in ("hw restart", "hw crash")),

    # It hangs: nothing can move, and nothing does afterwards but what became due: the dead man and max_on.
    *_nothing("hw hang"),
    Row("hw hang", "off", "off", "true", ON, (OFF,)),
    Row("hw hang", "off", "on", "true", OFF, (ON,)),
    Row("hw hang", "off", "off", "true", OFF, ()),
    Row("hw hang", "off", "off", '"1min"', ON, ()),
    Row("hw hang", "off", "off", None, ON, (OFF,), more='max_on = "3s"\n'),
    Row("hw hang", "off", "off", None, ON, (), more='max_on = "1h"\n'),

    # An upgrade never moves an output: it waits for the next boot when a restart would.
    *_nothing("hw upgrade"),
    Row("hw upgrade", "off", "off", '"1min"', ON, ()),
    Row("hw upgrade", "off", "off", '"1min"', OFF, ()),

    # A reload touches an output only when its own table changed (above) or went.
    *_nothing("hw reload same", "hw reload other", "hw reload words", "agent reload"),
    Row("hw reload other", "off", "off", "true", ON, ()),
    Row("agent reload", "off", "off", '"1min"', ON, ()),
    *(Row("hw reload gone", initial, "off", None, ON, (OFF,)) for initial in ("off", "on", "restore")),
    Row("hw reload gone", "off", "off", None, OFF, ()),
    Row("hw reload gone", "off", "on", None, OFF, (ON,)),
    Row("hw reload gone", "off", "on", None, ON, ()),
    Row("hw reload gone", "off", "keep", None, ON, ()),
    Row("hw reload gone", "on", "keep", None, OFF, ()),

    # The server does not matter: the agent goes on beating.
    *_nothing("server away"),
    Row("server away", "off", "off", "true", ON, ()),
    Row("server away", "off", "on", "true", OFF, ()),

    # A start: `initial`, direction and level together, whatever the line had; then, without an agent, the dead man.
    *(Row("start", "off", safe, None, OFF, ()) for safe in ("off", "on", "keep")),
    *(Row("start", "off", safe, None, ON, (OFF,)) for safe in ("off", "on", "keep")),
    *(Row("start", "on", safe, None, OFF, (ON,)) for safe in ("off", "on", "keep")),
    *(Row("start", "on", safe, None, ON, ()) for safe in ("off", "on", "keep")),
    *(Row("start", "restore", safe, None, OFF, ()) for safe in ("off", "on", "keep")),  # nothing is remembered
    *(Row("start", "restore", safe, None, ON, (OFF,)) for safe in ("off", "on", "keep")),
    Row("start", "on", "off", "true", OFF, (ON, OFF)),
    Row("start", "off", "on", "true", OFF, (ON,)),
    Row("start", "off", "off", "true", OFF, ()),

    # Pulses obey the same; a pwm has no "keep" and no "restore".
    Row("agent kill", "off", "off", "true", ON, (OFF,), LET_GO, pwm=True),
    Row("agent kill", "off", "off", None, ON, (), pwm=True),
    Row("hw stop", "off", "off", None, ON, (OFF,), pwm=True),
    Row("hw kill", "off", "off", None, ON, (OFF,), pwm=True),
    Row("hw crash", "on", "off", None, ON, (OFF, ON), pwm=True),
    Row("hw restart", "off", "on", None, OFF, (ON, OFF), pwm=True),
    Row("hw reload own", "off", "off", None, ON, (OFF,), pwm=True),
    Row("hw reload other", "off", "off", None, ON, (), pwm=True),
    Row("hw upgrade", "off", "off", None, ON, (), pwm=True),
)  # fmt: skip


def both(rows: Iterable[Row]) -> Iterator[Row]:
    """Each row for a line that is active high and for one that is active low."""
    for row in rows:
        yield row
        yield replace(row, active_low=True)


def alternating(rows: Iterable[Row]) -> Iterator[Row]:
    """Each row once, every second one active low: for boards where a row costs seconds."""
    for index, row in enumerate(rows):
        yield replace(row, active_low=bool(index % 2))


def batches(rows: Iterable[Row], size: int) -> Iterator[tuple[Row, ...]]:
    """Rows that can happen together: of one event, at most `size`."""
    for _, same in groupby(sorted(rows, key=lambda row: row.event), key=lambda row: row.event):
        rest = tuple(same)
        for first in range(0, len(rest), size):
            yield rest[first : first + size]


def telling(event: str, size: int) -> tuple[Row, ...]:
    """One batch of an event's rows that tells most, for a board where a batch costs seconds and is repeated.

    Those that move come first, then those that are not safe and stay; half of them active low.
    """
    rows = [row for row in LAW if row.event == event and not row.pwm]
    rows.sort(key=lambda row: (not row.moves, row.already_safe))
    unlike: dict[tuple[object, ...], Row] = {}
    for row in rows:
        unlike.setdefault((row.initial if row.moves else "", row.safe, row.dead_man, row.before, row.moves), row)
    return tuple(alternating(list(unlike.values())[:size]))


# ── holding a board against it ────────────────────────────────────────────────────────────────────────────────────────


def name_of(index: int) -> str:
    """What the output of a batch's row is called."""
    return f"relay{index}"


def tables(rows: Sequence[Row], rig: Rig) -> str:
    """The [output.N] tables of a batch, on the rig's lines in order."""
    return "".join(row.table(name_of(index), rig.pins[index]) for index, row in enumerate(rows))


async def obey(rows: Sequence[Row], rig: Rig) -> None:
    """Hold the rig's board against rows of one event. Raises AssertionError that names what moved otherwise."""
    event = EVENTS[rows[0].event]
    if rows[0].event == "start":
        await leave_as_before(rows, rig)
        await rig.begin(tables(rows, rig))
    else:
        await rig.begin(tables(rows, rig))
        await rig.start("hw")
        await rig.start("agent")
        await rig.wait(1.5 if any("min_off" in row.more for row in rows) else 0.0)
        for index, row in enumerate(rows):
            await rig.set(name_of(index), row.before)
    try:
        former = len(await rig.moves())
        begun = done = rig.now_s()
        for number, step in enumerate(event.do(rig, rows)):
            await step
            if not number and not event.lasting:
                done = rig.now_s()
        longest = max((row.within_s[1] + 0.5 for row in rows if row.within_s), default=0.0)
        await rig.wait(max(longest, WATCH_S) + rig.slack_s)
        seen = (await rig.moves())[former:]
    finally:
        await rig.stop("agent")
        await rig.stop("hw")
    found: list[str] = []
    for row, pin in zip(rows, rig.pins, strict=False):
        own = [move for move in seen if move.pin == pin]
        found += wrong(row, own, begun=begun - rig.slack_s, done=done + rig.slack_s)
    assert not found, "\n".join(found)


async def leave_as_before(rows: Sequence[Row], rig: Rig) -> None:
    """A former life that leaves each line as it is to be found: it sets it and keeps it."""
    lives = [replace(row, initial="on" if row.before else "off", safe="keep", dead_man=None, more="") for row in rows]
    await rig.begin(tables(lives, rig))
    await rig.start("hw")
    await rig.stop("hw")


def wrong(row: Row, own: Sequence[Move], *, begun: float, done: float) -> Iterator[str]:
    """What a line did otherwise than its row says: transitions first, then their times."""
    levels = [bool(move.level) for move in own]
    if levels != row.levels(row.moves):
        went = [level is not row.active_low for level in levels]
        yield f"{row}: went {_words(went)} instead of {_words(row.moves)}"
    elif row.within_s and own:
        soonest, latest = row.within_s
        if own[-1].at_s < begun + soonest:
            yield f"{row}: {begun + soonest - own[-1].at_s:.2f} s too soon"
        if own[-1].at_s > done + latest:
            yield f"{row}: {own[-1].at_s - done - latest:.2f} s too late"


def _words(moves: Iterable[bool]) -> str:
    return ", then ".join("on" if on else "off" for on in moves) or "nowhere"


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────

Case = tuple[str, str, str, str, str]  # initial, safe, limits, what an output that was off does, one that was on


def markdown(_page: str = "") -> str:
    """The law as docs/outputs.md shows it: cases that differ in nothing are one, and so are such events."""
    alike: dict[tuple[str, tuple[Case, ...]], list[str]] = {}
    for name, event in EVENTS.items():
        alike.setdefault((event.cell, _cases(name)), []).append(event.words)
    lines = ["| `initial` | `safe` | limits | was off: it goes | was on: it goes |", "|---|---|---|---|---|"]
    for cell in dict.fromkeys(event.cell for event in EVENTS.values()):
        for (whose, cases), words in alike.items():
            if whose == cell:
                lines.append(f"| **{cell}**: {', or '.join(words)} | | | | |")
                lines += [f"| {' | '.join(case)} |" for case in cases]
    return "\n".join(lines)


def _cases(event: str) -> tuple[Case, ...]:
    goes: dict[tuple[str, str, str], dict[bool, str]] = {}
    for row in LAW:
        if row.event == event and not row.pwm:
            keys = ([f"dead_man = {row.dead_man}"] if row.dead_man else []) + ([row.more.strip()] if row.more else [])
            limits = ", ".join(f"`{key}`" for key in keys) or "–"
            after = f", {row.within_s[1]:g} s after the last beat" if row.within_s else ""
            goes.setdefault((row.initial, row.safe, limits), {})[row.before] = _words(row.moves) + after
    cases = [(*key, told.get(OFF, ""), told.get(ON, "")) for key, told in goes.items()]
    return tuple(_merged(_merged(cases, 0, 3), 1, 3))


def _merged(cases: Iterable[Case], column: int, values: int) -> list[Case]:
    """Cases that differ only in this column as one; “any” where it then has all its values."""
    found: dict[tuple[str, ...], list[str]] = {}
    for case in cases:
        rest = (*case[:column], *case[column + 1 :])
        found.setdefault(rest, []).append(case[column])
    merged = []
    for rest, named in found.items():
        word = "any" if len(named) == values else ", ".join(named)
        merged.append((*rest[:column], word, *rest[column:]))
    return merged  # type: ignore[return-value]  # as many columns as before
