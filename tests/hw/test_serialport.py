"""The serial port on a real pty: what arrives, what leaves, what goes away, what cannot be opened.

A pty has no parity: the marks that the kernel makes of it are undone here as termios(3) describes them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import termios
import tty
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from tests.hw.trees import link, put

from knoop_hw import serialport
from knoop_hw.errors import DeviceError
from knoop_hw.kernel.ports import serial_ports
from knoop_hw.serialport import LIMIT, Framing, open_port, unmark
from knoop_hw.source import Stuck


async def test_bytes_arrive(line):
    master, device = line
    async with open_port(device, owner="sensor.meter", framing="7E1", baudrate=9600) as port:
        os.write(master, b"hello")
        assert await asyncio.wait_for(port.read(), 1) == b"hello"
        reading = asyncio.create_task(port.read())
        await asyncio.sleep(0)
        os.write(master, b"\xff\x00")
        assert await asyncio.wait_for(reading, 20) == b"\xff\x00"


async def test_a_reader_that_is_away_costs_bounded_memory_and_goes_on(line):
    master, device = line
    os.set_blocking(master, False)
    written = 0
    async with open_port(device, owner="sensor.meter") as port:
        async with asyncio.timeout(20):
            while port._watching:
                with suppress(BlockingIOError):  # the kernel's buffer is full, and the loop has yet to empty it
                    written += os.write(master, b"x" * 4096)
                await asyncio.sleep(0.001)
        with suppress(BlockingIOError):
            while True:
                written += os.write(master, b"x" * 4096)
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


async def test_a_wake_up_for_nothing_is_no_hang_up(line):
    """What another program throws away (tcflush) between the loop's look and our read."""
    master, device = line
    async with open_port(device, owner="sensor.meter") as port:
        port._readable()
        os.write(master, b"still there")
        assert await asyncio.wait_for(port.read(), 1) == b"still there"


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


def test_the_ports_that_are_named_are_those_of_the_probe(tmp_path):
    """A new one that udev has not named yet counts, too."""
    put(tmp_path, {"dev/ttyS0": "", "dev/ttyUSB0": "", "dev/ttyUSB1": "", "sys/class/tty/ttyS0/type": "4\n",
                   "sys/class/tty/ttyS0/device/x": ""})  # fmt: skip
    assert serialport._ports(tmp_path) == "/dev/ttyS0, /dev/ttyUSB0, /dev/ttyUSB1"
    link(tmp_path, "dev/serial/by-id/cable", "../../ttyUSB0")
    assert [port.device for port in serial_ports(tmp_path)] == [Path("/dev/serial/by-id/cable"), Path("/dev/ttyS0")]
    assert serialport._ports(tmp_path) == "/dev/serial/by-id/cable, /dev/ttyS0, /dev/ttyUSB1"


async def test_in_use(line):
    _, device = line
    async with open_port(device, owner="sensor.meter"):
        with pytest.raises(
            DeviceError, match=rf"^sensor.other: {device} is in use by another program; `fuser -v {device}`"
        ):
            async with open_port(device, owner="sensor.other"):
                pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_who_does_not_ask_whether_it_is_in_use_cannot_open_it_either(line):
    _, device = line
    device.chmod(0o666)
    async with open_port(device, owner="sensor.meter"):
        os.seteuid(65534)
        try:
            with pytest.raises(OSError, match="busy"):
                os.open(device, os.O_RDWR | os.O_NOCTTY)
        finally:
            os.seteuid(0)
    os.seteuid(65534)
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NOCTTY))
    finally:
        os.seteuid(0)


async def test_no_port_at_all(tmp_path):
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.write_text("")
    loop.symlink_to(loop)
    said = {file: "is not a working serial port", tmp_path: "is not a working serial port",
            file / "x": "does not exist", loop: "does not exist"}  # fmt: skip
    for device, text in said.items():
        with pytest.raises(DeviceError, match=rf"^sensor.meter: {device} {text}; .*ports here: "):
            async with open_port(device, owner="sensor.meter"):
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


# ── marks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SENT = st.lists(st.tuples(st.integers(0, 255), st.booleans()), max_size=40)  # a byte, and whether it came spoiled


def marked(sent):
    """What n_tty makes of it with PARMRK."""
    return b"".join(
        b"\xff\x00" + bytes([byte]) if spoiled else b"\xff\xff" if byte == 0xFF else bytes([byte])
        for byte, spoiled in sent
    )


def unmarked(pieces):
    clean, spoiled, rest = b"", 0, b""
    for piece in pieces:
        more, count, rest = unmark(rest + piece)
        clean, spoiled = clean + more, spoiled + count
    return clean, spoiled, rest


