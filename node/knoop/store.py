"""readings.db: every reading once, and for each sink what it has not got yet: history and outbox in one.

Bounded and expendable. Everything that `add` returned survives a power cut (synchronous=FULL, see
`database`): the router commits telemetry at most once a second, so this costs one sync a second. A delivery
is forgotten without a sync: a power cut then makes a repeat, which its identity gives away, and never a loss.

SQLite's value types carry ours: REAL is a number, INTEGER 0 or 1 a boolean, TEXT a text, and a BLOB of one
letter (`n`, `b`, `t`) is no value of that type, so that a missing boolean comes back as one.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from knoop.database import Database, LimitReached
from knoop.errors import StoreError
from knoop.record import Record
from knoop_hw.model import Class, Type, Value

_log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
DROP_ROWS = 256  # at least so many make room at once: about 40 kB, so that a full store is not full again at once
DROP_ROUNDS = 8  # then it is not rows that are in the way

CLASSES: Final[tuple[Class, ...]] = (
    "alarm",
    "event",
    "telemetry",
)  # the integer in `class` is the place here
TYPES: Final[Mapping[bytes, Type]] = {b"n": "number", b"b": "boolean", b"t": "text"}

# The index serves ON DELETE CASCADE and the search for delivered history, which would scan `delivery` once a
# row: dropping 256 rows beside a backlog of 100,000 takes 1.5 ms, without it 3.3 s. It writes about 100 bytes
# a reading.
MIGRATIONS = (
    """
CREATE TABLE reading (id INTEGER PRIMARY KEY, run TEXT NOT NULL, channel TEXT NOT NULL, seq INTEGER NOT NULL,
  class INTEGER NOT NULL, value ANY, unit TEXT, quality TEXT NOT NULL, boot TEXT NOT NULL,
  boottime_ns INTEGER NOT NULL, at_ns INTEGER /* NULL until the clock is synced */, UNIQUE(run,channel,seq))
  STRICT;
CREATE TABLE delivery (sink TEXT, class INTEGER, reading INTEGER REFERENCES reading ON DELETE CASCADE,
  PRIMARY KEY(sink,class,reading)) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_reading ON delivery(reading);
""",
)

WAITS = "EXISTS (SELECT 1 FROM delivery WHERE reading = id)"

Entry = tuple[Record, Collection[str]]
"""A record and the sinks (`pubsub`, `chat:JID`, `room:JID`) that are to get it."""


class Store:
    """The open store. Every method raises StoreError where the disk fails; times are UTC ns since 1970."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._dropped: Counter[Class] = Counter(dict.fromkeys(CLASSES, 0))
        self._history = True  # whether a delivered row may exist: spares the search in a store that is all backlog

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, max_bytes: int = MAX_BYTES) -> AsyncIterator[Store]:
        """The store in `path`, made where absent, closed at the end. Raises StoreError."""
        async with Database(path, migrations=MIGRATIONS, max_bytes=max_bytes) as database:
            yield cls(database)

    @property
    def set_aside(self) -> Path | None:
        """The corrupt file that was replaced since opening, if one was."""
        return self._db.set_aside

    @property
    def dropped(self) -> Mapping[Class, int]:
        """Readings lost undelivered for want of room since opening, by class."""
        return self._dropped

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
        sql = (
            "SELECT r.* FROM delivery d JOIN reading r ON r.id = d.reading WHERE d.sink = ? "
            "ORDER BY d.class, d.reading LIMIT ?"
        )
        return await self._db.run(lambda db: [_record(row) for row in db.execute(sql, (sink, limit))])

    async def delivered(self, sink: str, rows: Iterable[int]) -> None:
        """`sink` has these rows: they are history now. A row that is gone or was delivered before is fine."""
        keys = [(sink, cls, row) for row in rows for cls in range(len(CLASSES))]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM delivery WHERE sink = ? AND class = ? AND reading = ?", keys)

        await self._db.run(work, durable=False)
        self._history = True

    async def forget(self, sink: str) -> int:
        """Drop all that waits for a sink that exists no more; returns how many deliveries that were."""
        sql = "DELETE FROM delivery WHERE sink = ?"
        self._history = True
        return await self._db.run(lambda db: db.execute(sql, (sink,)).rowcount)

    async def backlog(self) -> dict[str, int]:
        """How many readings wait for each sink that has any."""
        sql = "SELECT sink, count(*) FROM delivery GROUP BY sink"
        return await self._db.run(lambda db: dict(db.execute(sql).fetchall()))

    async def history(
        self, channel: str, *, since_ns: int | None = None, until_ns: int | None = None, limit: int = 100
    ) -> list[Record]:
        """The newest `limit` readings of a channel within the bounds (both included), newest last.

        Readings whose time was never known are left out as soon as there is a bound.
        """
        return await self._db.run(lambda db: _history(db, channel, since_ns, until_ns, limit))

    async def latest(self) -> list[Record]:
        """The last reading of every channel that ever had one here, in the order they came."""

        def work(db: sqlite3.Connection) -> list[Record]:
            newest: dict[str, Record] = {}
            for run, channel in _series(db):
                record = next(_newest(db, run, channel))
                if channel not in newest or newest[channel].row < record.row:
                    newest[channel] = record
            return sorted(newest.values(), key=lambda record: record.row)

        return await self._db.run(work)

    async def prune(self, before_ns: int, *, limit: int = 1000) -> int:
        """Delete at most `limit` delivered readings older than `before_ns`; returns how many went.

        Looks from the oldest row to the first younger one. Readings without a time stay until room is needed.
        """

        def work(db: sqlite3.Connection) -> int:
            old: list[tuple[int]] = []
            for row, at_ns, waits in db.execute(f"SELECT id, at_ns, {WAITS} FROM reading ORDER BY id"):  # noqa: S608
                if len(old) == limit or (at_ns is not None and at_ns >= before_ns):
                    break
                if at_ns is not None and not waits:
                    old.append((row,))
            db.executemany("DELETE FROM reading WHERE id = ?", old)
            return len(old)

        return await self._db.run(work, durable=False)

    async def _add(self, entries: Sequence[Entry]) -> list[Record]:
        if not entries:
            return []

        def work(db: sqlite3.Connection) -> list[Record]:
            return [_insert(db, record, sinks) for record, sinks in entries]

        best = min(CLASSES.index(record.cls) for record, _ in entries)
        for _ in range(DROP_ROUNDS):
            try:
                return await self._db.run(work)
            except LimitReached:
                if not await self._make_room(best, max(DROP_ROWS, 2 * len(entries))):
                    raise
        return await self._db.run(work)

    async def _make_room(self, best: int, rows: int) -> bool:
        """Drop `rows` of what matters least, never above class `best`; False when nothing is left."""
        if self._history:
            if await self._drop(f"NOT {WAITS}", rows):
                return True
            self._history = False
        for cls in range(len(CLASSES) - 1, best - 1, -1):
            if dropped := await self._drop(f"class = {cls}", rows):
                if not self._dropped[CLASSES[cls]]:
                    _log.warning("the store is full: from now on undelivered %s readings go", CLASSES[cls])
                self._dropped[CLASSES[cls]] += dropped
                return True
        return False

    async def _drop(self, which: str, rows: int) -> int:
        sql = f"DELETE FROM reading WHERE id IN (SELECT id FROM reading WHERE {which} ORDER BY id LIMIT ?)"  # noqa: S608
        return await self._db.run(lambda db: db.execute(sql, (rows,)).rowcount, durable=False)


