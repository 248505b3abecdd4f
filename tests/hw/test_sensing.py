"""One sensor that fails in every way there is: what its channels say, what the log says, and who notices."""

from __future__ import annotations

import asyncio
import collections
import itertools
import logging
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from knoop_hw import source
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.filters import Options
from knoop_hw.life import end
from knoop_hw.model import Channel
from knoop_hw.sensing import sense
from knoop_hw.source import Field, Polled, Sample, Stuck
from knoop_hw.tables import Sensor, SensorField
from knoop_hw.trouble import MOST, WITHIN_S

S = 1_000_000_000
FIELDS = (Field(name="temperature"), Field(name="humidity"))
LIMIT_S = 60  # of fake time, in which a real thread starts on the slowest machine
BOTH = {"temperature": 21.0, "humidity": 50.0}


@dataclass
class Chip:
    """A sensor on a wire, once a second. `does` happens at a read, `absent` at an attempt to open it."""

    clock: Any
    does: Any = None
    absent: Any = None
    opened: list[int] = field(default_factory=list)
    closed: int = 0
    quality: str = "error"  # of a value that alone is not there
    fields: tuple[Field, ...] = FIELDS

    def read(self):
        if isinstance(self.does, Exception):
            raise self.does
        return BOTH if self.does is None else self.does()

    async def samples(self):
        while True:
            read, now_ns = self.read(), self.clock.boottime_ns()
            if read is StopAsyncIteration:
                return
            yield tuple(
                Sample(field=name, value=value, quality=self.quality if value is None else "ok", boottime_ns=now_ns)
                for name, value in read.items()
            )
            await self.clock.sleep(1)


