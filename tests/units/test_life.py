"""Both halves under systemd, with a real Prosody: how they start, end, come back, and what outputs do meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.units import knoop, roots
from tests.units.nspawn import Container

from knoop.starts import MOST
from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody
from knoop_bench.witness import Witness

NODE = """\
[node]
name = "greenhouse"

[xmpp]
jid = "{jid}/knoop"
host = "127.0.0.1"
port = {port}
ca_file = "/etc/knoop/ca.pem"

[people]
"{owner}" = "owner"

[publish]
pubsub = "off"

[board]
driver = "simulated"
scenario = "scenario.toml"

[input.door]
pin = "GPIO17"

[output.lamp]
pin = "GPIO27"
initial = "on"

[sensor.cores]
driver = "command"
command = ["/usr/bin/nproc"]
"""
TRACE = "/var/lib/knoop-hw/board.jsonl"
CONNECTED = "connected as"
LONG_S = 120.0  # for what takes a few seconds where nothing else is going on
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prosody(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> AsyncIterator[Prosody]:
    async with Prosody(tmp_path_factory.mktemp("server") / "prosody", authority=authority) as server:
        yield server


class Node:
    """A Debian with Knoop, a configuration and a password, and nothing started yet."""

    def __init__(self, debian: Container, server: Prosody) -> None:
        self.debian, self._server = debian, server
        self.password, self.owner_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        number = next(_numbers)
        self.jid = server.add_account(f"node{number}", self.password)
        self.owner = server.add_account(f"anna{number}", self.owner_password)
        knoop.install(debian)
        debian.write("/etc/knoop/ca.pem", server.ca_file.read_text())
        debian.write("/etc/knoop/scenario.toml", f'trace = "{TRACE}"\n', mode=0o640, owner="root:knoop")

    def configure(self, text: str = NODE, *, password: bool = True) -> None:
        knoop.configure(self.debian, text.format(jid=self.jid, port=self._server.tls_port, owner=self.owner))
        if password:
            self.debian.write("/etc/credstore/xmpp.password", f"{self.password}\n", mode=0o600)

    def start(self) -> None:
        """What a boot does; returns when both have said that they are ready and the agent has logged in."""
        self.debian.run("systemctl", "isolate", "multi-user.target", within_s=LONG_S)
        self.says("knoop", CONNECTED)

    def says(self, unit: str, text: str, *, times: int = 1) -> None:
        journal = self.debian.journal
        self.debian.until(lambda: journal(f"{unit}.service").count(text) >= times,
                          lambda: f"{unit} has not said {text!r}:\n{journal()[-6000:]}", LONG_S)

    def pid(self, unit: str) -> int:
        return self.debian.main_pid(f"{unit}.service")

    def kill(self, unit: str, signal: str) -> int:
        """Returns the process id that it had."""
        pid = self.pid(unit)
        self.debian.run("sh", "-c", f"kill -{signal} {pid}")
        return pid

    def anew(self, unit: str, former: int) -> None:
        """Wait until another process is there, and ready."""
        state = self.debian.state
        self.debian.until(lambda: self.pid(unit) not in {0, former} and state(f"{unit}.service") == "active",
                          lambda: f"{unit} is not there again:\n{self.debian.journal()[-6000:]}", LONG_S)

    def result(self, unit: str) -> tuple[str, str, str]:
        """State, result, how often restarted."""
        shown = self.debian.show(f"{unit}.service", "ActiveState", "Result", "NRestarts")
        return shown["ActiveState"], shown["Result"], shown["NRestarts"]

    def lamp(self) -> list[Any]:
        """What the lamp has been told so far."""
        if not self.debian.exists(TRACE):
            return []
        lines = map(json.loads, self.debian.read(TRACE).splitlines())
        return [bool(line["level"]) for line in lines if line.get("line") == "GPIO27"]

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.debian.read("/run/knoop/status.json"))
        return answer

    def together(self) -> None:
        """Wait until the agent that runs now has a hardware half; a killed one's last word may still lie there."""

        def there() -> bool:
            status = self.status() if self.debian.exists("/run/knoop/status.json") else {}
            return status.get("pid") == self.pid("knoop") and status["hardware_away_s"] is None

        self.debian.until(there, lambda: f"no hardware half:\n{self.debian.journal()[-6000:]}", LONG_S)

    def apart(self) -> None:
        self.debian.until(lambda: self.status()["hardware_away_s"] is not None, "the agent has not noticed", LONG_S)

    def socket(self) -> str:
        return self.debian.run("stat", "--format=%i %U:%G %a", "/run/knoop/board.sock").out.strip()