@given(SENT)
def test_marks_are_undone_wherever_a_read_ends(sent):
    stream = marked(sent)
    right = bytes(0xFF if spoiled else byte for byte, spoiled in sent), sum(spoiled for _, spoiled in sent), b""
    for cut in range(len(stream) + 1):
        assert unmarked([stream[:cut], stream[cut:]]) == right
    assert unmarked(stream[at : at + 1] for at in range(len(stream))) == right


@given(st.binary(max_size=60))
def test_nonsense_in_the_place_of_marks_is_survived(stream):
    clean, spoiled, rest = unmark(stream)
    assert rest in {b"", b"\xff", b"\xff\x00"}
    assert len(clean) + 2 * spoiled + stream.count(b"\xff\xff") >= len(stream) - len(rest)


async def test_every_real_byte_arrives_and_none_counts_as_spoiled(line):
    master, device = line
    everything = bytes(range(256)) + b"\xff\x00\x41\xff\xff"
    async with open_port(device, owner="sensor.meter") as port:
        os.write(master, everything)
        received = b""
        while len(received) < len(everything):
            received += await asyncio.wait_for(port.read(), 1)
        assert received == everything
        assert port.spoiled == 0


async def test_spoiled_bytes_are_counted_and_replaced_and_a_mark_may_be_cut(line):
    """A pty that is told to mark nothing passes what we write as if it were a mark."""
    master, device = line
    async with open_port(device, owner="sensor.meter") as port:
        settings = termios.tcgetattr(port._fd)
        settings[0] &= ~termios.PARMRK
        termios.tcsetattr(port._fd, termios.TCSANOW, settings)
        os.write(master, b"a\xff")
        assert await asyncio.wait_for(port.read(), 1) == b"a"
        os.write(master, b"\x00bc\xff\x00")
        assert await asyncio.wait_for(port.read(), 1) == b"\xffc"
        os.write(master, b"\x00d")  # a break
        assert await asyncio.wait_for(port.read(), 1) == b"\xffd"
        assert port.spoiled == 2


@pytest.mark.parametrize("framing", get_args(Framing))
async def test_the_kernel_is_told_to_check(line, framing):
    _, device = line
    async with open_port(device, owner="sensor.meter", framing=framing) as port:
        flags = termios.tcgetattr(port._fd)[0]
    assert flags & termios.INPCK
    assert flags & termios.PARMRK
    assert not flags & (termios.IGNPAR | termios.ISTRIP | termios.BRKINT | termios.IGNBRK | termios.ICRNL)


@pytest.mark.parametrize("baudrate", [300, 9600, 10_400, 250_000, 3_000_000])
async def test_a_speed_that_termios_does_not_name_stays(line, baudrate):
    master, device = line
    async with open_port(device, owner="sensor.meter", baudrate=baudrate):
        assert speed(master) == baudrate


def speed(fd):
    """What TCGETS2 says (asm-generic/termbits.h): c_ospeed is the last of eleven words."""
    import array
    import fcntl

    words = array.array("I", bytes(44))
    fcntl.ioctl(fd, 0x802C542A, words)
    return words[-1]


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_written_arrives_whole_and_in_turn(line):
    master, device = line
    os.set_blocking(master, False)
    texts = [bytes([65 + number]) * 20_000 for number in range(3)]
    async with open_port(device, owner="sensor.arduino") as port:
        received = bytearray()
        writing = asyncio.gather(*map(port.write, texts))
        asyncio.get_running_loop().add_reader(master, lambda: received.extend(os.read(master, 4096)))
        async with asyncio.timeout(20):
            await writing
            while len(received) < 60_000:  # a pty has taken it before the other side has
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().remove_reader(master)
    assert sum(one != other for one, other in pairwise(received)) == 2


async def test_what_a_device_says_while_its_port_is_opened_is_not_said_back_to_it(line, monkeypatch):
    """A new port echoes, as a terminal's does: an Arduino got its own words as an order."""
    master, device = line
    settings = termios.tcgetattr(master)
    settings[3] |= termios.ECHO
    termios.tcsetattr(master, termios.TCSANOW, settings)
    really, heard = serial.Serial, []

    def slowly(*arguments, **more):
        os.write(master, b"T=19.5\n")
        heard.extend(select.select([master], [], [], 0.2)[0])
        return really(*arguments, **more)

    monkeypatch.setattr(serial, "Serial", slowly)
    async with open_port(device, owner="sensor.meter") as port:
        assert heard == []
        await port.write(b"F0\n")
        assert await asyncio.to_thread(os.read, master, 100) == b"F0\n"


