"""The resource that this node logs in with where `node.toml` names none: nobody can guess it, and it stays the same.

A request to a full address is answered by the server while that device is not there, and by the device while it is. To
a stranger both look alike for as long as we answer; we answer no flood. Who cannot guess the address always asks the
server (docs/adr/0034). It stays the same so that after a cut the server and rooms know who is back.
"""

from __future__ import annotations

import logging
import sqlite3

from knoop.errors import StoreError
from knoop.state import State

log = logging.getLogger(__name__)

FLAG = "resource"


async def kept(state: State, *, made: str) -> str:
    """The resource in state.db, `made` where there is none; '' where the disk does not say: then the server chooses."""

    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT OR IGNORE INTO flag VALUES (?, ?)", (FLAG, made))
        return str(db.execute("SELECT value FROM flag WHERE name = ?", (FLAG,)).fetchone()[0])

    try:
        return await state.run(work)
    except StoreError as error:
        log.warning("the server chooses this login's resource, as the disk does not say which one it was: %s", error)
        return ""
