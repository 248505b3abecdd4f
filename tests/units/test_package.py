"""The Debian package in Debians that are booted: installed without a network, brought up to date, removed, purged."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.units import packages, roots
from tests.units.nspawn import Container

NODE = """\
[node]
name = "attic"

[board]
driver = "simulated"

[output.lamp]
pin = "GPIO17"
{lamp}

[xmpp]
jid = "attic@localhost"
host = "127.0.0.1"
port = 1

[people]
"anna@localhost" = "owner"

[publish]
pubsub = "off"
"""
UNITS = ("knoop-board.socket", "knoop-hw.service", "knoop.service")
DATA = ("/etc/knoop", "/var/lib/knoop", "/var/lib/knoop-hw", "/etc/credstore/xmpp.password")
# What changes on any Debian whatever is installed, and what a package manager notes.
NOISE = ("/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd/deb-systemd-helper", "/etc/.pwd.lock", "/var/lib/private")
EM_AARCH64 = 183
LONG_S = 120.0  # for what takes 10 s where nothing else is going on


@pytest.fixture(params=["bookworm", "trixie"], scope="module")
def suite(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def package(suite, tmp_path_factory) -> Path:
    return Path(shutil.copy(packages.built(suite, tmp_path_factory), tmp_path_factory.mktemp(suite)))


@pytest.fixture
def debian(suite, package, tmp_path) -> Iterator[Container]:
    with Container(roots.root(suite), tmp_path, binds={"/packages": package.parent}) as container:
        yield container


def install(debian: Container, package: Path) -> str:
    """dpkg, which fetches nothing, in a namespace without any network."""
    return debian.run("unshare", "--net", "dpkg", "--install", f"/packages/{package.name}", within_s=LONG_S).said


def configure(debian: Container, lamp: str = "") -> None:
    debian.run("install", "-d", "-m", "700", "/etc/credstore")
    debian.write("/etc/credstore/xmpp.password", "secret\n", mode=0o600)
    debian.write("/etc/knoop/node.toml", NODE.format(lamp=lamp), mode=0o640, owner="root:knoop")


def run_it(debian: Container) -> tuple[int, int]:
    """Both halves are there: their process ids, the hardware half's first."""
    debian.run("systemctl", "start", "knoop-hw", "knoop", within_s=LONG_S)
    debian.until(lambda: debian.exists("/run/knoop/status.json"), lambda: f"no agent:\n{debian.journal()}", LONG_S)
    return debian.main_pid("knoop-hw"), debian.main_pid("knoop")


def says(debian: Container, unit: str, text: str) -> None:
    debian.until(lambda: text in debian.journal(unit), lambda: debian.journal(unit), LONG_S)


def another(debian: Container, unit: str, pid: int) -> bool:
    """It is up, as another process than that one."""
    return debian.state(unit) == "active" and debian.main_pid(unit) not in {0, pid}


def files(debian: Container) -> set[str]:
    said = debian.run("find", "/etc", "/opt", "/root", "/srv", "/usr", "/var/lib", "/var/cache", "/home", "-xdev").out
    return {line for line in said.splitlines() if not line.startswith(NOISE)}


def test_it_comes_without_a_network_is_quiet_and_whole_and_goes_without_a_trace(debian, package):
    debian.run("mkdir", "-p", "/etc/credstore", "/etc/systemd/system/sockets.target.wants")
    before = files(debian)
    assert "warning" not in install(debian, package).lower()
    is_quiet(debian)
    configure(debian)
    runs_nothing_but_its_own_code(debian)
    run_it(debian)

    debian.run("dpkg", "--remove", "knoop", within_s=LONG_S)
    assert not [unit for unit in UNITS if debian.state(unit) == "active"]
    assert not debian.exists("/run/knoop")
    kept = files(debian) - before - links(debian)
    assert [path for path in kept if not path.startswith(DATA) and path not in users()] == []
    assert {path for path in kept if path in DATA} == set(DATA)

    install(debian, package)  # there again, with what was kept
    debian.until(lambda: debian.state("knoop-hw") == "active", debian.journal, LONG_S)
    debian.run("rm", "-r", "/usr/lib/knoop")  # whoever does that can still have it removed

    said = debian.run("dpkg", "--purge", "knoop", within_s=LONG_S).out
    assert all(f"deleting {path}" in said for path in DATA)
    assert files(debian) - before - users() == set()
    assert debian.run("id", "--user", "knoop-hw").out.strip().isdecimal()  # nobody else gets its number


