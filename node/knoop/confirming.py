"""One-time codes for outputs with `confirm`: what was asked waits until its code comes back (docs/adr/0036).

A wish for such an output is not carried out but kept, for CODE_S, with the digest of a code that only the device that
asked is told. It is carried out when that device sends the code back: then the wish is off the disk before it acts, so
that nothing makes it act twice. Both are on the disk because an agent may be restarted in between.

Whoever is wrong hears one sentence, whatever is wrong: the code, its age, its device, or that there is none.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from knoop.codes import DIGITS, digest, packed, spaced, unpacked
from knoop.command import N_, Reply, Request, Span, refuse

if TYPE_CHECKING:
    import sqlite3

    from knoop.command import House

CODE_S = 30.0  # as long as one can look at it and type it
# Somebody mistypes twice. Who guesses, and cannot read our answers, has a chance of 3 in a million ...
TRIES = 3
HELD_S = 60.0  # ... and then there is none at all for so long: half of all codes take four months, each try in the log
MOST = 50  # that wait, beyond which only those get one who have rights of their own, not just their domain's

BUSY = N_("Too many codes are waiting to come back, so nothing was done. Ask again in {span}.")
HELD = N_("Too many wrong codes came from your address, so nothing was done. Ask again in {span}.")
NO_CODE = N_("That is no code that counts now, so I did nothing. Look at it again, or ask again for what you want.")


class _Kept(NamedTuple):
    digest: bytes
    wish: str
    boot: str
    until_ns: int
    tries: int


class Codes:
    """The codes that are out. Every method raises StoreError. `below` is chance: a whole number from 0 below this."""

    def __init__(self, house: House, *, below: Callable[[int], int] = secrets.randbelow) -> None:
        self._house = house
        self._below = below

    async def ask(self, request: Request, reply: Reply) -> Reply:
        """Keep what is asked, and say a new code to the device that asks; `reply.confirm` is the sentence for that.

        It replaces what this person, on any device, was given before. None is given in a room, where others read it,
        nor to an address that is not one device.
        """
        if reply.confirm is None or request.via == "room" or not request.sender.resource:
            return reply
        code = f"{self._below(10**DIGITS):0{DIGITS}}"
        clock, who = self._house.clock, str(request.sender.bare)
        now_ns, boot, wish = clock.boottime_ns(), clock.boot_id, packed(request)
        individual, until_ns = self._house.access.individual(request.sender), now_ns + round(CODE_S * 1e9)
        row = (who, digest(code, sender=request.sender, wish=wish, until_ns=until_ns), wish, boot, until_ns)

        def keep(db: sqlite3.Connection) -> tuple[str, int]:
            db.execute("DELETE FROM code WHERE boot <> ? OR until_ns <= ?", (boot, now_ns))
            kept = _kept(db, who)
            if kept is not None and kept.tries >= TRIES:
                return HELD, kept.until_ns
            if kept is None and not individual and db.execute("SELECT count(*) FROM code").fetchone()[0] >= MOST:
                return BUSY, until_ns
            tries = 0 if kept is None else kept.tries  # who asks anew has no more of them
            db.execute("INSERT OR REPLACE INTO code VALUES (?, ?, ?, ?, ?, ?)", (*row, tries))
            return "", 0

        refused, again_ns = await self._house.state.run(keep)
        if refused:
            return refuse(refused, span=Span(max(1, round((again_ns - now_ns) / 1e9))))
        said = replace(reply.confirm, values={**reply.confirm.values, "code": spaced(code), "within": Span(CODE_S)})
        return Reply((said,), ok=False, passing=True)

    async def redeem(self, request: Request) -> Request | None:
        """What was asked, when `request` brings the code for it back; then it is forgotten, as the disk says.

        None, whatever is wrong; the third wrong one is the end of it.
        """
        clock, who = self._house.clock, str(request.sender.bare)
        now_ns, boot, code = clock.boottime_ns(), clock.boot_id, request.code or ""

        def take(db: sqlite3.Connection) -> str | None:
            kept = _kept(db, who)
            if kept is None or kept.boot != boot or kept.until_ns <= now_ns or kept.tries >= TRIES:
                return None
            tried = digest(code, sender=request.sender, wish=kept.wish, until_ns=kept.until_ns)
            if compare_digest(kept.digest, tried):
                db.execute("DELETE FROM code WHERE jid = ?", (who,))
                return kept.wish
            until_ns = kept.until_ns if kept.tries + 1 < TRIES else now_ns + round(HELD_S * 1e9)
            db.execute("UPDATE code SET tries = tries + 1, until_ns = ? WHERE jid = ?", (until_ns, who))
            return None

        wish = await self._house.state.run(take)
        return None if wish is None else unpacked(wish, request)


def _kept(db: sqlite3.Connection, who: str) -> _Kept | None:
    row = db.execute("SELECT digest, wish_json, boot, until_ns, tries FROM code WHERE jid = ?", (who,)).fetchone()
    return None if row is None else _Kept(*row)
