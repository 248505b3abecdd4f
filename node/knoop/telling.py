"""Who is told of what: a route for every sink, and what each person and room wants to hear, now.

Machines get everything. People get the classes they are told of, of channels they may read, when it is news, not in
their quiet hours and not of their own doing. Whom an alert is told besides, and when again, is decided in `reminders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from knoop.access import EVERYBODY, Person
from knoop.alerts import PREFIX
from knoop.disk import STORAGE
from knoop.jid import Jid
from knoop.record import Record
from knoop.router import Route
from knoop.state import State
from knoop.wall import Ends

if TYPE_CHECKING:
    from knoop.household import Household

OWN_DOING_S = 2.0  # the echo of a change somebody made themselves comes within milliseconds


class Telling:
    """What a house says unasked, and to whom. `quiet` is until when each bare JID wants quiet (UTC nanoseconds)."""

    def __init__(self, house: Household) -> None:
        self.quiet: Mapping[str, int] = {}
        self._ends = Ends(house.clock, synced=house.synced)
        self.zone: tzinfo | None = None  # for quiet hours; None is the machine's
        self._house = house
        self._doings: dict[tuple[Jid, str], int] = {}

    def follow(self, former: Telling) -> None:
        """Go on where the house of another configuration ended."""
        self.quiet, self._doings, self._ends = former.quiet, former._doings, former._ends

    async def restore(self, state: State) -> None:
        """Go on where the last start ended. Raises StoreError."""
        self.quiet = await state.quiet_until()

    async def hush(self, who: str, until_ns: int) -> None:
        """Tell this bare JID only what is critical until then (UTC nanoseconds); 0 ends it. Raises StoreError."""
        await self._house.state.quiet(who, until_ns)
        await self.restore(self._house.state)
        self.quiet_until_ns(who)  # from here on it lasts by a clock that nobody sets

    def is_quiet(self, who: str) -> bool:
        """Whether this bare JID wants to hear only what is critical now, as far as the time of day is known."""
        house = self._house
        if self.quiet_until_ns(who) is not None:
            return True
        person = house.access.person(house.jid(who))
        if person is None or not house.synced():
            return False
        local = datetime.fromtimestamp(house.clock.time_ns() // 1_000_000_000, UTC).astimezone(self.zone)
        return person.quiet_at(local.hour * 60 + local.minute)

    def quiet_until_ns(self, who: str) -> int | None:
        """Until when (UTC nanoseconds) this bare JID asked for quiet; None when that is over.

        After a start it needs a clock that is right: one that was never set lies before every end, also a past one.
        """
        return self._ends.until_ns(who, self.quiet[who]) if who in self.quiet else None

    async def keep_promises(self) -> None:
        """Write down until when quiet times last by a clock that was set. Raises StoreError."""
        for who, until_ns in list(self.quiet.items()):
            now_ns = self.quiet_until_ns(who)
            if now_ns is not None and now_ns != until_ns:
                await self.hush(who, now_ns)

    def did(self, who: Jid, channel: str) -> None:
        """They change this channel themselves, at this instant: they see it happen."""
        self._doings[who.bare, channel] = self._house.clock.boottime_ns()

    def may_hear(self, who: str, record: Record) -> bool:
        """Whether this bare JID may read this record now, and it is not a reminder that was overtaken."""
        house = self._house
        person = house.access.person(house.jid(who))
        if person is None or not person.reads(house.alerts.watched(record.channel)):
            return False
        return not house.alarms.calls.stale(who, record)

    def routes(self) -> list[Route]:
        """Who gets what: machines everything, people and rooms the classes they are told of."""
        house = self._house
        called = {who for rule in house.alerts.rules.values() for who in rule.escalate}
        people = [p for p in house.access.everyone() if p.jid.local != EVERYBODY]
        publish = house.config.publish
        pubsub = f"pubsub:{publish.service}" if publish.service else "pubsub"
        return [
            *([Route(sink=pubsub)] if publish.pubsub != "off" else []),
            *(
                Route(sink=f"chat:{p.jid}", classes=p.told | {"alarm"}, wants=self._person(p))
                for p in people if p.told or str(p.jid) in called
            ),
            *(
                Route(sink=f"room:{jid}", classes=frozenset(room.classes), wants=self._rooms)
                for jid, room in house.config.rooms.items()
            ),
        ]

    def _person(self, person: Person) -> Callable[[Record, Record | None], bool]:
        house, who = self._house, str(person.jid)

        def wants(record: Record, before: Record | None) -> bool:
            if not self._is_news(record, before) or not person.reads(house.alerts.watched(record.channel)):
                return False
            if record.channel.startswith(PREFIX):
                if not house.alarms.calls.hears(who, record):
                    return False
                if record.value != "acknowledged":
                    return True  # nobody does that
            elif record.cls not in person.told or self.is_quiet(who):
                return False
            done_ns = self._doings.get((person.jid, record.channel))
            return done_ns is None or not 0 <= record.boottime_ns - done_ns < OWN_DOING_S * 1e9

        return wants

    def _is_news(self, record: Record, before: Record | None) -> bool:
        if record.channel == STORAGE:
            return False  # its alert says it, with the remedy
        channel = self._house.channels.get(record.channel)
        return news(record, before, happens=channel is not None and channel.kind == "button")

    def _rooms(self, record: Record, before: Record | None) -> bool:
        """Rooms are not reminded, their presence shows what is raised."""
        silent = self._house.alarms.silenced(record.channel.removeprefix(PREFIX)) is not None
        return self._is_news(record, before) and record.value != "reminded" and not silent


def news(record: Record, before: Record | None, *, happens: bool = False) -> bool:
    """Whether a person would call it news: how things stand at a start is not, unless they stood otherwise before.

    `happens`: its values are no state but things that happen, each of them news.
    """
    if record.cls == "alarm" or record.seq > 1 or happens:
        return True
    return before is not None and before.value != record.value