def is_quiet(debian: Container) -> None:
    """Nothing runs, and nothing fails, without a configuration."""
    assert debian.run("knoop", "--version").out == f"knoop {packages.VERSION}\n"
    assert debian.run("knoop-hw", "--version").out == f"knoop-hw {packages.VERSION}\n"
    for unit in UNITS:
        assert debian.run("systemctl", "is-enabled", unit).out == "enabled\n"
        assert debian.state(unit) == "inactive"
    debian.run("systemctl", "start", *UNITS)  # without a configuration that is no error, and no start
    assert {debian.state(unit) for unit in UNITS} == {"inactive"}
    assert debian.run("systemctl", "--failed", "--quiet").out == ""
    owners = debian.run("stat", "--format=%U:%G %a", "/etc/knoop", "/run/knoop").out
    assert owners == "root:knoop 750\nroot:knoop 1770\n"
    assert debian.run("dpkg", "--verify", "knoop").out == ""


def runs_nothing_but_its_own_code(debian: Container) -> None:
    """And has all that it needs, whatever the environment says."""
    debian.write("/tmp/here/asyncio.py", "raise SystemExit('code of the folder that it was started in')\n")
    hostile = {"PYTHONPATH": "/tmp/here", "PYTHONHOME": "/tmp/here"}
    check = "cd /tmp/here && knoop check --config /etc/knoop/node.toml --json"
    checked = debian.run("sh", "-c", check, environment=hostile)
    assert json.loads(checked.out)["ok"] is True
    # What a node imports only for some configuration: each library with its compiled parts.
    script = (
        "import sys, importlib, pkgutil, knoop, knoop_hw, knoop.commands, knoop_hw.sensors, knoop.publishers\n"
        "for package in knoop.commands, knoop_hw.sensors, knoop.publishers:\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'{package.__name__}.{module.name}')\n"
        "import aiodns, cryptography.x509, gpiod, gpiozero.tools, prompt_toolkit, pycares, pymodbus.framer\n"
        "import pymodbus.pdu, pynmea2, segno, serial, slixmpp, uvloop, yaml\n"
        "from knoop_hw.gpiod_pins import GpiodFactory\n"
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
        "places = [getattr(module, '__file__', '') or '' for module in sys.modules.values()]\n"
        "strays = [place for place in places if '/dist-packages/' in place]\n"
        "assert not strays, strays\n"
        "assert sys.prefix == '/usr/lib/knoop', sys.prefix\n"
        "print('all there')"
    )
    assert debian.run("/usr/lib/knoop/bin/python3", "-I", "-c", script).out == "all there\n"
    missing = debian.run("sh", "-c", "find /usr/lib/knoop -name '*.so*' -exec ldd {} + | grep 'not found'", check=False)
    assert missing.out == ""
    assert debian.run("sh", "-c", "find /usr/lib/knoop/lib -name '*.pyc' | wc -l").out.strip() != "0"
    debian.run("rm", "-r", "/tmp/here")


