"""Wire and disk start together; what waits is offered in order, and a disk that stalls or fails delays no event."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import pytest
from tests.node.paper import Paper

from knoop.errors import StoreError
from knoop.outbox import HELD, Outbox
from knoop.record import Record
from knoop.waiting import AHEAD, REMEMBERED
from knoop_hw.clock import FakeClock

PUBSUB, ANNA = "pubsub", "chat:anna@example.org"
SINKS = (PUBSUB, ANNA)
CLASSES = {"smoke": "alarm", "door": "event", "gate": "event", "air": "telemetry"}


def record(channel, seq, run="k3v9q2xa"):
    return Record(
        run=run, channel=channel, seq=seq, cls=CLASSES[channel], type="number", value=1.0, boot="b", boottime_ns=seq,
        at_ns=None,
    )


class Box:
    """An outbox over paper, run by hand: `acked` is a sink's publisher and its server."""

    def __init__(self, paper, clock):
        self.paper, self.clock, self.stored = paper, clock, []
        self.outbox = Outbox(paper, clock=clock, on_stored=self.stored.append)

    def hold(self, *names, sinks=(PUBSUB,)):
        for name in names:
            channel, seq = name.split()
            floor, self.outbox.received = self.outbox.received, self.outbox.received + 1
            self.outbox.hold(record(channel, int(seq)), sinks, floor=floor)

    def offered(self, sink=PUBSUB, at_once=99):
        return [f"{one.channel} {one.seq}" for one in self.outbox.offer(sink, at_once).records]

    async def acked(self, sink=PUBSUB, at_once=99):
        """Send the next portion and have it answered; what was sent."""
        portion, sent = self.outbox.offer(sink, at_once), self.offered(sink, at_once)
        async with self.outbox.sending(sink, portion.records):
            self.outbox.delivered(sink, portion.records)
        await self.turns()
        return sent

    async def read(self, sink=PUBSUB):
        if self.outbox.wants_disk(sink):
            await self.outbox.read(sink)

    async def turns(self):
        """Let everything happen that needs no time."""
        await self.clock.advance(0)


@asynccontextmanager
async def box(paper=None, *, sinks=SINKS):
    it = Box(paper or Paper(), FakeClock())
    await it.outbox.route(sinks)
    running = asyncio.create_task(it.outbox.run())
    for sink in sinks:
        await it.read(sink)
    it.paper.asked.clear()
    try:
        yield it
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_every_sink_has_before_the_commit_leaves_no_delivery_behind():
    async with box() as it:
        it.hold("air 1", "air 2", sinks=SINKS)
        await it.clock.advance(1)
        assert await it.acked() == ["air 1", "air 2"]
        assert await it.acked(ANNA) == ["air 1", "air 2"]
        assert it.stored == [], "its history is on no disk: the board keeps it should we be killed"
        await it.clock.advance(8.9)
        assert it.paper.commits == []
        await it.clock.advance(0.2)
        assert (it.paper.commits, it.paper.deliveries) == ([2], {})
        assert it.paper.asked == {"add": 1}
        assert it.stored == [2]


async def test_a_board_that_is_about_to_end_waits_for_no_group():
    async with box() as it:
        it.hold("air 1", "air 2")
        await it.clock.advance(1)
        await it.acked()
        it.hold("air 3")
        it.outbox.hurry()
        await it.turns()
        assert it.stored[-1] == 3, "history, and what is not acknowledged"
        it.hold("air 4")
        await it.turns()
        assert it.stored[-1] == 4
        it.outbox.restart()
        it.hold("air 5")
        await it.turns()
        assert len(it.paper.rows) == 4, "another half, another pace"


async def test_telemetry_gathers_for_a_second_or_until_a_portion_is_full():
    async with box() as it:
        it.hold("air 1")
        wake = it.outbox.wake(PUBSUB)
        portion = it.outbox.offer(PUBSUB, 3)
        assert (portion.records, portion.wait_s) == ((), 1.0)
        wake.clear()
        it.hold("air 2")
        assert not wake.is_set(), "its publisher sleeps until the second is over"
        it.hold("air 3")
        assert wake.is_set()
        assert it.offered(at_once=3) == ["air 1", "air 2", "air 3"]
        assert it.outbox.offer(PUBSUB, 3).bulk
        await it.clock.advance(1)
        assert it.offered(at_once=99) == ["air 1", "air 2", "air 3"]


