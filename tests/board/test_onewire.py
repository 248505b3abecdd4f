"""Thermometers on 1-Wire read by the kernel's own w1_therm and our driver: what they measure; what is no reading."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from tests.board import recipe
from tests.board.conftest import Half
from tests.board.guest import Guest
from tests.board.i2c import Adapter, Chips
from tests.board.onewire import BRIDGE, Bridge, Bus, Thermometer
from tests.board.readings import about, away, once_down_once_up

CELSIUS = {"boiler": 61.5, "floor.flow": 33.25, "floor.back": 27, "floor.cellar": -4.75}
TABLES = """
[sensor.boiler]
driver = "onewire"
address = "{}"
every = "1s"

[sensor.floor]
driver = "onewire"
sensors = {{ flow = "{}", back = "{}", cellar = "{}" }}
every = "1s"
"""


@pytest.fixture(scope="module")
def bus(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """Four thermometers that the guest's kernel has found."""
    wire = Bus([Thermometer(0x0316A2794A00 + index, celsius) for index, celsius in enumerate(CELSIUS.values())])
    with closing(Chips(tmp_path_factory.mktemp("wire") / "none")) as chips:
        guest.load(*recipe.ONEWIRE)
        with closing(Adapter(guest, chips, {BRIDGE: Bridge(wire)})) as adapter:
            adapter.plug()
            adapter.declare(ds2482=BRIDGE)
            for thermometer in wire.thermometers:
                guest.wait_for(f"/sys/bus/w1/devices/{thermometer.name}/w1_slave")
            yield wire


@pytest.fixture
def half(bus: Bus, hardware: Callable[[str], Half]) -> Half:
    """A hardware half that has read them."""
    half = hardware(TABLES.format(*(thermometer.name for thermometer in bus.thermometers)))
    well(half)
    return half


def well(half: Half) -> None:
    for channel, celsius in CELSIUS.items():
        half.seam.wait(channel, about(celsius))


def test_what_they_measure_is_what_is_read_and_those_of_a_table_measure_at_once(half, bus):
    boiler, flow, *_ = bus.thermometers
    boiler.celsius, flow.celsius = 85, -55
    half.seam.wait("boiler", about(85))
    half.seam.wait("floor.flow", about(-55))
    boiler.celsius, flow.celsius = CELSIUS["boiler"], CELSIUS["floor.flow"]
    well(half)
    assert bus.at_once
    assert "sensor.boiler" not in half.program.log


def test_what_is_no_reading_is_none_and_costs_no_other(half, bus):
    boiler, flow, back, _ = bus.thermometers
    boiler.spoiled = flow.weak = True
    back.plugged = False
    for channel in ("boiler", "floor.flow", "floor.back"):
        assert half.seam.wait(channel, away)[-1].quality == "error"
    boiler.spoiled = flow.weak = False
    back.plugged = True
    well(half)
    assert {told.quality for told in half.seam.readings("floor.cellar")} == {"ok"}
    once_down_once_up(half, "boiler", "floor.flow", "floor.back")
    for channel in ("boiler", "floor.flow", "floor.back"):
        assert {told.value for told in half.seam.readings(channel)} == {CELSIUS[channel], None}


def test_a_wire_that_lies_at_ground_is_not_0_degrees(half, bus):
    bus.grounded = True
    for channel in CELSIUS:
        half.seam.wait(channel, away)
    bus.grounded = False
    well(half)
    for channel, celsius in CELSIUS.items():
        assert {told.value for told in half.seam.readings(channel)} == {celsius, None}


def test_probe_lists_them_and_what_it_proposes_reads_them(guest, bus, hardware):
    by_address = {thermometer.name: thermometer.celsius for thermometer in bus.thermometers}
    code, log = guest.run("knoop", "probe", "--json", half="node", within_s=120)
    assert code == 0, log
    (wire,) = (found for found in json.loads(log)["buses"] if found["kind"] == "w1")
    assert {device["address"] for device in wire["devices"]} == by_address.keys()
    code, proposed = guest.run("knoop", "probe", "--toml", half="node", within_s=120)
    assert code == 0, proposed
    (name,) = (name for name, sensor in tomllib.loads(proposed)["sensor"].items() if sensor["driver"] == "onewire")
    sensors = tomllib.loads(proposed)["sensor"][name]["sensors"]
    half = hardware(proposed)
    for field, address in sensors.items():
        half.seam.wait(f"{name}.{field}", about(by_address.pop(address)))
    assert not by_address
