"""Devices that speak lines: what a line gives, what is lost with a spoiled one, and a talker on a real pty."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pty
import random
import re
import struct
import termios
import time
import tty
from contextlib import asynccontextmanager, suppress
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.protocols.values import Value
from knoop_hw.sensing import sense
from knoop_hw.sensors import lines
from knoop_hw.sensors.lines import LONGEST, MOST, Config, Lines, Write, checked

VALUES = {
    "temperature": Value(pattern=r"^T=(-?\d+\.\d)\b", unit="°C"),
    "humidity": Value(pattern=r"\bH=(\d+)$", unit="%"),
}
STREAM = b"".join(b"T=%d.%d H=%d\r\n" % (20 + n, n, 40 + n) for n in range(6))


def config(device, **more):
    return Config(**{"name": "arduino", "device": device, "values": VALUES, **more})


@asynccontextmanager
async def heard(given, clock):
    """The next tuples of samples, as `field: (value, quality)`."""
    async with lines.open(given, clock=clock) as talker:
        samples = talker.samples()

        async def following():
            taken = await samples.__anext__()
            return {sample.field: (sample.value, sample.quality) for sample in taken}

        yield talker, following
        await samples.aclose()


def soon(work):
    return asyncio.wait_for(work, 20)


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.binary(max_size=30), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.integers(1, 50))
def test_lines_are_the_same_wherever_a_read_ends(texts, end, size):
    texts = [text.translate(None, b"\r\n") for text in texts]
    stream = end.join([*texts, b"not ended"])
    right = [text for text in texts if text.strip()]
    assert Lines(partial=False).feed(stream) == right
    cut = Lines(partial=False)
    assert [line for at in range(0, len(stream), size) for line in cut.feed(stream[at : at + size])] == right


def test_a_cut_at_every_offset_loses_that_line_only():
    whole = Lines(partial=False).feed(STREAM)
    for cut in range(len(STREAM)):
        later = Lines().feed(STREAM[cut:])  # the port was opened here
        assert later == whole[len(whole) - len(later) :]
        assert len(later) == STREAM.count(b"\n", cut) - 1 or STREAM[cut - 1 : cut] == b"\r"


@pytest.mark.parametrize("size", [1, 1000, 4096])
def test_a_line_that_is_too_long_is_dropped_to_its_end(size):
    stream = b"before\n" + b"x" * 5000 + b"\nafter\n" + b"y" * (LONGEST + 1) + b"\n" + b"z" * LONGEST + b"\nend\n"
    cut = Lines(partial=False)
    found = [line for at in range(0, len(stream), size) for line in cut.feed(stream[at : at + size])]
    assert found == [b"before", b"after", b"z" * LONGEST, b"end"]
    assert cut._rest == b""


def test_a_talker_that_never_ends_a_line_takes_no_memory():
    cut = Lines()
    for _ in range(100):
        assert cut.feed(b"x" * 4096) == []
        assert len(cut._rest) <= LONGEST
    assert cut.feed(b"x\nafter\n") == [b"after"]


def signed(body):
    return b"$" + body + b"*%02X" % reduce(xor, body, 0)


def test_checksums():
    sentence = b"$GPGLL,4916.45,N,12311.12,W,225444,A*31"  # the example of many an NMEA 0183 primer
    assert checked(sentence) == sentence[:-3]
    assert checked(b" " + sentence + b" ") == sentence[:-3]
    assert checked(sentence[1:]) == sentence[1:-3]
    for line in (sentence[:-1], sentence[:-3], sentence[:-2] + b"32", b"", b"*", b"*00x", b"$*0_0"):
        assert checked(line) is None, line
    for position in range(1, len(sentence)):
        for byte in {*b"*$0AF\n ", sentence[position] ^ 1} - {sentence[position]}:
            spoiled = sentence[:position] + bytes([byte]) + sentence[position + 1 :]
            assert checked(spoiled) is None or spoiled.upper() == sentence


# ── samples ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_gives_the_values_that_it_holds(line):
    master, device = line
    clock = SystemClock()
    async with heard(config(device), clock) as (talker, following):
        assert [(field.name, field.unit, field.type) for field in talker.fields] == [
            ("temperature", "°C", "number"), ("humidity", "%", "number"),
        ]  # fmt: skip
        os.write(master, b"=99.9 H=99\r\n\r\nArduino is up\r\nT=21.5\r\nH=40\nT=-0.5 H=41\rT=1.5 \xb0 H=42\r\n")
        assert await soon(following()) == {"temperature": (21.5, "ok")}
        assert await soon(following()) == {"humidity": (40.0, "ok")}
        assert await soon(following()) == {"temperature": (-0.5, "ok"), "humidity": (41.0, "ok")}
        assert await soon(following()) == {"temperature": (1.5, "ok"), "humidity": (42.0, "ok")}


async def test_a_value_that_is_none_is_an_error_of_its_own(line):
    master, device = line
    values = {"x": Value(json="x"), "y": Value(json="y")}
    async with heard(config(device, values=values), SystemClock()) as (_, following):
        os.write(master, b'\n{"x": null, "y": 2}\n{"y": 1e999}\n[1]\n{"x": 1}\n')
        assert await soon(following()) == {"x": (None, "error"), "y": (2.0, "ok")}
        assert await soon(following()) == {"y": (None, "error")}
        assert await soon(following()) == {"x": (1.0, "ok")}


async def test_a_spoiled_line_is_lost_and_said_once(line, caplog):
    """0xFF is the port's word for a byte with a wrong parity: `T=2?.5` must not become 2."""
    master, device = line
    values = {"x": Value(pattern=r"x=(\d+)")}
    async with heard(config(device, values=values), SystemClock()) as (_, following):
        os.write(master, b"\nx=1\nx=2\xff\n\xffx=3\nx=4\n")
        assert await soon(following()) == {"x": (1.0, "ok")}
        assert await soon(following()) == {"x": (4.0, "ok")}
    assert [record.message for record in caplog.records] == [
        "sensor.arduino: a spoiled line was dropped; further ones are only counted"
    ]


