"""`knoop probe` on a real kernel: lines and who has them, live values, the self-test with a wire played by the host."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.board.guest import Guest, Program, boot
from tests.board.qtest import Lines

OUT, IN = 2, 5
HOLD = """
import signal, gpiod
from gpiod.line import Direction
settings = gpiod.LineSettings(direction=Direction.OUTPUT)
with gpiod.request_lines("/dev/gpiochip0", consumer="knoop lamp", config={6: settings}):
    print("READY", flush=True)
    signal.pause()
"""


class Jumper:
    """A wire: whatever the one line does outside, the other is made to do, in order."""

    def __init__(self, guest: Guest) -> None:
        self._guest, self._seen, self._gone = guest, guest.lines.recorded, threading.Event()
        self._thread = threading.Thread(target=self._copy, name="jumper")
        self._thread.start()

    def _copy(self) -> None:
        while not self._gone.is_set():
            try:
                new = self._guest.qtest.wait(bool, since=self._seen, within_s=0.2)
            except AssertionError:  # nothing moved
                continue
            self._seen += len(new)
            for change in new:
                if change.line == OUT:
                    self._guest.lines.drive(IN, change.level)

    def close(self) -> None:
        self._gone.set()
        self._thread.join()


@pytest.fixture
def wire(guest: Guest, lines: Lines) -> Iterator[Jumper]:
    jumper = Jumper(guest)
    yield jumper
    jumper.close()


def probe(guest: Guest, *arguments: str, within_s: float = 120.0) -> tuple[int, str]:
    """Run it to its end."""
    return guest.run("knoop", "probe", *arguments, half="node", within_s=within_s)


@contextmanager
def held(guest: Guest) -> Iterator[Program]:
    """Another program has GPIO6, as an output, under a name like a node's."""
    guest.write("/root/hold.py", HOLD)
    program = guest.start("python3", "/root/hold.py")
    program.says("READY")
    try:
        yield program
    finally:
        program.signal(signal.SIGKILL)
        program.wait()


def test_lines_and_who_has_them(guest):
    with held(guest):
        code, log = probe(guest, "--json")
    assert code == 0, log
    found = json.loads(log)
    assert found["chips"] == [{"path": "/dev/gpiochip0", "label": "9030000.pl061", "size": 8, "closed": ""}]
    told = {line["name"]: (line["state"], line["consumer"], line["direction"]) for line in found["lines"]}
    assert told["GPIO6"] == ("used", "knoop lamp", "output")
    assert told["GPIO5"] == ("free", "", "input")
    assert len(told) == Lines.COUNT


def test_live_values_without_any_configuration(guest, lines):
    program = guest.start("knoop", "probe", "--watch", "GPIO5", "GPIO7", "--json", half="node")
    program.says('"channel"', times=2)
    lines.drive(IN, True)
    program.says('"GPIO5", "value": true')
    lines.drive(IN, False)
    program.says('"GPIO5", "value": false', times=2)
    program.signal(signal.SIGINT)
    assert program.wait() == 130
    assert "Traceback" not in program.log
    _, log = probe(guest, "GPIO5", "--json")
    assert json.loads(log)["lines"][0]["state"] == "free", "it was let go of"


def test_a_line_in_use_says_by_whom_and_how_to_free_it(guest):
    with held(guest):
        code, log = probe(guest, "--watch", "GPIO6")
        assert code == 74
        assert "knoop lamp" in log
        assert "if that is the node, stop it first" in log
        code, log = probe(guest, "--selftest", "GPIO6", "GPIO5", "--yes")
        assert (code, "GPIO6 is in use by 'knoop lamp'" in log) == (74, True), log


def test_the_self_test_without_a_wire_finds_none(guest, lines):
    code, log = probe(guest, "--selftest", "GPIO2", "GPIO5", "--yes")
    assert code == 1, log
    assert "GPIO2 was driven high, and GPIO5 stays low: is the wire there?" in log.replace("\n                  ", " ")
    assert not lines.is_output(OUT)


def test_the_self_test_with_a_wire(guest, wire, lines, report):
    since = lines.recorded
    code, log = probe(guest, "--selftest", "GPIO2", "GPIO5", "--yes", "--json")
    assert code == 0, log
    checks = {check["check"]: check for check in json.loads(log)["checks"]}
    assert checks["levels"]["verdict"] == checks["debounce"]["verdict"] == "ok", log
    assert checks["edges"]["figures"] == {"sent": 500, "read": 500, "counted": 500}
    loss = checks["loss"]["figures"]
    assert loss["read"] == 16, "as many as were to be kept"
    assert loss["read"] + loss["lost"] <= loss["sent"], "no more are lost than there were"
    assert checks["kill -9"]["figures"] == {"high kept": True, "low kept": True}, "a PL061 keeps its level"
    assert not lines.is_output(OUT), "both lines end as inputs"
    moves = lines.moves(OUT, since=since)
    assert all(one != next_ for one, next_ in zip(moves, moves[1:], strict=False))
    report("self-test, latency p99 with the host as the wire", f"{checks['latency']['figures']['p99_ms']} ms")
    report("self-test, edges lost unread", f"{loss['lost']} of {loss['sent']}, {loss['read']} kept")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_it_in_the_middle_has_an_input(guest, wire, lines, end):
    program = guest.start("knoop", "probe", "--selftest", "GPIO2", "GPIO5", "--yes", half="node")
    program.says("levels")
    program.signal(end)
    assert program.wait() == 130
    assert not lines.is_output(OUT)
    assert "Traceback" not in program.log


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A Raspberry Pi 3B as far as QEMU has one, with Debian's device tree."""
    board = boot(tmp_path_factory.mktemp("pi"), machine="raspi3b")
    yield board
    board.close()


def test_a_raspberry_pis_names_functions_and_levels(pi):
    assert pi.run("busybox", "mount", "-t", "debugfs", "none", "/sys/kernel/debug")[0] == 0
    code, log = probe(pi, "--json")
    assert code == 0, log
    found = json.loads(log)
    assert (found["board"], found["chip"]) == ("Raspberry Pi 3 Model B", "gpiochip0")
    told = {line["name"]: line for line in found["lines"]}
    assert len(told) == 28
    assert (told["GPIO2"]["called"], told["GPIO2"]["function"]) == ("SDA1", "")
    assert told["GPIO14"]["function"] == "UART (serial1)"
    assert (told["GPIO17"]["position"], told["GPIO17"]["state"], told["GPIO17"]["level"]) == (11, "free", False)
    assert [chip["label"] for chip in found["chips"]] == ["pinctrl-bcm2835", "raspberrypi-exp-gpio"]


def test_a_bus_has_its_lines_once_its_driver_is_there(pi):
    assert pi.run("busybox", "insmod", "/lib/modules/i2c-bcm2835.ko")[0] == 0
    code, log = probe(pi, "--json")
    assert code == 0, log
    told = {line["name"]: line["function"] for line in json.loads(log)["lines"]}
    assert (told["GPIO2"], told["GPIO3"]) == ("I²C (i2c@7e804000)",) * 2
