"""What `knoop check` says of several files, and what a running node cannot follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knoop import cli, config, serve
from knoop.xmpp import compat
from knoop_hw import include
from knoop_hw.errors import DeviceError
from knoop_hw.include import Moved

NODE = 'include = ["common/common.toml"]\n[node]\nname = "attic"\n'
COMMON = '[xmpp]\njid = "attic@example.org"\npassword_file = "secret"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "common.toml").write_text(COMMON, "utf-8")
    (tmp_path / "common" / "secret").touch(0o600)
    (tmp_path / "common" / "secret").write_text("hunter2", "utf-8")
    (tmp_path / "node.toml").write_text(NODE, "utf-8")
    return tmp_path / "node.toml"


def test_check_lists_every_file_it_read(file, tmp_path, capsys):
    common = tmp_path / "common" / "common.toml"
    assert cli.main(["check", "--config", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"{common}: read, too" in said
    assert f"{file}: fine" in said
    assert cli.main(["check", "--json", "--config", str(file)]) == 0
    report = json.loads(capsys.readouterr().out)
    nobodys = f"{file}: people: no owner is named here; unless somebody has claimed it, `knoop claim` shows how"
    assert (report["files"], report["notes"]) == ([str(file), str(common)], [nobodys])


def test_check_takes_a_sensor_whose_device_is_a_name_and_no_path(file, capsys):
    """Each node with `driver = "iio"` ended in a traceback: a text has no `exists`."""
    air = '\n[sensor.air]\ndriver = "iio"\ndevice = "bme280"\nfields = ["temperature"]\n'
    file.write_text(NODE + air, "utf-8")
    assert cli.main(["check", "--config", str(file)]) == 0
    assert f"{file}: fine: inputs 0, outputs 0, sensors 1" in capsys.readouterr().out


def test_check_looks_for_a_key_and_a_program_and_asks_about_a_manuals_number(file, tmp_path, capsys):
    port = tmp_path / "port"
    port.touch()
    grid = f'[sensor.grid]\ndriver = "modbus"\ndevice = "{port}"\nregisters = {{ v = {{ at = 40001 }} }}\n'
    file.write_text(f"{NODE}\n{grid}", "utf-8")
    doubt = f"{file}: sensor.grid.registers.v.at: 40001 is an address, too; a manual that says 40001 means at = 0"
    assert cli.main(["check", "--config", str(file)]) == 0
    said = capsys.readouterr().out
    assert doubt in said
    assert f"{file}: fine: " in said
    meter = f'[sensor.meter]\ndriver = "p1"\ndevice = "{port}2"\nprotocol = "luxembourg"\n'
    own = f'[sensor.own]\ndriver = "command"\ncommand = ["{tmp_path}/none"]\n'
    file.write_text(f"{NODE}\n{grid}{meter}{own}", "utf-8")
    assert cli.main(["check", "--json", "--config", str(file)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["notes"][0] == doubt
    key, program = report["findings"][-2:]
    assert key.startswith(f"{file}: sensor.meter.key_file: no key: name a file in 'key_file', or give the credential ")
    assert program == f"{file}: sensor.own.command: {tmp_path}/none is no file; install it or correct 'command'"
    file.write_text(f"{NODE}\n{meter}key_file = 'gone'\n", "utf-8")
    cli.main(["check", "--config", str(file)])
    assert f"sensor.meter.key_file: {tmp_path}/gone does not exist; put the key into it" in capsys.readouterr().out


def test_a_problem_of_an_included_file_is_told_there(file, tmp_path, capsys):
    (tmp_path / "common" / "common.toml").write_text(COMMON + "prt = 5222\n", "utf-8")
    assert cli.main(["check", "--config", str(file)]) == 78
    assert f"{tmp_path}/common/common.toml:4: xmpp.prt: unknown key; did you mean 'port'?" in capsys.readouterr().err


def test_what_an_older_file_should_call_otherwise_is_said(file, tmp_path, capsys, monkeypatch):
    def moved(data):
        return {("node" if key == "nod" else key): value for key, value in data.items()}, (
            (Moved(("nod",), ("node",)),) if "nod" in data else ()
        )

    monkeypatch.setitem(include.load.__kwdefaults__, "migrations", (moved,))
    file.write_text(NODE.replace("[node]", "[nod]"), "utf-8")
    note = f"{file}:2: nod: is node since version 2; write it so, and version = 2"
    assert cli.main(["check", "--config", str(file)]) == 0
    assert note in capsys.readouterr().out.splitlines()
    loaded = config.load(file, jid=compat.jid)
    assert loaded.node.name == "attic"
    serve._note(loaded)
    assert note in capsys.readouterr().err


def test_where_a_key_stands_makes_no_other_configuration(file):
    before = config.load(file, jid=compat.jid)
    file.write_text(NODE.partition("\n")[2] + COMMON.replace('"secret"', '"common/secret"'), "utf-8")
    assert config.load(file, jid=compat.jid) == before
    file.write_text(file.read_text("utf-8") + '[storage]\nmax = "1MiB"\nretain = "1d"\n', "utf-8")
    after = config.load(file, jid=compat.jid)
    assert after != before
    assert serve._only_at_start(before, after) == ["storage.max"]
    file.write_text(file.read_text("utf-8").replace("[node]\n", '[node]\nloop = "asyncio"\n'), "utf-8")
    assert serve._only_at_start(after, config.load(file, jid=compat.jid)) == ["node.loop"]


def test_whoever_starts_a_whole_node_beside_knoop_hw_is_told_what_goes(file, tmp_path, capsys, monkeypatch):
    async def taken(*_given, **_more):
        raise DeviceError("input.door: GPIO5 is in use by 'knoop door'; end that, or take another line")

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(serve, "serve", taken)
    assert cli.main(["run", "--config", str(file)]) == 74
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "knoop: if that is knoop-hw, leave the lines to it: knoop run --board"
    assert len(said) == 2