async def test_a_port_in_use_keeps_its_settings(line):
    master, device = line
    with device.open("rb+", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        settings = termios.tcgetattr(master)
        settings[3] |= termios.ECHO
        termios.tcsetattr(master, termios.TCSANOW, settings)
        with pytest.raises(DeviceError, match="in use by another program"):
            async with open_port(device, owner="sensor.meter"):
                pass
        assert termios.tcgetattr(master)[3] & termios.ECHO


async def test_a_device_that_takes_nothing(line, monkeypatch):
    monkeypatch.setattr(serialport, "WRITE_LIMIT_S", 0.1)
    master, device = line
    async with open_port(device, owner="sensor.arduino") as port:
        with pytest.raises(DeviceError, match=rf"^sensor.arduino: {device} takes nothing; nothing has left for 0.1 s"):
            await port.write(b"x" * 1_000_000)
        os.set_blocking(master, False)
        left = 0
        with suppress(BlockingIOError):
            while True:
                left += len(os.read(master, 65536))
        assert left <= 4096  # what the other side had; the rest is forgotten, or closing would wait for it
        os.write(master, b"still there")  # and it is heard meanwhile
        assert await asyncio.wait_for(port.read(), 1) == b"still there"


async def test_a_device_that_vanishes_amid_a_write(line):
    master, device = line
    async with open_port(device, owner="sensor.arduino") as port:
        writing = asyncio.create_task(port.write(b"x" * 1_000_000))
        async with asyncio.timeout(20):
            while not port._turn.locked():
                await asyncio.sleep(0)
        os.read(master, 4096)
        os.close(master)
        with pytest.raises(DeviceError, match="was unplugged"):
            await asyncio.wait_for(writing, 20)
        with pytest.raises(DeviceError, match="was unplugged"):
            await port.write(b"x")


async def test_closed_amid_a_write(line):
    _, device = line
    async with open_port(device, owner="sensor.arduino") as port:
        writing = asyncio.create_task(port.write(b"x" * 1_000_000))
        async with asyncio.timeout(20):
            while not port._turn.locked():
                await asyncio.sleep(0)
    with pytest.raises(DeviceError, match="is closed"):
        await asyncio.wait_for(writing, 20)


# ── away and back ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_back_under_the_name_that_udev_gives_it(tmp_path, line):
    master, device = line
    by_id = tmp_path / "usb-Arduino-if00"
    by_id.symlink_to(device)
    async with open_port(by_id, owner="sensor.arduino") as port:
        os.close(master)
        with pytest.raises(DeviceError, match=f"{by_id} was unplugged"):
            await asyncio.wait_for(port.read(), 1)
    by_id.unlink()
    with pytest.raises(DeviceError, match=f"{by_id} does not exist; plug it in"):
        async with open_port(by_id, owner="sensor.arduino"):
            pass
    other, slave = pty.openpty()
    tty.setraw(slave)
    by_id.symlink_to(os.ttyname(slave))
    async with open_port(by_id, owner="sensor.arduino") as port:
        os.write(other, b"again")
        assert await asyncio.wait_for(port.read(), 1) == b"again"
    os.close(other)
    os.close(slave)


async def test_nothing_stays_open(line):
    _, device = line
    with pytest.raises(DeviceError):
        async with open_port(Path("/dev/null"), owner="sensor.arduino"):
            pass
    before = open_files()  # the event loop's own are there now
    for _ in range(3):
        async with open_port(device, owner="sensor.arduino"):
            pass
        with pytest.raises(DeviceError):
            async with open_port(Path("/dev/null"), owner="sensor.arduino"):
                pass
        with pytest.raises(ZeroDivisionError):
            async with open_port(device, owner="sensor.arduino"):
                raise ZeroDivisionError
    assert open_files() == before


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_port_that_does_not_open_in_time_is_let_go_when_it_does(line, monkeypatch):
    import threading

    _, device = line
    may, opened = threading.Event(), serialport._opened
    there = []

    def slowly(*given):
        may.wait(5)
        there.append(opened(*given))
        return there[0]

    monkeypatch.setattr(serialport, "_opened", slowly)
    monkeypatch.setattr(serialport, "OPEN_LIMIT_S", 0.02)
    with pytest.raises(Stuck, match=rf"^sensor.arduino: {device} does not open within 0.02 s; pull it out") as caught:
        async with open_port(device, owner="sensor.arduino"):
            pass
    assert not caught.value.returned.done()  # until then nobody tries again
    may.set()
    await asyncio.wait_for(caught.value.returned, 20)
    async with asyncio.timeout(20):
        while not there or there[0].is_open:
            await asyncio.sleep(0.001)