async def test_with_a_checksum_noise_gives_no_wrong_reading(line):
    """One byte in a hundred is another one: what is heard was sent, and most of it is heard."""
    master, device = line
    chance = random.Random(5)
    sent = [n / 10 for n in range(400)]
    clean = b"".join(signed(b"T,%.1f" % number) + b"\r\n" for number in sent)
    noisy = bytes(chance.randrange(256) if chance.random() < 0.01 else byte for byte in clean)
    assert noisy != clean
    values = {"x": Value(column=2)}
    async with heard(config(device, values=values, checksum="nmea"), SystemClock()) as (_, following):
        os.write(master, b"\n")
        received = []
        for at in range(0, len(noisy), 400):  # slower than MOST lines a read
            os.write(master, noisy[at : at + 400] + b"\n")
            os.write(master, signed(b"T,-1") + b"\n")
            while (found := (await soon(following()))["x"]) != (-1.0, "ok"):
                received.append(found[0])
    assert len(received) > 300
    right = iter(sent)
    assert all(number in right for number in received)  # in this order


@given(st.binary(max_size=400))
def test_binary_garbage_hurts_nobody(noise):
    cut = Lines()
    for line in cut.feed(noise * 3 + b"\n"):
        checked(line)


async def test_garbage_and_then_a_line(line):
    master, device = line
    async with heard(config(device), SystemClock()) as (_, following):
        os.write(master, random.Random(7).randbytes(3000) + b"\nT=5.5 H=5\n")
        taken = {}
        while taken.get("temperature") != (5.5, "ok"):
            taken = await soon(following())


async def test_who_talks_too_much_is_heard_now_and_then(line, clock):
    master, device = line
    async with heard(config(device, values={"x": Value(column=1)}), clock) as (talker, following):
        at_once = b"\n" + b"".join(b"%d\n" % n for n in range(3 * MOST))
        os.write(master, at_once)
        async with asyncio.timeout(20):
            while len(talker._port._buffer) < len(at_once):
                await asyncio.sleep(0.001)
        assert await soon(following()) == {"x": (2.0 * MOST, "ok")}
        for number in range(2 * MOST + 1, 3 * MOST):
            assert await soon(following()) == {"x": (float(number), "ok")}
        os.write(master, b"5\n")
        taking = asyncio.create_task(following())
        await clock.advance(lines.REST_S)
        assert await soon(taking) == {"x": (5.0, "ok")}


