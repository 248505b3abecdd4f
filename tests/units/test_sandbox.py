"""What each half can and cannot do, tried from within: a probe in its unit's place, all else of the unit as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.units import knoop, roots

HERE = Path(__file__).parent
PROBE = "/usr/lib/knoop-probe.py"
IN_ITS_PLACE = f"""\
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/bin/python3 -I {PROBE}
ExecStopPost=
Restart=no
WatchdogSec=0
"""
METERS_KEY = "LoadCredential=sensor.power.key:/etc/credstore/sensor.power.key\n"  # as systemd/README.md has it
# Nodes that everybody may open, as far as their mode goes: outside of /dev, so that hiding that is not enough.
# ttyUSB and ttyACM have no driver here: ENXIO is the driver's, EPERM the sandbox's.
NODES = {"kmsg": "c 1 11", "mem": "c 1 1", "ttyS0": "c 4 64", "ttyUSB0": "c 188 0", "ttyACM0": "c 166 0",
         "rtc0": "c 253 0", "i2c-1": "c 89 1", "input": "c 13 64"}
SERIAL = ("ttyS0", "ttyUSB0", "ttyACM0")
HARDWARE, NETWORK = "/var/lib/knoop-hw", "/var/lib/knoop"
OTHER = {HARDWARE: NETWORK, NETWORK: HARDWARE}
NOBODY = (
    *(("write", path) for path in ("/etc/knoop/node.toml", "/etc/passwd", "/usr/bin/knoop", "/usr/bin/knoop-hw",
                                   "/boot/firmware/knoop-claim.txt", "/proc/sys/kernel/hostname",
                                   "/sys/kernel/mm/transparent_hugepage/enabled")),
    *(("make", f"{folder}/planted") for folder in ("/etc", "/etc/knoop", "/usr/lib/knoop", "/usr/bin", "/var/lib",
                                                   "/run", "/etc/systemd/system", "/boot/firmware", "/dev")),
    *(("read", path) for path in ("/etc/shadow", "/etc/credstore/xmpp.password", "/home/anna/diary", "/tmp/theirs")),
    *((way,) for way in ("suid", "mknod", "user namespace", "network namespace", "mount", "set the clock",
                         "set the name", "restart", "load a module", "bpf", "trace", "write and execute",
                         "priority")),
    *(("socket", family) for family in ("AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK")),
    *(("open", f"/srv/{node}") for node in NODES if node not in SERIAL),
)
BOTH = (("read", knoop.CONFIG), ("status", "CapBnd"), ("status", "NoNewPrivs"), ("status", "Seccomp"), ("strangers",),
        ("as another", "/usr/local/bin/id-of-root"), ("own id",), ("interfaces",), ("passed",), ("listen names",),
        ("socket", "AF_INET"), ("socket", "AF_INET6"), ("socket", "AF_UNIX"), ("connect", "/run/knoop/board.sock"),
        ("remove", "/run/knoop/board.sock"), ("replace", "/run/knoop/board.sock"),
        ("make", "/run/knoop/made"), ("read", "/boot/firmware/knoop-claim.txt"), ("make", "/tmp/ours"),
        ("read-only", "/run"), ("read-only", "/sys/devices"), ("read-only", "/sys/kernel"), ("read", "/proc/loadavg"),
        ("read", "/proc/sys/kernel/random/boot_id"))  # fmt: skip


def asked(state: str) -> list[tuple[str, ...]]:
    other = OTHER[state]
    return [*NOBODY, *BOTH, *(("open", f"/srv/{node}") for node in SERIAL), ("list", other), ("read", f"{other}/kept"),
            ("make", f"{other}/planted"), ("make", f"{state}/own")]


@pytest.fixture(params=list(roots.SUITES), scope="module")
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What both halves' probes were able to do; `outside` what root can do without a sandbox."""
    with knoop.container(request.param, tmp_path_factory.mktemp("sandbox")) as debian:
        debian.run("mount", "-o", "remount,bind,rw", "/sys")  # as it is on a machine
        knoop.install(debian)
        knoop.configure(debian, "")
        for path, content in (("/usr/lib/knoop-probe.json", json.dumps({at: asked(at) for at in OTHER})),
                              (PROBE, (HERE / "probe.py").read_text("utf-8")), ("/home/anna/diary", "dear"),
                              ("/boot/firmware/knoop-claim.txt", "anna@example.org"), ("/tmp/theirs", "private")):
            debian.write(path, content)
        for credential, secret in (("xmpp.password", "secret"), ("sensor.power.key", "0123")):
            debian.write(f"/etc/credstore/{credential}", f"{secret}\n", mode=0o600)
        debian.run("install", "-m", "4755", "/usr/bin/id", "/usr/local/bin/id-of-root")
        for node, what in NODES.items():
            debian.run("mknod", "--mode=666", f"/srv/{node}", *what.split())
        for unit, state in (("knoop-hw.service", HARDWARE), ("knoop.service", NETWORK)):
            debian.run("install", "-d", "-m", "755", "-o", unit.removesuffix(".service"), state)
            debian.write(f"{state}/kept", "the other's")
            knoop.drop_in(debian, unit, IN_ITS_PLACE + (METERS_KEY if state == HARDWARE else ""))
        result: dict[str, Any] = {}
        for unit, state in (("knoop-hw.service", HARDWARE), ("knoop.service", NETWORK)):
            done = debian.run("systemctl", "start", unit, check=False)
            assert done.code == 0, debian.journal(unit)
            result[state] = json.loads(debian.read(f"{state}/probe.json"))
        result["debian"] = debian
        yield result


