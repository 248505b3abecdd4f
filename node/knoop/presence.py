"""What lives as long as one login: who sees us, our nodes, our rooms, and a delivery for every sink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from xml.etree import ElementTree as ET

from knoop import publishers
from knoop.config import Config
from knoop.delivery import deliver
from knoop.errors import LinkError, Refusal, StoreError
from knoop.health import Health
from knoop.jid import Jid
from knoop.publishers import Voice
from knoop.router import Router
from knoop.together import together
from knoop.xmpp import compat, nodes, roster
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.rooms import Room
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

STATE_EVERY_S = 60.0
RETRY_S = 30.0  # what a server or room refused may be allowed by its owner any time


class Presence:
    """The node on the server. `serve` is one session; `on_link` hears when one begins to serve and when it ends."""

    def __init__(
        self, config: Config, *, clock: Clock, outbox: Router, people: Callable[[], Collection[Jid]],
        readers: Callable[[], Collection[Jid]], health: Callable[[], Health], voice: Voice,
        about: Callable[[], ET.Element], present: Callable[[], list[tuple[str, ET.Element]]],
        on_link: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self.up = False
        self._config = config
        self._clock = clock
        self._outbox = outbox
        self._people = people
        self._readers = readers
        self._health = health
        self._voice = voice
        self._about = about
        self._present = present
        self._on_link = on_link
        self._session: Session | None = None
        self._rooms: dict[Jid, Room] = {}
        self._rights_changed = asyncio.Event()
        self._configured = asyncio.Event()

    async def serve(self, session: Session) -> None:
        """Be present and deliver until the link ends, which raises LinkError."""
        self._session = session
        self._configured.clear()
        self._rights_changed.set()  # roster and whitelists follow the rights from the start
        try:
            self.up = True
            self._on_link(True)
            self.show()
            log.info("connected as %s (%s TLS)", session.jid, session.mode)
            works = [session.lost(), self._sinks(session)]
            if self._config.publish.pubsub == "pep":
                works.append(self._persist(lambda: self._state(session), "the pub-sub nodes"))
            await together(*works)
        finally:
            self._session = None
            self._rooms.clear()
            if self.up:
                self.up = False
                self._on_link(False)

    def send(self, stanza: ET.Element) -> None:
        """Write a stanza on the present session. Raises LinkError when there is none."""
        if self._session is None:
            raise LinkError("not connected")
        self._session.send(stanza)

    def show(self) -> None:
        """Tell people and rooms how we are (RFC 6121 §4.7.2); what the alarms are called only where all are told."""
        if not self.up:
            return
        health = self._health()
        with suppress(LinkError):
            presence = ET.Element(f"{CLIENT}presence")
            if health.show:
                ET.SubElement(presence, f"{CLIENT}show").text = health.show
            self.send(presence)
            for jid in self._rooms:
                self._show_in(jid)

    def _show_in(self, jid: Jid) -> None:
        health = self._health()
        told = ", ".join(health.alarms) if "alarm" in self._config.rooms[jid].classes else ""
        self._rooms[jid].show(told, health.show)

    def rights_changed(self) -> None:
        """Let roster, whitelist and sinks follow the rights at once."""
        self._rights_changed.set()

    def stanza(self, presence: ET.Element) -> None:
        """A presence of the stream: a room's, a subscription request, or somebody's mood."""
        sender = presence.get("from", "")
        if not sender or self._session is None:
            return
        room = self._rooms.get(compat.jid(sender).bare)
        if room is not None:
            room.handle(presence)
        else:
            roster.answer(self._session, presence, self._people())

    def room_stanza(self, message: ET.Element) -> bool:
        """Whether a message came from one of our rooms, which then has handled it."""
        sender = message.get("from", "")
        try:
            jid = compat.jid(sender).bare
        except ValueError:
            return True  # nobody can be answered at an address that is none
        if room := self._rooms.get(jid):
            room.handle(message)
        return jid in self._config.rooms

    # One session ------------------------------------------------------------------------------------------------------

    async def _sinks(self, session: Session) -> None:
        """A delivery for each sink there is; they come and go with the rights."""
        running: dict[str, asyncio.Task[None]] = {}
        following: asyncio.Task[None] | None = None
        try:
            while True:
                wanted = set(self._outbox.sinks)
                for sink in running.keys() - wanted:
                    running.pop(sink).cancel()
                for sink in wanted - running.keys():
                    running[sink] = asyncio.create_task(self._persist(partial(self._sink, session, sink), sink))
                changed = asyncio.create_task(self._rights_changed.wait())
                at_work = {*running.values(), *([following] if following else [])}
                await asyncio.wait({changed, *at_work}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                for task in at_work:
                    if task.done():
                        task.result()
                if following and following.done():
                    following = None
                if self._rights_changed.is_set():
                    self._rights_changed.clear()  # before following, so that a change meanwhile is followed, too
                    if following:
                        following.cancel()  # what it told the server so far is told again
                        await asyncio.wait({following})
                    following = asyncio.create_task(self._persist(lambda: self._follow(session), "rights"))
        finally:
            tasks = [*running.values(), *([following] if following else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, session: Session) -> None:
        await roster.follow(session, self._people())
        if self._config.publish.pubsub == "pep":
            await self._configured.wait()
            for node in nodes.NODES:
                await nodes.allow(session, node.name, self._readers())

    async def _sink(self, session: Session, sink: str) -> None:
        kind, _, target = sink.partition(":")
        settings: object = None
        room: Room | None = None
        if kind == "pubsub":
            await self._configured.wait()
        elif kind == "room":
            jid = compat.jid(target)
            settings = room = Room(session, jid, self._config.rooms[jid].nick or self._config.node.name)
        elif kind == "chat":
            person = next((p for p in self._config.people if p.jid == compat.jid(target)), None)
            settings = person.lang if person else ""
        try:
            if room:
                await self._join(room)
            async with publishers.open_sink(sink, session=session, voice=self._voice, settings=settings) as publisher:
                works = [deliver(sink, publisher, outbox=self._outbox, clock=self._clock)]
                await together(*works, *([room.lost()] if room else []))
        finally:
            if room and self._rooms.get(room.jid) is room:
                del self._rooms[room.jid]

    async def _join(self, room: Room) -> None:
        self._rooms[room.jid] = room
        await room.join(password=self._config.rooms[room.jid].password)
        self._show_in(room.jid)
        log.info("in room %s as %s", room.jid, room.nick)

    async def _state(self, session: Session) -> None:
        """Configure the nodes, then keep what is known of every channel on the server."""
        for node in nodes.NODES:
            await nodes.configure(session, node, self._readers())
        await nodes.publish(session, nodes.ABOUT.name, "current", self._about())
        self._configured.set()
        while True:
            for item_id, element in self._present():
                await nodes.publish(session, nodes.STATE.name, item_id, element)
            await self._clock.sleep(STATE_EVERY_S)

    async def _persist(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Do `work` for as long as the session lives; what is refused is said once and tried again."""
        said = ""
        while True:
            try:
                return await work()
            except (Refusal, StoreError) as error:
                if str(error) != said:
                    log.error("%s: %s; trying again every %g s", what, error, RETRY_S)
                said = str(error)
            await self._clock.sleep(RETRY_S)