@pytest.fixture(params=list(roots.SUITES))
def node(request: pytest.FixtureRequest, tmp_path: Path, prosody: Prosody) -> Iterator[Node]:
    with knoop.container(request.param, tmp_path) as debian:
        yield Node(debian, prosody)


@pytest.fixture
def running(node: Node) -> Node:
    node.configure()
    node.start()
    node.together()
    assert node.lamp() == [True]
    assert node.result("knoop") == ("active", "success", "0")  # and with the plain password, as none is encrypted
    return node


@pytest.fixture
async def anna(prosody: Prosody) -> AsyncIterator[Callable[[Node], Any]]:
    """`await anna(node)`: the owner's client."""
    entered: list[Witness] = []

    async def enter(node: Node) -> Witness:
        witness = Witness(node.owner, node.owner_password, friends=[node.jid], port=prosody.tls_port,
                          ca_file=prosody.ca_file)
        entered.append(await witness.__aenter__())
        return entered[-1]

    yield enter
    for witness in entered:
        await witness.__aexit__(None, None, None)


def encrypt(node: Node) -> None:
    node.debian.run("mkdir", "-p", "-m", "700", "/etc/credstore.encrypted")
    node.debian.run("systemd-creds", "encrypt", "--with-key=host", "--name=xmpp.password", "-",
                    "/etc/credstore.encrypted/xmpp.password", stdin=node.password)


async def test_after_a_boot_it_answers_its_owner_and_moves_a_line(node, anna):
    node.configure(password=False)
    encrypt(node)
    await asyncio.to_thread(node.start)
    assert node.debian.show("knoop-hw.service", "StatusText")["StatusText"].startswith("open")
    assert node.socket().endswith("root:knoop 660")
    owner = await anna(node)
    owner.say(node.jid, "lamp off")
    await owner.wait(lambda seen: seen.sender_bare == node.jid and seen.kind == "message" and "off" in seen.body,
                     LONG_S)  # fmt: skip
    await asyncio.to_thread(node.debian.until, lambda: node.lamp() == [True, False], lambda: f"{node.lamp()}")
    owner.say(node.jid, "cores")
    await owner.wait(lambda seen: seen.kind == "message" and any(char.isdigit() for char in seen.body), LONG_S)
    assert node.password not in node.debian.journal()


def test_the_encrypted_password_comes_before_the_plain_one(node):
    node.configure()
    encrypt(node)
    node.debian.write("/etc/credstore/xmpp.password", "an old one\n", mode=0o600)
    node.start()


def test_without_a_configuration_nothing_starts_and_nothing_fails(node):
    node.debian.run("systemctl", "isolate", "multi-user.target")
    for unit in knoop.UNITS:
        assert node.debian.state(unit) == "inactive"
    assert node.debian.show("knoop.service", "ConditionResult")["ConditionResult"] == "no"
    assert node.debian.run("systemctl", "--failed", "--quiet", "--plain").out == ""
    assert not node.debian.exists("/run/knoop/board.sock")


def test_a_killed_hardware_half_leaves_safe_outputs_and_comes_back_to_the_same_socket(running):
    socket, agent = running.socket(), running.pid("knoop")
    former = running.kill("knoop-hw", "KILL")
    running.anew("knoop-hw", former)
    assert running.lamp() == [True, False, True]  # on, safe after the kill, on again by `initial`
    assert running.result("knoop-hw")[2] == "1"
    running.together()
    assert (running.socket(), running.pid("knoop")) == (socket, agent)


