"""What would not open is said before anything opens, all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.chips import Chip, Line
from knoop_hw.errors import DeviceError
from knoop_hw.kernel.functions import Function
from knoop_hw.preflight import Machine, look, preflight
from knoop_hw.pwm import KernelPwm

PI = Chip(path="/dev/gpiochip0", label="pinctrl-bcm2835", size=28)
CONSUMERS = {5: "knocker", 6: ""}
FUNCTIONS = {
    "GPIO2": Function(kind="I²C", name="i2c1"), "GPIO14": Function(kind="UART", name="serial0"),
    "GPIO18": Function(kind="PWM", name="pwm"), "GPIO20": Function(kind="display", name="dpi"),
}  # fmt: skip


def machine(size=28):
    lines = tuple(Line(number=n, used=n in CONSUMERS, consumer=CONSUMERS.get(n, "")) for n in range(size))
    return Machine(chip=PI, lines=lines, functions=FUNCTIONS)


def of(text):
    problems = []
    config = hw_config.load(decode.parse(text, "node.toml"), problems)
    assert not problems
    return config


def output(pin, more=""):
    return f'[output.lamp]\npin = "{pin}"\n{more}'


def said(config, **more):
    with pytest.raises(DeviceError) as refused:
        preflight(config, more.pop("machine", machine()), **more)
    return str(refused.value)


def test_free_lines_are_fine():
    preflight(of(output("GPIO17") + '[input.door]\npin = "GPIO27"\n'), machine())


@pytest.mark.parametrize(
    ("pin", "sentence"),
    [
        ("GPIO5", "output.lamp: GPIO5 is in use by 'knocker'; end that, or take another line"),
        ("GPIO6", "output.lamp: GPIO6 is in use by 'another driver'; end that, or take another line"),
        ("GPIO2", "output.lamp: GPIO2 belongs to the board's I²C (i2c1); take another line, or switch that off: "
                  "take dtparam=i2c_arm=on out of /boot/firmware/config.txt, then restart"),
        ("GPIO14", "output.lamp: GPIO14 belongs to the board's UART (serial0); take another line, or switch that off: "
                   "take enable_uart=1 out of /boot/firmware/config.txt, then restart"),
        ("GPIO20", "output.lamp: GPIO20 belongs to the board's display (dpi); take another line, or switch that off "
                   "in /boot/firmware/config.txt"),
    ],
)  # fmt: skip
def test_a_line_that_is_taken_says_by_whom(pin, sentence):
    assert said(of(output(pin))) == sentence


@pytest.mark.parametrize("pin", ["GPIO2", "GPIO14", "GPIO20"])
def test_on_knoops_own_image_it_is_the_cards_file_that_switches(pin):
    text = said(of(output(pin)), machine=replace(machine(), by_card=True))
    assert "take what has it out of knoop.toml ([board] buses, or an output of the kind pwm) and start again" in text
    assert "config.txt" not in text


def test_all_problems_are_said_at_once():
    config = of(output("GPIO5") + '[input.door]\npin = "GPIO2"\n[input.bell]\npin = "GPIO27"\n')
    assert [line.partition(":")[0] for line in said(config, machine=machine(size=20)).splitlines()] == [
        "output.lamp", "input.door", "input.bell",
    ]  # fmt: skip


def test_a_line_that_the_chip_does_not_have():
    assert said(of(output("GPIO17")), machine=machine(size=8)) == (
        "output.lamp: gpiochip0 (pinctrl-bcm2835) has no line GPIO17, only GPIO0 to GPIO7; "
        "take one of those, or set [board] chip"
    )


def test_lines_that_are_ours_already_are_fine():
    preflight(of(output("GPIO5")), machine(), held={"GPIO5"})


def test_a_line_of_ours_that_becomes_something_else_is_looked_at_anew(tmp_path):
    """Else a reload would switch the output off before it finds out."""
    nothing = replace(machine(), pwm=KernelPwm(tmp_path))
    assert "has no pulses of the kernel's" in said(of(PWM_LINE), machine=nothing, held={"GPIO18"})
    assert "belongs to the board's PWM (pwm)" in said(of(output("GPIO18")), held={"GPIO18"})


PWM_LINE = output("GPIO18", 'kind = "pwm"\n')


def test_a_pwm_line_is_the_kernels_own_and_nobody_elses(tmp_path):
    pwm = tmp_path / "sys/devices/fe20c000.pwm/pwm/pwmchip0"
    pwm.mkdir(parents=True)
    (pwm / "device").symlink_to(pwm.parent.parent)
    (tmp_path / "sys/class/pwm").mkdir(parents=True)
    (tmp_path / "sys/class/pwm/pwmchip0").symlink_to(pwm)
    preflight(of(PWM_LINE), replace(machine(), pwm=KernelPwm(tmp_path)))
    assert "belongs to the board's PWM (pwm)" in said(of(output("GPIO18")))
    assert "belongs to the board's PWM (pwm)" in said(of('[board]\ndriver = "lgpio"\n' + PWM_LINE))


def test_a_pwm_where_the_kernel_makes_no_pulses(tmp_path):
    text = said(of(PWM_LINE), machine=replace(machine(), functions={}, pwm=KernelPwm(tmp_path)))
    assert text.startswith("output.lamp: GPIO18 has no pulses of the kernel's; add `dtoverlay=pwm")


def test_a_machine_without_chips(tmp_path):
    (tmp_path / "dev").mkdir()
    with pytest.raises(DeviceError, match=r"^board: this machine has no GPIO chip"):
        look(None, tmp_path)
