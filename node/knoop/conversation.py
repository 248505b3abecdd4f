"""From a message to an answer: who spoke, was it fresh, what did they mean; `execution` does the rest.

    stanza ▶ inbound ▶ person? ▶ fresh? ▶ parse ▶ execution ▶ reply

A stranger gets silence, whatever they say. A named person gets a sentence, whatever goes wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop import parse
from knoop.access import Person
from knoop.command import N_, House, Reply, refuse
from knoop.errors import LinkError
from knoop.execution import INCIDENT, Execution
from knoop.jid import Jid
from knoop.text import Voice
from knoop.xmpp import compat, inbound, outbound
from knoop.xmpp.fresh import LATE_AFTER_S, Seen
from knoop.xmpp.inbound import Ignored, Reacted, Received, Said

log = logging.getLogger(__name__)

MAX_WAITING = 20  # requests of one person; a script that types faster is asked to slow down by losing the rest
MAX_LANES = 64  # lanes beyond which only those are heard who have rights of their own, not just their domain's
STRANGERS_AUDITED_PER_MIN = 30  # a flood of strangers must not push our people's lines out of the audit log

EXPIRED = N_("That arrived late, so I did nothing. Please say it again.")
CORRECTED = N_("I do not act on corrections. Please say it again as a new message.")
ENCRYPTED = N_("I cannot read encrypted messages yet. Please switch encryption off for this chat and say it again.")
UNSAID = "I cannot put the answer into words. The log has it as incident {id}."  # said when rendering itself fails
WHY = {"delayed": EXPIRED, "corrected": CORRECTED, "encrypted": ENCRYPTED}

_Waiting = tuple[Said | Ignored, int]  # what was heard, and when (boottime)


class Conversation:
    """Hears messages and answers them: `send(to, text)` says, `write(stanza)` sends, both on the current session."""

    def __init__(
        self, house: House, *, execution: Execution, voice: Callable[[str], Voice], send: Callable[[Jid, str], None],
        write: Callable[[ET.Element], None],
    ) -> None:  # fmt: skip
        self._house = house
        self._write = write
        self._execution = execution
        self._voice = voice
        self._send = send
        self._seen = Seen()
        self._lanes: dict[Jid, deque[_Waiting]] = {}
        self._tasks: dict[Jid, asyncio.Task[None]] = {}
        self._strangers: tuple[int, int] = (0, 0)  # (minute, audited in it)

    def hear(self, message: ET.Element, *, late: bool) -> None:
        """Take one message of the stream. Never raises on what a peer wrote."""
        heard = inbound.chat(message)
        try:
            sender = compat.jid(heard.sender)
        except ValueError:
            return
        if isinstance(heard, Ignored) and heard.why not in inbound.ANSWERABLE:
            return
        if isinstance(heard, Reacted | Received):
            return
        if self._house.access.person(sender) is None:
            self._stranger(sender, heard)
            return
        if not self._seen.first_time(str(sender.bare), heard.id):
            return
        if isinstance(heard, Said) and heard.receipt and heard.id:
            with suppress(LinkError):
                self._write(outbound.received(heard.sender, heard.id))
        if late and isinstance(heard, Said):
            heard = Ignored(sender=heard.sender, id=heard.id, why="delayed")
        lane = self._lane(sender.bare)
        if lane is None or len(lane) >= MAX_WAITING:
            log.warning("%s speaks faster than it is answered; a message was left out", sender.bare)
            return
        lane.append((heard, self._house.clock.boottime_ns()))

    async def close(self) -> None:
        """Stop answering; what was being done is finished by its verb or cancelled."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lane(self, person: Jid) -> deque[_Waiting] | None:
        """One queue a person keeps their requests in order and makes nobody wait for another's; None: too many."""
        if person not in self._lanes:
            if len(self._lanes) >= MAX_LANES and not self._house.access.individual(person):
                return None
            self._lanes[person] = deque()
            self._tasks[person] = asyncio.create_task(self._answer_all(person))
        return self._lanes[person]

    async def _answer_all(self, person: Jid) -> None:
        """Answer until nothing waits; the lane ends with that, and the next message begins another."""
        lane = self._lanes[person]
        try:
            while lane:
                await self._answer_one(*lane.popleft())
        finally:
            del self._lanes[person], self._tasks[person]

    async def _answer_one(self, heard: Said | Ignored, since_ns: int) -> None:
        if isinstance(heard, Said) and self._house.clock.boottime_ns() - since_ns > LATE_AFTER_S * 1e9:
            heard = Ignored(sender=heard.sender, id=heard.id, why="delayed")  # behind a slow request
        sender = compat.jid(heard.sender)
        person = self._house.access.person(sender)  # rights may have changed since it was heard
        if person is None:
            return
        words = heard.text if isinstance(heard, Said) else "message"
        try:
            reply = await self._answer(sender, person, heard)
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            reply = refuse(INCIDENT, id=self._execution.incident(sender, words, error))
        try:
            text = self._voice(person.lang).render(reply)
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            text = UNSAID.format(id=self._execution.incident(sender, words, error))
        with suppress(LinkError):  # nobody is there to be answered
            self._send(sender, text)

    async def _answer(self, sender: Jid, person: Person, heard: Said | Ignored) -> Reply:
        if isinstance(heard, Ignored):
            await self._execution.note(sender, "message", f"ignored: {heard.why}")
            return refuse(WHY[heard.why])
        readable = {name: channel for name, channel in self._house.channels.items() if person.reads(name)}
        intent = parse.parse(heard.text, channels=readable, verbs=self._execution.verbs)
        if isinstance(intent, Reply):
            return intent
        return await self._execution.run(intent.request(sender, lang=person.lang), words=heard.text)

    def _stranger(self, sender: Jid, heard: Said | Ignored) -> None:
        minute = self._house.clock.boottime_ns() // 60_000_000_000
        audited = self._strangers[1] if self._strangers[0] == minute else 0
        self._strangers = (minute, audited + 1)
        if audited >= STRANGERS_AUDITED_PER_MIN:
            return
        said = heard.text if isinstance(heard, Said) else heard.why
        self._execution.note(sender, said, "refused: stranger")
