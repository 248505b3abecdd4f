"""News as lines in a room (XEP-0045): done when the room reflected the line to us, so everybody in it has it.

Alerts are gathered with those of other nodes (`gathering`): also done is what another node's line names us with. What
is no alarm is said at the pace of the room, several sentences in one message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from knoop.alerts import PREFIX
from knoop.command import N_, Sentence
from knoop.errors import Refusal
from knoop.publishers import Partly, Voice
from knoop.record import Record
from knoop.room.gathering import Gathering, Key, Saying, Shown
from knoop.room.pace import Pace
from knoop.text import humane
from knoop.xmpp.rooms import Room
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock

LONGEST_LINE = 2000  # characters; a phone shows that, and servers pass it
SENTENCES = 10  # in one message
OWN_LINES = 3  # different alerts of one node that are a line each
ALARMS_EVERY_S = 2.0  # between messages with readings of class alarm that are no alerts: a bouncing contact
MUTED_S = 300.0

MANY: Mapping[tuple[str, str], str] = {
    ("raised", "info"): N_("Note {alert} at {count} nodes: {names}"),
    ("raised", "warning"): N_("Alert {alert} at {count} nodes: {names}"),
    ("raised", "critical"): N_("Critical alert {alert} at {count} nodes: {names}"),
    ("reminded", ""): N_("Still alert {alert} at {count} nodes: {names}"),
    ("acknowledged", ""): N_("{alert} acknowledged at {count} nodes: {names}"),
    ("cleared", ""): N_("{alert} is over at {count} nodes: {names}"),
}
OTHER = N_("{alert} at {count} nodes: {names}")
OWN: Mapping[str, str] = {
    "raised": N_("{count} alerts: {alerts}"),
    "acknowledged": N_("{count} alerts acknowledged: {alerts}"),
    "cleared": N_("{count} alerts are over: {alerts}"),
}


@dataclass(slots=True, kw_only=True)
class Place:
    """One stay in a room, as its publisher needs it.

    `taken` are keys of ours that another node's line said. `waiting` is called with those that are still to be said,
    for our presence. `severity` is that of an alert.
    """

    room: Room
    gathering: Gathering
    pace: Pace
    clock: Clock
    phrase: Callable[[Sentence], str]
    severity: Callable[[str], str]
    waiting: Callable[[Mapping[Key, Shown]], None]
    joined_ns: int
    taken: set[Key] = field(default_factory=set)


class RoomSink:
    """One stay; `settings` of `open` is its `Place`."""

    at_once = 50

    def __init__(self, place: Place, voice: Voice) -> None:
        self._place = place
        self._voice = voice
        self._alarms_ns = 0  # when the next message with readings of class alarm is due
        self._muted_ns = 0  # when to try again, should nobody tell us that we may speak

    async def send(self, records: Sequence[Record]) -> Partly:
        """Say what is due. Raises LinkError or Refusal."""
        place, now_ns = self._place, self._place.clock.boottime_ns()
        if place.room.muted and now_ns < self._muted_ns:  # the rows wait for somebody to give us voice
            return Partly(wait_s=(self._muted_ns - now_ns) / 1e9)
        alerts = [r for r in records if r.cls == "alarm" and r.channel.startswith(PREFIX)]
        alarms = [r for r in records if r.cls == "alarm" and not r.channel.startswith(PREFIX)]
        wait_s = (self._alarms_ns - now_ns) / 1e9
        try:
            if alarms and wait_s <= 0:
                self._alarms_ns = now_ns + round(ALARMS_EVERY_S * 1e9)
                return await self._sentences(alarms)
            if alerts:
                done = await self._alerts(alerts)
                return replace(done, wait_s=min(done.wait_s, wait_s)) if alarms else done
            return Partly(wait_s=wait_s) if alarms else await self._others(records)
        except Refusal:
            if place.room.muted:  # told by who watches the room
                self._muted_ns = place.clock.boottime_ns() + round(MUTED_S * 1e9)
                return Partly(wait_s=MUTED_S)
            raise

    async def _others(self, records: Sequence[Record]) -> Partly:
        pace, now_ns = self._place.pace, self._place.clock.boottime_ns()
        if now_ns < pace.free_ns or len(pace):  # an answer comes first: somebody waits for it
            return Partly(wait_s=max((pace.free_ns - now_ns) / 1e9, 0.5))
        pace.said(now_ns)
        return await self._sentences(records)

    async def _sentences(self, records: Sequence[Record]) -> Partly:
        """As many as go into one message."""
        some = records[:SENTENCES]
        text = "\n".join(self._voice.sentence(record, "") for record in some)
        await self._place.room.say(text[:LONGEST_LINE], some[0].identity)
        return Partly(records=some)

    async def _alerts(self, records: Sequence[Record]) -> Partly:
        place, latest = self._place, _latest(records)
        done = [key for key in latest if key in place.taken]
        place.taken.clear()
        self._wait(latest)
        sayings = () if done else place.gathering.due(place.clock.boottime_ns())
        if not done and not sayings:
            next_ns = place.gathering.next_ns() or 0
            return Partly(wait_s=(next_ns - place.clock.boottime_ns()) / 1e9)
        for text, keys, identity in self._lines(sayings, latest):
            await place.room.say(text, identity, {key: Shown() for key in keys})
        for saying in sayings:
            place.gathering.spoke(saying, place.clock.boottime_ns())
            done.append(saying.key)
        self._wait({key: record for key, record in latest.items() if key not in done})
        channels = {PREFIX + alert for alert, _ in done}
        return Partly(records=[record for record in records if record.channel in channels])

    def _wait(self, latest: Mapping[Key, Record]) -> None:
        self._place.gathering.wants({key: (self._since_ns(r), r.at_ns) for key, r in latest.items()})
        self._place.waiting({key: Shown(at_ns=record.at_ns) for key, record in latest.items()})

    def _since_ns(self, record: Record) -> int:
        ours = record.boot == self._place.clock.boot_id
        return max(record.boottime_ns, self._place.joined_ns) if ours else self._place.joined_ns

    def _lines(
        self, sayings: Sequence[Saying], latest: Mapping[Key, Record]
    ) -> Iterator[tuple[str, tuple[Key, ...], str]]:
        """The lines, what each is about, and its id."""
        alone = [saying.key for saying in sayings if not saying.others]
        for saying in sayings:
            if saying.others:
                for count, text in enumerate(self._many(saying)):
                    yield text, (saying.key,), latest[saying.key].identity + (f"-{count}" if count else "")
        often = Counter(change for _, change in alone) if len(alone) > OWN_LINES else Counter[str]()
        for change, count in often.items():
            if count > 1 and change in OWN:
                keys = tuple(key for key in alone if key[1] == change)
                names = ", ".join(humane(alert) for alert, _ in keys)
                text = self._place.phrase(Sentence(OWN[change], {"count": count, "alerts": "{names}"}))
                yield text.replace("{names}", names)[:LONGEST_LINE], keys, latest[keys[0]].identity
        for key in alone:
            if often[key[1]] <= 1 or key[1] not in OWN:
                yield self._voice.sentence(latest[key], ""), (key,), latest[key].identity

    def _many(self, saying: Saying) -> Iterator[str]:
        """Lines that name every node, as many as needed; the same words before the colon in each."""
        place, (alert, change) = self._place, saying.key
        message = MANY.get((change, place.severity(alert) if change == "raised" else ""), OTHER)
        names = sorted({place.room.nick, *saying.others})
        values = {"alert": humane(alert), "count": len(names), "names": "{names}"}
        line = place.phrase(Sentence(message, values))
        room = LONGEST_LINE - len(line)
        while names:
            some, size = 0, 0
            while some < len(names) and size + len(names[some]) + 2 <= room:
                size += len(names[some]) + 2
                some += 1
            some = max(some, 1)
            yield line.replace("{names}", ", ".join(names[:some]))
            names = names[some:]


def announced(key: Key, line: str, phrases: Iterable[Callable[[Sentence], str]]) -> bool:
    """Whether a line says this key for several nodes in the very words in which nodes do, in one of their languages.

    Whoever writes anything else about our alarm, and our name behind it, has not told the room what we have to say.
    """
    (alert, change), head = key, line.partition(": ")[0]
    messages = [message for (what, _), message in MANY.items() if what == change] or [OTHER]
    counts = [int(count) for count in re.findall(r"(?<![0-9])[0-9]{1,6}(?![0-9])", head)[-2:]]
    told = (
        Sentence(message, {"alert": humane(alert), "count": count, "names": ""})
        for message in messages for count in counts
    )  # fmt: skip
    return any(phrase(sentence).partition(": ")[0] == head for sentence in told for phrase in phrases)


def _latest(records: Sequence[Record]) -> dict[Key, Record]:
    """The last word on each alert, which says enough of what came before it; a reminder of news is the news."""
    last: dict[str, Record] = {}
    for record in records:
        before = last.get(record.channel)
        if before is None or record.value != "reminded" or before.value != "raised":
            last[record.channel] = record
    return {(channel.removeprefix(PREFIX), str(record.value)): record for channel, record in last.items()}


@asynccontextmanager
async def open(  # noqa: A001 -- the contract's name
    target: str, *, session: Session, voice: Voice, settings: object  # noqa: ARG001 -- the room has its session
) -> AsyncIterator[RoomSink]:
    """The room is joined by the agent, which also hears what is said in it."""
    assert isinstance(settings, Place)
    yield RoomSink(settings, voice)
