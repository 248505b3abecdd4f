"""From a line in a room to an answer there: is it for us, who spoke, may they, and one voice among many.

Rights are those of the real address that a non-anonymous room shows. Whoever has none is met with silence; so is what
is not plainly for us. What is asked of all nodes moves no output, and is answered by one short line each, spread over
a time that grows with the room.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from knoop import parse
from knoop.command import N_, Command, Reply, Request, readable, refuse
from knoop.execution import EXPIRED, Execution
from knoop.household import Household
from knoop.jid import Jid
from knoop.room.addressed import Addressed, addressed
from knoop.words import fold
from knoop.xmpp.fresh import LATE_AFTER_S, digest
from knoop.xmpp.inbound import Said
from knoop.xmpp.rooms import Room

log = logging.getLogger(__name__)

MOST_WAITING = 10  # requests of one room; who asks faster asks again
JITTER_S = 0.25  # an occupant: so many nodes may answer all, and four lines a second are still seen as a list
LEAST_JITTER_S, MOST_JITTER_S = 3.0, 30.0
LONGEST_ANSWER = 300  # characters, of one node among many
TOLD = frozenset({"ack"})  # the room hears of it as an alarm's line

NOT_HERE = N_("Ask me that in a chat of your own: the answer is not for everybody here.")
NICK_ONLY = N_("I did nothing: in a room I move outputs only when called by my nick, like “{nick}: {text}”.")
NOT_FROM_A_ROOM = N_("I did nothing: {channel} is never set from a room. Ask me in a chat of your own.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    sender: Jid
    id: str
    called: Addressed
    words: str
    room: str
    late: bool
    nick: str
    occupants: int
    at_ns: int


class RoomTalk:
    """Hears one room with `commands = true`; `answer(text)` says something there in its turn.

    `tells_alarms`: the room is told of alarms anyway. `uniform(a, b)` is chance.
    """

    def __init__(
        self, house: Household, *, execution: Execution, answer: Callable[[str], None], tells_alarms: bool,
        uniform: Callable[[float, float], float],
    ) -> None:  # fmt: skip
        self._house = house
        self._execution = execution
        self._answer = answer
        self._tells_alarms = tells_alarms
        self._uniform = uniform
        self._waiting: deque[_Asked] = deque()
        self._task: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._round_ns = 0  # until then a round of all nodes' answers is under way
        verbs = execution.verbs.values()
        by_name = [command for command in verbs if command.verb in {"ack", "silence"}]
        self._naming = frozenset(word for command in by_name for word in (command.verb, *command.aliases))
        calling = [command for command in verbs if command.verb == "roll"]
        self._calling = frozenset(word for command in calling for word in (command.verb, *command.aliases))

    def hear(self, room: Room, nick: str, said: Said, *, late: bool) -> None:
        """Take one live line of somebody else. Never raises on what they wrote."""
        if not room.shows_jids:
            return
        occupant = room.occupants.get(nick)
        sender = occupant.jid if occupant is not None else None
        known = sender is not None and self._house.access.person(sender) is not None
        if not known and not self._execution.notes_strangers():
            return
        names = {room.nick, self._house.name, self._house.label} - {""}
        called = addressed(said.text, names=names, naming=self._naming, calling=self._calling)
        if called is None:
            return
        if not known or sender is None:
            self._execution.stranger(sender or room.occupant(nick), said.text, via=f"room {room.jid}")
            return
        if called.name and any(fold(other) == called.name for other in room.occupants):
            return  # somebody else has that nick: it is their name
        if self._execution.too_often(sender) or not self._execution.seen.first_time(str(sender.bare), said.id):
            return
        if len(self._waiting) >= MOST_WAITING:
            log.warning("%s: more is asked than answered; a line was left out", room.jid)
            return
        self._waiting.append(
            _Asked(
                sender=sender, id=said.id, called=called, words=said.text, room=str(room.jid), late=late,
                nick=room.nick, occupants=len(room.occupants) + 1, at_ns=self._house.clock.boottime_ns(),
            )
        )
        if self._task is None:
            self._task = asyncio.create_task(self._answer_all())

    async def close(self) -> None:
        """Forget what was asked."""
        tasks = [*self._later, *([self._task] if self._task else [])]
        self._waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None  # one that was cancelled before it began could not say so itself

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                asked = self._waiting.popleft()
                try:
                    await self._answer_one(asked)
                except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
                    self._execution.incident(asked.sender, asked.words, error, via=f"room {asked.room}")
        finally:
            self._task = None

    async def _answer_one(self, asked: _Asked) -> None:
        everybody = asked.called.whom == "all"
        now_ns = self._house.clock.boottime_ns()
        reply, verb = await self._reply(asked, late=asked.late or now_ns - asked.at_ns > LATE_AFTER_S * 1e9)
        if reply is None or (everybody and not reply.ok) or (reply.ok and verb in TOLD and self._tells_alarms):
            return
        text = self._house.voice("").render(reply)
        if not everybody:
            self._answer(text)
        elif now_ns >= self._round_ns:
            span_s = min(max(JITTER_S * asked.occupants, LEAST_JITTER_S), MOST_JITTER_S)
            self._round_ns = now_ns + round(span_s * 1e9)
            task = asyncio.create_task(self._after(self._uniform(0, span_s), " ".join(text.split())[:LONGEST_ANSWER]))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _after(self, seconds: float, text: str) -> None:
        await self._house.clock.sleep(seconds)
        self._answer(text)

    async def _reply(self, asked: _Asked, *, late: bool) -> tuple[Reply | None, str]:
        """What the verb answers, None for silence; and which verb it was."""
        house, called = self._house, asked.called
        if house.access.person(asked.sender) is None:  # rights may have changed since it was heard
            return None, ""
        if late:
            stanza = digest(str(asked.sender.bare), asked.id)
            await self._execution.note(
                asked.sender, "message", "ignored: delayed", via=f"room {asked.room}", stanza=stanza
            )
            return refuse(EXPIRED), ""
        intent = parse.parse(called.text, channels=readable(asked.sender, house), verbs=self._execution.verbs)
        if isinstance(intent, Reply):
            return intent, ""
        command = self._execution.verbs[intent.verb]
        lang = house.voice("").lang
        request = intent.request(asked.sender, lang=lang, via="room", heard_ns=asked.at_ns, stanza=asked.id)
        request = replace(request, room=asked.room)
        refusal = self._not_here(command, request, asked)
        if refusal is not None:
            return refusal, intent.verb
        return await self._execution.run(request, words=asked.words), intent.verb

    def _not_here(self, command: Command, request: Request, asked: _Asked) -> Reply | None:
        """Why this verb is not run in a room, or not so; asked of all nodes a refusal is silence."""
        if not command.rooms or (asked.called.whom == "all" and command.rooms != "all"):
            return refuse(NOT_HERE)
        if command.takes != "value":
            return None
        if asked.called.name != fold(asked.nick):  # a label or name can be another node's, too; a nick cannot
            return refuse(NICK_ONLY, nick=asked.nick, text=asked.called.text)
        guarded = next((c for name in request.channels if (c := self._house.channels[name]).confirm), None)
        return refuse(NOT_FROM_A_ROOM, channel=guarded) if guarded is not None else None
