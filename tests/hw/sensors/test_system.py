"""The machine's own values, from a made-up /proc and from the real one."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

import pytest

from knoop_hw.clock import SystemClock
from knoop_hw.errors import BadReading
from knoop_hw.kernel import firmware
from knoop_hw.sensors import system


@pytest.fixture
def root(tmp_path):
    """A machine with two thermal zones."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "loadavg").write_text("0.42 0.30 0.20 1/234 5678\n")
    (proc / "uptime").write_text("3661.25 7000.00\n")
    (proc / "meminfo").write_text("MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  250 kB\n")
    for number, (kind, temperature) in enumerate([("gpu-thermal", 50_000), ("cpu-thermal", 48_312)]):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{temperature}\n")
    return tmp_path


async def first(config):
    async with system.open(config, clock=SystemClock()) as sensor:
        samples = sensor.samples()
        taken = await asyncio.wait_for(anext(samples), 5)
        await samples.aclose()
        return {sample.field: sample.value for sample in taken}


async def test_what_the_kernel_says(root):
    values = await first(system.Config(root=root, mount=root))
    assert 0 <= values.pop("disk") <= 100
    assert values == {"temperature": 48.312, "load": 0.42, "memory": 75.0, "uptime": 3661.25}


async def test_a_machine_without_a_thermal_zone(tmp_path, root):
    for zone in root.glob("sys/class/thermal/*/temp"):
        zone.unlink()
    config = system.Config(root=root)
    assert [field.name for field in system.fields(config)] == ["load", "memory", "disk", "uptime"]
    assert (await first(config)).keys() == {"load", "memory", "disk", "uptime"}


async def test_this_machine():
    values = await first(system.Config())
    space = os.statvfs("/")
    assert 0 <= values["memory"] <= 100
    assert values["disk"] == pytest.approx(
        100 * (1 - space.f_bavail / (space.f_blocks - space.f_bfree + space.f_bavail)), abs=1
    )
    assert values["uptime"] > 0


async def test_a_drive_that_was_pulled_out_takes_no_other_value_with_it(root, caplog):
    """All of the machine was an error, and the log said "No such file or directory" without a name."""
    config = system.Config(root=root, mount=root / "usb")
    values = await first(config)
    assert (values["disk"], values["load"], values["temperature"]) == (None, 0.42, 48.312)
    await first(config)
    said = f"disk is missing, {root}/usb cannot be asked: No such file or directory; mount it, or correct 'mount'"
    assert [record.message for record in caplog.records] == [said]


async def test_a_kernel_that_says_nonsense(root):
    (root / "proc/meminfo").write_text("nothing\n")
    with pytest.raises(BadReading, match="has no MemTotal"):
        await first(system.Config(root=root))


