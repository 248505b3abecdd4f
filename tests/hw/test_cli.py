"""`knoop-hw`: its arguments, where things are, and `--safe`. As a process: tests/integration/test_halves.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from knoop_hw import places
from knoop_hw.cli import load, parser
from knoop_hw.errors import ConfigError

BOUND_S = 20.0
TABLES = """
[board]
driver = "simulated"
scenario = "scenario.toml"
[output.lamp]
pin = "GPIO27"
initial = "on"
[output.lock]
pin = "GPIO5"
initial = "on"
safe = "keep"
[output.light]
pin = "GPIO6"
safe = "on"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scenario.toml").write_text('trace = "board.jsonl"\n')
    (tmp_path / "node.toml").write_text(TABLES)
    return tmp_path


def hardware(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "knoop_hw", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
    )  # fmt: skip


@contextmanager
def running(folder, *, code=None):
    """The half as a process, and what waits until it says something; killed at the end, as a crash would."""
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "XDG_RUNTIME_DIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "knoop_hw", "--config", "node.toml"], cwd=folder, stderr=subprocess.PIPE, text=True,
        env=env if code is None else {**env, "PYTHONPATH": str(code)},
    )  # fmt: skip

    def says(words):
        said = ""
        while words not in said:
            line = process.stderr.readline()
            assert line, f"{words!r} is not in\n{said}"
            said += line
        return said

    late = threading.Timer(BOUND_S, process.kill)
    late.start()
    with process:
        try:
            says("the board is open")
            yield process, says
        finally:
            late.cancel()
            process.kill()


def moves(folder):
    lines = (folder / "board.jsonl").read_text().splitlines()
    return [(entry["channel"], entry["level"]) for entry in map(json.loads, lines)]


def test_help_shows_how():
    text = parser().format_help()
    for words in ("examples:", "knoop-hw --safe", "knoop run --board", "board.sock", "SIGHUP"):
        assert words in text


def test_safe_moves_what_is_not_safe_once_and_leaves_what_is_kept(folder):
    left = [("GPIO27", "lamp", True), ("GPIO5", "lock", True)]  # as a half that was killed leaves them
    lines = [json.dumps({"t_ns": 1, "channel": name, "line": pin, "level": level}) for pin, name, level in left]
    (folder / "board.jsonl").write_text("\n".join(lines) + "\n")
    for _ in range(2):
        done = hardware(folder, "--safe")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert moves(folder)[2:] == [("lamp", False), ("light", True)]


