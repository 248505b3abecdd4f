"""From a message to an answer: who spoke, was it fresh, what did they mean; `execution` does the rest.

    stanza ▶ inbound ▶ person? ▶ fresh? ▶ choices, parse ▶ execution ▶ reply

A stranger gets silence, whatever they say. A named person gets a sentence, whatever goes wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop.access import Person
from knoop.alerts import PREFIX
from knoop.claims import veiled
from knoop.codes import typed
from knoop.command import N_, House, Reply, Request, Sentence, readable, refuse
from knoop.errors import LinkError
from knoop.execution import EXPIRED, INCIDENT, Execution
from knoop.jid import Jid
from knoop.parse.choices import Choices
from knoop.strangers import Door
from knoop.text import Voice, humane
from knoop.words import has_seen, thumbs_up
from knoop.xmpp import compat, inbound, outbound
from knoop.xmpp.fresh import LATE_AFTER_S, digest
from knoop.xmpp.inbound import Ignored, Reacted, Received, Said

log = logging.getLogger(__name__)

MAX_WAITING = 20  # requests of one person; a script that types faster is asked to slow down by losing the rest
MAX_LANES = 64  # lanes beyond which only those are heard who have rights of their own, not just their domain's
COMPOSING_AFTER_S = 1.0  # a person wonders after about that time; most answers take milliseconds
REACTED = 200  # a client sends all reactions again with each new one
OLDER = N_("That was about an earlier time. Say “ack {alert}” if you have seen this one.")
CORRECTED = N_("I do not act on corrections. Please say it again as a new message.")
ENCRYPTED = N_("I cannot read encrypted messages yet. Please switch encryption off for this chat and say it again.")
UNSAID = "I cannot put the answer into words. The log has it as incident {id}."  # said when rendering itself fails
WHY = {"delayed": EXPIRED, "corrected": CORRECTED, "encrypted": ENCRYPTED}

_Waiting = tuple[Said | Reacted | Ignored, int]  # what was heard, and when (boottime)


class Conversation:
    """Hears messages and answers them: `send(to, text)` says, `write(stanza)` sends, both on the current session."""

    def __init__(
        self, house: House, *, execution: Execution, voice: Callable[[str], Voice], send: Callable[[Jid, str], None],
        write: Callable[[ET.Element], None], announce: Callable[[Sentence], None] = lambda _sentence: None,
    ) -> None:  # fmt: skip
        self.door = Door(house, execution=execution, voice=voice, send=send, announce=announce)
        self._house = house
        self._write = write
        self._execution = execution
        self._voice = voice
        self._send = send
        self._choices = Choices(verbs=execution.verbs)
        self._reacted: deque[tuple[Jid, str]] = deque(maxlen=REACTED)  # whose 👍 on what was answered
        self._lanes: dict[Jid, deque[_Waiting]] = {}
        self._tasks: dict[Jid, asyncio.Task[None]] = {}

    def follow(self, former: Conversation) -> None:
        """Go on where another conversation ended: a reaction counts once."""
        self._reacted = former._reacted
        self.door.follow(former.door)

    def hear(self, message: ET.Element, *, late: bool) -> None:
        """Take one message of the stream. Never raises on what a peer wrote."""
        heard = inbound.chat(message)
        try:
            sender = compat.jid(heard.sender)
        except ValueError:
            return
        if isinstance(heard, Ignored) and heard.why not in {"error", *inbound.ANSWERABLE}:
            return
        person = self._house.access.person(sender)
        if isinstance(heard, Ignored) and heard.why == "error":
            if person is not None:
                self._house.alarms.bounced(sender, heard.id, inbound.condition(message))
            return
        if isinstance(heard, Received):
            if person is not None:
                self._house.alarms.received(sender, heard.to)
            return
        if isinstance(heard, Said) and self.door.claims(sender, heard, late=late):
            return
        if person is None:
            self._stranger(sender, heard)
            if isinstance(heard, Said) and not late:
                self.door.knocks(sender, heard)
            return
        if isinstance(heard, Reacted) and not self._wants_to_acknowledge(person, heard):
            return
        if self._execution.too_often(sender) or not self._execution.seen.first_time(str(sender.bare), heard.id):
            return
        if isinstance(heard, Said) and heard.receipt and heard.id:
            with suppress(LinkError):
                self._write(outbound.received(heard.sender, heard.id))
        if late and isinstance(heard, Said | Reacted):
            heard = Ignored(sender=heard.sender, id=heard.id, why="delayed")
        lane = self._lane(sender.bare)
        if lane is None or len(lane) >= MAX_WAITING:
            log.warning("%s speaks faster than it is answered; a message was left out", sender.bare)
            return
        lane.append((heard, self._house.clock.boottime_ns()))

    async def close(self) -> None:
        """Stop answering; what was being done is finished by its verb or cancelled."""
        await self.door.close()
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

    async def _answer_one(self, heard: Said | Reacted | Ignored, since_ns: int) -> None:
        if isinstance(heard, Said | Reacted) and self._house.clock.boottime_ns() - since_ns > LATE_AFTER_S * 1e9:
            heard = Ignored(sender=heard.sender, id=heard.id, why="delayed")  # behind a slow request
        sender = compat.jid(heard.sender)
        person = self._house.access.person(sender)  # rights may have changed since it was heard
        if person is None:
            return
        words = _words(heard)
        composing = asyncio.create_task(self._compose(heard.sender))
        try:
            reply = await self._answer(sender, person, heard, since_ns)
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            reply = refuse(INCIDENT, id=self._execution.incident(sender, words, error))
        finally:
            composing.cancel()
        if self._house.access.person(sender) is None:  # and while it was done
            return
        try:
            text = self._voice(person.lang).render(reply)
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            text = UNSAID.format(id=self._execution.incident(sender, words, error))
        with suppress(LinkError):  # nobody is there to be answered
            if reply.passing:
                said = f"{self._house.run}-code-{since_ns}"
                self._write(outbound.message(heard.sender, text, said, passing=True))
            else:
                self._send(sender, text)
            if isinstance(heard, Said) and heard.markable and heard.id:
                self._write(outbound.displayed(heard.sender, heard.id))

    async def _compose(self, sender: str) -> None:
        await self._house.clock.sleep(COMPOSING_AFTER_S)
        with suppress(LinkError):
            self._write(outbound.composing(sender))

    async def _answer(self, sender: Jid, person: Person, heard: Said | Reacted | Ignored, since_ns: int) -> Reply:
        if not isinstance(heard, Said):
            self._choices.forget(sender)
        if isinstance(heard, Ignored):
            secret = heard.why == "encrypted"
            stanza = digest(str(sender.bare), heard.id)  # who hears that it did nothing must not see it done later
            await self._execution.note(sender, "message", f"ignored: {heard.why}", encrypted=secret, stanza=stanza)
            return refuse(WHY[heard.why])
        if isinstance(heard, Reacted) or (heard.reply_to and has_seen(heard.text)):
            to = heard.to if isinstance(heard, Reacted) else heard.reply_to
            about = self._about(person, to)
            if about is not None:
                self._choices.forget(sender)
                self._reacted.append((person.jid, to))
                asked = Request(
                    sender=sender, verb="ack", argument=about[0], lang=person.lang, heard_ns=since_ns, stanza=heard.id,
                )
                return await self._acknowledge(asked, present=about[1], words=_words(heard))
        if isinstance(heard, Reacted):
            return refuse(EXPIRED)  # what it was about has gone while it waited
        if code := typed(heard.text):
            self._choices.forget(sender)
            request = Request(
                sender=sender, verb="", lang=person.lang, heard_ns=since_ns, stanza=heard.id, code=code,
            )
            return await self._execution.run(request, words="")
        meant, words = self._choices.understand(
            heard.text, sender=sender, person=person, channels=readable(sender, self._house), heard_ns=since_ns,
            now_ns=self._house.clock.boottime_ns(),
        )  # fmt: skip
        if isinstance(meant, Reply):
            return meant
        request = meant.request(sender, lang=person.lang, heard_ns=since_ns, stanza=heard.id)
        return await self._execution.run(request, words=words)

    async def _acknowledge(self, asked: Request, *, present: bool, words: str) -> Reply:
        alert = asked.argument
        if not present and self._house.alerts.state(alert).phase == "raised":
            return refuse(OLDER, alert=humane(alert))
        return await self._execution.run(asked, words=f"{words} (ack {alert})")

    def _about(self, person: Person, identity: str) -> tuple[str, bool] | None:
        """The alert that a message of ours was about and whether in its present raising, if they may read it."""
        about = self._house.alarms.answers(identity)
        if about is None or not person.reads(self._house.alerts.watched(PREFIX + about[0])):
            return None
        return about

    def _wants_to_acknowledge(self, person: Person, reacted: Reacted) -> bool:
        """Whether it is a new 👍 to an alert that waits; all other reactions are between people."""
        about = self._about(person, reacted.to)
        if about is None or not about[1] or self._house.alerts.state(about[0]).phase != "raised":
            return False
        return any(map(thumbs_up, reacted.emoji)) and (person.jid, reacted.to) not in self._reacted

    def _stranger(self, sender: Jid, heard: Said | Reacted | Ignored) -> None:
        why = heard.why if isinstance(heard, Ignored) else ""
        self._execution.stranger(sender, why or veiled(_words(heard)), encrypted=why == "encrypted")


def _words(heard: Said | Reacted | Ignored) -> str:
    """What was said, for the audit log."""
    if isinstance(heard, Reacted):
        return " ".join(heard.emoji) or "reaction"
    return heard.text if isinstance(heard, Said) else "message"
