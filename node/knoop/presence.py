"""What lives as long as one login: who sees us, our nodes, our rooms, and a delivery for every sink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from knoop import publishers
from knoop.config import Config
from knoop.delivery import deliver
from knoop.errors import LinkError, Refusal, StoreError
from knoop.health import Health
from knoop.jid import Jid
from knoop.outbox import Outbox
from knoop.progress import Progress
from knoop.publishers import Voice
from knoop.together import together
from knoop.whereabouts import Whereabouts
from knoop.xmpp import compat, nodes, roster
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock

if TYPE_CHECKING:
    from knoop.room.inroom import InRoom

log = logging.getLogger(__name__)

STATE_EVERY_S = 60.0  # how old the last item of a channel may be; its readings are published as they come
RETRY_S = 30.0  # what a server refused may be allowed by its owner any time


class Presence:
    """The node on the server. `serve` is one session; `on_link` hears when one begins to serve and when it ends."""

    def __init__(
        self, config: Config, *, clock: Clock, outbox: Outbox, people: Callable[[], Collection[Jid]],
        readers: Callable[[], Collection[Jid]], health: Callable[[], Health], voice: Voice,
        about: Callable[[], ET.Element], present: Callable[[], list[tuple[str, ET.Element]]],
        on_link: Callable[[bool], None], rooms: Mapping[Jid, InRoom], whereabouts: Whereabouts,
        glance: Callable[[Health], str] = lambda _health: "",
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
        self.session: Session | None = None
        self._requests: roster.Requests | None = None  # on this session
        self._rooms = rooms
        self._whereabouts = whereabouts
        self._glance = glance
        self._shown: tuple[str, str] | None = None  # on this session
        self.progress = Progress(clock)
        self._told_level = ""
        self._rights_changed = asyncio.Event()
        self._configured = asyncio.Event()

    async def serve(self, session: Session) -> None:
        """Be present and deliver until the link ends, which raises LinkError."""
        self.session, self._shown = session, None
        self._requests = requests = roster.Requests(session)
        self._configured.clear()
        self._rights_changed.set()  # roster and whitelists follow the rights from the start
        try:
            self.up = True
            self.show()  # first: who answers what is said next must find us online
            self._on_link(True)
            log.info("connected as %s (%s TLS)", session.jid, session.mode)
            there = self._persist(lambda: self._whereabouts.serve(session), "the node's place (XEP-0080)")
            works = [session.lost(), self._sinks(session, requests), there]
            if self._config.publish.pubsub != "off":
                works.append(self._persist(lambda: self._state(session), "the pub-sub nodes"))
            await together(*works)
        finally:
            self.session = self._requests = None
            if self.up:
                self.up = False
                self._on_link(False)

    def send(self, stanza: ET.Element) -> None:
        """Write a stanza on the present session. Raises LinkError when there is none."""
        if self.session is None:
            raise LinkError("not connected")
        self.session.send(stanza)

    def show(self) -> None:
        """Tell people and rooms how we are (RFC 6121 §4.7.2); what the alarms are called only where all are told."""
        if not self.up:
            return
        health = self._health()
        shown = (health.show, self._glance(health))
        if shown != self._shown:
            with suppress(LinkError):
                presence = ET.Element(f"{CLIENT}presence")
                for name, text in zip(("show", "status"), shown, strict=True):
                    if text:
                        ET.SubElement(presence, f"{CLIENT}{name}").text = text
                self.send(presence)
                self._shown = shown
        for room in self._rooms.values():
            room.show()

    def rights_changed(self) -> None:
        """Let roster, whitelist and sinks follow the rights at once."""
        self._rights_changed.set()
        self._whereabouts.rights_changed()

    def stanza(self, presence: ET.Element) -> None:
        """A presence of the stream: a room's, a subscription request, or somebody's mood."""
        sender = presence.get("from", "")
        if not sender or self._requests is None:
            return
        room = self._rooms.get(compat.jid(sender).bare)
        if room is not None:
            room.presence(presence)
        else:
            self._requests.stanza(presence, self._people())

    def room_stanza(self, message: ET.Element, *, late: bool) -> bool:
        """Whether a message came from one of our rooms, which then has handled it."""
        sender = message.get("from", "")
        try:
            jid = compat.jid(sender).bare
        except ValueError:
            return True  # nobody can be answered at an address that is none
        if room := self._rooms.get(jid):
            room.message(message, late=late)
        return jid in self._rooms

    # One session ------------------------------------------------------------------------------------------------------

    async def _sinks(self, session: Session, requests: roster.Requests) -> None:
        """A delivery for each sink there is; they come and go with the rights."""
        running: dict[str, asyncio.Task[None]] = {}
        following: asyncio.Task[None] | None = None
        changed: asyncio.Task[bool] | None = None
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
                    following = asyncio.create_task(self._follow(session, requests))
        finally:
            tasks: list[asyncio.Task[Any]] = [*running.values(), *(task for task in (following, changed) if task)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, session: Session, requests: roster.Requests) -> None:
        """Let roster and whitelists follow the rights, each by itself: what one refuses keeps no other from it."""
        ours = nodes.NODES if self._config.publish.pubsub != "off" else ()
        await together(
            self._persist(lambda: requests.follow(self._people()), "rights"),
            *(self._persist(partial(self._allow, session, node), "rights") for node in ours),
        )

    async def _allow(self, session: Session, node: nodes.Node) -> None:
        await self._configured.wait()
        service = self._config.publish.service
        anew = await nodes.allow(
            session, nodes.placed(node, service, session.jid), self._readers(), service=service
        )
        if anew and node in {nodes.STATE, nodes.ABOUT}:
            await self._tell(session, about=node == nodes.ABOUT)

    async def _sink(self, session: Session, sink: str) -> None:
        kind, _, target = sink.partition(":")
        settings: object = None
        if kind == "room":
            await self._rooms[compat.jid(target)].stay(session, outbox=self._outbox, voice=self._voice)
            return
        if kind == "pubsub":
            await self._configured.wait()
        elif kind == "chat":
            person = next((p for p in self._config.people if p.jid == compat.jid(target)), None)
            settings = person.lang if person else ""
        async with publishers.open_sink(sink, session=session, voice=self._voice, settings=settings) as publisher:
            await deliver(sink, publisher, progress=self.progress, outbox=self._outbox, clock=self._clock)

    async def _state(self, session: Session) -> None:
        """Configure the nodes, then keep what is known of every channel on the server."""
        service = self._config.publish.service
        for node in nodes.NODES:
            placed = nodes.placed(node, service, session.jid)
            await nodes.configure(session, placed, self._readers(), service=service)
        await self._tell(session, about=True)
        self._configured.set()
        while True:
            await self._clock.sleep(STATE_EVERY_S)
            await self._tell(session, about=self._health().level != self._told_level)

    async def _tell(self, session: Session, *, about: bool = False) -> None:
        service = self._config.publish.service
        told = [(nodes.ABOUT, "current", self._about())] if about else []
        self._told_level = self._health().level if about else self._told_level
        for node, item_id, element in (*told, *((nodes.STATE, *item) for item in self._present())):
            name = nodes.placed(node, service, session.jid).name
            await nodes.publish(session, name, item_id, element, service=service)

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