@pytest.fixture(params=[HARDWARE, NETWORK])
def half(request: pytest.FixtureRequest, found: dict[str, Any]) -> dict[str, Any]:
    return {"state": request.param, **found[request.param]}


def test_neither_half_can_do_what_neither_needs(half):
    could = {" ".join(way): half[" ".join(way)] for way in NOBODY if half[" ".join(way)] == "ok"}
    assert could == {}


def test_all_that_would_have_worked_without_the_sandbox(found):
    """Else the refusals above would prove nothing."""
    debian = found["debian"]
    for node in NODES:
        opening = f"import os; os.open('/srv/{node}', os.O_RDONLY | os.O_NONBLOCK)"
        said = debian.run("python3", "-c", opening, check=False)
        assert "PermissionError" not in said.err, said.err
    assert debian.run("/usr/local/bin/id-of-root", "-u").out == "0\n"
    as_user = debian.run("setpriv", "--reuid=knoop", "--clear-groups", "/usr/local/bin/id-of-root", "-u")
    assert as_user.out == "0\n"


def test_no_privilege_can_be_had(half):
    assert (int(half["status CapBnd"], 16), half["status NoNewPrivs"], half["status Seccomp"]) == (0, "1", "2")
    assert half["as another /usr/local/bin/id-of-root"] == str(half["own id"]) != "0"
    assert half["strangers"] == []


def test_neither_half_sees_what_the_other_remembers(half):
    other = OTHER[half["state"]]
    refused = {"EACCES", "ENOENT", "EPERM", "EROFS"}
    assert {half[f"list {other}"], half[f"read {other}/kept"], half[f"make {other}/planted"]} <= refused


def test_the_network_half_opens_no_device_wherever_its_node_is(found):
    assert {found[NETWORK][f"open /srv/{node}"] for node in NODES} == {"EPERM"}


def test_the_hardware_half_opens_serial_ports_and_nothing_like_them(found):
    refused = {node: found[HARDWARE][f"open /srv/{node}"] for node in NODES}
    assert {node for node, how in refused.items() if how != "EPERM"} == set(SERIAL)


def test_the_hardware_half_has_no_network(found):
    assert found[HARDWARE]["interfaces"] == ["lo"]
    for family in ("AF_INET", "AF_INET6"):
        assert found[HARDWARE][f"socket {family}"] == "EAFNOSUPPORT"
        assert found[NETWORK][f"socket {family}"] == "ok"
    assert found[HARDWARE]["socket AF_UNIX"] == "ok"


def test_the_password_is_the_network_halfs_alone(found):
    assert found[NETWORK]["passed"] == {"xmpp.password": "\n", "xmpp.password.plain": "secret\n"}
    assert found[HARDWARE]["passed"] == {"sensor.power.key": "0123\n"}


def test_each_half_can_do_what_it_needs(half):
    needs = (f"read {knoop.CONFIG}", f"make {half['state']}/own", "make /tmp/ours", "read /proc/loadavg",
             "read /proc/sys/kernel/random/boot_id", "read /boot/firmware/knoop-claim.txt")
    assert {need: half[need] for need in needs} == dict.fromkeys(needs, "ok")


def test_the_socket_is_passed_to_the_hardware_half_and_open_to_the_network_half(found):
    assert (found[HARDWARE]["listen names"], found[NETWORK]["listen names"]) == ("board", "")
    assert found[NETWORK]["connect /run/knoop/board.sock"] == "ok"
    assert found[NETWORK]["make /run/knoop/made"] == "ok"
    assert found[HARDWARE]["make /run/knoop/made"] == "EROFS"


def test_neither_half_can_put_another_socket_in_its_place(found):
    """systemd, as root, makes it anew in that folder, and root's own programs connect to it."""
    for way in ("remove", "replace"):
        assert found[HARDWARE][f"{way} /run/knoop/board.sock"] == "EROFS"
        assert found[NETWORK][f"{way} /run/knoop/board.sock"] == "EPERM"


def test_of_what_is_in_memory_only_the_network_halfs_folder_can_be_written(half):
    """ProtectSystem=strict alone leaves /run writable."""
    assert half["read-only /run"]


def test_of_the_kernels_settings_only_devices_can_be_set(found):
    """Pulses and the 1-Wire bus are files there; whose, udev says."""
    assert not found[HARDWARE]["read-only /sys/devices"]
    assert found[HARDWARE]["read-only /sys/kernel"]
    assert found[NETWORK]["read-only /sys/devices"]
    assert found[NETWORK]["read-only /sys/kernel"]


def test_who_keeps_time_otherwise_lets_the_network_half_ask_the_clock(found):
    """As systemd/README.md says; without that it hears only of systemd-timesyncd that the clock is right."""
    debian, asking = found["debian"], "import ctypes; print('the clock:', ctypes.CDLL(None).adjtimex(bytes(512)))"
    debian.write(PROBE, asking)
    for drop_in, answers in (("", False), ("ProtectClock=no\nSystemCallFilter=adjtimex clock_adjtime\n", True)):
        knoop.drop_in(debian, "knoop.service", IN_ITS_PLACE + drop_in)
        debian.run("systemctl", "start", "knoop")
        said = [line for line in debian.journal("knoop.service").splitlines() if line.startswith("the clock:")]
        assert (said[-1] != "the clock: -1") is answers
