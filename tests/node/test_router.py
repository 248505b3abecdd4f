"""Readings become records, records find their sinks, and the board hears what is safe."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.node.test_store import broken_disk

from knoop.record import Record
from knoop.router import Route, Router, sinks_for, to_record, wall_ns
from knoop.store import Store
from knoop_hw.clock import FakeClock
from knoop_hw.messages import Hello, Readings
from knoop_hw.model import Channel, Reading

CHANNELS = {
    "door": Channel(name="door", kind="contact", type="boolean", cls="event"),
    "smoke": Channel(name="smoke", kind="contact", type="boolean", cls="alarm"),
    "air.temperature": Channel(name="air.temperature", kind="sensor", type="number", unit="°C"),
    "note": Channel(name="note", kind="sensor", type="text"),
}
HELLO = Hello(version="0.1.0", run="k3v9q2xa", boot="boot", digest="d", channels=tuple(CHANNELS.values()))
ANNA, ROOM = "chat:anna@example.org", "room:fleet@rooms.example.org"
ROUTES = (
    Route(sink="pubsub"),
    Route(sink=ANNA, classes=frozenset({"alarm", "event"}), wants=lambda record, _before: record.channel != "door"),
    Route(sink=ROOM, classes=frozenset({"alarm"})),
)


def reading(channel, seq, value=1.5, **more):
    if CHANNELS[channel].type == "boolean" and "quality" not in more:
        value = bool(value)
    return Reading(channel=channel, seq=seq, value=value, boottime_ns=more.pop("boottime_ns", seq), **more)


def converted(value, channel="air.temperature", quality="ok"):
    record = to_record(reading(channel, 1, value, quality=quality), CHANNELS[channel], HELLO, at_ns=7)
    return record.value, record.quality


class House:
    """A router over a real store, and what it told."""

    def __init__(self, store, **more):
        self.clock = FakeClock()
        self.stored, self.records = [], []
        self.synced = True
        self.store = store
        self.router = Router(
            store, clock=self.clock, synced=lambda: self.synced, on_stored=self.stored.append,
            on_record=self.records.append, **more,
        )  # fmt: skip

    async def pending(self, sink):
        """What is on the disk for a sink."""
        return [(one.channel, one.seq) for one in await self.store.pending(sink)]

    def offered(self, sink):
        return [(one.channel, one.seq) for one in self.router.outbox.offer(sink, 99).records]

    async def settled(self, condition):
        """The database has its own thread: wait for what it is to bring about, at most 5 s."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def house(tmp_path, **more):
    async with Store.open(tmp_path / "readings.db") as store:
        it = House(store, **more)
        await it.router.route(ROUTES)
        it.router.hello(HELLO)
        task = asyncio.create_task(it.router.run())
        try:
            yield it
        finally:
            task.cancel()
            await asyncio.wait([task])


def test_a_record_says_all_there_is_to_say():
    warm = reading("air.temperature", 88, 21.4, boottime_ns=5)
    record = to_record(warm, CHANNELS["air.temperature"], HELLO, at_ns=7)
    assert record == Record(
        run="k3v9q2xa", channel="air.temperature", seq=88, cls="telemetry", type="number", value=21.4,
        unit="°C", boot="boot", boottime_ns=5, at_ns=7,
    )  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, True, "warm"])
def test_what_is_no_number_is_an_error_not_a_crash(value):
    assert converted(value) == (None, "error")


def test_values_fit_their_channel():
    assert converted(3) == (3.0, "ok")
    assert converted(None, quality="missing") == (None, "missing")
    assert converted("a\ud800b", "note") == ("a?b", "ok")
    text, quality = converted("x" * 5000, "note")
    assert (len(text), text[-1], quality) == (4096, "…", "warning")


def test_time_is_counted_back_from_now():
    clock = FakeClock(time_ns=1_000_000, boottime_ns=500)
    assert wall_ns(200, clock, synced=True) == 999_700
    assert wall_ns(200, clock, synced=False) is None


@pytest.mark.parametrize(
    ("channel", "sinks"),
    [("air.temperature", ("pubsub",)), ("door", ("pubsub",)), ("smoke", ("pubsub", ANNA, ROOM))],
)
def test_sinks_by_class_and_right(channel, sinks):
    record = to_record(reading(channel, 1), CHANNELS[channel], HELLO, at_ns=None)
    assert sinks_for(record, None, ROUTES) == sinks


