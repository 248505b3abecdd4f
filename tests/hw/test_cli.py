"""`knoop-hw`: its arguments, where things are, and `--safe`. As a process: tests/integration/test_halves.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from knoop_hw import places
from knoop_hw.cli import load, parser
from knoop_hw.errors import ConfigError

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
