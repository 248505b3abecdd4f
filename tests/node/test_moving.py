"""A node in one file: what goes in comes out, and what is no export changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from tests.node.test_store import SINK, many

from knoop import archive, cli, moving
from knoop.errors import NodeError, StoreError
from knoop.state import State
from knoop.store import Store
from knoop_hw.clock import FakeClock
from knoop_hw.errors import DeviceError
from knoop_hw.life import lock

NODE = """
include = ["parts/board.toml"]
[node]
name = "greenhouse"
[xmpp]
jid = "greenhouse@example.org"
password_file = "greenhouse.password"
[people]
"anna@example.org" = "owner"
"""
BOARD = '[board]\ndriver = "simulated"\nscenario = "weather.toml"\n[input.door]\npin = "GPIO17"\n'


def made(folder: Path) -> tuple[Path, Path]:
    """A configuration of four files and a state folder; returns `node.toml` and that folder."""
    (folder / "parts").mkdir(parents=True)
    (folder / "node.toml").write_text(NODE, "utf-8")
    (folder / "parts" / "board.toml").write_text(BOARD, "utf-8")
    (folder / "parts" / "weather.toml").write_text("", "utf-8")
    (folder / "greenhouse.password").write_text("secret\n", "utf-8")
    (folder / "greenhouse.password").chmod(0o600)
    state = folder / "state"
    state.mkdir()
    (state / "counters.json").write_text('{"rain": 12}', "utf-8")
    (state / "open.json").write_text("{}", "utf-8")
    (folder / "state-hw").mkdir()
    (folder / "state-hw" / "outputs.json").write_text('{"lamp": true}', "utf-8")
    return folder / "node.toml", state


async def lived(state: Path) -> None:
    """A grant, a line of audit and three readings, one of which waits."""
    async with State.open(state / "state.db") as memory, Store.open(state / "readings.db") as store:
        await memory.grant("bram@example.org", "viewer", ["door"])
        await memory.audit(at_ns=1, who="anna@example.org/x", action="allow", result="ok", via="chat", encrypted=False)
        kept = await store.add(many(3))
        await store.delivered(SINK, [one.row for one in kept[:2]])


async def known(state: Path) -> tuple[object, ...]:
    """What these databases say."""
    async with State.open(state / "state.db") as memory, Store.open(state / "readings.db") as store:
        return (await memory.grants(), await memory.audit_tail(9),
                await store.history("air.temperature", limit=99_999), await store.backlog())  # fmt: skip


def exported(folder: Path) -> Path:
    """The archive of the node in this folder."""
    target = folder / "out.tar.gz"
    moving.pack(moving._load(folder / "node.toml"), folder / "state", target, clock=FakeClock())
    return target


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A node that has lived, with its export, made once."""
    folder = tmp_path_factory.mktemp("made") / "old"
    _, state = made(folder)
    asyncio.run(lived(state))
    exported(folder)
    return folder


@pytest.fixture
def packed(old, tmp_path):
    """Its export, in a copy of it that is the test's own."""
    shutil.copytree(old, tmp_path / "old")
    return tmp_path / "old" / "out.tar.gz"


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below it with something in it."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


async def test_a_node_comes_out_as_it_went_in(tmp_path, packed):
    old, new = tmp_path / "old", tmp_path / "new"
    manifest, written = moving.unpack(packed, new / "attic.toml", new / "state")
    assert (manifest.node, manifest.main, manifest.made) == ("greenhouse", "node.toml", "2026-11-22T10:15:03Z")
    for name in ("parts/board.toml", "parts/weather.toml", "greenhouse.password", "state/counters.json",
                 "state-hw/outputs.json"):  # fmt: skip
        assert (new / name).read_bytes() == (old / name).read_bytes()
    assert (new / "attic.toml").read_text("utf-8") == NODE
    assert not (new / "state" / "open.json").exists(), "which lines were open on the other board is not of this one"
    assert await known(new / "state") == await known(old / "state")
    assert {stat.S_IMODE(file.stat().st_mode) for file in (packed, *written.values())} == {0o600}
    assert stat.S_IMODE((new / "state").stat().st_mode) == 0o700
    with tarfile.open(packed) as others:  # what everybody's tar reads
        assert others.getnames()[0] == "manifest.json"


