"""The serial port on a real pty: what arrives, what goes away, what cannot be opened."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from knoop_hw.errors import DeviceError
from knoop_hw.serialport import LIMIT, open_port


async def test_bytes_arrive(line):
    master, device = line
    async with open_port(device, owner="sensor.meter", framing="7E1", baudrate=9600) as port:
        os.write(master, b"hello")
        assert await asyncio.wait_for(port.read(), 1) == b"hello"
        reading = asyncio.create_task(port.read())
        await asyncio.sleep(0)
        os.write(master, b"\xff\x00")
        assert await asyncio.wait_for(reading, 1) == b"\xff\x00"


async def test_a_reader_that_is_away_costs_bounded_memory_and_goes_on(line):
    master, device = line
    os.set_blocking(master, False)
    written = 0
    async with open_port(device, owner="sensor.meter") as port:
        for _ in range(200):
            try:
                written += os.write(master, b"x" * 4096)
            except BlockingIOError:
                break
            await asyncio.sleep(0.001)
        received = len(await port.read())
        assert LIMIT <= received < LIMIT + 4096
        while received < written:
            received += len(await asyncio.wait_for(port.read(), 1))
        assert received == written


async def test_an_unplugged_device_says_so_after_its_last_bytes(line):
    master, device = line
    async with open_port(device, owner="sensor.meter") as port:
        os.write(master, b"last")
        assert await asyncio.wait_for(port.read(), 1) == b"last"
        os.close(master)
        with pytest.raises(DeviceError, match=rf"^sensor.meter: {device} was unplugged; plug it in again$"):
            await asyncio.wait_for(port.read(), 1)


async def test_closing_twice_and_reading_afterwards(line):
    _, device = line
    async with open_port(device, owner="sensor.meter") as port:
        port.close()
        with pytest.raises(DeviceError, match="is closed"):
            await port.read()


async def test_absent():
    with pytest.raises(
        DeviceError, match=r"^sensor.meter: /dev/ttyUSB7 does not exist; plug it in or correct 'device'; ports here: "
    ):
        async with open_port(Path("/dev/ttyUSB7"), owner="sensor.meter"):
            pass


async def test_in_use(line):
    _, device = line
    async with open_port(device, owner="sensor.meter"):
        with pytest.raises(
            DeviceError, match=rf"^sensor.other: {device} is in use by another program; `fuser -v {device}`"
        ):
            async with open_port(device, owner="sensor.other"):
                pass


async def test_no_port_at_all(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DeviceError, match=r"is not a working serial port|does not open"):
        async with open_port(file, owner="sensor.meter"):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_not_permitted(line):
    _, device = line
    device.chmod(0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(DeviceError, match=r"may not be opened by nobody; its group '\w+' may not either: give it"):
            async with open_port(device, owner="sensor.meter"):
                pass
    finally:
        os.seteuid(0)
