"""readings.db: nothing lost that was promised, and what is lost is counted."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knoop.database import PAGE_BYTES, Database
from knoop.errors import StoreError
from knoop.record import Record
from knoop.store import Store

BOOT = "6f1c2a54-0a5b-4a6e-9a53-1b2c3d4e5f60"
SINK = "pubsub"
SMALL = 200 * PAGE_BYTES


def record(seq=1, *, channel="air.temperature", value=21.4, kind="number", cls="telemetry", **more):
    given = {"run": "k3v9q2xa", "unit": "", "boot": BOOT, "boottime_ns": seq * 10**9, "at_ns": seq * 10**9}
    return Record(channel=channel, seq=seq, cls=cls, type=kind, value=value, **{**given, **more})


def many(count, *, start=1, sinks=(SINK,), **more):
    return [(record(seq, **more), sinks) for seq in range(start, start + count)]


@contextmanager
def broken_disk():
    """No byte can be written to any file: the kernel refuses with EFBIG (Python ignores SIGXFSZ)."""
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "readings.db"


@pytest.mark.parametrize(
    ("kind", "value", "quality"),
    [("number", 21.4, "ok"), ("number", 0.0, "ok"), ("number", 1.0, "ok"), ("boolean", True, "ok"),
     ("boolean", False, "ok"), ("text", "", "ok"), ("text", "1", "ok"), ("text", "é\0\n", "warning"),
     ("number", None, "missing"), ("boolean", None, "error"), ("text", None, "missing")],
)  # fmt: skip
async def test_a_value_comes_back_as_what_it_was(path, kind, value, quality):
    given = record(value=value, kind=kind, quality=quality, unit="°C", at_ns=None)
    async with Store.open(path) as store:
        await store.add([(given, [SINK])])
    async with Store.open(path) as store:
        (back,) = await store.pending(SINK)
    assert (back.type, back.value, type(back.value)) == (kind, value, type(value))
    assert (back.identity, back.quality, back.unit, back.at_ns, back.boottime_ns) == (
        given.identity, quality, "°C", None, given.boottime_ns,
    )  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.floats(allow_nan=False))
def test_any_number_comes_back_exactly(tmp_path_factory, value):
    async def there_and_back():
        async with Store.open(tmp_path_factory.mktemp("numbers") / "readings.db") as store:
            await store.add([(record(value=value), [SINK])])
            return (await store.pending(SINK))[0].value

    back = asyncio.run(there_and_back())
    assert back == value
    assert isinstance(back, float)


async def test_alarms_leave_before_events_before_telemetry_each_in_order(path):
    async with Store.open(path) as store:
        for seq in (1, 2):
            for cls in ("telemetry", "event", "alarm"):
                await store.add([(record(seq, channel=cls, cls=cls), [SINK])])
        order = [(one.cls, one.seq) for one in await store.pending(SINK)]
        assert order == [(cls, seq) for cls in ("alarm", "event", "telemetry") for seq in (1, 2)]
        assert len(await store.pending(SINK, limit=4)) == 4


async def test_each_sink_has_its_own_outbox(path):
    anna, room = "chat:anna@example.org", "room:fleet@rooms.example.org"
    async with Store.open(path) as store:
        kept = await store.add([(record(1), [SINK, anna]), (record(2), [anna]), (record(3), [])])
        assert await store.backlog() == {SINK: 1, anna: 2}
        await store.delivered(anna, [kept[0].row, kept[0].row, 999])
        assert [one.seq for one in await store.pending(SINK)] == [1]
        assert [one.seq for one in await store.pending(anna)] == [2]
        assert await store.pending(room) == []
        assert await store.forget(anna) == 1
        assert await store.backlog() == {SINK: 1}


async def test_a_repeated_reading_is_one_row_and_is_not_sent_again(path):
    async with Store.open(path) as store:
        (first,) = await store.add([(record(1), [SINK])])
        await store.delivered(SINK, [first.row])
        again, other = await store.add([(record(1, value=99.0), [SINK]), (record(2), [SINK])])
        assert again.row == first.row
        assert [one.row for one in await store.pending(SINK)] == [other.row]
        assert [one.value for one in await store.history("air.temperature")] == [21.4, 21.4]


async def test_what_add_returned_survives_an_end_without_goodbye(path):
    script = f"""
import asyncio, os
from pathlib import Path
from tests.node.test_store import many
from knoop.store import Store
async def main():
    async with Store.open(Path({str(path)!r})) as store:
        print(len(await store.add(many(5, cls="event"))), flush=True)
        os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=30, env=_env())
    assert (ended.returncode, ended.stdout) == (-9, b"5\n"), ended.stderr.decode()
    async with Store.open(path) as store:
        assert [one.seq for one in await store.pending(SINK)] == [1, 2, 3, 4, 5]


