"""What is purged is gone: nothing of it is found in any byte of any file, and what is of others is all there."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from tests.node.test_moving import everything, made
from tests.node.test_store import record

from knoop import cli, inventory, state_tables, traces
from knoop.init import ask
from knoop.state import State
from knoop.state_tables import AlertRow
from knoop.store import Store
from knoop.unreceived import Note
from knoop.xmpp import compat
from knoop_hw import left, places, restore, totals
from knoop_hw.life import lock

BRAM = "bram@example.org"
OTHERS = ("bert@example.org", "bram@example.net", "vera@example.org")
ALIKE = ("abram@example.org", "bram@example.org.uk", "bram@example.orgs", "b-bram@example.org")

DATABASES = ("state/readings.db", "state/state.db")


def grep(folder: Path, text: str) -> list[str]:
    """The files with this in them, as `grep -ril` finds them: by bytes, write-ahead logs included."""
    return [name for name, content in everything(folder).items() if text.lower().encode() in content.lower()]


async def lived(state: Path, who: str, others: tuple[str, ...] = OTHERS) -> None:
    """All that two databases can know of a person, some of it only in their logs, and as much of others."""
    async with State.open(state / "state.db") as memory, Store.open(state / "readings.db") as store:
        for jid in (who, *others):
            await memory.grant(jid, "viewer")
            await memory.quiet(jid, 10**18)
            await memory.silence(f"of-{jid.replace('@', '-')}", 10**18, jid)
            for text in (jid, f"{jid}/phone"):
                await memory.audit(at_ns=1, who=text, action="status", result="ok", via="chat", encrypted=False)
            said = {"action": f"allow {jid} viewer", "result": f"{jid}: viewer.", "via": "chat", "encrypted": False}
            await memory.audit(at_ns=1, who="anna@example.org/x", **said)
        everybody = dict.fromkeys((who, *others), "id")
        notes = [Note(jid, "r-alert.frost-1", "alert.frost", "raised", f"hello {jid}", 1, 0, 1, 0, False)
                 for jid in everybody]  # fmt: skip
        await memory.save_unreceived(notes, [], dict.fromkeys(everybody, 1))
        await memory.save_alerts([
            AlertRow(name="frost", status="acknowledged", since_ns=1, by=who, told=everybody, owed=tuple(everybody),
                     escalated=tuple(everybody), bounced=tuple(everybody)),
            AlertRow(name="smoke", status="raised", since_ns=1, by="Bram"),
            AlertRow(name="door", status="raised", since_ns=1, by="Anna"),
        ])  # fmt: skip
        await memory.grant(who, "operator")  # what was written over stands in free pages, too
        sinks = [f"chat:{jid}" for jid in (who, *others)]
        for seq in range(1, 300):
            said = f"seen {who}" if seq % 10 == 0 else f"seen {others[seq % 3]}"
            await store.add([(record(seq, channel="note", kind="text", value=said, cls="event"), sinks)])
        # As after a power cut: the files as they are now, write-ahead logs and all.
        killed = state.with_name("killed")
        shutil.copytree(state, killed)
    shutil.rmtree(state)
    killed.rename(state)


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The folder of a node, off."""
    _, state = made(tmp_path / "node")
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    return tmp_path / "node"


def purge(node: Path, *flags: str) -> int:
    return cli.main(["purge", "--yes", "--config", str(node / "node.toml"), *flags])


@pytest.mark.parametrize(("who", "others"), [(BRAM, OTHERS), ("zoë@exämple.org", OTHERS), (BRAM, ALIKE)],
                         ids=["bram", "zoë", "bram among such that look alike"])
