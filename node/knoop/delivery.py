"""From the outbox to the world: one loop a sink, and a row leaves only when its publisher says so."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext

from knoop.errors import Refusal
from knoop.outbox import Outbox
from knoop.pace import FIRST, Pace
from knoop.progress import Progress
from knoop.publishers import Publisher
from knoop.together import woken
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

REFUSED_PAUSE_S = (5.0, 300.0)  # a server that refuses is asked again, ever more seldom; its owner may mend it


async def deliver(
    sink: str, publisher: Publisher, *, outbox: Outbox, clock: Clock, at_first: int = FIRST,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Send what waits for `sink`, for as long as the session lives. Raises LinkError when it ends.

    The first portion has `at_first` readings at most; how many the next ones have follows from the answers.
    """
    pace, wake = Pace(publisher.at_once, first=at_first), outbox.wake(sink)
    pause_s = REFUSED_PAUSE_S[0]
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
                log.error("%s: %s; trying again in %g s", sink, error, pause_s)
                await clock.sleep(pause_s)
                pause_s = min(pause_s * 2, REFUSED_PAUSE_S[1])
                continue
            pause_s = REFUSED_PAUSE_S[0]
            if done is None:
                pace.answered(len(portion.records), (clock.boottime_ns() - began_ns) / 1e9)
            else:
                await woken(wake, clock, done.wait_s)
    finally:
        outbox.turn.leave(sink)
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