async def test_history_is_the_newest_in_bounds_newest_last_over_runs(path):
    async with Store.open(path) as store:
        await store.add(many(5, run="zzzzzzzz"))
        await store.add([(record(seq, run="aaaaaaaa", at_ns=(seq + 5) * 10**9), []) for seq in range(1, 6)])
        await store.add([(record(6, run="aaaaaaaa", at_ns=None), []), (record(1, channel="door"), [])])
        seconds = [one.at_ns and one.at_ns // 10**9 for one in await store.history("air.temperature", limit=8)]
        assert seconds == [4, 5, 6, 7, 8, 9, 10, None]
        bounded = await store.history("air.temperature", since_ns=3 * 10**9, until_ns=6 * 10**9, limit=3)
        assert [one.at_ns // 10**9 for one in bounded] == [4, 5, 6]
        assert await store.history("air") == []


async def test_latest_is_the_last_of_each_channel(path):
    async with Store.open(path) as store:
        assert await store.latest() == []
        await store.add(many(3, run="zzzzzzzz") + many(2, run="aaaaaaaa") + many(1, channel="door"))
        assert [(one.run, one.channel, one.seq) for one in await store.latest()] == [
            ("aaaaaaaa", "air.temperature", 2), ("k3v9q2xa", "door", 1),
        ]  # fmt: skip


async def test_prune_deletes_old_history_only(path):
    async with Store.open(path) as store:
        kept = await store.add([*many(6), (record(7, at_ns=None), [])])
        await store.delivered(SINK, [one.row for one in kept if one.seq not in {2, 6}])
        assert await store.prune(5 * 10**9, limit=2) == 2
        assert await store.prune(5 * 10**9) == 1
        assert await store.prune(5 * 10**9) == 0
        assert [one.seq for one in await store.history("air.temperature")] == [2, 5, 6, 7]


async def test_a_full_store_drops_history_then_telemetry_then_events_then_alarms(path):
    async with Store.open(path, max_bytes=SMALL) as store:
        history = await store.add(many(300, channel="old"))
        await store.delivered(SINK, [one.row for one in history])
        await store.add(many(100, channel="temp") + many(100, channel="door", cls="event"))
        seq = 0
        while not store.dropped["telemetry"]:
            seq += 1
            await store.add(many(1, start=seq, channel="alarm", cls="alarm"))
            assert await store.history("old") == [] or not store.dropped["telemetry"]
        assert store.dropped == {"telemetry": 100, "event": 0, "alarm": 0}
        while not store.dropped["event"]:
            seq += 1
            await store.add(many(1, start=seq, channel="alarm", cls="alarm"))
        assert store.dropped["alarm"] == 0
        assert await store.backlog() == {SINK: seq}
        while not store.dropped["alarm"]:
            seq += 1
            await store.add(many(1, start=seq, channel="alarm", cls="alarm"))
        left = [one.seq for one in await store.pending(SINK, limit=9999)]
        assert left == list(range(store.dropped["alarm"] + 1, seq + 1))  # the oldest went
        size = sum(file.stat().st_size for file in path.parent.glob("readings.db*") if "shm" not in file.name)
        assert size <= SMALL * 1.25


async def test_nothing_less_pushes_an_alarm_out(path):
    async with Store.open(path, max_bytes=SMALL) as store:
        alarms = 0
        while not store.dropped["alarm"]:
            alarms += 1
            await store.add(many(1, start=alarms, channel="alarm", cls="alarm"))
        kept = alarms - store.dropped["alarm"]
        lost = store.dropped["alarm"]
        seq = 0
        while not store.dropped["telemetry"]:
            seq += 1
            await store.add(many(1, start=seq))
        event = 0
        while not store.dropped["event"]:
            event += 1
            await store.add(many(1, start=event, channel="door", cls="event"))
        assert store.dropped["alarm"] == lost
        assert sum(one.cls == "alarm" for one in await store.pending(SINK, limit=9999)) == kept


async def test_a_broken_disk_costs_telemetry_and_raises_for_events(path):
    async with Store.open(path) as store:
        await store.add(many(3))
        with broken_disk():
            assert await store.add(many(2, start=4)) == []
            assert store.dropped["telemetry"] == 2
            with pytest.raises(StoreError, match=r"readings\.db"):
                await store.add(many(1, start=6) + many(1, channel="door", cls="event"))
            assert store.dropped["telemetry"] == 3
            assert len(await store.pending(SINK)) == 3  # reading still works
        assert len(await store.add(many(1, channel="door", cls="event"))) == 1
        assert len(await store.pending(SINK)) == 4


FULL_DISK = """
import asyncio, os, sys
from pathlib import Path
from tests.node.test_store import many
from knoop.errors import StoreError
from knoop.store import Store
async def main():
    async with Store.open(Path("/mnt/readings.db")) as store:
        await store.add(many(10, channel="first", cls="event"))
        with open("/mnt/ballast", "wb", buffering=0) as ballast:
            try:
                while True: ballast.write(bytes(4096))
            except OSError: pass
        seq = 0
        while not store.dropped["telemetry"]:
            seq += 100
            await store.add(many(100, start=seq))
        try:
            await store.add(many(1000, channel="door", cls="event"))
        except StoreError as error:
            print(error)
        assert len([one for one in await store.pending("pubsub", limit=9999) if one.channel == "first"]) == 10
        os.unlink("/mnt/ballast")
        assert len(await store.add(many(1, channel="door", cls="event"))) == 1
asyncio.run(main())
"""


def test_a_really_full_disk_stops_nothing():
    mount = "mount -t tmpfs -o size=600k knoop /mnt && "
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount + "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace (unshare -rm) for a small file system")
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} exec "$0" -c "$1"', sys.executable, FULL_DISK],
        capture_output=True, text=True, check=False, timeout=60, env=_env(),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "/mnt/readings.db: the disk is full; free some space on the file system of /mnt\n"


