"""state.db: grants, audit log, where alerts stand, quiet times, silences, what nobody received. Small, fully synced.

Nobody waits long for a disk that hangs: a call that has not come back after ANSWER_S raises StoreError, and while one
is out there every other one does so at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from knoop.database import Database
from knoop.errors import NoAnswer, StoreError
from knoop.state_tables import LAST_LINES, MIGRATIONS, AlertRow, AuditLine, Grant, Silence, lines_of
from knoop.unreceived import Note
from knoop_hw.logs import printable

T = TypeVar("T")

_AUDIT = (
    "INSERT INTO audit (at_ns, who, action, result, via, encrypted, stanza, whose) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_BEYOND = (
    "DELETE FROM audit WHERE whose = :whose AND "
    "id <= (SELECT id FROM audit WHERE whose = :whose ORDER BY id DESC LIMIT 1 OFFSET :most)"
)
_BEYOND_ALL = "DELETE FROM audit WHERE id <= (SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?)"
_GRANTED = "SELECT jid, role, only_json FROM granted ORDER BY jid"
_QUIET = "SELECT jid, until_ns FROM quiet ORDER BY jid"
_SILENT = "SELECT alert, until_ns, by FROM silence ORDER BY alert"
_KNOWN = {
    _GRANTED: "INSERT OR IGNORE INTO granted VALUES (?, ?, ?)", _QUIET: "INSERT OR IGNORE INTO quiet VALUES (?, ?)",
    _SILENT: "INSERT OR IGNORE INTO silence VALUES (?, ?, ?)",
}  # fmt: skip

ANSWER_S = 3.0  # writing takes milliseconds, a worn SD card at times a second; a disk that hangs, for ever
AUDIT_LINES = 10_000  # about 1 MB; 20 MB where every field is as long as it may be
# Of one person, or of all strangers together: who asks all day what they may not, or switches a lamp on and off, pushes
# nobody else's lines out.
AUDIT_LINES_EACH = 2_000
AUDIT_TRIMMED = 100  # lines that may be more than AUDIT_LINES: looking for the oldest reads the whole log
AUDIT_CHARACTERS = 500  # of one field: a stranger's megabyte is not worth keeping


class State:
    """The open state. What a method wrote is on the disk when it returns; all raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._last: dict[str, list[tuple[Any, ...]]] = {}
        self._carried, self._anew = 0, False  # how many new files know what was read before; whether nothing was
        self._out: asyncio.Future[Any] | None = None  # a call that nobody waits for any more, and that still may end

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[State]:
        """The state in `path`, made where absent, closed at the end. Raises StoreError."""
        async with Database(path, migrations=MIGRATIONS, check=True, keep=True) as database:
            yield cls(database)

    @property
    def set_aside(self) -> Path | None:
        """The corrupt file that was replaced since opening, if one was: its grants are lost."""
        return self._db.set_aside

    @property
    def unreadable(self) -> bool:
        """Whether there is a file that could not be read yet: what it says of rights does not count."""
        return self._db.blank and os.path.lexists(self._db.path)

    @property
    def lost(self) -> bool:
        """Whether the file was damaged and begun anew before anybody had read of rights in it."""
        return self._anew

    @property
    def database(self) -> Database:
        """What it is kept in, which knows how the disk is."""
        return self._db

    async def audit(
        self, *, at_ns: int, who: str, action: str, result: str, via: str, encrypted: bool,
        stanza: bytes | None = None, whose: str = "",
    ) -> None:  # fmt: skip
        """Add a line, its texts `printable`; beyond AUDIT_LINES the oldest go, and of `whose` beyond AUDIT_LINES_EACH.

        `stanza` is what tells a repeat of what acted (`fresh.Seen`), `whose` the person to whom the line is counted.
        """
        texts = (printable(text, AUDIT_CHARACTERS) for text in (who, action, result, via))
        values = (at_ns, *texts, int(encrypted), stanza, whose)

        def work(db: sqlite3.Connection) -> None:
            line = db.execute(_AUDIT, values).lastrowid or 0
            db.execute(_BEYOND, {"whose": whose, "most": AUDIT_LINES_EACH})
            if line % AUDIT_TRIMMED == 0:
                db.execute(_BEYOND_ALL, (AUDIT_LINES,))

        await self.run(work)

    async def audited_stanzas(self, limit: int) -> list[bytes]:
        """What tells repeats of the last `limit` requests that came as a stanza, oldest first."""
        rows = await self._rows(
            "SELECT stanza FROM audit WHERE stanza IS NOT NULL ORDER BY id DESC LIMIT ?", limit, patient=True
        )
        return [stanza for (stanza,) in reversed(rows)]

    async def audit_tail(self, limit: int) -> list[AuditLine]:
        """The last `limit` lines, newest last."""
        return lines_of(await self._rows(LAST_LINES, max(limit, 0)))

    async def grants(self) -> list[Grant]:
        """Every grant, by JID."""
        rows = await self._known(_GRANTED)
        return [Grant(jid, role, tuple(json.loads(only))) for jid, role, only in rows]

    async def grant(self, jid: str, role: str, only: Iterable[str] = ()) -> None:
        """Give a bare JID a role; replaces what it was given before."""
        await self._write("INSERT OR REPLACE INTO granted VALUES (?, ?, ?)", jid, role, json.dumps(list(only)))

    async def revoke(self, jid: str) -> bool:
        """Take back what was granted; False when nothing was."""
        return await self._write("DELETE FROM granted WHERE jid = ?", jid) > 0

    async def quiet(self, jid: str, until_ns: int) -> None:
        """Say nothing unasked to a bare JID until then (UTC nanoseconds since 1970); 0 ends it."""
        if until_ns <= 0:
            await self._write("DELETE FROM quiet WHERE jid = ?", jid)
        else:
            await self._write("INSERT OR REPLACE INTO quiet VALUES (?, ?)", jid, until_ns)

    async def quiet_until(self) -> dict[str, int]:
        """Until when each bare JID wants quiet; may lie in the past."""
        return dict(await self._known(_QUIET))

    async def save_alerts(self, alerts: Iterable[AlertRow]) -> None:
        """Replace what is known of alerts by these."""
        rows = [(*row[:5], json.dumps(row.value), row.step, *map(json.dumps, row[7:])) for row in alerts]

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM alert")
            db.executemany("INSERT INTO alert VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

        await self.run(work)

    async def load_alerts(self) -> list[AlertRow]:
        """What was saved last, by name."""
        rows = await self._rows(
            "SELECT name, status, since_ns, by, met_ns, value_json, step, told_json, owed_json, escalated_json, "
            "runs_json, bounced_json FROM alert ORDER BY name", patient=True,
        )
        return [
            AlertRow(
                name, status, since_ns, by, met_ns, json.loads(value), step, json.loads(told), tuple(json.loads(owed)),
                tuple(json.loads(escalated)), tuple((run, first, last) for run, first, last in json.loads(runs)),
                tuple(json.loads(bounced)),
            )
            for name, status, since_ns, by, met_ns, value, step, told, owed, escalated, runs, bounced in rows
        ]

    async def silence(self, alert: str, until_ns: int, by: str) -> None:
        """Tell nobody of an alert until then (UTC nanoseconds since 1970); 0 ends it."""
        if until_ns <= 0:
            await self._write("DELETE FROM silence WHERE alert = ?", alert)
        else:
            await self._write("INSERT OR REPLACE INTO silence VALUES (?, ?, ?)", alert, until_ns, by)

    async def silences(self) -> dict[str, Silence]:
        """Every silence, by alert; may be over."""
        rows = await self._known(_SILENT)
        return {alert: Silence(until_ns, by) for alert, until_ns, by in rows}

    async def save_unreceived(
        self, notes: Iterable[Note], gone: Iterable[tuple[str, str]], missed: Mapping[str, int]
    ) -> None:
        """Keep these notes, forget those of `gone` (bare JID and id), and let `missed` replace what was known of whom.

        All in one transaction.
        """
        rows, keys, known = [*notes], [*gone], [*missed.items()]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM unreceived WHERE jid = ? AND identity = ?", keys)
            db.executemany(  # one that is there keeps its place
                "INSERT INTO unreceived VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "body = excluded.body, at_ns = excluded.at_ns, step = excluded.step, sent = excluded.sent, "
                "bounces = excluded.bounces, back = excluded.back",
                rows,
            )
            db.execute("DELETE FROM receipts")
            db.executemany("INSERT INTO receipts VALUES (?, ?)", known)

        await self.run(work)

    async def load_unreceived(self) -> tuple[list[Note], dict[str, int]]:
        """The notes that were kept, oldest first, and who gives receipts, with how many of late were missed."""
        rows = await self._rows(
            "SELECT jid, identity, channel, change, body, at_ns, step, sent, bounces, back FROM unreceived ORDER BY id",
            patient=True,
        )
        notes = [
            Note(jid, identity, channel, change, body, at_ns, step, sent, bounces, bool(back))
            for jid, identity, channel, change, body, at_ns, step, sent, bounces, back in rows
        ]
        return notes, dict(await self._rows("SELECT jid, missed FROM receipts", patient=True))

    async def _write(self, sql: str, *values: str | int) -> int:
        return await self.run(lambda db: db.execute(sql, values).rowcount)

    async def _known(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows, or those of last time where the disk gives none now: nobody gets or loses a right by that."""
        try:
            rows = await self._rows(sql, patient=sql not in self._last)
            if self._db.replaced != self._carried:
                await self._carry_over()
                rows = await self._rows(sql)
        except StoreError:
            if sql not in self._last:
                raise
            return self._last[sql]
        if not self._db.blank:
            self._last[sql] = rows
        return rows

    async def _carry_over(self) -> None:
        """Write what is known into a file that was begun anew. What was written there since goes before it."""
        replaced, last = self._db.replaced, dict(self._last)

        def work(db: sqlite3.Connection) -> None:
            for sql, rows in last.items():
                db.executemany(_KNOWN[sql], rows)

        await self.run(work)
        self._carried, self._anew = replaced, not last

    async def _rows(self, sql: str, *values: str | int, patient: bool = False) -> list[tuple[Any, ...]]:
        return await self.run(lambda db: db.execute(sql, values).fetchall(), patient=patient)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, patient: bool = False) -> T:
        """What `work` returns. Raises NoAnswer where it may still be done, StoreError where it is not and will not.

        A `patient` one, at a start, waits for as long as it takes: without it there is nothing to go on with.
        """
        if patient:
            return await self._db.run(work)
        if self._out is not None and not self._out.done():
            raise StoreError(f"{self._db.path}: the disk does not answer", "failing")
        begun, given_up = False, False

        def step(db: sqlite3.Connection) -> T:
            nonlocal begun
            begun = True  # before it looks, as the other side asks after it said so: one of both sees the other
            if given_up:
                raise StoreError(f"{self._db.path}: nobody waits for it any more")
            return work(db)

        call = asyncio.ensure_future(self._db.run(step))
        try:
            await asyncio.wait((call,), timeout=ANSWER_S)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if call.done():
            return call.result()
        self._out, given_up = call, True
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        text = f"{self._db.path}: the disk has not answered for {ANSWER_S:g} s; see dmesg, the card may be dying"
        raise NoAnswer(text, "failing") if begun else StoreError(text, "failing")

    async def answering(self) -> None:
        """Return when no call is out there any more."""
        if self._out is not None:
            with suppress(StoreError):
                await asyncio.shield(self._out)
