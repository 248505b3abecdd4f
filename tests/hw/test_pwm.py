"""The kernel's PWM on files that behave as its interface: refused where the kernel refuses, the wire as it drives it.

Not tried on a Raspberry Pi. The rules of `Kernel` are those of drivers/pwm/core.c, pwm-bcm2835.c and pwm-rp1.c.
"""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.errors import DeviceError
from knoop_hw.lines import OutputLine
from knoop_hw.outputs import to_safe
from knoop_hw.pwm import KernelPwm, Sysfs

PI_4, PI_5 = "fe20c000.pwm", "1f00098000.pwm"
OTHERS = {PI_4: ["fe20c800.pwm"], PI_5: ["107d517a80.pwm", "1f0009c000.pwm"]}  # sound; a fan's
HZ = 100


class Kernel(Sysfs):
    """`wire` is every share of time that a channel's line was high, in order; 0 while it is at rest."""

    def __init__(self, root, device):
        self.root, self.wire = root, []
        self.slow_rights = 0
        for number, name in enumerate([*OTHERS[device], device]):
            chip = root / f"sys/devices/{name}/pwm/pwmchip{number}"
            chip.mkdir(parents=True)
            (chip / "device").symlink_to(f"../../../{name}")
            (chip / "export").touch()
            (root / "sys/class/pwm").mkdir(parents=True, exist_ok=True)
            (root / f"sys/class/pwm/pwmchip{number}").symlink_to(chip)
        self.channels = 2 if device == PI_4 else 4
        self.chip = chip

    def write(self, attribute, value):
        text = str(value)
        if attribute.name == "export":
            if int(text) >= self.channels:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            self._export(attribute.parent / f"pwm{text}")
            return
        if self.slow_rights:
            self.slow_rights -= 1
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        state = {name: self.read(attribute.parent / name) for name in ("period", "duty_cycle", "enable", "polarity")}
        if attribute.name == "polarity" and state["enable"] == "1" and text != state["polarity"]:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        state[attribute.name] = text
        period, duty = int(state["period"]), int(state["duty_cycle"])
        if (attribute.name != "enable" or text == "1") and (not period or duty > period):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        attribute.write_text(text)
        high = duty / period if state["enable"] == "1" else 0.0
        high = 1 - high if state["polarity"] == "inversed" and state["enable"] == "1" else high
        if not self.wire or self.wire[-1] != high:
            self.wire.append(high)

    def _export(self, folder):
        if folder.exists():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        folder.mkdir()
        for name, text in {"period": "0", "duty_cycle": "0", "enable": "0", "polarity": "normal"}.items():
            (folder / name).write_text(text)

    def muxed(self, *lines):
        """The device tree says that the controller has these lines."""
        tree = self.root / "proc/device-tree/soc"
        for folder in ("pwm@7e20c000", "gpio@7e200000/pwm_pins"):
            (tree / folder).mkdir(parents=True)
        (tree / "pwm@7e20c000/pinctrl-0").write_bytes((9).to_bytes(4, "big"))
        (tree / "gpio@7e200000/pwm_pins/phandle").write_bytes((9).to_bytes(4, "big"))
        numbers = b"".join(line.to_bytes(4, "big") for line in lines)
        (tree / "gpio@7e200000/pwm_pins/brcm,pins").write_bytes(numbers)


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path, PI_4)


def opened(kernel, line="GPIO18", *, active_low=False, initial=0.0, hz=HZ):
    return KernelPwm(kernel.root, sysfs=kernel).open(line, active_low=active_low, initial=initial, hz=hz)


class TestTheFirstLevel:
    """From rest to `initial` without anything in between."""

    @pytest.mark.parametrize(
        ("active_low", "initial", "wire"), [(False, 0.0, [0.0]), (False, 1.0, [0.0, 1.0]), (True, 0.0, [0.0, 1.0]),
                                            (True, 1.0, [0.0]), (False, 0.4, [0.0, 0.4])]
    )  # fmt: skip
    def test_it_is_the_first(self, kernel, active_low, initial, wire):
        pulses = opened(kernel, active_low=active_low, initial=initial)
        assert kernel.wire == wire
        assert pulses.value == pytest.approx(initial)

    def test_a_channel_that_pulses_goes_on_without_a_gap(self, kernel):
        opened(kernel, initial=0.4)  # killed: nobody closed it
        before = len(kernel.wire)
        opened(kernel, initial=0.7)
        assert kernel.wire[before:] == [0.7]

    def test_safe_already_is_not_touched(self, kernel):
        opened(kernel, initial=0.0, active_low=True).close()
        before = len(kernel.wire)
        opened(kernel, initial=0.0, active_low=True).close()
        assert kernel.wire[before:] == []

    @given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([50, 100, 25_000]), st.sampled_from([50, 100, 25_000]))
    def test_from_whatever_another_program_left(self, tmp_path_factory, former, initial, former_hz, hz):
        kernel = Kernel(tmp_path_factory.mktemp("pwm"), PI_4)
        opened(kernel, initial=former, hz=former_hz)
        assert opened(kernel, initial=initial, hz=hz).value == pytest.approx(initial, abs=1e-4)

    def test_another_programs_polarity(self, kernel):
        opened(kernel, initial=0.5)
        folder = kernel.chip / "pwm0"
        kernel.write(folder / "enable", 0)
        kernel.write(folder / "polarity", "inversed")
        kernel.write(folder / "enable", 1)
        assert opened(kernel, initial=1.0).value == 1.0
        assert kernel.wire[-1] == 1.0


