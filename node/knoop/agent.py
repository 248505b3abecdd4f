"""The agent: what belongs to a node, opened and put together. Read it as a table of contents.

    board ▶ router ▶ outbox ▶ publishers ▶ server         (readings out)
    server ▶ guard ▶ conversation ▶ verbs ▶ board          (requests in)

What verbs see is in `household`, what lives as long as one login in `presence`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from knoop import __version__, commands, gaps, geoloc, ownership, payload, resource
from knoop.access import EVERYBODY, Role
from knoop.alerts import Transition
from knoop.board import Absence, BoardClient
from knoop.command import Sentence
from knoop.config import Config
from knoop.conversation import Conversation
from knoop.ending import ANSWERS_S, LINK_S, PATIENT_S, Ending
from knoop.errors import LinkError
from knoop.execution import Execution
from knoop.household import Household
from knoop.jid import Jid
from knoop.presence import Presence
from knoop.publishers import Voice
from knoop.record import Record
from knoop.router import Router
from knoop.state import State
from knoop.status_file import StatusFile
from knoop.storage import Storage
from knoop.store import Store
from knoop.together import first
from knoop.vigil import Vigil
from knoop.vitals import Vitals
from knoop.whereabouts import Whereabouts
from knoop.wifi import Wifi
from knoop.xmpp import adhoc, compat
from knoop.xmpp.account import Account
from knoop.xmpp.history import History
from knoop.xmpp.link import Link
from knoop.xmpp.outbound import message
from knoop_hw.clock import Clock
from knoop_hw.notify import notify
from knoop_hw.runs import new_run

if TYPE_CHECKING:
    from knoop.room.inroom import InRoom

log = logging.getLogger(__name__)

# What we announce (XEP-0030), beside the library's own.
FEATURES: tuple[str, ...] = (
    "urn:xmpp:receipts", "urn:xmpp:chat-markers:0", "http://jabber.org/protocol/chatstates",
    "urn:xmpp:reply:0", "urn:xmpp:reactions:0", gaps.HISTORY, *adhoc.FEATURES,
)
TICK_S = 1.0


class Agent:
    """A running node, put together; `run` is its life."""

    def __init__(
        self, config: Config, *, clock: Clock, store: Store, state: State, board: BoardClient, password: str,
        former: Agent | None = None, ending: Ending | None = None, status: StatusFile | None = None,
    ) -> None:  # fmt: skip
        """`former`: one that has ended, of another configuration; this one goes on where it stopped."""
        self.loaded = (config, password)
        self.house = house = Household(
            config, run=new_run(), clock=clock, store=store, state=state, board=board, changed=self._changed,
            rights=self._rights, session=lambda: self.presence.session,
        )
        self.router = house.router = Router(
            store, clock=clock, synced=house.synced, on_stored=board.stored, on_record=self._record,
            retain_s=config.storage.retain_s, retain_for=config.storage.retain_for, steady=house.wall.steady,
        )
        self.storage = Storage(
            store.database, state, run=house.run, clock=clock, now_ns=lambda: house.now_ns, router=self.router,
            recall=house.recall, counts=lambda: self.vigil.counts(self.execution),
        )
        self.execution = Execution(house, verbs=commands.table())
        self.presence = Presence(
            config, clock=clock, outbox=self.router.outbox, people=house.people, readers=house.readers,
            health=house.health,
            voice=Voice(sentence=house.sentence, personal=house.personal, may_hear=house.telling.may_hear,
                        note=house.alarms.note, kept=house.alarms.kept),
            about=self._about, present=self._present, on_link=self._linked, rooms=self._rooms(),
            whereabouts=Whereabouts(
                wanted=bool(config.publish.geolocation), place=self._place, readers=house.readers, clock=clock
            ),
            glance=house.glance,
        )
        self.conversation = Conversation(
            house, execution=self.execution, voice=house.voice, send=self._say, write=self.presence.send,
            announce=self.announce,
        )
        self.forms = adhoc.AdHoc(
            house, execution=self.execution, voice=house.voice, send=self.presence.send, say=self._say
        )
        self.history = History(
            house, execution=self.execution, channels=lambda: (channel.name for channel in house.all_channels),
            flush=self.router.flush, session=lambda: self.presence.session,
        )
        self.vigil = Vigil(house, self.presence, note=self.execution.note, announce=self.announce)
        self._clock, self._state, self._store, self._board = clock, state, store, board
        self._ending = ending or Ending(clock)
        self.vitals = Vitals(house, progress=self.presence.progress, show=self.presence.show, status=status)
        self._link = Link(
            Account.of(config, password), clock=clock, on_message=self._message, on_presence=self._presence,
            on_request=lambda iq, late: self.history.take(iq) or self.forms.take(iq, late), admits=house.admits,
            features=FEATURES, hears=house.admission.hears, on_sign=self.vigil.met,
            proven=former is not None and former.proven,
        )
        self._said = 0
        self.announcements: list[Sentence] = []
        self.absence = Absence()
        self._goes_on = former is not None
        if former is not None:
            self.announcements, self.absence = former.announcements, former.absence
            self.execution.follow(former.execution)
            self.conversation.follow(former.conversation)
            self.forms.follow(former.forms)
            self.history.follow(former.history)
            self.vigil.follow(former.vigil)
            self.router.follow(former.router)
            self.storage.follow(former.storage)
            house.follow(former.house)

    def _rooms(self) -> dict[Jid, InRoom]:
        house = self.house
        if not house.config.rooms:
            return {}
        from knoop.room.inroom import InRoom  # noqa: PLC0415 -- most nodes are in no room

        uniform = random.Random().uniform  # noqa: S311 -- spreads what many nodes say and try, guards nothing
        return {
            jid: InRoom(jid, house=house, execution=self.execution, tell_owners=self.announce, uniform=uniform)
            for jid in house.config.rooms
        }

    @property
    def proven(self) -> bool:
        """Whether the server has let this account in, now or for the agent before."""
        return self._link.proven

    @property
    def renewed(self) -> asyncio.Event:
        """Set when the board has other channels: another agent is to go on with them."""
        return self._board.renewed

    async def settle(self, *, within_s: float = PATIENT_S) -> None:
        """Let what is on its way to the server arrive and begin nothing new: another agent is to go on."""
        with suppress(TimeoutError):  # what does not arrive in time is sent again; its identity says so
            async with asyncio.timeout(within_s):
                await self.router.outbox.gate.shut()

    def announce(self, sentence: Sentence) -> None:
        """Say something to every owner in their language: now, or when there is a login again."""
        self.announcements.append(sentence)
        self._say_announcements()

    def _say_announcements(self) -> None:
        if not self.presence.up:
            return
        said, self.announcements = self.announcements, []
        for person in self.house.access.everyone():
            if person.role is Role.OWNER and person.jid.local != EVERYBODY:
                for sentence in said:
                    with suppress(LinkError):
                        self._say(person.jid, self.house.voice(person.lang).sentence(sentence))

    async def run(self, stop: asyncio.Event, *, release: Callable[[], None]) -> None:
        """Be the node until `stop`; then `release` first of all, and leave what was taken safe on disk.

        Raises LoginRefused when the first login is refused.
        """
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._restore())]
        try:
            await first(tasks[0], stopping, self._feed())
            if tasks[0].done():
                tasks[0].result()
                tasks = [asyncio.create_task(work) for work in self._works()]
                notify("READY=1")
                house = self.house
                log.info("%s is up: %d channels, account %s", house.name, len(house.channels), house.config.jid)
                self._compare()
                await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            release()
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.wait(tasks, timeout=self._ending.left_s(LINK_S))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ending.left_s(ANSWERS_S)):
                    for part in (self.conversation, self.forms, self.history, self.execution):
                        await part.close()
            try:
                async with asyncio.timeout(self._ending.left_s()):
                    await self.router.flush()
            except TimeoutError:
                log.error("the disk did not take the last readings in time; what it has is safe")

    def _works(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return (
            self._board.listen(self.router), self._board.beat(), self.router.run(), self._tick(),
            self.vitals.run(), self.vitals.count(), self.vigil.run(), ownership.keep(self.house, self.announce),
            self.house.alarms.save(self._state), self.house.timekeeping.run(),
            self._link.run(self.house.timekeeping.asking_first(self.presence.serve)), *self._own_sensors(),
        )

    def _own_sensors(self) -> Iterator[Coroutine[Any, Any, None]]:
        """The channels that are ours to measure (docs/adr/0019)."""
        house = self.house
        yield self.storage.run()
        if house.config.network:
            yield Wifi(
                house.config.network, run=house.run, clock=self._clock, now_ns=lambda: house.now_ns, put=self.router.put
            ).run()

    async def _feed(self) -> None:
        """While the hardware half is waited for: there is nothing that a start of this one would mend."""
        while True:
            await self._clock.sleep(TICK_S)
            notify("READY=1\nWATCHDOG=1")

    async def _restore(self) -> None:
        """Go on where the last start ended: alerts, quiet hours, the last values, rights."""
        house = self.house
        if not self._goes_on:
            await house.alarms.restore(self._state)
            await self.execution.restore()
        await house.telling.restore(self._state)
        await self._board.connected(self.router)
        await self.router.restore(channel.name for channel in house.all_channels)
        await house.rights_changed()
        self._link.resource = await resource.kept(self._state, made=f"knoop-{new_run()}{new_run()}")
        self._judge_anew()
        for damaged in (self._store.set_aside, self._state.set_aside):
            if damaged:
                log.error("a damaged database was replaced; the old one is kept as %s", damaged)

    def _compare(self) -> None:
        """Say which channels of our file the board has not: nobody would wonder why an alert never comes."""
        config = self.house.config
        if missing := [channel.name for channel in config.hw.channels() if channel.name not in self.house.channels]:
            text = "%s: the hardware half has no %s: no reading and no alert comes of it; SIGHUP lets it read that file"
            log.warning(text, config.file, ", ".join(missing))

    def _judge_anew(self) -> None:
        """A rule that is new has not seen what this run of the board said before it; the agent before has."""
        for record in list(self.house.latest.values()):
            if self._board.hello is not None and record.run == self._board.hello.run:
                for transition in self.house.alerts.feed(record):
                    self._changed(transition)

    async def _tick(self) -> None:
        """What time brings: alerts that held long enough, watches that waited. It waits for no disk."""
        house = self.house
        while True:
            await self._clock.sleep(TICK_S)
            for transition in house.alarms.due():
                self._changed(transition)
            for once_more in house.alarms.again():
                with suppress(LinkError):
                    self.presence.send(once_more)
            house.watching.tick()
            if news := self.absence.news(house.health().away_s):
                self.announce(news)

    def _record(self, record: Record) -> None:
        """A record is new: it may raise an alert, and somebody may be watching."""
        for transition in self.house.alerts.feed(record):
            self._changed(transition)
        self.house.watching.feed(record)

    def _changed(self, transition: Transition) -> None:
        """An alert changed: that is a reading of its own."""
        self.house.alarms.say(transition)
        if transition.change != "reminded":
            self.presence.show()

    def _rights(self) -> None:
        self.forms.opened.keep(lambda sender: self.house.access.person(sender) is not None)
        self.presence.rights_changed()

    def _linked(self, up: bool) -> None:
        self.house.link = (up, self._clock.boottime_ns())
        self._say_announcements()

    def _message(self, stanza: ET.Element, late: bool) -> None:
        if stanza.get("type") == "error":
            self._gone(stanza.get("from", ""))
        if not self.presence.room_stanza(stanza, late=late):
            self.conversation.hear(stanza, late=late)

    def _presence(self, stanza: ET.Element) -> None:
        if stanza.get("type") in {"unavailable", "error"}:
            self._gone(stanza.get("from", ""))
        self.presence.stanza(stanza)

    def _gone(self, sender: str) -> None:
        """A device went away: it watches nothing any more."""
        with suppress(ValueError):
            self.house.watching.gone(compat.jid(sender))

    def _say(self, to: Jid, text: str) -> None:
        self._said += 1
        self.presence.send(message(str(to), text, f"{self.house.run}-said-{self._said}"))

    def _about(self) -> ET.Element:
        assert self._board.hello is not None, "the board says hello before any session"
        channels = self.house.all_channels
        own = [channel.name for channel in channels if channel.name not in self._board.channels]
        both = hashlib.sha256(" ".join([self._board.hello.digest, *own]).encode())  # the board's are in its digest
        return payload.about(
            version=__version__, digest=both.hexdigest()[:16], channels=channels, verbs=commands.table(),
            health=self.house.health().level,
        )

    def _place(self) -> ET.Element | None:
        """Where the node is; a board that is away knows nothing of now."""
        hello, sensor = self._board.hello, self.house.config.publish.geolocation
        if hello is None or self._board.away_since_ns is not None:
            return None
        return geoloc.place(sensor, self.house.channels, self.house.latest, run=hello.run)

    def _present(self) -> list[tuple[str, ET.Element]]:
        return payload.state(self.house.all_channels, self.house.latest, at_ns=self.house.now_ns)
