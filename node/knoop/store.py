"""readings.db: every reading once, and for each sink what it has not got yet: history and outbox in one.

Bounded and expendable. Everything that `add` returned survives a power cut (synchronous=FULL, see
`database`): the router commits telemetry at most once a second, so this costs one sync a second. A delivery
is forgotten without a sync: a power cut then makes a repeat, which its identity gives away, and never a loss.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from knoop import retention
from knoop.database import Database, LimitReached
from knoop.errors import StoreError
from knoop.readings_sql import ANY_SEQ, SCAN_ROWS, Readings, Wanted
from knoop.readings_tables import CLASSES, MIGRATIONS, damaged
from knoop.record import Record
from knoop_hw.model import Class

__all__ = ["CLASSES", "MIGRATIONS", "Entry", "Store"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_S = 10.0  # the most that a person may ask for takes a slow board two
MAX_BYTES = 64 * 1024 * 1024
DROP_ROWS = 512  # so many make room at once: about 30 kB, so that a full store is not full again at once
DROP_ROUNDS = 8  # each drops twice as many as the one before; then it is not rows that are in the way

Entry = tuple[Record, Collection[str]]
"""A record and the sinks (`pubsub`, `chat:JID`, `room:JID`) that are to get it."""


class Store:
    """The open store. Every method raises StoreError where the disk fails; times are UTC ns since 1970."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._readings: Readings | None = None
        self._dropped: Counter[Class] = Counter(dict.fromkeys(CLASSES, 0))
        self._pruned_to = 0  # the row that `prune` has come to

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, max_bytes: int = MAX_BYTES) -> AsyncIterator[Store]:
        """The store in `path`, made where absent, closed at the end. Raises StoreError."""
        async with Database(path, migrations=MIGRATIONS, max_bytes=max_bytes) as database:
            store = cls(database)
            store._dropped.update(await store._run(lambda readings: readings.dropped))
            yield store

    @property
    def set_aside(self) -> Path | None:
        """The corrupt file that was replaced since opening, if one was."""
        return self._db.set_aside

    @property
    def database(self) -> Database:
        """What it is kept in, which knows how the disk is."""
        return self._db

    @property
    def dropped(self) -> Mapping[Class, int]:
        """Readings lost undelivered for want of room since the file was made, by class."""
        return self._dropped

    def lost(self, cls: Class, count: int) -> None:
        """Count what was lost before it came here; or, negative, telemetry that `add` did not take and who has it kept.

        The next `add` writes it down.
        """
        self._dropped[cls] += count

    async def add(self, entries: Iterable[Entry]) -> list[Record]:
        """Keep the readings, all in one transaction; returns those now safe, in order, with their `row`.

        A reading that is there already keeps its row and its deliveries. In a full store older rows go:
        delivered history, telemetry, events, alarms, but never a class above the best one added. Telemetry
        that cannot be kept is dropped and counted, never raised. Raises StoreError when an event or alarm is
        not safe: that one stays the caller's.
        """
        entries = list(entries)
        try:
            return await self._add(entries)
        except StoreError:
            urgent = [entry for entry in entries if entry[0].cls != "telemetry"]
            self._dropped["telemetry"] += len(entries) - len(urgent)
            if len(urgent) == len(entries):
                raise
        return await self._add(urgent)

    async def pending(self, sink: str, *, limit: int = 100) -> list[Record]:
        """What `sink` has not got: alarms before events before telemetry, each in the order they came."""
        return await self._run(lambda readings: readings.pending(sink, limit))

    async def delivered(self, sink: str, rows: Iterable[int]) -> None:
        """`sink` has these rows: they are history now. A row that is gone or was delivered before is fine."""
        rows = list(rows)
        await self._run(lambda readings: readings.delivered(sink, rows), durable=False)

    async def forget(self, sink: str) -> int:
        """Drop all that waits for a sink that exists no more; returns how many deliveries that were."""
        return await self._run(lambda readings: readings.forget(sink))

    async def backlog(self) -> dict[str, int]:
        """How many readings wait for each sink that has any."""
        return await self._run(lambda readings: readings.backlog())

    async def waiting(self) -> dict[str, dict[str, int]]:
        """How many events and alarms wait, by sink and by channel. Reads all of them: for the start."""
        return await self._run(lambda readings: readings.waiting())

    async def history(
        self, channel: str, *, since_ns: int | None = None, until_ns: int | None = None, limit: int = 100
    ) -> list[Record]:
        """The newest `limit` readings of a channel within the bounds (both included), newest last.

        Readings whose time was never known are left out as soon as there is a bound. Somebody waits for these: a disk
        that hangs raises StoreError.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._run(lambda readings: readings.history(channel, since_ns, until_ns, limit))
        except TimeoutError:
            raise StoreError(f"{self._db.path}: the disk has not answered for {ANSWER_S:g} s", "failing") from None

    async def latest(self) -> list[Record]:
        """The last reading of every channel that ever had one here, in the order they came."""
        return await self._run(lambda readings: readings.latest())

    async def span(
        self, *, channels: Collection[str], run: str = "", first: int = 0, last: int | None = None,
        since_ns: int | None = None, until_ns: int | None = None, after_row: int = 0, limit: int = 100,
    ) -> list[Record]:  # fmt: skip
        """The oldest `limit` readings of these channels with a `row` above `after_row`, in the order they came.

        `run` limits them to one run, `first` and `last` to these seq, `since_ns` and `until_ns` to these times (all
        included). Readings whose time was never known are left out as soon as there is a time bound.
        """
        wanted = Wanted(
            channels=tuple(channels), run=run, first=first, last=ANY_SEQ if last is None else last,
            since_ns=since_ns, until_ns=until_ns,
        )  # fmt: skip
        if run and wanted.last - wanted.first < SCAN_ROWS:
            return await self._run(lambda readings: readings.of_run(wanted, after_row, limit))
        found: list[Record] = []
        while len(found) < limit:
            step = partial(Readings.portion, wanted=wanted, after=after_row, limit=limit - len(found))
            more, after_row = await self._run(step)
            found += more
            if not after_row:
                break
        return found

    async def correct(self, boot: str, offset_ns: int) -> int:
        """Give the readings of that boot that have no time theirs: boottime + offset. Returns how many got one."""
        row: int | None = await self._run(lambda readings: readings.before_boot(boot))
        done = 0
        while row is not None:
            step = partial(Readings.correct, boot=boot, offset_ns=offset_ns, after=row)
            dated, row = await self._with_room(step, CLASSES.index("telemetry"), DROP_ROWS, durable=False)
            done += dated
        return done

    async def prune(self, before_ns: int, *, own_ns: Mapping[str, int] | None = None, limit: int = 1000) -> int:
        """Delete delivered readings older than `before_ns`, `limit` at once; returns how many went, 0 at the end.

        `own_ns` has other times for some channels and devices. Looks from the oldest row to the first younger one.
        Readings without a time stay until room is needed.
        """
        own_ns = own_ns or {}
        own = await self._run(lambda readings: retention.own_series(readings, own_ns)) if own_ns else {}
        gone = 0
        after: int | None
        for series, old_ns in own.items():
            after = -1
            while after is not None:
                step = partial(retention.prune_series, series=series, before_ns=old_ns, after=after, limit=limit)
                went, after = await self._run(step, durable=False)
                gone += went
        after = self._pruned_to
        while not gone and after is not None:
            portion = partial(retention.prune, before_ns=before_ns, besides=own, after=after, limit=limit)
            gone, after = await self._run(portion, durable=False)
        self._pruned_to = after or 0
        return gone

    async def _add(self, entries: Sequence[Entry]) -> list[Record]:
        if not entries:
            return []
        best = min(CLASSES.index(record.cls) for record, _ in entries)
        return await self._with_room(
            lambda readings: readings.add(entries, self._dropped), best, max(DROP_ROWS, 2 * len(entries))
        )

    async def _with_room(self, work: Callable[[Readings], T], best: int, rows: int, *, durable: bool = True) -> T:
        """What `work` returns; in a full store after some of what matters least went, never above class `best`."""
        for _ in range(DROP_ROUNDS):
            try:
                return await self._run(work, durable=durable)
            except LimitReached:
                if not await self._make_room(best, rows):
                    raise
                rows *= 2
        return await self._run(work, durable=durable)

    async def _make_room(self, best: int, rows: int) -> bool:
        """Drop `rows` of what matters least; False when nothing is left."""
        history = 0
        while history < rows:
            step = partial(Readings.drop_history, limit=rows - history)
            if (gone := await self._run(step, durable=False)) is None:
                break
            history += gone
        if history:
            return True
        for cls in range(len(CLASSES) - 1, best - 1, -1):
            if dropped := await self._run(partial(Readings.drop_waiting, cls=cls, limit=rows), durable=False):
                if not self._dropped[CLASSES[cls]]:
                    _log.warning("the store is full: the oldest waiting %s is dropped, and counted", CLASSES[cls])
                self._dropped[CLASSES[cls]] += dropped
                return True
        return False

    async def _run(self, work: Callable[[Readings], T], *, durable: bool = True) -> T:
        def within(db: sqlite3.Connection) -> T:
            try:
                return work(self._at(db))
            except sqlite3.IntegrityError as error:  # nothing that is written here contradicts what a whole file holds
                raise damaged(str(error)) from error

        return await self._db.run(within, durable=durable)

    def _at(self, db: sqlite3.Connection) -> Readings:
        """The tables behind this connection; in the database's thread."""
        if self._readings is None or self._readings.db is not db:
            self._readings = Readings(db, after=self._readings.newest if self._readings else 0)
        return self._readings.since(self._db.undone)
