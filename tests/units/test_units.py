"""The files in systemd/ by the tools of both Debians: nothing that they only warn of, no more rights than promised."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from tests.units import knoop, roots
from tests.units.nspawn import Container

EXPOSURE = {"knoop-hw.service": 5, "knoop.service": 11}  # tenths, as --threshold= wants them
RULES = "/usr/lib/udev/rules.d/60-knoop.rules"


@pytest.fixture(params=list(roots.SUITES), scope="module")
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with knoop.container(request.param, tmp_path_factory.mktemp("units")) as made:
        knoop.install(made)
        yield made


@pytest.mark.parametrize("unit", knoop.UNITS)
def test_systemd_has_nothing_to_say_of_a_unit(debian, unit):
    """It ends with 0 for a key that it does not know, and says so."""
    done = debian.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{unit}", check=False)
    assert (done.code, done.said.strip()) == (0, "")


DROP_INS = re.findall(r"```ini\n(.*?)```", (knoop.SYSTEMD / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", DROP_INS, ids=[text.splitlines()[1].partition("=")[0] for text in DROP_INS])
def test_systemd_understands_what_we_tell_people_to_add(debian, text):
    unit = "knoop.service" if "ProtectClock" in text else "knoop-hw.service"
    try:
        knoop.drop_in(debian, unit, text)
        done = debian.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{unit}", check=False)
        assert (done.code, done.said.strip()) == (0, "")
    finally:
        debian.run("rm", f"/etc/systemd/system/{unit}.d/test.conf")


def test_an_unknown_key_would_have_been_said(debian):
    debian.write("/etc/systemd/system/wrong.service", "[Service]\nExecStart=/bin/true\nProtectEverything=yes\n")
    assert "ProtectEverything" in debian.run("systemd-analyze", "verify", "/etc/systemd/system/wrong.service").said


@pytest.mark.parametrize(("unit", "tenths"), EXPOSURE.items())
def test_a_half_is_exposed_no_more_than_promised(debian, unit, tenths):
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager")
    file = f"/usr/lib/systemd/system/{unit}"
    done = debian.run(*command, f"--threshold={tenths}", file, check=False)
    assert done.code == 0, done.said
    said = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.said)
    assert said is not None and float(said[1]) * 10 <= tenths


def test_who_is_in_which_group(debian):
    groups = {user: set(debian.run("id", "-nG", user).out.split()) for user in ("knoop", "knoop-hw")}
    assert groups == {"knoop": {"knoop"},
                      "knoop-hw": {"knoop-hw", "knoop", "gpio", "i2c", "spi", "dialout", "video"}}
    for user in groups:
        assert debian.run("getent", "passwd", user).out.strip().endswith("nologin")
    assert debian.run("stat", "--format=%U:%G %a", "/run/knoop").out == "root:knoop 1770\n"


def test_systemd_knows_what_the_boards_watchdog_is_told(debian):
    debian.write("/etc/systemd/system.conf.d/knoop.conf", (knoop.SYSTEMD / "watchdog.conf").read_text("utf-8"))
    said = debian.run("systemd-analyze", "cat-config", "systemd/system.conf").out
    assert "RuntimeWatchdogSec=14s" in said
    debian.run("systemctl", "daemon-reexec")
    assert debian.run("systemctl", "show", "--property=RuntimeWatchdogUSec").out.strip() == "RuntimeWatchdogUSec=14s"


def test_udev_understands_the_rules(debian):
    if int(debian.run("systemctl", "--version").out.split()[1]) >= 254:  # Debian 12's udevadm cannot check
        assert "Fail:    0" in debian.run("udevadm", "verify", RULES).said


def commands(subsystem: str) -> list[str]:
    """What a rule runs, as udev would: `%p` is the device's path, `$$` is one `$`."""
    rules = (knoop.SYSTEMD / "60-knoop.rules").read_text("utf-8")
    (rule,) = re.findall(rf'^SUBSYSTEM=="{subsystem}".*RUN\+="(.*)"$', rules, re.MULTILINE)
    return shlex.split(rule.replace("$$", "$"))


def test_pulses_and_the_one_wire_bus_belong_to_the_group(debian):
    """On files that lie as the kernel's do: a chip with one channel exported, a bus with one thermometer."""
    pwm, bus = "/sys-of-ours/devices/pwm/pwmchip0", "/sys-of-ours/devices/w1_bus_master1"
    for file in (*(f"{pwm}/{name}" for name in ("export", "unexport", "uevent", "npwm", "pwm0/period", "pwm0/enable",
                                                "pwm0/duty_cycle", "pwm0/polarity", "pwm0/uevent")),
                 f"{bus}/therm_bulk_read", f"{bus}/w1_master_remove", f"{bus}/28-0316a2794aff/temperature"):
        debian.write(file, "")
    for subsystem, device in (("pwm", pwm), ("w1", f"{bus}/28-0316a2794aff")):
        argv = [word.replace("/sys%p", device) for word in commands(subsystem)]
        debian.run(*argv)
    found = debian.run("sh", "-c", "find /sys-of-ours -type f -group gpio -perm -g+w | sort").out.split()
    assert found == [f"{pwm}/{name}" for name in ("export", "pwm0/duty_cycle", "pwm0/enable", "pwm0/period",
                                                  "pwm0/polarity", "unexport")] + [f"{bus}/therm_bulk_read"]
