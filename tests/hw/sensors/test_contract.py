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

from knoop_hw import source, units
from knoop_hw.clock import SystemClock
from knoop_hw.model import NAME
from knoop_hw.scenario import World

P1 = Path(__file__).parents[2] / "data/p1/dsmr50.txt"


@pytest.fixture
async def prepared():
    """A configuration for each driver under which it can work here."""
    master, slave = pty.openpty()
    tty.setraw(slave)

    async def talk():
        while True:  # a meter does not wait for its reader
            os.write(master, P1.read_bytes())
            await asyncio.sleep(0.05)

    talking = asyncio.create_task(talk())

    def prepare(name):
        driver = source.load(name)
        given = {
            "system": {},
            "simulated": {"name": "air", "world": World.empty()},
            "p1": {"name": "meter", "device": Path(os.ttyname(slave)), "fields": tuple(source.load("p1").FIELDS)},
        }
        if name not in given:
            keys = ", ".join(f'"{key.name}": …' for key in dataclass_fields(driver.Config) if key.default is MISSING)
            pytest.fail(f'add to `given` in {__file__} a configuration that works here: "{name}": {{{keys}}},')
        return driver, driver.Config(**given[name])

    yield prepare
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
    heavy = ["gpiozero", "serial", "lgpio", "dsmr_parser", "cryptography", "slixmpp", "knoop", "hypothesis"]
    done = subprocess.run([sys.executable, "-c", program, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
