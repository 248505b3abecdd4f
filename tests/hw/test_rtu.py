"""The bus: only an answer that fits is one, and one unit's trouble is not the others'."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, bit_message, register_message

from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.rtu import GAP_S, Codec, NoAnswer, join

CODEC = Codec()
SERVER = FramerRTU(DecodePDU(is_server=True))


def answering(pdu, unit):
    pdu.dev_id = unit
    return SERVER.buildFrame(pdu)


# A request, its right answer as bytes, and what it says.
RECORDED = {
    # Eastron, "SDM630 Smart Meter Modbus Protocol Implementation": 230.2 V.
    "eastron": (CODEC.read(1, "input", 0, 2), bytes.fromhex("01 04 04 43 66 33 34 1B 38"), [0x4366, 0x3334]),
    "holding": (
        CODEC.read(17, "holding", 0x6B, 3),
        answering(register_message.ReadHoldingRegistersResponse(registers=[0x022B, 0, 0x64]), 17),
        [0x022B, 0, 0x64],
    ),
    "coils": (
        CODEC.read(17, "coil", 0x13, 19),
        answering(bit_message.ReadCoilsResponse(bits=[True, False, True] * 6 + [True]), 17),
        [True, False, True] * 6 + [True],
    ),
    "long": (
        CODEC.read(3, "holding", 0, 12),
        answering(register_message.ReadHoldingRegistersResponse(registers=[0x0303] * 12), 3),
        [0x0303] * 12,  # full of what looks like the beginning of an answer
    ),
    "one coil": (CODEC.write(3, "coil", 5, [1]), CODEC.write(3, "coil", 5, [1]).frame, [True]),
    "one register": (CODEC.write(3, "holding", 5, [77]), CODEC.write(3, "holding", 5, [77]).frame, [77]),
    "registers": (
        CODEC.write(3, "holding", 5, [1, 2]),
        answering(register_message.WriteMultipleRegistersResponse(address=5, count=2), 3),
        [],
    ),
}
recorded = pytest.mark.parametrize(("request_", "right", "says"), RECORDED.values(), ids=RECORDED)


def said(pdu, says):
    return [bool(bit) for bit in pdu.bits][: len(says)] == says if pdu.bits else list(pdu.registers) == says


@recorded
def test_the_right_answer_is_known_behind_and_before_noise(request_, right, says):
    for before in (b"", b"\x00", b"\xff\x00\xff", right[:4], right[:-1]):
        for after in (b"", b"\x00", right[:3]):
            found = CODEC.answer(request_, before + right + after)
            assert found is not None, (before, after)
            assert not found.isError()
            assert said(found, says)


@recorded
def test_part_of_an_answer_is_none(request_, right, says):
    for cut in range(len(right)):
        assert CODEC.answer(request_, right[:cut]) is None
        assert CODEC.answer(request_, right[:cut] + right[cut + 1 :]) is None
        assert CODEC.answer(request_, right[cut + 1 :]) is None


@recorded
def test_a_byte_spoiled_anywhere_is_no_answer(request_, right, says):
    """Every position, every other byte."""
    for position in range(len(right)):
        for byte in range(256):
            if byte != right[position]:
                assert CODEC.answer(request_, right[:position] + bytes([byte]) + right[position + 1 :]) is None


@recorded
def test_others_answers_are_not_ours(request_, right, says):
    """The unit, the function and the length must be those asked for, and what is written the same."""
    function = request_.pdu.function_code
    for name, (_, theirs, _) in RECORDED.items():
        if theirs != right:
            assert CODEC.answer(request_, theirs) is None, name
    other = answering(register_message.ReadHoldingRegistersResponse(registers=[1, 2, 3, 4]), request_.pdu.dev_id)
    assert CODEC.answer(request_, other) is None
    shorter = answering(register_message.ReadHoldingRegistersResponse(registers=[1]), request_.pdu.dev_id)
    assert CODEC.answer(request_, shorter + bytes(len(right) - len(shorter))) is None
    elsewhere = CODEC.write(request_.pdu.dev_id, "holding", 6, [77]).frame
    assert CODEC.answer(request_, elsewhere) is None
    refused = answering(ExceptionResponse(function, 2), request_.pdu.dev_id)
    assert CODEC.answer(request_, refused).exception_code == 2
    assert CODEC.answer(request_, answering(ExceptionResponse(function, 2), request_.pdu.dev_id + 1)) is None
    assert CODEC.answer(request_, answering(ExceptionResponse(function + 1, 2), request_.pdu.dev_id)) is None


def test_what_comes_from_others_is_not_logged(caplog):
    """pymodbus would: this is the frame alone, as its own client has it."""
    caplog.set_level("DEBUG", logger="knoop_hw")
    ours = FramerRTU(DecodePDU(is_server=False))
    assert ours.handleFrame(RECORDED["eastron"][1], 2, 0)[1] is None
    assert ours.handleFrame(RECORDED["eastron"][1][:-1] + b"\x00", 1, 0)[1] is None
    assert not caplog.records


# ── on a line ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Device:
    """The other end of a line, played by the test: it hears requests, and says what it is told to."""

    def __init__(self, master, device):
        self._master = master
        self._held = os.open(device, os.O_RDWR | os.O_NOCTTY)  # a pty whose one end is closed cannot be read
        self._heard = bytearray()
        self.asked: asyncio.Queue[bytes] = asyncio.Queue()
        self.reply = None
        asyncio.get_running_loop().add_reader(master, self._readable)

    def _readable(self):
        self._heard += os.read(self._master, 4096)
        while len(self._heard) >= 8:
            request = bytes(self._heard[:8])
            del self._heard[:8]
            self.asked.put_nowait(request)
            if self.reply is not None and (reply := self.reply(request)) is not None:
                self.say(reply)

    async def hears(self):
        """The next request."""
        return await asyncio.wait_for(self.asked.get(), 10)

    def say(self, data):
        os.write(self._master, data)

    def close(self):
        if self._held is not None:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._held)
            self._held = None


@pytest.fixture
async def device(line):
    playing = Device(*line)
    yield playing
    playing.close()


@asynccontextmanager
async def joined(line, **settings):
    settings = {"owner": "sensor.a", "baudrate": 115_200, "framing": "8N1", "clock": SystemClock(), **settings}
    async with join(line[1], **settings) as bus:
        yield bus


def read(unit, at, count=1):
    return CODEC.read(unit, "holding", at, count)


def registers(unit, *words):
    return answering(register_message.ReadHoldingRegistersResponse(registers=list(words)), unit)


async def ask(bus, request, *, timeout_s=5.0, tries=1):
    async with asyncio.timeout(10):
        return await bus.ask(request, owner="sensor.a", timeout_s=timeout_s, tries=tries)


async def test_asked_and_answered_in_pieces(line, device):
    async with joined(line) as bus:
        asking = asyncio.create_task(ask(bus, read(1, 0, 2)))
        assert await device.hears() == read(1, 0, 2).frame
        for byte in registers(1, 7, 8):
            device.say(bytes([byte]))
            await asyncio.sleep(0)
        assert (await asking).registers == [7, 8]


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_ones(line, device):
    """Both are of the same unit, function and length: only the time tells them apart."""
    async with joined(line) as bus:
        with pytest.raises(NoAnswer) as raised:
            await ask(bus, read(1, 0), timeout_s=0.1)
        assert not raised.value.spoiled
        asking = asyncio.create_task(ask(bus, read(1, 1), timeout_s=0.1))
        device.say(registers(1, 1000))
        assert await device.hears() == read(1, 0).frame
        assert await device.hears() == read(1, 1).frame
        device.say(registers(1, 1001))
        assert (await asking).registers == [1001]
        assert bus._rest_s(1) > 0  # what it was asked before may still come: it is left alone for once more
        device.reply = lambda request: registers(1, 1002)
        assert (await ask(bus, read(1, 2))).registers == [1002]
        assert bus._rest_s(1) == 0


async def test_who_is_cancelled_leaves_no_answer_to_the_next(line, device):
    async with joined(line) as bus:
        asking = asyncio.create_task(ask(bus, read(1, 0), timeout_s=0.2))
        await device.hears()
        asking.cancel()
        await asyncio.wait([asking])
        next_ = asyncio.create_task(ask(bus, read(1, 1), timeout_s=0.2))
        device.reply = lambda request: registers(1, 1001)
        device.say(registers(1, 1000))
        assert (await next_).registers == [1001]


async def test_what_was_heard_before_is_no_answer(line, device):
    async with joined(line) as bus:
        device.say(registers(1, 6))
        async with asyncio.timeout(20):
            while len(bus._heard) < 7:
                await asyncio.sleep(0.001)
        device.reply = lambda request: registers(1, 7)
        assert (await ask(bus, read(1, 0))).registers == [7]


async def test_an_answer_that_is_spoiled_is_asked_for_again_at_once(line, device, caplog):
    replies = [registers(1, 7)[:-1] + b"\x00", registers(1, 8)[:-1] + b"\x00", registers(1, 9)]
    device.reply = lambda request: replies.pop(0)
    async with joined(line) as bus:
        assert (await ask(bus, read(1, 0), timeout_s=60.0, tries=3)).registers == [9]
        replies += [registers(1, 9)[:-1] + b"\x00"]
        with pytest.raises(NoAnswer) as raised:
            await ask(bus, read(1, 0), timeout_s=60.0)
        assert raised.value.spoiled
    assert [record.message for record in caplog.records] == [
        "sensor.a: what came was not the answer (CRC, unit, function or length) and was dropped; further ones are "
        "not said"
    ]


async def test_an_adapter_that_hears_itself(line, device):
    def reply(request):
        function = request[1]
        return request + (registers(1, 7) if function == 3 else request)

    device.reply = reply
    async with joined(line) as bus:
        for _ in range(2):
            assert (await ask(bus, read(1, 0))).registers == [7]
            assert (await ask(bus, CODEC.write(1, "coil", 0, [1]))).bits == [True]
        # An echo is as long as an answer, and no reason to lose patience; nor is that of a write its answer.
        slow = [registers(1, 8), answering(ExceptionResponse(5, 2), 1)]

        def later(request):
            asyncio.get_running_loop().call_later(3 * GAP_S, device.say, slow.pop(0))
            return request

        device.reply = later
        assert (await ask(bus, read(1, 0))).registers == [8]
        assert (await ask(bus, CODEC.write(1, "coil", 0, [1]))).exception_code == 2


async def test_a_unit_known_to_be_silent_is_asked_once(line, device):
    async with joined(line) as bus:
        for tries in (3, 1, 1):
            with pytest.raises(NoAnswer):
                await ask(bus, read(1, 0), timeout_s=0.02, tries=3)
            assert [device.asked.get_nowait()[0] for _ in range(device.asked.qsize())] == [1] * tries
        device.reply = lambda request: registers(1, 7)
        assert (await ask(bus, read(1, 0), timeout_s=0.2)).registers == [7]
        device.asked.get_nowait()
        device.reply = None
        with pytest.raises(NoAnswer):
            await ask(bus, read(1, 0), timeout_s=0.02, tries=2)
        assert device.asked.qsize() == 2


async def test_a_unit_that_is_silent_waits_for_its_turn(line, device):
    """Nobody answers for unit 9; between two requests to it unit 1 gets its turn, more than once, and it is fast."""
    device.reply = lambda request: registers(1, 7) if request[0] == 1 else None

    async def dead():
        while True:
            with pytest.raises(NoAnswer):
                await ask(bus, read(9, 0), timeout_s=0.05, tries=3)

    async with joined(line) as bus:
        dying = asyncio.create_task(dead())
        order = []
        async with asyncio.timeout(10):
            while order.count(9) < 4:
                assert (await ask(bus, read(1, 0))).registers == [7]
                while not device.asked.empty():
                    order.append(device.asked.get_nowait()[0])
        dying.cancel()
        await asyncio.wait([dying])
    runs = "".join("." if unit == 1 else "D" for unit in order).split("D")
    assert all(len(run) >= 2 for run in runs[1:-1]), order


async def test_several_take_turns(line, device):
    device.reply = lambda request: registers(request[0], request[3])
    async with joined(line) as bus:

        async def many(unit):
            return [(await ask(bus, read(unit, at))).registers for at in range(20)]

        found = await asyncio.gather(*(many(unit) for unit in (1, 2, 3)))
        assert found == [[[at] for at in range(20)]] * 3
        order = [(await device.hears())[0] for _ in range(60)]
        assert order == [1, 2, 3] * 20


async def test_two_who_ask_one_unit_wait_for_each_other_and_no_longer(line, device):
    """A write while its values are read: the next turn is its."""
    async with joined(line) as bus:
        reading = asyncio.create_task(ask(bus, read(1, 0), timeout_s=60.0))
        await device.hears()
        writing = asyncio.create_task(ask(bus, CODEC.write(1, "coil", 0, [1]), timeout_s=60.0))
        device.reply = lambda request: request
        await asyncio.sleep(0)
        device.say(registers(1, 7))
        assert (await reading).registers == [7]
        assert (await writing).bits == [True]
        # But where the one got no answer, the other waits until none can come.
        device.reply = None
        first = asyncio.create_task(ask(bus, read(1, 0), timeout_s=0.1))
        await device.hears()
        await device.hears()
        second = asyncio.create_task(ask(bus, read(1, 1), timeout_s=0.1))
        with pytest.raises(NoAnswer):
            await first
        assert bus._rest_s(1) > 0
        device.say(registers(1, 1000))
        assert await device.hears() == read(1, 1).frame
        assert bus._rest_s(1) == 0
        device.say(registers(1, 1001))
        assert (await second).registers == [1001]


async def test_one_port_for_all_of_its_users(line, device, tmp_path):
    other = tmp_path / "by-id"
    other.symlink_to(line[1])
    device.reply = lambda request: registers(1, 7)
    async with joined(line) as first:
        async with joined((line[0], other), owner="sensor.b") as second:
            assert second is first
        assert (await ask(first, read(1, 0))).registers == [7]
        text = rf"^sensor.c: {line[1]} is open with other settings; give all its sensors the same$"
        with pytest.raises(DeviceError, match=text):
            async with joined(line, owner="sensor.c", baudrate=9600):
                pass
    async with joined(line, baudrate=9600) as anew:
        assert anew is not first


async def test_who_opens_together_opens_once_and_each_hears_why_not(line, tmp_path):
    nowhere = (line[0], tmp_path / "ttyUSB7")
    with pytest.raises(DeviceError, match=rf"^sensor.b: {nowhere[1]} does not exist; "):
        async with joined(nowhere, owner="sensor.b"):
            pass

    async def enter(owner):
        async with joined(line, owner=owner) as bus:
            await asyncio.sleep(0)
            return bus

    first, second = await asyncio.gather(enter("sensor.a"), enter("sensor.b"))
    assert first is second


async def test_unplugged_while_nobody_asks(line, device):
    async with joined(line) as bus:
        device.close()
        os.close(line[0])
        async with asyncio.timeout(20):
            await bus.gone.wait()
        with pytest.raises(DeviceError, match=rf"^sensor.b: {line[1]} was unplugged; plug it in again$"):
            await bus.ask(read(1, 0), owner="sensor.b", timeout_s=5, tries=1)


async def test_unplugged_while_somebody_waits(line, device):
    async with joined(line) as bus:
        asking = asyncio.create_task(ask(bus, read(1, 0)))
        await device.hears()
        device.close()
        os.close(line[0])
        with pytest.raises(DeviceError, match=r"^sensor.a: .* was unplugged"):
            await asking


async def test_a_bus_that_never_rests_is_used_all_the_same(line, device):
    """Somebody babbles: the request goes out when its time is up, and a right answer is found in the noise."""
    async def babble():
        while True:
            device.say(b"\x55")
            await asyncio.sleep(0)

    device.reply = lambda request: registers(1, 7)
    async with joined(line, baudrate=300) as bus:  # 3.5 characters are 117 ms there
        babbling = asyncio.create_task(babble())
        assert (await ask(bus, read(1, 0), timeout_s=0.1)).registers == [7]
        babbling.cancel()
        assert len(bus._heard) <= 4096 + 4096


def test_it_needs_no_ssl_and_no_client():
    program = (
        "import sys; from knoop_hw.cli import NOT_HERE; sys.modules.update(dict.fromkeys(NOT_HERE))\n"
        "import knoop_hw.sensors.modbus, knoop_hw.rtu\n"
        "assert not [name for name in sys.modules if name.startswith('pymodbus')]\n"
        "codec = knoop_hw.rtu.Codec(); request = codec.read(1, 'input', 0, 2)\n"
        "assert codec.answer(request, bytes.fromhex('010404436633341B38')).registers\n"
        "print(*(name for name, module in sys.modules.items() if module is not None))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    names = set(done.stdout.split())
    assert "pymodbus.framer" in names
    parts = ("client", "server", "transport", "transaction", "repl")
    assert not {name for name in names if name.startswith(tuple(f"pymodbus.{part}" for part in parts))}
    assert not names & {"ssl", "_ssl", "_hashlib", "socketserver", "http"}
