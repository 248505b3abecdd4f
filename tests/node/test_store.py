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
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knoop import readings_sql
from knoop.database import PAGE_BYTES, Database
from knoop.errors import StoreError
from knoop.readings_tables import QUALITIES, TYPES, damaged
from knoop.record import Record
from knoop.store import CLASSES, Store
from knoop_hw.model import Class, Quality, Type

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


async def test_a_span_is_the_oldest_first_and_goes_on_where_it_ended(path):
    async with Store.open(path) as store:
        await store.add(many(5) + many(4, channel="door", cls="event") + many(3, run="zzzzzzzz", at_ns=None))
        every = await store.span(channels=["door", "air.temperature"])
        assert [(one.channel, one.seq) for one in every] == [
            *(("air.temperature", seq) for seq in range(1, 6)), *(("door", seq) for seq in range(1, 5)),
            *(("air.temperature", seq) for seq in range(1, 4)),
        ]  # fmt: skip
        assert [one.row for one in every] == sorted(one.row for one in every)
        first = await store.span(channels=["door", "air.temperature"], limit=7)
        assert first == every[:7]
        assert await store.span(channels=["door", "air.temperature"], after_row=first[-1].row) == every[7:]
        assert await store.span(channels=["air.temperature"], run="k3v9q2xa", first=2, last=4) == every[1:4]
        assert await store.span(channels=["air.temperature"], run="zzzzzzzz", first=2) == every[10:]
        bounds = {"since_ns": 2 * 10**9, "until_ns": 3 * 10**9}
        assert await store.span(channels=["air.temperature"], **bounds) == every[1:3]
        assert await store.span(channels=[]) == await store.span(channels=["air"]) == []


async def test_readings_without_a_time_get_it_by_their_boot(path):
    async with Store.open(path) as store:
        await store.add([(record(1, at_ns=None), []), (record(2, at_ns=7), [])])
        await store.add([(record(3, at_ns=None, boot="old"), [])])
        await store.add([(record(4, at_ns=None), [SINK])])
        assert await store.correct(BOOT, 10**18) == 2
        assert await store.correct(BOOT, 10**18) == 0
        assert [one.at_ns for one in await store.history("air.temperature")] == [
            10**18 + 10**9, 7, None, 10**18 + 4 * 10**9,
        ]  # fmt: skip


async def test_what_waits_of_events_and_alarms_is_counted_by_channel(path):
    async with Store.open(path) as store:
        assert await store.waiting() == {}
        kept = await store.add([
            *many(3), *many(4, channel="door", cls="event", sinks=[SINK, "chat:anna@example.org"]),
            *many(1, channel="alert.frost", cls="alarm"),
        ])  # fmt: skip
        await store.delivered(SINK, [kept[3].row])
        assert await store.waiting() == {
            SINK: {"door": 3, "alert.frost": 1}, "chat:anna@example.org": {"door": 4},
        }  # fmt: skip


def test_every_word_of_the_model_has_its_number():
    assert (set(CLASSES), set(TYPES), set(QUALITIES)) == ({*get_args(Class)}, {*get_args(Type)}, {*get_args(Quality)})