@pytest.mark.parametrize("noise", [b"x" * 4000, b"\0" * 4000, (b"5" + b" " * 1000 + b"\n") * 4])
async def test_who_floods_without_many_lines_gives_the_others_time(line, clock, noise):
    master, device = line
    async with heard(config(device, values={"x": Value(column=1)}), clock) as (talker, following):
        os.write(master, noise)
        bound = time.monotonic() + 20
        while struct.unpack("i", fcntl.ioctl(talker._port._fd, termios.FIONREAD, bytes(4)))[0] < len(noise):
            assert time.monotonic() < bound
            time.sleep(0.001)  # the loop shall read all of it at once
        for _ in range(noise.count(b"\n") - 1):  # the first may lack its beginning
            assert await soon(following()) == {"x": (5.0, "ok")}
        taking = asyncio.create_task(following())
        rested_ns = clock.boottime_ns() + int(lines.REST_S * 1e9)
        async with asyncio.timeout(20):
            while rested_ns not in {due_ns for due_ns, _, _ in clock._sleepers}:
                await asyncio.sleep(0.001)
            os.write(master, b"\n7\n")
            while b"7" not in talker._port._buffer:  # it stays there
                await asyncio.sleep(0.001)
        await clock.advance(lines.REST_S)
        assert await soon(taking) == {"x": (7.0, "ok")}


async def test_what_else_is_due_comes_between_two_lines(line):
    """A slow pattern may take 50 ms a line, and 50 lines may come at once: the outputs' guards wait for one."""
    master, device = line
    turns = []

    async def others():
        while True:
            turns.append("other")
            await asyncio.sleep(0)

    async with heard(config(device, values={"x": Value(pattern=r"^T(\d)")}), SystemClock()) as (talker, following):
        looked = talker._samples
        talker._samples = lambda line: turns.append(line) or looked(line)
        other = asyncio.create_task(others())
        os.write(master, b"\nno\nneither\nnor this\nT5\n")
        assert await soon(following()) == {"x": (5.0, "ok")}
        other.cancel()
    lines_at = [at for at, turn in enumerate(turns) if turn != "other"]
    assert len(lines_at) == 4
    assert all("other" in turns[one:next_] for one, next_ in zip(lines_at, lines_at[1:], strict=False))


async def test_a_pattern_that_takes_years(line, monkeypatch):
    master, device = line
    async with heard(config(device, values={"x": Value(pattern="(a+)+b")}), SystemClock()) as (_, following):
        os.write(master, b"\n" + b"a" * 500 + b"\n")
        with pytest.raises(DeviceError, match=r"^sensor.arduino: 'a{60}' … is too long for a pattern; let no \+ or \*"):
            await soon(following())


# ── silence ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def silent(given, clock, said):
    """Why there is no value, after `said`."""
    async with heard(given, clock) as (opened, following):
        taking = asyncio.create_task(following())
        os.write(MASTERS[given.device], said)
        async with asyncio.timeout(20):
            while opened._strange.size < len(said):
                await asyncio.sleep(0.001)
        await clock.advance(given.timeout_s + 1)
        with pytest.raises(DeviceError) as caught:
            await soon(taking)
    return str(caught.value)


MASTERS = {}


@pytest.fixture
def talker(line):
    master, device = line
    MASTERS[device] = master
    return device


@pytest.mark.parametrize(
    ("said", "more", "why"),
    [
        (b"", {}, "and not one byte; check the cable, and whether the device runs"),
        (b"", {"poll": "R"}, "and not one byte; check the cable, and whether the device runs or understands no 'poll'"),
        (b"hello\nhi \x1b[2J you\n", {}, "1 lines fit none of 'values', the last was 'hi \\x1b[2J you'"),
        (b"x" * 2000, {}, "2000 bytes came, but no line of at most 1024; check 'baudrate'"),
        (b"\n\xff\xff\n\xff\n", {}, "2 spoiled lines, 0 bytes with a wrong parity or stop bit; check 'baudrate', "),
    ],
)
async def test_silence_says_what_was_heard(talker, clock, said, more, why):
    text = await silent(config(talker, timeout_s=60.0, **more), clock, said)
    assert text.startswith("sensor.arduino: no value in 60 s")
    assert why in text


