"""One room of node.toml for as long as the node runs: join, show how we are, answer, notice that we are out, return.

What keeps us out is said to the owners once, in a chat, and tried again with growing pauses. The room costs nobody
else anything: other sinks and rooms go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop import publishers
from knoop.command import N_, Sentence, Span, counted
from knoop.delivery import deliver
from knoop.errors import LinkError, Refusal
from knoop.execution import Execution
from knoop.health import Health
from knoop.household import Household
from knoop.jid import Jid
from knoop.outbox import Outbox
from knoop.publishers import Voice
from knoop.publishers.room import LONGEST_LINE, Place, announced
from knoop.room.gathering import Gathering, Key, Shown
from knoop.room.pace import Pace
from knoop.room.talk import RoomTalk
from knoop.text import languages
from knoop.together import together, woken
from knoop.xmpp import announce, inbound
from knoop.xmpp.rooms import Room, Why, exists
from knoop.xmpp.session import Session

log = logging.getLogger(__name__)

QUIET_S = 60.0  # without a stanza of the room: then we ask whether we are in (XEP-0410)
SHOWN_EVERY_S = 5.0  # presences cost the room the square of its occupants
SHOWN_SOONEST_S = 1.0  # the same where alerts changed
SHOWN_SOON_S = 0.2  # an alert, its row in the outbox and the end of another come together
UPTIME_S = 3600.0
STEADY_S = 60.0  # a stay of this length was a good one: what ends it is news again
QUICK_S = (1.0, 5.0)  # the room forgot us, or its service started again: everybody returns, but not at once
PAUSE_S = (30.0, 3600.0)  # what a person has to mend
GONE_S = 300.0  # how often we look whether somebody has made a destroyed room again
SPREAD = (0.75, 1.25)
MOST_NICKS = 10
MORE = 200  # characters for how many answers were left out
TRIES_OF_A_NICK = 2  # the first may meet our own ghost of a lost link

MENDED_BY_ITSELF: frozenset[Why] = frozenset({"out", "silent"})
# What owners are told, once; the log has the same in English.
TOLD: Mapping[Why, str] = {
    "kicked": N_("I was kicked out of the room {room}. I go back after a while; its moderators can say why."),
    "banned": N_("I am banned from the room {room}. Ask its owner to lift that, or take it out of node.toml."),
    "members": N_("The room {room} is for members. Ask its owner to make me one."),
    "password": N_("The room {room} wants another password. Set 'password' in its table of node.toml."),
    "destroyed": N_("The room {room} does not exist any more. Take it out of node.toml, or make it again."),
    "conflict": N_("My nick is taken in the room {room}, so I am {nick} there. Set another 'nick' in node.toml."),
    "missing": N_("The room {room} does not exist, and I may not make it. Make it, or correct its address."),
    "full": N_("The room {room} is full or does not take me now."),
    "refused": N_("The room {room} does not let me in. The log says why."),
}
MOVED = N_("The room {room} does not exist any more; its owner points to {other}. Put that into node.toml instead.")
MUTED = N_("I may not speak in the room {room}. Ask its moderators for voice; what I have to say there waits.")
ANONYMOUS = N_(
    "The room {room} hides real addresses, so I take no commands there. Its owner can show them to everybody."
)


class InRoom:
    """`stay` is as long as a session; `presence` and `message` get what comes from the room meanwhile.

    `tell_owners` says a sentence in their chats. `uniform(a, b)` is chance.
    """

    def __init__(
        self, jid: Jid, *, house: Household, execution: Execution, tell_owners: Callable[[Sentence], None],
        uniform: Callable[[float, float], float],
    ) -> None:  # fmt: skip
        self._jid = jid
        self._config = house.config.rooms[jid]
        self._house = house
        self._clock = house.clock
        self._tell_owners = tell_owners
        self._uniform = uniform
        self._alarms = "alarm" in self._config.classes
        self._room: Room | None = None
        self._place: Place | None = None
        self._pace = Pace()
        self._talk = RoomTalk(
            house, execution=execution, answer=self._answer, tells_alarms=self._alarms, uniform=uniform
        ) if self._config.commands else None  # fmt: skip
        self._sink = f"room:{jid}"
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._gathering = Gathering("")
        self._nick = self._config.nick or house.name
        self._conflicts = 0
        self._failures = 0
        self._destroyed = False
        self._said: set[str] = set()  # to the owners
        self._logged: set[str] = set()
        self._role = ""
        self._answers = 0
        self._heard_ns = 0
        self._shown: tuple[str, str, str] = ("", "", "")
        self._shown_ns = 0
        self._show_ns: int | None = None  # when the next presence is due
        self._shown_unsaid: frozenset[object] = frozenset()
        self._waiting: dict[Key, Shown] = {}

    async def stay(self, session: Session, *, outbox: Outbox, voice: Voice) -> None:
        """Be in the room for as long as the session lives, which raises LinkError."""
        self._wake = outbox.wake(self._sink)
        while True:
            if self._destroyed and not await exists(session, self._jid):  # going in would make it again
                await self._clock.sleep(GONE_S * self._uniform(*SPREAD))
                continue
            self._destroyed = False
            nick = self._nick if self._conflicts < TRIES_OF_A_NICK else f"{self._nick}_{self._conflicts}"
            room = self._room = Room(session, self._jid, nick, keeps_jids=self._config.commands)
            began_ns = self._clock.boottime_ns()
            try:
                await self._once(room, session, outbox, voice)
            except Refusal as refusal:
                steady = room.entered and self._clock.boottime_ns() - began_ns > STEADY_S * 1e9
                pause_s = self._out(room, refusal, steady=steady)
            finally:
                self._room = self._place = None
                if self._talk is not None:
                    await self._talk.close()
            await self._clock.sleep(pause_s)

    def presence(self, stanza: ET.Element) -> None:
        """A presence from the room or somebody in it."""
        room = self._room
        if room is None:
            return
        now_ns = self._heard_ns = self._clock.boottime_ns()
        initial = not room.joined
        room.handle(stanza)
        if self._role == "visitor" and room.role not in {"", "visitor"}:
            self._said.discard("muted")
            self._wake.set()  # what waited may be said
        self._role = room.role or self._role
        if not self._alarms:
            return
        nick = stanza.get("from", "").partition("/")[2]
        if stanza.get("type") == "unavailable":
            self._gathering.gone(nick)
        elif not stanza.get("type") and nick == room.nick:
            self._gathering.mirrors(announce.read(stanza), now_ns)
            self._wake.set()  # our turn may come sooner than thought
        elif not stanza.get("type"):
            self._gathering.shows(nick, announce.read(stanza), now_ns, initial=initial)

    def message(self, stanza: ET.Element, *, late: bool) -> None:
        """A message from the room or somebody in it."""
        room = self._room
        if room is None:
            return
        self._heard_ns = self._clock.boottime_ns()
        room.handle(stanza)
        if room.muted:
            self._say_once("muted", MUTED)
        if self._talk is None and not self._alarms:
            return
        heard = inbound.room(stanza, room.nick)
        if heard is None:
            return
        nick, said = heard
        if self._alarms and (about := announce.read(stanza)):
            self._hear_alarm(nick, about, said.text)
        elif self._talk is not None:
            self._talk.hear(room, nick, said, late=late)

    # One stay ---------------------------------------------------------------------------------------------------------

    async def _once(self, room: Room, session: Session, outbox: Outbox, voice: Voice) -> None:
        house, clock = self._house, self._clock
        self._gathering = Gathering(room.nick)
        self._waiting = {}
        status, show, alerts = self._how()
        await room.join(password=self._config.password, status=status, show=show, alerts=alerts)
        self._gathering.nick = room.nick
        self._joined(room)
        self._place = place = Place(
            room=room, gathering=self._gathering, pace=self._pace, clock=clock, phrase=house.voice("").sentence,
            severity=self._severity, waiting=self._wait, joined_ns=clock.boottime_ns(),
        )
        async with publishers.open_sink(self._sink, session=session, voice=voice, settings=place) as publisher:
            telling = deliver(self._sink, publisher, outbox=outbox, clock=clock, at_first=publisher.at_once)
            await together(telling, room.lost(), self._care(room))

    def _joined(self, room: Room) -> None:
        log.info("in room %s as %s", room.jid, room.nick)
        if room.nick != self._nick:
            self._say_once("conflict", TOLD["conflict"], nick=room.nick)
        if self._talk is not None and not room.shows_jids:
            self._say_once("anonymous", ANONYMOUS)

    async def _care(self, room: Room) -> None:
        """What time brings: answers in their turn, our presence, the question whether we are still in."""
        while True:
            now_ns = self._clock.boottime_ns()
            if (said := self._pace.take(now_ns)) is not None:
                self._speak(room, *said)
            if now_ns >= self._next_show_ns():
                self._present(room)
            if now_ns - self._heard_ns >= QUIET_S * 1e9:
                await room.ping()
                self._heard_ns = self._clock.boottime_ns()
            self._changed.clear()
            due_ns = min(self._next_show_ns(), self._heard_ns + round(QUIET_S * 1e9))
            if len(self._pace):
                due_ns = min(due_ns, self._pace.free_ns)
            await woken(self._changed, self._clock, (due_ns - self._clock.boottime_ns()) / 1e9)

    def _out(self, room: Room, refusal: Refusal, *, steady: bool) -> float:
        """Say why we are out, once, and return after how long to try again (s)."""
        why = room.why
        if steady:
            self._failures = 0
            self._said -= set(TOLD)
            self._logged.clear()
        if room.entered:
            self._conflicts = 0
        self._failures += 1
        if why not in self._logged:
            log.warning("%s; trying again by and by", refusal)
            self._logged.add(why)
        if why == "conflict":
            self._conflicts += 1
            if self._conflicts < MOST_NICKS:
                return self._uniform(*QUICK_S)
        if why in MENDED_BY_ITSELF:
            return min(self._uniform(*QUICK_S) * 2.0 ** min(self._failures - 1, 12), PAUSE_S[1])
        self._say_once(why, MOVED if room.alternate else TOLD[why], nick=room.nick, other=room.alternate)
        self._destroyed = why == "destroyed"
        return min(PAUSE_S[0] * 2.0 ** min(self._failures - 1, 12), PAUSE_S[1]) * self._uniform(*SPREAD)

    def _say_once(self, what: str, message: str, **values: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._tell_owners(Sentence(message, {"room": str(self._jid), **values}))

    # Saying and showing -----------------------------------------------------------------------------------------------

    def _answer(self, text: str) -> None:
        self._pace.add(text)
        self._changed.set()

    def _speak(self, room: Room, text: str, dropped: int) -> None:
        if dropped:
            more = counted(
                "{count} answer was left out; ask more slowly.", "{count} answers were left out; ask more slowly.",
                dropped,
            )  # fmt: skip
            text = f"{text[:LONGEST_LINE]}\n{self._house.voice('').sentence(more)}"
        self._answers += 1
        with suppress(LinkError):  # the link may end in this very instant
            room.tell(text[: LONGEST_LINE + MORE], f"{self._house.run}-{self._jid.local}-{self._answers}")

    def _hear_alarm(self, nick: str, about: Mapping[Key, Shown], text: str) -> None:
        heard = self._gathering.hears(nick, about, text, self._clock.boottime_ns())
        phrases = [self._house.voice(lang).sentence for lang in languages()] if heard else []
        ours = {key for key in heard if announced(key, text, phrases)}
        if ours and self._place is not None:
            self._place.taken |= ours
            self._wake.set()

    def _wait(self, keys: Mapping[Key, Shown]) -> None:
        """What is still to be said here: more of it is shown at once, that it was said with the next presence."""
        more = keys.keys() - self._waiting.keys()
        self._waiting = dict(keys)
        if more:
            self.show()

    def show(self) -> None:
        """Something changed that our presence shows: tell the room soon."""
        gap_s = SHOWN_EVERY_S if self._unsaid() == self._shown_unsaid else SHOWN_SOONEST_S
        soon_ns = self._clock.boottime_ns() + round(SHOWN_SOON_S * 1e9)
        due_ns = max(soon_ns, self._shown_ns + round(gap_s * 1e9))
        if self._show_ns is None or due_ns < self._show_ns:
            self._show_ns = due_ns
            self._changed.set()

    def _next_show_ns(self) -> int:
        hourly_ns = self._shown_ns + round(UPTIME_S * 1e9)
        return hourly_ns if self._show_ns is None else min(self._show_ns, hourly_ns)

    def _present(self, room: Room) -> None:
        before = self._shown
        status, show, alerts = self._how()
        if self._shown != before:
            with suppress(LinkError):
                room.show(status, show, alerts)

    def _how(self) -> tuple[str, str, ET.Element]:
        """Our presence now, which is taken as shown."""
        health = self._house.health()
        status = self._house.voice("").sentence(_status(health))
        shown = dict(self._waiting)
        if self._alarms:
            for state in self._house.alerts.raised():
                if state.phase == "raised":
                    shown.setdefault((state.name, "raised"), Shown(at_ns=state.at_ns, said=True))
        else:
            shown.clear()
        alerts = announce.element(shown, {name: self._severity(name) for name, _ in shown})
        self._shown = (status, health.show, ET.tostring(alerts, "unicode"))
        self._shown_ns, self._show_ns, self._shown_unsaid = self._clock.boottime_ns(), None, self._unsaid()
        return status, health.show, alerts

    def _unsaid(self) -> frozenset[object]:
        """What others must hear of at once: the alerts that wait for a person, and those that wait to be said."""
        raised = (state.name for state in self._house.alerts.raised() if state.phase == "raised")
        return frozenset((*raised, *self._waiting))

    def _severity(self, alert: str) -> str:
        rule = self._house.alerts.rules.get(alert)
        return rule.severity if rule is not None else "warning"


def _status(health: Health) -> Sentence:
    """`2 alarms · 3 d up · 1.0`; in whole days or hours, so that it stays true for a while."""
    hours, days = int(health.uptime_s // 3600), int(health.uptime_s // 86400)
    up = Sentence(N_("{span} up") if hours else N_("just started"), {"span": Span(86400 * days or 3600 * hours)})
    values = {"up": up, "version": health.version}
    if not health.alarms:
        return Sentence("{up} · {version}", values)
    alarms = counted("{count} alarm", "{count} alarms", len(health.alarms))
    return Sentence("{alarms} · {up} · {version}", {"alarms": alarms, **values})
