"""The outbox: wire and disk start together, and what either confirmed is safe (docs/adr/0025).

Its front is memory (`held`, `waiting`), behind it is the disk (`store`). A publisher is given what is in memory and
never waits for the disk, unless older readings of the same channel are there and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from knoop.errors import StoreError
from knoop.gate import Gate
from knoop.held import HISTORY, PAST, RANK, Held, Unsaved
from knoop.pace import Turn
from knoop.record import Record
from knoop.store import Store
from knoop.together import woken
from knoop.waiting import LEAST_S, REMEMBERED, Line, Portion
from knoop_hw.clock import Clock
from knoop_hw.model import Class

_log = logging.getLogger(__name__)

Entry = tuple[Record, frozenset[str]]
"""A record, and the sinks that had not got it when a commit began."""

RETRY_S = 5.0  # between attempts at a disk that failed
HELD = 10_000  # readings waiting for a slow disk, as many as the board keeps itself
COMMIT = 1_000  # besides, in one transaction: alarms do not wait for ten thousand others


class Outbox:
    """Holds records, keeps them on the disk, and offers each sink what it has not got.

    `on_stored(upto)` is called when the board may forget readings: they are on the disk, they are alarms and events
    that every sink has, or they were dropped and counted. What is sent goes through `gate`; what can wait, in its
    `turn`.
    """

    def __init__(self, store: Store, *, clock: Clock, on_stored: Callable[[int], None]) -> None:
        self.gate, self.turn = Gate(), Turn()
        self.received = 0  # the number of the board's last message, which is safe when nothing is held
        self._store, self._clock, self._on_stored = store, clock, on_stored
        self._lines: dict[str, Line] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._unsaved = Unsaved()
        self._committing: list[Held] = []
        self._answered = self._count = 0
        self._failing = self._hurried = False
        self._retry_ns = self._committed_ns = 0
        self._file = store.set_aside
        self._disk, self._work = asyncio.Lock(), asyncio.Event()

    def follow(self, former: Outbox) -> None:
        """Go on where another outbox of this store ended; `route` comes next."""
        self._lines, self._unsaved = former._lines, former._unsaved
        self._count, self._failing, self._file = former._count, former._failing, former._file
        self._work.set()

    @property
    def dropped(self) -> Mapping[Class, int]:
        """Readings lost on this side of the board, by class, since the store's file was made."""
        return self._store.dropped

    @property
    def sinks(self) -> Collection[str]:
        """Every sink there is."""
        return self._lines.keys()

    # In ---------------------------------------------------------------------------------------------------------------

    def hold(self, record: Record, sinks: Iterable[str], *, floor: int) -> None:
        """Take a new record: from now on it is under way to its sinks and to the disk."""
        self._count += 1
        held = Held(
            record=record, sinks=set(sinks), number=self._count, floor=floor, since_ns=self._clock.boottime_ns()
        )
        self._unsaved.add(held)
        for sink in held.sinks:
            if self._lines[sink].put(held):
                self.wake(sink).set()
        while len(self._unsaved) > HELD:  # the disk does not keep pace
            self._give_up(self._unsaved.shed())
        if held.rank != RANK["telemetry"] or self._unsaved.oldest(held.rank) is held:
            self._work.set()  # it is due before what the disk waits for

    def restart(self) -> None:
        """The board counts anew, and sends again what it does not know to be safe, under numbers we cannot foresee."""
        self.received = self._answered = 0
        self._hurried = False
        for held in (*self._committing, *self._unsaved):
            held.floor = 0

    def hurry(self) -> None:
        """Until the board counts anew nothing waits to share a commit."""
        self._hurried = True
        self._work.set()

    def answer(self) -> None:
        """Tell the board what it may forget, should that be more than before."""
        floors = [held.floor for held in self._committing if held.rank < (HISTORY if self._failing else PAST)]
        if (floor := self._unsaved.floor(failing=self._failing)) is not None:
            floors.append(floor)
        upto = min(floors, default=self.received)
        if upto > self._answered:
            self._answered = upto
            self._on_stored(upto)

    def date(self, boot: str, offset_ns: int) -> None:
        """The clock is right: what is in memory of this boot gets its time, boottime + offset."""
        there = (held for line in self._lines.values() for held in line)
        for held in {*self._committing, *self._unsaved, *there}:
            if held.record.at_ns is None and held.record.boot == boot:
                held.record = replace(held.record, at_ns=held.record.boottime_ns + offset_ns)

    async def route(self, sinks: Collection[str]) -> None:
        """There are these sinks from now on; what waited for another one is forgotten."""
        new = [sink for sink in sinks if sink not in self._lines]
        self._lines = {sink: self._lines.get(sink) or Line(sink) for sink in sinks}
        self._unsaved.keep(sinks)
        for held in self._committing:
            held.sinks.intersection_update(sinks)
        async with self._disk:
            with suppress(StoreError):  # nobody asks for them any more; they go at the next change
                for waiting in await self._store.backlog():
                    if waiting not in self._lines:  # asked anew each time: the sinks may have changed meanwhile
                        await self._store.forget(waiting)
            await self._look_behind([self._lines[sink] for sink in new if sink in self._lines])
        for sink in sinks:
            self.wake(sink).set()

    # Out --------------------------------------------------------------------------------------------------------------

    def wake(self, sink: str) -> asyncio.Event:
        """Set when something new waits for `sink`; its publisher clears it before it asks for an `offer`."""
        return self._wakes.setdefault(sink, asyncio.Event())

    def offer(self, sink: str, at_once: int) -> Portion:
        """What `sink` is to get next; alarms first, then live events, then what can wait for its turn."""
        line = self._lines.get(sink)
        return Portion() if line is None else line.offer(at_once, self._clock.boottime_ns())

    @asynccontextmanager
    async def sending(self, sink: str, records: Sequence[Record]) -> AsyncIterator[None]:
        """Send these, which were offered, inside. What is not said to be `delivered` there is offered again."""
        async with self.gate.through():
            line = self._lines.get(sink, Line(sink))
            line.fly(records)
            try:
                yield
            finally:
                line.land()
                self.turn.leave(sink)

    def delivered(self, sink: str, records: Iterable[Record]) -> None:
        """`sink` has these records, which the disk learns by and by: until then they are left out."""
        line = self._lines.get(sink)
        if line is None:
            return
        for record in records:
            if held := line.has(record.identity):
                if not held.row and held.sinks == {sink}:
                    self._unsaved.had(held)
                held.sinks.discard(sink)
        if freed := line.freed():
            self._let_go(line, freed)
        self.answer()
        if line.unmarked:
            self._work.set()

    def wants_disk(self, sink: str) -> bool:
        """Whether there is something to `read`."""
        return sink in self._lines and self._lines[sink].wants_disk

    async def read(self, sink: str) -> None:
        """Read some of what waits on the disk, so that it can be offered."""
        line = self._lines[sink]
        limit, changes = line.reading()
        stirs = True
        try:
            records = await self._store.pending(sink, limit=limit)
            self._notice()
            if line.read(records, limit, changes) and len(records) < limit:
                self._let_go(line)
            stirs = line.may_go
        except StoreError as error:
            self._failed(error)
            line.blind = True
            self._let_go(line)
            self._work.set()
        finally:
            line.unread()
            if stirs:
                self.wake(sink).set()

    # To the disk ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the disk up to date until cancelled: events and alarms at once, telemetry in groups."""
        while True:
            await woken(self._work, self._clock, self._due_s())
            self._work.clear()
            if self._clock.boottime_ns() >= self._retry_ns:
                async with self._disk:
                    if self._due_s() <= 0:
                        await self._commit(telemetry=self._due_s(RANK["telemetry"]) <= 0)
                    await self._mark()
                    await self._look_behind([line for line in self._lines.values() if line.blind])
                if self._failing and self._retry_ns <= self._clock.boottime_ns():
                    _log.warning("readings are safe on disk again")  # nothing is left that it did not take
                    self._failing, self._retry_ns = False, 0

    async def flush(self) -> None:
        """Write all that is held, now. What the disk refuses stays held, it is not raised."""
        async with self._disk:
            await self._commit(telemetry=True)
            await self._mark()

    def _due_s(self, *ranks: int) -> float:
        """In how many seconds something of these ranks is to be committed."""
        now_ns = self._clock.boottime_ns()
        if self._hurried and not self._failing and self._unsaved.oldest(*(ranks or range(PAST + 1))):
            return 0.0
        due_ns = self._retry_ns if self._failing else self._unsaved.due_ns(now_ns, self._committed_ns, *ranks)
        return max((due_ns - now_ns) / 1e9, LEAST_S) if due_ns > now_ns else 0.0

    async def _commit(self, *, telemetry: bool) -> None:
        """Write alarms, events and what is only to be kept, and `telemetry` if wanted."""
        if telemetry or not self._unsaved.oldest(RANK["alarm"], RANK["event"]):
            self._committed_ns = self._clock.boottime_ns()
        while batch := self._unsaved.take(COMMIT, telemetry=telemetry):
            self._committing = batch
            entries = [(held.record, frozenset(held.sinks)) for held in batch]
            kept: Sequence[Record] = ()
            try:
                kept = await self._store.add(entries)
            except StoreError as error:
                self._failed(error)
            except BaseException:  # cancelled: the disk may or may not have them, and takes them twice
                self._unsure(batch, entries)
                raise
            finally:
                self._committing = []
            self._notice()
            self._kept(batch, entries, kept)
            self.answer()
            if len(kept) < len(batch):
                self._failed(StoreError("it does not take all of them"))
                return

    def _kept(self, batch: Sequence[Held], entries: Sequence[Entry], kept: Sequence[Record]) -> None:
        rows = {record.identity: record.row for record in kept}
        refused = []
        for held, (record, sinks) in zip(batch, entries, strict=True):
            held.row = rows.get(held.key, 0)
            if not held.row:
                refused.append((held, (record, sinks)))
                continue
            if held.had and not held.tried and not sinks:
                continue
            for sink in (held.tried | sinks) - held.sinks:
                if sink in self._lines:
                    self._lines[sink].unmarked[held.key] = held.row
            for sink in held.sinks:
                if sink in self._lines and self._lines[sink].saved(held):
                    self.wake(sink).set()
        for line in self._lines.values():
            if line.crowded:
                line.spill()
                self.wake(line.sink).set()
        if refused:
            # The store counts telemetry that it did not take as dropped. It is not: it stays here.
            self._store.lost("telemetry", -sum(held.record.cls == "telemetry" for held, _ in refused))
            self._unsure(*map(list, zip(*refused, strict=True)))

    def _unsure(self, batch: Sequence[Held], entries: Iterable[Entry]) -> None:
        for held, (_, sinks) in zip(batch, entries, strict=True):
            held.tried |= sinks
        self._unsaved.give_back(batch)

    async def _mark(self) -> None:
        """Let the disk know what was delivered."""
        for line in [*self._lines.values()]:
            if marks := dict(line.unmarked):
                try:
                    await self._store.delivered(line.sink, marks.values())
                except StoreError as error:
                    self._failed(error)
                    return
                self._notice()
                for key in marks:
                    line.unmarked.pop(key, None)
                if len(marks) >= REMEMBERED:
                    self.wake(line.sink).set()  # it may read on

    async def _look_behind(self, lines: Sequence[Line]) -> None:
        """Ask the disk which channels have older alarms and events there. Where it does not tell, we do without."""
        if not lines:
            return
        try:
            waiting = await self._store.waiting()
        except StoreError as error:
            self._failed(error)
            for line in lines:
                line.blind = True
        else:
            for line in lines:
                line.anew(Counter(waiting.get(line.sink, {})))
        for line in lines:
            self._let_go(line)
            self.wake(line.sink).set()

    def _notice(self) -> None:
        """After a call to the store: was its file replaced, then what memory has is not on the disk any more."""
        if self._store.set_aside is self._file:
            return
        self._file = self._store.set_aside
        there = {held for line in self._lines.values() for held in line if held.row}
        for held in sorted(there, key=lambda held: held.number):
            held.row, held.floor = 0, self.received  # the board has forgotten it
            self._unsaved.add(held)
        for line in self._lines.values():
            line.replaced()
            self._let_go(line)
        self._work.set()

    def _let_go(self, line: Line, channels: Collection[str] | None = None) -> None:
        """Put in the line what waited for the disk to have nothing older."""
        for held in (*self._committing, *self._unsaved):
            ours = line.sink in held.sinks and held.record.cls != "telemetry" and held not in line
            if ours and (channels is None or held.record.channel in channels) and line.put(held):
                self.wake(line.sink).set()

    def _give_up(self, held: Held) -> None:
        if not held.had:
            self._store.lost(held.record.cls, 1)
        for sink in held.sinks & self._lines.keys():
            self._lines[sink].drop(held)

    def _failed(self, why: StoreError) -> None:
        """Log once when the disk goes."""
        if not self._failing:
            _log.error("readings are not safe on disk, they are kept in memory: %s", why)
        self._failing = True
        self._retry_ns = self._clock.boottime_ns() + round(RETRY_S * 1e9)
