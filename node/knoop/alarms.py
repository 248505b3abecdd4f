"""Alerts among people: what is raised becomes readings, readings find their people, and a restart forgets nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from knoop.access import Role
from knoop.alerts import ON, PREFIX, AlertState, Transition
from knoop.disk import OWN
from knoop.errors import StoreError
from knoop.jid import Jid
from knoop.payload import timestamp
from knoop.record import Record
from knoop.reminders import Call, Calls, Message
from knoop.state import State
from knoop.state_tables import AlertRow, Silence
from knoop.together import woken
from knoop.unreceived import MOST_BOUNCES, Fate, Note, Unreceived
from knoop.wall import Ends
from knoop.xmpp.outbound import message

if TYPE_CHECKING:
    from knoop.household import Household

log = logging.getLogger(__name__)

SAVE_AGAIN_S = 10.0  # where the disk did not take it

KEPT_S = 2.0  # how long a message that was sent waits for the disk to know of it, once while the disk hangs


class Alarms:
    """The alerts of a house, whom they are told, and who silenced them; it is the `People` of its `calls`."""

    def __init__(self, house: Household) -> None:
        self.calls = Calls(lambda: house.alerts.rules, self)
        self.unreceived = Unreceived()
        self._house = house
        self._silences: Mapping[str, Silence] = {}
        self._ends = Ends(house.clock, synced=house.synced)
        self._seq: dict[str, int] = {}
        self._login: tuple[bool, int] = (False, 0)
        self._changed, self._kept = asyncio.Event(), asyncio.Event()
        self._rows: list[AlertRow] | None = None  # as they are on the disk, None for not known
        self._hangs = False
        self._failing = False

    # Whom an alert is told (knoop.reminders.People) ------------------------------------------------------------------

    def usual(self, alert: str) -> Iterable[str]:
        """Those who are told of alarms anyway and may read what it is about; of the node's own disk, its owners."""
        watched = self._house.alerts.watched(PREFIX + alert)
        people = self._house.access.told("alarm", watched)
        if watched in OWN:  # nobody else can do anything about it, nor needs to know whose rights are gone
            people = tuple(person for person in people if person.role is Role.OWNER)
        return [str(person.jid) for person in people]

    def may(self, who: str, alert: str) -> bool:
        """Whether they may read what it is about, now."""
        person = self._house.access.person(self._house.jid(who))
        return person is not None and person.reads(self._house.alerts.watched(PREFIX + alert))

    def held(self, who: str, alert: str) -> bool:
        """Silence holds everything back, quiet hours all that is not critical."""
        if self.silenced(alert) is not None:
            return True
        rule = self._house.alerts.rules[alert]
        return rule.severity != "critical" and self._house.telling.is_quiet(who)

    def answers(self, identity: str) -> tuple[str, bool] | None:
        """The alert that the message with this id was about, and whether about its present raising."""
        about = Message.parse(identity)
        if about is None or about.alert not in self._house.alerts.rules:
            return None
        return about.alert, self.calls.current(about)

    # Whether it reached them (XEP-0184) -------------------------------------------------------------------------------

    def note(self, who: str, record: Record, text: str) -> None:
        """This is about to be sent to a bare JID."""
        change = str(record.value) if record.channel.startswith(PREFIX) else ""
        note = Note(who, record.identity, record.channel, change, text, at_ns=self._house.now_ns or 0)
        self._notice_login()
        self.unreceived.note(note, self._house.clock.boottime_ns())
        self._kept.clear()
        self._changed.set()

    async def kept(self) -> None:
        """What was noted is on the disk, or the disk fails, or hangs: a power cut then may cost a repeat."""
        if self._hangs and not self._kept.is_set():
            return  # that was waited for already
        self._hangs = True
        with suppress(TimeoutError):
            async with asyncio.timeout(KEPT_S):
                await self._kept.wait()
                self._hangs = False

    def received(self, who: Jid, identity: str) -> None:
        """The message with this id has reached a client of theirs."""
        self.calls.arrived(str(who.bare), identity, self._house.now_ns)
        if self.unreceived.received(str(who.bare), identity):
            self._changed.set()

    def bounced(self, who: Jid, identity: str, condition: str) -> None:
        """The message with this id came back from them: whoever is next hears of it at once, and it is tried again."""
        person, now_ns = str(who.bare), self._house.clock.boottime_ns()
        note, news = self.unreceived.bounced(person, identity, now_ns), self.calls.bounced(person, identity, now_ns)
        if note is None and not news:
            return
        self._changed.set()
        if note is None or note.bounces == 1:
            log.warning("an alarm to %s came back (%s) and has reached nobody there: %s", person, condition, identity)
        elif note.bounces > MOST_BOUNCES:
            log.warning("an alarm to %s came back each time and is not tried again: %s", person, identity)

    def again(self) -> Iterator[ET.Element]:
        """The messages to send once more at this moment."""
        house, now_ns = self._house, self._house.clock.boottime_ns()
        self._notice_login()
        for note in self.unreceived.due(now_ns, self._fate) if house.link[0] else ():
            said = timestamp(note.at_ns) if note.at_ns else ""
            yield message(note.jid, note.body, note.identity, receipt=True, said=said)
        if not self._failing and any(self.unreceived.unsaved()[:2]):
            self._changed.set()

    def _notice_login(self) -> None:
        """Before anything is noted that was said in it."""
        if self._house.link != self._login:
            self._login = self._house.link
            self.unreceived.login(self._house.clock.boottime_ns())

    def _fate(self, note: Note) -> Fate:
        """Whether a person still is to hear this, now."""
        house = self._house
        person, about = house.access.person(house.jid(note.jid)), Message.parse(note.identity)
        if person is None or not person.reads(house.alerts.watched(note.channel)):
            return "drop"
        if about is None:
            return "hold" if house.telling.is_quiet(note.jid) else "send"
        if about.alert not in house.alerts.rules or not self.calls.stands(about, note.change):
            return "drop"
        return "hold" if self.held(note.jid, about.alert) else "send"

    # Silence ----------------------------------------------------------------------------------------------------------

    def silenced(self, alert: str) -> Silence | None:
        """The silence about this alert, None when there is none; after a start it needs a clock that is right."""
        silence = self._silences.get(alert)
        until_ns = None if silence is None else self._ends.until_ns(alert, silence.until_ns)
        return None if silence is None or until_ns is None else silence._replace(until_ns=until_ns)

    async def silence(self, alert: str, until_ns: int, *, by: Jid) -> None:
        """Tell nobody of this alert until then (UTC nanoseconds); 0 ends it. Raises StoreError."""
        await self._house.state.silence(alert, until_ns, self._house.access.title(by))
        await self.recall(self._house.state)
        self.silenced(alert)  # from here on it lasts by a clock that nobody sets

    async def keep_promises(self) -> None:
        """Write down until when silences last by a clock that was set. Raises StoreError."""
        for alert, silence in list(self._silences.items()):
            now = self.silenced(alert)
            if now is not None and now != silence:
                await self._house.state.silence(alert, now.until_ns, now.by)
        await self.recall(self._house.state)

    async def recall(self, state: State) -> None:
        """Know the silences as they are on the disk. Raises StoreError."""
        self._silences = await state.silences()

    # Life -------------------------------------------------------------------------------------------------------------

    def due(self) -> tuple[Transition, ...]:
        """What time brings: alerts that held long enough, and those to say again; `say` each of them."""
        house, now_ns = self._house, self._house.clock.boottime_ns()
        before = (self.calls.snapshot(), house.alerts.raised())
        raised = house.alerts.due(now_ns, at_ns=house.now_ns)
        again = self.calls.due(now_ns, muted=lambda alert: not house.link[0] or self.silenced(alert) is not None)
        if (self.calls.snapshot(), house.alerts.raised()) != before:  # a clock that was set dates what is raised
            self._changed.set()
        return (*raised, *(_again(alert, now_ns, house.now_ns) for alert in again))

    def say(self, transition: Transition) -> None:
        """Make a reading of it and let it go its way."""
        house, channel = self._house, transition.channel
        seq = self._seq[channel] = self._seq.get(channel, 0) + 1
        record = Record(
            run=house.run, channel=channel, seq=seq, cls="alarm", type="text", value=transition.change,
            boot=house.clock.boot_id, boottime_ns=transition.boottime_ns, at_ns=transition.at_ns,
        )
        self.calls.hear(transition.alert, record, house.clock.boottime_ns())
        self._changed.set()
        if house.router:
            house.router.put(record)

    async def restore(self, state: State) -> None:
        """Go on where the last start ended. Raises StoreError."""
        now_ns, rows = self._house.clock.boottime_ns(), [row for row in await state.load_alerts() if row.status in ON]
        alerts = self._house.alerts
        alerts.restore(_state(row) for row in rows)
        alerts.begin(now_ns)
        self.calls.restore({row.name: self._call(row) for row in rows if row.name in alerts.rules}, now_ns)
        await self.recall(state)
        self.unreceived.restore(*await state.load_unreceived())

    def follow(self, former: Alarms) -> None:
        """Go on where the alarms of another configuration ended."""
        now_ns = self._house.clock.boottime_ns()
        self._house.alerts.begin(now_ns)
        self.calls.restore(former.calls.snapshot(), now_ns)
        self._silences, self._ends = former._silences, former._ends
        self.unreceived, self._login = former.unreceived, former._login
        self._changed.set()

    async def save(self, state: State) -> None:
        """Keep what changes, until cancelled; then also what changed last, and what the disk did not take so far."""
        try:
            while True:
                if self._failing:
                    await woken(self._changed, self._house.clock, SAVE_AGAIN_S)
                else:
                    await self._changed.wait()
                await self._save(state)
        finally:
            if self._changed.is_set() or self._failing:
                await self._save(state)

    async def _save(self, state: State) -> None:
        self._changed.clear()
        calls, (notes, gone, missed) = self.calls.snapshot(), self.unreceived.unsaved()
        rows = [_row(one, calls.get(one.name)) for one in self._house.alerts.raised()]
        try:
            if notes or gone:
                await state.save_unreceived(notes, gone, missed)
                self.unreceived.saved(notes, gone)
            if rows != self._rows:
                await state.save_alerts(rows)
                self._rows = rows
            if self._failing:
                log.warning("alerts are remembered over a restart again")
            self._failing = False
        except StoreError as error:
            if not self._failing:
                log.error("alerts are not remembered over a restart: %s", error)
            self._failing = True
        except asyncio.CancelledError:  # what had not begun yet is not done: `save` does it once more
            self._changed.set()
            raise
        if not self._changed.is_set():
            self._kept.set()

    def _call(self, row: AlertRow) -> Call:
        told = dict.fromkeys(self.usual(row.name), "") if row.told is None else row.told
        return Call(
            told=told, owed=frozenset(row.owed), escalated=row.escalated, step=row.step, runs=row.runs,
            over=row.status == "acknowledged", bounced=frozenset(row.bounced),
        )


def _again(alert: str, now_ns: int, at_ns: int | None) -> Transition:
    return Transition(alert=alert, change="reminded", boottime_ns=now_ns, at_ns=at_ns)


def _state(row: AlertRow) -> AlertState:
    return AlertState(
        name=row.name, phase="acknowledged" if row.status == "acknowledged" else "raised", at_ns=row.since_ns or None,
        since_at_ns=row.met_ns or row.since_ns or None, value=row.value, by=row.by,
    )


def _row(state: AlertState, call: Call | None) -> AlertRow:
    call = call or Call()
    return AlertRow(
        name=state.name, status=state.phase, since_ns=state.at_ns or 0, by=state.by, met_ns=state.since_at_ns or 0,
        value=state.value, step=call.step, told=call.told, owed=tuple(sorted(call.owed)), escalated=call.escalated,
        runs=call.runs, bounced=tuple(sorted(call.bounced)),
    )
