"""`knoop probe` as a person or a script runs it: on this machine, on a simulated board, without any server."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from knoop import cli, live
from knoop_hw import places
from knoop_hw.cli import load
from knoop_hw.tables import Input

BOUND_S = 20.0
NODE = """
[board]
driver = "simulated"
scenario = "scenario.toml"

[input.door]
pin = "GPIO17"

[output.lamp]
pin = "GPIO27"

[sensor.air]
driver = "simulated"
every = "1s"
"""
SCENARIO = """
repeat = "400ms"
[[step]]
at = "100ms"
line = "door"
value = true
[[step]]
at = "300ms"
line = "door"
value = false
"""
REPORT = "import sys; from knoop.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of our own, without a node.toml."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def node(home: Path) -> Path:
    """A node.toml of a simulated board, with the hardware half's tables only."""
    (home / "node.toml").write_text(NODE)
    (home / "scenario.toml").write_text(SCENARIO)
    return home / "node.toml"


def probe(*arguments: str) -> int:
    return cli.main(["probe", *arguments])


@contextmanager
def running(*arguments: str, **more) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", REPORT, "probe", *arguments], text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ctrl-C: the exit code, and what it said on stderr."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=BOUND_S)
    return process.returncode, err


# ── what is here ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_machine_without_a_configuration_is_looked_at(capsys):
    assert probe() == 0
    out = capsys.readouterr().out
    assert "[sensor.machine]" in out


def test_a_configuration_that_is_wrong_is_none(home, capsys):
    (home / "node.toml").write_text("[board]\ndriver = 7\n")
    assert probe() == 0
    assert "[sensor.machine]" in capsys.readouterr().out
    assert probe("--config", "node.toml") == 78, "unless it is asked for"


def test_in_a_folder_that_is_not_for_us_there_is_none(capsys, monkeypatch):
    def shut(_explicit):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "node.toml")  # of stat, as the kernel says it

    monkeypatch.setattr(places, "search", shut)
    assert probe() == 0
    assert "[sensor.machine]" in capsys.readouterr().out


def test_for_scripts_it_is_one_object(capsys):
    assert probe("--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_what_is_asked_for_and_not_there_is_the_exit_code(capsys, tmp_path):
    assert probe("cameras", "--json") == (0 if list(Path("/sys/class/video4linux").glob("*")) else 1)
    assert probe("w1") == (0 if Path("/sys/bus/w1/devices").exists() else 1)
    assert "1-Wire" in capsys.readouterr().out


def test_sections_alone_are_a_file_to_include(capsys, node):
    assert probe("--toml") == 0
    (node.parent / "found.toml").write_text(capsys.readouterr().out)
    node.write_text('include = ["found.toml"]\n' + NODE)
    assert "machine" in {sensor.name for sensor in load(node).sensors}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["GPIO99"], "'GPIO99' is neither a line such as GPIO17 nor one of lines, i2c"),
        (["--watch", "--toml"], "do not go together"),
        (["--watch"], "there is no node.toml here; name lines: knoop probe --watch GPIO17 GPIO27"),
        (["--selftest", "GPIO17", "GPIO99"], "'GPIO99' is not a line such as GPIO17 or BOARD11"),
        (["--selftest", "GPIO17", "BOARD11"], "two different lines are needed"),
    ],
)
def test_arguments_that_mean_nothing_are_told_so(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        probe(*arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_neither_a_server_nor_its_library_is_needed():
    code = "import sys; from knoop.cli import main; main(['probe', '--json']); print('slixmpp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


# ── live values ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_values_line_by_line_until_ctrl_c(node):
    with running("--watch") as process:
        seen: set[str] = set()
        while not ({"door open", "door closed"} <= seen and any("°C" in line for line in seen)):
            at, name, value = process.stdout.readline().split(maxsplit=2)
            assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", at)
            seen.add(f"{name} {value.strip()}")
        assert interrupted(process) == (130, "")
    assert not any("lamp" in line for line in seen)


def test_values_for_scripts_and_only_those_named(node):
    with running("--watch", "door", "air.humidity", "--json") as process:
        told = [json.loads(process.stdout.readline()) for _ in range(6)]
        assert interrupted(process) == (130, "")
    assert {item["channel"] for item in told} == {"door", "air.humidity"}
    assert {item["unit"] for item in told if item["channel"] == "air.humidity"} == {"%"}
    assert {item["value"] for item in told if item["channel"] == "door"} <= {True, False}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["at"]) for item in told)


def test_in_a_terminal_values_stay_where_they_are(node):
    ours, theirs = pty.openpty()
    with running("--watch", stdout=theirs, stdin=theirs) as process:
        os.close(theirs)
        shown = _until(ours, lambda text: text.count("\x1b[4A") >= 2)
        assert interrupted(process)[0] == 130
    os.close(ours)
    rows = re.split(r"\r\x1b\[K", shown.split("\x1b[4A")[1])
    assert [row.split(" ")[0].strip() for row in rows[1:]] == ["door", "air.temperature", "air.humidity", "Ctrl-C"]


