"""Rooms we are in (XEP-0045): join without history, speak and see it reflected, know who is there and why we are out.

slixmpp's plugin would keep every occupant of every room as dictionaries and dispatch rooms' messages to handlers; a
node needs its own presence, its own reflections, and who is behind a nick: that only where it takes commands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from knoop.errors import LinkError, Refusal
from knoop.jid import Jid
from knoop.room.gathering import Key, Shown
from knoop.xmpp import announce, compat
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.session import Session

log = logging.getLogger(__name__)

MUC = "{http://jabber.org/protocol/muc}"
USER = "{http://jabber.org/protocol/muc#user}"
MUC_OWNER = "{http://jabber.org/protocol/muc#owner}"
JOIN_TIMEOUT_S = 15.0
REFLECT_TIMEOUT_S = 20.0
MOST_OCCUPANTS = 2000  # who is behind these is not known; they have no rights here
SELF, CREATED, NAMES_SHOWN = "110", "201", "100"
PRIVACY = {"172": True, "173": False, "174": False}  # §15.6.2: non-anonymous, semi-anonymous, fully anonymous

Why = Literal[
    "kicked", "banned", "members", "password", "destroyed", "conflict", "missing", "full", "silent", "out", "refused",
]
# XEP-0045 §15.6.2: why we are out.
GONE: Mapping[str, tuple[Why, str]] = {
    "301": ("banned", "this node was banned"),
    "307": ("kicked", "this node was kicked"),
    "321": ("members", "this node is no longer allowed in"),
    "322": ("members", "the room is for members now"),
    "332": ("out", "the room service stops"),
}
# §7.2, table 3: why we do not get in.
REFUSED: Mapping[str, tuple[Why, str]] = {
    "conflict": ("conflict", "the nick {nick!r} is taken: set another 'nick'"),
    "not-authorized": ("password", "it asks for a password: set 'password'"),
    "registration-required": ("members", "it is for members: let its owner make this node a member"),
    "forbidden": ("banned", "this node is banned or may not speak there"),
    "item-not-found": ("missing", "it does not exist and may not be created by this node"),
    "not-allowed": ("missing", "it does not exist and may not be created by this node"),
    "service-unavailable": ("full", "it is full"),
    "gone": ("destroyed", "it does not exist any more"),
}
# XEP-0410 §3.2: these answers come from, or on behalf of, a client that is in the room.
STILL_IN = frozenset({"service-unavailable", "feature-not-implemented", "item-not-found"})
UNCLEAR = frozenset({"remote-server-not-found", "remote-server-timeout"})


async def exists(session: Session, room: Jid) -> bool:
    """Whether there is such a room now, asked without entering, which would make it (§6.4). Raises LinkError."""
    try:
        await session.iq("get", ET.Element("{http://jabber.org/protocol/disco#info}query"), to=str(room))
    except Refusal:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Occupant:
    """Somebody in the room. `jid` is the real address as the room shows it, None where it does not."""

    jid: Jid | None
    role: str


class Room:
    """One stay in a room; `handle` gets every stanza from it. `why` says why a join was refused or the stay ended.

    `occupants` are the others by nick, `role` is ours. `keeps_jids` remembers their real addresses. `shows_jids` is
    True while the room is non-anonymous (status 100). `muted` is True from a refused line until we are given voice.
    `alternate` is where the owner of a destroyed room points to.
    """

    def __init__(self, session: Session, jid: Jid, nick: str, *, keeps_jids: bool = False) -> None:
        self.jid = jid.bare
        self.nick = nick
        self.occupants: dict[str, Occupant] = {}
        self.role = ""
        self.shows_jids = False
        self.muted = False
        self.why: Why = "refused"
        self.alternate = ""
        self._keeps_jids = keeps_jids
        self._session = session
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left.add_done_callback(lambda future: future.exception())  # nobody may be waiting: not a warning
        self._said: dict[str, asyncio.Future[None]] = {}

    @property
    def entered(self) -> bool:
        """Whether the room took us."""
        return self._joined.done() and not self._joined.cancelled() and self._joined.exception() is None

    @property
    def joined(self) -> bool:
        """Whether we are in, as far as we know."""
        return self.entered and not self._left.done()

    async def join(
        self, *, password: str = "", status: str = "", show: str = "", alerts: ET.Element | None = None
    ) -> None:
        """Enter the room; a room that did not exist is made with its service's defaults. Raises Refusal, LinkError."""
        if not compat.known(f"{self.jid}/{self.nick}"):
            text = f"room {self.jid}: the nick {self.nick!r} has a character that rooms do not take: set another 'nick'"
            raise Refusal("jid-malformed", text)
        presence = self._presence(status, show, alerts)
        join = ET.SubElement(presence, f"{MUC}x")
        ET.SubElement(join, f"{MUC}history", {"maxstanzas": "0"})
        if password:
            ET.SubElement(join, f"{MUC}password").text = password
        self._session.send(presence)
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await self._session.or_lost(self._joined)
        except TimeoutError:
            self.why = "silent"
            text = f"room {self.jid} did not answer within {JOIN_TIMEOUT_S:g} s"
            raise Refusal("remote-server-timeout", text) from None

    async def say(self, text: str, stanza_id: str, about: Mapping[Key, Shown] | None = None) -> None:
        """Speak; returns when the room reflected this id to us, so everybody has it. Raises Refusal, LinkError."""
        reflected = self._said[stanza_id] = asyncio.get_running_loop().create_future()
        try:
            self.tell(text, stanza_id, about)
            async with asyncio.timeout(REFLECT_TIMEOUT_S):
                await self._session.or_lost(reflected)
        except TimeoutError:
            self._leave("out", "no longer in it")  # a room that forgot us says nothing; joining again tells
            text = f"room {self.jid} did not reflect a message within {REFLECT_TIMEOUT_S:g} s"
            raise Refusal("remote-server-timeout", text) from None
        finally:
            self._said.pop(stanza_id, None)

    def tell(self, text: str, stanza_id: str, about: Mapping[Key, Shown] | None = None) -> None:
        """Speak and do not wait for it. Raises LinkError."""
        message = ET.Element(f"{CLIENT}message", {"to": str(self.jid), "type": "groupchat", "id": stanza_id})
        ET.SubElement(message, f"{CLIENT}body").text = text
        ET.SubElement(message, "{urn:xmpp:sid:0}origin-id", {"id": stanza_id})
        if about:
            message.append(announce.element(about))
        self._session.send(message)

    def show(self, status: str, show: str = "", alerts: ET.Element | None = None) -> None:
        """Our presence in the room: a status line and RFC 6121 §4.7.2.1's show (`dnd` while an alarm waits)."""
        if self.joined:
            self._session.send(self._presence(status, show, alerts))

    async def ping(self) -> None:
        """Ask whether we are in (XEP-0410); if not, `lost` raises. No answer and a service away prove nothing."""
        ping = ET.Element("{urn:xmpp:ping}ping")
        with suppress(LinkError):  # if it is the link, everybody who waits on it knows
            try:
                await self._session.iq("get", ping, to=f"{self.jid}/{self.nick}")
            except Refusal as refusal:
                if refusal.condition not in STILL_IN | UNCLEAR:
                    self._leave("out", "no longer in it")

    def handle(self, stanza: ET.Element) -> None:
        """A message or presence from this room (bare or occupant)."""
        resource = stanza.get("from", "").partition("/")[2]
        if stanza.tag == f"{CLIENT}message":
            if not resource:
                self._privacy(stanza)
            self._reflection(stanza, resource)
            return
        kind = stanza.get("type", "")
        if kind == "error":
            self._refuse(stanza)
            return
        said = stanza.findall(f"{USER}x")  # the room's; where there are two, an occupant wrote one
        codes = {status.get("code") for status in said[0].iterfind(f"{USER}status")} if len(said) == 1 else set()
        # Once we are in, it is the nick that says what is ours: an occupant may write a status into its presence.
        ours = resource == self.nick if self._joined.done() else SELF in codes
        if kind == "unavailable":
            self.occupants.pop(resource, None)
            if ours:
                self._out(stanza, codes)
        elif kind:
            return
        elif ours:
            self._enter(stanza, resource, codes)
        elif resource in self.occupants or len(self.occupants) < MOST_OCCUPANTS:
            self.occupants[resource] = self._occupant(stanza)

    def occupant(self, nick: str) -> Jid:
        """An occupant's address in the room, which says nothing about who it is."""
        return Jid(self.jid.local, self.jid.domain, nick)

    async def lost(self) -> None:
        """Raise Refusal when we are no longer in the room; never returns."""
        await asyncio.shield(self._left)

    def _enter(self, stanza: ET.Element, resource: str, codes: set[str | None]) -> None:
        self.nick = resource or self.nick
        self.occupants.pop(self.nick, None)
        self.role = self._occupant(stanza).role
        if self.role != "visitor":
            self.muted = False
        if self._joined.done():
            return
        self.shows_jids = NAMES_SHOWN in codes
        if CREATED in codes:
            log.warning("room %s did not exist: this node made it and owns it", self.jid)
            self._accept_defaults()
        self._joined.set_result(None)

    def _occupant(self, stanza: ET.Element) -> Occupant:
        """Who the room says it is. An occupant may write such an element, too: with two of them nobody is meant."""
        items = stanza.findall(f"{USER}x/{USER}item")
        if len(items) != 1:
            return Occupant(None, "")
        real = items[0].get("jid", "") if self._keeps_jids else ""
        jid = None
        if real:
            with suppress(ValueError):
                jid = compat.jid(real)
        role = items[0].get("role", "")
        return Occupant(jid, role if role in {"visitor", "moderator"} else "participant")

    def _privacy(self, message: ET.Element) -> None:
        """The room itself says that it shows or hides addresses from now on (§10.2.1)."""
        for status in message.iterfind(f"{USER}x/{USER}status"):
            shows = PRIVACY.get(status.get("code", ""))
            if shows is not None:
                self.shows_jids = shows
                if not shows:
                    self.occupants = {nick: Occupant(None, one.role) for nick, one in self.occupants.items()}

    def _out(self, stanza: ET.Element, codes: set[str | None]) -> None:
        destroyed = stanza.find(f"{USER}x/{USER}destroy")
        if destroyed is not None:
            self.alternate = destroyed.get("jid", "")[:200]
            self._leave("destroyed", "it does not exist any more")
        else:
            known = next((GONE[code] for code in GONE if code in codes), None)
            self._leave(*(known or ("out", "no longer in it")))

    def _leave(self, why: Why, text: str) -> None:
        if not self._left.done():
            self.why = why
            self._left.set_exception(Refusal("gone", f"room {self.jid}: {text}"))

    def _refuse(self, stanza: ET.Element) -> None:
        if not self._joined.done():
            condition = _condition(stanza)
            self.why, text = REFUSED.get(condition, ("refused", condition))
            text = text.replace("{nick!r}", repr(self.nick))
            self._joined.set_exception(Refusal(condition, f"room {self.jid}: {text}"))

    def _reflection(self, message: ET.Element, resource: str) -> None:
        waiting = self._said.get(message.get("id", ""))
        if message.get("type") == "error":
            if resource:
                return  # a private message's; we send none
            condition = _condition(message)
            if condition == "forbidden":
                self.muted = True
            if condition in {"not-acceptable", "item-not-found", "gone"}:  # §7.4: we are not in it, for the room
                self._leave("out", "no longer in it")
            if waiting is not None and not waiting.done():
                text = REFUSED.get(condition, ("", condition))[1]
                waiting.set_exception(Refusal(condition, f"room {self.jid}: {text}"))
        elif waiting is not None and not waiting.done() and resource == self.nick:
            waiting.set_result(None)

    def _presence(self, status: str, show: str, alerts: ET.Element | None) -> ET.Element:
        presence = ET.Element(f"{CLIENT}presence", {"to": f"{self.jid}/{self.nick}"})
        if status:
            ET.SubElement(presence, f"{CLIENT}status").text = status
        if show:
            ET.SubElement(presence, f"{CLIENT}show").text = show
        if alerts is not None and len(alerts):
            presence.append(alerts)
        return presence

    def _accept_defaults(self) -> None:
        """An instant room (§10.1.2): until its owner says so, nobody else can enter."""
        iq = ET.Element(f"{CLIENT}iq", {"to": str(self.jid), "type": "set", "id": f"room-{self.jid.local}"})
        query = ET.SubElement(iq, f"{MUC_OWNER}query")
        ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
        self._session.send(iq)


def _condition(stanza: ET.Element) -> str:
    error = stanza.find(f"{CLIENT}error")
    return error[0].tag.rpartition("}")[2] if error is not None and len(error) else "undefined-condition"