async def test_one_value_that_is_silent_is_missing_and_comes_back(talker, clock):
    master = MASTERS[talker]
    async with heard(config(talker), clock) as (_, following):
        os.write(master, b"\nT=1.0 H=1\n")
        assert len(await soon(following())) == 2
        for _ in range(5):
            await clock.advance(10)
            os.write(master, b"T=1.0\n")
            assert await soon(following()) == {"temperature": (1.0, "ok")}
        taking = asyncio.create_task(following())
        await clock.advance(10)
        assert await soon(taking) == {"humidity": (None, "missing")}
        for _ in range(9):  # said once
            os.write(master, b"T=1.0\n")
            assert await soon(following()) == {"temperature": (1.0, "ok")}
            await clock.advance(10)
        os.write(master, b"H=2\n")
        assert await soon(following()) == {"humidity": (2.0, "ok")}
        for _ in range(5):
            await clock.advance(10)
            os.write(master, b"T=1.0\n")
            await soon(following())
        taking = asyncio.create_task(following())
        await clock.advance(10)
        assert await soon(taking) == {"humidity": (None, "missing")}  # and again
        os.write(master, b"H=3\n")
        await soon(following())
        taking = asyncio.create_task(following())
        await clock.advance(51)
        assert await soon(taking) == {"temperature": (None, "missing")}
        taking = asyncio.create_task(following())
        await clock.advance(10)
        with pytest.raises(DeviceError, match="no value in 60 s"):
            await soon(taking)


# ── asking and telling ────────────────────────────────────────────────────────────────────────────────────────────────


async def read_of(master):
    """What the device hears next."""
    loop = asyncio.get_running_loop()
    there = loop.create_future()
    loop.add_reader(master, lambda: there.done() or there.set_result(os.read(master, 100)))
    try:
        return await soon(there)
    finally:
        loop.remove_reader(master)


async def test_a_device_that_answers_when_asked(talker, clock):
    master = MASTERS[talker]
    given = config(talker, poll="R\n", every_s=20.0)
    async with heard(given, clock) as (opened, following):
        taking = asyncio.create_task(following())
        await clock.advance(lines.QUIET_S)
        assert await read_of(master) == b"R\n"
        await clock.advance(lines.BOOT_S)  # it was still starting
        assert await read_of(master) == b"R\n"
        os.write(master, b"T=1.0 H=1\n")  # whole: nobody talked before
        assert await soon(taking) == {"temperature": (1.0, "ok"), "humidity": (1.0, "ok")}
        taking = asyncio.create_task(following())
        await clock.advance(lines.BOOT_S)
        assert await read_of(master) == b"R\n"
        os.write(master, b"T=2.0\n")
        assert await soon(taking) == {"temperature": (2.0, "ok")}
        taking = asyncio.create_task(following())
        await clock.advance(19)
        os.write(opened._port._fd, b"|")  # what it had been asked before would come before it
        assert await read_of(master) == b"|"
        await clock.advance(1.1)
        assert await read_of(master) == b"R\n"
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await taking


async def test_what_was_left_of_an_answer_is_no_reading(talker, clock):
    master = MASTERS[talker]
    values = {"x": Value(pattern=r"(\d+\.\d)")}
    async with heard(config(talker, poll="R", values=values), clock) as (_, following):
        taking = asyncio.create_task(following())
        await asyncio.sleep(0)
        os.write(master, b"1.")  # of 21.5, as it left the device
        assert await read_of(master) == b"R"
        os.write(master, b"5\n22.5\n")
        assert await soon(taking) == {"x": (22.5, "ok")}