class TestFields:
    """Only what the machine has, in both halves: dev, which their sandboxes show differently, decides nothing."""

    def names(self, root):
        return [field.name for field in system.fields(system.Config(root=root))]

    async def test_swap_where_there_is_some(self, root):
        meminfo = root / "proc/meminfo"
        meminfo.write_text(meminfo.read_text() + "SwapTotal: 0 kB\nSwapFree: 0 kB\n")
        assert "swap" not in self.names(root)
        meminfo.write_text(meminfo.read_text().replace("SwapTotal: 0", "SwapTotal: 200").replace("Free: 0", "Free: 50"))
        assert (await first(system.Config(root=root)))["swap"] == 75

    async def test_the_supply_where_mainlines_kernel_watches_it(self, root):
        """drivers/hwmon/raspberrypi-hwmon.c: `rpi_volt`, in0_lcrit_alarm."""
        for number, name in enumerate(["cpu_thermal", "rpi_volt"]):
            chip = root / f"sys/class/hwmon/hwmon{number}"
            chip.mkdir(parents=True)
            (chip / "name").write_text(f"{name}\n")
        alarm = root / "sys/class/hwmon/hwmon1/in0_lcrit_alarm"
        alarm.write_text("0\n")
        assert self.names(root)[-1] == "undervoltage"
        assert (await first(system.Config(root=root)))["undervoltage"] is False
        alarm.write_text("1\n")
        assert (await first(system.Config(root=root)))["undervoltage"] is True
        alarm.unlink()
        assert (await first(system.Config(root=root)))["undervoltage"] is None

    async def test_a_firmware_that_we_may_not_ask_is_missing_and_said(self, root, caplog):
        (root / "sys/class/misc/vcio").mkdir(parents=True)
        flags = ["undervoltage", "throttled", "undervoltage_since_boot", "throttled_since_boot"]
        assert self.names(root)[-4:] == flags
        values = await first(system.Config(root=root))
        assert [values[name] for name in flags] == [None] * 4
        assert values["load"] == 0.42
        assert "throttled is missing, the firmware may not be asked by us: let the unit see /dev/vcio" in caplog.text

    @pytest.mark.parametrize(
        ("life_time", "pre_eol_info", "wear"),
        [
            ("0x01 0x01", "0x01", 10), ("0x02 0x05", "0x01", 50), ("0x0b 0x01", "0x01", 110),
            ("0x01 0x01", "0x02", 80), ("0x0a 0x01", "03", 100),  # before 4.16 the kernel left the 0x out
            ("0x00 0x00", "0x00", None), ("0x01 0x00", "0x00", 10), ("", "", None),
        ],
    )  # fmt: skip
    async def test_wear_where_the_card_tells(self, root, life_time, pre_eol_info, wear):
        device = root / "sys/block/mmcblk0/device"
        device.mkdir(parents=True)
        (root / "sys/block/mmcblk1/device").mkdir(parents=True)  # an SD card says nothing of it
        (device / "life_time").write_text(f"{life_time}\n")
        (device / "pre_eol_info").write_text(f"{pre_eol_info}\n")
        assert (await first(system.Config(root=root))).get("wear") == wear
        assert ("wear" in self.names(root)) == (wear is not None)


class TestFirmware:
    """A firmware as vcio.c stands before it, which takes one tag and answers in words."""

    @pytest.fixture
    def machine(self, tmp_path):
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev/vcio").touch()
        return tmp_path

    def asked(self, root, says):
        def ioctl(device, request, message, mutate):
            assert Path(f"/proc/self/fd/{device}").readlink().parent == root / "dev"
            assert request == (0xC0086400 if struct.calcsize("P") == 8 else 0xC0046400)
            size, status, tag, room, _, _ = struct.unpack_from("=6I", message)
            assert (size, status, tag, mutate) == (len(message), 0, 0x00030080, True)
            assert room <= size - 8 - 12  # vcio_check_tags
            assert message[24:].rstrip(b"\0") == b"get_throttled"
            message[24 : 24 + len(says) + 1] = says + b"\0"
            return 0

        return firmware.throttled(root, ioctl=ioctl)

    @pytest.mark.parametrize(
        ("bits", "now", "since"),
        [
            (0x0, (False, False), (False, False)), (0x50005, (True, True), (True, True)),
            (0x50000, (False, False), (True, True)), (0x1, (True, False), (False, False)),
            (0x80008, (False, True), (False, True)), (0x20002, (False, True), (False, True)),
            (0x10000, (False, False), (True, False)),
        ],
    )  # fmt: skip
    def test_the_bits_that_people_know(self, machine, bits, now, since):
        flags = self.asked(machine, b"throttled=0x%x" % bits)
        assert (flags.undervoltage, flags.throttled) == now
        assert (flags.undervoltage_since_boot, flags.throttled_since_boot) == since

    def test_the_device_that_can_do_nothing_else_is_preferred(self, machine):
        (machine / "dev/vcio").unlink()
        (machine / "dev/vcio_gencmd").touch()
        assert not self.asked(machine, b"throttled=0x0").throttled

    def test_an_answer_that_is_none(self, machine):
        with pytest.raises(BadReading, match="error=1"):
            self.asked(machine, b'error=1 error_msg="Command not registered"')

    def test_what_is_no_firmware(self, machine):
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            firmware.throttled(machine)
        (machine / "dev/vcio").unlink()
        with pytest.raises(OSError, match="no device"):
            firmware.throttled(machine)