def test_a_read_only_file_system_is_named():
    mount = "mount -t tmpfs -o size=600k,ro knoop /mnt && "
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount + "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace (unshare -rm) for a read-only file system")
    script = FULL_DISK.replace("asyncio.run(main())", "try: asyncio.run(main())\nexcept StoreError as e: print(e)")
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} exec "$0" -c "$1"', sys.executable, script],
        capture_output=True, text=True, check=False, timeout=60, env=_env(),
    )  # fmt: skip
    assert ended.stdout.startswith("/mnt/readings.db: Read-only file system; make /mnt a folder that"), ended.stderr


async def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/readings\.db: .*; make .*file a folder that user id"):
        async with Store.open(tmp_path / "file" / "readings.db"):
            pass


async def test_a_newer_database_is_left_alone(path):
    async with Store.open(path) as store:
        await store.add(many(1))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StoreError, match=r"newer Knoop \(version 7 of its tables, this one knows 1\); install"):
        async with Store.open(path):
            pass
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM reading").fetchone() == (1,)
    db.close()


async def test_migrations_run_once_each_and_in_order(path):
    first = "CREATE TABLE a (x) STRICT".replace("(x)", "(x INTEGER)")
    async with Database(path, migrations=[first]) as db:
        await db.run(lambda c: c.execute("INSERT INTO a VALUES (1)"))
    for _ in range(2):
        async with Database(
            path, migrations=[first, "ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1"]
        ) as db:
            assert await db.run(lambda c: c.execute("SELECT * FROM a").fetchall()) == [(1, 2)]


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"\xff" * 5000])
async def test_a_corrupt_file_is_set_aside_and_replaced(path, damage):
    for number in (1, 2, 3, 3):
        path.write_bytes(damage)
        async with Store.open(path) as store:
            assert store.set_aside == path.with_name(f"readings.db.corrupt-{number}")
            assert store.set_aside.read_bytes() == damage
            assert len(await store.add(many(1))) == 1
    async with Store.open(path) as store:
        assert store.set_aside is None
        assert len(await store.pending(SINK)) == 1


async def test_damage_that_shows_late_is_set_aside_too(path):
    async with Store.open(path) as store:
        await store.add(many(500))
    data = bytearray(path.read_bytes())
    data[PAGE_BYTES:] = b"\x55" * (len(data) - PAGE_BYTES)
    path.write_bytes(data)
    async with Store.open(path) as store:
        assert await store.pending(SINK) == []
        assert store.set_aside is not None
        assert len(await store.add(many(1))) == 1


async def test_only_the_owner_can_read_the_files(path):
    path.touch(mode=0o644)
    async with Store.open(path) as store:
        await store.add(many(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(["readings.db", "readings.db-wal", "readings.db-shm"], 0o600)


async def test_sqlite_runs_in_one_other_thread_and_closing_twice_is_fine(path):
    async with Database(path, migrations=[]) as db:
        threads = {await db.run(lambda _: threading.get_ident()) for _ in range(3)}
        assert len(threads - {threading.get_ident()}) == 1
        await db.close()
        with pytest.raises(StoreError, match="closed"):
            await db.run(lambda _: None)
    await db.close()


async def test_a_transaction_that_fails_leaves_nothing(path):
    async with Database(path, migrations=["CREATE TABLE a (x INTEGER) STRICT"]) as db:

        def half(connection):
            connection.execute("INSERT INTO a VALUES (1)")
            raise KeyError("half-way")

        with pytest.raises(KeyError):
            await db.run(half)
        assert await db.run(lambda c: c.execute("SELECT * FROM a").fetchall()) == []


async def test_the_loop_runs_on_while_the_disk_is_slow(path):
    async with Database(path, migrations=[]) as db:
        released = threading.Event()
        slow = asyncio.create_task(db.run(lambda _: released.wait(10)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not slow.done()
        released.set()
        assert await slow


def _env():
    root = Path(__file__).parents[2]
    return {
        "PYTHONPATH": ":".join(map(str, [root, *(root / part for part in ("hw", "node"))])),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
