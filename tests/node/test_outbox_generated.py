"""Whatever happens in whatever order: no event is lost or overtaken on its channel, and telemetry only as counted.

A board that keeps what is not stored, a router on a real store, a server that takes portions wholly, in part, or
without a word. In between the disk stalls and refuses, the agent ends, properly or not, and starts again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from knoop import outbox as outbox_module
from knoop import waiting as waiting_module
from knoop.errors import StoreError
from knoop.record import Record
from knoop.router import Route, Router
from knoop.store import Store
from knoop_hw.clock import FakeClock
from knoop_hw.messages import Hello, Readings
from knoop_hw.model import Channel, Reading

CHANNELS = {
    "smoke": Channel(name="smoke", kind="contact", type="number", cls="alarm"),
    "door": Channel(name="door", kind="contact", type="number", cls="event"),
    "gate": Channel(name="gate", kind="contact", type="number", cls="event"),
    "air": Channel(name="air", kind="sensor", type="number"),
}
HELLO = Hello(version="0.1.0", run="k3v9q2xa", boot="boot", digest="d", channels=tuple(CHANNELS.values()))
PUBSUB, ANNA = "pubsub", "chat:anna@example.org"
ROUTES = (
    # Not every reading is news: the others are only to be kept, and go to the disk at another time.
    Route(sink=PUBSUB, wants=lambda record, _before: record.cls != "telemetry" or record.seq % 2 == 1),
    Route(sink=ANNA, classes=frozenset({"alarm", "event"})),
)

STEPS = st.one_of(
    st.tuples(st.just("reads"), st.lists(st.sampled_from(sorted(CHANNELS)), min_size=1, max_size=12)),
    st.tuples(st.just("time"), st.sampled_from([0.1, 1.0, 2.1, 5.1, 11.0])),
    # To whom, at most how many, how many of these arrive, and whether we hear of it.
    st.tuples(st.just("sends"), st.sampled_from([PUBSUB, ANNA]), st.integers(1, 9), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("sends"), st.just(PUBSUB), st.just(9), st.just(9), st.just(True)),
    st.tuples(st.just("disk"), st.sampled_from(["works", "works", "stalls", "refuses", "does it and says it failed"])),
    st.tuples(st.just("starts again"), st.sampled_from(["after a flush", "killed", "reloaded"])),
)


class Disk:
    """A real store whose calls that write stall or fail when told to."""

    def __init__(self, store):
        self._store = store
        self._busy = 0
        self.works = asyncio.Event()
        self.mood("works")

    def __getattr__(self, name):
        return getattr(self._store, name)

    def mood(self, what):
        self._refuses, self._lies = what == "refuses", what == "does it and says it failed"
        (self.works.clear if what == "stalls" else self.works.set)()

    async def _call(self, call):
        await self.works.wait()
        if self._refuses:
            raise StoreError("read-only")
        self._busy += 1
        try:
            done = await call()
        finally:
            self._busy -= 1
        if self._lies:
            raise StoreError("it did not say that it was done")
        return done

    async def add(self, entries):
        entries = list(entries)
        try:
            return await self._call(lambda: self._store.add(entries))
        except StoreError:
            telemetry = [entry for entry in entries if entry[0].cls == "telemetry"]
            self._store.lost("telemetry", len(telemetry))
            if len(telemetry) < len(entries):
                raise
            return []

    async def delivered(self, sink, rows):
        await self._call(lambda: self._store.delivered(sink, rows))

    async def pending(self, sink, *, limit):
        self._busy += 1
        try:
            await self.works.wait()
            return await self._store.pending(sink, limit=limit)
        finally:
            self._busy -= 1

    async def idle(self):
        """Nothing is under way that could end by itself."""
        for _ in range(5):
            await asyncio.sleep(0)
            while self._busy and self.works.is_set():
                await asyncio.sleep(0.0002)


class World:
    """The board's memory, the node, and what its subscribers saw: judged at the end."""

    def __init__(self, store):
        self.clock, self.disk = FakeClock(), Disk(store)
        self.seqs, self.kept, self.count = Counter(), [], 0
        self.seen = defaultdict(list)
        self.cut = False
        self.router = self.running = None

    async def start(self, former=None):
        self.router = Router(
            self.disk, clock=self.clock, synced=lambda: True, on_stored=self.forget, on_record=lambda _record: None
        )
        if former is not None:
            self.router.follow(former)
        await self.router.restore(CHANNELS)
        await self.router.route(ROUTES)
        self.router.hello(HELLO)
        self.running = asyncio.create_task(self.router.run())
        again, self.kept, self.count = self.kept, [], 0
        for _, readings in again:
            self.tell(readings)

    async def stop(self):
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running
        await self.disk.idle()

    def forget(self, upto):
        self.kept = [(number, readings) for number, readings in self.kept if number > upto]

    def tell(self, readings):
        self.count += 1
        self.kept.append((self.count, readings))
        self.router.take(Readings(upto=self.count, items=readings))

    async def reads(self, names):
        for name in names:
            self.seqs[name] += 1
        first = {name: self.seqs[name] - names.count(name) for name in names}
        readings = []
        for name in names:
            first[name] += 1
            readings.append(Reading(channel=name, seq=first[name], value=1.0, boottime_ns=self.clock.boottime_ns()))
        self.tell(tuple(readings))

    async def time(self, seconds):
        await self.clock.advance(seconds)

    async def sends(self, sink, at_once, arrive, heard):
        outbox = self.router.outbox
        if outbox.wants_disk(sink) and self.disk.works.is_set():
            await outbox.read(sink)
        records: list[Record] = [*outbox.offer(sink, at_once).records]
        async with outbox.sending(sink, records):
            came = records[:arrive]
            self.seen[sink] += [(one.channel, one.seq) for one in came]
            if heard:
                outbox.delivered(sink, came)
            self.cut |= bool(came and not heard)

    async def starts_again(self, how):
        former = self.router if how == "reloaded" else None
        if how == "after a flush":
            self.disk.mood("works")
            await self.router.flush()
        else:
            self.cut = True
        self.running.cancel()  # amid a commit, it may be
        with suppress(asyncio.CancelledError):
            await self.running
        self.disk.mood("works")
        await self.disk.idle()
        await self.start(former)

    async def ends(self):
        """Everything works again: what waits goes out."""
        self.disk.mood("works")
        for _ in range(200):
            await self.time(2.1)
            await self.disk.idle()
            for sink in (PUBSUB, ANNA):
                await self.sends(sink, 25, 25, True)
            if not any(self.router.outbox._lines[sink].waits for sink in (PUBSUB, ANNA)):
                break
        await self.router.flush()

    async def judge(self):
        dropped = self.router.dropped
        assert (dropped["alarm"], dropped["event"]) == (0, 0)
        for sink, names in ((PUBSUB, sorted(CHANNELS)), (ANNA, ("smoke", "door", "gate"))):
            for name in names:
                first = list(dict.fromkeys(seq for channel, seq in self.seen[sink] if channel == name))
                wanted = [*range(1, self.seqs[name] + 1)]
                if CHANNELS[name].cls == "telemetry":
                    assert len(set(wanted[::2]) - set(first)) <= dropped["telemetry"], (sink, name)
                else:
                    assert first == wanted, (sink, name)
            if not self.cut:
                assert max(Counter(self.seen[sink]).values(), default=1) == 1, "nothing comes twice without a cause"
        assert self.kept == [], "the board may forget everything"
        assert await self.disk.backlog() == {}