def test_a_network_half_that_is_killed_or_stopped_takes_nothing_along(running):
    hardware, socket = running.pid("knoop-hw"), running.socket()
    former = running.kill("knoop", "KILL")
    running.anew("knoop", former)
    running.says("knoop", CONNECTED, times=2)
    running.together()
    assert (running.pid("knoop-hw"), running.lamp()) == (hardware, [True])

    running.debian.run("systemctl", "stop", "knoop")
    assert running.result("knoop")[:2] == ("inactive", "success")
    assert (running.pid("knoop-hw"), running.socket(), running.lamp()) == (hardware, socket, [True])
    assert running.status()["level"] == "stopped"
    running.debian.run("systemctl", "start", "knoop")
    running.together()


def test_a_half_that_hangs_is_started_anew(running):
    for unit in ("knoop-hw", "knoop"):
        knoop.drop_in(running.debian, f"{unit}.service", "[Service]\nWatchdogSec=10\n")  # fed each second
        running.debian.run("systemctl", "restart", unit, within_s=LONG_S)
        before = running.lamp()
        former = running.kill(unit, "STOP")
        running.anew(unit, former)
        assert "Failed with result 'watchdog'" in running.debian.journal(f"{unit}.service")
        running.together()
        assert running.lamp() == ([*before, False, True] if unit == "knoop-hw" else before)


def test_a_stopped_hardware_half_stays_stopped_though_the_other_knocks(running):
    agent = running.pid("knoop")
    running.debian.run("systemctl", "stop", "knoop-hw")
    assert running.result("knoop-hw") == ("inactive", "success", "0")
    assert running.lamp() == [True, False]
    running.debian.until(lambda: running.debian.state("knoop-board.service") == "active", "nobody knocked", LONG_S)
    running.apart()
    assert running.debian.state("knoop-hw.service") == "inactive"
    running.debian.run("systemctl", "start", "knoop-hw")
    running.together()
    assert running.pid("knoop") == agent

    former = running.pid("knoop-hw")  # who restarts the socket restarts the half that listens
    running.debian.run("systemctl", "restart", "knoop-board.socket", within_s=LONG_S)
    running.anew("knoop-hw", former)
    running.together()


def test_a_mistake_in_the_configuration_ends_it_for_good(node):
    node.configure(NODE.replace("[input.door]", '[input.door]\npul = "up"'))
    node.debian.run("systemctl", "isolate", "multi-user.target", check=False, within_s=LONG_S)
    for unit in ("knoop-hw", "knoop"):
        node.debian.until(lambda unit=unit: node.result(unit)[0] == "failed", node.debian.journal, LONG_S)
        assert node.result(unit) == ("failed", "exit-code", "0")
        assert node.debian.show(f"{unit}.service", "ExecMainStatus")["ExecMainStatus"] == "78"
        assert "did you mean 'pull'?" in node.debian.journal(f"{unit}.service")


def test_a_mistake_made_later_leaves_safe_outputs_and_no_restarts(running):
    """The half that goes by the file is killed, and the other one knocks and knocks."""
    knoop.configure(running.debian, "what is this")
    running.kill("knoop-hw", "KILL")
    running.debian.until(lambda: running.result("knoop-hw")[0] == "failed", running.debian.journal, LONG_S)
    assert running.debian.show("knoop-hw.service", "ExecMainStatus")["ExecMainStatus"] == "78"
    assert running.lamp() == [True, False]
    running.debian.until(lambda: running.debian.state("knoop-board.service") == "active", "nobody knocked", LONG_S)
    assert running.result("knoop-hw")[0] == "failed"
    assert running.debian.state("knoop.service") == "active"