@pytest.mark.parametrize(
    ("write", "value", "sent"),
    [
        ("B{value}\n", 128.0, b"B128\n"), ("B{value}\n", 0.1, b"B0.1\n"), ("R{value}", True, b"R1"),
        ("R{value}", False, b"R0"), ("{value:.0f};", 2.5001, b"3;"), ("{value:03.0f}", 7, b"007"),
        ('{"led": {value}}\r', 1, b'{"led": 1}\r'), ("{value} {value:.1f}", 1e12, b"1000000000000 1000000000000.0"),
        ("{value:03d}|{value:+X}", 254.6, b"255|+FF"), ("{value:03}|{value:.1}", 7, b"007|7.0"),
        ("B{value}", -0.0, b"B0"),
    ],
)  # fmt: skip
async def test_telling(line, write, value, sent):
    master, device = line
    async with heard(config(device), SystemClock()) as (talker, following):
        os.write(master, b"\nT=1.0\n")
        await soon(following())
        kind = "switch" if isinstance(value, bool) else "number"
        assert await talker.write(Write(write=write, kind=kind), value) is None
        assert await read_of(master) == sent


async def test_a_device_that_starts_anew_is_told_when_it_listens(talker, clock):
    """An Arduino's boot loader swallows what comes before its first line."""
    master = MASTERS[talker]
    async with heard(config(talker), clock) as (opened, following):
        taking = asyncio.create_task(following())
        telling = asyncio.create_task(opened.write(Write(write="B{value}"), 1))
        await clock.advance(lines.BOOT_S - 1)
        assert not telling.done()
        os.write(master, b"\nT=1.0\n")
        await soon(taking)
        await soon(telling)
        assert await read_of(master) == b"B1"
    async with heard(config(talker), clock) as (opened, _):  # one that does not speak is told all the same
        telling = asyncio.create_task(opened.write(Write(write="B{value}"), 1))
        await clock.advance(lines.BOOT_S)
        assert await read_of(master) == b"B1"
        await soon(telling)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"write": "B\n"}, "write: needs {value} where the value stands"),
        ({"write": "{valu}"}, "write: needs {value} where"),
        ({"write": "{value.real}"}, "write: needs {value} where"),
        ({"write": "{value[0]}"}, "write: needs {value} where"),
        ({"write": "{value}{value:999999999f}"}, "write: '999999999f' is no format; write {value} or"),
        ({"write": "{value:.2d}"}, "write: '.2d' is no format; write {value} or"),
        ({"write": "{value:s}"}, "write: 's' is no format; write {value} or"),
        ({"write": "{value}" + "x" * LONGEST}, "write: needs"),
        ({"write": "{value}", "on": "ON"}, "on: a number is neither on nor off; leave it out"),
        ({"write": "{value:d}", "kind": "switch"}, "write: a switch has no digits; write {value}"),
        ({"write": "{value}", "kind": "switch", "on": "0"}, "on: is the same as off; correct one of them"),
        ({"write": "{value}", "answer": "OK"}, "answer: has no groups; put what is the value in ( )"),
        ({"write": "{value}", "answer": "OK ("}, "answer: missing ), unterminated subpattern at character 4"),
    ],
)
def test_what_cannot_be_told(keys, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Write(**{"kind": "number", **keys})


@pytest.mark.parametrize(
    ("keys", "line", "value"),
    [
        ({"answer": r"OK B(\d+)"}, "OK B1", True), ({"answer": r"OK B(\d+)"}, "OK C1", None),
        ({"answer": r"^lamp is (\w+)$", "on": "lit", "off": "dark"}, "lamp is dark", False),
        ({"answer": r"^lamp is (\w+)$", "on": "lit", "off": "dark"}, "lamp is on", True),
        ({"answer": r"B=(?P<value>[\d.]+) of (\d+)", "kind": "number"}, "B=12.5 of 255", 12.5),
    ],
)  # fmt: skip
def test_what_a_device_answers(keys, line, value):
    assert Write(write="{value}", **keys).confirmed(line) == value


async def test_an_answer_is_the_value_that_it_has_now(line):
    master, device = line
    lamp = Write(write="L{value}\n", answer=r"^L=(\w+)$")
    async with heard(config(device), SystemClock()) as (talker, following):
        os.write(master, b"\nL=1\nT=1.0\n")  # nobody has told it anything yet
        await soon(following())
        telling = asyncio.create_task(talker.write(lamp, True))
        assert await read_of(master) == b"L1\n"
        os.write(master, b"L=0\nT=2.0\n")
        assert await soon(following()) == {"temperature": (2.0, "ok")}
        os.write(master, b"L=1\nT=2.5\n")
        await soon(following())
        assert await soon(telling) is True, "what came first was the answer to what it was told before"
        telling = asyncio.create_task(talker.write(lamp, True))
        assert await read_of(master) == b"L1\n"
        os.write(master, b"L=x\nT=3.0\n")
        await soon(following())
        with pytest.raises(DeviceError, match=r"^sensor.arduino: answers 'L=x': 'x' is neither 1 on true yes nor"):
            await soon(telling)


@asynccontextmanager
async def told(talker, clock):
    """A lamp that has been told to be on and has yet to answer: the next samples, and what becomes of the telling."""
    async with heard(config(talker), clock) as (opened, following):
        taking = asyncio.create_task(following())
        await clock.advance(0)
        os.write(MASTERS[talker], b"\nT=1.0\n")
        await soon(taking)
        telling = asyncio.create_task(opened.write(Write(write="L{value}\n", answer=r"^L=(\w+)$"), True))
        assert await read_of(MASTERS[talker]) == b"L1\n"
        yield following, telling


async def test_what_answers_the_contrary_and_nothing_else_does_not_obey(talker, clock):
    async with told(talker, clock) as (following, telling):
        taking = asyncio.create_task(following())
        os.write(MASTERS[talker], b"L=0\nT=2.0\n")
        await soon(taking)
        await clock.advance(lines.ANSWER_S)
        assert await soon(telling) is False


async def test_no_answer_is_a_failure(talker, clock):
    async with told(talker, clock) as (_, telling):
        await clock.advance(lines.ANSWER_S)
        with pytest.raises(DeviceError, match=r"^sensor.arduino: no line that fits 'answer' came within 2 s$"):
            await soon(telling)


async def test_a_device_that_is_only_written_to_is_there_while_its_port_is(talker, clock):
    async with heard(config(talker, values={}), clock) as (opened, following):
        taking = asyncio.create_task(following())
        await clock.advance(10_000)
        telling = asyncio.create_task(opened.write(Write(write="B{value}"), False))
        await clock.advance(lines.BOOT_S - 1)
        os.write(MASTERS[talker], b"\nhello\n")
        await soon(telling)
        assert await read_of(MASTERS[talker]) == b"B0"
        await clock.advance(200_000)
        assert not taking.done()
        await soon(opened.write(Write(write="B{value}"), True))
        assert await read_of(MASTERS[talker]) == b"B1"
        taking.cancel()
        await asyncio.wait({taking})


# ── the configuration ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ('values = {"T 1" = {column = 1}}', "6: sensor.arduino.values: 'T 1' is no name; take lower-case letters"),
        ("values = {x = {column = 1}}\nevery = 5", "7: sensor.arduino.every: is how often a device is asked; add"),
        ('values = {x = {column = 1}}\npoll = "R"\nevery = "2min"', "3: sensor.arduino.timeout: is not longer than"),
        ('values = {x = {column = 1}}\nframing = "9N1"', '7: sensor.arduino.framing: "9N1" is not one of 8N1, 7E1, '),
        ("values = {x = {column = 1}}\nbaudrate = 1", "7: sensor.arduino.baudrate: expected from 50 to 4e+06, not 1"),
    ],
)
def test_refused_where_it_stands(written, complaint):
    text = f'\n\n[sensor.arduino]\ndriver = "lines"\ndevice = "/dev/null"\n{written}\n'
    problems = []
    hw_config.load(decode.parse(text, "node.toml"), problems)
    assert str(problems[0]).removeprefix("node.toml:").startswith(complaint)