def _insert(db: sqlite3.Connection, record: Record, sinks: Collection[str]) -> Record:
    cls = CLASSES.index(record.cls)
    found = db.execute(
        "INSERT INTO reading VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (run, channel, seq) DO NOTHING RETURNING id",
        (record.run, record.channel, record.seq, cls, _pack(record), record.unit or None, record.quality,
         record.boot, record.boottime_ns, record.at_ns),
    ).fetchone()  # fmt: skip
    if found is None:
        (row,) = db.execute(
            "SELECT id FROM reading WHERE run = ? AND channel = ? AND seq = ?",
            (record.run, record.channel, record.seq),
        ).fetchone()
    else:
        (row,) = found
        db.executemany("INSERT OR IGNORE INTO delivery VALUES (?, ?, ?)", [(sink, cls, row) for sink in sinks])
    return replace(record, row=row)


def _pack(record: Record) -> float | int | str | bytes:
    if record.value is None:
        return record.type[0].encode()
    if record.type == "number":
        return float(record.value)
    return int(record.value) if record.type == "boolean" else str(record.value)


def _unpack(value: float | str | bytes) -> tuple[Type, Value]:
    if isinstance(value, bytes):
        return TYPES[value], None
    if isinstance(value, str):
        return "text", value
    return ("boolean", bool(value)) if isinstance(value, int) else ("number", value)


def _record(row: Sequence[Any]) -> Record:
    number, run, channel, seq, cls, value, unit, quality, boot, boottime_ns, at_ns = row
    kind, value = _unpack(value)
    return Record(
        run=run, channel=channel, seq=seq, cls=CLASSES[cls], type=kind, value=value, unit=unit or "",
        quality=quality, boot=boot, boottime_ns=boottime_ns, at_ns=at_ns, row=number,
    )  # fmt: skip


# UNIQUE(run,channel,seq) is the only index on `reading`: another by channel and time would dirty one more
# page for every channel in every commit. So we hop from run to run (a few per week) and read each backwards.


def _newest(db: sqlite3.Connection, run: str, channel: str) -> Iterator[Record]:
    """The readings of one run of a channel, newest first."""
    rows = db.execute("SELECT * FROM reading WHERE run = ? AND channel = ? ORDER BY seq DESC", (run, channel))
    return map(_record, rows)


def _series(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Every run and channel there is."""
    key = ("", "")
    while found := db.execute(
        "SELECT run, channel FROM reading WHERE (run, channel) > (?, ?) ORDER BY run, channel LIMIT 1", key
    ).fetchone():
        key = found
        yield key


def _history(
    db: sqlite3.Connection, channel: str, since_ns: int | None, until_ns: int | None, limit: int
) -> list[Record]:
    next_run = "SELECT run FROM reading WHERE run > ? ORDER BY run LIMIT 1"
    runs, key = [], ("",)
    while found := db.execute(next_run, key).fetchone():
        key = found
        if newest := next(_newest(db, key[0], channel), None):
            runs.append((newest.row, *key))
    records: list[Record] = []
    for _, run in sorted(runs, reverse=True):
        for record in _newest(db, run, channel):
            if len(records) == limit:
                return records[::-1]
            if _within(record.at_ns, since_ns, until_ns):
                records.append(record)
    return records[::-1]


def _within(at_ns: int | None, since_ns: int | None, until_ns: int | None) -> bool:
    if at_ns is None:
        return since_ns is None and until_ns is None
    return (since_ns is None or at_ns >= since_ns) and (until_ns is None or at_ns <= until_ns)
