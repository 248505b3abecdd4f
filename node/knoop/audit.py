"""`knoop audit`: who asked for what, as state.db has it; also while the node runs, and when nobody can log in."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from knoop.errors import StoreError, Usage
from knoop.state_tables import LAST_LINES, AuditLine, lines_of
from knoop_hw import places
from knoop_hw.logs import printable

WAIT_S = 5.0  # for a node that checkpoints at this moment


def audit(arguments: argparse.Namespace, config: Path) -> int:
    """Print the last lines, newest last. Raises Usage, StoreError."""
    if arguments.tail < 0:
        raise Usage("--tail is how many lines, or 0 for all of them")
    folder = arguments.state or places.state_of(config, "knoop")
    lines = tail(folder / "state.db", arguments.tail)
    if arguments.json:
        print(json.dumps({"ok": True, "lines": [asdict(line) for line in lines]}, ensure_ascii=True))  # noqa: T201 -- a command's output
    else:
        print("\n".join(said(lines)) if lines else "Nobody has asked for anything yet.")  # noqa: T201 -- as above
    return 0


def tail(file: Path, limit: int) -> list[AuditLine]:
    """The last `limit` lines, newest last; 0 for all. No row is written. Raises StoreError.

    SQLite may make its two files beside it; as root it gives them to the owner of `file`.
    """
    if not file.is_file():
        raise StoreError(f"{file}: there is none; name the node's state with --state, or has it never run?")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as db:
            rows = db.execute(LAST_LINES, (limit or -1,)).fetchall()
    except sqlite3.Error as error:
        text = f"{file} cannot be read: {error}; as the node's own user it can, unless it is damaged"
        raise StoreError(text) from None
    return lines_of(rows)


def said(lines: list[AuditLine]) -> Iterator[str]:
    """One line each, in this machine's time. What is kept is escaped already; a file is only a file, so once more."""
    for line in lines:
        at = datetime.fromtimestamp(line.at_ns / 1e9, UTC).astimezone().isoformat(" ", "seconds")
        yield printable(f"{at} {line.origin}: {line.action} → {line.result}", copied=True)
