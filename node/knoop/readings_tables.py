"""The tables of readings.db, and what a row of them means.

A commit should dirty few pages, since a page is what a card is written by. So `reading` only grows at its end and has
no index; what repeats stands once in `series`; `place`, by which a channel's history is found, is written for many
readings at once; and `delivery` holds only what waits. `tally` has what must outlive a restart: the last row that is in
`place`, and the counts of what was dropped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from knoop.record import Record
from knoop_hw.model import Class, Quality, Type, Value

# The integer in the column is the place here: never reorder, add at the end.
CLASSES: Final[tuple[Class, ...]] = ("alarm", "event", "telemetry")
TYPES: Final[tuple[Type, ...]] = ("number", "boolean", "text")
QUALITIES: Final[tuple[Quality, ...]] = ("ok", "missing", "error", "estimate", "warning", "lost")

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
    # Version 1 had the type in the value: REAL, INTEGER, TEXT, or a BLOB of one letter where there was none.
    """
ALTER TABLE delivery RENAME TO delivery_1;
ALTER TABLE reading RENAME TO reading_1;
DROP INDEX delivery_reading;
CREATE TABLE series (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, run TEXT NOT NULL, boot TEXT NOT NULL,
  class INTEGER NOT NULL, type INTEGER NOT NULL, unit TEXT NOT NULL, UNIQUE(channel,run,boot,class,type,unit)) STRICT;
CREATE TABLE reading (id INTEGER PRIMARY KEY, series INTEGER NOT NULL, seq INTEGER NOT NULL, value ANY,
  quality INTEGER NOT NULL, boottime_ns INTEGER NOT NULL, at_ns INTEGER /* NULL until the clock is synced */) STRICT;
CREATE TABLE place (series INTEGER, seq INTEGER, reading INTEGER NOT NULL, PRIMARY KEY(series,seq))
  STRICT, WITHOUT ROWID;
CREATE TABLE sink (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE delivery (sink INTEGER, class INTEGER, reading INTEGER, PRIMARY KEY(sink,class,reading))
  STRICT, WITHOUT ROWID;
CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TEMP VIEW former AS SELECT id, run, channel, seq, class, iif(typeof(value) = 'blob', NULL, value) AS value,
  CASE WHEN typeof(value) = 'real' OR value = x'6e' THEN 0 WHEN typeof(value) = 'integer' OR value = x'62' THEN 1
    ELSE 2 END AS type,
  ifnull(unit, '') AS unit, boot, boottime_ns, at_ns,
  CASE quality WHEN 'ok' THEN 0 WHEN 'missing' THEN 1 WHEN 'error' THEN 2 WHEN 'estimate' THEN 3
    WHEN 'warning' THEN 4 ELSE 5 END AS quality
  FROM main.reading_1;
INSERT INTO series (channel, run, boot, class, type, unit)
  SELECT channel, run, boot, class, type, unit FROM former GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY min(id);
INSERT INTO reading SELECT f.id, s.id, f.seq, f.value, f.quality, f.boottime_ns, f.at_ns
  FROM former f CROSS JOIN series s USING (channel, run, boot, class, type, unit) ORDER BY f.id;
INSERT INTO place SELECT series, seq, id FROM reading ORDER BY series, seq;
INSERT INTO sink (name) SELECT DISTINCT sink FROM delivery_1;
INSERT INTO delivery SELECT k.id, d.class, d.reading FROM delivery_1 d JOIN sink k ON k.name = d.sink ORDER BY 1, 2, 3;
INSERT INTO tally SELECT 'placed', ifnull(max(id), 0) FROM reading;
DROP VIEW former;
DROP TABLE delivery_1;
DROP TABLE reading_1;
""",
)


def records(rows: Iterable[Sequence[Any]]) -> Iterator[Record]:
    """Damage that SQLite has no way to notice shows here, as what no writer of ours wrote."""
    try:
        for row, run, channel, seq, cls, kind, value, unit, quality, boot, boottime_ns, at_ns in rows:
            yield Record(
                run=run, channel=channel, seq=_whole(seq), cls=CLASSES[cls], type=TYPES[kind],
                value=_unpack(kind, value), unit=unit, quality=QUALITIES[quality], boot=boot,
                boottime_ns=_whole(boottime_ns), at_ns=None if at_ns is None else _whole(at_ns), row=row,
            )  # fmt: skip
    except (IndexError, TypeError, ValueError) as error:
        raise damaged(f"a reading that cannot be ({error})") from error


def pack(record: Record) -> float | int | str | None:
    if record.value is None:
        return None
    if record.type == "number":
        return float(record.value)
    return int(record.value) if record.type == "boolean" else str(record.value)


def _unpack(kind: int, value: Any) -> Value:
    wanted = (float, int, str)[kind]
    if value is not None and not isinstance(value, wanted):
        raise TypeError(f"{TYPES[kind]} {value!r}")
    return bool(value) if wanted is int and value is not None else value


def _whole(number: Any) -> int:
    if not isinstance(number, int):
        raise TypeError(f"a number {number!r}")
    return number


def damaged(what: str) -> sqlite3.DatabaseError:
    """The error by which SQLite says that a file is corrupt."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