async def test_it_is_packed_while_the_node_writes_and_each_database_is_of_one_moment(tmp_path):
    main, state = made(tmp_path / "old")
    done = asyncio.Event()

    async def write(store: Store, memory: State) -> None:
        number = 0
        while not done.is_set() or number < 40:
            number += 1
            await store.add(many(5, start=5 * number - 4))
            await memory.grant(f"guest{number}@example.org", "viewer")

    async with State.open(state / "state.db") as memory, Store.open(state / "readings.db") as store:
        writing = asyncio.create_task(write(store, memory))
        target = tmp_path / "out.tar.gz"
        loaded = moving._load(main)
        for _ in range(3):
            await asyncio.to_thread(moving.pack, loaded, state, target, clock=FakeClock())
        done.set()
        await writing
    moving.unpack(target, tmp_path / "new" / "node.toml", tmp_path / "new" / "state")
    grants, _, history, backlog = await known(tmp_path / "new" / "state")
    assert [one.seq for one in history] == [*range(len(history) + 1)][1:]
    assert len(history) % 5 == 0, "no transaction is there in half"
    assert backlog == ({SINK: len(history)} if history else {})
    assert len(grants) > 0


def test_what_changes_under_an_export_is_as_it_was_at_one_moment_or_ends_it(tmp_path, packed, monkeypatch):
    """As many bytes as before: a counter that counts, a file that somebody edits."""
    old, new, write = tmp_path / "old", tmp_path / "new", archive.write

    def late(*given, **more):
        file.write_bytes(file.read_bytes()[::-1])
        write(*given, **more)

    monkeypatch.setattr(archive, "write", late)
    file = old / "state" / "counters.json"
    moving.unpack(exported(old), new / "node.toml", new / "state")
    assert (new / "state" / "counters.json").read_text("utf-8") == '{"rain": 12}'
    before, file = packed.read_bytes(), old / "greenhouse.password"
    with pytest.raises(NodeError, match=r"greenhouse\.password changed while it was read; try again"):
        exported(old)
    assert packed.read_bytes() == before


@pytest.mark.parametrize("name", ["node.toml", "parts/board.toml", "state/state.db", "state/counters.json"])
def test_an_export_is_not_written_over_the_node_itself(tmp_path, packed, monkeypatch, capsys, name):
    old = tmp_path / "old"
    monkeypatch.setenv("STATE_DIRECTORY", str(old / "state"))
    before = everything(old)
    assert cli.main(["export", str(old / name), "--force", "--config", str(old / "node.toml")]) == 1
    assert "is this node's own file; give the export another name" in capsys.readouterr().err
    assert everything(old) == before


def test_files_that_differ_by_case_only_are_said(tmp_path, packed):
    """They would be one on a card of another computer."""
    old = tmp_path / "old"
    (old / "parts" / "BOARD.toml").write_text("", "utf-8")
    text = NODE.replace('"parts/board.toml"', '"parts/board.toml", "parts/BOARD.toml"')
    (old / "node.toml").write_text(text, "utf-8")
    with pytest.raises(NodeError, match="two whose names differ by case at most; move that out of the way"):
        exported(old)


def test_a_folder_in_the_way_of_a_file_is_said_before_anything_changes(tmp_path, packed):
    new = tmp_path / "new"
    (new / "parts" / "board.toml").mkdir(parents=True)
    with pytest.raises(NodeError, match=r"board\.toml is a folder, and a file goes there; nothing was changed"):
        moving.unpack(packed, new / "node.toml", new / "state", force=True)
    assert everything(new) == {}


