"""A gate: whoever is inside finishes, nobody else comes in once it is shut."""

from __future__ import annotations

import asyncio

from knoop.gate import Gate


async def test_shut_waits_for_those_inside_and_keeps_others_out():
    gate, leave, done = Gate(), [asyncio.Event(), asyncio.Event()], []

    async def work(number):
        async with gate.through():
            await leave[number].wait()
            done.append(number)

    inside = [asyncio.create_task(work(number)) for number in (0, 1)]
    await asyncio.sleep(0)
    shutting = asyncio.create_task(gate.shut())
    await asyncio.sleep(0)
    late = asyncio.create_task(work(0))
    leave[0].set()
    await asyncio.wait_for(inside[0], 20)
    assert not shutting.done()
    leave[1].set()
    await asyncio.wait_for(shutting, 20)
    assert done == [0, 1]
    assert not late.done()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert done == [0, 1]


async def test_whoever_fails_inside_has_left():
    gate = Gate()

    async def fails():
        async with gate.through():
            raise ConnectionError

    await asyncio.gather(fails(), return_exceptions=True)
    await asyncio.wait_for(gate.shut(), 1)
    await asyncio.wait_for(gate.shut(), 1)
