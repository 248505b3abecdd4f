"""The recorded meter is as patient, and as impatient, as a real one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import serial

from knoop_bench.meter import Meter

FILES = sorted((Path(__file__).parents[1] / "data" / "p1").glob("*.txt"))
TELEGRAMS = [file.read_bytes() for file in FILES]


def read(port: serial.Serial, count: int) -> bytes:
    return port.read(count)


async def test_a_reader_gets_the_telegrams_byte_for_byte_in_turn():
    async with Meter(FILES[:2], every_s=0.01, baud=1_000_000) as meter:
        wanted = TELEGRAMS[0] + TELEGRAMS[1] + TELEGRAMS[0]
        with serial.Serial(meter.device, 115_200, timeout=5) as port:
            got = await asyncio.to_thread(read, port, 3 * len(wanted))
    assert wanted in got


async def test_bytes_come_at_the_pace_of_the_line():
    async with Meter(FILES[:1], every_s=60, baud=115_200) as meter:
        loop = asyncio.get_running_loop()
        with serial.Serial(meter.device, 115_200, timeout=5) as port:
            began_s = loop.time()
            sent = asyncio.create_task(meter.send(b"x" * 2_304))  # 0.2 s at 11,520 bytes a second
            await asyncio.to_thread(read, port, 2_304)
            assert await sent
            took_s = loop.time() - began_s
    assert took_s > 0.15


async def test_without_a_reader_the_meter_goes_on_and_the_loop_is_free():
    async with Meter(FILES[:1], every_s=0.001, baud=1_000_000) as meter:
        loop = asyncio.get_running_loop()
        turns, deadline_s = 0, loop.time() + 0.3
        while loop.time() < deadline_s:
            await asyncio.sleep(0.001)
            turns += 1
        assert turns >= 3  # a write that waits for its reader takes all of the time
        assert not await meter.send(b"y" * 20_000)  # more than a line's buffer holds
        with serial.Serial(meter.device, 115_200, timeout=5) as port:
            assert TELEGRAMS[0] in await asyncio.to_thread(read, port, 3 * len(TELEGRAMS[0]))


async def test_a_reader_sees_the_line_hang_up_when_the_meter_is_unplugged():
    async with Meter(FILES[:1], every_s=60) as meter:
        handle = os.open(meter.device, os.O_RDONLY | os.O_NOCTTY)
    try:
        assert not os.read(handle, 1)  # how Linux says it on a terminal: end of file, not EAGAIN for ever
    finally:
        os.close(handle)


@pytest.mark.parametrize("bad", [{"every_s": 0}, {"baud": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="period"):
        Meter(FILES, **bad)
    with pytest.raises(ValueError, match="telegram"):
        Meter([])