def test_options_of_a_value_stand_where_they_stand_for_every_sensor(configured):
    [sensor] = configured(
        '[sensor.arduino]\ndriver = "lines"\ndevice = "/dev/ttyACM0"\nlabel = "Attic"\n'
        'values = {t = {json = "t", unit = "°C"}, door = {column = 1, type = "text"}}\n'
        '[sensor.arduino.t]\ndelta = 0.5\nlabel = "warmth"\n'
    ).sensors
    assert [(item.channel.name, item.channel.label, item.channel.unit) for item in sensor.fields] == [
        ("arduino.t", "warmth", "°C"), ("arduino.door", "Attic door", ""),
    ]  # fmt: skip


# ── a talker, end to end ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_it_says_becomes_readings(line):
    master, device = line
    text = f"""
    [sensor.arduino]
    driver = "lines"
    device = "{device}"
    [sensor.arduino.values]
    temperature = {{pattern = 'T=(-?\\d+\\.\\d)', unit = "°C"}}
    door = {{json = "door", type = "text"}}
    [sensor.arduino.temperature]
    delta = 0.5
    """
    problems = []
    given = hw_config.load(decode.parse(text, "node.toml"), problems)
    assert not problems
    async with Board(given, clock=SystemClock()) as board, asyncio.timeout(20):
        assert [(channel.name, channel.unit, channel.digits) for channel in board.channels] == [
            ("arduino.temperature", "°C", 1), ("arduino.door", "", None),
        ]  # fmt: skip
        while not {"arduino.temperature", "arduino.door"} <= board.latest.keys():
            os.write(master, b'T=21.5\r\n{"door": "open"}\r\n')  # again and again: what came before it opened is lost
            await asyncio.sleep(0.002)
        os.write(master, b"T=21.6\r\nT=-3.5\r\n")
        while board.latest["arduino.temperature"].value != -3.5:
            await asyncio.sleep(0.002)
        readings = board.latest
    assert {name: (reading.value, reading.quality) for name, reading in readings.items()} == {
        "arduino.temperature": (-3.5, "ok"), "arduino.door": ("open", "ok"),
    }  # fmt: skip
    assert readings["arduino.temperature"].seq == 2  # delta