async def test_no_byte_of_a_purged_person_is_left_and_others_lose_nothing(node, capsys, who, others):
    """`grep` over every file. JSON in the databases spells letters beyond ASCII otherwise: that counts as well."""
    state = node / "state"
    await lived(state, who, others)
    assert {*grep(state, who)} >= {"state.db-wal", "readings.db-wal"}, "else this proves nothing about logs"
    counted = {jid: await seen(state, jid) for jid in others}
    for copy in ("state.db.v3", "readings.db.corrupt-1", "state.db.corrupt-2-wal"):
        (state / copy).write_text(who, "utf-8")
    assert purge(node, "--person", f"{who.upper()}/phone") == 0, capsys.readouterr()
    assert grep(node, json.dumps(who)[1:-1]) == grep(node, who) == ([] if others == OTHERS else [*DATABASES])
    assert ("is part of other addresses" in capsys.readouterr().out) == (others == ALIKE)
    assert {jid: await seen(state, jid) for jid in others} == counted
    assert not list(state.glob("*.v3")) + list(state.glob("*corrupt*"))
    async with State.open(state / "state.db") as memory, Store.open(state / "readings.db") as store:
        alerts = {row.name: row for row in await memory.load_alerts()}
        assert (alerts["frost"].status, alerts["frost"].by, [*alerts["frost"].owed]) == ("acknowledged", "", [*others])
        assert [*alerts["frost"].told] == [*alerts["frost"].bounced] == [*others]
        assert alerts["door"].by == "Anna"
        assert len(await memory.silences()) == 1 + len(others), "a silence holds, whoever asked for it"
        assert (await store.backlog()).keys() == {f"chat:{jid}" for jid in others}
        assert len(await store.history("note", limit=999)) == 299 - 29
        assert len(await store.pending(f"chat:{others[0]}", limit=999)) == 299 - 29


