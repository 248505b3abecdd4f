"""What drivers are given: blocking reads that hold up nothing, and sources without a class."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading

import pytest

from knoop_hw.clock import SystemClock
from knoop_hw.source import Field, Polled, Stuck, answer, poll

HANGS = """
import asyncio, os
from knoop_hw.clock import SystemClock
from knoop_hw.source import poll
never, _ = os.pipe()
async def main():
    try:
        async with asyncio.timeout(0.1):
            await anext(poll(lambda: os.read(never, 1), every_s=1, clock=SystemClock()))
    except TimeoutError:
        print("cancelled")
asyncio.run(main())
"""


def test_a_read_that_hangs_delays_neither_its_cancellation_nor_the_end_of_the_process():
    done = subprocess.run([sys.executable, "-c", HANGS], check=True, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("cancelled\n", "")


async def test_what_a_read_raises_ends_the_polling(clock):
    def read():
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        await anext(poll(read, every_s=1, clock=clock))


async def test_a_read_whose_iterator_ends_fails_and_does_not_wait_for_ever(clock):
    """Up to Python 3.11 a future refuses StopIteration, and was never done."""
    with pytest.raises(RuntimeError, match=r"StopIteration\(\) is no answer"):
        await answer(lambda: next(iter(())), clock=clock)


async def test_a_read_that_does_not_answer_is_stuck_until_it_returns_however():
    free, asked = threading.Event(), []

    def read():
        asked.append(free.wait(10))
        raise OSError(5, "Input/output error")

    with pytest.raises(Stuck, match=r"^it has not answered for 0\.02 s$") as raised:
        await anext(poll(read, every_s=1, clock=SystemClock(), limit_s=0.02))
    assert not raised.value.returned.done()
    free.set()
    await asyncio.wait({raised.value.returned}, timeout=10)
    assert (raised.value.returned.done(), asked) == (True, [True])


async def test_each_step_of_a_read_has_its_time(clock):
    free, began = threading.Event(), [0]
    reading = asyncio.ensure_future(answer(lambda: free.wait(10), clock=clock, limit_s=10, step_ns=lambda: began[0]))
    await clock.advance(8)
    began[0] = clock.boottime_ns()
    await clock.advance(9.9)
    assert not reading.done()
    await clock.advance(0.2)
    with pytest.raises(Stuck, match=r"^it has not answered for 10 s$"):
        await asyncio.wait_for(reading, 10)
    free.set()


async def test_nobody_hears_how_a_read_ended_that_was_left_behind(clock, caplog):
    free, mine = threading.Event(), asyncio.get_running_loop().create_future()

    def read():
        mine.get_loop().call_soon_threadsafe(mine.set_result, threading.current_thread())
        free.wait(10)
        raise OSError(5, "Input/output error")

    asking = asyncio.create_task(answer(read, clock=clock))
    thread = await asyncio.wait_for(mine, 10)
    asking.cancel()
    await asyncio.wait({asking})
    free.set()
    thread.join(10)
    await clock.advance(0)
    del asking
    gc.collect()
    assert caplog.messages == []


async def test_an_answer_in_time_leaves_nothing_behind(clock):
    before = asyncio.all_tasks()
    assert await answer(lambda: 42, clock=clock) == 42
    await clock.advance(60)
    assert asyncio.all_tasks() == before


async def test_polled_stamps_what_was_read_and_tells_what_is_missing(clock):
    source = Polled(
        fields=(Field(name="a"), Field(name="b")), read=lambda: {"a": 1, "other": 2}, every_s=1, clock=clock
    )
    samples = source.samples()
    taken = await anext(samples)
    assert [(s.field, s.value, s.quality, s.boottime_ns) for s in taken] == [
        ("a", 1, "ok", clock.boottime_ns()), ("b", None, "missing", clock.boottime_ns()),
    ]  # fmt: skip
    await samples.aclose()
