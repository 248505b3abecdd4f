"""IIO devices as the kernel's ABI document and its drivers show them, each tree with its source.

All paths are of the kernel's source: the ABI is Documentation/ABI/testing/sysfs-bus-iio, `core` is
drivers/iio/industrialio-core.c.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hw.trees import gone, iio

from knoop_hw import units
from knoop_hw.clock import SystemClock
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.kernel import iio_abi
from knoop_hw.sensors import iio as driver
from knoop_hw.sensors.iio import Config


def config(root: Path, *fields: str, device: str = "chip", **more) -> Config:
    return Config(name="air", device=device, fields=fields, root=root, **more)


async def take(configured: Config) -> dict[str, tuple[object, str]]:
    """What the first samples say: field → value and quality."""
    async with driver.open(configured, clock=SystemClock()) as opened:
        samples = opened.samples()
        taken = await asyncio.wait_for(anext(samples), 10)
        await samples.aclose()
    return {sample.field: (sample.value, sample.quality) for sample in taken}


async def values(root: Path, *fields: str) -> dict[str, float]:
    taken = await take(config(root, *fields))
    assert {quality for _, quality in taken.values()} == {"ok"}
    return {field: value for field, (value, _) in taken.items()}


# ── trees ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TREES = {
    "drivers/iio/pressure/bmp280-core.c, BME280: processed": (
        {"in_temp_input": "-5230", "in_pressure_input": "96.386198000", "in_humidityrelative_input": "46333"},
        {"temperature": -5.23, "humidity": 46.333, "pressure": 963.86198},
    ),
    "the same since 6.13: raw beside processed, which goes first": (
        {"in_temp_raw": "1", "in_temp_scale": "10.000000", "in_temp_input": "51230"},
        {"temperature": 51.23},
    ),
    "drivers/iio/humidity/hdc100x.c: an offset with a fraction, IIO_VAL_INT_PLUS_MICRO below 0": (
        {"in_temp_raw": "24000", "in_temp_offset": "-15887.515151", "in_temp_scale": "2.517700195",
         "in_humidityrelative_raw": "32768", "in_humidityrelative_scale": "1.525878906", "out_current_heater_raw": "0"},
        {"temperature": (24000 - 15887.515151) * 2.517700195e-3, "humidity": 32768 * 1.525878906e-3},
    ),
    "drivers/iio/chemical/scd30_core.c: CO₂ as a share of the air; the pressure is an output": (
        {"in_concentration_co2_raw": "41234", "in_concentration_co2_scale": "0.000001", "in_temp_input": "21440",
         "in_humidityrelative_input": "48300", "out_pressure_raw": "1013", "in_temp_calibbias": "0"},
        {"temperature": 21.44, "humidity": 48.3, "co2": 412.34},
    ),
    "drivers/iio/chemical/scd4x.c": (
        {"in_concentration_co2_raw": "612", "in_concentration_co2_scale": "0.000100", "in_temp_raw": "26500",
         "in_temp_offset": "-16852.114286", "in_temp_scale": "2.670288085"},
        {"co2": 612, "temperature": (26500 - 16852.114286) * 2.670288085e-3},
    ),
    "drivers/iio/chemical/sps30.c: a scale for the buffer's samples, which are not these": (
        {"in_massconcentration_pm1_input": "3.140000", "in_massconcentration_pm2p5_input": "5.230000",
         "in_massconcentration_scale": "0.010000"},
        {"pm1": 3.14, "pm2p5": 5.23},
    ),
    "drivers/iio/adc/ti-ads1015.c, ADS1115: pairs and inputs, each with its own scale": (
        {"in_voltage0-voltage1_raw": "-1000", "in_voltage0-voltage1_scale": "0.125000000", "in_voltage0_raw": "20000",
         "in_voltage0_scale": "0.062500000", "in_voltage1_raw": "4", "in_voltage1_scale": "0.062500000"},
        {"voltage0": 1250, "voltage1": 0.25, "voltage0_voltage1": -125},
    ),
    "the ABI, in_voltage-voltage_scale: the scale of all pairs beside that of all inputs": (
        {"in_voltage0-voltage1_raw": "100", "in_voltage2_raw": "100", "in_voltage-voltage_scale": "0.5",
         "in_voltage_scale": "3"},
        {"voltage0_voltage1": 50, "voltage2": 300},
    ),
    "drivers/iio/adc/hx711.c: one scale of both inputs, 10⁻⁹ mV": (
        {"in_voltage0_raw": "8388607", "in_voltage1_raw": "16", "in_voltage_scale": "0.000001539",
         "in_voltage0_scale_available": "0.000001539 0.000003079 "},
        {"voltage0": 8388607 * 1.539e-6, "voltage1": 16 * 1.539e-6},
    ),
    "drivers/iio/adc/mcp3422.c: IIO_VAL_INT_PLUS_NANO": (
        {"in_voltage0_raw": "-2047", "in_voltage0_scale": "0.001000000", "in_voltage_sampling_frequency": "240"},
        {"voltage0": -2.047},
    ),
    "drivers/iio/adc/ina2xx-adc.c, INA219": (
        {"in_voltage0_raw": "-31", "in_voltage0_scale": "0.010000000", "in_voltage1_raw": "24060",
         "in_voltage1_scale": "0.500000000", "in_power2_raw": "37", "in_power2_scale": "20.000000000",
         "in_current3_raw": "-62", "in_current3_scale": "1", "in_sampling_frequency": "937",
         "in_shunt_resistor": "0.01"},
        {"voltage0": -0.31, "voltage1": 12030, "power2": 740, "current3": -62},
    ),
    "the ABI, in_currentX_raw: without offset and scale it is in milliamperes": (
        {"in_current0_raw": "250"}, {"current0": 250},
    ),
    "drivers/iio/light/bh1750.c": ({"in_illuminance_raw": "120", "in_illuminance_scale": "0.833333"},
                                   {"illuminance": 120 * 0.833333}),
    "drivers/iio/light/tsl2563.c, TSL2561: an index where there is but one, and light without a unit": (
        {"in_illuminance0_input": "312", "in_intensity_both_raw": "4711", "in_intensity_both_calibscale": "1000",
         "in_intensity_ir_raw": "815"},
        {"illuminance0": 312, "intensity_both": 4711, "intensity_ir": 815},
    ),
    "drivers/iio/temperature/max31865.c": ({"in_temp_raw": "640", "in_temp_scale": "31.250000", "fault_ovuv": "0"},
                                           {"temperature": 20}),
    "drivers/iio/temperature/mlx90614.c: three of one kind, offset and scale of all": (
        {"in_temp_ambient_raw": "14700", "in_temp_object_raw": "15700", "in_temp1_object_raw": "13000",
         "in_temp_offset": "-13657.500000", "in_temp_scale": "20", "in_temp_object_calibemissivity": "1.000000000"},
        {"temperature_ambient": 20.85, "temperature_object": 40.85, "temperature1_object": -13.15},
    ),
    "drivers/iio/accel/adxl345_core.c: a scale of all axes": (
        {"in_accel_x_raw": "-3", "in_accel_y_raw": "0", "in_accel_z_raw": "256", "in_accel_scale": "0.038300",
         "in_accel_x_calibbias": "0"},
        {"accel_x": -0.1149, "accel_y": 0, "accel_z": 9.8048},
    ),
    "the ABI, in_voltage_i_scale: of all inputs with that modifier": (
        {"in_voltage0_i_raw": "2", "in_voltage0_q_raw": "2", "in_voltage_i_scale": "5", "in_voltage_scale": "7"},
        {"voltage0_i": 10, "voltage0_q": 14},
    ),
    "core, IIO_SHARED_BY_DIR and IIO_SHARED_BY_ALL": (
        {"in_temp_raw": "1000", "in_scale": "2", "scale": "99", "offset": "5"}, {"temperature": 2.01},
    ),
    "the ABI, in_X_mean_raw and in_accel_x_peak_raw: not what is now": (
        {"in_illuminance0_mean_raw": "7", "in_illuminance0_raw": "9", "in_temp_peak_raw": "1",
         "in_temp_trough_raw": "1", "in_temp_raw": "2000"},
        {"illuminance0": 9, "temperature": 2},
    ),
    "core, iio_format_value: below 0 and above -1": (
        {"in_temp_input": "-0.500000000", "in_ph_raw": "7", "in_ph_scale": "1.000000"},
        {"temperature": -0.0005, "ph": 7},
    ),
    "core, IIO_VAL_INT_MULTIPLE of one": ({"in_count0_raw": "12 "}, {"count0": 12}),
    "units that are people's and not the ABI's": (
        {"in_magn_x_raw": "-1", "in_magn_x_scale": "0.5", "in_electricalconductivity_raw": "0.05",
         "in_energy_input": "7200", "in_concentration_voc_raw": "125", "in_concentration_voc_scale": "0.0000001"},
        {"magn_x": -50, "electricalconductivity": 500, "energy": 2, "voc": 125},
    ),
    "an exponent, as no ABI has it and some chips' own attributes do": (
        {"in_resistance_raw": "1000", "in_resistance_scale": "2.5e-2"}, {"resistance": 25},
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", TREES)
async def test_a_device_says_what_its_driver_means(tmp_path, source):
    files, expected = TREES[source]
    iio(tmp_path, 0, "i2c/1-0076", {"name": "chip", **files})
    assert await values(tmp_path, *expected) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("source", TREES)
def test_the_probe_offers_the_fields_that_the_driver_reads(tmp_path, source):
    files, expected = TREES[source]
    place = iio(tmp_path, 0, "i2c/1-0076", {"name": "chip", **files})
    offered = {channel.field: channel.unit for channel in iio_abi.channels(place) if channel.field}
    assert offered == {name: iio_abi.field(name).unit for name in offered}
    assert offered.keys() >= expected.keys()
    assert all(units.known(unit) for unit in offered.values())


def test_fields_have_units_before_any_device_is_there():
    asked = config(Path("/"), "temperature", "humidity", "pressure", "voltage0_voltage1", "co2", "pm2p5")
    assert [field.unit for field in driver.fields(asked)] == ["°C", "%", "hPa", "mV", "ppm", "µg/m³"]


# ── any device ────────────────────────────────────────────────────────────────────────────────────────────────────────

# A type with what one of the ABI's units is in ours: "Units after application of scale and offset are …".
UNITS = {
    "temp": ("temperature", Fraction(1, 1000)), "humidityrelative": ("humidity", Fraction(1, 1000)),
    "pressure": ("pressure", Fraction(10)), "voltage": ("voltage", Fraction(1)), "current": ("current", Fraction(1)),
    "illuminance": ("illuminance", Fraction(1)), "distance": ("distance", Fraction(1)),
}  # fmt: skip
INT = st.integers(-(2**31), 2**31 - 1)


@st.composite
def printed(draw: st.DrawFn) -> str:
    """A value as iio_format_value prints it: IIO_VAL_INT, _INT_PLUS_MICRO, _INT_PLUS_NANO, _FRACTIONAL."""
    kind = draw(st.sampled_from(["int", "micro", "nano", "fractional"]))
    whole = draw(st.one_of(st.integers(-200, 200), INT))
    if kind == "int":
        return f"{whole}"
    if kind in {"micro", "nano"}:
        digits = {"micro": 6, "nano": 9}[kind]
        part = draw(st.integers(-(10**digits) + 1, 10**digits - 1))
        return f"-{abs(whole)}.{-part:0{digits}}" if part < 0 else f"{whole}.{part:0{digits}}"
    billionths = int(Fraction(whole, draw(st.integers(1, 2**31 - 1))) * 10**9)  # div_s64 rounds to 0, as int does
    return f"{'-' if billionths < 0 else ''}{abs(billionths) // 10**9}.{abs(billionths) % 10**9:09}"


@st.composite
def channels(draw: st.DrawFn) -> tuple[str, str, str, dict[str, str]]:
    """`struct iio_chan_spec` → (type, name in node.toml, name of its files, names of its `scale` by who shares it).

    As __iio_device_attr_init makes them: a pair has no modifier, and only what is separate has an index.
    """
    kind = draw(st.sampled_from(sorted(UNITS)))
    word, index = UNITS[kind][0], draw(st.one_of(st.just(""), st.integers(0, 31).map(str)))
    if index and draw(st.booleans()):
        minus = draw(st.integers(0, 31))
        name, own = f"{word}{index}_{word}{minus}", f"{kind}{index}-{kind}{minus}"
        by_type = f"in_{kind}-{kind}_"
    else:
        modifier = draw(st.sampled_from(["", "_x", "_ambient", "_ir", "_supply"]))
        name, own = f"{word}{index}{modifier}", f"{kind}{index}{modifier}"
        by_type = f"in_{kind}_"
    return kind, name, own, {"separate": f"in_{own}_", "type": by_type, "direction": "in_", "all": ""}


@settings(max_examples=120)
@given(channel=channels(), raw=printed(), shared=st.fixed_dictionaries({
    "scale": st.dictionaries(st.sampled_from(["separate", "type", "direction", "all"]), printed()),
    "offset": st.dictionaries(st.sampled_from(["separate", "type", "direction", "all"]), printed()),
}), processed=st.one_of(st.none(), st.none(), printed()))  # fmt: skip
def test_raw_and_offset_times_scale_of_whoever_shares_it(channel, raw, shared, processed):
    kind, name, own, prefixes = channel
    files = {"name": "chip", f"in_{own}_raw": raw, f"in_{own}_calibscale": "9", f"in_{own}_scale_available": "1 2 3"}
    said = {}
    for what, by in shared.items():
        for sharing in reversed(prefixes):  # where two have one name the more special is written last
            if sharing in by:
                files[f"{prefixes[sharing]}{what}"] = by[sharing]
        said[what] = next((Fraction(files[f"{prefix}{what}"]) for prefix in prefixes.values()
                           if f"{prefix}{what}" in files), None)  # fmt: skip
    if processed is not None:
        files[f"in_{own}_input"] = processed
    expected = Fraction(processed) if processed is not None else (
        (Fraction(raw) + (said["offset"] or 0)) * (1 if said["scale"] is None else said["scale"])
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = iio(Path(folder), 0, "i2c/1-0076", files)
        (made,) = [one for one in iio_abi.channels(place) if one.field == name]
        if processed is None and said["scale"] == 0:
            with pytest.raises(BadReading, match="scale is 0"):
                made.read()
        else:
            assert math.isclose(made.read(), expected * UNITS[kind][1], rel_tol=1e-12)


WORDS = [*(word for word, _ in UNITS.values()), *UNITS, "co2", "pm10", "concentration", "massconcentration", "x"]
PARTS = st.sampled_from(["", "0", "12", "_voltage1", "_current2", "_x", "_co2", "_pm10", "_temp", "__", "-"])


@given(st.builds(lambda word, index, rest: f"{word}{index}{rest}", st.sampled_from(WORDS), PARTS, PARTS))
def test_a_name_means_one_channel_or_none(name):
    try:
        iio_abi.field(name)
    except ValueError as error:
        assert "is not a value of an IIO device" in str(error)
    else:
        with tempfile.TemporaryDirectory() as folder:
            own = iio_abi._abi_name(name)
            (made,) = iio_abi.channels(iio(Path(folder), 0, "i2c/1-0076", {f"in_{own}_raw": "1"}))
            assert made.field == name


# ── no reading ────────────────────────────────────────────────────────────────────────────────────────────────────────

TWO = {"name": "chip", "in_temp_input": "21000", "in_humidityrelative_raw": "500", "in_humidityrelative_scale": "100"}


@pytest.mark.parametrize("file", ["in_humidityrelative_raw", "in_humidityrelative_scale"])
@pytest.mark.parametrize("content", [
    "", "nan", "inf", "-", "1 2", "1_000", "٣", "0x10", "1,5", "3.000000 dB", "1e999", "busy", "1e99\n2",
])  # fmt: skip
async def test_what_is_no_number_is_an_error_of_that_field_alone(tmp_path, file, content):
    iio(tmp_path, 0, "i2c/1-0076", {**TWO, file: content})
    assert await take(config(tmp_path, "temperature", "humidity")) == {
        "temperature": (21, "ok"), "humidity": (None, "error"),
    }  # fmt: skip


async def test_a_scale_of_nothing_would_make_every_value_0(tmp_path):
    iio(tmp_path, 0, "i2c/1-0076", {**TWO, "in_humidityrelative_scale": "0.000000"})
    with pytest.raises(BadReading, match="in_humidityrelative_scale is 0"):
        await take(config(tmp_path, "humidity"))
    assert (await take(config(tmp_path, "temperature", "humidity")))["humidity"] == (None, "error")


def answering(monkeypatch, errors: dict[str, list[int]]) -> None:
    """Reading a file of that name fails with these, one after the other, and for ever with the last."""
    really = os.read

    def read(opened: int, size: int) -> bytes:
        left = errors.get(Path(f"/proc/self/fd/{opened}").readlink().name)
        if left:
            number = left.pop(0) if len(left) > 1 else left[0]
            if number:
                raise OSError(number, os.strerror(number))
        return really(opened, size)

    monkeypatch.setattr(os, "read", read)


FAILURES = [errno.EIO, errno.ENXIO, errno.EREMOTEIO, errno.ENODATA, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN,
            errno.ENODEV, errno.EINVAL]  # fmt: skip


@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
async def test_a_chip_that_fails_in_one_thing_is_still_good_for_the_other(tmp_path, monkeypatch, number):
    iio(tmp_path, 0, "i2c/1-0076", TWO)
    answering(monkeypatch, {"in_humidityrelative_scale": [number]})
    assert await take(config(tmp_path, "temperature", "humidity")) == {
        "temperature": (21, "ok"), "humidity": (None, "error"),
    }  # fmt: skip


@pytest.mark.parametrize("number", FAILURES, ids=errno.errorcode.get)
async def test_a_chip_that_fails_in_all_is_down_with_the_kernels_reason(tmp_path, monkeypatch, number):
    iio(tmp_path, 0, "i2c/1-0076", TWO)
    answering(monkeypatch, {"in_humidityrelative_raw": [number], "in_temp_input": [number]})
    with pytest.raises(OSError, match=os.strerror(number)):
        await take(config(tmp_path, "temperature", "humidity"))


async def test_a_chip_that_says_try_again_is_asked_again_once(tmp_path, monkeypatch):
    iio(tmp_path, 0, "i2c/1-0076", TWO)
    answering(monkeypatch, {"in_temp_input": [errno.EAGAIN, 0]})
    assert await take(config(tmp_path, "temperature")) == {"temperature": (21, "ok")}


async def test_an_error_that_the_kernel_really_gives(tmp_path):
    place = iio(tmp_path, 0, "i2c/1-0076", TWO)
    (place / "in_temp_input").unlink()
    (place / "in_temp_input").symlink_to("/proc/self/mem")  # EIO at 0, whoever asks
    taken = await take(config(tmp_path, "temperature", "humidity"))
    assert taken == {"temperature": (None, "error"), "humidity": (50, "ok")}


async def test_a_scale_that_follows_the_input_that_was_read_last_is_read_after_it(tmp_path, monkeypatch):
    """drivers/iio/adc/hx711.c: reading input 1 sets the amplifier, and `in_voltage_scale` tells of the amplifier."""
    place = iio(tmp_path, 0, "platform/weight", {
        "name": "hx711", "in_voltage0_raw": "1000", "in_voltage1_raw": "1000", "in_voltage_scale": "1",
    })  # fmt: skip
    really = os.read

    def read(opened: int, size: int) -> bytes:
        name = Path(f"/proc/self/fd/{opened}").readlink().name
        if name.endswith("_raw"):
            (place / "in_voltage_scale").write_text({"in_voltage0_raw": "0.5\n", "in_voltage1_raw": "2\n"}[name])
        return really(opened, size)

    monkeypatch.setattr(os, "read", read)
    for _ in range(2):
        taken = await take(config(tmp_path, "voltage1", "voltage0", device="hx711"))
        assert taken == {"voltage1": (2000, "ok"), "voltage0": (500, "ok")}


# ── devices that come and go ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_field_that_the_device_has_not_is_missing_and_said_once(tmp_path, caplog):
    iio(tmp_path, 0, "i2c/1-0076", {**TWO, "name": "bmp280"})
    asked = config(tmp_path, "temperature", "pressure", device="bmp280")
    for _ in range(3):
        assert await take(asked) == {"temperature": (21, "ok"), "pressure": (None, "missing")}
    assert [record.getMessage() for record in caplog.records] == [
        "sensor.air: bmp280 (1-0076) has no pressure; it has temperature, humidity"
    ]


async def test_a_device_with_none_of_the_fields_is_no_sensor(tmp_path):
    iio(tmp_path, 0, "i2c/1-0076", TWO)
    with pytest.raises(DeviceError, match=r"chip \(1-0076\) has none of these fields; it has temperature, humidity"):
        await take(config(tmp_path, "co2"))


async def test_another_chip_under_the_number_of_one_that_went_is_not_taken_for_it(tmp_path):
    """Numbers are given anew, lowest first (core, ida): what was iio:device0 comes back as iio:device1."""
    place = iio(tmp_path, 0, "i2c/1-0076", {"name": "bme280", "in_temp_input": "21000"})
    asked = config(tmp_path, "temperature", device="bme280", every_s=0.1)
    async with driver.open(asked, clock=SystemClock()) as opened:
        samples = opened.samples()
        assert [sample.value for sample in await anext(samples)] == [21]
        gone(tmp_path, place)
        iio(tmp_path, 0, "i2c/1-0048", {"name": "ads1115", "in_temp_input": "99000"})
        with pytest.raises(DeviceError, match=r"bme280 \(1-0076\) is gone"):
            await anext(samples)
    with pytest.raises(DeviceError, match="there is no iio device 'bme280'"):
        await take(asked)
    iio(tmp_path, 1, "i2c/1-0076", {"name": "bme280", "in_temp_input": "22000"})
    assert await take(asked) == {"temperature": (22, "ok")}


async def test_a_chip_that_takes_its_time_holds_up_nothing_else(tmp_path):
    place = iio(tmp_path, 0, "i2c/1-0062", {**TWO, "name": "scd41"})
    (place / "in_temp_input").unlink()
    os.mkfifo(place / "in_temp_input")  # whoever opens it waits for the other end
    iio(tmp_path, 1, "i2c/1-0076", TWO)
    slow = asyncio.create_task(take(config(tmp_path, "temperature", "humidity", device="scd41")))
    for _ in range(3):
        assert await take(config(tmp_path, "temperature")) == {"temperature": (21, "ok")}
    assert not slow.done()
    await asyncio.to_thread((place / "in_temp_input").write_text, "23000\n")
    assert await slow == {"temperature": (23, "ok"), "humidity": (50, "ok")}


# ── what node.toml may say ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "hint"), [
    ("temprature", "did you mean 'temperature'?"), ("temp", "did you mean 'temperature'?"),
    ("temp0_ambient", "did you mean 'temperature0_ambient'?"), ("humidityrelative", "did you mean 'humidity'?"),
    ("presure", "did you mean 'pressure'?"), ("voltage0_current1x y", "is not a value"), ("", "is not a value"),
    ("concentration_co2", "did you mean 'co2'?"), ("voltage0-voltage1", "is not a value"),
    ("Temperature", "is not a value"), ("voltage٣", "is not a value"),  # a digit, but none that the kernel writes
])  # fmt: skip
def test_a_field_that_no_device_has_is_refused_with_what_it_could_be(name, hint):
    with pytest.raises(ValueError, match=r"^fields: ") as caught:
        config(Path("/"), name)
    assert hint in str(caught.value)


@pytest.mark.parametrize(("fields", "device"), [
    ((), "x"), (("temperature", "temperature"), "x"), (("co2",), " "), (("co2",), "iio:device0"),
])  # fmt: skip
def test_nothing_twice_and_a_number_of_the_day_are_refused(fields, device):
    with pytest.raises(ValueError, match="knoop probe sensors"):
        config(Path("/"), *fields, device=device)