async def test_unacknowledged_telemetry_is_safe_after_two_seconds_and_history_after_ten():
    async with box() as it:
        it.hold("air 1")
        await it.clock.advance(1)
        await it.acked()
        it.hold("air 2")
        await it.clock.advance(2.1)
        assert it.paper.commits == [2], "it takes what is history along"
        assert [*it.paper.deliveries] == [(PUBSUB, 2)]
        it.hold("air 3", sinks=())
        assert it.stored[-1] == 2
        await it.clock.advance(9.8)
        assert it.paper.commits == [2]
        await it.clock.advance(0.3)
        assert (it.paper.commits, it.stored[-1]) == ([2, 1], 3), "for nobody: safe when it is on the disk"


async def test_a_card_has_one_telemetry_commit_a_second_at_most():
    async with box() as it:
        for seq in range(1, 301):  # ten a second; every third is acknowledged
            it.hold(f"air {seq}")
            if seq % 3 == 0:
                await it.acked()
            await it.clock.advance(0.1)
        assert sum(it.paper.commits) > 270
        assert len(it.paper.commits) <= 30


async def test_events_go_out_while_the_disk_stalls_and_the_board_may_forget_them():
    async with box() as it:
        it.paper.going.clear()
        for seq in range(1, 51):
            it.hold(f"door {seq}", f"air {seq}")
            assert await it.acked() == [f"door {seq}"], "within one round trip"
            await it.clock.advance(0.2)
            if seq % 5 == 0:
                await it.acked()  # telemetry
        assert it.paper.asked == {"add": 1}, "nobody else waits for the disk"
        assert it.stored[-1] == 1, "what came before the first telemetry"
        it.paper.going.set()
        await it.outbox.flush()
        await it.turns()
        assert len(it.paper.rows) == 100
        assert it.stored[-1] == 100
        assert it.paper.deliveries == {}, "what was delivered during a commit is marked after it"
        assert it.paper.dropped.total() == 0


async def test_what_the_disk_has_and_a_sink_not_stays_in_memory_and_is_marked_when_it_has_it():
    async with box() as it:
        it.hold("door 1", "smoke 1", sinks=SINKS)
        await it.turns()
        assert len(it.paper.deliveries) == 4
        assert it.stored == [2]
        assert await it.acked() == ["smoke 1", "door 1"]
        assert await it.acked(ANNA) == ["smoke 1", "door 1"]
        assert it.paper.deliveries == {}
        assert "pending" not in it.paper.asked


async def test_after_a_start_a_channel_with_old_events_on_the_disk_waits_behind_them_and_no_other():
    async with box() as it:
        it.hold("door 1", "door 2", "air 1")
        await it.outbox.flush()
        paper = it.paper
    async with box(paper, sinks=(PUBSUB,)) as it:
        it.hold("door 3", "gate 1", "smoke 1")
        await it.turns()  # they are on the disk, too
        assert await it.acked() == ["smoke 1", "gate 1"]
        portion = it.outbox.offer(PUBSUB, 1)
        assert ([one.seq for one in portion.records], portion.bulk) == ([1], True)
        assert await it.acked(at_once=1) == ["door 1"]
        it.hold("door 4")
        assert await it.acked(at_once=1) == ["door 2"]
        await it.turns()
        sent = []
        for _ in range(5):
            await it.read()
            sent += await it.acked()
        assert sent == ["door 3", "door 4", "air 1"]
        assert paper.deliveries == {}
        it.hold("door 5")
        assert it.offered() == ["door 5"], "nothing old is left: it is live again"


async def test_a_channel_is_live_again_when_its_own_old_events_are_delivered_whatever_waits_of_others():
    async with box() as it:
        it.hold("door 1", *(f"gate {seq}" for seq in range(1, 301)))
        await it.outbox.flush()
        paper = it.paper
    async with box(paper, sinks=(PUBSUB,)) as it:
        it.paper.going.clear()
        it.hold("door 2")  # on no disk yet, and it stalls
        assert await it.acked(at_once=1) == ["door 1"]
        it.hold("door 3", "gate 301")
        assert it.offered() == ["door 2", "door 3"]


async def test_counts_that_went_wrong_hold_nothing_back_for_ever():
    async with box() as it:
        it.hold("door 1", "door 2")
        await it.outbox.flush()
        paper = it.paper
    async with box(paper, sinks=(PUBSUB,)) as it:
        assert await it.acked(at_once=1) == ["door 1"]
        paper.deliveries.clear()  # the store is full: it drops what waits
        it.outbox._lines[PUBSUB]._ahead.clear()
        await it.read()
        it.hold("door 3")
        assert it.offered() == ["door 3"]


