"""From the outbox to the world: one loop a sink, and a row leaves only when its publisher says so."""

from __future__ import annotations

import logging

from knoop.errors import Refusal
from knoop.publishers import Publisher
from knoop.router import Router
from knoop.together import woken
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

REFUSED_PAUSE_S = (5.0, 300.0)  # a server that refuses is asked again, ever more seldom; its owner may mend it


async def deliver(sink: str, publisher: Publisher, *, outbox: Router, clock: Clock) -> None:
    """Send what waits for `sink`, oldest first, for as long as the session lives. Raises LinkError when it ends."""
    pause_s = REFUSED_PAUSE_S[0]
    wake = outbox.wake(sink)
    while True:
        wake.clear()  # before looking, so that what comes meanwhile wakes us again
        records = await outbox.pending(sink, limit=publisher.at_once)
        if not records:
            await wake.wait()
            continue
        try:
            async with outbox.gate.through():
                done = await publisher.send(records)
                if taken := records if done is None else done.records:
                    await outbox.delivered(sink, taken)
        except Refusal as error:
            log.error("%s: %s; trying again in %g s", sink, error, pause_s)
            await clock.sleep(pause_s)
            pause_s = min(pause_s * 2, REFUSED_PAUSE_S[1])
            continue
        pause_s = REFUSED_PAUSE_S[0]
        if done is not None:
            await woken(wake, clock, done.wait_s)
