"""Strangers who said something, put to the owners: once, always or never. Bounded, and each is asked about once a day.

Only `[node] strangers = "ask"` has it. What was said is kept in memory until an owner answers; the table has who, how
it was answered, and when.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from knoop.access import EVERYBODY, Role
from knoop.claims import veiled
from knoop.command import N_, Sentence
from knoop.errors import LinkError, Refusal, StoreError
from knoop.jid import Jid
from knoop.xmpp import blocking
from knoop.xmpp.session import Session

if TYPE_CHECKING:
    from knoop.household import Household

log = logging.getLogger(__name__)

Answer = Literal["once", "always", "never"]
OPEN, A_DAY = 3, 10  # questions that wait, and that are asked in a day: strangers do not fill an owner's telephone
DAY_NS = 86_400_000_000_000
KEPT = 1000  # rows; whoever was told never is blocked at the server as well, where it does not end
SHOWN = 200  # characters of what they said
_QUOTES = re.compile('[“”„"‟″]')  # what a stranger says does not end where our own sentence seems to go on
ASKED = N_("{jid} is nobody you named, and said: “{text}”. Say one of: {once}, {always} or {never}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """What a stranger said, from which device."""

    sender: Jid
    text: str


class Knocks:
    """Who knocked. `let_in` answers a knock with a viewer's rights; it says False where that would change something."""

    def __init__(self, house: Household, *, wanted: bool, session: Callable[[], Session | None]) -> None:
        self.let_in: Callable[[Knock], Awaitable[bool]] | None = None
        self._house, self._session = house, session
        self.wanted = wanted  # whether strangers are put to the owners at all
        self._open: dict[Jid, Knock] = {}
        self._one = asyncio.Lock()  # two knocks at one instant must not both be the last that is asked about
        self._rows: dict[str, tuple[str, int]] | None = None  # as they are on the disk, None before the first look

    def follow(self, former: Knocks) -> None:
        """Go on where the house of another configuration ended."""
        self._open, self._rows = former._open, former._rows

    @property
    def waiting(self) -> tuple[Jid, ...]:
        """The bare addresses that wait for an answer, oldest first."""
        return tuple(self._open)

    async def shut_out(self, jid: Jid) -> bool:
        """Whether this bare JID was answered never. Raises StoreError."""
        return (await self._known()).get(str(jid), ("", 0))[0] == "never"

    async def heard(self, sender: Jid, text: str) -> Sentence | None:
        """What to ask the owners about this; None for nothing. Raises StoreError."""
        async with self._one:
            return await self._judge(sender, text)

    async def _judge(self, sender: Jid, text: str) -> Sentence | None:
        jid, now_ns = sender.bare, self._house.clock.time_ns()
        if not jid.local or jid.local == EVERYBODY or jid == self._house.own or jid in self._open:
            return None
        rows = await self._known()
        lately = [row for row in rows.values() if abs(now_ns - row[1]) < DAY_NS]
        answer, at_ns = rows.get(str(jid), ("", 0))
        before = answer == "never" or (answer == "asked" and abs(now_ns - at_ns) < DAY_NS)
        if before or len(lately) >= A_DAY or sum(row[0] == "asked" for row in lately) >= OPEN:
            return None
        await self._keep(jid, "asked")
        self._open[jid] = Knock(sender=sender, text=text[:SHOWN])  # nothing is answered that owners did not read
        for former in [*self._open][:-OPEN]:  # asked about a day ago, and nobody answered
            del self._open[former]
        ways = {way: Sentence("{way} {jid}", {"way": Sentence(verb), "jid": str(jid)}) for way, verb in (
            ("once", N_("once")), ("always", N_("always")), ("never", N_("never")),
        )}  # fmt: skip
        shown = _QUOTES.sub("'", veiled(text))
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        return Sentence(ASKED, {"jid": str(jid), "text": shown, **ways})

    async def answer(self, jid: Jid, answer: Answer) -> bool:
        """Do with a bare JID as an owner says. False where nothing came of it: there was nothing to answer, or not so.

        Raises StoreError.
        """
        knock = self._open.pop(jid, None)  # first of all: another owner may say the same at the same time
        if answer == "once" and (knock is None or self.let_in is None or not await self.let_in(knock)):
            return False
        await self.forgive(jid)
        await self._keep(jid, answer)
        if answer == "always":
            await self._house.state.grant(str(jid), str(Role.VIEWER))
            await self._house.rights_changed()
            if knock is not None and self.let_in is not None:
                await self.let_in(knock)
        elif answer == "never":
            await self._tell_server(jid, blocked=True)
        return True

    async def forgive(self, jid: Jid) -> None:
        """An owner gives this bare JID rights: what was answered before does not count. Raises StoreError."""
        self._open.pop(jid, None)
        rows = await self._known()
        if (former := rows.pop(str(jid), None)) is not None:
            await self._house.state.run(lambda db: db.execute("DELETE FROM knock WHERE jid = ?", (str(jid),)))
            if former[0] == "never":
                await self._tell_server(jid, blocked=False)

    async def _tell_server(self, jid: Jid, *, blocked: bool) -> None:
        if (session := self._session()) is None:
            return
        try:
            await (blocking.block if blocked else blocking.unblock)(session, jid)
        except (LinkError, Refusal) as error:
            log.warning("%s is not %s at the server: %s", jid, "blocked" if blocked else "let through", error)

    async def _known(self) -> dict[str, tuple[str, int]]:
        if self._rows is None:
            rows = await self._house.state.run(lambda db: db.execute("SELECT jid, answer, at_ns FROM knock").fetchall())
            self._rows = {jid: (answer, at_ns) for jid, answer, at_ns in rows}
        return self._rows

    async def _keep(self, jid: Jid, answer: str) -> None:
        rows, at_ns = await self._known(), self._house.clock.time_ns()
        rows[str(jid)] = (answer, at_ns)
        gone = sorted(rows, key=lambda one: (rows[one][0] == "never", rows[one][1]))[: max(len(rows) - KEPT, 0)]

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO knock (jid, answer, at_ns) VALUES (?, ?, ?)", (str(jid), answer, at_ns))
            db.executemany("DELETE FROM knock WHERE jid = ?", [(one,) for one in gone])

        try:
            await self._house.state.run(work)
        except StoreError:
            self._rows = None  # what the disk has is looked up again
            raise
        for one in gone:
            with suppress(KeyError):
                del rows[one]
