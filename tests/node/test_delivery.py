"""One loop a sink: what is urgent overtakes what can wait, and a server that does not answer holds up only its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.node.paper import Paper
from tests.node.test_outbox import ANNA, PUBSUB, SINKS, Box

from knoop.delivery import deliver
from knoop.errors import LinkError, Refusal
from knoop.publishers import Partly
from knoop_hw.clock import FakeClock


class Server:
    """A publisher whose answers take time: `byte_s` a reading after `rtt_s`. `came` is what arrived, and when."""

    at_once = 25

    def __init__(self, clock, rtt_s=0.05, each_s=0.0):
        self._clock, self.rtt_s, self.each_s = clock, rtt_s, each_s
        self.came, self.sizes, self.begun, self.refuses = [], [], [], None

    async def send(self, records):
        self.begun.append(self._clock.boottime_ns())
        if self.refuses:
            raise self.refuses
        await self._clock.sleep(self.rtt_s + self.each_s * len(records))
        self.sizes.append(len(records))
        self.came += [(f"{one.channel} {one.seq}", self._clock.boottime_ns()) for one in records]

    @property
    def names(self):
        return [name for name, _ in self.came]

    def at(self, name):
        return dict(self.came)[name] / 1e9


@asynccontextmanager
async def session(it, *servers):
    """A login: each server serves a sink, for as long as the block."""
    tasks = [
        asyncio.create_task(deliver(sink, server, outbox=it.outbox, clock=it.clock))
        for sink, server in zip(SINKS, servers, strict=False)
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def house(paper=None):
    it = Box(paper or Paper(), FakeClock())
    await it.outbox.route(SINKS)
    running = asyncio.create_task(it.outbox.run())
    try:
        yield it
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def backlog(it, names, sinks=(PUBSUB,)):
    """Let these be on the disk and in nobody's memory, as after an outage and a start."""
    it.hold(*names, sinks=sinks)
    await it.outbox.flush()
    return it.paper


async def test_live_events_pass_a_backlog_that_drains_slowly_and_alarms_pass_them():
    async with house() as it:
        paper = await backlog(it, [f"door {seq}" for seq in range(1, 301)] + [f"air {seq}" for seq in range(1, 1001)])
    async with house(paper) as it:
        server = Server(it.clock, each_s=0.03)  # 300 bytes at Debian's 10 kB/s
        async with session(it, server):
            await it.clock.advance(5)
            assert "door 20" in server.names
            for seq in range(1, 20):
                began = it.clock.boottime_ns() / 1e9
                it.hold(f"gate {seq}", f"smoke {seq}")
                await it.clock.advance(2)
                assert server.at(f"gate {seq}") - began <= 2
                assert server.names.index(f"smoke {seq}") < server.names.index(f"gate {seq}")
            await it.clock.advance(10)
        doors = [name for name in server.names if name.startswith("door")]
        assert doors == [f"door {seq}" for seq in range(1, len(doors) + 1)]
        assert len(doors) > 200, "and the backlog went on"
        assert max(server.sizes) <= 25


async def test_what_can_wait_goes_one_portion_at_a_time_over_all_sinks():
    async with house() as it:
        paper = await backlog(it, [f"door {seq}" for seq in range(1, 101)], sinks=SINKS)
    async with house(paper) as it:
        servers = Server(it.clock, each_s=0.02), Server(it.clock, each_s=0.02)
        async with session(it, *servers):
            await it.clock.advance(3)
            took = sorted((begun, servers.index(one)) for one in servers for begun in one.begun)
            assert [who for _, who in took[:6]] == [0, 1, 0, 1, 0, 1], "in turn"
            it.hold("smoke 1", sinks=(ANNA,))
            await it.clock.advance(20)
            assert [len(set(one.names)) for one in servers] == [100, 101]
        busy = sum(one.rtt_s * len(one.sizes) + one.each_s * sum(one.sizes) for one in servers)
        assert busy > 4, "or else it would not show"
        ends = sorted({when for one in servers for name, when in one.came if name != "smoke 1"})
        starts = sorted(begun for one in servers for begun in one.begun)
        assert all(starts[number + 1] >= ends[number] for number in range(5)), "no two of them at once"


async def test_a_sink_whose_server_does_not_answer_holds_up_no_other_ones_events():
    async with house() as it:
        dead, quick = Server(it.clock, rtt_s=1e6), Server(it.clock)
        async with session(it, dead, quick):
            it.hold("door 1", sinks=SINKS)
            await it.clock.advance(0.1)
            it.hold("door 2", "smoke 1", sinks=SINKS)
            await it.clock.advance(0.2)
            assert (dead.names, quick.names) == ([], ["door 1", "smoke 1", "door 2"])