def test_what_is_logged_stays_below_the_values(node):
    node.write_text(NODE + '[sensor.meter]\ndriver = "p1"\ndevice = "/dev/ttyUSB77"\n')
    ours, theirs = pty.openpty()
    with running("--watch", "door", "meter.power", stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        shown = _until(ours, lambda text: text.count("it is tried again") >= 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_S) == 130
    os.close(ours)
    last = [row.strip() for row in re.split(r"\r\x1b\[K", re.split(r"\x1b\[\dA", shown)[-1])]
    assert last[1].startswith("door ")
    assert last[2].startswith("meter.power  missing")
    assert last[4].startswith("sensor.meter: /dev/ttyUSB77 does not exist; ")


def _until(terminal: int, true) -> str:
    text, deadline = "", time.monotonic() + BOUND_S
    while not true(text):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, text
        text += os.read(terminal, 65536).decode()
    return text


def test_a_line_that_no_table_has_is_high_or_low(node):
    with running("--watch", "GPIO22", "--json") as process:
        assert json.loads(process.stdout.readline())["channel"] == "GPIO22"
        assert interrupted(process) == (130, "")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dor", "there is no 'dor'; did you mean 'door'?"),
        ("air.tempature", "there is no 'air.tempature'; did you mean 'air.temperature'?"),
        ("lamp", "'lamp' is an output, and probe opens none"),
        ("GPIO27", "GPIO27 is output.lamp, and probe opens no output"),
    ],
)
def test_what_cannot_be_watched_is_told_so(node, capsys, name, sentence):
    assert probe("--watch", name) == 1
    assert sentence in capsys.readouterr().err


def test_no_output_is_ever_in_what_is_opened(node):
    for names in ([], ["door"], ["BOARD11"], ["GPIO5", "air"]):
        config, _ = live.watched(names, pull="none", there=load(node))
        assert config.outputs == ()


def test_nothing_is_written_to_a_device_that_is_looked_at(node):
    arduino = '\n[sensor.arduino]\ndriver = "lines"\ndevice = "/dev/ttyACM0"\n'
    node.write_text(NODE + arduino + '[output.dimmer]\nsensor = "arduino"\nwrite = "B{value}"\n')
    there = load(node)
    assert [remote.name for remote in there.remotes] == ["dimmer"]
    for names in ([], ["arduino"], ["door"]):
        config, _ = live.watched(names, pull="none", there=there)
        assert config.remotes == ()
    with pytest.raises(live.Absent, match="'dimmer' is an output, and probe opens none"):
        live.watched(["dimmer"], pull="none", there=there)


def test_a_line_of_an_input_is_that_input(node):
    config, called = live.watched(["BOARD11"], pull="up", there=load(node))
    assert ([line.name for line in config.inputs], called) == (["door"], {"door": "door"})


@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_a_line_of_none_has_the_pull_that_is_asked_for(pull):
    config, called = live.watched(["gpio5"], pull=pull, there=None)
    assert config.inputs == (Input(name="gpio5", pin="GPIO5", pull=pull, debounce_s=0.0),)
    assert called == {"gpio5": "GPIO5"}
    assert config.board.driver == "gpiod"


def test_a_configuration_that_is_wrong_is_told_so(node, capsys):
    node.write_text(NODE.replace("GPIO17", "GPIO99"))
    assert probe("--watch") == 78
    assert "input.door.pin" in capsys.readouterr().err


def test_a_configuration_that_is_named_must_be_there(capsys):
    assert probe("--watch", "GPIO17", "--config", "nowhere.toml") == 78
    assert "nowhere.toml" in capsys.readouterr().err


# ── the self-test ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_simulated_wire_shows_what_it_says(node, capsys):
    assert probe("--selftest", "GPIO5", "GPIO6") == 0
    out = capsys.readouterr().out
    assert "GPIO5 → GPIO6 (simulated: no line is moved)" in out
    assert "Simulated lines: this shows what the self-test says, and nothing about a board." in out
    assert "  edges: ok (sent 500, read 500, counted 500)" in out
    assert not [line for line in out.splitlines() if len(line) > 80]


def test_and_says_it_to_scripts(node, capsys):
    assert probe("--selftest", "GPIO5", "GPIO6", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["simulated"], report["out"], report["in"]) == (True, True, "GPIO5", "GPIO6")
    assert {check["check"] for check in report["checks"]} >= {"pulls", "levels", "edges", "latency", "loss", "debounce"}


def test_lines_of_the_configuration_are_left_alone(node, capsys):
    node.write_text(NODE.replace('driver = "simulated"\nscenario = "scenario.toml"', "").split("[sensor")[0])
    assert probe("--selftest", "GPIO17", "GPIO5", "--yes") == 74
    assert "GPIO17 is input.door of the configuration; take lines with nothing on them" in capsys.readouterr().err