@pytest.mark.parametrize("seed", range(8))
async def test_the_store_is_what_a_plain_list_would_be(path, monkeypatch, seed):
    """Whatever is in its index yet and whatever not, over restarts, repeats and changed channels."""
    monkeypatch.setattr(readings_sql, "PLACE_ROWS", 7)
    monkeypatch.setattr(readings_sql, "SCAN_ROWS", 5)
    dice, kept, waits, seqs = Random(seed), {}, set(), {}
    for _ in range(4):
        async with Store.open(path) as store:
            assert store.set_aside is None
            for _ in range(15):
                channel, run = dice.choice(("air", "door", "tank")), dice.choice(("aaaaaaaa", "bbbbbbbb"))
                first = max(1, seqs.get((channel, run), 0) + dice.randint(-2, 1))
                cls, at_ns = dice.choice(CLASSES), dice.choice((None, dice.randrange(100)))
                given = many(dice.randint(1, 6), start=first, channel=channel, run=run, cls=cls, at_ns=at_ns,
                             unit=dice.choice(("", "°C")), sinks=dice.choice(((), (SINK,))))  # fmt: skip
                for (one, sinks), safe in zip(given, await store.add(given), strict=True):
                    assert safe.row
                    if one.identity not in kept:
                        kept[one.identity] = safe
                        waits |= {safe.row for _ in sinks}
                    assert kept[one.identity].row == safe.row
                    seqs[channel, run] = max(seqs.get((channel, run), 0), one.seq)
                some = dice.sample(sorted(waits), min(3, len(waits)))
                await store.delivered(SINK, some)
                waits -= {*some}
                if dice.random() < 0.2:
                    before_ns = dice.randrange(100)
                    while await store.prune(before_ns, limit=3):
                        pass
                    for one in sorted(kept.values(), key=lambda one: one.row):
                        if one.at_ns is not None and one.at_ns >= before_ns:
                            break
                        if one.at_ns is not None and one.row not in waits:
                            del kept[one.identity]
            every = sorted(kept.values(), key=lambda one: one.row)
            assert {one.row for one in await store.pending(SINK, limit=9999)} == waits
            assert await store.span(channels=["air", "door", "tank"], limit=9999) == every
            assert await store.span(channels=["tank", "air"], after_row=9, limit=4) == [
                one for one in every if one.channel != "door" and one.row > 9
            ][:4]  # fmt: skip
            assert await store.span(channels=["air"], run="bbbbbbbb", first=2, last=5, since_ns=20, until_ns=80) == [
                one for one in every
                if (one.channel, one.run) == ("air", "bbbbbbbb") and 2 <= one.seq <= 5 and 20 <= (one.at_ns or 0) <= 80
            ]  # fmt: skip
            for channel in ("air", "door", "tank"):
                found = await store.history(channel, limit=9999)
                assert sorted(found, key=lambda one: one.row) == [one for one in every if one.channel == channel]
            for one in await store.latest():
                of_run = [other.seq for other in every if (other.channel, other.run) == (one.channel, one.run)]
                assert one.seq == max(of_run)


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

        async def until_lost(cls):
            nonlocal seq
            while not store.dropped[cls]:
                await store.add(many(20, start=seq + 1, channel="alarm", cls="alarm"))
                seq += 20
                assert not store.dropped["telemetry"] or await store.history("old", limit=1) == []

        await until_lost("telemetry")
        assert store.dropped == {"telemetry": 100, "event": 0, "alarm": 0}
        await until_lost("event")
        assert store.dropped["alarm"] == 0
        assert await store.backlog() == {SINK: seq}
        await until_lost("alarm")
        left = [one.seq for one in await store.pending(SINK, limit=9999)]
        assert left == list(range(store.dropped["alarm"] + 1, seq + 1))  # the oldest went
        size = sum(file.stat().st_size for file in path.parent.glob("readings.db*") if "shm" not in file.name)
        assert size <= SMALL * 1.25


async def test_nothing_less_pushes_an_alarm_out(path):
    async with Store.open(path, max_bytes=SMALL) as store:
        seq = 0

        async def until_lost(cls):
            nonlocal seq
            while not store.dropped[cls]:
                await store.add(many(20, start=seq + 1, channel=cls, cls=cls))
                seq += 20

        await until_lost("alarm")
        kept, lost = seq - store.dropped["alarm"], store.dropped["alarm"]
        await until_lost("telemetry")
        await until_lost("event")
        assert store.dropped["alarm"] == lost
        assert sum(one.cls == "alarm" for one in await store.pending(SINK, limit=9999)) == kept


async def test_what_was_dropped_is_counted_over_a_restart_and_over_a_broken_file(path):
    async with Store.open(path, max_bytes=SMALL) as store:
        for start in range(1, 5000, 500):
            await store.add(many(500, start=start))
        dropped = dict(store.dropped)
        assert dropped["telemetry"] > 0
        assert await store.backlog() == {SINK: 5000 - dropped["telemetry"]}
    async with Store.open(path, max_bytes=SMALL) as store:
        assert store.dropped == dropped
        await store.database.run(lambda db: db.execute("UPDATE reading SET quality = 99"))
        assert await store.pending(SINK) == []
        assert store.set_aside is not None
        await store.add(many(1))
    async with Store.open(path, max_bytes=SMALL) as store:
        assert store.dropped == dropped