async def test_a_disk_that_stalls_delays_no_event_and_no_telemetry():
    async with house() as it:
        server = Server(it.clock)
        async with session(it, server):
            await it.clock.advance(0.1)
            it.paper.going.clear()
            for seq in range(1, 21):
                it.hold(f"door {seq}", f"air {seq}")
                await it.clock.advance(0.06)
                assert f"door {seq}" in server.names
                await it.clock.advance(0.44)
            await it.clock.advance(1.1)
            assert len(server.came) == 40
            assert it.stored[-1] == 1, "the board keeps telemetry until a disk has its history"
            it.paper.going.set()
            await it.clock.advance(10)
            assert it.stored[-1] == 40


async def test_what_a_cut_link_left_open_is_sent_again_in_order_by_the_next_session():
    async with house() as it:
        first, second = Server(it.clock, rtt_s=1.0), Server(it.clock)
        async with session(it, first) as (task, *_):
            it.hold("door 1", "door 2")
            await it.clock.advance(0.5)
            it.hold("door 3")
            assert first.begun
            task.cancel()
        async with session(it, second):
            it.hold("door 4")
            await it.clock.advance(1)
            assert second.names == [f"door {seq}" for seq in (1, 2, 3, 4)]
        assert it.paper.deliveries == {}


async def test_the_link_ends_the_loop_and_a_refusal_only_pauses_it(caplog):
    async with house() as it:
        server = Server(it.clock)
        server.refuses = Refusal("forbidden", "the server said no")
        async with session(it, server) as (task, *_):
            it.hold("door 1")
            await it.clock.advance(14)  # at once, after 5 s; the next time after 10 more
            assert caplog.text.count("said no") == 2
            server.refuses = None
            await it.clock.advance(2)
            assert server.names == ["door 1"]
            server.refuses = LinkError("gone")
            it.hold("door 2")
            await it.clock.advance(0.1)
            with pytest.raises(LinkError, match="gone"):
                task.result()
        assert it.offered() == ["door 2"]


async def test_while_the_server_refuses_telemetry_events_go_on_and_while_it_refuses_events_alarms_do():
    """A node of telemetry that was full held alarms back for five minutes."""
    async with house() as it:
        server = Server(it.clock)
        async with session(it, server):
            for refused, live in (("air", "door"), ("door", "smoke")):
                server.refuses = Refusal("resource-constraint", "the node is full")
                it.hold(f"{refused} 1")
                await it.clock.advance(40)
                asked = len(server.begun)
                server.refuses = None
                it.hold(f"{refused} 2", f"{live} 1")
                await it.clock.advance(1)
                assert server.names == [f"{live} 1"]
                assert len(server.begun) == asked + 1
                await it.clock.advance(40)
                assert server.names == [f"{live} 1", f"{refused} 1", f"{refused} 2"]
                server.came.clear()


async def test_one_that_chooses_gets_the_rest_again_when_it_wants_or_when_something_new_waits():
    class Chooser:
        at_once = 50
        seen: list[list[str]]

        async def send(self, records):
            self.seen.append([f"{one.channel} {one.seq}" for one in records])
            return Partly(records=records[:1], wait_s=10)

    async with house() as it:
        chooser = Chooser()
        chooser.seen = []
        telling = asyncio.create_task(
            deliver(PUBSUB, chooser, outbox=it.outbox, clock=it.clock, at_first=chooser.at_once)
        )
        it.hold(*(f"door {seq}" for seq in range(1, 7)))
        await it.clock.advance(1)
        assert [len(seen) for seen in chooser.seen] == [6]
        it.hold("smoke 1")
        await it.clock.advance(1)
        assert chooser.seen[1] == ["smoke 1", *(f"door {seq}" for seq in range(2, 7))]
        await it.clock.advance(10)
        assert chooser.seen[2] == [f"door {seq}" for seq in range(2, 7)]
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def test_nobody_is_sent_anything_while_the_gate_is_shut():
    async with house() as it:
        server = Server(it.clock)
        async with session(it, server):
            await it.outbox.gate.shut()
            it.hold("door 1", "smoke 1")
            await it.clock.advance(5)
            assert server.begun == []
        assert it.offered() == ["smoke 1", "door 1"]
