"""Several works at once: failures as they are, and a stop that always gets through."""

import asyncio

import pytest

from knoop.errors import LinkError
from knoop.together import together


async def fail(after):
    await after.wait()
    raise LinkError("gone")


async def test_the_first_failure_comes_as_it_is_and_the_others_have_ended():
    ended, go = [], asyncio.Event()

    async def other():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def done():
        go.set()

    with pytest.raises(LinkError, match="gone"):
        await together(other(), fail(go), done())
    assert ended == [True]
    assert asyncio.current_task().cancelling() == 0


async def test_all_done_is_done():
    async def done():
        pass

    await together(done(), done())


async def test_a_stop_in_the_instant_of_a_failure_gets_through():
    """asyncio.TaskGroup hides it up to Python 3.12: a node then went on reconnecting for ever."""
    go = asyncio.Event()
    task = asyncio.create_task(together(fail(go), asyncio.Event().wait()))
    await asyncio.sleep(0)
    go.set()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