class TestWhileOpen:
    def test_levels(self, kernel):
        fan = opened(kernel, active_low=True)
        fan.value = 0.25
        assert (fan.value, kernel.wire[-1]) == (0.25, 0.75)

    def test_closing_leaves_the_level_and_the_channel(self, kernel):
        fan = opened(kernel, initial=1.0)
        fan.close()
        fan.close()
        assert kernel.wire == [0.0, 1.0]
        assert (kernel.chip / "pwm0").is_dir()
        with pytest.raises(OSError, match="GPIO18 is closed"):
            fan.value = 0.5

    def test_one_that_another_program_stopped_is_off(self, kernel):
        fan = opened(kernel, initial=1.0)
        kernel.write(kernel.chip / "pwm0/enable", 0)
        assert fan.value == 0.0


class TestWhichChannel:
    @pytest.mark.parametrize(
        ("device", "line", "channel"),
        [(PI_4, "GPIO12", 0), (PI_4, "GPIO13", 1), (PI_4, "GPIO18", 0), (PI_4, "GPIO19", 1),
         (PI_5, "GPIO12", 0), (PI_5, "GPIO13", 1), (PI_5, "GPIO18", 2), (PI_5, "GPIO19", 3)],
    )  # fmt: skip
    def test_by_the_controllers_address(self, tmp_path, device, line, channel):
        kernel = Kernel(tmp_path, device)
        opened(kernel, line)
        assert [path.name for path in kernel.chip.glob("pwm*")] == [f"pwm{channel}"]

    def test_two_lines_with_one_channel(self, kernel):
        board = KernelPwm(kernel.root, sysfs=kernel)
        first = board.open("GPIO12", active_low=False, initial=0.0, hz=HZ)
        with pytest.raises(DeviceError, match=r"^GPIO18 has the pulses of GPIO12: both show one channel"):
            board.open("GPIO18", active_low=False, initial=0.0, hz=HZ)
        first.close()
        board.open("GPIO18", active_low=False, initial=0.0, hz=HZ)

    def test_the_overlay_may_be_for_another_line(self, kernel):
        kernel.muxed(18)
        opened(kernel)
        with pytest.raises(DeviceError) as caught:
            opened(kernel, "GPIO12")
        assert str(caught.value) == (
            "GPIO12 has no pulses of the kernel's (this board has them on GPIO18); "
            "add `dtoverlay=pwm,pin=12,func=4` to config.txt and restart the board, "
            'or set [board] driver = "lgpio", whose pulses are made in software'
        )


    def test_on_knoops_own_image_it_is_the_cards_file_that_switches(self, kernel):
        (kernel.root / "usr/share/knoop-image").mkdir(parents=True)
        kernel.muxed(18)
        with pytest.raises(DeviceError, match=r"name this output in knoop\.toml on the card and start again"):
            opened(kernel, "GPIO12")


class TestAnOutput:
    """`lines.OutputLine` on these pulses: the GPIO line is never asked for, because that would end them."""

    TABLE = '[board]\ndriver = "gpiod"\n[output.fan]\npin = "GPIO18"\nkind = "pwm"\nactive_low = true\n'

    @pytest.fixture
    def fan(self):
        problems = []
        config = hw_config.load(decode.parse(self.TABLE, "node.toml"), problems)
        assert problems == []
        return config.outputs[0]

    def test_percents(self, kernel, fan):
        line = OutputLine(fan, factory=SimpleNamespace(pwm=KernelPwm(kernel.root, sysfs=kernel)), initial=False)
        assert (line.value, kernel.wire) == (0.0, [0.0, 1.0])
        assert line.set(40) == 40.0
        assert kernel.wire[-1] == pytest.approx(0.6)
        line.close()
        with pytest.raises(DeviceError, match=r"^output\.fan: GPIO18 cannot be set \(GPIO18 is closed\)$"):
            line.set(0)

    def test_safe_after_a_death(self, kernel, fan):
        def factory():
            return SimpleNamespace(pwm=KernelPwm(kernel.root, sysfs=kernel))

        OutputLine(fan, factory=factory(), initial=False).set(40)  # killed here: the kernel goes on
        before = len(kernel.wire)
        assert to_safe([fan], factory=factory()) == []
        assert to_safe([fan], factory=factory()) == []
        assert kernel.wire[before:] == [1.0]

    def test_what_is_missing_names_the_output(self, tmp_path, fan):
        with pytest.raises(DeviceError, match=r"^output\.fan: GPIO18 has no pulses of the kernel's; add"):
            OutputLine(fan, factory=SimpleNamespace(pwm=KernelPwm(tmp_path)), initial=False)


class TestErrors:
    def test_no_controller(self, tmp_path):
        said = r"^GPIO18 has no pulses of the kernel's; add `dtoverlay=pwm,pin=18,func=2`"
        with pytest.raises(DeviceError, match=said):
            KernelPwm(tmp_path).open("GPIO18", active_low=False, initial=0.0, hz=HZ)

    def test_rights_come_a_moment_after_the_channel(self, kernel):
        kernel.slow_rights = 5
        assert opened(kernel, initial=0.5).value == 0.5

    def test_rights_that_do_not_come(self, kernel):
        kernel.slow_rights = 1000
        said = r"^GPIO18: this user may not set pulses; .* group gpio \(`ls -l .*/pwmchip1/`"
        with pytest.raises(DeviceError, match=said):
            opened(kernel)

    def test_what_the_kernel_refuses(self, kernel):
        with pytest.raises(DeviceError, match=r"^GPIO18: the kernel's PWM refuses \(Invalid argument\)$"):
            opened(kernel, hz=1e12)
