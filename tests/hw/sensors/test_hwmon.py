"""hwmon devices as the kernel's document and its drivers show them, each tree with its source.

All paths are of the kernel's source; the ABI is Documentation/hwmon/sysfs-interface.rst.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hw.sensors.test_iio import answering
from tests.hw.trees import gone, hwmon, link, put

from knoop_hw import units
from knoop_hw.clock import SystemClock
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.kernel import hwmon_abi
from knoop_hw.sensors import hwmon as driver
from knoop_hw.sensors.hwmon import Config


def config(root: Path, *fields: str, device: str = "chip") -> Config:
    return Config(name="case", device=device, fields=fields, root=root)


async def take(configured: Config) -> dict[str, tuple[object, str]]:
    async with driver.open(configured, clock=SystemClock()) as opened:
        samples = opened.samples()
        taken = await asyncio.wait_for(anext(samples), 10)
        await samples.aclose()
    return {sample.field: (sample.value, sample.quality) for sample in taken}


TREES = {
    "drivers/hwmon/sht4x.c": (
        {"temp1_input": "-12345", "humidity1_input": "48300", "update_interval": "2000", "heater_enable": "0"},
        {"temperature": -12.345, "humidity": 48.3},
    ),
    "drivers/hwmon/sht3x.c: limits and an alarm beside the value": (
        {"temp1_input": "21440", "temp1_max": "20000", "temp1_alarm": "1", "humidity1_input": "0",
         "humidity1_alarm": "0"},
        {"temperature": 21.44, "humidity": 0},
    ),
    "drivers/hwmon/lm75.c, TMP105": (
        {"temp1_input": "25062", "temp1_max": "80000", "temp1_max_hyst": "75000", "update_interval": "500"},
        {"temperature": 25.062},
    ),
    "drivers/hwmon/ina2xx.c, INA219: voltages are counted from 0": (
        {"in0_input": "-3", "in1_input": "12032", "curr1_input": "-310", "power1_input": "3740000",
         "shunt_resistor": "10000"},
        {"voltage0": -0.003, "voltage1": 12.032, "current": -0.31, "power": 3.74},
    ),
    "the ABI, energy[1-*]_input: microjoules": ({"energy1_input": "7200000000"}, {"energy": 2}),
    "drivers/hwmon/pwm-fan.c": ({"fan1_input": "4821", "pwm1": "255", "pwm1_enable": "1"}, {"fan": 4821}),
    "drivers/hwmon/max6697.c: an open diode would be a fault": (
        {"temp1_input": "30000", "temp2_input": "41125", "temp2_fault": "0", "temp2_crit_alarm": "1"},
        {"temperature": 30, "temperature2": 41.125},
    ),
    "drivers/hwmon/acpi_power_meter.c: an average and no other": (
        {"power1_average": "45000000", "power1_average_interval": "1000"}, {"power": 45},
    ),
    "the ABI, in[0-*]_average: beside the value of now": (
        {"in10_input": "3300", "in10_average": "1", "in10_enable": "1"}, {"voltage10": 3.3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", TREES)
async def test_a_device_says_what_its_driver_means(tmp_path, source):
    files, expected = TREES[source]
    place = hwmon(tmp_path, 0, "i2c/1-0044", {"name": "chip", **files})
    taken = await take(config(tmp_path, *expected))
    assert {field: value for field, (value, _) in taken.items()} == pytest.approx(expected, rel=1e-12)
    offered = {channel.field: channel.unit for channel in hwmon_abi.channels(place)}
    assert offered == {name: hwmon_abi.field(name).unit for name in expected}
    assert all(units.known(unit) for unit in offered.values())


# A type with our word for it, what its numbers begin with, and how many of the ABI's unit one of ours is.
UNITS = {
    "temp": ("temperature", 1, 1000), "in": ("voltage", 0, 1000), "curr": ("current", 1, 1000),
    "power": ("power", 1, 10**6), "energy": ("energy", 1, 3600 * 10**6), "humidity": ("humidity", 1, 1000),
    "fan": ("fan", 1, 1),
}  # fmt: skip


@settings(max_examples=40)
@given(st.dictionaries(st.tuples(st.sampled_from(sorted(UNITS)), st.integers(0, 19)),
                       st.integers(-(2**31), 2**63 - 1), min_size=1, max_size=4))  # fmt: skip
def test_any_device(numbers):
    """`%ld` of drivers/hwmon/hwmon.c: whole numbers, and a number in every name."""
    numbers = {(kind, number): value for (kind, number), value in numbers.items() if number >= UNITS[kind][1]}
    files = {f"{kind}{number}_input": f"{value}" for (kind, number), value in numbers.items()}
    expected = {}
    for (kind, number), value in numbers.items():
        word, _, size = UNITS[kind]
        expected[word if number == 1 and kind != "in" else f"{word}{number}"] = float(Fraction(value, size))
    with tempfile.TemporaryDirectory() as folder:
        none = {"name": "chip", "temp1_max": "1", "fan0_input": "1", "in01_input": "1", "pwm1": "1", "temp_input": "1"}
        place = hwmon(Path(folder), 0, "i2c/1-0044", {**none, **files})
        told = {channel.field: channel.read() for channel in hwmon_abi.channels(place)}
    assert told == pytest.approx(expected, rel=1e-12)
    assert {hwmon_abi.field(name).name for name in told} == told.keys()


# ── no reading ────────────────────────────────────────────────────────────────────────────────────────────────────────

TWO = {"name": "chip", "temp1_input": "21000", "temp2_input": "-128000"}


@pytest.mark.parametrize(("more", "value", "quality"), [
    ({"temp2_fault": "1"}, None, "error"), ({"temp2_fault": "0"}, -128, "ok"), ({"temp2_fault": "?"}, None, "error"),
    ({"temp2_enable": "0"}, None, "missing"), ({"temp2_enable": "1"}, -128, "ok"),
    ({"temp2_alarm": "1", "temp2_min_alarm": "1"}, -128, "ok"), ({"temp2_input": ""}, None, "error"),
    ({"temp2_input": "N/A"}, None, "error"), ({"fan1_fault": "1"}, -128, "ok"),
])  # fmt: skip
async def test_what_a_channel_says_of_itself_counts(tmp_path, more, value, quality):
    hwmon(tmp_path, 0, "i2c/1-004c", {**TWO, **more})
    assert await take(config(tmp_path, "temperature", "temperature2")) == {
        "temperature": (21, "ok"), "temperature2": (value, quality),
    }  # fmt: skip


async def test_a_channel_that_is_switched_off_just_now_is_missing(tmp_path, monkeypatch):
    """The ABI, temp[1-*]_enable: "When disabled the sensor read will return -ENODATA"."""
    hwmon(tmp_path, 0, "i2c/1-004c", {**TWO, "temp2_enable": "1"})
    answering(monkeypatch, {"temp2_input": [errno.ENODATA]})
    taken = await take(config(tmp_path, "temperature", "temperature2"))
    assert taken["temperature2"] == (None, "missing")


async def test_no_data_of_a_channel_that_cannot_be_switched_off_is_an_error(tmp_path, monkeypatch):
    hwmon(tmp_path, 0, "i2c/1-004c", TWO)
    answering(monkeypatch, {"temp2_input": [errno.ENODATA]})
    taken = await take(config(tmp_path, "temperature", "temperature2"))
    assert taken == {"temperature": (21, "ok"), "temperature2": (None, "error")}


async def test_a_chip_whose_every_diode_is_broken_is_down(tmp_path):
    hwmon(tmp_path, 0, "i2c/1-004c", {**TWO, "temp2_fault": "1"})
    with pytest.raises(BadReading, match="temp2_fault"):
        await take(config(tmp_path, "temperature2"))


async def test_one_that_is_wholly_switched_off_is_missing_and_not_down(tmp_path):
    hwmon(tmp_path, 0, "i2c/1-004c", {**TWO, "temp2_enable": "0"})
    assert await take(config(tmp_path, "temperature2")) == {"temperature2": (None, "missing")}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO, errno.ETIMEDOUT, errno.EAGAIN], ids=errno.errorcode.get)
async def test_a_bus_that_fails_is_told_as_the_kernel_has_it(tmp_path, monkeypatch, number):
    hwmon(tmp_path, 0, "i2c/1-004c", TWO)
    answering(monkeypatch, {"temp1_input": [number]})
    with pytest.raises(OSError, match=os.strerror(number)):
        await take(config(tmp_path, "temperature"))


async def test_one_that_went_is_gone_and_found_under_its_new_number(tmp_path):
    place = hwmon(tmp_path, 2, "i2c/1-0044", {"name": "sht4x", "temp1_input": "21000"})
    asked = config(tmp_path, "temperature", device="sht4x")
    assert await take(asked) == {"temperature": (21, "ok")}
    gone(tmp_path, place)
    with pytest.raises(DeviceError, match="there is no hwmon device 'sht4x'"):
        await take(asked)
    hwmon(tmp_path, 1, "thermal/thermal_zone0", {"name": "cpu_thermal", "temp1_input": "55000"})
    hwmon(tmp_path, 5, "i2c/1-0044", {"name": "sht4x", "temp1_input": "22000"})
    assert await take(asked) == {"temperature": (22, "ok")}


async def test_the_files_of_an_old_driver_are_its_parents(tmp_path):
    """The ABI: "Up to lm-sensors 3.0.0, libsensors looks for attributes in the physical device directory"."""
    put(tmp_path, {"sys/devices/platform/old.1/name": "old\n", "sys/devices/platform/old.1/temp1_input": "30000\n",
                   "sys/devices/platform/old.1/hwmon/hwmon0/uevent": ""})  # fmt: skip
    link(tmp_path, "sys/devices/platform/old.1/hwmon/hwmon0/device", "../../../old.1")
    link(tmp_path, "sys/class/hwmon/hwmon0", "../../devices/platform/old.1/hwmon/hwmon0")
    assert await take(config(tmp_path, "temperature", device="old")) == {"temperature": (30, "ok")}


# ── what node.toml may say ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "hint"), [
    ("temp1", "did you mean 'temperature'?"), ("temperature1", "did you mean 'temperature'?"),
    ("temp2", "did you mean 'temperature2'?"), ("in0", "did you mean 'voltage0'?"),
    ("voltage", "did you mean 'voltage0'?"), ("humidty", "did you mean 'humidity'?"),
    ("temperature02", "did you mean 'temperature2'?"), ("temperature0", "did you mean 'temperature'?"),
    ("voltage00", "did you mean 'voltage0'?"), ("pressure", "expected one of temperature, humidity, voltage"),
    ("temperature_x", "is not a value of a hwmon device"), ("", "is not a value of a hwmon device"),
])  # fmt: skip
def test_a_field_that_no_device_has_is_refused_with_what_it_could_be(name, hint):
    with pytest.raises(ValueError, match=r"^fields: ") as caught:
        config(Path("/"), name)
    assert hint in str(caught.value)


@pytest.mark.parametrize("device", ["w1_slave_temp", "28-0316A2794AFF"])
def test_a_1_wire_thermometer_is_read_by_its_own_driver_only(device):
    """w1_therm's hwmon gives 85 °C after power-up as any other value."""
    with pytest.raises(ValueError, match=r'^device: a 1-Wire thermometer.*driver = "onewire"$'):
        config(Path("/"), "temperature", device=device)
