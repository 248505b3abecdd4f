"""From the outbox to the world: one loop a sink, and a row leaves only when its publisher says so."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from dataclasses import replace

from knoop.errors import Refusal
from knoop.held import RANK
from knoop.outbox import Outbox
from knoop.pace import FIRST, Pace
from knoop.progress import Progress
from knoop.publishers import Publisher
from knoop.record import Record
from knoop.together import woken
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

REFUSED_PAUSE_S = (5.0, 300.0)  # a server that refuses is asked again, ever more seldom; its owner may mend it


class Rest:
    """The pause of what a server refused. What matters more goes on: a full node of telemetry holds no alarm back."""

    def __init__(self) -> None:
        self.pause_s = REFUSED_PAUSE_S[0]
        self._until_ns = self._rank = 0

    def left_s(self, now_ns: int) -> float:
        """How long until it may be tried again."""
        return max(0.0, (self._until_ns - now_ns) / 1e9)

    def excepts(self, record: Record) -> bool:
        """Whether it matters more than what was refused."""
        return RANK[record.cls] < self._rank

    def begin(self, refused: Record, now_ns: int) -> None:
        """This was refused; the next pause is longer."""
        self._until_ns, self._rank = now_ns + round(self.pause_s * 1e9), RANK[refused.cls]
        self.pause_s = min(self.pause_s * 2, REFUSED_PAUSE_S[1])


async def deliver(
    sink: str, publisher: Publisher, *, outbox: Outbox, clock: Clock, at_first: int = FIRST,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Send what waits for `sink`, for as long as the session lives. Raises LinkError when it ends.

    The first portion has `at_first` readings at most; how many the next ones have follows from the answers.
    """
    pace, wake = Pace(publisher.at_once, first=at_first), outbox.wake(sink)
    rest = Rest()
    reading: asyncio.Task[None] | None = None
    try:
        while True:
            wake.clear()  # before looking, so that what comes meanwhile wakes us again
            if reading is not None and reading.done():
                reading.result()
                reading = None
            if reading is None and outbox.wants_disk(sink):  # beside what goes on: a disk may stall
                reading = asyncio.create_task(outbox.read(sink))
            portion = outbox.offer(sink, pace.size)
            if rest_s := rest.left_s(clock.boottime_ns()):
                portion = replace(portion, records=[*filter(rest.excepts, portion.records)])
                if not portion.records:
                    outbox.turn.leave(sink)
                    await woken(wake, clock, rest_s)
                    continue
            if not portion.bulk:
                outbox.turn.leave(sink)
            elif not outbox.turn.take(sink, wake.set):
                await wake.wait()
                continue
            if not portion.records:
                await (wake.wait() if portion.wait_s is None else woken(wake, clock, portion.wait_s))
                continue
            try:
                async with outbox.sending(sink, portion.records):
                    began_ns = clock.boottime_ns()
                    with progress.step(sink) if progress else nullcontext():
                        done = await publisher.send(portion.records)
                    outbox.delivered(sink, portion.records if done is None else done.records)
            except Refusal as error:
                log.error("%s: %s; trying again in %g s", sink, error, rest.pause_s)
                rest.begin(portion.records[0], clock.boottime_ns())
                continue
            if not rest_s:
                rest = Rest()
            if done is None:
                pace.answered(len(portion.records), (clock.boottime_ns() - began_ns) / 1e9)
            else:
                await woken(wake, clock, done.wait_s)
    finally:
        outbox.turn.leave(sink)
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