async def test_what_was_read_before_something_went_to_the_disk_is_read_again():
    async with box() as it:
        it.hold("door 1", "door 2")
        await it.outbox.flush()
        line = it.outbox._lines[PUBSUB]
        line.spill()
        limit, changes = line.reading()
        before = await it.paper.pending(PUBSUB, limit=limit)
        it.hold("door 3")
        await it.outbox.flush()
        assert not line.read(before, limit, changes), "it would make door 3 look as if it were not there"
        await it.read()
        assert it.offered() == ["door 1", "door 2", "door 3"]


async def test_alarms_of_before_are_no_bulk_and_go_first():
    async with box() as it:
        it.hold("door 1", "smoke 1", "smoke 2", "air 1")
        await it.outbox.flush()
        paper = it.paper
    async with box(paper, sinks=(PUBSUB,)) as it:
        it.hold("gate 1")
        assert not it.outbox.offer(PUBSUB, 99).bulk
        assert await it.acked() == ["smoke 1", "smoke 2", "gate 1"]
        assert it.offered() == ["door 1", "air 1"]


async def test_a_cut_between_sending_and_its_answer_offers_everything_again_in_order():
    async with box() as it:
        it.hold("door 1", "door 2", "gate 1")
        with pytest.raises(ConnectionError):
            async with it.outbox.sending(PUBSUB, it.outbox.offer(PUBSUB, 2).records):
                it.hold("door 3", "smoke 1")
                raise ConnectionError
        assert it.offered() == ["smoke 1", "door 1", "door 2", "gate 1", "door 3"]
        async with it.outbox.sending(PUBSUB, records := it.outbox.offer(PUBSUB, 99).records):
            it.outbox.delivered(PUBSUB, records[:2])  # the others are refused
        assert it.offered() == ["door 2", "gate 1", "door 3"]
        await it.outbox.flush()
        assert len(it.paper.deliveries) == 3


async def test_memory_does_not_fill_with_what_the_disk_has():
    async with box() as it:
        count = REMEMBERED + 5
        it.hold("gate 1", *(f"door {seq}" for seq in range(1, count)), *(f"air {seq}" for seq in range(1, 200)))
        await it.outbox.flush()
        assert not [*it.outbox._lines[PUBSUB]]
        it.hold("gate 2", "smoke 1", f"door {count}")
        assert await it.acked() == ["smoke 1"]
        sent = []
        while len(sent) < count + 1:
            await it.read()
            sent += await it.acked(at_once=25)
            await it.turns()
        doors = [name for name in sent if name.startswith("door")]
        assert doors == [f"door {seq}" for seq in range(1, count + 1)]
        assert [name for name in sent if name.startswith("gate")] == ["gate 1", "gate 2"]
        assert it.offered() == [] or it.offered()[0].startswith("air")


async def test_one_in_flight_that_memory_lets_go_of_is_not_sent_twice():
    async with box() as it:
        it.hold("door 1")
        async with it.outbox.sending(PUBSUB, records := it.outbox.offer(PUBSUB, 9).records):
            await it.outbox.flush()
            it.outbox._lines[PUBSUB].spill()
            it.hold("door 2")
            assert it.outbox.wants_disk(PUBSUB)
            await it.outbox.read(PUBSUB)
            it.outbox.delivered(PUBSUB, records)
        sent = []
        for _ in range(3):
            await it.turns()
            await it.read()
            sent += await it.acked()
        assert sent == ["door 2"]


async def test_a_row_read_while_it_was_delivered_is_not_offered_again():
    async with box() as it:
        it.hold("door 1")
        async with it.outbox.sending(PUBSUB, records := it.outbox.offer(PUBSUB, 9).records):
            await it.outbox.flush()
            it.outbox._lines[PUBSUB].spill()
            it.paper.going.clear()
            reading = asyncio.create_task(it.outbox.read(PUBSUB))
            await it.turns()
            it.outbox.delivered(PUBSUB, records)
            it.outbox._lines[PUBSUB].unmarked.clear()  # it is marked before who reads comes to run
            it.paper.going.set()
            await reading
        assert it.offered() == []


async def test_a_disk_that_refuses_loses_nothing_and_says_so_once(caplog):
    caplog.set_level(logging.WARNING)
    async with box() as it:
        it.paper.writes = False
        it.hold("door 1", "air 1", "smoke 1", sinks=SINKS)
        await it.clock.advance(2.1)
        assert await it.acked() == ["smoke 1", "door 1"]
        assert await it.acked() == ["air 1"]
        assert it.stored == []
        await it.acked(ANNA)
        assert await it.acked(ANNA) == ["air 1"]
        assert it.stored == [1, 3], "everybody has them: the board may forget them"
        it.hold("air 2", "door 2")
        await it.clock.advance(11)
        assert caplog.text.count("not safe on disk") == 1
        assert it.paper.rows == {}
        assert it.paper.dropped.total() == 0, "nothing is lost yet"
        it.paper.writes = True
        await it.clock.advance(5.1)
        assert caplog.text.count("safe on disk again") == 1
        assert it.stored[-1] == 5
        assert len(it.paper.rows) == 5
        assert [it.paper.rows[row].channel for _, row in it.paper.deliveries] == ["door", "air"]


