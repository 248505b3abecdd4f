"""Every driver keeps the contract of `source`: found by listing the folder, so a new one is tested unasked."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
import tty
from dataclasses import MISSING, is_dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path

import pytest
from tests.hw.sensors import test_onewire
from tests.hw.trees import hwmon, iio

from knoop_hw import source, units
from knoop_hw.clock import SystemClock
from knoop_hw.model import NAME
from knoop_hw.protocols.registers import Register
from knoop_hw.protocols.values import Value
from knoop_hw.scenario import World

P1 = Path(__file__).parents[2] / "data/p1/dsmr50.txt"
GPS = (P1.parents[1] / "nmea/bu353s4-still.txt").read_bytes()[:800]  # four seconds
POWER = Value(pattern=r"^1-0:1\.7\.0\((\d+\.\d+)\*kW", unit="kW")  # a telegram is lines of text, too


@pytest.fixture
async def prepared(tmp_path):
    """A configuration for each driver under which it can work here."""
    test_onewire.plug(tmp_path, test_onewire.FLOW)
    iio(tmp_path, 0, "i2c/1-0076", {"name": "bme280", "in_temp_input": "21440", "in_humidityrelative_input": "48300"})
    hwmon(tmp_path, 0, "i2c/1-0044", {"name": "sht4x", "temp1_input": "20125", "humidity1_input": "51200"})
    opened = []

    def says(data):
        """A port on which this comes again and again: a meter does not wait for its reader."""
        master, slave = pty.openpty()
        tty.setraw(slave)

        async def talk():
            while True:
                os.write(master, data)
                await asyncio.sleep(0.05)

        opened.append((master, slave, asyncio.create_task(talk())))
        return Path(os.ttyname(slave))

    unit, bus = pty.openpty()
    tty.setraw(bus)
    answer = bytes.fromhex("01 04 04 43 66 33 34 1B 38")  # Eastron's example: 230.2 V
    asyncio.get_running_loop().add_reader(unit, lambda: os.read(unit, 64) and os.write(unit, answer))

    def prepare(name):
        driver, port = source.load(name), says(P1.read_bytes() + GPS)
        given = {
            "system": {},
            "onewire": {"address": test_onewire.FLOW, "root": tmp_path},
            "iio": {"name": "air", "device": "1-0076", "fields": ("temperature", "pressure"), "root": tmp_path},
            "hwmon": {"name": "case", "device": "sht4x", "fields": ("temperature", "humidity"), "root": tmp_path},
            "simulated": {"name": "air", "world": World.empty()},
            "modbus": {
                "name": "grid", "device": Path(os.ttyname(bus)),
                "registers": {"voltage": Register(at=0, table="input", type="float32", unit="V")},
            },
            "p1": {"name": "meter", "device": port, "fields": tuple(source.load("p1").FIELDS)},
            "nmea": {"name": "gps", "device": port, "fields": tuple(source.load("nmea").FIELDS)},
            "lines": {"name": "meter", "device": port, "values": {"power": POWER}},
            "command": {"name": "air", "command": ("/bin/echo", "21.5"), "unit": "°C"},
        }
        if name not in given:
            keys = ", ".join(f'"{key.name}": …' for key in dataclass_fields(driver.Config) if key.default is MISSING)
            pytest.fail(f'add to `given` in {__file__} a configuration that works here: "{name}": {{{keys}}},')
        return driver, driver.Config(**given[name])

    yield prepare
    asyncio.get_running_loop().remove_reader(unit)
    os.close(bus)
    os.close(unit)
    for master, slave, talking in opened:
        talking.cancel()
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize("name", source.names())
class TestContract:
    def test_its_configuration_is_a_frozen_dataclass(self, name):
        config = source.load(name).Config
        assert is_dataclass(config)
        assert config.__dataclass_params__.frozen
        assert all(field.kw_only for field in dataclass_fields(config))

    async def test_its_fields_can_be_channels(self, name, prepared):
        driver, config = prepared(name)
        found = driver.fields(config)
        assert found
        for field in found:
            assert re.fullmatch(NAME, f"x.{field.name}" if field.name else "x")
            assert units.known(field.unit)
            assert field.cls == "telemetry"
        assert len({field.name for field in found}) == len(found)

    async def test_it_opens_gives_what_it_promised_and_closes_twice(self, name, prepared):
        driver, config = prepared(name)
        clock = SystemClock()
        before_ns = clock.boottime_ns()
        manager = driver.open(config, clock=clock)
        async with manager as opened:
            assert opened.fields == driver.fields(config)
            promised = {field.name: field for field in opened.fields}
            samples = opened.samples()
            taken = await asyncio.wait_for(anext(samples), 5)
            assert {sample.field for sample in taken} == promised.keys()
            for sample in taken:
                assert (sample.value is None) == (sample.quality in {"missing", "error"})
                assert before_ns <= sample.boottime_ns <= clock.boottime_ns()
                kind = promised[sample.field].type
                kinds = {"number": {int, float}, "text": {str}, "boolean": {bool}}[kind]  # a bool is an int to Python
                assert sample.value is None or type(sample.value) in kinds
            await samples.aclose()
            await samples.aclose()
        async with driver.open(config, clock=clock):  # it let go of its device
            pass

    def test_it_says_what_it_is_for(self, name):
        assert source.load(name).__doc__


def test_there_is_no_such_driver():
    with pytest.raises(KeyError):
        source.load("os")


def test_importing_the_hardware_half_and_its_drivers_costs_no_library():
    """gpiozero 2.3 MB and pyserial 0.2 MB come with the line or port that needs them."""
    program = (
        "import sys, knoop_hw.board, knoop_hw.config, knoop_hw.source as source\n"
        "[source.load(name) for name in source.names()]\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = ["gpiozero", "serial", "lgpio", "dsmr_parser", "cryptography", "pymodbus", "pynmea2",
             "slixmpp", "knoop", "hypothesis"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
