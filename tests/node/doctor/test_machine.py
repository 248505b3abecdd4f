"""This machine, as trees of files say it: well, and then exactly one thing is not."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knoop import config, doctor
from knoop.xmpp import compat
from knoop_hw import rights
from knoop_hw.clock import FakeClock

LINES = '[input.door]\npin = "GPIO17"\n'


@pytest.fixture
def pi(tmp_path: Path) -> doctor.Machine:
    """A Raspberry Pi that is well."""
    root = tmp_path / "root"
    for file, text in {
        "sys/class/thermal/thermal_zone0/temp": "45300\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        "run/systemd/timesync/synchronized": "",
        "proc/self/mounts": "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\ntmpfs /run tmpfs rw 0 0\n",
        "dev/gpiochip0": "",
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, "utf-8")
    state = tmp_path / "state"
    state.mkdir()
    return doctor.Machine(
        root=root, state=lambda: state, may=lambda *_: True, space=lambda _: space(), synchronised=lambda: False,
        installed=lambda _: True,
    )


def space(*, free: int = 2**30, inodes: int = 10**6, flags: int = 0) -> os.statvfs_result:
    blocks = free // 4096
    return os.statvfs_result((4096, 4096, 10**7, blocks, blocks, 10**7, inodes, inodes, flags, 255))


async def examine(machine: doctor.Machine, folder: Path, more: str = LINES, xmpp: str = "") -> list[doctor.Finding]:
    secret = folder / "password"
    secret.touch(0o600)
    secret.write_text("secret", "utf-8")
    file = folder / "node.toml"
    file.write_text(
        f'[node]\nname = "attic"\n[xmpp]\njid = "attic@example.org"\npassword_file = "{secret}"\n{xmpp}\n'
        f'[people]\n"anna@example.org" = "owner"\n{more}',
        "utf-8",
    )
    return await doctor.examine(
        config.load(file, jid=compat.jid), clock=FakeClock(), offline=True, machine=machine
    )


def levels(found: list[doctor.Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in found}


def text(found: list[doctor.Finding], check: str) -> str:
    return " | ".join(f"{f.text} → {f.remedy}" for f in found if f.check == check)


async def test_a_machine_that_is_well(pi, tmp_path):
    found = await examine(pi, tmp_path)
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok")


def written(file: str, content: str) -> Callable[[doctor.Machine], doctor.Machine]:
    def change(machine: doctor.Machine) -> doctor.Machine:
        (machine.root / file).write_text(content, "utf-8")
        return machine

    return change


def removed(file: str) -> Callable[[doctor.Machine], doctor.Machine]:
    def change(machine: doctor.Machine) -> doctor.Machine:
        (machine.root / file).unlink()
        return machine

    return change


def having(**parts: Any) -> Callable[[doctor.Machine], doctor.Machine]:
    return lambda machine: replace(machine, **parts)


THERMAL, THROTTLED = "sys/class/thermal/thermal_zone0/temp", "sys/devices/platform/soc/soc:firmware/get_throttled"


@pytest.mark.parametrize(
    ("change", "check", "level", "sentence"),
    [
        (written(THERMAL, "82000\n"), "temperature", "problem", "82 °C: it slows itself down"),
        (written(THERMAL, "71500\n"), "temperature", "note", "72 °C: from 80 °C on"),
        (removed(THERMAL), "temperature", "note", "not looked at: this machine shows none"),
        (written(THROTTLED, "50005\n"), "power", "problem", "the voltage is too low just now"),
        (written(THROTTLED, "4\n"), "power", "problem", "slowed down just now"),
        (written(THROTTLED, "80008\n"), "power", "problem", "near its limit of temperature just now"),
        (written(THROTTLED, "10000\n"), "power", "note", "the voltage was too low since the start"),
        (written(THROTTLED, "40000\n"), "power", "note", "slowed down since the start"),
        (removed(THROTTLED), "power", "note", "only a Raspberry Pi tells"),
        (removed("run/systemd/timesync/synchronized"), "clock", "note", "sudo timedatectl set-ntp true"),
        (removed("dev/gpiochip0"), "lines", "problem", '[board] driver = "simulated"'),
        (having(may=lambda path, _: "gpiochip" not in path.name), "lines", "problem", "gpiochip0 may not be opened by"),
        (having(installed=lambda _: False), "lines", "problem", "pip install gpiod; "),
        (written("proc/self/mounts", "tmpfs / tmpfs rw 0 0\n"), "disk", "note", "is on tmpfs, which may be forgotten"),
        (having(space=lambda _: space(flags=os.ST_RDONLY)), "disk", "problem", "is read-only"),
        (having(space=lambda _: space(free=2 * 2**30)), "disk", "ok", "2048 MiB free"),
        (having(space=lambda _: space(free=77 * 2**30)), "disk", "ok", "77 GiB free"),
        (having(space=lambda _: space(free=8 * 2**20)), "disk", "problem", "8 MiB are free"),
        (having(space=lambda _: space(free=40 * 2**20)), "disk", "note", "lower 'max' in [storage] to \"20MiB\""),
        (having(space=lambda _: space(inodes=3)), "disk", "problem", "3 files more are all"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_exactly_one_thing_is_wrong(pi, tmp_path, change, check, level, sentence):  # noqa: PLR0917
    found = await examine(change(pi), tmp_path)
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {check: level}
    assert sentence in text(found, check)


async def test_a_clock_that_the_kernel_knows_to_be_right_is_enough(pi, tmp_path):
    (pi.root / "run/systemd/timesync/synchronized").unlink()
    found = await examine(replace(pi, synchronised=lambda: True), tmp_path)
    assert levels(found)["clock"] == "ok"


def test_the_kernel_answers():
    assert doctor.machine.kernel_synchronised() in {True, False}


async def test_a_state_folder_that_is_none(pi, tmp_path):
    def state() -> Path:
        folder = tmp_path / "node.toml" / "knoop"
        folder.mkdir(parents=True)
        return folder

    found = await examine(replace(pi, state=state), tmp_path)
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {"state": "problem", "disk": "note"}
    assert "Not a directory" in text(found, "state")
    assert "not looked at" in text(found, "disk")


async def test_a_password_that_others_can_read(pi, tmp_path):
    password = tmp_path / "open"
    password.write_text("secret", "utf-8")
    password.chmod(0o644)
    found = await examine(pi, tmp_path)
    assert levels(found)["password"] == "ok"
    loaded = config.load(tmp_path / "node.toml", jid=compat.jid)
    loaded = replace(loaded, xmpp=replace(loaded.xmpp, password_file=password))
    found = await doctor.examine(loaded, clock=FakeClock(), offline=True, machine=pi)
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {"password": "problem"}
    assert f"run: chmod 600 {password}" in text(found, "password")


async def test_a_rooms_password_in_a_file_that_others_can_read(pi, tmp_path):
    room = '[room."fleet@rooms.example.org"]\npassword = "hush"\n'
    found = await examine(pi, tmp_path, room)
    (tmp_path / "node.toml").chmod(0o644)
    again = await examine(pi, tmp_path, room)
    assert levels(again) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {"configuration": "note"}
    assert "chmod 600" in text(again, "configuration")
    assert "hush" not in doctor.as_text([*found, *again])


METER = '[sensor.meter]\ndriver = "p1"\ndevice = "{}"\n'


async def test_devices(pi, tmp_path):
    port = tmp_path / "ttyUSB0"
    found = await examine(pi, tmp_path, METER.format(port))
    assert levels(found)["devices"] == "problem"
    assert f"sensor.meter: {port} does not exist" in text(found, "devices")
    port.touch()
    port.chmod(0o660)
    found = await examine(pi, tmp_path, METER.format(port))
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok")
    group = grp.getgrnam("dialout").gr_gid if not os.getuid() else os.getgid()
    os.chown(port, -1, group)
    found = await examine(replace(pi, may=lambda path, _user: path != port), tmp_path, METER.format(port))
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {"devices": "problem"}
    us = pwd.getpwuid(os.getuid()).pw_name
    assert f"sudo usermod -aG {grp.getgrgid(group).gr_name} {us}, then log in again" in text(found, "devices")


async def test_a_device_that_nobody_can_look_for_is_told(pi, tmp_path):
    port = f"/dev/{'x' * 300}"  # a folder that is not for us is refused alike, but not to root
    found = await examine(replace(pi, may=rights.may), tmp_path, METER.format(port))
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {"devices": "problem"}
    assert "may not be opened by" in text(found, "devices")


async def test_a_service_whose_user_is_not_there_is_told(pi, tmp_path):
    found = await examine(replace(pi, may=rights.may, user="no-such-user"), tmp_path)
    assert levels(found) == dict.fromkeys(doctor.ON_THIS_MACHINE, "ok") | {"lines": "problem"}
    assert "gpiochip0 may not be opened by no-such-user → there is no user 'no-such-user'" in text(found, "lines")


async def test_only_the_library_of_the_driver_is_needed(pi, tmp_path):
    def installed(module: str) -> bool:
        return module != "lgpio"

    found = await examine(replace(pi, installed=installed), tmp_path, '[board]\ndriver = "lgpio"\n' + LINES)
    assert "lgpio is not installed" in text(found, "lines")
    assert "pip install lgpio; " in text(found, "lines")
    assert levels(await examine(replace(pi, installed=installed), tmp_path))["lines"] == "ok", "gpiod is the default"


async def test_a_simulated_board_needs_no_chip(pi, tmp_path):
    (pi.root / "dev/gpiochip0").unlink()
    found = await examine(pi, tmp_path, '[board]\ndriver = "simulated"\n' + LINES)
    assert levels(found)["lines"] == "ok"
