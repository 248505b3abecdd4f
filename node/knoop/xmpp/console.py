"""A person's side of the conversation: what `knoop chat` is, without its terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self
from xml.etree import ElementTree as ET

from knoop.jid import Jid
from knoop.xmpp import compat, inbound, roster
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock


class Console:
    """Logged in as a person, talking with one node. `on_text(text)` gets every sentence of the node."""

    def __init__(self, account: Account, node: Jid, *, clock: Clock, on_text: Callable[[str], None]) -> None:
        self._account = account
        self._node = node.bare
        self._clock = clock
        self._on_text = on_text
        self._session: Session | None = None
        self._heard = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Log in and be present to the node. Raises LinkError."""
        self._session = await Session.open(
            self._account, clock=self._clock, context=tls_context(self._account), on_message=self._message,
            on_presence=self._presence, admits=lambda sender: compat.jid(sender).bare == self._node if sender else True,
        )
        await roster.ensure(self._session, self._node)
        self._session.send(ET.Element(f"{CLIENT}presence"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    @property
    def session(self) -> Session:
        """The open session."""
        assert self._session is not None
        return self._session

    def say(self, text: str) -> None:
        """Send one line to the node. Raises LinkError."""
        self._heard.clear()
        element = ET.Element(f"{CLIENT}message", {"to": str(self._node), "type": "chat", "id": self.session.new_id()})
        ET.SubElement(element, f"{CLIENT}body").text = text
        self.session.send(element)

    async def answered(self, timeout_s: float) -> bool:
        """Whether the node said anything since the last `say`, waiting for at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def _message(self, message: ET.Element, late: bool) -> None:  # noqa: ARG002 -- a reader may read late things
        said = inbound.chat(message)
        if not message.get("from") or compat.jid(said.sender).bare != self._node:
            return
        body = message.find(f"{CLIENT}body")
        if body is not None and body.text and message.get("type") != "error":
            self._on_text(body.text)
            self._heard.set()
        elif message.get("type") == "error":
            self._on_text(f"({self._node} cannot be reached)")
            self._heard.set()

    def _presence(self, presence: ET.Element) -> None:
        if self._session and presence.get("from") and roster.asking(presence) == self._node:
            roster.approve(self._session, self._node)
