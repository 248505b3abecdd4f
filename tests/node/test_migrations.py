"""Databases that an older or a newer Knoop wrote: rows outlive an upgrade, and nothing newer is touched."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from knoop import cli, state_tables, store
from knoop.database import Database
from knoop.errors import StoreError
from knoop.readings_tables import QUALITIES
from knoop.state import State
from knoop.state_tables import Grant
from knoop.store import Store

# Word for word what version 1 of each file was made with: not the scripts of today, which a mistake may have changed.
STATE_1 = """
CREATE TABLE granted (jid TEXT PRIMARY KEY, role TEXT NOT NULL, only_json TEXT NOT NULL) STRICT;
CREATE TABLE audit (id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
  result TEXT NOT NULL, via TEXT NOT NULL, encrypted INTEGER NOT NULL) STRICT;
CREATE TABLE alert (name TEXT PRIMARY KEY, status TEXT NOT NULL, since_ns INTEGER NOT NULL, by TEXT NOT NULL)
STRICT; CREATE TABLE quiet (jid TEXT PRIMARY KEY, until_ns INTEGER NOT NULL) STRICT; CREATE TABLE flag (name
TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO granted VALUES ('bram@example.org', 'operator', '["lamp"]');
INSERT INTO audit VALUES (7, 1795342503000000000, 'anna@example.org', 'set lamp on', 'ok', 'chat', 0);
INSERT INTO alert VALUES ('frost', 'raised', 1795342503000000000, '');
INSERT INTO alert VALUES ('door', 'acknowledged', 1795342504000000000, 'Anna');
INSERT INTO quiet VALUES ('anna@example.org', 1795349703000000000);
INSERT INTO flag VALUES ('greeted', 'yes');
PRAGMA user_version = 1;
"""
READINGS_1 = """
CREATE TABLE reading (id INTEGER PRIMARY KEY, run TEXT NOT NULL, channel TEXT NOT NULL, seq INTEGER NOT NULL,
  class INTEGER NOT NULL, value ANY, unit TEXT, quality TEXT NOT NULL, boot TEXT NOT NULL,
  boottime_ns INTEGER NOT NULL, at_ns INTEGER /* NULL until the clock is synced */, UNIQUE(run,channel,seq))
  STRICT;
CREATE TABLE delivery (sink TEXT, class INTEGER, reading INTEGER REFERENCES reading ON DELETE CASCADE,
  PRIMARY KEY(sink,class,reading)) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_reading ON delivery(reading);
INSERT INTO reading VALUES (1, 'k3v9q2xa', 'air.temperature', 1, 2, 21.5, '°C', 'ok', 'b', 1000, 1795342503000000000);
INSERT INTO reading VALUES (2, 'k3v9q2xa', 'door', 1, 1, 1, NULL, 'ok', 'b', 2000, NULL);
INSERT INTO reading VALUES (3, 'k3v9q2xa', 'alert.frost', 1, 0, 'raised', NULL, 'ok', 'b', 3000, NULL);
INSERT INTO reading VALUES (4, 'k3v9q2xa', 'air.temperature', 2, 2, x'6e', '°C', 'missing', 'b', 4000, NULL);
INSERT INTO delivery VALUES ('pubsub', 2, 1), ('pubsub', 1, 2), ('chat:anna@example.org', 0, 3);
PRAGMA user_version = 1;
"""


def made(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA page_size = 1024")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(script)
    path.chmod(0o600)
    return path


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


async def test_a_state_of_version_1_keeps_all_that_people_gave(tmp_path):
    path = made(tmp_path / "state.db", STATE_1)
    for _ in range(2):  # the second time nothing is left to be done
        async with State.open(path) as opened:
            assert opened.set_aside is None
            assert await opened.grants() == [Grant("bram@example.org", "operator", ("lamp",))]
            [line] = await opened.audit_tail(10)
            assert (line.at_ns, line.who, line.action) == (1795342503000000000, "anna@example.org", "set lamp on")
            alerts = {row.name: row for row in await opened.load_alerts()}
            assert (alerts["frost"].status, alerts["frost"].since_ns) == ("raised", 1795342503000000000)
            assert (alerts["door"].status, alerts["door"].by) == ("acknowledged", "Anna")
            assert await opened.quiet_until() == {"anna@example.org": 1795349703000000000}
            await opened.save_alerts(alerts.values())
            assert {row.name: row for row in await opened.load_alerts()} == alerts
    assert rows(path, "PRAGMA user_version") == [(len(state_tables.MIGRATIONS),)]


async def test_readings_of_version_1_are_delivered_and_history(tmp_path):
    path = made(tmp_path / "readings.db", READINGS_1)
    async with Store.open(path) as opened:
        assert opened.set_aside is None
        assert [record.identity for record in await opened.pending("pubsub")] == [
            "k3v9q2xa-door-1", "k3v9q2xa-air.temperature-1",
        ]  # fmt: skip
        [alarm] = await opened.pending("chat:anna@example.org")
        assert (alarm.channel, alarm.value, alarm.cls) == ("alert.frost", "raised", "alarm")
        history = await opened.history("air.temperature")
        assert [(one.value, one.quality, one.unit) for one in history] == [(21.5, "ok", "°C"), (None, "missing", "°C")]
        assert (await opened.span(channels=["door"]))[0].value is True
        repeat = (await opened.span(channels=["alert.frost"]))[0]
        assert (await opened.add([(repeat, ["pubsub"])]))[0].row == repeat.row
        assert await opened.backlog() == {"pubsub": 2, "chat:anna@example.org": 1}
        assert await opened.waiting() == {"pubsub": {"door": 1}, "chat:anna@example.org": {"alert.frost": 1}}
        await opened.delivered("pubsub", [1, 2])
        assert await opened.backlog() == {"chat:anna@example.org": 1}
    assert rows(path, "PRAGMA user_version") == [(len(store.MIGRATIONS),)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT count(*) FROM sqlite_master WHERE name LIKE '%_1' AND type = 'table'") == [(0,)]


async def test_a_full_store_of_version_1_keeps_every_reading_and_its_bound(tmp_path):
    path = made(tmp_path / "readings.db", READINGS_1)
    limit = 400 * 1024
    with closing(sqlite3.connect(path)) as db:
        db.execute("BEGIN")
        count = 0
        while path.stat().st_size < limit - 70 * 1024:
            db.executemany(
                "INSERT INTO reading VALUES (NULL, 'k3v9q2xa', ?, ?, 2, ?, '°C', ?, '6f1c2a54-0a5b', ?, ?)",
                [(f"room{n % 5}", n, n / 8, QUALITIES[n % 6], n, n) for n in range(count + 1, count + 101)],
            )
            db.executemany(
                "INSERT INTO delivery SELECT 'pubsub', 2, id FROM reading WHERE seq = ? AND channel LIKE 'room%'",
                [(n,) for n in range(count + 51, count + 101)],
            )
            count += 100
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("BEGIN")
        db.execute("COMMIT")
    async with Store.open(path, max_bytes=limit) as opened:
        assert (await opened.backlog())["pubsub"] == count // 2 + 2
        every = await opened.span(channels=[f"room{n}" for n in range(5)], limit=9999)
        assert [(one.seq, one.value, one.quality, one.at_ns) for one in every] == [
            (n, n / 8, QUALITIES[n % 6], n) for n in range(1, count + 1)
        ]
        assert [one.seq for one in await opened.history("room3", limit=2)] == [count - 7, count - 2]
        for start in range(1, 8000, 100):
            await opened.add([(replace(every[0], run="new", seq=n), []) for n in range(start, start + 100)])
        size = sum(file.stat().st_size for file in tmp_path.glob("readings.db*") if "shm" not in file.name)
        assert size <= limit * 1.1
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


FIRST = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)"
SECOND = "ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1"
BROKEN = "ALTER TABLE a ADD COLUMN y INTEGER; DELETE FROM a; INSERT INTO nowhere VALUES (1)"


async def test_a_migration_that_fails_half_way_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.db"
    async with Database(path, migrations=[FIRST]):
        pass
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            async with Database(path, migrations=[FIRST, BROKEN]):
                pass
        assert rows(path, "SELECT * FROM a") == [(1,)]
        assert rows(path, "PRAGMA user_version") == [(1,)]
    assert path.read_bytes() == before
    async with Database(path, migrations=[FIRST, SECOND]):
        pass
    assert rows(path, "SELECT * FROM a") == [(1, 2)]


async def test_of_two_that_begin_the_same_migration_one_does_it(tmp_path, monkeypatch):
    """A command at the console beside a node that starts."""
    made, file = Database._migrate, tmp_path / "state.db"

    def later(self, db, version):
        monkeypatch.undo()
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            made(self, other, version)
            other.execute("INSERT INTO flag VALUES ('kept', 'yes')")
        made(self, db, version)

    monkeypatch.setattr(Database, "_migrate", later)
    async with State.open(file) as state:
        assert await state.run(lambda db: db.execute("SELECT * FROM flag").fetchall()) == [("kept", "yes")]


async def test_of_a_precious_file_a_copy_is_kept_before_it_is_migrated(tmp_path):
    path, copy = tmp_path / "a.db", tmp_path / "a.db.v1"
    async with Database(path, migrations=[FIRST], keep=True):
        pass
    assert not copy.exists(), "a new file is no older one"
    copy.write_text("left behind by somebody")
    copy.chmod(0o644)
    async with Database(path, migrations=[FIRST, SECOND], keep=True) as database:
        assert database.set_aside is None
        await database.run(lambda db: db.execute("INSERT INTO a VALUES (5, 6)"))
    assert rows(copy, "SELECT * FROM a") == [(1,)]
    assert rows(copy, "PRAGMA user_version") == [(1,)]
    assert copy.stat().st_mode & 0o777 == 0o600
    changed_ns = copy.stat().st_mtime_ns
    async with Database(path, migrations=[FIRST, SECOND], keep=True):
        pass
    assert copy.stat().st_mtime_ns == changed_ns, "it is made once"
    async with Database(copy, migrations=[FIRST]) as older:  # what the Knoop before this one would open
        assert await older.run(lambda db: db.execute("SELECT * FROM a").fetchall()) == [(1,)]


async def test_without_room_for_the_copy_nothing_is_migrated(tmp_path):
    path = tmp_path / "a.db"
    async with Database(path, migrations=[FIRST], keep=True):
        pass
    (tmp_path / "a.db.v1").mkdir()
    with pytest.raises(StoreError):
        async with Database(path, migrations=[FIRST, SECOND], keep=True):
            pass
    assert rows(path, "SELECT * FROM a") == [(1,)]


@pytest.mark.parametrize(("name", "script"), [("state.db", STATE_1), ("readings.db", READINGS_1)])
def test_a_newer_file_ends_run_with_74_and_stays_as_it_is(tmp_path, monkeypatch, capsys, name, script):
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("secret", "utf-8")
    (tmp_path / "node.toml").write_text(
        '[node]\nname = "attic"\n[xmpp]\njid = "attic@localhost"\npassword_file = "password"\n'
        '[board]\ndriver = "simulated"\n', "utf-8",
    )
    newer = 1 + max(len(state_tables.MIGRATIONS), len(store.MIGRATIONS))
    file = made(tmp_path / name, script.replace("user_version = 1", f"user_version = {newer}"))
    before = file.read_bytes()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert cli.main(["run", "--config", str(tmp_path / "node.toml")]) == 74
    said = capsys.readouterr().err
    known = len(state_tables.MIGRATIONS if name == "state.db" else store.MIGRATIONS)
    assert f"{file}: written by a newer Knoop (version {newer} of its tables, this one knows {known}); install" in said
    assert file.read_bytes() == before
    assert rows(file, "SELECT count(*) FROM sqlite_master WHERE type = 'table'")[0][0] >= 2
