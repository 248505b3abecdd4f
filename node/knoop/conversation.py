"""From a message to an answer: who spoke, was it fresh, may they, what did they mean, what happened.

    stanza ▶ inbound ▶ person? ▶ fresh? ▶ parse ▶ right? ▶ verb ▶ reply, audit

A stranger gets silence, whatever they say. A named person gets a sentence, whatever goes wrong; what went wrong
inside is found in the log by the incident id that the sentence names. What may have changed something is in the
audit log however it ended, also when the node was stopped meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
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
MAX_LANES = 64  # lanes beyond which only those are heard who have rights of their own, not just their domain's
AUDIT_TIMEOUT_S = 3.0  # at a stop; writing takes milliseconds, a worn SD card at times a second
STRANGERS_AUDITED_PER_MIN = 30  # a flood of strangers must not push our people's lines out of the audit log

EXPIRED = N_("That arrived late, so I did nothing. Please say it again.")
CORRECTED = N_("I do not act on corrections. Please say it again as a new message.")
ENCRYPTED = N_("I cannot read encrypted messages yet. Please switch encryption off for this chat and say it again.")
INCIDENT = N_("Something went wrong inside, and nothing is known to have changed. The log has it as incident {id}.")
UNSAID = "I cannot put the answer into words. The log has it as incident {id}."  # said when rendering itself fails
CUT_OFF = "cut off: the outcome is unknown"
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
        self._lanes: dict[Jid, deque[_Waiting]] = {}
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
        if lane is None or len(lane) >= MAX_WAITING:
            log.warning("%s speaks faster than it is answered; a message was left out", sender.bare)
            return
        lane.append((heard, self._house.clock.boottime_ns()))

    async def close(self) -> None:
        """Stop answering; what was being done is finished by its verb or cancelled, and is in the audit log."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._audits:
            await asyncio.wait(self._audits, timeout=AUDIT_TIMEOUT_S)

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
        try:
            reply = await self._answer(sender, person, heard)
        except Exception as error:  # noqa: BLE001 -- `_incident` logs it whole
            reply = refuse(INCIDENT, id=self._incident(sender, heard, error))
        try:
            text = self._voice(person.lang).render(reply)
        except Exception as error:  # noqa: BLE001 -- `_incident` logs it whole
            text = UNSAID.format(id=self._incident(sender, heard, error))
        with suppress(LinkError):  # nobody is there to be answered
            self._send(sender, text)

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
        try:
            reply = await command.run(request, self._house)
        except asyncio.CancelledError:
            if command.writes:
                self._audit(sender, heard.text, CUT_OFF)  # `close` waits for it
            raise
        if command.writes:
            await self._audit(sender, heard.text, "done" if reply.ok else "refused")
        return reply

    def _incident(self, sender: Jid, heard: Said | Ignored, error: Exception) -> str:
        """Log what went wrong, whole, and that it did in the audit log; returns the id to tell people."""
        self._incidents += 1
        incident = f"{self._house.run}-{self._incidents}"
        log.error("incident %s: %s", incident, heard, exc_info=error)
        self._audit(sender, heard.text if isinstance(heard, Said) else "message", f"failed: incident {incident}")
        return incident

    def _stranger(self, sender: Jid, heard: Said | Ignored) -> None:
        minute = self._house.clock.boottime_ns() // 60_000_000_000
        audited = self._strangers[1] if self._strangers[0] == minute else 0
        self._strangers = (minute, audited + 1)
        if audited >= STRANGERS_AUDITED_PER_MIN:
            return
        said = heard.text if isinstance(heard, Said) else heard.why
        self._audit(sender, said, "refused: stranger")

    def _audit(self, who: Jid, action: str, result: str) -> asyncio.Future[None]:
        """Begin to write an audit line; who waits for it may be cancelled, the line is written all the same."""
        task = asyncio.create_task(self._write(who, action, result))
        self._audits.add(task)
        task.add_done_callback(self._audits.discard)
        return asyncio.shield(task)

    async def _write(self, who: Jid, action: str, result: str) -> None:
        try:
            await self._house.state.audit(
                at_ns=self._house.clock.time_ns(), who=str(who), action=action, result=result, via="chat",
                encrypted=False,
            )
        except StoreError as error:
            log.error("%s: %s (not in the audit log: %s)", who, result, error)
