"""The codes that are open, in state.db: made, listed, taken back, and redeemed once.

Only digests are kept. `knoop claim` writes beside a running node, so that the table is looked at whenever somebody
tries; what a code is worth, and its end, are one transaction.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sqlite3
from contextlib import suppress

from knoop.claims import BYTES, CONSOLE, Offer, digest, spell
from knoop.errors import StoreError
from knoop.state import State

_SELF = ("", CONSOLE)  # who makes claims, not invites


class Claims:
    """The open codes of a state. Every method raises StoreError."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.known: tuple[Offer, ...] = ()  # as they were when somebody looked last

    async def make(self, offer: Offer) -> str:
        """A new code for this; it replaces those with the same name and, for a claim, of the same maker."""
        code = spell(secrets.token_bytes(BYTES))
        await self._state.run(lambda db: _make(db, code, offer))
        await self._look()
        return code

    async def offers(self) -> tuple[Offer, ...]:
        """All there are, those that have ended included, by name."""
        self.known = tuple(offer for _, offer in await self._state.run(_rows))
        return self.known

    async def find(self, code: str) -> Offer | None:
        """What this code gives, None for a wrong one; it may have ended."""
        return await self._state.run(lambda db: (_find(db, code) or (b"", None))[1])

    async def take(self, code: str, jid: str) -> bool:
        """Redeem it for a bare JID: the grant is there and the code is gone. False: it was gone already.

        It waits for as long as the disk takes: nobody gets a right that the node does not know of.
        """
        taken = await self._state.run(lambda db: _take(db, code, jid), patient=True)
        await self._look()
        return taken

    async def take_file(self, digest: str, jid: str) -> bool:
        """Make a bare JID an owner because a file says so; False for a file that was taken before. It waits, too."""
        return await self._state.run(lambda db: _take_file(db, digest, jid), patient=True)

    async def withdraw(self, offer: Offer) -> bool:
        """End it unused; False when there is no such any more."""
        gone = await self._state.run(lambda db: _delete(db, offer)) > 0
        await self._look()
        return gone

    async def _look(self) -> None:
        with suppress(StoreError):  # what was done is done
            await self.offers()


def _make(db: sqlite3.Connection, code: str, offer: Offer) -> None:
    _delete(db, offer)
    db.execute("INSERT INTO claim (digest, role, only_json, name, by, until_ns) VALUES (?, ?, ?, ?, ?, ?)", (
        digest(code), offer.role, json.dumps(offer.only), offer.name, offer.by, offer.until_ns,
    ))  # fmt: skip


def _delete(db: sqlite3.Connection, offer: Offer) -> int:
    if offer.name:
        return db.execute("DELETE FROM claim WHERE name = ?", (offer.name,)).rowcount
    return db.execute("DELETE FROM claim WHERE name = '' AND by = ?", (offer.by,)).rowcount


def _rows(db: sqlite3.Connection) -> list[tuple[bytes, Offer]]:
    rows = db.execute("SELECT digest, role, only_json, name, by, until_ns FROM claim ORDER BY name, by").fetchall()
    return [
        (kept, Offer(role=role, only=tuple(json.loads(only)), name=name, by=by, until_ns=until_ns))
        for kept, role, only, name, by, until_ns in rows
    ]


def _find(db: sqlite3.Connection, code: str) -> tuple[bytes, Offer] | None:
    """All are compared, each in the same time: how long it takes says nothing about any."""
    tried = digest(code)
    found = [row for row in _rows(db) if hmac.compare_digest(row[0], tried)]
    return found[0] if found else None


def _take(db: sqlite3.Connection, code: str, jid: str) -> bool:
    if (found := _find(db, code)) is None:
        return False
    kept, offer = found
    db.execute("DELETE FROM claim WHERE digest = ?", (kept,))
    if offer.by in _SELF:  # it has an owner now: no other claim is open
        db.execute("DELETE FROM claim WHERE name = ''")
    db.execute("INSERT OR REPLACE INTO granted (jid, role, only_json) VALUES (?, ?, ?)", (
        jid, offer.role, json.dumps(offer.only),
    ))  # fmt: skip
    return True


def _take_file(db: sqlite3.Connection, digest: str, jid: str) -> bool:
    taken = db.execute("INSERT OR IGNORE INTO flag (name, value) VALUES (?, ?)", (f"claim file {digest}", jid))
    if taken.rowcount > 0:
        db.execute("INSERT OR REPLACE INTO granted (jid, role, only_json) VALUES (?, 'owner', '[]')", (jid,))
    return taken.rowcount > 0