async def test_an_event_is_safe_at_once_and_telemetry_within_two_seconds(tmp_path):
    async with house(tmp_path) as it:
        it.router.take(Readings(upto=1, items=(reading("air.temperature", 1),)))
        await it.clock.advance(1.9)
        assert (it.stored, await it.pending("pubsub")) == ([], [])
        await it.clock.advance(0.2)
        await it.settled(lambda: it.stored == [1])
        it.router.take(Readings(upto=2, items=(reading("door", 1),)))
        await it.settled(lambda: it.stored == [1, 2])  # and no time has passed
        assert await it.pending("pubsub") == [("door", 1), ("air.temperature", 1)]
        assert it.router.latest["door"].value is True
        assert [one.channel for one in it.records] == ["air.temperature", "door"]


async def test_a_publisher_is_woken_for_what_is_its_business(tmp_path):
    async with house(tmp_path) as it:
        wake = it.router.outbox.wake(ANNA)
        wake.clear()
        it.router.take(Readings(upto=1, items=(reading("door", 1),)))
        await it.settled(lambda: it.stored == [1])
        assert not wake.is_set()  # the door is none of her business
        it.router.take(Readings(upto=2, items=(reading("smoke", 1),)))
        assert wake.is_set()
        assert it.offered(ANNA) == [("smoke", 1)]
        assert it.offered(ROOM) == [("smoke", 1)]
        assert it.offered("pubsub") == [("smoke", 1), ("door", 1)]


async def test_a_repeat_is_answered_but_not_told_again(tmp_path):
    async with house(tmp_path) as it:
        it.router.take(Readings(upto=1, items=(reading("door", 1),)))
        await it.settled(lambda: it.stored == [1])
        it.router.hello(HELLO)
        it.router.take(Readings(upto=1, items=(reading("door", 1),)))
        await it.clock.advance(2.1)
        await it.settled(lambda: it.stored == [1, 1])
        assert len(it.records) == 1


async def test_a_board_that_comes_back_does_not_hear_stored_too_early(tmp_path):
    async with house(tmp_path) as it:
        it.router.take(Readings(upto=1, items=(reading("air.temperature", 1),)))
        it.router.hello(HELLO)
        it.router.take(Readings(upto=1, items=(reading("air.temperature", 1),)))
        assert it.stored == []
        await it.clock.advance(2.1)
        await it.settled(lambda: it.stored == [1])
        assert await it.pending("pubsub") == [("air.temperature", 1)]


async def test_what_the_disk_had_before_a_restart_of_the_agent_is_no_news_after_it(tmp_path):
    """The board did not hear that it is safe, and sends it again; what the disk did not have is news."""
    async with house(tmp_path) as it:
        it.router.take(Readings(upto=2, items=(reading("door", 1), reading("air.temperature", 1))))
        await it.router.flush()
        await it.settled(lambda: it.stored == [2])
    async with house(tmp_path) as it:
        await it.router.restore(CHANNELS)
        again = (reading("door", 1), reading("air.temperature", 1), reading("door", 2), reading("air.temperature", 2))
        it.router.take(Readings(upto=4, items=again))
        await it.clock.advance(2.1)
        await it.settled(lambda: it.stored == [4])
        assert [(record.channel, record.seq) for record in it.records] == [("door", 2), ("air.temperature", 2)]
        it.router.hello(replace(HELLO, run="another2"))
        it.router.take(Readings(upto=1, items=(reading("door", 1),)))
        assert it.records[-1].run == "another2", "another start of the board counts from 1"


async def test_an_unannounced_channel_is_logged_and_the_rest_goes_on(tmp_path, caplog):
    async with house(tmp_path) as it:
        it.router.take(
            Readings(upto=2, items=(Reading(channel="ghost", seq=1, value=1.0, boottime_ns=1), reading("door", 1)))
        )
        await it.settled(lambda: it.stored == [2])
        assert "ghost" in caplog.text
        assert await it.pending("pubsub") == [("door", 1)]


