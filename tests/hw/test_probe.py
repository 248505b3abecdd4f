"""What was found, as people, scripts and node.toml read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.hw.trees import CABLE, a_pi, a_pis_chips, put

from knoop_hw import config, decode, found, probe, source
from knoop_hw.clock import SystemClock
from knoop_hw.found import Found
from knoop_hw.kernel.buses import FAMILIES, Attached
from knoop_hw.kernel.ports import SerialPort
from knoop_hw.kernel.sensed import Measured, Sensed


@pytest.fixture
def pi(tmp_path: Path) -> Found:
    return found.machine(a_pi(tmp_path), look=a_pis_chips)


def decoded(text: str) -> config.Config:
    problems: list[object] = []
    loaded = config.load(decode.parse(text, "node.toml"), problems)
    assert [str(problem) for problem in problems] == []
    return loaded


def uncommented(text: str) -> str:
    """With every choice taken."""
    return "\n".join(line.removeprefix("#") if line[:2] != "# " else line for line in text.splitlines())


# ── text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_told_with_position_user_and_what_the_kernel_calls_it(pi):
    text = probe.as_text(pi).splitlines()
    assert "Lines of the 40-pin header: gpiochip0 (pinctrl-bcm2835)" in text
    assert "  GPIO2  BOARD3   I²C (i2c1)                          SDA1" in text
    assert "  GPIO17 BOARD11  used by fan, output" in text
    assert "  GPIO27 BOARD13  free, input" in text


def test_a_level_is_told_where_it_is_known(pi):
    lines = tuple(replace(line, level=line.name == "GPIO27") for line in pi.lines)
    text = probe.as_text(replace(pi, lines=lines))
    assert "free, input, high" in text
    assert "used by fan, output, low" in text


def test_everything_fits_eighty_columns(pi):
    text = f"{probe.as_text(pi, verbose=True)}\n{probe.as_toml(pi)}"
    names = (CABLE, "u-blox")  # only a cable's may be longer
    assert not [line for line in text.splitlines() if len(line) > 80 and not any(name in line for name in names)]


def test_the_rest_is_there_too(pi):
    text = probe.as_text(pi)
    for said in (
        "Raspberry Pi 3 Model B Rev 1.2", "raspberrypi-exp-gpio, 8 lines", "I²C, bcm2835 (i2c@7e804000), /dev/i2c-1",
        "bme280, driver bmp280", "ds3231, no driver of the kernel's", "DS18B20, temperature", "PWM, 2 channels",
        f"/dev/serial/by-id/{CABLE}", "ttyUSB0; USB", "ttyAMA0; this board's own",
        "bme280 (iio)      1-0076: temperature °C, humidity %, pressure hPa", "voltage1 (5 V) V", "a GPS receiver",
        "temp 48.312 °C", "imx219", "none              SPI; how to have one: knoop probe spi",
    ):  # fmt: skip
        assert said in text


def test_a_cable_that_says_what_it_is_for_is_offered_as_that(pi):
    cable = SerialPort(device=Path("/dev/x"), usable=True)
    meter = replace(pi, serial=(replace(cable, perhaps_meter=True),))
    assert "perhaps a smart meter's P1 cable" in probe.as_text(meter)
    assert "# If a smart meter is on this cable:\n#[sensor.meter]" in probe.as_toml(meter)
    other = replace(pi, serial=(cable,))
    assert "  /dev/x            USB" in probe.as_text(other)
    assert '# What hangs on it? If it is a smart meter:\n#[sensor.meter]\n#driver = "p1"' in probe.as_toml(other)


def test_where_nothing_could_be_asked_functions_are_told_in_short(tmp_path):
    text = probe.as_text(found.machine(a_pi(tmp_path), look=list))
    assert "  GPIO2 GPIO3                   I²C (i2c1)" in text
    assert "the others                    nothing of the board's; who uses them is not known" in text


def test_what_could_not_be_looked_at_comes_with_a_remedy(pi):
    text = probe.as_text(replace(pi, unseen=(found.Unseen(what="GPIO lines", why="anna may not", remedy="sudo x"),)))
    assert "Not looked at\n  GPIO lines: anna may not\n    → sudo x" in text


def test_how_to_have_a_bus_is_told_to_who_asks_for_it(pi):
    text = probe.as_text(probe.narrowed(pi, ["spi"]), ["spi"])
    assert "none; for one: dtparam=spi=on in" in text
    assert "i2c-1" not in text
    assert "GPIO17" not in text, "nor what is not known of lines"


@pytest.mark.parametrize(("bus", "said"), [
    ("spi", '"spi" in [board] buses'), ("i2c", '"i2c" in [board] buses'), ("w1", '"w1:GPIO4" in [board] buses'),
    ("pwm", 'an output with kind = "pwm"'),
])  # fmt: skip
def test_on_knoops_own_image_it_is_the_cards_file_that_switches(tmp_path, bus, said):
    put(tmp_path, {"usr/share/knoop-image/packages": "", "proc/device-tree/model": "Raspberry Pi 3\0"})
    text = " ".join(probe.as_text(found.machine(tmp_path, look=list), [bus]).split())
    assert f"none; for one: {said} in knoop.toml on the card, then restart" in text
    assert "config.txt" not in text


def test_on_a_pc_nobody_is_told_of_config_txt(tmp_path):
    put(tmp_path, {"sys/class/dmi/id/product_name": "20XW\n"})
    there = found.machine(tmp_path, look=list)
    assert "config.txt" not in probe.as_text(there) + probe.as_text(there, ["spi"])


# ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_asked_for_and_not_there(pi):
    asked = ["GPIO17", "lines", "i2c", "spi", "w1", "pwm", "serial", "sensors", "cameras"]
    assert probe.absent(pi, asked) == ["spi"]
    assert probe.absent(Found(), asked) == asked


def test_only_what_is_asked_for(pi):
    there = probe.narrowed(pi, ["GPIO17", "w1"])
    assert [line.name for line in there.lines] == ["GPIO17"]
    assert [bus.kind for bus in there.buses] == ["w1"]
    assert not (there.serial or there.sensors or there.cameras)


def test_what_could_not_be_looked_at_is_told_to_who_asked_for_it(pi):
    missed = [found.Unseen(what=what, why="", remedy="") for what in ("GPIO lines", "/dev/i2c-1")]
    missed[1:1] = [found.levels_unseen("GPIO17")]
    there = replace(pi, unseen=tuple(missed))
    assert probe.narrowed(there, ["GPIO17"]).unseen == tuple(missed[:2])
    assert probe.narrowed(there, ["serial"]).unseen == tuple(missed[2:])
    assert probe.narrowed(there, ["cameras"]).unseen == ()
    nothing = Found(unseen=tuple(missed))
    assert probe.narrowed(nothing, ["GPIO17"]).unseen == nothing.unseen[:1], "where no line could be asked least of all"


def test_how_to_see_a_level_names_the_line_that_was_asked_for(pi):
    there = replace(pi, unseen=(found.levels_unseen("GPIO17"),))
    for asked, named in ((["GPIO27"], "GPIO27"), (["GPIO5", "GPIO27"], "GPIO5 GPIO27"), (["lines"], "GPIO17")):
        (missed,) = probe.narrowed(there, asked).unseen
        assert missed.remedy.endswith(f"knoop probe --watch {named}"), asked


def test_a_line_that_is_not_there_is_said_to_be_so(pi):
    for there in (pi, Found()):
        text = probe.as_text(probe.narrowed(there, ["GPIO28"]), ["GPIO28"])
        assert "Lines\n  GPIO28 no chip of this machine has such a line" in text
    assert "such a line" not in probe.as_text(probe.narrowed(pi, ["GPIO17"]), ["GPIO17"])


@pytest.mark.parametrize(("said", "meant"), [("gpio17", "GPIO17"), ("BOARD11", "GPIO17"), ("i2c", "i2c")])
def test_names_that_mean_something(said, meant):
    assert probe.checked(said) == meant


def test_a_name_that_means_nothing_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="'GPIO99' is neither a line such as GPIO17 nor one of lines, i2c"):
        probe.checked("GPIO99")


# ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shape_for_scripts_is_this(pi):
    """Who changes it breaks scripts: only add."""
    data = json.loads(json.dumps(probe.as_data(pi, ["spi"])))
    assert {key: sorted(data[key][0]) for key in ("chips", "lines", "buses", "serial", "sensors", "cameras")} == {
        "chips": ["closed", "label", "path", "size"],
        "lines": ["called", "consumer", "direction", "function", "level", "name", "position", "state"],
        "buses": ["channels", "device", "devices", "kind", "label", "name", "usable"],
        "serial": ["console", "device", "kind", "node", "perhaps_gps", "perhaps_meter", "usable"],
        "sensors": ["address", "bus", "channels", "device", "kind", "name", "path"],
        "cameras": ["by", "device", "name"],
    }  # fmt: skip
    assert (data["ok"], data["absent"], data["board"]) == (False, ["spi"], "Raspberry Pi 3 Model B Rev 1.2")
    assert data["chip"] == "gpiochip0"
    assert data["sensors"][0]["channels"][1] == {
        "name": "humidityrelative", "field": "humidity", "label": "", "unit": "%", "value": None,
    }  # fmt: skip
    assert data["buses"][0]["devices"][0] == {"address": "0x68", "name": "ds3231", "driver": ""}
    decoded(data["node_toml"])


# ── node.toml ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sections_are_right_as_they_are(pi):
    there = decoded(probe.as_toml(pi))
    assert there.board.buses == ("i2c", "w1:GPIO4")
    assert [(sensor.name, sensor.driver) for sensor in there.sensors] == [
        ("machine", "system"), ("bme280", "iio"), ("sht4x", "hwmon"), ("thermometer", "onewire"),
        *([("gps", "nmea")] if "nmea" in pi.drivers else []),
    ]  # fmt: skip
    assert not there.inputs


def test_and_with_every_choice_taken(pi):
    there = decoded(uncommented(probe.as_toml(pi)))
    assert [str(sensor.config.device) for sensor in there.sensors if sensor.driver == "p1"] == [
        f"/dev/serial/by-id/{CABLE}",
    ]  # fmt: skip
    assert {"ads1115", "rp1_adc"} <= {sensor.name for sensor in there.sensors}
    taken = {line.name for line in pi.lines if line.state == "used" or line.function}
    assert {line.pin for line in (*there.inputs, *there.outputs)} == {"GPIO27", "GPIO5"} - taken


def test_a_machine_without_lines_gets_no_lines(tmp_path):
    text = probe.as_toml(found.machine(tmp_path, look=list))
    assert decoded(text).sensors
    assert "pin" not in text


def channels(configured: config.Config) -> set[str]:
    return {field.channel.name for sensor in configured.sensors for field in sensor.fields}


async def test_what_is_proposed_for_the_kernels_sensors_reads_them(pi, tmp_path):
    """Each section, decoded as node.toml is, opened, and read once."""
    text = uncommented(probe.as_toml(pi)).replace('driver = "iio"', f'driver = "iio"\nroot = "{tmp_path}"')
    there = decoded(text.replace('driver = "hwmon"', f'driver = "hwmon"\nroot = "{tmp_path}"'))
    for sensor in there.sensors:
        if sensor.driver not in {"iio", "hwmon"}:
            continue
        async with source.load(sensor.driver).open(sensor.config, clock=SystemClock()) as opened:
            samples = opened.samples()
            assert {sample.quality for sample in await anext(samples)} == {"ok"}, sensor.name
            await samples.aclose()
    assert {"bme280.pressure", "ads1115.voltage1", "sht4x.humidity", "rp1_adc.voltage1"} <= channels(there)


def test_what_system_or_onewire_tells_is_not_told_twice(pi):
    text = uncommented(probe.as_toml(pi))
    assert "cpu_thermal" not in text
    assert "w1_slave_temp" not in text


def sensed(name: str, *fields: str, **more: str) -> Sensed:
    what = {"kind": "iio", "path": "/sys/x", "device": name} | more
    return Sensed(name=name, channels=tuple(Measured(name=field, field=field) for field in fields), **what)


def test_two_of_a_kind_get_two_sections_and_two_that_nothing_tells_apart_a_sentence(pi):
    text = probe.as_toml(replace(pi, sensors=(
        sensed("bme280", "temperature", device="1-0076"), sensed("bme280", "temperature", device="1-0077"),
        sensed("twin", "temperature", device=""), sensed("door", "co2"), sensed("Machine", "co2"),
    )))  # fmt: skip
    assert "# Nothing tells twin from another that is called so." in text
    assert {"sensor_1_0076.temperature", "sensor_1_0077.temperature", "door_2.co2", "machine_2.co2"} <= channels(
        decoded(text)
    )


def test_of_an_adc_its_inputs_are_a_choice_and_its_pairs_are_left_out(pi):
    adc = sensed("ads1115", *(f"voltage{number}" for number in range(4)), "voltage0_voltage1", "voltage2_voltage3")
    pairs = sensed("mcp3425", "voltage0_voltage1", "voltage2_voltage3")
    text = probe.as_toml(replace(pi, sensors=(adc, pairs)))
    assert '#fields = ["voltage0", "voltage1", "voltage2", "voltage3"]' in text
    assert '#fields = ["voltage0_voltage1", "voltage2_voltage3"]' in text
    many = probe.as_toml(replace(pi, sensors=(sensed("x", *(f"voltage{number}" for number in range(16))),)))
    assert {f"x.voltage{number}" for number in range(16)} <= channels(decoded(uncommented(many)))


def test_thermometers_of_a_bus_are_one_sensor_and_their_names_are_made_up(pi):
    (bus,) = [bus for bus in pi.buses if bus.kind == "w1"]
    names = ["28-0316b0d6cdff", "28-0316b0d6cd00", "28-0416b0d6cdff", "26-000000000001"]
    several = tuple(Attached(address=name, name=FAMILIES[name[:2]]) for name in names)
    there = decoded(probe.as_toml(replace(pi, sensors=(), buses=(replace(bus, devices=several),))))
    assert {"thermometer.t_cdff", "thermometer.t_cd00", "thermometer.t_cdff_2"} <= channels(there)


def test_what_only_the_kernel_knows_is_named_and_not_configured(pi):
    text = probe.as_toml(replace(pi, drivers=("system", "p1")))
    for said in (
        "later: bme280\n#   /sys/bus/iio/devices/iio:device0", "later: DS18B20, temperature",
        "later: a GPS receiver, it seems\n#   /dev/serial/by-id/usb-u-blox",
    ):  # fmt: skip
        assert f"# Known to the kernel; a driver in Knoop comes {said}" in text
    assert [sensor.driver for sensor in decoded(text).sensors] == ["system"]


def test_a_name_with_a_line_end_stays_a_comment(pi):
    name = "x\n[output.bomb]\npin = 'GPIO5'"
    for more in ({"address": name}, {"device": ""}, {"kind": "hwmon"}):
        forged = sensed(name, "co2", **more)
        assert not decoded(probe.as_toml(replace(pi, sensors=(forged,)))).outputs
        assert not decoded(probe.as_toml(replace(pi, sensors=(forged,), drivers=("system",)))).outputs