async def test_what_was_delivered_while_the_disk_took_no_mark_is_not_sent_again():
    async with box() as it:
        it.hold(*(f"door {seq}" for seq in range(1, REMEMBERED + 200)))
        await it.outbox.flush()
        it.paper.writes = False
        sent = []
        for _ in range(100):
            await it.read()
            sent += await it.acked(at_once=25)
        assert sent == [f"door {seq}" for seq in range(1, len(sent) + 1)]
        assert REMEMBERED <= len(sent) < REMEMBERED + AHEAD, "the rest waits: too much would come twice after a start"
        it.hold("gate 1")
        assert await it.acked() == ["gate 1"], "live ones go on"
        it.paper.writes = True
        await it.clock.advance(5.1)
        for _ in range(20):
            await it.read()
            sent += await it.acked(at_once=25)
        assert sent == [f"door {seq}" for seq in range(1, REMEMBERED + 200)]
        await it.clock.advance(1)
        assert it.paper.deliveries == {}


async def test_what_cannot_be_read_stops_nothing_and_comes_when_it_can():
    async with box() as it:
        it.hold("door 1", "air 1")
        await it.outbox.flush()
        paper = it.paper
    paper.reads = False
    async with box(paper) as it:
        it.hold("door 2", "smoke 1")
        assert await it.acked() == ["smoke 1", "door 2"], "better out of order than never"
        paper.reads = True
        await it.clock.advance(5.1)
        await it.read()
        assert await it.acked() == ["door 1", "air 1"]
        assert paper.deliveries == {}


async def test_a_file_that_was_replaced_gets_what_memory_still_has_and_no_mark_of_the_old_one():
    """After a damaged file was replaced rows count from 1 again: three alarms were hidden and then deleted unsent."""
    async with box() as it:
        it.hold("smoke 1", "door 1", "air 1")
        await it.outbox.flush()
        async with it.outbox.sending(PUBSUB, records := it.outbox.offer(PUBSUB, 1).records):
            it.paper.corrupt()
            it.hold("gate 1")
            await it.turns()
            it.outbox.delivered(PUBSUB, records)
        await it.clock.advance(0.1)
        waiting = sorted(it.paper.rows[row].identity for _, row in it.paper.deliveries)
        assert waiting == ["k3v9q2xa-door-1", "k3v9q2xa-gate-1"]
        assert it.offered() == ["door 1", "gate 1"]


async def test_what_is_on_its_way_when_the_file_is_replaced_is_kept_in_the_new_one():
    """It was left out, and after a kill nobody had it: the board had forgotten it long ago."""
    async with box() as it:
        it.hold("smoke 1", "door 1", sinks=SINKS)
        await it.outbox.flush()
        async with it.outbox.sending(PUBSUB, it.outbox.offer(PUBSUB, 9).records):
            it.paper.corrupt()
            it.hold("gate 1", sinks=SINKS)
            await it.turns()
        assert it.offered() == ["smoke 1", "door 1", "gate 1"], "the link was cut"
        await it.clock.advance(0.1)
        assert [one.identity for one in await it.paper.pending(PUBSUB)] == [
            "k3v9q2xa-smoke-1", "k3v9q2xa-gate-1", "k3v9q2xa-door-1",
        ]  # fmt: skip


async def test_a_cancelled_commit_is_made_again_and_what_was_delivered_meanwhile_is_marked():
    async with box() as it:
        paper, stored = it.paper, it.stored
        it.hold("door 1", "door 2")
        paper.going.clear()
        flushing = asyncio.create_task(it.outbox.flush())
        await asyncio.sleep(0)
        assert await it.acked(at_once=1) == ["door 1"]
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
        assert it.offered() == ["door 2"]
        paper.going.set()
        await it.outbox.flush()
        assert stored == [1, 2]
        assert [paper.rows[row].seq for _, row in paper.deliveries] == [2]