async def test_before_the_clock_is_synced_a_record_has_no_time(tmp_path):
    async with house(tmp_path) as it:
        it.synced = False
        it.router.take(Readings(upto=1, items=(reading("door", 1),)))
        it.synced = True
        it.router.take(Readings(upto=2, items=(reading("door", 2),)))
        assert [one.at_ns is None for one in it.records] == [True, False]


async def test_who_lost_the_right_gets_no_more(tmp_path):
    async with house(tmp_path) as it:
        it.router.take(Readings(upto=1, items=(reading("smoke", 1),)))
        await it.settled(lambda: it.stored == [1])
        await it.router.route(ROUTES[:1])
        assert await it.store.backlog() == {"pubsub": 1}
        it.router.take(Readings(upto=2, items=(reading("smoke", 2),)))
        await it.settled(lambda: it.stored == [1, 2])
        assert await it.store.backlog() == {"pubsub": 2}


async def test_a_listener_that_fails_loses_no_reading_and_ends_nobody(tmp_path, caplog):
    async with house(tmp_path) as it:
        it.router._on_record = lambda record: {}[record.channel]
        it.router.take(Readings(upto=2, items=(reading("door", 1), reading("door", 2))))
        assert caplog.text.count("a listener failed") == 2
        await it.settled(lambda: it.stored == [2])
        assert await it.pending("pubsub") == [("door", 1), ("door", 2)]


async def test_the_agents_own_records_travel_with_the_boards(tmp_path):
    alert = Record(
        run="p7m2c4aa", channel="alert.frost", seq=1, cls="alarm", type="text", value="raised", boot="boot",
        boottime_ns=1, at_ns=2,
    )  # fmt: skip
    async with house(tmp_path) as it:
        it.router.put(alert)
        async with asyncio.timeout(20):
            await it.router.outbox.wake(ROOM).wait()
        await it.router.flush()
        assert await it.pending(ROOM) == [("alert.frost", 1)]
        assert it.stored == []


async def test_after_a_restart_the_last_values_are_known(tmp_path):
    async with house(tmp_path) as it:
        it.router.take(Readings(upto=1, items=(reading("door", 1),)))
        await it.router.flush()
    async with house(tmp_path) as it:
        await it.router.restore(["door", "alert.frost"])
        assert it.router.latest["door"].seq == 1
        assert it.records == []


async def test_old_history_goes_once_an_hour(tmp_path):
    async with house(tmp_path, retain_s=60.0) as it:
        it.router.take(Readings(upto=1, items=(reading("air.temperature", 1, boottime_ns=it.clock.boottime_ns()),)))
        async with it.router.outbox.sending("pubsub", sent := [*it.router.latest.values()]):
            it.router.outbox.delivered("pubsub", sent)
        await it.router.flush()
        await it.clock.advance(3599)
        assert [one.seq for one in await it.store.history("air.temperature")] == [1]
        await it.clock.advance(2)
        async with asyncio.timeout(20):
            while await it.store.history("air.temperature"):
                await asyncio.sleep(0.001)


async def test_the_router_of_another_configuration_goes_on_with_what_no_disk_took(tmp_path):
    async with house(tmp_path) as it:
        with broken_disk():
            it.router.take(Readings(upto=2, items=(reading("smoke", 1), reading("door", 1))))
            await it.router.flush()
            smoke = it.router.latest["smoke"]
            async with it.router.outbox.sending("pubsub", [smoke]):
                it.router.outbox.delivered("pubsub", [smoke])
            it.records.clear()
            after = House(it.store)
            after.router.follow(it.router)
            await after.router.route([Route(sink="pubsub"), Route(sink=ROOM, classes=frozenset({"alarm"}))])
            after.router.hello(HELLO)
            assert after.offered("pubsub") == [("door", 1)], "what it has is not sent again"
            assert after.offered(ROOM) == [("smoke", 1)]
        after.router.take(Readings(upto=2, items=(reading("smoke", 1), reading("door", 1))))  # the board says it again
        await after.router.flush()
        assert after.records == [], "it is no news"
        assert after.stored == [2]
        assert await after.pending("pubsub") == [("door", 1)]
        assert await it.store.pending(ANNA) == [], "a sink that is gone gets nothing"
        assert after.router.latest["door"].value is True
