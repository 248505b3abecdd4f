"""Where the node is, on its own account (PEP) for those who may read everything; off unless the owner asks for it.

A present state and no history: it does not go through the outbox, and nowhere but to PEP. At a stop the last place
stays, with its time, as `state` does for the same readers (docs/wire.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from xml.etree import ElementTree as ET

from knoop import geoloc
from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.together import woken
from knoop.xmpp import nodes
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

NODE = nodes.Node(name=geoloc.GEOLOC, max_items="1", send_last="on_sub_and_presence")
LOOK_S = 2.0
APART_S = 60.0  # XEP-0080 §5: at most once a minute
LOST_S = 600.0  # a tunnel, a garage, a restart of the board: longer than that, and nobody knows where it is
# A server without PEP, or without this node, has nothing of ours.
_NOTHING_THERE = frozenset({"item-not-found", "service-unavailable", "feature-not-implemented"})


class Whereabouts:
    """What is published of the place. `place` is where the node is now, None while it does not know.

    `wanted`: whether it is to be known at all. `readers`: who may.
    """

    def __init__(
        self, *, wanted: bool, place: Callable[[], ET.Element | None], readers: Callable[[], Collection[Jid]],
        clock: Clock,
    ) -> None:  # fmt: skip
        self._wanted, self._place, self._readers, self._clock = wanted, place, readers, clock
        self._rights = asyncio.Event()
        self._known_ns = clock.boottime_ns()
        self._said: ET.Element | None = None

    def rights_changed(self) -> None:
        """Let the whitelist follow at once."""
        self._rights.set()

    async def serve(self, session: Session) -> None:
        """Keep it so on the server until cancelled; where it is not wanted, take away what is there of it.

        Raises Refusal or LinkError.
        """
        if not self._wanted:
            await self._forget(session)
            return
        self._said, said_ns = None, None
        self._rights.clear()
        await nodes.configure(session, NODE, self._readers())
        while True:
            if self._rights.is_set():
                self._rights.clear()
                if await nodes.allow(session, NODE, self._readers()):
                    self._said = said_ns = None
            now_ns = self._clock.boottime_ns()
            if said_ns is None or now_ns - said_ns >= APART_S * 1e9:
                element = self._news(now_ns)
                if element is not None:
                    await self._publish(session, element)
                    self._said, said_ns = element, now_ns
            await woken(self._rights, self._clock, LOOK_S)

    def _news(self, now_ns: int) -> ET.Element | None:
        """What is to be said now."""
        place = self._place()
        if place is not None:
            self._known_ns = now_ns
            return place if geoloc.moved(self._said, place) else None
        told = self._said is None or len(self._said) > 0  # None: what an earlier session said
        return geoloc.nowhere() if told and now_ns - self._known_ns >= LOST_S * 1e9 else None

    async def _publish(self, session: Session, element: ET.Element) -> None:
        # A node that somebody deleted would come back with the server's own access model, which is open to more.
        await nodes.publish(session, NODE.name, geoloc.MINE, element, only_if={"pubsub#access_model": "whitelist"})

    async def _forget(self, session: Session) -> None:
        """Tell who listens that it is over, and leave nothing on the server."""
        try:
            if not await nodes.has(session, NODE.name, geoloc.MINE):
                return
            await self._publish(session, geoloc.nowhere())
            await nodes.delete(session, NODE.name)
            log.info("'publish.geolocation' is off: the place was taken off the server")
        except Refusal as error:
            if error.condition not in _NOTHING_THERE:
                raise
