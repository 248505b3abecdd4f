"""What was found, as people, scripts and node.toml read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.hw.trees import CABLE, a_pi, a_pis_chips, put

from knoop_hw import config, decode, found, probe
from knoop_hw.found import Found
from knoop_hw.sensed import Sensed


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
        f"/dev/serial/by-id/{CABLE}", "ttyUSB0; perhaps a smart meter's P1 cable", "ttyAMA0; this board's own",
        "bme280 (iio)", "temp 48.312 °C", "imx219", "none              SPI; how to have one: knoop probe spi",
    ):  # fmt: skip
        assert said in text


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
    missed = [found.Unseen(what=what, why="", remedy="") for what in ("GPIO lines", "levels", "/dev/i2c-1")]
    there = replace(pi, unseen=tuple(missed))
    assert probe.narrowed(there, ["GPIO17"]).unseen == tuple(missed[:2])
    assert probe.narrowed(there, ["serial"]).unseen == tuple(missed[2:])
    assert probe.narrowed(there, ["cameras"]).unseen == ()
    nothing = Found(unseen=tuple(missed))
    assert probe.narrowed(nothing, ["GPIO17"]).unseen == nothing.unseen[:1], "where no line could be asked least of all"


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
        "serial": ["console", "device", "kind", "node", "perhaps_meter", "usable"],
        "sensors": ["channels", "kind", "name", "path"], "cameras": ["by", "device", "name"],
    }  # fmt: skip
    assert (data["ok"], data["absent"], data["board"]) == (False, ["spi"], "Raspberry Pi 3 Model B Rev 1.2")
    assert data["chip"] == "gpiochip0"
    assert data["sensors"][0]["channels"][0] == {"name": "humidityrelative", "unit": "%", "value": None}
    assert data["buses"][0]["devices"][0] == {"address": "0x68", "name": "ds3231", "driver": ""}
    decoded(data["node_toml"])


# ── node.toml ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sections_are_right_as_they_are(pi):
    there = decoded(probe.as_toml(pi))
    assert there.board.buses == ("i2c", "w1:GPIO4")
    assert [sensor.driver for sensor in there.sensors] == ["system"]
    assert not there.inputs


def test_and_with_every_choice_taken(pi):
    there = decoded(uncommented(probe.as_toml(pi)))
    assert [str(sensor.config.device) for sensor in there.sensors if sensor.driver == "p1"] == [
        f"/dev/serial/by-id/{CABLE}", str(pi.serial[1].device),
    ]  # fmt: skip
    taken = {line.name for line in pi.lines if line.state == "used" or line.function}
    assert {line.pin for line in (*there.inputs, *there.outputs)} == {"GPIO27", "GPIO5"} - taken


def test_a_machine_without_lines_gets_no_lines(tmp_path):
    text = probe.as_toml(found.machine(tmp_path, look=list))
    assert decoded(text).sensors
    assert "pin" not in text


def test_what_only_the_kernel_knows_is_named_and_not_configured(pi):
    text = probe.as_toml(pi)
    assert "# Known to the kernel; a driver in Knoop comes later: bme280\n#   /sys/bus/iio/devices/iio:device0" in text
    assert "# Known to the kernel; a driver in Knoop comes later: DS18B20, temperature" in text


def test_once_there_is_a_driver_it_is_not_said_to_come(pi):
    assert "bme280" not in probe.as_toml(replace(pi, drivers=("iio", "hwmon", "onewire")))


def test_a_name_with_a_line_end_stays_a_comment(pi):
    forged = Sensed(kind="iio", name="x\n[output.bomb]\npin = 'GPIO5'", path="/sys/x", channels=())
    assert not decoded(probe.as_toml(replace(pi, sensors=(forged,)))).outputs
