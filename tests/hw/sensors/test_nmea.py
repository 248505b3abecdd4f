"""The receiver on a port: when it tells, how seldom when nothing moves, and what it says when there is nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from pynmea2 import parse

from knoop_hw.clock import FakeClock, SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.filters import Delta, Filter
from knoop_hw.protocols.nmea_epochs import Epochs, Sentences
from knoop_hw.sensors import nmea
from knoop_hw.sensors.nmea import FIELDS, Config

DATA = Path(__file__).parents[2] / "data/nmea"
STILL = (DATA / "bu353s4-still.txt").read_bytes()
PLACE = ("latitude", "longitude", "fix", "satellites", "course")


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


def summed(body: str) -> bytes:
    """A sentence with its checksum, as a line."""
    return f"${body}*{reduce(xor, body.encode(), 0):02X}\r\n".encode()


@pytest.mark.parametrize(
    ("keys", "text"),
    [({"fields": ("lattitude",)}, "did you mean 'latitude'"), ({"fields": ()}, "at least one"),
     ({"fields": ("fix", "fix")}, "once")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(keys, text):
    with pytest.raises(ValueError, match=text):
        Config(name="gps", device=Path("/dev/x"), **keys)


def test_it_spares_the_card_and_the_link(configured):
    table = '[sensor.gps]\ndriver = "nmea"\ndevice = "/dev/x"\n'
    options = {item.field.name: item.options for item in configured(table).sensors[0].fields}
    assert list(options) == ["latitude", "longitude", "altitude", "speed", "fix", "satellites"]
    assert (options["latitude"].delta, options["latitude"].min_interval_s) == (Delta(0.0002), 60)
    mine = {item.field.name: item.options for item in configured(table + "min_interval = 0\n").sensors[0].fields}
    assert (mine["latitude"].delta, mine["latitude"].min_interval_s) == (Delta(0.0002), 0)


def test_what_lies_still_is_told_once_an_hour():
    """A day of a recorded receiver that does not move, asked every 10 s: 24 readings a value instead of 8,640."""
    sentences, epochs = Sentences(), Epochs(parse)
    there = [epoch for sentence in sentences.feed(STILL) if (epoch := epochs.feed(sentence, 0))]
    for name in ("latitude", "longitude", "altitude", "speed", "fix", "satellites", "hdop"):
        chain, count = Filter(FIELDS[name].defaults), 0
        for second in range(0, 86400, 10):
            value = there[second // 10 % len(there)].values[name]
            count += chain.feed(value, "ok", second * 10**9) is not None
        assert count == 24, name


@pytest.mark.parametrize(("name", "values"), [("fix", ("none", "3d", "none")), ("satellites", (0, 8, 0))])
def test_a_fix_is_told_with_the_place(name, values):
    """Within a minute of the last: the place itself passes at once, as it comes and goes."""
    chain = Filter(FIELDS[name].defaults)
    assert [chain.feed(value, "ok", second * 10**9) for second, value in enumerate(values)] == [
        (value, "ok", second * 10**9) for second, value in enumerate(values)
    ]


async def test_a_receiver_on_a_port(line, caplog):
    master, device = line
    async with nmea.open(Config(name="gps", device=device, fields=PLACE, every_s=0), clock=SystemClock()) as gps:
        samples = gps.samples()
        os.write(master, b"\xff garbage\r\n" + STILL[:2000])
        first = await asyncio.wait_for(anext(samples), 2)
        assert [(s.field, s.value, s.quality) for s in first] == [
            ("latitude", pytest.approx(-37.7848, abs=1e-4), "ok"),
            ("longitude", pytest.approx(175.3149, abs=1e-4), "ok"),
            ("fix", "3d", "ok"), ("satellites", 8, "ok"), ("course", None, "missing"),
        ]  # fmt: skip
        os.write(master, STILL[2000:] + (DATA / "bu353-loses-fix.txt").read_bytes())
        await until(lambda: gps._port._buffer.endswith(b"\n") and len(gps._port._buffer) > 8000)
        then = await asyncio.wait_for(anext(samples), 2)
        assert [(s.value, s.quality) for s in then] == [
            (None, "missing"), (None, "missing"), ("none", "ok"), (0, "ok"), (None, "missing"),
        ]  # fmt: skip
        await samples.aclose()
    assert not caplog.records


async def test_a_reckoned_place_is_an_estimate(line):
    master, device = line
    reckoned = b"".join(
        summed(f"GPGGA,12000{number},5200.0000,N,00500.0000,E,6,03,2.0,1.0,M,,M,,") for number in range(3)
    )
    async with nmea.open(Config(name="gps", device=device, fields=PLACE), clock=SystemClock()) as gps:
        os.write(master, reckoned)
        taken = await asyncio.wait_for(anext(gps.samples()), 2)
    assert [(s.value, s.quality) for s in taken[:3]] == [(52, "estimate"), (5, "estimate"), ("estimated", "ok")]


async def test_the_first_is_told_at_once_and_then_the_newest_at_most_so_often(line):
    master, device = line
    clock, told = FakeClock(), []
    async with nmea.open(Config(name="gps", device=device, fields=("speed",), every_s=10), clock=clock) as gps:

        async def follow():
            async for [sample] in gps.samples():
                told.append(sample.value)

        following = asyncio.create_task(follow())
        for number in range(24):
            os.write(master, summed(f"GPRMC,1200{number:02},A,5200.0000,N,00500.0000,E,{number}.0,,010126,,,A"))
            ended = f"1200{number:02}"
            await until(lambda ended=ended: gps._epochs._open is not None and gps._epochs._open.time == ended)
            await clock.advance(1.02 if number % 2 else 0.98)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert told == [round(knots * 1.852, 2) for knots in (1, 11, 21)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "and not one byte; check the cable, and whether the receiver has power"),
        (bytes(range(128, 250)), "but 122 bytes of garbage; check 'baudrate': receivers have 4800, 9600, 38400 or"),
        (b"\r\n".join(line[:-3] for line in STILL.split(b"\r\n")), "but 90 sentences without a checksum; switch it on"),
        (b"\r\n".join(line for line in STILL.split(b"\r\n") if b"GSA" in line), "but 24 sentences of other kinds; let"),
        (b"*" + STILL.replace(b"GPRMC", b"GPRM\xff"), "26 of 91 sentences arrive spoiled; check the cable"),
    ],
    ids=["nothing", "garbage", "unsummed", "others", "spoiled"],
)  # fmt: skip
async def test_why_there_is_nothing(line, data, why):
    master, device = line
    clock = FakeClock()
    async with nmea.open(Config(name="gps", device=device, timeout_s=20), clock=clock) as gps:
        waiting = asyncio.create_task(anext(gps.samples()))
        os.write(master, data)
        await until(lambda: gps._bytes == len(data))
        assert not waiting.done()
        await clock.advance(20.1)
        with pytest.raises(DeviceError) as silent:
            await waiting
    assert "sensor.gps: no word on the fix in 20 s" in str(silent.value)
    assert why in str(silent.value)


async def test_two_places_at_once_are_named(line):
    master, device = line
    clock = FakeClock()
    two = b"".join(
        summed(f"GPGGA,12000{number},5200.0000,N,00500.0000,E,1,03,2.0,1.0,M,,M,,")
        + summed(f"GPRMC,12000{number},A,5100.0000,N,00500.0000,E,1.0,,010126,,,A")
        for number in range(4)
    )
    async with nmea.open(Config(name="gps", device=device, timeout_s=20), clock=clock) as gps:
        waiting = asyncio.create_task(anext(gps.samples()))
        os.write(master, two)
        await until(lambda: gps._epochs.doubted == 2)
        await clock.advance(20.1)
        with pytest.raises(DeviceError, match="sentences of one instant name two places; start it anew"):
            await waiting


def test_the_library_comes_with_the_first_receiver_and_brings_no_network():
    program = (
        "import sys; sys.modules['ssl'] = None\n"
        "from knoop_hw.sensors import nmea\n"
        "assert 'pynmea2' not in sys.modules\n"
        "from pynmea2 import parse\n"
        "print(parse('$GPGLL,5050.4123,N,00420.8240,E,105403.408,A,A*5A').sentence_type)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "GLL"