@pytest.mark.parametrize("since", ["[output.lamp\n", TABLES.replace("GPIO27", "GPIO22"), None])
def test_safe_goes_by_what_was_open_whatever_the_file_says_since(folder, since):
    """Somebody saved half a file, or other lines, and then the half was killed: its lamp must go off all the same."""
    with running(folder):
        pass
    before = len(moves(folder))
    assert ("lamp", True) in moves(folder)
    (folder / "node.toml").unlink()
    if since is not None:
        (folder / "node.toml").write_text(since)
    done = hardware(folder, "--safe", "--config", "node.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert moves(folder)[before:] == [("lamp", False), ("light", True)]


def test_safe_goes_by_the_last_reload(folder):
    with running(folder) as (process, says):
        (folder / "node.toml").write_text(TABLES + '[output.bell]\npin = "GPIO7"\ninitial = "on"\n')
        process.send_signal(signal.SIGHUP)
        says("the new configuration is taken")
    (folder / "node.toml").write_text("nonsense")
    assert hardware(folder, "--safe", "--config", "node.toml").returncode == 0
    assert ("bell", False) in moves(folder)


@pytest.mark.parametrize("noted", ["", "[]", "{}", '{"boot": "another", "file": "", "tables": {}}', None])
def test_safe_without_a_note_goes_by_the_file(folder, noted):
    """Of another boot, of another file, half written, or none."""
    with running(folder):
        pass
    note = folder / "state/knoop-hw/open.json"
    file = folder / ("node.toml" if noted is not None else "other.toml")
    if noted is not None:
        note.write_text(noted)
    file.write_text(TABLES.replace("GPIO27", "GPIO22").replace("lamp", "bell"))
    before = len(moves(folder))
    assert hardware(folder, "--safe", "--config", file.name).returncode == 0
    assert [name for name, _ in moves(folder)[before:]] == ["light"], "lamp is not in it, and bell is off already"
    file.write_text("nonsense")
    assert hardware(folder, "--safe", "--config", file.name).returncode == 78


def test_safe_beside_a_half_that_runs_touches_nothing(folder):
    with running(folder):
        before = moves(folder)
        done = hardware(folder, "--safe")
        assert done.returncode == 74
        assert "is in use by a knoop-hw that is running; stop it" in done.stderr
        assert moves(folder) == before


def test_new_code_that_is_half_there_does_not_end_the_half(folder, tmp_path):
    """SIGUSR2 came while files were being replaced: ending now moves outputs, and there is nothing to start."""
    code = tmp_path / "code"
    shutil.copytree(Path(places.__file__).parent, code / "knoop_hw", ignore=shutil.ignore_patterns("__pycache__"))
    with running(folder, code=code) as (process, says):
        (code / "knoop_hw/units.py").rename(code / "units.new")
        (code / "knoop_hw/units.py").symlink_to("not-there-yet")
        process.send_signal(signal.SIGUSR2)
        said = says("upgrade: ")
        assert "units.py: No such file or directory; staying" in said
        (code / "units.new").replace(code / "knoop_hw/units.py")
        process.send_signal(signal.SIGUSR2)
        says("upgrade: the hardware half's code is as it was; staying")
        assert process.poll() is None


def test_what_is_wrong_is_said_with_its_code(folder):
    (folder / "node.toml").write_text(TABLES + '[input.door]\npul = "up"\n[people]\nnonsense = 3\n')
    done = hardware(folder)
    assert done.returncode == 78
    assert "node.toml:16: input.door.pul: unknown key; did you mean 'pull'?" in done.stderr
    assert "people" not in done.stderr, "the agent's tables are the agent's"
    assert hardware(folder, "--config", "none.toml").returncode == 78
    assert hardware(folder, "--confg").returncode == 2
    (folder / "node.toml").write_text(TABLES)
    done = hardware(folder, "--state", "node.toml")
    assert done.returncode == 74
    assert "node.toml: File exists; make it a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_its_own_tables_are_read(folder):
    (folder / "node.toml").write_text(TABLES + "[xmpp]\njid = 3\n[nonsense]\n")
    assert [output.name for output in load(folder / "node.toml").outputs] == ["lamp", "lock", "light"]
    (folder / "node.toml").write_text("[output.lamp]\n")
    with pytest.raises(ConfigError, match="'pin' is missing"):
        load(folder / "node.toml")


def test_where_the_halves_meet(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert places.board_socket(Path("/etc/knoop/node.toml")) == Path("/run/knoop/board.sock")
    assert places.board_socket(tmp_path / "node.toml") == tmp_path / "knoop/board.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert places.board_socket(tmp_path / "node.toml") == Path("/run/knoop/board.sock")


@pytest.mark.parametrize(
    ("count", "pid", "passed"),
    [("1", os.getpid, 3), ("1", os.getppid, None), ("", os.getpid, None), ("0", os.getpid, None)],
)
def test_a_socket_that_systemd_passed_is_for_this_process_only(monkeypatch, count, pid, passed):
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_PID", str(pid()))
    monkeypatch.setenv("LISTEN_FDNAMES", "board")
    assert places.passed_socket() == passed
    assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} & os.environ.keys()


def test_two_passed_sockets_are_one_too_many(monkeypatch):
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(ConfigError, match=r"give the \.socket unit one ListenStream="):
        places.passed_socket()