def test_an_upgrade_moves_no_output_and_waits_for_the_next_start(debian, package, tmp_path):
    install(debian, package)
    configure(debian)
    hardware, agent = run_it(debian)

    install(debian, packages.later(package, tmp_path, version="99.1-1", changed="knoop/agent.py"))
    says(debian, "knoop-hw", "code is as it was")
    assert debian.main_pid("knoop-hw") == hardware
    debian.until(lambda: another(debian, "knoop", agent), lambda: debian.journal("knoop"), LONG_S)

    install(debian, packages.later(package, tmp_path, version="99.2-1", changed="knoop_hw/serve.py"))
    debian.until(lambda: another(debian, "knoop-hw", hardware), lambda: debian.journal("knoop-hw"), LONG_S)

    configure(debian, 'initial = "on"')  # and its safe level is off: a restart would switch it
    debian.run("systemctl", "restart", "knoop-hw", within_s=LONG_S)
    hardware = debian.main_pid("knoop-hw")
    debian.run("systemctl", "disable", "--now", "knoop", within_s=LONG_S)
    install(debian, packages.later(package, tmp_path, version="99.3-1", changed="knoop_hw/serve.py"))
    says(debian, "knoop-hw", "a restart would move lamp")
    assert debian.main_pid("knoop-hw") == hardware
    assert "new code waits" in debian.show("knoop-hw", "StatusText")["StatusText"]
    # Its old code goes on beneath its new files: it still opens what it never opened before.
    debian.write("/etc/knoop/node.toml", NODE.format(lamp='initial = "on"') + '[sensor.load]\ndriver = "system"\n',
                 mode=0o640, owner="root:knoop")  # fmt: skip
    debian.run("systemctl", "reload", "knoop-hw")
    says(debian, "knoop-hw", "the new configuration is taken")
    assert debian.main_pid("knoop-hw") == hardware
    # What the owner stopped and switched off stayed so.
    assert debian.state("knoop") == "inactive"
    assert debian.run("systemctl", "is-enabled", "knoop", check=False).out == "disabled\n"


def links(debian: Container) -> set[str]:
    """Units that were on: dpkg removes the files, and systemd ignores links to nothing until they are purged."""
    return {path for path in files(debian) if path.startswith("/etc/systemd/system/") and "knoop" in path}


def users() -> set[str]:
    return {f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow")}


def test_two_builds_have_the_same_bytes_and_only_machine_code_of_the_other_architecture(tmp_path, monkeypatch):
    here, there = packages.checkout(tmp_path / "here"), tmp_path / "over there" / "knoop"
    there.parent.mkdir()
    shutil.copytree(here, there, copy_function=shutil.copyfile)  # with other dates
    first = packages.build("trixie", tmp_path / "first", arch="arm64", root=here, epoch=1_800_000_000)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    mask = os.umask(0o077)
    try:
        second = packages.build("trixie", tmp_path / "second", arch="arm64", root=there, epoch=1_800_000_000)
    finally:
        os.umask(mask)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    is_for_arm64(first, "trixie")


def test_so_has_the_one_for_the_older_debian(tmp_path):
    is_for_arm64(packages.build("bookworm", tmp_path, arch="arm64"), "bookworm")


def is_for_arm64(package: Path, suite: str) -> None:
    assert packages.field(package, "Architecture") == "arm64"
    content = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    machines, tags = set(), []
    with content, tarfile.open(fileobj=content.stdout, mode="r|") as archive:
        for member in archive:
            assert member.uid == member.gid == 0
            assert member.issym() or not member.mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID)
            assert not member.name.endswith((".pyc", ".exe"))
            if member.isfile() and (file := archive.extractfile(member)):
                data = file.read()
                if data[:4] == b"\x7fELF":
                    machines.add(struct.unpack_from("<H", data, 18)[0])
                if member.name.endswith(".dist-info/WHEEL"):
                    tags += [line for line in data.decode().splitlines() if line.startswith("Tag:")]
    assert machines == {EM_AARCH64}
    digits = roots.SUITES[suite].replace(".", "")
    assert [tag for tag in tags if "x86" in tag] == []
    assert any(f"cp{digits}-" in tag and "aarch64" in tag for tag in tags)