async def world(steps):
    with tempfile.TemporaryDirectory(prefix="knoop-") as folder:
        async with Store.open(Path(folder) / "readings.db") as store:
            it = World(store)
            await it.start()
            for what, *more in steps:
                if what == "disk":
                    it.disk.mood(*more)
                    it.cut |= more == ["does it and says it failed"]
                else:
                    await getattr(it, what.replace(" ", "_"))(*more)
                await it.disk.idle()
            await it.ends()
            await it.judge()
            await it.stop()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=40))
@example([("reads", ["door"]), ("starts again", "killed"), ("reads", ["door", "air"]), ("sends", PUBSUB, 9, 9, True)])
@example([("disk", "stalls"), ("reads", ["door", "smoke"]), ("sends", PUBSUB, 9, 1, True), ("starts again", "killed")])
def test_nothing_is_lost_and_nothing_overtakes(monkeypatch, steps):
    with monkeypatch.context() as small:  # so that every bound is met
        small.setattr(waiting_module, "REMEMBERED", 6)
        small.setattr(outbox_module, "REMEMBERED", 6)
        small.setattr(waiting_module, "AHEAD", 5)
        small.setattr(outbox_module, "COMMIT", 7)
        asyncio.run(world(steps))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=10, max_size=30))
def test_when_memory_is_full_telemetry_goes_and_is_counted(monkeypatch, steps):
    with monkeypatch.context() as small:
        small.setattr(outbox_module, "COMMIT", 50)
        small.setattr(outbox_module, "HELD", 400)  # more than all alarms and events of a run
        asyncio.run(world([("disk", "stalls"), *[("reads", ["air"] * 12)] * 45, *steps]))
