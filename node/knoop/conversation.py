"""From a message to an answer: who spoke, was it fresh, may they, what did they mean, what happened.

    stanza ▶ inbound ▶ person? ▶ fresh? ▶ parse ▶ right? ▶ verb ▶ reply, audit

A stranger gets silence, whatever they say. A named person gets a sentence, whatever goes wrong; what went wrong
inside is found in the log by the incident id that the sentence names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop import parse
from knoop.access import Person
from knoop.command import N_, Command, House, Reply, not_yours, refuse
from knoop.errors import LinkError, StoreError
from knoop.jid import Jid
from knoop.text import Voice
from knoop.xmpp import compat, inbound
from knoop.xmpp.fresh import LATE_AFTER_S, Seen
from knoop.xmpp.inbound import Ignored, Said

log = logging.getLogger(__name__)

MAX_WAITING = 20  # requests of one person; a script that types faster is asked to slow down by losing the rest
MAX_LANES = 64  # people talking at once, where a whole domain has rights
STRANGERS_AUDITED_PER_MIN = 30  # a flood of strangers must not push our people's lines out of the audit log

EXPIRED = N_("That arrived late, so I did nothing. Please say it again.")
CORRECTED = N_("I do not act on corrections. Please say it again as a new message.")
ENCRYPTED = N_("I cannot read encrypted messages yet. Please switch encryption off for this chat and say it again.")
INCIDENT = N_("Something went wrong inside, and nothing is known to have changed. The log has it as incident {id}.")
WHY = {"delayed": EXPIRED, "corrected": CORRECTED, "encrypted": ENCRYPTED}

_Waiting = tuple[Said | Ignored, int]  # what was heard, and when (boottime)


class Conversation:
    """Hears messages and answers them. `send(to, text)` writes a chat message on the current session."""

    def __init__(
        self, house: House, *, verbs: Mapping[str, Command], voice: Callable[[str], Voice],
        send: Callable[[Jid, str], None],
    ) -> None:
        self._house = house
        self._verbs = verbs
        self._voice = voice
        self._send = send
        self._seen = Seen()
        self._incidents = 0
        self._lanes: dict[Jid, asyncio.Queue[_Waiting]] = {}
        self._tasks: dict[Jid, asyncio.Task[None]] = {}
        self._strangers: tuple[int, int] = (0, 0)  # (minute, audited in it)
        self._audits: set[asyncio.Task[None]] = set()

    def hear(self, message: ET.Element, *, late: bool) -> None:
        """Take one message of the stream. Never raises on what a peer wrote."""
        heard = inbound.chat(message)
        try:
            sender = compat.jid(heard.sender)
        except ValueError:
            return
        if isinstance(heard, Ignored) and heard.why not in inbound.ANSWERABLE:
            return
        if self._house.access.person(sender) is None:
            self._stranger(sender, heard)
            return
        if not self._seen.first_time(str(sender.bare), heard.id):
            return
        if late and isinstance(heard, Said):
            heard = Ignored(sender=heard.sender, id=heard.id, why="delayed")
        lane = self._lane(sender.bare)
        if lane is None or lane.full():
            log.warning("%s speaks faster than it is answered; a message was left out", sender.bare)
            return
        lane.put_nowait((heard, self._house.clock.boottime_ns()))

    async def close(self) -> None:
        """Stop answering; what was being done is finished by its verb or cancelled."""
        tasks = [*self._tasks.values(), *self._audits]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lane(self, person: Jid) -> asyncio.Queue[_Waiting] | None:
        """One queue a person keeps their requests in order and makes nobody wait for another's."""
        if person not in self._lanes:
            if len(self._lanes) >= MAX_LANES:
                return None
            lane = self._lanes[person] = asyncio.Queue(MAX_WAITING)
            self._tasks[person] = asyncio.create_task(self._answer_all(lane))
        return self._lanes[person]

    async def _answer_all(self, lane: asyncio.Queue[_Waiting]) -> None:
        while True:
            heard, since_ns = await lane.get()
            if isinstance(heard, Said) and self._house.clock.boottime_ns() - since_ns > LATE_AFTER_S * 1e9:
                heard = Ignored(sender=heard.sender, id=heard.id, why="delayed")  # behind a slow request
            sender = compat.jid(heard.sender)
            person = self._house.access.person(sender)  # rights may have changed since it was heard
            if person is None:
                continue
            try:
                reply = await self._answer(sender, person, heard)
            except Exception:
                self._incidents += 1
                incident = f"{self._house.run}-{self._incidents}"
                log.exception("incident %s: %s", incident, heard)
                reply = refuse(INCIDENT, id=incident)
            with suppress(LinkError):  # nobody is there to be answered
                self._send(sender, self._voice(person.lang).render(reply))

    async def _answer(self, sender: Jid, person: Person, heard: Said | Ignored) -> Reply:
        if isinstance(heard, Ignored):
            await self._audit(sender, "message", f"ignored: {heard.why}")
            return refuse(WHY[heard.why])
        readable = {name: channel for name, channel in self._house.channels.items() if person.reads(name)}
        intent = parse.parse(heard.text, channels=readable, verbs=self._verbs)
        if isinstance(intent, Reply):
            return intent
        command = self._verbs[intent.verb]
        if person.role < command.role:
            await self._audit(sender, heard.text, "refused: not allowed")
            return not_yours(command)
        request = intent.request(sender, lang=person.lang)
        reply = await command.run(request, self._house)
        if command.writes:
            await self._audit(sender, heard.text, "done" if reply.ok else "refused")
        return reply

    def _stranger(self, sender: Jid, heard: Said | Ignored) -> None:
        minute = self._house.clock.boottime_ns() // 60_000_000_000
        audited = self._strangers[1] if self._strangers[0] == minute else 0
        self._strangers = (minute, audited + 1)
        if audited >= STRANGERS_AUDITED_PER_MIN:
            return
        said = heard.text if isinstance(heard, Said) else heard.why
        task = asyncio.create_task(self._audit(sender, said, "refused: stranger"))
        self._audits.add(task)
        task.add_done_callback(self._audits.discard)

    async def _audit(self, who: Jid, action: str, result: str) -> None:
        try:
            await self._house.state.audit(
                at_ns=self._house.clock.time_ns(), who=str(who), action=action, result=result, via="chat",
                encrypted=False,
            )
        except StoreError as error:
            log.error("%s: %s (not in the audit log: %s)", who, result, error)