async def test_a_commit_that_happened_though_the_disk_said_no_sends_nothing_twice():
    async with box() as it:
        add = it.paper.add

        async def lies(entries):
            await add(entries)
            raise StoreError("the disk reports an error")

        it.paper.add = lies
        it.hold("door 1", "door 2")
        await it.turns()
        assert await it.acked(at_once=1) == ["door 1"]
        it.paper.add = add
        await it.clock.advance(5.1)
        assert [it.paper.rows[row].seq for _, row in it.paper.deliveries] == [2]


async def test_ten_thousand_are_held_and_the_least_important_go_first_at_no_cost_each():
    async with box() as it:
        it.paper.going.clear()
        it.hold("smoke 1")
        await it.turns()
        it.hold(*(f"air {seq}" for seq in range(1, 101)))
        await it.clock.advance(1)
        assert len(await it.acked(at_once=40)) == 1
        assert len(await it.acked(at_once=40)) == 40
        it.hold(*(f"door {seq}" for seq in range(1, HELD - 99)))
        assert it.paper.dropped.total() == 0
        it.hold(*(f"door {seq}" for seq in range(HELD - 99, HELD - 59)))
        assert it.paper.dropped.total() == 0, "what the sink has is only history"
        it.hold(*(f"gate {seq}" for seq in range(1, 61)))
        assert it.paper.dropped == {"alarm": 0, "event": 0, "telemetry": 60}
        began = time.process_time()
        it.hold(*(f"gate {seq}" for seq in range(61, 5061)))
        slow_s = time.process_time() - began
        assert it.paper.dropped["event"] == 5000
        assert it.offered(at_once=1) == ["door 5001"]
        async with box() as free:
            began = time.process_time()
            free.hold(*(f"gate {seq}" for seq in range(1, 5001)))
            assert slow_s < 10 * (time.process_time() - began), "a full memory costs no more than an empty one"


async def test_a_sink_that_goes_takes_what_waited_with_it_and_one_that_comes_starts_empty():
    async with box() as it:
        it.paper.going.clear()
        it.hold("door 1", sinks=SINKS)
        await it.turns()
        routing = asyncio.create_task(it.outbox.route((ANNA, "chat:bram@example.org")))
        await it.turns()
        assert it.offered() == [], "at once, whatever the disk does"
        assert it.offered(ANNA) == ["door 1"]
        it.paper.going.set()
        await routing
        assert {sink for sink, _ in it.paper.deliveries} == {ANNA}
        assert it.outbox.sinks == {ANNA, "chat:bram@example.org"}


async def test_a_board_that_begins_again_hears_nothing_too_early():
    async with box() as it:
        it.hold("air 1", "air 2")
        it.outbox.restart()
        it.outbox.received = 1
        it.outbox.answer()
        assert it.stored == []
        await it.outbox.flush()
        assert it.stored == [1]


async def test_no_telemetry_gets_to_the_disk_before_older_telemetry_of_its_channel():
    """Killed then, the board said the older one again, and what is not above the last one on the disk is a repeat."""
    async with box() as it:
        it.hold("air 1", sinks=SINKS)
        it.hold("air 2", "air 3")
        await it.clock.advance(1)
        assert await it.acked() == ["air 1", "air 2", "air 3"]
        it.hold("door 1")
        await it.turns()
        assert [row.identity for row in it.paper.rows.values()] == ["k3v9q2xa-door-1"]
        await it.clock.advance(1)
        assert [row.seq for row in it.paper.rows.values() if row.channel == "air"] == [1, 2, 3]


async def test_the_board_keeps_what_came_first_and_was_acknowledged_last():
    async with box() as it:
        it.hold("air 1", sinks=(ANNA,))
        it.hold("air 2", sinks=(PUBSUB,))
        await it.clock.advance(1)
        await it.acked(PUBSUB)
        await it.acked(ANNA)
        assert it.stored == [], "air 1 is on no disk"
        await it.outbox.flush()
        assert it.stored == [2]


async def test_the_board_keeps_what_came_first_of_a_channel_that_nobody_is_to_hear_of():
    async with box() as it:
        it.hold("air 1", sinks=())
        it.hold("air 2", sinks=(ANNA,))
        await it.outbox.route((PUBSUB,))
        it.outbox.answer()
        assert it.stored == [], "air 1 is on no disk"
        await it.outbox.flush()
        assert it.stored == [2]


async def test_what_is_in_memory_gets_its_time_when_the_clock_is_right():
    async with box() as it:
        it.hold("door 7", "air 5")
        it.outbox.date("b", 1000)
        assert [one.at_ns for one in it.outbox.offer(PUBSUB, 9).records] == [1007]
        await it.outbox.flush()
        assert sorted(one.at_ns for one in it.paper.rows.values()) == [1005, 1007]