async def test_what_is_there_is_not_written_over_unless_forced(tmp_path, packed):
    new = tmp_path / "new"
    moving.unpack(packed, new / "node.toml", new / "state")
    (new / "node.toml").write_text("another", "utf-8")
    before = everything(new)
    with pytest.raises(NodeError, match=r"there already: \S+node.toml, .*--force"):
        moving.unpack(packed, new / "node.toml", new / "state")
    assert everything(new) == before
    (new / "state" / "state.db-wal").write_bytes(b"of a database that is gone")
    moving.unpack(packed, new / "node.toml", new / "state", force=True)
    assert (new / "node.toml").read_text("utf-8") == NODE
    assert not (new / "state" / "state.db-wal").exists()
    assert await known(new / "state") == await known(tmp_path / "old" / "state")


def test_nothing_is_put_under_a_node_that_runs(tmp_path, packed):
    state = tmp_path / "new"
    state.mkdir()
    with lock(state / "lock", taken="ours"), pytest.raises(DeviceError, match="in use by a node that runs; stop it"):
        moving.unpack(packed, tmp_path / "c" / "node.toml", state, force=True)
    assert everything(state) == {}
    assert not (tmp_path / "c").exists()


def test_an_export_replaces_no_file_unasked_and_says_what_it_lacks(tmp_path, packed, monkeypatch, capsys):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "old" / "state"))
    config = ["--config", str(tmp_path / "old" / "node.toml")]
    assert cli.main(["export", str(packed), *config]) == 1
    assert "there already" in capsys.readouterr().err
    outside = tmp_path / "ca.pem"
    outside.write_text("", "utf-8")
    (tmp_path / "old" / ".password").write_text("secret", "utf-8")
    text = NODE.replace("[people]", f'ca_file = "{outside}"\n[people]').replace("greenhouse.password", ".password")
    (tmp_path / "old" / "node.toml").write_text(text, "utf-8")
    assert cli.main(["export", str(packed), "--force", "--json", *config]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["lacks"] == [
        f"{outside}: outside of {tmp_path / 'old'}; take it along by hand",
        f"{tmp_path / 'old' / '.password'}: its name is none for an export; rename it, or take it along by hand",
    ]
    assert "secret" not in json.dumps(said)
    assert cli.main(["export", str(packed), "--force", *config]) == 1
    assert "It holds all that the node knows" in capsys.readouterr().out
    assert not list((tmp_path / "old").glob(".out*")), "nothing half done is left beside it"


def test_a_node_that_came_and_lacks_something_is_not_called_fine(tmp_path, packed, monkeypatch, capsys):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "new").mkdir()
    assert cli.main(["import", str(packed), "--config", str(tmp_path / "new")]) == 0
    (tmp_path / "old" / "greenhouse.password").unlink()
    again = tmp_path / "old/out.tar.gz"
    _, lacks = moving.pack(moving._load(tmp_path / "old/node.toml"), tmp_path / "old/state", again, clock=FakeClock())
    assert lacks == [f"the account's password: {tmp_path / 'old/greenhouse.password'} is not there"]
    (tmp_path / "new" / "greenhouse.password").unlink()
    assert cli.main(["import", str(again), "--config", str(tmp_path / "new"), "--force"]) == 1
    assert "greenhouse.password does not exist" in capsys.readouterr().out


def test_a_folder_that_is_not_there_yet_is_a_folder(tmp_path, packed, monkeypatch, capsys):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    new = tmp_path / "etc" / "knoop"
    assert cli.main(["import", str(packed), "--config", str(new)]) == 0
    assert {"node.toml", "greenhouse.password"} < {file.name for file in new.iterdir()}
    assert capsys.readouterr().out.endswith(f" Then:\n  knoop check --config {new}/node.toml\n"
                                            f"  knoop run --config {new}/node.toml\n")


def test_who_takes_another_state_is_told_how_the_node_finds_it(tmp_path, packed, monkeypatch, capsys):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "usual"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", str(packed), "--state", "other"]) == 0
    assert capsys.readouterr().out.endswith(f" Then:\n  knoop check\n  STATE_DIRECTORY={tmp_path}/other knoop run\n")