async def test_away_and_back_under_its_name(tmp_path, caplog, clock):
    """What udev does: the link goes with the device, and comes back to another one. One log line each."""
    by_id = tmp_path / "usb-Arduino-if00"
    text = f'[sensor.arduino]\ndriver = "lines"\ndevice = "{by_id}"\nvalues = {{t = {{pattern = "T=(.*)"}}}}\n'
    problems = []
    given = hw_config.load(decode.parse(text, "node.toml"), problems)
    assert not problems
    arrived = asyncio.Queue()

    def report(channel, value, quality, _at_ns):
        arrived.put_nowait((channel, value, quality))

    sensing = asyncio.create_task(sense(given.sensors[0], clock=clock, report=report))

    async def next_reading():
        while arrived.empty():
            await clock.advance(0.5)
            await asyncio.sleep(0.001)
        return arrived.get_nowait()

    async def talk(master, text):
        while True:
            with suppress(OSError):
                os.write(master, text)
            await asyncio.sleep(0.001)

    async def until(right):
        while (found := await soon(next_reading())) != right:
            assert found[1] is None

    await until(("arduino.t", None, "missing"))
    for number in (1, 2):
        master, slave = pty.openpty()
        tty.setraw(slave)
        by_id.symlink_to(os.ttyname(slave))
        os.close(slave)
        talking = asyncio.create_task(talk(master, b"T=%d\n" % number))
        await until(("arduino.t", float(number), "ok"))
        talking.cancel()
        by_id.unlink()
        os.close(master)
        while (await soon(next_reading()))[2] == "ok":
            pass
    sensing.cancel()
    with suppress(asyncio.CancelledError):
        await sensing
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text.partition(";")[0] for text in said] == [
        f"sensor.arduino: {by_id} does not exist", "sensor.arduino: is back",
        f"sensor.arduino: {by_id} was unplugged", "sensor.arduino: is back",
        f"sensor.arduino: {by_id} was unplugged",
    ]  # fmt: skip
