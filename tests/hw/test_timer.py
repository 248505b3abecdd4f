"""Timers and patience, in fake time."""

from __future__ import annotations

import asyncio

import pytest

from knoop_hw.timer import Timer, within

S = 1_000_000_000


async def test_only_the_last_wish_counts(clock):
    fired = []
    timer = Timer(lambda: fired.append(clock.boottime_ns()), clock=clock)
    start = clock.boottime_ns()
    timer.at(start + 5 * S)
    timer.at(start + 2 * S)
    await clock.advance(10)
    assert fired == [start + 2 * S]
    timer.at(start + 11 * S)
    timer.at(None)
    await clock.advance(10)
    assert len(fired) == 1


async def test_a_wish_for_the_past_fires_at_once_and_may_wish_again(clock):
    fired = []

    def fire():
        fired.append(clock.boottime_ns())
        if len(fired) < 3:
            timer.at(clock.boottime_ns() + S)

    timer = Timer(fire, clock=clock)
    timer.at(0)
    await clock.advance(5)
    assert [at - fired[0] for at in fired] == [0, S, 2 * S]
    timer.close()
    timer.close()


async def test_within(clock):
    async def after(seconds):
        await clock.sleep(seconds)
        return "done"

    early = asyncio.create_task(within(after(1), 2, clock=clock))
    late = asyncio.create_task(within(after(3), 2, clock=clock))
    await clock.advance(2)
    assert await early == "done"
    with pytest.raises(TimeoutError):
        await late
