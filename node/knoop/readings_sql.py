# ruff: noqa: S608 -- what is put together here are constants of this file and placeholders
"""Every statement on the tables of readings.db; used only in the database's thread, within its transactions.

Readings above `placed` are not in `place` yet and are looked for one by one. Nobody but this program writes here, so it
knows the last number of each channel and needs no index to tell a repeat.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from knoop.readings_tables import CLASSES, QUALITIES, TYPES, damaged, pack, records
from knoop.record import Record
from knoop_hw.model import Class

PLACE_ROWS = 1000  # `place` is written for so many at once: 20 channels then share a page with 50 of their readings
SCAN_ROWS = 10_000  # so many are looked at in one transaction, about 10 ms, so that a commit can come in between

# CROSS JOIN keeps SQLite to the order that is written here.
COLUMNS = "r.id, s.run, s.channel, r.seq, s.class, s.type, r.value, s.unit, r.quality, s.boot, r.boottime_ns, r.at_ns"
OF_SERIES = "CROSS JOIN series s ON s.id = r.series"
OF_RUN = "(SELECT id FROM series WHERE channel = :channel AND run = :run)"
WITHIN = "(r.at_ns >= :since_ns OR :since_ns IS NULL) AND (r.at_ns <= :until_ns OR :until_ns IS NULL)"
WAITS = (
    "EXISTS (SELECT 1 FROM sink k CROSS JOIN delivery d WHERE d.sink = k.id AND d.class = s.class AND d.reading = r.id)"
)
ANY_SEQ = 2**63 - 1
MOST_ROWS = 2**48  # a thousand a second for 9000 years


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which readings: of these channels, of one run (empty: of any), with bounds of seq and time, all included."""

    channels: tuple[str, ...]
    run: str
    first: int
    last: int
    since_ns: int | None
    until_ns: int | None