def test_a_refused_password_ends_the_network_half_for_good(node):
    node.configure()
    node.debian.write("/etc/credstore/xmpp.password", "wrong\n", mode=0o600)
    node.debian.run("systemctl", "isolate", "multi-user.target", check=False, within_s=LONG_S)
    node.debian.until(lambda: node.result("knoop")[0] == "failed", node.debian.journal, LONG_S)
    assert node.debian.show("knoop.service", "ExecMainStatus")["ExecMainStatus"] == "77"
    assert node.result("knoop")[2] == "0"
    assert node.debian.state("knoop-hw.service") == "active"


def test_a_half_that_fails_again_and_again_is_started_again_and_again(node):
    node.configure()
    for unit in ("knoop-hw", "knoop"):
        failing = "[Service]\nExecStart=\nExecStart=/bin/false\nExecStopPost=\nRestartSec=10ms\n"
        knoop.drop_in(node.debian, f"{unit}.service", failing)
        node.debian.run("systemctl", "start", "--no-block", unit)
    for unit in ("knoop-hw", "knoop"):
        node.debian.until(lambda unit=unit: int(node.result(unit)[2]) > 12,
                          lambda unit=unit: node.debian.journal(f"{unit}.service"), LONG_S)


@pytest.mark.parametrize("node", ["trixie"], indirect=True)
def test_five_kills_end_in_safe_mode_and_no_output_notices(running):
    hardware, debian = running.pid("knoop-hw"), running.debian
    knoop.drop_in(debian, "knoop.service", "[Service]\nRestartSec=100ms\n")
    for _ in range(MOST):
        running.anew("knoop", running.kill("knoop", "KILL"))  # `active`: it began, and said so
    running.says("knoop", "is in safe mode: I crashed 5 times")
    debian.until(lambda: running.status()["level"] == "safe mode", lambda: debian.journal("knoop.service"), LONG_S)
    assert running.status()["pid"] == running.pid("knoop")
    assert running.result("knoop") == ("active", "success", str(MOST))
    assert debian.show("knoop.service", "StatusText")["StatusText"].startswith("safe mode: ")

    former = running.pid("knoop")
    debian.run("systemctl", "reload", "knoop")  # ends it: systemd starts it as usual, once more
    running.anew("knoop", former)
    running.together()
    assert running.status()["level"] != "safe mode"
    assert (running.pid("knoop-hw"), running.lamp()) == (hardware, [True])


def test_a_reload_takes_the_new_configuration_and_moves_nothing(running):
    pids = {unit: running.pid(unit) for unit in ("knoop-hw", "knoop")}
    running.configure(NODE + '\n[input.gate]\npin = "GPIO22"\n')
    running.debian.run("systemctl", "reload", "knoop-hw", "knoop")
    running.says("knoop-hw", "the new configuration is taken")
    running.debian.until(lambda: "reload" in running.debian.journal("knoop.service"), "the agent said nothing")
    for unit, pid in pids.items():
        running.debian.until(lambda unit=unit: running.debian.state(f"{unit}.service") == "active", "it still reloads")
        assert running.pid(unit) == pid
    assert running.lamp() == [True]


def test_only_an_end_that_was_not_clean_is_followed_by_another_program(node):
    """It costs a second of a small board's time at each stop, and has nothing to do then."""
    real, told = "/usr/bin/knoop-hw.real", "was started with --safe"
    node.debian.run("mv", "/usr/bin/knoop-hw", real)
    node.debian.write("/usr/bin/knoop-hw", f'#!/bin/sh\necho "was started with $1" >&2\nexec {real} "$@"\n', mode=0o755)
    node.configure()
    node.start()
    node.debian.run("systemctl", "restart", "knoop-hw", within_s=LONG_S)
    assert told not in node.debian.journal("knoop-hw.service")
    former = node.kill("knoop-hw", "KILL")
    node.anew("knoop-hw", former)
    assert node.debian.journal("knoop-hw.service").count(told) == 1