async def test_what_waits_costs_neither_a_delivery_nor_a_drop(path):
    """Counted in steps of SQLite's machine, which no load on this one changes."""
    steps = 0

    def step():
        nonlocal steps
        steps += 1

    async with Store.open(path) as store:
        await store.database.run(lambda db: db.set_progress_handler(step, 1))

        async def cost(call):
            nonlocal steps
            steps = 0
            await call
            return steps

        costs = []
        for start, count in ((1, 2000), (2001, 18_000)):
            rows = [one.row for one in await store.add(many(count, start=start))]
            delivered = await cost(store.delivered(SINK, rows[:50]))
            assert await store._make_room(2, 100)  # the 50, which are history: all were looked at once
            costs.append((
                delivered, await cost(store.pending(SINK, limit=50)), await cost(store._make_room(2, 100)),
                await cost(store.add(many(20, channel=f"new{start}"))),
            ))  # fmt: skip
        assert store.dropped["telemetry"] == 200
        assert all(big <= 1.5 * small for small, big in zip(*costs, strict=True)), costs


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
    with pytest.raises(StoreError, match=r"newer Knoop \(version 7 of its tables, this one knows 2\); install"):
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


async def test_a_mark_for_a_row_of_the_damaged_file_finds_none_in_the_new_one(path):
    """It was on its way to the disk when the file was replaced, and an alarm of the new one was never sent."""
    async with Store.open(path) as store:
        rows = [one.row for one in await store.add(many(5, cls="alarm"))]
        shows = [damaged("once"), damaged("and when it is read anew")]

        def look(_db):
            if shows:
                raise shows.pop()

        await store.database.run(look)
        assert store.set_aside is not None
        alarms = await store.add(many(3, start=6, cls="alarm"))
        await store.delivered(SINK, rows)
        assert await store.pending(SINK) == alarms


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a store with a bit of everything."""
    path = tmp_path_factory.mktemp("whole") / "readings.db"

    async def fill():
        async with Store.open(path) as store:
            for start in range(1, 900, 100):
                await store.add(many(100, start=start, sinks=()) + many(20, start=start, channel="door", cls="event"))
            await store.add(many(20, channel="note", kind="text", value="é" * 400, cls="alarm"))

    asyncio.run(fill())
    return path.read_bytes()


def torn(data: bytes, dice: Random) -> bytes:
    """With up to five sectors that hold something else: noise, nothing, or another sector's bytes."""
    data = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        at, other = (512 * dice.randrange(len(data) // 512) for _ in range(2))
        data[at : at + 512] = dice.choice((dice.randbytes(512), bytes(512), data[other : other + 512]))
    return bytes(data)


@pytest.mark.parametrize("in_the_middle", [False, True])
@pytest.mark.parametrize("seed", range(25))
async def test_pages_torn_anywhere_stop_nothing(path, whole, monkeypatch, seed, in_the_middle):
    """What SQLite cannot notice may be missing or be other numbers; nothing raises, and what comes then is kept."""
    monkeypatch.setattr(readings_sql, "PLACE_ROWS", 100)
    damage = torn(whole, Random(seed))
    path.write_bytes(whole if in_the_middle else damage)
    new = "cccccccc"
    async with Store.open(path) as store:
        if in_the_middle:
            await store.add(many(3, run="bbbbbbbb"))
            with path.open("r+b") as file:
                file.write(damage)
        for _ in range(2):
            await store.latest()
            await store.delivered(SINK, [one.row for one in await store.pending(SINK, limit=9999)])
            await store.waiting()
            await store.backlog()
            for channel in ("air.temperature", "door", "note"):
                await store.history(channel, limit=9999)
            await store.span(channels=["door", "air.temperature"], limit=9999)
            await store.span(channels=["door"], run="k3v9q2xa", first=1, last=100)
            await store.correct(BOOT, 1)
            await store.prune(200 * 10**9, limit=50)
            await store.add(many(150, run=new, channel="tank", at_ns=10**15))
        assert [one.seq for one in await store.history("tank", limit=9999) if one.run == new] == [*range(1, 151)]
        if store.set_aside:
            assert store.set_aside.exists()


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
