"""What drivers are given: blocking reads that hold up nothing, and sources without a class."""

from __future__ import annotations

import subprocess
import sys

import pytest

from knoop_hw.source import Field, Polled, poll

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
