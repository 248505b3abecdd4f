"""The last message that a person got from one session: the one that a correction may replace. Pure."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop.jid import Jid
from knoop.xmpp.inbound import CLIENT, CORRECTION

REMEMBERED = 200  # people whose last message is known


class LastSaid:
    """`jid` reads an address."""

    def __init__(self, jid: Callable[[str], Jid]) -> None:
        self._jid = jid
        self._last: dict[Jid, str] = {}

    def to(self, person: Jid) -> str:
        """The id of the last message with a text that any device of this person was sent, or ''.

        A correction counts as the message that it corrects (XEP-0308 §3: only the last one should be corrected).
        """
        return self._last.get(person.bare, "")

    def note(self, message: ET.Element) -> None:
        """This message was written to the stream."""
        if message.find(f"{CLIENT}body") is None or message.get("type") == "groupchat":
            return
        with suppress(ValueError):
            person = self._jid(message.get("to", "")).bare
            corrected = message.find(CORRECTION)
            self._last.pop(person, None)
            self._last[person] = message.get("id", "") if corrected is None else corrected.get("id", "")
            if len(self._last) > REMEMBERED:
                del self._last[next(iter(self._last))]