async def test_what_a_try_that_was_cut_off_left_in_free_pages_goes_with_the_next(node):
    """Rows that were deleted, by a purge that met a power cut or long ago, with their bytes still there."""
    await lived(node / "state", BRAM)
    for name in DATABASES:
        with closing(sqlite3.connect(node / name, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = OFF")
            traces._erase(db, traces.pattern(BRAM), "")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert {*grep(node, BRAM)} == {*DATABASES}
    assert purge(node, "--person", BRAM) == 0
    assert grep(node, BRAM) == []


@pytest.fixture
def service(node, tmp_path, monkeypatch):
    """The same as systemd's service has it; returns the folder that it remembers in."""
    (tmp_path / "var").mkdir()
    remembered = (node / "state").rename(tmp_path / "var" / "knoop")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    monkeypatch.setattr(places, "SYSTEM", node / "node.toml")
    monkeypatch.setattr(places, "SYSTEM_STATE", tmp_path / "var")
    return remembered


def test_what_a_service_remembers_is_exported_and_purged_and_not_while_it_runs(node, service, tmp_path, capsys):
    archive = tmp_path / "node.tar.gz"
    cli.main(["export", str(archive), "--config", str(node / "node.toml")])
    assert "counters.json" in capsys.readouterr().out
    with lock(service / "lock", taken="it runs"):
        assert purge(node) == 74
    assert f"{service} is in use by a node that runs" in capsys.readouterr().err
    assert (service / "counters.json").exists()
    assert purge(node) == 0
    assert not (service / "counters.json").exists()
    cli.main(["import", str(archive), "--config", str(node / "node.toml"), "--force"])
    assert (service / "counters.json").exists()


def test_where_a_link_led_is_said(node, capsys):
    elsewhere = node / "usb.json"
    (node / "state" / "counters.json").rename(elsewhere)
    (node / "state" / "counters.json").symlink_to(elsewhere)
    assert purge(node) == 0
    assert f"Left: {elsewhere}: a link led there, and it stays" in capsys.readouterr().out
    assert elsewhere.exists()


async def seen(state: Path, jid: str) -> int:
    """How often the rows of all tables but those of readings name an address."""
    named = traces.pattern(jid)
    async with State.open(state / "state.db"):
        pass
    with closing(sqlite3.connect(state / "state.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sum(len(named.findall(str(row))) for table in tables for row in db.execute(f"SELECT * FROM {table}"))


async def test_a_file_that_made_them_an_owner_does_not_do_so_again(node):
    """The flag that it was taken stays, without the address."""
    async with State.open(node / "state" / "state.db") as memory:
        await memory.run(lambda db: db.execute("INSERT INTO flag VALUES ('claim file 0123', ?)", (BRAM,)))
    assert purge(node, "--person", BRAM) == 0
    async with State.open(node / "state" / "state.db") as memory:
        assert await memory.run(lambda db: db.execute("SELECT * FROM flag").fetchall()) == [("claim file 0123", "")]


async def test_a_name_is_taken_from_what_stays(node):
    """Alerts and silences are signed with what `node.toml` calls people."""
    text = (node / "node.toml").read_text("utf-8")
    (node / "node.toml").write_text(f'{text}"{BRAM}" = {{ role = "viewer", name = "Bram" }}\n', "utf-8")
    await lived(node / "state", BRAM)
    assert purge(node, "--person", BRAM) == 1
    async with State.open(node / "state" / "state.db") as memory:
        assert {row.name: row.by for row in await memory.load_alerts()} == {"frost": "", "smoke": "", "door": "Anna"}


async def test_who_is_still_in_the_configuration_is_said(node, capsys):
    with (node / "node.toml").open("a", encoding="utf-8") as file:
        file.write(f'"{BRAM}" = "viewer"\n')
    (node / "node.toml.old").write_text(BRAM, "utf-8")
    await lived(node / "state", BRAM)
    assert purge(node, "--person", BRAM, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["left"] == [f"{node / name}: still names {BRAM}: take that out by hand"
                            for name in ("node.toml", "node.toml.old")]  # fmt: skip
    assert grep(node / "state", BRAM) == []


async def test_every_table_there_is_forgets_a_person(tmp_path):
    """Whatever is added to state.db: a row with the address in any one column, of every table."""
    file = tmp_path / "state.db"
    async with State.open(file):
        pass
    filled = 0
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [(name, kind) for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})")]
            for number, (column, kind) in enumerate(columns):
                if kind != "TEXT" or (table in traces.STAYS and column in {"name", "status", "alert"}):
                    continue
                values = {name: {"TEXT": "[]", "BLOB": bytes([number])}.get(sort, number) for name, sort in columns}
                key = next((name for name, sort in columns if sort == "TEXT"), "")
                values[key] = f"{column}-{number}" if key != column else values[key]
                values[column] = json.dumps([f"x {BRAM}/y", 1]) if column.endswith("_json") else f"to:{BRAM}/phone,"
                marks = ", ".join("?" * len(columns))
                db.execute(f"INSERT INTO {table} VALUES ({marks})", [values[name] for name, _ in columns])
                filled += 1
    version = len(state_tables.MIGRATIONS)
    assert filled > 20
    assert traces.erase(file, compat.jid(BRAM), title="", version=version) == filled
    assert traces.erase(file, compat.jid(BRAM), title="", version=version) == 0
    assert grep(tmp_path, BRAM) == []


@pytest.mark.parametrize(("text", "named"), [
    (BRAM, True), (f"chat:{BRAM}", True), (f'["{BRAM}"]', True), (f"{BRAM}/phone", True), (f"{BRAM}.", True),
    (f"allow {BRAM.upper()}, please", True), (f"<{BRAM}>", True), (f"jid={BRAM}", True), (f"{BRAM}.org", False),
    (f"x{BRAM}", False),
    (f"x.{BRAM}", False), (f"{BRAM}s", False), (f"{BRAM}-x.org", False), ("bram@exampleXorg", False), ("", False),
])  # fmt: skip
def test_an_address_is_found_as_a_whole_only(text, named):
    assert bool(traces.pattern(BRAM).search(text)) is named


async def test_a_purged_node_has_kept_nothing_here(node, capsys):
    state, board = node / "state", node / "state-hw"
    await lived(state, BRAM)
    for file in (state / "claim.txt", state / "claim.png", state / "state.db.v2", state / "readings.db.corrupt-1-wal",
                 board / "outputs.json", board / "counters.damaged", board / "open.json",
                 state / ".claim.txt"):  # fmt: skip
        file.write_text(BRAM, "utf-8")
    (state / "my notes").write_text("mine", "utf-8")
    assert purge(node) == 0
    assert {*everything(node)} == {
        "node.toml", "greenhouse.password", "parts/board.toml", "parts/weather.toml", "state/my notes",
    }
    assert grep(node, BRAM) == []
    assert "Left: " in (said := capsys.readouterr().out)
    assert "my notes: is not Knoop's, and stays" in said
    for name in (
        "parts/.weather.toml.import", "node.toml.old", "node.toml.old2", "node.toml.previous",
        "greenhouse.password.old", ".greenhouse.password.k3_9wz4a", ".node.toml.card", "..node.toml.card.new",
        ".node.toml.new", ".node.toml.pending.new",
    ):
        (node / name).write_text(BRAM, "utf-8")
    (node / "node.toml.older").write_text("mine", "utf-8")
    assert purge(node, "--configuration") == 0
    assert {*everything(node)} == {"state/my notes", "node.toml.older"}


async def test_all_that_a_node_writes_is_known_to_purge(tmp_path):
    """Each name of a file in the code of both halves that is written into a state folder."""
    names = {left.FILE, restore.FILE, totals.FILE, *inventory.DATABASES}
    names |= {Path(name).with_suffix(".new").name for name in (left.FILE, restore.FILE, totals.FILE)}
    names |= {Path(totals.FILE).with_suffix(".damaged").name, "claim.txt", "claim.png", ".claim.txt", ".claim.png"}
    assert [name for name in names if not inventory.WRITTEN.fullmatch(name)] == []
    others = ("node.toml", "lock", "id_rsa", "state.db.py", "x.db")
    assert not [name for name in others if inventory.WRITTEN.fullmatch(name)]


@pytest.mark.parametrize("flags", [[], ["--person", BRAM], ["--configuration"]])
@pytest.mark.parametrize("half", ["state", "state-hw"])
def test_a_node_that_runs_is_not_purged(node, capsys, flags, half):
    """Nor one of which a half runs."""
    before = everything(node)
    with lock(node / half / "lock", taken=""):
        assert purge(node, *flags) == 74
    assert "in use by a node that runs; stop it first" in capsys.readouterr().err
    assert everything(node) == before


def test_without_a_yes_nothing_goes(node, capsys, monkeypatch):
    before = everything(node)
    with pytest.raises(SystemExit) as ended:
        cli.main(["purge", "--config", str(node / "node.toml")])
    assert ended.value.code == 2
    assert "nobody is there to be asked" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    answers = iter(["perhaps", "n"])
    monkeypatch.setattr(ask, "Terminal", partial(ask.Terminal, read=lambda _prompt: next(answers)))
    assert cli.main(["purge", "--config", str(node / "node.toml")]) == 1
    said = capsys.readouterr()
    assert "nothing was deleted" in said.err
    assert "counters.json" in said.out
    assert "but not what the server keeps (--server)" in said.out
    assert everything(node) == before


def test_a_node_whose_file_is_broken_can_be_purged_but_not_at_its_server(node, capsys, monkeypatch):
    monkeypatch.chdir(node)
    (node / "node.toml").write_text("[", "utf-8")
    assert cli.main(["purge", "--yes", "--server"]) == 78
    assert (node / "state" / "counters.json").exists()
    assert cli.main(["purge", "--yes"]) == 0
    assert not (node / "state" / "counters.json").exists()


@pytest.mark.parametrize("flags", [
    ["--person", BRAM, "--account"], ["--person", "@"], ["--person", BRAM, "--configuration"],
])  # fmt: skip
def test_what_means_nothing_is_said(node, flags):
    with pytest.raises(SystemExit):
        purge(node, *flags)


async def test_a_database_of_another_knoop_is_left_as_it_is(node, capsys):
    await lived(node / "state", BRAM)
    with closing(sqlite3.connect(node / "state" / "state.db", isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 1")
    assert purge(node, "--person", BRAM) == 1
    assert "start this one once, stop it, and purge again" in capsys.readouterr().err
