"""The house that verbs live in: channels, people, rights, and what may be asked of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from knoop import __version__
from knoop.access import EVERYBODY, Access, Person, Role
from knoop.alarms import Alarms
from knoop.alerts import PREFIX, Alerts, Transition
from knoop.bench import bench
from knoop.beside import Found, machine
from knoop.board import BoardClient
from knoop.claiming import Claims
from knoop.config import Config
from knoop.disk import CHANNELS, STORAGE
from knoop.glance import glance
from knoop.health import LOSING_S, Health
from knoop.jid import Jid
from knoop.knocks import Knocks
from knoop.record import Record
from knoop.router import Router
from knoop.state import ANSWER_S, State
from knoop.store import Store
from knoop.telling import Telling
from knoop.text import Voice
from knoop.timekeeping import Timekeeping
from knoop.wall import Wall
from knoop.watching import Watching
from knoop.xmpp import compat
from knoop.xmpp.admission import Admission
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock
from knoop_hw.model import Channel

DEVICES = ("devices", "lines")  # the checks of `knoop doctor` that only who opens devices can make
WAITED = 5  # seconds in which a reading is on its way; what a server has not taken by then waits


class Household:
    """`command.House`. `changed` is called for each transition of an alert, `rights` when rights changed."""

    def __init__(
        self, config: Config, *, run: str, clock: Clock, store: Store, state: State, board: BoardClient,
        changed: Callable[[Transition], None], rights: Callable[[], None], session: Callable[[], Session | None],
    ) -> None:  # fmt: skip
        self.config = config
        self.name = config.node.name
        self.label = config.node.label
        self.own = config.jid.bare
        self.run = run
        self.clock = clock
        self.wall = Wall(clock)
        self.timekeeping = Timekeeping(self, session=session)
        self.store = store
        self.state = state
        self.claims = Claims(state)
        self.knocks = Knocks(self, wanted=config.node.strangers == "ask", session=session)
        self.access = Access(config.people)
        self.alerts = Alerts(config.rules)
        self.alarms = Alarms(self)
        self.admission = Admission(
            own=config.jid, rooms=config.rooms, service=config.publish.service, access=lambda: self.access, clock=clock
        )
        self.telling = Telling(self)
        self.watching = Watching(self, session=session)
        self.router: Router | None = None
        self.link: tuple[bool, int] = (False, clock.boottime_ns())
        self._waiting: deque[int] = deque(maxlen=WAITED)
        self._lost: tuple[int, int | None] = (-1, None)  # how many, -1 before the first look; when it last grew
        self._board = board
        self._changed = changed
        self._rights = rights
        self._routing: asyncio.Task[None] | None = None
        self._examining: asyncio.Task[list[Found]] | None = None
        self._started_ns = clock.boottime_ns()

    def follow(self, former: Household) -> None:
        """Go on where the house of another configuration ended."""
        self.wall.follow(former.wall)
        self.admission.follow(former.admission)
        self.watching.follow(former.watching)
        self.knocks.follow(former.knocks)
        self.telling.follow(former.telling)
        self._waiting, self._lost = former._waiting, former._lost
        self._started_ns = former._started_ns
        if self.config.rules == former.config.rules:
            self.alerts = former.alerts  # with what is pending: somebody watched in between
        else:
            self.alerts.restore(former.alerts.snapshot())
        self.alarms.follow(former.alarms)

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Every channel with a value, by name: the board's, then our own."""
        network = self.config.network
        own = (*([network.channel] if network else []), *CHANNELS)
        return {**self._board.channels, **{channel.name: channel for channel in own}}

    @property
    def all_channels(self) -> tuple[Channel, ...]:
        """The board's channels and our own, as machines see them: `alert.NAME` says raised, acknowledged, cleared."""
        own = (Channel(name=PREFIX + name, kind="sensor", type="text", cls="alarm") for name in self.alerts.rules)
        return (*self.channels.values(), *own)

    @property
    def source(self) -> str:
        """Where the source of what runs here is (AGPL-3.0 §13): what its distributor named in the package."""
        from importlib.metadata import metadata  # noqa: PLC0415 -- for one verb only

        urls = metadata("knoop").get_all("Project-URL") or []
        named = [url.partition(",")[2].strip() for url in urls if url.lower().startswith(("source", "repository"))]
        return named[0] if named else "ask an owner of this node, who owes you a copy"

    @property
    def latest(self) -> Mapping[str, Record]:
        """The last record of each channel that has one."""
        return self.router.latest if self.router else {}

    def jid(self, text: str) -> Jid:
        """The address that `text` means, prepared; raises ValueError."""
        return compat.jid(text)

    def health(self) -> Health:
        """How the node is, now."""
        now_ns, raised = self.clock.boottime_ns(), self.alerts.raised()
        link_up, link_since_ns = self.link
        away_ns = self._board.away_since_ns
        dropped = sum(self.router.dropped.values()) if self.router else 0
        return Health(
            link_up=link_up,
            link_since_s=(now_ns - link_since_ns) / 1e9,
            uptime_s=(now_ns - self._started_ns) / 1e9,
            alarms=tuple(alert.name for alert in raised),
            unacknowledged=sum(alert.phase == "raised" for alert in raised),
            faulty=tuple(n for n, r in self.latest.items() if r.value is None and n in self.channels),
            backlog=self._backlog(link_up),
            dropped=dropped,
            losing=self._losing(dropped, now_ns),
            storage=str(disk.value) if (disk := self.latest.get(STORAGE)) else "",
            away_s=None if away_ns is None else (now_ns - away_ns) / 1e9,
            version=__version__,
        )

    def glance(self, health: Health) -> str:
        """The sentence of our presence, in the node's language, or ''."""
        sentence = glance(health)
        return self.voice("").sentence(sentence) if sentence else ""

    def _losing(self, dropped: int, now_ns: int) -> bool:
        """Whether one was lost lately, as far as this agent has seen it grow."""
        known, grew_ns = self._lost
        if dropped != known:
            grew_ns = now_ns if dropped > known >= 0 else grew_ns
            self._lost = (dropped, grew_ns)
        return grew_ns is not None and now_ns - grew_ns < LOSING_S * 1e9

    def waits(self, count: int) -> None:
        """So many readings wait to be sent; is told every second."""
        self._waiting.append(count)

    def _backlog(self, link_up: bool) -> int:
        """How many wait that should not: with a link what comes every second is on its way, and no news."""
        if not link_up:
            return self._waiting[-1] if self._waiting else 0
        return min(self._waiting) if len(self._waiting) == WAITED else 0

    async def set(self, channel: str, value: bool | float, *, for_s: float | None, by: Jid, heard_ns: int) -> Record:
        """Move an output and return the level read back; raises knoop_hw.errors.SetRefused."""
        self.telling.did(by, channel)
        return await self._board.set(channel, value, for_s=for_s, by=by, asked_ns=heard_ns)

    async def acknowledge(self, alert: str, *, by: Jid) -> None:
        """Say to everybody who was told of `alert` that a person has seen it."""
        self.telling.did(by, PREFIX + alert)
        now_ns = self.clock.boottime_ns()
        self._changed(self.alerts.acknowledge(alert, by=self.access.title(by), now_ns=now_ns, at_ns=self.now_ns))

    def watch(self, watcher: Jid, channels: Sequence[str], *, for_s: float) -> None:
        """Send changes of `channels` to this chat for a while; replaces an earlier watch of the same chat."""
        self.watching.start(watcher, channels, for_s=for_s)

    def unwatch(self, watcher: Jid) -> int:
        """End the watch of this chat; returns how many channels it had."""
        return self.watching.stop(watcher)

    async def rights_changed(self) -> None:
        """Let whitelist, presence, routes and watches follow the rights at once."""
        self.access = self.access.with_grants(
            Person(jid=compat.jid(grant.jid), role=Role.parse(grant.role), only=grant.only)
            for grant in await self.state.grants()
        )
        self.watching.follow_rights()
        self._rights()
        if self.router:  # which lets nothing more go to whom it may not at once, and then asks a disk that may hang
            self._routing = asyncio.create_task(self.router.route(self.telling.routes()))
            await asyncio.wait((self._routing,), timeout=ANSWER_S)
            if self._routing.done():
                self._routing.result()

    async def recall(self) -> None:
        """Know anew what the disk has of rights, quiet times and silences. Raises StoreError."""
        await self.rights_changed()
        await self.telling.restore(self.state)
        await self.alarms.recall(self.state)

    async def bench(self) -> Mapping[str, float]:
        """Measure this node on this board, with a login of its own beside ours."""
        return await bench(self.config.file)

    async def examined(self) -> list[Found]:
        """What a look at this machine finds; devices are another half's to see where that is another process."""
        if self._examining is None or self._examining.done():  # whoever asks meanwhile gets the same: each costs 30 MB
            self._examining = asyncio.create_task(machine(self.config.file))
        found = await asyncio.shield(self._examining)
        return [one for one in found if not (self._board.apart and one.check in DEVICES)]

    @property
    def now_ns(self) -> int | None:
        """UTC nanoseconds since 1970, None while the clock cannot be trusted."""
        return self.clock.time_ns() if self.synced() else None

    def synced(self) -> bool:
        """Whether the wall clock is right, as far as anybody here can tell."""
        return self.wall.synced()

    def voice(self, lang: str) -> Voice:
        """How to speak now to somebody of this language, '' for the node's own."""
        return Voice(
            lang=lang or self.config.node.lang, channels=self.channels, now_ns=self.clock.time_ns(),
            boot=self.clock.boot_id, boottime_ns=self.clock.boottime_ns(),
        )  # fmt: skip

    def sentence(self, record: Record, lang: str) -> str:
        """What the node says by itself about one record."""
        return self.voice(lang).event(record, self.alerts)

    def personal(self, who: str, record: Record, lang: str) -> str:
        """The same to this bare JID, who may hear of an alert for the first time or again."""
        return self.voice(lang).event(record, self.alerts, self.alarms.calls.hearing(who, record))

    def people(self) -> frozenset[Jid]:
        """The bare addresses of everybody with rights; a whole domain is nobody in particular."""
        return frozenset(person.jid for person in self.access.everyone() if person.jid.local != EVERYBODY)

    def readers(self) -> frozenset[Jid]:
        """Who may read every channel: the members of the nodes' whitelist."""
        return self.access.readers_of_all()

    def admits(self, sender: str) -> bool:
        """Whose requests may reach a handler: our server's, our own account's, and people's with rights."""
        if not sender:
            return True
        try:
            jid, own = compat.jid(sender), self.config.jid
        except ValueError:
            return False
        ours = jid.bare == own.bare or jid == Jid("", own.domain)
        return ours or self.access.person(jid) is not None
