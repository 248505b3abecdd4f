"""The driver against pymodbus's own serial server, over two ptys with a wire between them that the test can spoil."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import tty
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.protocols.registers import Register, Write
from knoop_hw.remote import Remotes
from knoop_hw.sensing import sense
from knoop_hw.sensors import modbus
from knoop_hw.sensors.modbus import Config

LIMIT_S = 10.0
NOBODY = 9  # a unit that does not answer


class Fast(SystemClock):
    """Twenty times as fast as time: what waits for seconds is tested in a moment."""

    def boottime_ns(self):
        return 20 * super().boottime_ns()

    async def sleep(self, seconds):
        await super().sleep(seconds / 20)


class Wire:
    """Two ends of a serial line. `spoil` gets what passes, in either direction, and says what arrives."""

    def __init__(self, near):
        self.near = near  # the name that the driver knows
        self.spoil = lambda data: data
        self.passed = []
        self.plugged = False
        self._loop = asyncio.get_running_loop()
        self.far_master, self._far_slave = pty.openpty()
        tty.setraw(self._far_slave)
        self.far = os.ttyname(self._far_slave)
        self._loop.add_reader(self.far_master, self._from_far)
        self.plug()

    def plug(self):
        self._master, self._slave = pty.openpty()  # both stay open: a pty whose one end is closed cannot be read
        tty.setraw(self._slave)
        self.near.unlink(missing_ok=True)
        self.near.symlink_to(os.ttyname(self._slave))
        self._loop.add_reader(self._master, self._from_near)
        self.plugged = True

    def unplug(self):
        self._loop.remove_reader(self._master)
        self.near.unlink()
        os.close(self._master)
        os.close(self._slave)
        self.plugged = False

    def _from_near(self):
        data = os.read(self._master, 4096)
        self.passed.append(data)
        if data[0] != NOBODY:  # pymodbus's server answers for units that it has not
            os.write(self.far_master, self.spoil(data))

    def _from_far(self):
        data = self.spoil(os.read(self.far_master, 4096))
        if self.plugged and data:
            os.write(self._master, data)

    def close(self):
        if self.plugged:
            self.unplug()
        self._loop.remove_reader(self.far_master)
        os.close(self.far_master)
        os.close(self._far_slave)


def unit(number, power=1234.5):
    """A device with four tables of its own."""
    holding = [
        SimData(0, values=[1, 2305, 0x8000, 0b0100] + 6 * [0], datatype=DataType.REGISTERS),
        SimData(10, values=-70000, datatype=DataType.INT32),
        SimData(12, values=[0xD687, 0x0012], datatype=DataType.REGISTERS),  # 1234567, low word first
        SimData(14, values=2**40 + 1, datatype=DataType.UINT64),
        SimData(18, values=2.5, datatype=DataType.FLOAT64),
        SimData(30, values=[5], datatype=DataType.REGISTERS, readonly=True),
    ]
    inputs = [
        SimData(0, values=230.1, datatype=DataType.FLOAT32), SimData(2, values=10 * [0], datatype=DataType.REGISTERS),
        SimData(12, values=power, datatype=DataType.FLOAT32), SimData(14, values=6 * [0], datatype=DataType.REGISTERS),
        SimData(20, values=[0x7FC0, 0], datatype=DataType.REGISTERS),
    ]  # fmt: skip
    coils = [SimData(0, values=[False, True] + [False] * 14, datatype=DataType.BITS)]
    discrete = [SimData(0, values=[True] + [False] * 15, datatype=DataType.BITS)]
    return SimDevice(id=number, simdata=(coils, discrete, holding, inputs))


EVERYTHING = {
    "plain": Register(at=0), "tenths": Register(at=1, scale=0.1, unit="V"), "away": Register(at=2, missing=-32768),
    "flag": Register(at=3, bit=2), "signed": Register(at=10, type="int32"),
    "swapped": Register(at=12, type="uint32", order="little", scale=0.001, unit="kWh"),
    "long": Register(at=14, type="uint64"), "double": Register(at=18, type="float64"),
    "voltage": Register(at=0, table="input", type="float32", unit="V"),
    "power": Register(at=12, table="input", type="float32", unit="W"),
    "nothing": Register(at=20, table="input", type="float32"),
    "relay": Register(at=1, table="coil"), "door": Register(at=0, table="discrete"),
}  # fmt: skip
SAYS = {
    "plain": 1, "tenths": 230.5, "away": None, "flag": True, "signed": -70000, "swapped": 1234.567, "long": 2**40 + 1,
    "double": 2.5, "voltage": 230.1, "power": 1234.5, "nothing": None, "relay": True, "door": True,
}  # fmt: skip
POWER = {"power": EVERYTHING["power"]}


@pytest.fixture
async def wire(tmp_path):
    made = Wire(tmp_path / "ttyUSB0")
    units = [unit(3), unit(4, power=17.25)]
    made.server = ModbusSerialServer(units, port=made.far, baudrate=115_200, ignore_missing_devices=True)
    await made.server.serve_forever(background=True)
    yield made
    await made.server.shutdown()
    made.close()


def config(wire, **more):
    given = {"name": "grid", "unit": 3, "baudrate": 115_200, "every_s": 0.1, "timeout_s": 5.0, "registers": EVERYTHING}
    return Config(device=wire.near, **{**given, **more})


async def once(source):
    """The values of one round, those without one by their quality."""
    samples = source.samples()
    async with asyncio.timeout(LIMIT_S):
        taken = await anext(samples)
    await samples.aclose()
    return {sample.field: sample.value if sample.quality == "ok" else sample.quality for sample in taken}


async def test_every_type_in_few_requests(wire):
    async with modbus.open(config(wire), clock=SystemClock()) as source:
        found = await once(source)
    assert found == {name: "missing" if value is None else value for name, value in SAYS.items()}
    assert all(type(value) is type(SAYS[name]) for name, value in found.items() if SAYS[name] is not None)
    assert [(request[1], request[3], request[5]) for request in wire.passed] == [
        (1, 1, 1), (2, 0, 1), (3, 0, 22), (4, 0, 2), (4, 12, 10)  # function, address, count
    ]


async def test_an_address_that_is_not_there_costs_its_own_value_only(wire, caplog):
    wrong = {
        "between": Register(at=25), "manual": Register(at=40001), "no_coil": Register(at=99, table="coil"),
    }  # fmt: skip
    async with modbus.open(config(wire, registers={**EVERYTHING, **wrong}), clock=SystemClock()) as source:
        expected = {name: "missing" if value is None else value for name, value in SAYS.items()}
        assert await once(source) == {**expected, **dict.fromkeys(wrong, "error")}
        asked = len(wire.passed)
        assert await once(source) == {**expected, **dict.fromkeys(wrong, "error")}
        assert len(wire.passed) - asked == asked - 1  # what it refused whole is not asked for whole again
    said = [record.message for record in caplog.records]
    assert sorted(said) == [
        "sensor.grid: between: unit 3 has no holding 25: illegal data address; check 'at' and 'table'",
        "sensor.grid: manual: unit 3 has no holding 40001: illegal data address; check 'at' and 'table'"
        "; a manual that says 40001 means at = 0",
        "sensor.grid: no_coil: unit 3 has no coil 99: illegal data address; check 'at' and 'table'",
    ]


async def test_what_a_device_is_silent_about_costs_that_only(wire, caplog):
    """Some say nothing instead of "illegal data address"."""
    wire.spoil = lambda data: b"" if data[1] == 1 else data
    async with modbus.open(config(wire, timeout_s=4.0), clock=Fast()) as source:
        for _ in range(2):
            found = await once(source)
            assert (found["relay"], found["door"], found["power"]) == ("error", True, 1234.5)
        assert [data[1] for data in wire.passed if len(data) == 8] == [1, 1, 1, 2, 3, 4, 4, 2, 3, 4, 4, 1]
        wire.spoil = lambda data: data
        assert (await once(source))["relay"] is True
    assert [record.message for record in caplog.records] == [
        "sensor.grid: relay: no answer when unit 3 is asked for coil 1; check 'at' and 'table'"
    ]


@pytest.mark.parametrize(("times", "value"), [(1, 1234.5), (2, "error")])
async def test_a_device_that_is_busy_is_asked_once_more(wire, times, value, caplog):
    answers = [ExcCodes.DEVICE_BUSY] * times

    async def busy(*_request):
        return answers.pop() if answers else None

    wire.server.context.devices[3].action = busy
    async with modbus.open(config(wire, registers=POWER, timeout_s=4.0), clock=Fast()) as source:
        assert await once(source) == {"power": value}
        assert await once(source) == {"power": 1234.5}
    # It has that register: there is nothing to check in node.toml.
    busy = ["sensor.grid: power: unit 3 does not give input 12 to 13: device busy"]
    assert [record.message for record in caplog.records] == (busy if value == "error" else [])


async def test_two_units_on_one_bus_and_a_third_that_is_silent(wire):
    """The silent one is tried all the time, and costs the others no reading."""
    clock = Fast()
    here = [config(wire, name=f"m{number}", unit=number, registers=POWER, timeout_s=2.0) for number in (3, 4)]
    gone = config(wire, name="gone", unit=NOBODY, registers=POWER, timeout_s=2.0)
    failures = []

    async def dead():
        while True:
            with pytest.raises(DeviceError) as raised:
                async with modbus.open(gone, clock=clock) as source:
                    await once(source)
            failures.append(str(raised.value))

    async def rounds(settings, value):
        async with modbus.open(settings, clock=clock) as source:
            taken = 0
            async for [sample] in source.samples():
                assert (sample.value, sample.quality) == (value, "ok")
                taken += 1
                if taken >= 10 and len(failures) >= 2:
                    return

    dying = asyncio.create_task(dead())
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(rounds(here[0], 1234.5), rounds(here[1], 17.25))
    dying.cancel()
    await asyncio.wait([dying])
    assert set(failures) == {
        "sensor.gone: does not answer (unit 9, asked for power); check A/B, 'baudrate', 'framing', 'unit', termination"
    }
    units = "".join("D" if request[0] == NOBODY else "." for request in wire.passed)
    assert "DD" not in units


async def test_noise_never_makes_a_value(wire):
    """1 % of all bytes, both ways: what is read is right, and what is not read says so."""
    dice = random.Random(5)
    spoiled = 0

    def spoil(data):
        nonlocal spoiled
        noisy = bytes(byte if dice.random() >= 0.01 else dice.randrange(256) for byte in data)
        spoiled += noisy != data
        return noisy

    async with modbus.open(config(wire, timeout_s=2.0), clock=Fast()) as source:
        right = await once(source)
        wire.spoil = spoil
        good = 0
        async with asyncio.timeout(6 * LIMIT_S):
            while spoiled < 16:
                with suppress(DeviceError):
                    found = await once(source)
                    assert all(value == right[name] or value == "error" for name, value in found.items())
                    good += found == right
        assert good >= 5


@pytest.mark.parametrize(
    ("write", "value", "at"),
    [
        ({"coil": 0}, True, (1, 0, [True])),
        ({"coil": 1}, False, (1, 1, [False])),
        ({"register": 0}, True, (3, 0, [1])),
        ({"register": 1, "kind": "number", "scale": 0.1}, 21.5, (3, 1, [215])),
        ({"register": 10, "kind": "number", "type": "int32"}, -5.0, (3, 10, [0xFFFF, 0xFFFB])),
        ({"register": 12, "kind": "number", "type": "uint32", "order": "little"}, 65536.0, (3, 12, [0, 1])),
    ],
)
async def test_what_is_written_is_read_back(wire, write, value, at):
    function, address, words = at
    async with modbus.open(config(wire, registers={}), clock=SystemClock()) as source:
        shown = await source.write(Write(**write), value)
        assert shown == value
        assert isinstance(shown, bool) == isinstance(value, bool)
        assert await wire.server.async_getValues(3, function, address, len(words)) == words
        assert await once(source) == {}
    functions = [data[1] for data in wire.passed]
    assert functions == [5 if "coil" in write else 16 if len(words) > 1 else 6, function, function]


@pytest.mark.parametrize(
    ("more", "write", "text"),
    [
        ({}, {"register": 30, "kind": "number"}, "unit 3 does not take holding 30: illegal data address"),
        ({}, {"coil": 99}, "unit 3 does not take coil 99: illegal data address"),
        ({}, {"register": 0, "kind": "number", "scale": 0.0001}, "70000 does not fit into uint16"),
        ({"unit": NOBODY, "timeout_s": 0.5}, {"coil": 1}, r"does not answer \(unit 9, asked for coil 1\); check A/B"),
    ],
)
async def test_what_cannot_be_written_says_why(wire, more, write, text):
    async with modbus.open(config(wire, registers={}, **more), clock=Fast()) as source:
        with pytest.raises(DeviceError, match=f"^sensor.grid: {text}"):
            await source.write(Write(**write), 7.0)


async def test_a_device_that_is_only_written_to_is_known_to_be_there(wire):
    async with modbus.open(config(wire, registers={}, timeout_s=0.5), clock=Fast()) as source:
        waiting = asyncio.create_task(once(source))
        assert await source.shown(Write(coil=1)) is True  # until something is asked of it, it may be there or not
        assert await waiting == {}
        assert await source.shown(Write(coil=99)) is None
        assert await once(source) == {}  # that was an answer, too
        wire.spoil = lambda data: b""
        with pytest.raises(DeviceError, match=r"does not answer \(unit 3, asked for coil 99\)"):
            await once(source)


async def test_pulled_out_and_plugged_in_again(wire, configured, caplog):
    """Two sensors of one bus: a line each when it goes and when it is back, at once, although they read rarely."""
    tables = "".join(
        f'[sensor.{name}]\ndriver = "modbus"\ndevice = "{wire.near}"\nunit = {number}\nevery = "1h"\n'
        f'[sensor.{name}.registers]\npower = {{ at = 12, table = "input", type = "float32", unit = "W" }}\n'
        for name, number in (("here", 3), ("there", 4))
    )
    heard = asyncio.Queue()
    tasks = [
        asyncio.create_task(sense(sensor, clock=Fast(), report=lambda *reading: heard.put_nowait(reading[:3])))
        for sensor in configured(tables).sensors
    ]

    async def two():
        async with asyncio.timeout(LIMIT_S):
            return {await heard.get(), await heard.get()}

    right = {("here.power", 1234.5, "ok"), ("there.power", 17.25, "ok")}
    try:
        assert await two() == right
        wire.unplug()
        assert await two() == {("here.power", None, "error"), ("there.power", None, "error")}
        assert await two() == {("here.power", None, "missing"), ("there.power", None, "missing")}
        wire.plug()
        async with asyncio.timeout(LIMIT_S):
            back = set()
            while not right <= back:
                back.add(await heard.get())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for name in ("here", "there"):
        said = [record.message for record in caplog.records if record.message.startswith(f"sensor.{name}: ")]
        assert said == [
            f"sensor.{name}: {wire.near} was unplugged; plug it in again; it is tried again",
            f"sensor.{name}: is back",
        ]


async def test_outputs_of_a_device_without_values(wire, configured, caplog):
    """From initial to safe, pulled out and plugged in again between: what node.toml says, on the device."""
    config = configured(
        f'[sensor.relays]\ndriver = "modbus"\ndevice = "{wire.near}"\nunit = 3\ntimeout = "2s"\n'
        '[output.pump]\nsensor = "relays"\ncoil = 3\n'
        '[output.valve]\nsensor = "relays"\ncoil = 1\nsafe = "keep"\ninitial = "keep"\n'
        '[output.level]\nsensor = "relays"\nregister = 18\ntype = "float64"\n'
        'kind = "number"\nminimum = 0\nmaximum = 10\n'
    )
    clock, heard = Fast(), asyncio.Queue()
    seen = {}

    def report(*reading):
        seen[reading[0]] = reading[1:3]
        heard.put_nowait(reading)

    async def until(**readings):
        async with asyncio.timeout(LIMIT_S):
            while not readings.items() <= seen.items():
                await heard.get()

    async def coils():
        return await wire.server.async_getValues(3, 1, 0, 4)

    remotes = Remotes(clock=clock, report=report)
    remotes.open(config.remotes)
    [sensor] = config.sensors
    opened = partial(remotes.opened, sensor.name)
    sensing = asyncio.create_task(sense(sensor, clock=clock, report=report, on_open=opened))
    try:
        await until(pump=(False, "ok"), valve=(True, "ok"), level=(2.5, "ok"))
        assert await remotes.set("pump", True, until_ns=2**63) is True
        assert await remotes.set("level", 7.5, until_ns=2**63) == 7.5
        assert await coils() == [False, True, False, True]
        assert await wire.server.async_getValues(3, 3, 18, 4) == [0x401E, 0, 0, 0]
        wire.unplug()
        await until(pump=(None, "missing"), valve=(None, "missing"))
        wire.plug()
        await until(pump=(True, "ok"), valve=(True, "ok"), level=(7.5, "ok"))
        wire.unplug()
        await until(pump=(None, "missing"))
        await wire.server.async_setValues(3, 5, 1, [False, False, False])  # it lost its power
        wire.plug()
        await until(pump=(False, "ok"), valve=(False, "ok"), level=(7.5, "ok"))
        await wire.server.async_setValues(3, 5, 1, [True])
        await remotes.set("pump", True, until_ns=2**63)
        await remotes.close()
        assert await coils() == [False, True, False, False]
    finally:
        await remotes.close()
        sensing.cancel()
        await asyncio.wait([sensing])
    assert [record.message for record in caplog.records if record.name != "pymodbus.logging"] == [
        f"sensor.relays: {wire.near} was unplugged; plug it in again; it is tried again", "sensor.relays: is back",
    ] * 2


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────


def problems(text):
    found = []
    hw_config.load(decode.parse(text, "node.toml"), found)
    return [str(problem) for problem in found]


def table(name="grid", **keys):
    keys = {"driver": "modbus", "device": "/dev/ttyUSB0", **keys}
    said = "".join(f"{key} = {value if isinstance(value, int) else repr(value)}\n" for key, value in keys.items())
    return f"[sensor.{name}]\n{said}"


def test_several_on_one_device_must_agree_on_the_port():
    assert problems(table("a", unit=1) + table("b", unit=2)) == []
    assert problems(table("a", framing="8E1") + table("b", baudrate=19200)) == [
        f"node.toml:{line}: sensor.b.{key}: {ours} here, but sensor.a has {theirs} on the same /dev/ttyUSB0; "
        "give both the same"
        for line, key, ours, theirs in ((8, "baudrate", 19200, 9600), (5, "framing", "8N1", "8E1"))
    ]
    assert problems('[sensor.meter]\ndriver = "p1"\ndevice = "/dev/ttyUSB0"\n' + table()) == [
        "node.toml:6: sensor.grid.device: /dev/ttyUSB0 is already taken by sensor.meter; a port has one reader"
    ]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"device": "192.168.1.5:502"}, "device: '192.168.1.5:502' is a network address; the hardware half has no "),
        ({"device": "meter.example.org:502"}, "Modbus TCP is not possible; name a serial port"),
        ({"unit": 0}, "unit: expected from 1 to 247, not 0"),  # 0 is everybody, and nobody answers
        ({"framing": "7E1"}, 'framing: "7E1" is not one of 8N1, 8E1, 8O1, 8N2'),
    ],
)  # fmt: skip
def test_what_a_table_cannot_say(keys, text):
    [problem] = problems(table(**keys))
    assert text in problem


def test_a_device_of_udev_may_have_colons():
    assert problems(table(device="/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0")) == []


def test_registers_are_tables_with_problems_of_their_own():
    text = table() + "[sensor.grid.registers]\npower = { at = 70000 }\nvoltage = { at = 1 }\n"
    assert any("registers.power.at: expected from 0 to 65535, not 70000" in problem for problem in problems(text))
    text = table() + '[sensor.grid.registers]\npower = { at = 7, type = "flaot32" }\n'
    assert '"flaot32" is not one of uint16, ' in problems(text)[0]
    assert problems(text)[0].endswith("did you mean 'float32'?")
    with pytest.raises(ValueError, match="registers: 'Power' is no name; take lower-case letters"):
        Config(name="grid", device=Path("/dev/ttyUSB0"), registers={"Power": Register(at=1)})
