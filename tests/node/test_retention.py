"""How long readings are kept: in general, and where a device or channel has a span of its own."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from random import Random

import pytest
from tests.node.test_config import GOOD, problems
from tests.node.test_router import house, reading
from tests.node.test_store import SINK, many, record

from knoop import readings_sql, retention
from knoop.store import Store
from knoop_hw.messages import Readings

HOUR_NS = 3600 * 10**9


async def swept(store, before_ns, **more):
    """Prune until nothing more goes; how many went."""
    gone = 0
    while step := await store.prune(before_ns, **more):
        gone += step
    return gone


async def kept(store, channel):
    return [one.seq for one in await store.history(channel, limit=99_999)]


@pytest.mark.parametrize("placed", [3, 1000])
async def test_a_channels_own_span_goes_before_its_devices_and_that_before_the_general_one(
    tmp_path, monkeypatch, placed
):
    """Whether or not the index by channel has the rows already."""
    monkeypatch.setattr(readings_sql, "PLACE_ROWS", placed)
    async with Store.open(tmp_path / "readings.db") as store:
        for seq in range(1, 11):
            for channel in ("meter.power", "meter.energy", "door", "doorbell", "air.temperature"):
                await store.add([(record(seq, channel=channel), ())])
        own_ns = {"meter": 3 * 10**9, "meter.energy": 0, "door": 9 * 10**9}
        assert await swept(store, 6 * 10**9, own_ns=own_ns) == 2 + 0 + 8 + 5 + 5
        assert await kept(store, "meter.power") == [*range(3, 11)]
        assert await kept(store, "meter.energy") == [*range(1, 11)]
        assert await kept(store, "door") == [9, 10]
        assert await kept(store, "doorbell") == await kept(store, "air.temperature") == [*range(6, 11)]


async def test_what_waits_or_has_no_time_stays_however_short_the_span(tmp_path):
    async with Store.open(tmp_path / "readings.db") as store:
        await store.add([(record(1, channel="door"), [SINK]), (record(2, channel="door", at_ns=None), ()),
                         (record(3, channel="door"), ())])  # fmt: skip
        assert await swept(store, 0, own_ns={"door": 10**18}) == 1
        assert await kept(store, "door") == [1, 2]
        assert [one.seq for one in await store.pending(SINK)] == [1]


async def test_what_is_kept_longer_than_the_rest_does_not_hold_it_up(tmp_path, monkeypatch):
    """A portion without anything old is no end, and the next call goes on where this one stopped."""
    monkeypatch.setattr(readings_sql, "SCAN_ROWS", 10)
    monkeypatch.setattr(retention, "SCAN_ROWS", 10)
    async with Store.open(tmp_path / "readings.db") as store:
        await store.add(many(40, channel="energy", sinks=(), at_ns=0))
        for seq in range(1, 61):
            energy = record(40 + seq, channel="energy", at_ns=seq * 10**9)
            await store.add([(record(seq, channel="air"), ()), (energy, ())])
        calls = [await store.prune(50 * 10**9, own_ns={"energy": 0}, limit=20) for _ in range(20)]
        assert sum(calls) == 49
        assert await kept(store, "air") == [*range(50, 61)]
        assert len(await kept(store, "energy")) == 100
        assert await swept(store, 60 * 10**9, own_ns={"energy": 0}) == 10, "the next hour begins at the oldest again"


async def test_any_mix_of_spans_leaves_exactly_what_is_young_waits_or_has_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(readings_sql, "SCAN_ROWS", 16)
    monkeypatch.setattr(retention, "SCAN_ROWS", 16)
    monkeypatch.setattr(readings_sql, "PLACE_ROWS", 40)
    random, channels = Random(7), ("door", "air.temperature", "air.humidity", "meter.energy")
    for turn in range(12):
        async with Store.open(tmp_path / f"{turn}.db") as store:
            given = []
            for seq in range(1, 120):
                at_ns = None if random.random() < 0.1 else seq * 10**9
                sinks = [SINK] if random.random() < 0.2 else []
                given.append((record(seq, channel=random.choice(channels), at_ns=at_ns), sinks))
            for one in given:
                await store.add([one])
            names = random.sample((*channels, "air", "meter"), 3)
            own_ns = {name: random.randrange(130) * 10**9 for name in names}
            before_ns = random.randrange(130) * 10**9
            await swept(store, before_ns, own_ns=own_ns, limit=random.choice((1, 7, 1000)))
            for channel in channels:
                old_ns = own_ns.get(channel, own_ns.get(channel.partition(".")[0], before_ns))
                stay = [one.seq for one, sinks in given
                        if one.channel == channel and (sinks or one.at_ns is None or one.at_ns >= old_ns)]  # fmt: skip
                assert await kept(store, channel) == stay, (turn, channel, own_ns, before_ns)


async def test_a_node_keeps_one_channel_shorter_and_another_longer(tmp_path):
    """`retain = "90min"`, `retain_for = { door = "0s", note = "2d" }`."""
    spans = {"retain_s": 5400.0, "retain_for": {"door": 0.0, "note": 2 * 86400.0}}
    async with house(tmp_path, **spans) as it:
        await it.router.route([])
        channels = ("door", "air.temperature", "note")
        it.router.take(Readings(upto=3, items=tuple(
            reading(name, seq, "x" if name == "note" else 1.0, boottime_ns=it.clock.boottime_ns())
            for seq, name in enumerate(channels, start=1)
        )))  # fmt: skip
        await it.router.flush()
        for before, after in pairwise(([[1], [2], [3]], [[], [2], [3]], [[], [], [3]])):
            async with asyncio.timeout(20):
                while (left := [await kept(it.store, name) for name in channels]) == before:
                    await it.clock.advance(60)  # in steps: an hour begins when the one before is done with the disk
            assert left == after


def test_spans_are_for_channels_devices_and_alerts(load):
    spans = 'retain_for = { door = "1d", "air.load" = "2h", "alert.open" = "0s", alert = "1d" }\n'
    made = load(f"{GOOD}[storage]\n{spans}")
    assert made.storage.retain_for == {"door": 86400, "air.load": 7200, "alert.open": 0, "alert": 86400}
    assert problems(load, GOOD + '[storage.retain_for]\ndoors = "1d"\nair = "soon"\n') == [
        '28: storage.retain_for.air: expected a time such as "50ms", "10s", "5min", "2h" or "1d", not "soon"',
    ]
    (said,) = problems(load, GOOD + '[storage.retain_for]\ndoors = "1d"\n')
    assert said.startswith("27: storage.retain_for.doors: there is no channel 'doors'; did you mean 'door'?")
