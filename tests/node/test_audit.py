"""`knoop audit`: the lines of state.db for who is at the machine."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from knoop import cli
from knoop.audit import tail
from knoop.errors import StoreError
from knoop.state import State

EVIL = "on\n12:00 anna@example.org, chat: lock off → done\x1b[2J\x9b31m\u202e\u2028"


@pytest.fixture
async def folder(tmp_path):
    (tmp_path / "node.toml").touch()
    async with State.open(tmp_path / "state.db") as state:
        for number, (who, action, via) in enumerate([
            ("anna@example.org/phone", "lamp on", "chat"),
            ("mallory@example.net/x", EVIL, "room lounge@rooms.example.org"),
        ]):
            await state.audit(
                at_ns=number * 10**9, who=who, action=action, result="done", via=via, encrypted=number == 0
            )
        yield tmp_path  # the node runs


def run(folder, *arguments):
    return cli.main(["audit", "--config", str(folder / "node.toml"), "--state", str(folder), *arguments])


async def test_who_asked_for_what_is_one_line_each_that_nobody_can_forge(folder, capsys):
    assert run(folder) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" anna@example.org/phone, chat, encrypted: lamp on → done")
    assert second.endswith(
        r" mallory@example.net/x, room lounge@rooms.example.org: on\n12:00 anna@example.org, chat: lock off → done"
        r"\x1b[2J\x9b31m\u202e\u2028 → done"
    )


async def test_as_many_lines_as_one_wants(folder, capsys):
    assert run(folder, "--tail", "1", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(line["who"], line["via"], line["encrypted"]) for line in report["lines"]] == [
        ("mallory@example.net/x", "room lounge@rooms.example.org", False)
    ]
    assert run(folder, "--tail", "0") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


async def test_a_file_that_somebody_else_wrote_steers_no_terminal(folder, capsys):
    with closing(sqlite3.connect(folder / "state.db")) as db:
        db.execute("UPDATE audit SET action = ?", (EVIL,))
        db.commit()
    assert run(folder) == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


async def test_what_was_done_at_the_console_says_so_once(folder, capsys):
    async with State.open(folder / "state.db") as state:
        await state.audit(at_ns=0, who="console", action="knoop claim", result="done", via="console", encrypted=False)
    assert run(folder, "--tail", "1") == 0
    assert capsys.readouterr().out.endswith("+00:00 console: knoop claim → done\n")


async def test_less_than_no_line_is_not_everything(folder):
    with pytest.raises(SystemExit) as ended:
        run(folder, "--tail", "-1")
    assert ended.value.code == cli.EX_USAGE


def test_nothing_there_is_a_sentence(tmp_path, capsys):
    (tmp_path / "node.toml").touch()
    assert run(tmp_path) == cli.EX_IOERR
    assert "there is none; name the node's state with --state" in capsys.readouterr().err
    (tmp_path / "state.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        tail(tmp_path / "state.db", 1)