# ── hostile archives ──────────────────────────────────────────────────────────────────────────────────────────────────


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as known:
        return {one.name: known.extractfile(one).read() for one in known}


def manifest_of(contents: dict[str, bytes], **more) -> dict[str, object]:
    entries = [
        {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    ]
    return {"format": 1, "knoop": "1", "made": "now", "node": "x", "main": "node.toml", "files": entries, **more}


def tarred(target: Path, parts: list[tuple[tarfile.TarInfo, bytes]], *, form=tarfile.USTAR_FORMAT) -> Path:
    """Any tar.gz that there can be."""
    with gzip.open(target, "wb") as packed:
        for info, content in parts:
            if info.type in {tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME}:
                info.size = info.size or len(content)
            packed.write(info.tobuf(form, "utf-8", "surrogateescape"))
            packed.write(content + bytes(-len(content) % 512))
        packed.write(bytes(1024))
    return target


def info(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


def packing(contents: dict[str, bytes], **more) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A manifest that fits, and the files behind it."""
    text = json.dumps(manifest_of(contents, **more)).encode()
    return [(info("manifest.json"), text), *((info(name), content) for name, content in contents.items())]


def hostile(files: dict[str, bytes]) -> dict[str, list[tuple[tarfile.TarInfo, bytes]]]:
    """Archives that somebody made to do harm, by what they try."""
    good = packing(files)
    manifest, rest = good[0], good[1:]
    main, other = b"[node]\n", {"config/node.toml": files["config/node.toml"]}
    instead = {
        "a link instead of a file": info("config/node.toml", tarfile.SYMTYPE, link="/etc/passwd"),
        "a hard link": info("config/node.toml", tarfile.LNKTYPE, link="/etc/passwd"),
        "a device": info("config/node.toml", tarfile.CHRTYPE), "a pipe": info("config/node.toml", tarfile.FIFOTYPE),
        "a folder": info("config/node.toml", tarfile.DIRTYPE),
    }  # fmt: skip
    tries = {
        name: packing({**other, path: b"x"})
        for name, path in {
            "climbs": "config/../../evil", "absolute": "/etc/evil", "absolute inside": "config//etc/evil",
            "home": "config/.bashrc", "hidden folder": "config/.ssh/authorized_keys", "windows": "config/..\\evil",
            "other database": "state/evil.db", "the lock": "state/lock", "a socket": "board/board.sock",
            "newline": "config/a\nb", "escape": "config/\x1b[2J", "direction": "config/\u202egpj.exe",
            "longer than a header": "config/" + "/".join("a" * 60 for _ in range(2)),
            "deep": "config/" + "a/" * 9 + "b", "long": "config/" + "a" * 99, "nothing": "config/", "else": "evil",
        }.items()
    }  # fmt: skip
    return tries | {
        **{name: [manifest, (kind, b""), *rest[1:]] for name, kind in instead.items()},
        "an extended header": [manifest, (info("x", tarfile.XHDTYPE), b"20 path=/etc/evil1\n"), *rest],
        "an endless header": [manifest, (info("x", tarfile.XHDTYPE, size=2**33 - 1), b""), *rest],
        "a long name": [manifest, (info("x", tarfile.GNUTYPE_LONGNAME), b"/etc/evil\0"), *rest],
        "one that was not announced": [manifest, (info("config/evil"), b"x"), *rest],
        "another order": [manifest, *rest[::-1]],
        "one too few": good[:-1],
        "no manifest": rest,
        "the manifest last": [*rest, manifest],
        "another digest": [manifest, (info("config/node.toml"), b"#" + files["config/node.toml"][1:]), *rest[1:]],
        "another size": [manifest, (info("config/node.toml"), files["config/node.toml"] + b"#"), *rest[1:]],
        "a manifest of 1 GB": [(info("manifest.json", size=2**30), b""), *rest],
        "a configuration of 1 GB": packing(other, files=[
            {"name": "config/node.toml", "bytes": 2**30, "sha256": hashlib.sha256(main).hexdigest()},
        ]),
        "a size below zero": packing(other, files=[{"name": "config/node.toml", "bytes": -1, "sha256": "0" * 64}]),
        "twice": packing(other, files=[*manifest_of(other)["files"], *manifest_of(other)["files"]]),
        "twice but for case": packing({**other, "config/NODE.toml": b"x"}),
        "two for one place": packing({**other, "config/attic.toml": b"x"}),
        "too many": packing({**other, **{f"config/{number}": b"" for number in range(300)}}),
        "a file that is a folder, too": packing({**files, "config/a": b"", "config/a/b": b""}),
        "bytes in halves": packing(other, files=[
            {**manifest_of(other)["files"][0], "bytes": float(len(files["config/node.toml"]))},
        ]),
        "no configuration": packing({"state/state.db": files["state/state.db"]}),
        "main somewhere else": packing(other, main="../node.toml"),
        "main in a folder": packing({"config/a/node.toml": main}, main="a/node.toml"),
        "another format": packing(other, format=2),
        "no format": [(info("manifest.json"), b"{}")],
        "a list": [(info("manifest.json"), b"[]")],
        "depths": [(info("manifest.json"), b"[" * 100_000)],
        "no UTF-8": [(info("manifest.json"), b'"\xff"')],
        "numbers for names": packing(other, node=1),
        "more keys": packing(other, evil="x"),
        "a database that is none": packing({**other, "state/state.db": b"SQLite format 3\0" + bytes(900)}),
        "an empty database": packing({**other, "state/state.db": b""}),
        "one for the other": packing({**other, "state/state.db": files["state/readings.db"]}),
    }  # fmt: skip


def with_sql(content: bytes, sql: str, folder: Path) -> bytes:
    """A database after some SQL."""
    file = folder / "sql.db"
    file.write_bytes(content)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.executescript(sql)
    return file.read_bytes()


NAMES = sorted(hostile({"config/node.toml": b"", "state/state.db": b"", "state/readings.db": b""}))


@pytest.mark.parametrize("name", NAMES)
def test_no_hostile_archive_changes_anything(tmp_path, packed, name):
    files = members(packed)
    files.pop("manifest.json")
    bad = tarred(tmp_path / "bad.tar.gz", hostile(files)[name])
    place = tmp_path / "here"
    (place / "config").mkdir(parents=True)
    (place / "state").mkdir()
    before = everything(tmp_path)
    with pytest.raises(NodeError, match=r"nothing was changed|another name") as caught:
        moving.unpack(bad, place / "config" / "attic.toml", place / "state", force=True)
    assert len(str(caught.value).splitlines()) == 1
    assert everything(tmp_path) == before
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize("sql", [
    "CREATE TRIGGER evil AFTER INSERT ON audit BEGIN DELETE FROM granted; END",
    "CREATE VIEW evil AS SELECT * FROM granted",
    "CREATE TABLE evil (x)",
    "CREATE INDEX evil ON granted(role)",
    "DROP TABLE knock",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = 99",
    "UPDATE sqlite_master SET sql = replace(sql, 'role TEXT', 'role NONE') WHERE name = 'granted'",
    "UPDATE sqlite_master SET rootpage = 2 WHERE name = 'audit'",
])  # fmt: skip
def test_a_database_with_anything_else_in_it_is_refused(tmp_path, packed, sql):
    files = members(packed)
    files.pop("manifest.json")
    files["state/state.db"] = with_sql(files["state/state.db"], sql, tmp_path)
    bad = tarred(tmp_path / "bad.tar.gz", packing(files))
    with pytest.raises(NodeError, match="nothing was changed"):
        moving.unpack(bad, tmp_path / "new" / "node.toml", tmp_path / "new" / "state")
    assert everything(tmp_path / "new") == {}


def test_what_an_archive_says_of_itself_steers_no_terminal(tmp_path, packed, monkeypatch, capsys):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    files = members(packed)
    files.pop("manifest.json")
    said = {"node": "x\x1b[2J\nWrote /etc/evil\ud800", "made": "\u202e", "knoop": "\x9b1m\u2028"}
    odd = tarred(tmp_path / "odd.tar.gz", packing(files, **said))
    (tmp_path / "new").mkdir()
    assert cli.main(["import", str(odd), "--config", str(tmp_path / "new")]) == 0
    assert cli.main(["import", str(odd), "--config", str(tmp_path / "new"), "--force", "--json"]) == 0
    out = capsys.readouterr().out
    assert "\nWrote /etc/evil" not in out
    assert all(char.isprintable() for line in out.split("\n") for char in line), ascii(out)


def test_a_bomb_is_not_unpacked(tmp_path, packed):
    """A thousandth of what it would be, in one block after another: the announced bytes are read and no more."""
    files = members(packed)
    files.pop("manifest.json")
    parts = packing(files)
    parts.insert(1, (info("config/node.toml", size=2**33 - 1), bytes(2**26)))
    bad = tarred(tmp_path / "bad.tar.gz", parts)
    with pytest.raises(NodeError, match="too much"):
        moving.unpack(bad, tmp_path / "new" / "node.toml", tmp_path / "new" / "state")
    assert everything(tmp_path / "new") == {}


def test_what_the_disk_has_no_room_for_is_refused_before_it_is_unpacked(tmp_path, packed, monkeypatch):
    monkeypatch.setattr(moving, "SPARE_BYTES", 2**60)
    with pytest.raises(StoreError, match=r"1\.15e\+09 GB are needed and .* are free; make room first"):
        moving.unpack(packed, tmp_path / "new" / "node.toml", tmp_path / "new" / "state")
    assert not (tmp_path / "new").exists()


def test_a_link_in_the_way_is_not_followed(tmp_path, packed):
    new, elsewhere = tmp_path / "new", tmp_path / "elsewhere"
    new.mkdir()
    elsewhere.mkdir()
    (new / "parts").symlink_to(elsewhere)
    with pytest.raises(NodeError, match="leads out of"):
        moving.unpack(packed, new / "node.toml", new / "state", force=True)
    (new / "parts").unlink()
    victim = elsewhere / "victim"
    victim.write_text("mine", "utf-8")
    (new / "node.toml").symlink_to(victim)
    (new / ".node.toml.import").symlink_to(victim)
    with pytest.raises(NodeError, match="there already"):
        moving.unpack(packed, new / "node.toml", new / "state")
    moving.unpack(packed, new / "node.toml", new / "state", force=True)
    assert victim.read_text("utf-8") == "mine"
    assert not (new / "node.toml").is_symlink()


def test_an_archive_that_was_cut_or_damaged_anywhere_is_refused_or_whole(tmp_path, packed):
    whole, random = packed.read_bytes(), Random(11)
    files = members(packed)
    bad, new = tmp_path / "bad.tar.gz", tmp_path / "new"
    cuts = [whole[: random.randrange(len(whole))] for _ in range(25)]
    flips = []
    for _ in range(75):
        at = random.randrange(len(whole))
        flips.append(whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :])
    refused = 0
    for content in (*cuts, *flips, b"", b"\0" * 9999, gzip.compress(bytes(9999)), io.BytesIO(whole).read()[::-1]):
        bad.write_bytes(content)
        try:
            manifest, written = moving.unpack(bad, new / "node.toml", new / "state", force=True)
        except NodeError as error:
            assert isinstance(error, archive.NoExport), error
            refused += 1
        else:  # what was hit says nothing: a time, a mode, the checksum of gzip behind the last byte of ours
            assert {name: written[name].read_bytes() for name in written} == {
                one.name: files[one.name] for one in manifest.files
            }
    assert refused > 80
