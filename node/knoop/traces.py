"""One person's traces in a node's databases, taken out so that nothing of them is left in the files.

Which rows these are is not listed table by table: whatever has their address in any column goes, so that a table which
is added later is covered as well. What STAYS forgets who it was.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from knoop.errors import NodeError, StoreError
from knoop.jid import Jid

# What is so, whoever said it; a flag says that a file which made somebody an owner counts no more.
STAYS = ("alert", "silence", "flag")
PART = 2**20
BUSY_S = 10.0


def pattern(address: str) -> re.Pattern[str]:
    """Where this bare JID stands in a text as a whole, with a resource or without: not within another address."""
    spellings = {address, json.dumps(address)[1:-1]}
    one = "|".join(map(re.escape, sorted(spellings)))
    return re.compile(rf"(?<![\w.%+-])(?:{one})(?![\w-]|\.\w)", re.IGNORECASE)


def erase(file: Path, person: Jid, *, title: str, version: int) -> int:
    """Take a bare JID out of a database that nobody has open; returns how many rows named them.

    `title`: how they are called where no address stands, '' if so nowhere. `version`: of the tables, of which those of
    another are refused. Raises StoreError or NodeError; then nothing has changed.
    """
    try:
        with closing(sqlite3.connect(file, isolation_level=None, timeout=BUSY_S)) as db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found != version:
                raise NodeError(f"{file}: of another Knoop; start this one once, stop it, and purge again")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA temp_store = MEMORY")  # no other file gets to see it
            db.execute("BEGIN IMMEDIATE")
            rows = _erase(db, pattern(str(person)), title)
            db.execute("COMMIT")
            db.execute("VACUUM")  # what was deleted before this, or by a try that was cut off, stands in free pages
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}; nothing was taken out of it") from error
    return rows


def _erase(db: sqlite3.Connection, named: re.Pattern[str], title: str) -> int:
    db.create_function("names", 1, lambda value: isinstance(value, str) and bool(named.search(value)))
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    count = 0
    if "delivery" in tables:  # what refers to rows by number goes with them
        count += _unreferenced(db)
    for table in tables:
        columns = [(name, kind) for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})")]
        texts = [name for name, kind in columns if kind in {"TEXT", "ANY"}]
        if not texts:
            continue
        if table in STAYS:
            count += _forgotten(db, table, texts, named, title)
        else:
            where = " OR ".join(f"names({name})" for name in texts)
            count += db.execute(f"DELETE FROM {table} WHERE {where}").rowcount  # noqa: S608 -- names of our own tables
    return count


def _unreferenced(db: sqlite3.Connection) -> int:
    """Deliveries to them, and what points at readings that name them, in readings.db."""
    gone = db.execute("DELETE FROM delivery WHERE sink IN (SELECT id FROM sink WHERE names(name))").rowcount
    said = "SELECT id FROM reading WHERE names(value)"
    db.execute(f"DELETE FROM place WHERE reading IN ({said})")  # noqa: S608 -- as below
    db.execute(f"DELETE FROM delivery WHERE reading IN ({said})")  # noqa: S608 -- constants of this function
    return gone


def _forgotten(db: sqlite3.Connection, table: str, texts: list[str], named: re.Pattern[str], title: str) -> int:
    """Rows that stay, without who it was."""
    count = 0
    for row, *values in db.execute(f"SELECT rowid, {', '.join(texts)} FROM {table}").fetchall():  # noqa: S608 -- as above
        cleaned = [_cleaned(name, value, named, title) for name, value in zip(texts, values, strict=True)]
        if cleaned != values:
            assigned = ", ".join(f"{name} = ?" for name in texts)
            db.execute(f"UPDATE {table} SET {assigned} WHERE rowid = ?", (*cleaned, row))  # noqa: S608 -- as above
            count += 1
    return count


def _cleaned(column: str, value: Any, named: re.Pattern[str], title: str) -> Any:
    if column in {"by", "value"} and (value == title or named.search(value)):
        return ""
    if column.endswith("_json") and named.search(value):
        return json.dumps(_without(json.loads(value), lambda text: named.search(text) is not None))
    return value


def _without(value: Any, named: Callable[[str], bool]) -> Any:
    """A JSON value without the members and elements that name them."""
    if isinstance(value, dict):
        return {key: _without(item, named) for key, item in value.items() if not named(key)}
    if isinstance(value, list):
        return [_without(item, named) for item in value if not (isinstance(item, str) and named(item))]
    return "" if isinstance(value, str) and named(value) else value


def within_others(file: Path, person: Jid) -> bool:
    """Whether a database has addresses, or words, of which this one is only a part."""
    part = str(person).lower()
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = (row for table in tables for row in db.execute(f"SELECT * FROM {table}"))  # noqa: S608 -- our own tables
        return any(isinstance(value, str) and part in value.lower() for row in rows for value in row)


def found(files: Iterable[Path], address: str) -> list[Path]:
    """The files in which the bytes of an address stand, whatever around them is: what grep would find."""
    spellings = {address.lower().encode(), json.dumps(address.lower())[1:-1].encode()}
    return [file for file in files if _stands(file, spellings)]


def _stands(file: Path, spellings: Collection[bytes]) -> bool:
    before, overlap = b"", max(map(len, spellings))
    with file.open("rb") as content:
        while part := content.read(PART):
            window = (before + part).lower()
            if any(text in window for text in spellings):
                return True
            before = window[-overlap:]
    return False