class Readings:
    """What is in one open readings.db, with what its only writer remembers of it.

    Every method runs within a transaction, after `since`. Rows get numbers above `after`, whatever the file has: what
    is meant for a row of the file before it must find none here.
    """

    def __init__(self, db: sqlite3.Connection, *, after: int = 0) -> None:
        self.db = db
        self.newest: int = after
        self.placed = 0
        # Up to this row everything waits for somebody, which spares the search in a store that is all backlog.
        self.busy = 0
        self._undone = -1

    def since(self, undone: int) -> Readings:
        """These, with what is remembered as in the file if that many transactions were undone so far."""
        if undone != self._undone:
            self._undone = undone
            self._remember()
        return self

    def _remember(self) -> None:
        tally = dict(self.db.execute("SELECT name, count FROM tally").fetchall())
        self.dropped: Mapping[Class, int] = {cls: tally.get(f"dropped.{cls}", 0) for cls in CLASSES}
        self.placed = tally.get("placed", 0)
        (newest,) = self.db.execute("SELECT ifnull(max(id), 0) FROM reading").fetchone()
        newest = max(newest, self.placed, self.newest)  # a number is not used twice, or it would count as placed
        if newest >= MOST_ROWS:
            raise damaged(f"row {newest}")
        self.newest = newest
        self._series: dict[tuple[str | int, ...], int] = {}
        self._grown = False
        self._sinks: dict[str, int] = dict(self.db.execute("SELECT name, id FROM sink").fetchall())
        self._highest: dict[tuple[str, str], int] = {}

    def add(self, entries: Iterable[tuple[Record, Collection[str]]], dropped: Mapping[Class, int]) -> list[Record]:
        """Keep what is not there yet; returns all of them with their `row`. `dropped` is the count to keep with it."""
        kept = [self._insert(record, sinks) for record, sinks in entries]
        if self.newest - self.placed >= PLACE_ROWS:
            self._place()
        if dict(dropped) != self.dropped:
            rows = [(f"dropped.{cls}", count) for cls, count in dropped.items()]
            self.db.executemany("INSERT OR REPLACE INTO tally VALUES (?, ?)", rows)
            self.dropped = dict(dropped)
        return kept

    def pending(self, sink: str, limit: int) -> list[Record]:
        """What waits for `sink`: best class first, each in the order they came."""
        return self._records(
            f"SELECT {COLUMNS} FROM delivery d CROSS JOIN reading r ON r.id = d.reading {OF_SERIES} "
            "WHERE d.sink = (SELECT id FROM sink WHERE name = :sink) ORDER BY d.class, d.reading LIMIT :limit",
            sink=sink, limit=limit,
        )  # fmt: skip

    def delivered(self, sink: str, rows: Iterable[int]) -> None:
        """Take these rows off what waits for `sink`."""
        rows = list(rows)
        self.busy = min([self.busy, *(row - 1 for row in rows)])
        if number := self._sinks.get(sink):
            keys = [(number, cls, row) for row in rows for cls in range(len(CLASSES))]
            self.db.executemany("DELETE FROM delivery WHERE sink = ? AND class = ? AND reading = ?", keys)

    def forget(self, sink: str) -> int:
        """Drop all that waits for `sink`; returns how much that was."""
        self.busy = 0
        number = (self._sinks.pop(sink, None),)
        self.db.execute("DELETE FROM sink WHERE id = ?", number)
        return self.db.execute("DELETE FROM delivery WHERE sink = ?", number).rowcount

    def backlog(self) -> dict[str, int]:
        """How many wait, by sink."""
        sql = "SELECT k.name, count(*) FROM delivery d CROSS JOIN sink k ON k.id = d.sink GROUP BY d.sink"
        return dict(self.db.execute(sql).fetchall())

    def waiting(self) -> dict[str, dict[str, int]]:
        """How many events and alarms wait, by sink and channel."""
        counts: dict[str, dict[str, int]] = {}
        for sink, channel, count in self.db.execute(
            "SELECT k.name, s.channel, count(*) FROM sink k CROSS JOIN delivery d ON d.sink = k.id AND d.class < ? "
            f"CROSS JOIN reading r ON r.id = d.reading {OF_SERIES} GROUP BY k.name, s.channel",
            (CLASSES.index("telemetry"),),
        ):
            counts.setdefault(sink, {})[channel] = count
        return counts

    def history(self, channel: str, since_ns: int | None, until_ns: int | None, limit: int) -> list[Record]:
        """The newest of a channel within the bounds, newest last."""
        bounds = {"since_ns": since_ns, "until_ns": until_ns}
        found = self._records(
            f"SELECT {COLUMNS} FROM reading r {OF_SERIES} WHERE r.id > :placed AND s.channel = :channel AND {WITHIN} "
            "ORDER BY r.id DESC LIMIT :limit", placed=self.placed, channel=channel, limit=limit, **bounds,
        )  # fmt: skip
        for series in self._newest_series(channel):
            if len(found) >= limit:
                break
            found += self._records(
                f"SELECT {COLUMNS} FROM place p CROSS JOIN reading r ON r.id = p.reading {OF_SERIES} "
                f"WHERE p.series = :series AND {WITHIN} ORDER BY p.seq DESC LIMIT :limit",
                series=series, limit=limit - len(found), **bounds,
            )  # fmt: skip
        return found[::-1]

    def latest(self) -> list[Record]:
        """The last reading of every channel, in the order they came: the highest seq of the run with the newest row."""
        last: dict[tuple[str, str], tuple[int, int]] = {}
        for channel, run, seq, row in self.db.execute(
            "SELECT s.channel, s.run, p.seq, p.reading FROM series s CROSS JOIN place p ON p.series = s.id "
            "AND p.seq = (SELECT max(seq) FROM place WHERE series = s.id) UNION ALL "
            "SELECT s.channel, s.run, max(r.seq), r.id "  # SQLite takes the id from the row of the max
            f"FROM reading r {OF_SERIES} WHERE r.id > ? GROUP BY r.series", (self.placed,),
        ):  # fmt: skip
            last[channel, run] = max((seq, row), last.get((channel, run), (0, 0)))
        newest: dict[str, int] = {}
        for (channel, _), (_, row) in last.items():
            newest[channel] = max(row, newest.get(channel, 0))
        one = f"SELECT {COLUMNS} FROM reading r {OF_SERIES} WHERE r.id = :row"
        return [record for row in sorted(newest.values()) for record in self._records(one, row=row)]

    def of_run(self, wanted: Wanted, after: int, limit: int) -> list[Record]:
        """The oldest of what is wanted of one run, above the row `after`: sorts all that its bounds of seq leave."""
        channels, names = _marked(wanted.channels)
        series = f"SELECT id FROM series WHERE run = :run AND channel IN ({channels})"
        return self._records(
            f"SELECT {COLUMNS} FROM (SELECT reading AS id FROM place WHERE series IN ({series}) "
            "AND seq BETWEEN :first AND :last AND reading > :after UNION ALL SELECT id FROM reading "
            f"WHERE id > max(:placed, :after) AND series IN ({series}) AND seq BETWEEN :first AND :last) AS found "
            f"CROSS JOIN reading r ON r.id = found.id {OF_SERIES} WHERE {WITHIN} ORDER BY r.id LIMIT :limit",
            run=wanted.run, first=wanted.first, last=wanted.last, since_ns=wanted.since_ns, until_ns=wanted.until_ns,
            after=after, placed=self.placed, limit=limit, **names,
        )  # fmt: skip

    def portion(self, wanted: Wanted, after: int, limit: int) -> tuple[list[Record], int]:
        """The oldest of what is wanted among the SCAN_ROWS above `after`, and how far these go; 0 when none are."""
        if not (ahead := self.ahead(after)):
            return [], 0
        channels, names = _marked(wanted.channels)
        found = self._records(
            f"SELECT {COLUMNS} FROM reading r {OF_SERIES} WHERE r.id BETWEEN :from AND :to AND {WITHIN} "
            f"AND r.seq BETWEEN :first AND :last AND (s.run = :run OR :run = '') AND s.channel IN ({channels}) "
            "ORDER BY r.id LIMIT :limit", run=wanted.run,
            first=wanted.first, last=wanted.last, since_ns=wanted.since_ns, until_ns=wanted.until_ns, limit=limit,
            **{"from": ahead[0], "to": ahead[1]}, **names,
        )  # fmt: skip
        return found, ahead[1]

    def before_boot(self, boot: str) -> int:
        """A row up to which there is none of that boot."""
        mine = "SELECT id FROM series WHERE boot = ?"
        sql = f"SELECT min(reading) FROM place WHERE series IN ({mine})"
        (first,) = self.db.execute(sql, (boot,)).fetchone()
        return self.placed if first is None else first - 1

    def correct(self, boot: str, offset_ns: int, after: int) -> tuple[int, int | None]:
        """Date what has no time among the SCAN_ROWS above `after`; how many, and how far these go, None at the end."""
        if not (ahead := self.ahead(after)):
            return 0, None
        dated = self.db.execute(
            "UPDATE reading SET at_ns = boottime_ns + ? WHERE id BETWEEN ? AND ? AND at_ns IS NULL "
            "AND series IN (SELECT id FROM series WHERE boot = ?)", (offset_ns, *ahead, boot),
        )  # fmt: skip
        return dated.rowcount, ahead[1]

    def drop_history(self, limit: int) -> int | None:
        """Delete the oldest of history among the next SCAN_ROWS; returns how many went, None at the end."""
        if not (ahead := self.ahead(self.busy)):
            return None
        history = f"SELECT r.id FROM reading r {OF_SERIES} WHERE r.id BETWEEN ? AND ? AND NOT {WAITS}"
        rows = self.rows(f"{history} ORDER BY r.id LIMIT ?", *ahead, limit)
        self.busy = rows[0] - 1 if rows else min(ahead[1], self.newest)
        return self.delete(rows)

    def drop_waiting(self, cls: int, limit: int) -> int:
        """Delete the oldest of a class that wait for anybody; returns how many went."""
        oldest = "SELECT reading FROM delivery WHERE sink = ? AND class = ? ORDER BY reading LIMIT ?"
        rows = {row for sink in self._sinks.values() for row in self.rows(oldest, sink, cls, limit)}
        return self.delete(sorted(rows)[:limit])

    def delete(self, rows: Sequence[int]) -> int:
        """Delete these readings and all that points at them."""
        what = f"SELECT r.series, r.seq, s.class, r.id FROM reading r {OF_SERIES} WHERE r.id = ?"
        known = [found for row in rows if (found := self.db.execute(what, (row,)).fetchone())]
        self.db.executemany("DELETE FROM place WHERE series = ? AND seq = ?", [found[:2] for found in known])
        self.db.executemany(
            "DELETE FROM delivery WHERE sink = ? AND class = ? AND reading = ?",
            [(sink, *found[2:]) for sink in self._sinks.values() for found in known],
        )
        self.db.executemany("DELETE FROM reading WHERE id = ?", [(row,) for row in rows])
        return len(rows)

    def _insert(self, record: Record, sinks: Collection[str]) -> Record:
        key = (record.channel, record.run)
        highest = self._highest.get(key)
        if highest is None:
            highest = self._highest[key] = self._highest_of(key)
        if record.seq <= highest and (row := self._find(record)):
            return replace(record, row=row)
        row, cls = self.newest + 1, CLASSES.index(record.cls)
        self.db.execute("INSERT INTO reading VALUES (?, ?, ?, ?, ?, ?, ?)", (
            row, self._series_of(record, cls), record.seq, pack(record), QUALITIES.index(record.quality),
            record.boottime_ns, record.at_ns,
        ))  # fmt: skip
        for sink in sinks:
            self.db.execute("INSERT OR IGNORE INTO delivery VALUES (?, ?, ?)", (self._sink(sink), cls, row))
        self.newest = row
        self._highest[key] = max(highest, record.seq)
        return replace(record, row=row)

    def _highest_of(self, key: tuple[str, str]) -> int:
        """The highest seq of a channel in a run, 0 where there is none."""
        (seq,) = self.db.execute(
            "SELECT max(ifnull((SELECT max((SELECT max(seq) FROM place WHERE series = s.id)) FROM series s "
            "WHERE channel = :channel AND run = :run), 0), ifnull((SELECT max(seq) FROM reading "
            f"WHERE id > :placed AND series IN {OF_RUN}), 0))",
            {"channel": key[0], "run": key[1], "placed": self.placed},
        ).fetchone()  # fmt: skip
        return int(seq)

    def _find(self, record: Record) -> int:
        """The row of a reading with this identity, 0 where there is none."""
        found = self.db.execute(
            f"SELECT reading FROM place WHERE seq = :seq AND series IN {OF_RUN} UNION ALL "
            f"SELECT id FROM reading WHERE id > :placed AND seq = :seq AND series IN {OF_RUN} LIMIT 1",
            {"channel": record.channel, "run": record.run, "seq": record.seq, "placed": self.placed},
        ).fetchone()
        return found[0] if found else 0

    def _series_of(self, record: Record, cls: int) -> int:
        key = (record.channel, record.run, record.boot, cls, TYPES.index(record.type), record.unit)
        if (number := self._series.get(key)) is None:
            where = "channel = ? AND run = ? AND boot = ? AND class = ? AND type = ? AND unit = ?"
            found = self.db.execute(f"SELECT id FROM series WHERE {where}", key).fetchone()
            if not found:
                found, self._grown = (self._numbered("INSERT INTO series VALUES (NULL, ?, ?, ?, ?, ?, ?)", key),), True
            number = self._series[key] = found[0]
        return number

    def _sink(self, name: str) -> int:
        if name not in self._sinks:
            self._sinks[name] = self._numbered("INSERT INTO sink VALUES (NULL, ?)", (name,))
        return self._sinks[name]

    def _place(self) -> None:
        """Write down where the newest are found."""
        self.db.execute(
            "INSERT OR IGNORE INTO place SELECT series, seq, id FROM reading WHERE id > ? ORDER BY series, seq",
            (self.placed,),
        )
        self.db.execute("INSERT OR REPLACE INTO tally VALUES ('placed', ?)", (self.newest,))
        self.placed = self.newest
        if self._grown:  # each start of a board makes new series; forget those that nothing is left of
            self.db.execute("DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM place WHERE series = series.id)")
            self._series.clear()
            self._grown = False

    def _newest_series(self, channel: str) -> list[int]:
        """The series of a channel that are in `place`, the one with the newest row first."""
        return self.rows(
            "SELECT s.id FROM series s CROSS JOIN place p ON p.series = s.id "
            "AND p.seq = (SELECT max(seq) FROM place WHERE series = s.id) WHERE s.channel = ? ORDER BY p.reading DESC",
            channel,
        )

    def ahead(self, after: int) -> tuple[int, int] | None:
        """The first row above `after`, and how far one transaction looks from there; None where there is none."""
        (first,) = self.db.execute("SELECT min(id) FROM reading WHERE id > ?", (after,)).fetchone()
        return (first, first + SCAN_ROWS - 1) if first else None

    def _numbered(self, sql: str, values: Sequence[str | int]) -> int:
        row = self.db.execute(sql, values).lastrowid
        assert row is not None
        return row

    def rows(self, sql: str, *values: str | int) -> list[int]:
        return [row for (row,) in self.db.execute(sql, values)]

    def _records(self, sql: str, **values: str | int | None) -> list[Record]:
        return list(records(self.db.execute(sql, values)))


def _marked(channels: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Placeholders for an IN, and what they stand for."""
    names = {f"channel{number}": channel for number, channel in enumerate(channels)}
    return ", ".join(f":{name}" for name in names), names
