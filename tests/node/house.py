"""A house for the tests: the real rights, alerts, store, state, parser and sentences over a small board in memory.

The greenhouse of the documentation: Anna owns it, Bram operates, Cleo looks, Dirk may only see the door.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path

from knoop.access import Access, Person, Role
from knoop.alarms import Alarms
from knoop.alerts import Alerts, Rule, Transition
from knoop.beside import Found
from knoop.claiming import Claims
from knoop.codes import typed
from knoop.command import Reply, Request, not_yours, refuse
from knoop.commands import table
from knoop.condition import Condition
from knoop.confirming import NO_CODE, Codes
from knoop.health import Health, SafeMode
from knoop.jid import Jid
from knoop.knocks import Knocks
from knoop.parse.choices import Choices
from knoop.record import Record
from knoop.state import State
from knoop.store import Store
from knoop.telling import Telling
from knoop.text import Voice
from knoop.wall import Wall
from knoop_hw.clock import FakeClock
from knoop_hw.errors import SetRefused
from knoop_hw.messages import LATE_NS
from knoop_hw.model import Channel, Quality, Value

ANNA = Jid("anna", "example.org", "phone")
BRAM = Jid("bram", "example.org", "laptop")
CLEO = Jid("cleo", "example.org", "tablet")
DIRK = Jid("dirk", "example.org", "watch")
STRANGER = Jid("mallory", "example.net", "x")

PEOPLE = (
    Person(jid=ANNA.bare, role=Role.OWNER, name="Anna"),
    Person(jid=BRAM.bare, role=Role.OPERATOR, name="Bram", lang="nl"),
    Person(jid=CLEO.bare, role=Role.VIEWER),
    Person(jid=DIRK.bare, role=Role.VIEWER, only=("door",)),
)
CHANNELS = {
    channel.name: channel
    for channel in (
        Channel(
            name="door", kind="contact", type="boolean", cls="event", label="Front door", aliases=("voordeur",),
        ),
        Channel(name="button", kind="button", type="text", cls="event"),
        Channel(name="rain", kind="counter", type="number", unit="mm", digits=1),
        Channel(name="lamp", kind="switch", type="boolean", cls="event", writable=True),
        Channel(name="pump", kind="pwm", type="number", unit="%", digits=0, minimum=0, maximum=100, writable=True),
        Channel(name="relay.one", kind="switch", type="boolean", label="Café lights", writable=True),
        Channel(
            name="relay.two", kind="switch", type="boolean", label="Heating", aliases=("verwarming", "kachel"),
            writable=True,
        ),
        Channel(name="gate", kind="switch", type="boolean", writable=True, confirm=True),
        Channel(name="air.temperature", kind="sensor", type="number", unit="°C", digits=1),
        Channel(name="air.humidity", kind="sensor", type="number", unit="%", digits=0),
        Channel(name="cpu.temperature", kind="sensor", type="number", unit="°C", digits=0),
        Channel(name="mode", kind="sensor", type="text"),
    )
}
RULES = (
    Rule(name="frost", when=Condition.parse("air.temperature < 0"), clear=Condition.parse("air.temperature > 1")),
    Rule(name="door_open", when=Condition.parse("door == on"), for_s=300, severity="critical"),
)


class Board:
    """Outputs in memory: they keep what they are set to, a stuck one does not move, an interlocked one refuses."""

    def __init__(self) -> None:
        self.levels: dict[str, bool | float] = {
            "lamp": False, "pump": 0.0, "relay.one": False, "relay.two": False, "gate": False,
        }  # fmt: skip
        self.moves: list[tuple[str, bool | float, float | None]] = []
        self.stuck: set[str] = set()
        self.dead: set[str] = set()
        self.gone = ""  # the reason of a hardware half that is: `away` or `unsure`

    def set(self, channel: str, value: bool | float, for_s: float | None) -> bool | float:
        if self.gone:
            raise SetRefused(self.gone, f"{channel}: the hardware half is away")
        if channel in self.dead:
            raise SetRefused("device", f"{channel}: GPIO17 is gone (/dev/gpiochip0: No such device)")
        if channel == "relay.two" and value and self.levels["relay.one"]:
            raise SetRefused("interlock", "relay.one is on")
        self.moves.append((channel, value, for_s))
        if channel not in self.stuck:
            self.levels[channel] = value
        return self.levels[channel]


class Router:
    """Keeps what the alarms say."""

    def __init__(self) -> None:
        self.went: list[Record] = []
        self.store: Store | None = None

    def put(self, record: Record) -> None:
        self.went.append(record)

    async def date(self, boot: str, offset_ns: int) -> int:
        return await self.store.correct(boot, offset_ns) if self.store else 0


@dataclass
class GreenHouse:
    """A `House` (knoop.command) whose every part but the board, the server and the clock is the real one."""

    store: Store
    state: State
    name: str = "greenhouse"
    label: str = "Greenhouse"
    own: Jid = field(default_factory=lambda: Jid("greenhouse", "example.org"))
    run: str = "k3v9q2xa"
    source: str = "https://example.org/knoop"
    clock: FakeClock = field(default_factory=lambda: FakeClock(boottime_ns=400_000_000_000_000))
    access: Access = field(default_factory=lambda: Access(PEOPLE))
    alerts: Alerts = field(default_factory=lambda: Alerts(RULES))
    board: Board = field(default_factory=Board)
    channels: Mapping[str, Channel] = field(default_factory=lambda: CHANNELS)
    latest: dict[str, Record] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    watches: dict[Jid, tuple[tuple[str, ...], float]] = field(default_factory=dict)
    link_up: bool = True
    away_s: float | None = None
    safe: SafeMode | None = None
    found: list[Found] = field(default_factory=list)
    router: Router = field(default_factory=Router)
    choices: Choices = field(default_factory=lambda: Choices(verbs=table()))

    def __post_init__(self) -> None:
        self.wall, self.router.store = Wall(self.clock), self.store
        self.alarms, self.telling = Alarms(self), Telling(self)
        self.codes = Codes(self, below=lambda _most: 482_160)
        self.claims = Claims(self.state)
        self.knocks = Knocks(self, wanted=True, session=lambda: None)

    def jid(self, text: str) -> Jid:
        bare, _, resource = text.partition("/")
        local, at, domain = bare.rpartition("@")
        if not domain or " " in text or (at and not local) or "@" in local:
            raise ValueError(f"{text!r} is no address")
        return Jid(local.lower(), domain.lower(), resource)

    @property
    def link(self) -> tuple[bool, int]:
        return self.link_up, 0

    def health(self) -> Health:
        raised = self.alerts.raised()
        return Health(
            link_up=self.link_up,
            link_since_s=7300.0,
            away_s=self.away_s,
            safe=self.safe,
            uptime_s=3 * 86400.0 + 4 * 3600.0,
            alarms=tuple(state.name for state in raised),
            unacknowledged=sum(state.phase == "raised" for state in raised),
            faulty=tuple(name for name, record in self.latest.items() if record.value is None),
            version="0.1.0",
        )

    def synced(self) -> bool:
        return self.wall.synced()

    @property
    def now_ns(self) -> int | None:
        return self.clock.time_ns() if self.synced() else None

    async def set(self, channel: str, value: bool | float, *, for_s: float | None, by: Jid, heard_ns: int) -> Record:
        if abs(self.clock.boottime_ns() - heard_ns) > LATE_NS:
            raise SetRefused("late", f"{channel}: asked too long ago")
        return await self.report(channel, self.board.set(channel, value, for_s))

    async def acknowledge(self, alert: str, *, by: Jid) -> None:
        now_ns = self.clock.boottime_ns()
        self.changed(self.alerts.acknowledge(alert, by=self.access.title(by), now_ns=now_ns, at_ns=self.now_ns))

    def watch(self, watcher: Jid, channels: Sequence[str], *, for_s: float) -> None:
        self.watches[watcher] = (tuple(channels), for_s)

    def unwatch(self, watcher: Jid) -> int:
        return len(self.watches.pop(watcher, ((), 0))[0])

    async def rights_changed(self) -> None:
        grants = await self.state.grants()
        self.access = self.access.with_grants(
            Person(jid=self.jid(grant.jid), role=Role.parse(grant.role), only=grant.only) for grant in grants
        )

    async def recall(self) -> None:
        await self.rights_changed()
        await self.telling.restore(self.state)
        await self.alarms.recall(self.state)

    async def bench(self) -> Mapping[str, float]:
        return {"stanzas_per_s": 812.34, "cpu_us_per_reading": 96.7, "pss_mb": 31.25, "ping_ms": 1.83}

    async def examined(self) -> list[Found]:
        return self.found

    async def report(self, channel: str, value: Value, quality: Quality = "ok") -> Record:
        """A reading of a channel, now: stored, judged, and the latest."""
        before = self.latest.get(channel)
        described = self.channels[channel]
        record = Record(
            run="b0a2dk3x",
            channel=channel,
            seq=before.seq + 1 if before else 1,
            cls=described.cls,
            type=described.type,
            value=value,
            unit=described.unit,
            quality=quality,
            boot=self.clock.boot_id,
            boottime_ns=self.clock.boottime_ns(),
            at_ns=self.clock.time_ns(),
        )
        self.latest[channel] = record
        await self.store.add([(record, ())])
        for change in self.alerts.feed(record):
            self.changed(change)
        return record

    def changed(self, change: Transition) -> None:
        self.transitions.append(change)
        self.alarms.say(change)

    def alert_record(self, change: Transition) -> Record:
        """The reading that came of a transition."""
        return next(r for r in reversed(self.router.went) if (r.channel, r.value) == (change.channel, change.change))

    def voice(self, lang: str = "en") -> Voice:
        return Voice(lang=lang, channels=self.channels, now_ns=self.clock.time_ns(), zone=UTC)

    async def hear(self, who: Jid, text: str) -> Reply | None:
        """What the agent does with a fresh message, without the audit: None is silence."""
        person = self.access.person(who)
        if person is None:
            return None
        verbs = table()
        mine = {n: c for n, c in self.channels.items() if person.reads(self.alerts.watched(n))}
        now_ns = self.clock.boottime_ns()
        if code := typed(text):
            wish = await self.codes.redeem(Request(sender=who, verb="", lang=person.lang, heard_ns=now_ns, code=code))
            return refuse(NO_CODE) if wish is None else await verbs[wish.verb].run(wish, self)
        meant, _ = self.choices.understand(
            text, sender=who, person=person, channels=mine, heard_ns=now_ns, now_ns=now_ns
        )
        if isinstance(meant, Reply):
            return meant
        command = verbs[meant.verb]
        if person.role < command.role:
            return not_yours(command)
        request = meant.request(who, lang=person.lang, heard_ns=now_ns)
        return await self.codes.ask(request, await command.run(request, self))

    async def ask(self, who: Jid, text: str, lang: str = "en") -> str:
        """The answer to a message as the person reads it; nothing for silence."""
        reply = await self.hear(who, text)
        return "" if reply is None else self.voice(lang).render(reply)


@asynccontextmanager
async def greenhouse(folder: Path, *, readings: bool = True) -> AsyncIterator[GreenHouse]:
    """An open house, with a reading of everything unless told otherwise."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(folder / "readings.db"))
        state = await stack.enter_async_context(State.open(folder / "state.db"))
        house = GreenHouse(store, state)
        if readings:
            for channel, value in (
                ("door", False), ("button", "click"), ("rain", 12.4), ("lamp", False), ("pump", 0.0),
                ("relay.one", False), ("relay.two", False), ("gate", False), ("air.temperature", 21.4),
                ("air.humidity", 61.0), ("cpu.temperature", 48.3), ("mode", "home"),
            ):  # fmt: skip
                await house.report(channel, value)
        yield house


def narrowed(channels: Iterable[str]) -> dict[str, Channel]:
    """Some of the channels."""
    return {name: CHANNELS[name] for name in channels}


def labelled(name: str, label: str) -> Channel:
    """One of the channels under another label."""
    return replace(CHANNELS[name], label=label)
