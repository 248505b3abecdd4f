"""Telling those who watch: line after line, or in one message that changes where their client shows corrections.

Which of the two is asked of the client itself (XEP-0030) when a watch begins. A message is corrected (XEP-0308) only
while it is the last one that this person got from us, else the news would happen where nobody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from knoop.command import N_, Instant, Reply, Sentence, dated, reading
from knoop.errors import LinkError, Refusal
from knoop.jid import Jid
from knoop.record import Record
from knoop.watches import Due, Watches
from knoop.xmpp import outbound
from knoop.xmpp.session import Session

if TYPE_CHECKING:
    from knoop.household import Household

DISCO_INFO = "{http://jabber.org/protocol/disco#info}"
ASK_TIMEOUT_S = 10.0
MOST_LINES = 12  # what a phone shows of one message without scrolling; the rest is told when it changes


class Watching:
    """The watches of a node and the messages they become; `session` is the present one, None without."""

    def __init__(self, house: Household, *, session: Callable[[], Session | None]) -> None:
        self._house = house
        self._session = session
        self._watches = Watches()
        self._ids: dict[Jid, str] = {}  # who sees corrections, and the id of the message that is theirs ("": none yet)
        self._said = 0
        self._asking: set[asyncio.Task[None]] = set()

    def follow(self, former: Watching) -> None:
        """Go on with the watches of the house before."""
        self._watches, self._ids = former._watches, former._ids

    def start(self, watcher: Jid, channels: Sequence[str], *, for_s: float) -> None:
        """Tell this chat (full JID) for a while; replaces an earlier watch of it."""
        self._ids.pop(watcher, None)
        until_ns = self._house.clock.boottime_ns() + round(for_s * 1e9)
        individual = self._house.access.individual(watcher)
        self._watches.start(watcher, channels, until_ns=until_ns, individual=individual)
        self._ids = {other: kept for other, kept in self._ids.items() if self._watches.channels(other)}
        session = self._session()
        if session is not None:
            task = asyncio.create_task(self._ask(session, watcher))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def stop(self, watcher: Jid) -> int:
        """End the watch of this chat; returns how many channels it had."""
        self._ids.pop(watcher, None)
        return self._watches.stop(watcher)

    def gone(self, watcher: Jid) -> None:
        """This device went offline or does not exist."""
        self._ids.pop(watcher, None)
        self._watches.gone(watcher)

    def follow_rights(self) -> None:
        """End the watches of those who have no rights any more."""
        self._watches.keep(lambda watcher: self._house.access.person(watcher) is not None)

    def feed(self, record: Record) -> None:
        """A record is new: somebody may be watching."""
        for due in self._watches.feed(record, self._house.clock.boottime_ns()):
            self._tell(due)

    def tick(self) -> None:
        """What waited, and what ends by itself; call about once a second."""
        for due in self._watches.due(self._house.clock.boottime_ns()):
            self._tell(due)

    async def _ask(self, session: Session, watcher: Jid) -> None:
        """Ask the client whether it shows corrections; one that does not answer gets lines."""
        with suppress(LinkError, Refusal):
            info = await session.iq(
                "get", ET.Element(f"{DISCO_INFO}query"), to=str(watcher), timeout_s=ASK_TIMEOUT_S
            )
            features = {feature.get("var") for feature in info.iter(f"{DISCO_INFO}feature")}
            if outbound.CORRECT in features and self._watches.channels(watcher):
                self._ids[watcher] = ""
                self._watches.as_one(watcher)

    def _tell(self, due: Due) -> None:
        person, session = self._house.access.person(due.watcher), self._session()
        in_place = due.watcher in self._ids
        before = self._ids.pop(due.watcher, "") if due.ended else self._ids.get(due.watcher, "")
        if person is None or session is None:
            return
        changed = [record.channel for record in due.records if person.reads(record.channel)]
        wanted = [name for name in due.channels if person.reads(name)] if in_place else changed
        lines = [
            # One message shows what was done to a button long after it was done.
            dated(self._house, name) if in_place and self._house.channels[name].kind == "button"
            else reading(self._house.channels[name], self._house.latest.get(name))
            for name in (wanted if len(wanted) <= MOST_LINES else changed)
            if name in self._house.channels
        ]
        if due.ended:
            lines.append(Sentence(N_("The watch is over; say “watch” again for more.")))
        elif in_place and lines:
            now = {"time": Instant(self._house.now_ns)}
            lines.append(Sentence(N_("(as of {time}; this message changes, “unwatch” ends it)"), now))
        if not lines:
            return
        self._said += 1
        new_id = f"{self._house.run}-watch-{self._said}"
        replaces = before if before and session.last_message(due.watcher) == before else ""
        text = self._house.voice(person.lang).render(Reply(tuple(lines)))
        with suppress(LinkError):  # the link may end in this very instant
            session.send(outbound.message(str(due.watcher), text, new_id, replaces=replaces, passing=True))
            if in_place and not due.ended:
                self._ids[due.watcher] = replaces or new_id