class Driver:
    """Opens the chip that is the configuration."""

    @staticmethod
    @asynccontextmanager
    async def open(config, *, clock):
        config.opened.append(clock.boottime_ns() // S)
        if config.absent is not None:
            raise config.absent
        try:
            yield config
        finally:
            config.closed += 1


class Bus:
    """A chip behind a kernel driver: reads block, in a thread, until `free`."""

    def __init__(self, then=None):
        self.free, self.then = threading.Event(), then
        self.reads = self.at_once = self.most_at_once = 0

    def read(self):
        self.reads += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.free.wait(10)
        self.at_once -= 1
        if self.then is not None:
            raise self.then
        return BOTH


class Polling:
    """The driver of a Bus, once a second."""

    @staticmethod
    @asynccontextmanager
    async def open(config, *, clock):
        yield Polled(fields=FIELDS, read=config.read, every_s=1, clock=clock, limit_s=LIMIT_S)


@pytest.fixture(autouse=True)
def drivers(monkeypatch):
    monkeypatch.setattr(source, "load", {"chip": Driver, "bus": Polling}.__getitem__)


@pytest.fixture
async def sensing(clock):
    """Starts to sense a configuration; returns what its channels say, and tells of who is opened."""
    tasks = []

    def start(config, *, driver="chip", name="air", on_open=None):
        heard = []

        def report(channel, value, quality, at_ns):
            heard.append((channel.removeprefix(f"{name}."), value, quality, at_ns // S))

        items = tuple(
            SensorField(
                field=item, options=Options(), channel=Channel(name=f"{name}.{item.name}", kind="sensor", type="number")
            )
            for item in FIELDS
        )
        sensor = Sensor(name=name, driver=driver, config=config, fields=items)
        more = {} if on_open is None else {"on_open": on_open}
        tasks.append(asyncio.create_task(sense(sensor, clock=clock, report=report, **more)))
        return heard, tasks[-1]

    yield start
    await end(tasks)


async def until(true):
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def moving(clock, true):
    """Let time pass until something is true that a thread must do."""
    async with asyncio.timeout(10):
        while not true():
            await clock.advance(0.1)
            await asyncio.sleep(0.001)


def lines(caplog):
    """What is logged without -v."""
    return [line.message for line in caplog.records if line.name == "knoop_hw.sensing" and line.levelno > logging.DEBUG]


def of(heard, channel):
    return [(quality, at) for name, _, quality, at in heard if name == channel]


async def test_one_that_is_not_there_is_missing_and_looked_for_with_patience(clock, sensing, caplog):
    chip = Chip(clock, absent=DeviceError("sensor.air: /dev/i2c-1 does not exist; plug it in"))
    heard, _ = sensing(chip)
    await clock.advance(0)
    assert heard == [("temperature", None, "missing", 1), ("humidity", None, "missing", 1)]
    await clock.advance(46)
    assert chip.opened == [1, 2, 4, 8, 16, 26, 36, 46]
    chip.absent = None
    await clock.advance(10)
    assert of(heard, "humidity")[-1] == ("ok", 57)
    assert lines(caplog) == [
        "sensor.air: /dev/i2c-1 does not exist; plug it in; it is tried again", "sensor.air: is back",
    ]  # fmt: skip


FAILURES = {
    "unplugged": (DeviceError("sensor.air: it was unplugged"), "it was unplugged"),
    "the kernel's error": (OSError(121, "Remote I/O error"), "Remote I/O error"),
    "a file": (OSError(2, "No such file or directory", "/proc/loadavg"), "/proc/loadavg: No such file or directory"),
    "garbage": (BadReading("a CRC that is wrong"), "a CRC that is wrong"),
    "no words": (ValueError(), "ValueError"),
    "it ends": (lambda: StopAsyncIteration, "it ended"),
    "a channel it never promised": (lambda: {"co2": 400.0}, "its driver failed"),
    "a mistake": (KeyError("x"), "its driver failed"),
}


@pytest.mark.parametrize("how", FAILURES)
async def test_one_that_fails_is_an_error_at_once_and_comes_back_by_itself(how, clock, sensing, caplog):
    chip = Chip(clock)
    heard, _ = sensing(chip)
    await clock.advance(5)
    chip.does, reason = FAILURES[how]
    await clock.advance(30)
    assert of(heard, "temperature")[5:8] == [("ok", 6), ("error", 7), ("error", 8)]
    assert (chip.opened[:4], chip.closed) == ([1, 8, 10, 14], len(chip.opened))  # let go of between
    chip.does = None
    await clock.advance(10)
    assert of(heard, "temperature")[-1][0] == "ok"
    assert lines(caplog)[-2:] == [f"sensor.air: {reason}; it is tried again", "sensor.air: is back"]
    bugs = [record for record in caplog.records if record.exc_info]
    assert len(bugs) == (reason == "its driver failed")
    assert len(lines(caplog)) == 2 + len(bugs)


async def test_a_bug_between_good_samples_does_not_flood_the_log_with_tracebacks(clock, sensing, caplog):
    """Each good sample made the next traceback worth its lines again: 40,000 a day."""
    chip = Chip(clock)
    turns = itertools.cycle([lambda: BOTH, {}.popitem])

    def does():
        return next(turns)()

    chip.does = does
    sensing(chip)
    await clock.advance(300)
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.parametrize("opening", [True, False])
async def test_a_driver_that_awaits_something_cancelled_is_an_error_and_no_silent_end(opening, clock, sensing, caplog):
    """Its last value was told as good for ever: the task had just ended."""
    chip = Chip(clock, absent=asyncio.CancelledError() if opening else None)
    chip.does = _cancelled
    heard, _ = sensing(chip)
    await clock.advance(5)
    assert of(heard, "temperature")[0][0] == ("missing" if opening else "error")
    chip.absent = chip.does = None
    await clock.advance(10)
    assert of(heard, "temperature")[-1][0] == "ok"
    assert lines(caplog)[-2:] == ["sensor.air: its driver failed; it is tried again", "sensor.air: is back"]


def _cancelled():
    raise asyncio.CancelledError


async def test_a_driver_that_fails_while_it_closes_does_not_hold_up_a_reload(clock, sensing):
    """What it raised replaced the cancellation, and the sensor went on as if nobody had ended it."""

    @asynccontextmanager
    async def fails_to_close(config, *, clock):
        try:
            yield config
        finally:
            raise OSError(5, "Input/output error")

    class FailsToClose:
        open = staticmethod(fails_to_close)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load", lambda name: FailsToClose)
        _, task = sensing(Chip(clock))
        await clock.advance(0)
    task.cancel()
    await clock.advance(1)
    assert task.done()


async def test_what_is_wrong_is_said_before_the_device_is_closed(clock, sensing):
    chip = Chip(clock)

    @asynccontextmanager
    async def slow_to_close(config, *, clock):
        yield config
        await clock.sleep(60)

    class SlowToClose:
        open = staticmethod(slow_to_close)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "load", lambda name: SlowToClose)
        heard, _ = sensing(chip)
        await clock.advance(0)
    chip.does = OSError(5, "Input/output error")
    await clock.advance(1)
    assert of(heard, "temperature") == [("ok", 1), ("error", 2)]


async def test_a_value_that_alone_fails_has_lines_of_its_own(clock, sensing, caplog):
    chip = Chip(clock)
    heard, _ = sensing(chip)
    await clock.advance(2)
    chip.does = lambda: {"temperature": 21.0, "humidity": None}
    await clock.advance(5)
    chip.does = None
    await clock.advance(2)
    assert {quality for quality, _ in of(heard, "temperature")} == {"ok"}
    assert [quality for quality, _ in of(heard, "humidity")] == ["ok"] * 3 + ["error"] * 5 + ["ok"] * 2
    assert lines(caplog) == [
        "sensor.air.humidity: no reading; the others go on", "sensor.air.humidity: is back",
    ]  # fmt: skip


async def test_one_line_is_enough_when_no_value_can_be_read(clock, sensing, caplog):
    chip = Chip(clock)
    heard, _ = sensing(chip)
    await clock.advance(2)
    chip.does = lambda: {"temperature": None, "humidity": None}
    await clock.advance(5)
    chip.does = None
    await clock.advance(2)
    assert [quality for quality, _ in of(heard, "humidity")] == ["ok"] * 3 + ["error"] * 5 + ["ok"] * 2
    assert lines(caplog) == ["sensor.air: it answers, but not with a reading", "sensor.air: is back"]
    assert len(chip.opened) == 1


async def test_a_value_that_is_missing_has_no_line_and_ends_no_trouble(clock, sensing, caplog):
    chip = Chip(clock, does=lambda: {"humidity": None})
    sensing(chip)
    await clock.advance(0)
    chip.quality = "missing"
    await clock.advance(3)
    assert lines(caplog) == ["sensor.air.humidity: no reading; the others go on"]
    chip.does = None
    await clock.advance(1)
    assert lines(caplog)[1:] == ["sensor.air.humidity: is back"]


async def test_one_that_comes_and_goes_every_second_says_so_in_its_channels_and_seldom_in_the_log(
    clock, sensing, caplog
):
    chip = Chip(clock)
    turns = itertools.cycle([BOTH, OSError(121, "Remote I/O error")])

    def turn():
        if isinstance(now := next(turns), OSError):
            raise now
        return now

    chip.does = turn
    heard, _ = sensing(chip)
    await clock.advance(3599)
    assert collections.Counter(quality for quality, _ in of(heard, "temperature")) == {"ok": 1800, "error": 1800}
    said = lines(caplog)
    assert len(said) <= 2 * (MOST + 3600 / WITHIN_S * MOST)
    assert any("more since this was last said" in line for line in said)


async def test_a_stuck_bus_is_an_error_and_gets_one_thread_for_ever(clock, sensing, caplog):
    bus = Bus()
    heard, _ = sensing(bus, driver="bus")
    neighbour, _ = sensing(Chip(clock), name="other")
    await until(lambda: bus.reads)
    await clock.advance(LIMIT_S)
    assert heard == [("temperature", None, "error", 61), ("humidity", None, "error", 61)]
    await clock.advance(3600)
    assert len(of(neighbour, "temperature")) == 3661  # which goes on at its pace
    assert (bus.reads, len(heard)) == (1, 2)
    bus.free.set()
    await moving(clock, lambda: bus.reads == 2)
    await until(lambda: len(heard) == 4)
    assert heard[2][1:3] == (21.0, "ok")
    assert lines(caplog) == [
        "sensor.air: it has not answered for 60 s; it is tried again when that returns", "sensor.air: is back",
    ]  # fmt: skip
    assert bus.most_at_once == 1


async def test_a_stuck_bus_that_fails_in_the_end_is_tried_again(clock, sensing, caplog):
    bus = Bus(then=OSError(121, "Remote I/O error"))
    heard, _ = sensing(bus, driver="bus")
    await until(lambda: bus.reads)
    await clock.advance(LIMIT_S)
    bus.free.set()
    await moving(clock, lambda: bus.reads == 2)
    await until(lambda: len(heard) == 4)
    assert {quality for _, _, quality, _ in heard} == {"error"}
    assert len(lines(caplog)) == 1


async def test_who_is_stuck_can_be_cancelled_and_leaves_only_its_thread(clock, sensing):
    bus = Bus()
    heard, task = sensing(bus, driver="bus")
    await until(lambda: bus.reads)
    await clock.advance(LIMIT_S + 1)
    task.cancel()
    await asyncio.wait({task})
    bus.free.set()
    await until(lambda: not bus.at_once)
    await clock.advance(3600)
    assert (task.cancelled(), bus.reads, len(heard)) == (True, 1, 2)


async def test_two_sensors_may_wait_for_one_bus_and_one_of_them_may_go(clock, sensing):
    """What both were told is one future: who goes must not let the other one go on."""
    returned = asyncio.get_running_loop().create_future()
    chips = [Chip(clock, does=Stuck("the bus is stuck", returned=returned)) for _ in range(2)]
    (_, going), (heard, _) = sensing(chips[0], name="one"), sensing(chips[1], name="two")
    await clock.advance(1)
    await end([going])
    await clock.advance(100)
    assert (len(chips[1].opened), of(heard, "temperature")) == (1, [("error", 1)])
    chips[1].does = None
    returned.set_result(None)
    await clock.advance(2)
    assert of(heard, "temperature")[1:] == [("ok", 103), ("ok", 104)]


async def test_what_is_stuck_while_it_opens_is_an_error_as_well(clock, sensing):
    returned = asyncio.get_running_loop().create_future()
    chip = Chip(clock, absent=Stuck("it does not open", returned=returned))
    heard, _ = sensing(chip)
    await clock.advance(100)
    assert (len(chip.opened), of(heard, "temperature")) == (1, [("error", 1)])


async def test_a_slow_bus_delays_only_itself(clock, sensing, caplog):
    bus = Bus()
    heard, _ = sensing(bus, driver="bus")
    neighbour, _ = sensing(Chip(clock), name="other")
    await until(lambda: bus.reads)
    await clock.advance(LIMIT_S - 1)
    assert (heard, len(neighbour)) == ([], 2 * LIMIT_S)
    bus.free.set()
    await until(lambda: heard)
    assert heard[0] == ("temperature", 21.0, "ok", 1)  # with the time at which it was asked
    assert lines(caplog) == []


async def test_a_device_that_is_plugged_in_again_elsewhere_is_found_by_its_name(clock, sensing, tmp_path):
    """What udev does: the name in by-id stays, the port that it leads to is another one."""
    name, first, second = tmp_path / "usb-Meter-if00", tmp_path / "ttyUSB0", tmp_path / "ttyUSB1"
    first.write_text("21")
    second.write_text("22")
    name.symlink_to(first)
    heard, _ = sensing(Chip(clock, does=lambda: {"temperature": float(name.read_text()), "humidity": 50.0}))
    await clock.advance(1)
    name.unlink()
    await clock.advance(10)
    name.symlink_to(second)
    await clock.advance(10)
    values = [value for channel, value, _, _ in heard if channel == "temperature"]
    assert ([value for value, again in itertools.groupby(values)], values[-1]) == ([21.0, None, 22.0], 22.0)


async def test_who_writes_is_told_what_is_open_and_before_it_is_closed_that_it_goes(clock, sensing):
    chip = Chip(clock)
    told = []
    _, task = sensing(chip, on_open=lambda opened: told.append((opened, chip.closed)))
    await clock.advance(1)
    chip.does = OSError(5, "Input/output error")
    await clock.advance(1)
    chip.does = None
    await clock.advance(1)
    assert told == [(chip, 0), (None, 0), (chip, 1)]
    await end([task])
    assert told[3:] == [(None, 1)]
    assert chip.closed == 2


async def test_who_writes_is_told_that_it_does_not_open(clock, sensing):
    told = []
    sensing(Chip(clock, absent=OSError(6, "No such device")), on_open=told.append)
    await clock.advance(1)
    assert told == [None, None]
