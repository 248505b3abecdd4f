"""Rooms we are in (XEP-0045): join without history, speak and see it reflected, know who left or threw us out.

slixmpp's plugin would keep every occupant of every room as dictionaries and dispatch rooms' messages to handlers; a
node needs its own presence and its own reflections only.
"""

from __future__ import annotations

import asyncio
import logging
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.session import Session

log = logging.getLogger(__name__)

MUC = "{http://jabber.org/protocol/muc}"
USER = "{http://jabber.org/protocol/muc#user}"
MUC_OWNER = "{http://jabber.org/protocol/muc#owner}"
JOIN_TIMEOUT_S = 15.0
REFLECT_TIMEOUT_S = 20.0
SELF, CREATED = "110", "201"
# XEP-0045 §15.6.2: why we are out.
GONE = {
    "301": "this node was banned", "307": "this node was kicked", "321": "this node is no longer allowed in",
    "322": "the room is for members now", "332": "the room service stops",
}


class Room:
    """One joined room; `handle` gets every stanza from it."""

    def __init__(self, session: Session, jid: Jid, nick: str) -> None:
        self.jid = jid.bare
        self.nick = nick
        self._session = session
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left.add_done_callback(lambda future: future.exception())  # nobody may be waiting: not a warning
        self._said: dict[str, asyncio.Future[None]] = {}

    async def join(self, *, password: str = "") -> None:
        """Enter the room; a room that did not exist is made with its service's defaults. Raises Refusal, LinkError."""
        self._session.send(self._presence(password=password))
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await self._session.or_lost(self._joined)
        except TimeoutError:
            text = f"room {self.jid} did not answer within {JOIN_TIMEOUT_S:g} s"
            raise Refusal("remote-server-timeout", text) from None

    async def say(self, text: str, stanza_id: str) -> None:
        """Speak; returns when the room reflected this id to us, so everybody has it. Raises Refusal, LinkError."""
        message = ET.Element(f"{CLIENT}message", {"to": str(self.jid), "type": "groupchat", "id": stanza_id})
        ET.SubElement(message, f"{CLIENT}body").text = text
        ET.SubElement(message, "{urn:xmpp:sid:0}origin-id", {"id": stanza_id})
        reflected = self._said[stanza_id] = asyncio.get_running_loop().create_future()
        try:
            self._session.send(message)
            async with asyncio.timeout(REFLECT_TIMEOUT_S):
                await self._session.or_lost(reflected)
        except TimeoutError:
            self._leave(set())  # a room that forgot us says nothing; joining again tells
            text = f"room {self.jid} did not reflect a message within {REFLECT_TIMEOUT_S:g} s"
            raise Refusal("remote-server-timeout", text) from None
        finally:
            self._said.pop(stanza_id, None)

    def show(self, status: str, show: str = "") -> None:
        """Our presence in the room: a status line and RFC 6121 §4.7.2.1's show (`dnd` while an alarm waits)."""
        if self._joined.done() and self._joined.exception() is None:
            self._session.send(self._presence(status=status, show=show))

    def handle(self, stanza: ET.Element) -> None:
        """A message or presence from this room (bare or occupant)."""
        resource = compat.jid(stanza.get("from", "")).resource
        if stanza.tag == f"{CLIENT}message":
            self._reflection(stanza, resource)
            return
        codes = {status.get("code") for status in stanza.iter(f"{USER}status")}
        if stanza.get("type") == "error":
            if not self._joined.done():
                self._joined.set_exception(Refusal(*self._error(stanza)))
        elif stanza.get("type") == "unavailable":
            if SELF in codes or resource == self.nick:
                self._leave(codes)
        elif SELF in codes:
            self.nick = resource or self.nick
            if CREATED in codes:
                self._accept_defaults()
            if not self._joined.done():
                self._joined.set_result(None)

    async def lost(self) -> None:
        """Raise Refusal when we are no longer in the room; never returns."""
        await asyncio.shield(self._left)

    def _leave(self, codes: set[str | None]) -> None:
        why = next((text for code, text in GONE.items() if code in codes), "no longer in it")
        if not self._left.done():
            self._left.set_exception(Refusal("gone", f"room {self.jid}: {why}"))

    def _reflection(self, message: ET.Element, resource: str) -> None:
        waiting = self._said.get(message.get("id", ""))
        if waiting is None or waiting.done():
            return
        if message.get("type") == "error":
            condition, text = self._error(message)
            if condition in {"not-acceptable", "item-not-found", "gone"}:  # §7.4: we are not in it, for the room
                self._leave(set())
            waiting.set_exception(Refusal(condition, text))
        elif resource == self.nick:
            waiting.set_result(None)

    def _error(self, stanza: ET.Element) -> tuple[str, str]:
        error = stanza.find(f"{CLIENT}error")
        condition = error[0].tag.rpartition("}")[2] if error is not None and len(error) else "undefined-condition"
        remedy = {
            "conflict": f"the nick {self.nick!r} is taken: set another 'nick'",
            "not-authorized": "it asks for a password: set 'password'",
            "registration-required": "it is for members: let its owner make this node a member",
            "forbidden": "this node is banned or may not speak there",
            "item-not-found": "it does not exist and may not be created by this node",
        }.get(condition, condition)
        return condition, f"room {self.jid}: {remedy}"

    def _presence(self, *, password: str = "", status: str = "", show: str = "") -> ET.Element:
        presence = ET.Element(f"{CLIENT}presence", {"to": f"{self.jid}/{self.nick}"})
        if status:
            ET.SubElement(presence, f"{CLIENT}status").text = status
        if show:
            ET.SubElement(presence, f"{CLIENT}show").text = show
        if not self._joined.done():
            join = ET.SubElement(presence, f"{MUC}x")
            ET.SubElement(join, f"{MUC}history", {"maxstanzas": "0"})
            if password:
                ET.SubElement(join, f"{MUC}password").text = password
        return presence

    def _accept_defaults(self) -> None:
        """An instant room (§10.1.2): until its owner says so, nobody else can enter."""
        iq = ET.Element(f"{CLIENT}iq", {"to": str(self.jid), "type": "set", "id": f"room-{self.jid.local}"})
        query = ET.SubElement(iq, f"{MUC_OWNER}query")
        ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
        self._session.send(iq)
