"""The power goes at any moment: what was said to be safe is there, the files are whole, and nothing has a hole.

    pytest tests/faults/test_power.py           some forty cuts of each recording
    pytest tests/faults/test_power.py --long    a thousand
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from tests.faults.power_load import (
    BOOT,
    MAX_BYTES,
    OFFSET_NS,
    PERSON,
    ROUNDS,
    RUN,
    SINKS,
    SMALL_BYTES,
    TELEMETRY,
    UNSYNCED,
    entries,
)
from tests.faults.recorded import Disk, Step, record

from knoop.state import State
from knoop.state_tables import Grant
from knoop.store import Store

ROOT = Path(__file__).parents[2]
CUTS, MANY_CUTS = 40, 1000
CHANNELS = (*TELEMETRY, "door", "alert.frost")
ROWS_1 = 600  # of the store that is upgraded
UPGRADE_SINKS = {"pubsub": range(300, 401), "room:house@rooms.example.org": range(500, 601)}

Said = Mapping[str, int]
"""The last number that was said with each word."""


def recorded(kind: str, folder: Path) -> list[Step]:
    env = {"PYTHONPATH": ":".join(map(str, [ROOT, *(ROOT / part for part in ("hw", "node", "bench"))])),
           "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # fmt: skip
    return record([sys.executable, "-m", "tests.faults.power_load", kind, str(folder)], folder, env=env)


@dataclass(frozen=True, slots=True)
class Recording:
    """What was on the disk before, and what was done to it then."""

    before: Sequence[Step]
    steps: Sequence[Step]


async def cut(
    known: Recording, count: int, work: Path, judge: Callable[[Path, Said], Awaitable[None]], *, behind: int = 0
) -> None:
    """Let the power go `count` times, at places evenly spread, each with a disk that kept something else.

    A disk that is `behind` has not done the last so many steps, syncs included, though it said it had.
    """
    disk, gone = Disk(), 0
    for step in known.before:
        disk.go(step)
    for number in range(count):
        place = max(1, round((number + 1) * len(known.steps) / count) - behind)
        for step in known.steps[gone:place]:
            disk.go(step)
        gone, left = place, work / "left"
        disk.cut(left, Random(number))
        told = b"".join(step.data for step in known.steps[: place + behind] if step.what == "say").decode()
        said = {word: int(last) for word, last in re.findall(r"(\w+) (\d+)\n", told)}
        try:
            await judge(left, said)
        except Exception as error:
            where = f"cut {number} after step {place} of {len(known.steps)}"
            raise AssertionError(f"{where}, {said}: {error}") from error
        shutil.rmtree(left)


def whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def judge_readings(left: Path, said: Said) -> None:
    path = left / "readings.db"
    if path.exists():
        whole(path)
    async with Store.open(path, max_bytes=MAX_BYTES) as store:
        assert store.set_aside is None
        kept = await store.span(channels=CHANNELS, limit=9999)
        rounds = max((one.seq for one in kept if one.channel == "door"), default=0)
        assert rounds >= said.get("kept", 0), "what was confirmed is lost"
        wanted = [one for number in range(1, rounds + 1) for one, _ in entries(number)]
        corrected = [replace(one, at_ns=OFFSET_NS + one.boottime_ns) for one in wanted]
        for one, first, later in zip(kept, wanted, corrected, strict=True):  # no gap, no repeat, in order
            assert replace(one, row=0) in ((first, later) if first.seq <= UNSYNCED else (first,))
        for sink in SINKS:
            waits = {one.seq for one in await store.pending(sink, limit=9999) if one.channel == "door"}
            assert waits >= {*range(said.get("delivering", 0) + 1, rounds + 1)}, "nobody will get it"
        for channel in CHANNELS:
            assert await store.history(channel, limit=9999) == [one for one in kept if one.channel == channel]
        again = await store.add(entries(rounds)) if rounds else []
        assert {one.row for one in again} <= {one.row for one in kept}, "a repeat is not recognised"
        assert await store.add(entries(rounds + 1))
        undated = sum(one.at_ns is None for one in kept)
        assert await store.correct(BOOT, OFFSET_NS) == undated or rounds < UNSYNCED  # the one just added is undated too


async def judge_state(left: Path, said: Said) -> None:
    path = left / "state.db"
    if path.exists():
        whole(path)
    async with State.open(path) as state:
        assert state.set_aside is None
        lines = [line.at_ns for line in await state.audit_tail(9999)]
        assert lines == [*range(1, len(lines) + 1)]
        assert len(lines) >= said.get("audit", 0), "what was confirmed is lost"
        alerts = {row.name: row for row in await state.load_alerts()}
        assert alerts.keys() == ({"frost", "door"} if alerts or said.get("alerts") else set())
        since = {row.since_ns for row in alerts.values()}
        assert len(since) <= 1, "half of the alerts"
        assert max(since, default=0) >= said.get("alerts", 0)
        notes, missed = await state.load_unreceived()
        last = max((note.at_ns for note in notes), default=0)
        assert [note.at_ns for note in notes] == [*range(max(1, last - 2), last + 1)], "a note without its fellows"
        assert missed == ({PERSON: last} if last else {})
        assert last >= said.get("noted", 0), "an alarm would not be repeated"
        grants = await state.grants()
        assert all(grant == Grant(grant.jid, "operator", grant.only) for grant in grants)
        assert max((int(grant.only[0].removeprefix("lamp")) for grant in grants), default=0) >= said.get("grant", 0)
        silences = await state.silences()
        assert max((silence.until_ns for silence in silences.values()), default=0) >= said.get("silence", 0)


async def judge_upgrade(left: Path, _: Said) -> None:
    path = left / "readings.db"
    whole(path)
    async with Store.open(path, max_bytes=SMALL_BYTES) as store:
        assert store.set_aside is None
        kept = await store.span(channels=CHANNELS, limit=9999)
        assert [(one.seq, one.run, one.value) for one in kept] == [(n, RUN, n / 8) for n in range(1, ROWS_1 + 1)]
        for sink, seqs in UPGRADE_SINKS.items():
            assert [one.seq for one in await store.pending(sink, limit=9999)] == [*seqs]


def made_by_version_1(path: Path) -> list[Step]:
    """The file, as steps of a disk that had all the time it needed."""
    from tests.node.test_migrations import READINGS_1

    schema = READINGS_1[: READINGS_1.index("INSERT")] + "PRAGMA user_version = 1;"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA page_size = 1024")
        db.executescript(schema)
        with db:
            db.executemany(
                "INSERT INTO reading VALUES (?, ?, 'room1.temperature', ?, 2, ?, '°C', 'ok', ?, ?, NULL)",
                [(n, RUN, n, n / 8, BOOT, n) for n in range(1, ROWS_1 + 1)],
            )
            waits = [(sink, n) for sink, seqs in UPGRADE_SINKS.items() for n in seqs]
            db.executemany("INSERT INTO delivery VALUES (?, 2, ?)", waits)
    return [Step("make", path.name), Step("write", path.name, 0, path.read_bytes()), Step("sync", path.name)]


@pytest.fixture
def fast() -> Iterator[Path]:
    """A folder in memory, if there is one: what is asked of the disk is the same, and nothing waits for a real one."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def recording() -> Callable[[str, Path], Recording]:
    """What one kind of load does, recorded once."""
    known: dict[str, Recording] = {}

    def of(kind: str, fast: Path) -> Recording:
        if kind not in known:
            (folder := fast / "state").mkdir()
            before = made_by_version_1(folder / "readings.db") if kind == "upgrade" else []
            known[kind] = Recording(before, recorded(kind, folder))
        return known[kind]

    return of


JUDGES = {"readings": judge_readings, "state": judge_state, "upgrade": judge_upgrade}


@pytest.mark.parametrize("kind", JUDGES)
async def test_what_was_confirmed_outlives_a_power_cut(recording, fast, kind):
    known = recording(kind, fast)
    said = b"".join(step.data for step in known.steps if step.what == "say").decode()
    assert said.endswith({"readings": f"closed {ROUNDS}\n", "state": f"noted {ROUNDS}\n", "upgrade": "kept 0\n"}[kind])
    await cut(known, CUTS, fast, JUDGES[kind])


@pytest.mark.long
@pytest.mark.parametrize("kind", JUDGES)
async def test_what_was_confirmed_outlives_a_thousand_power_cuts(recording, fast, kind):
    await cut(recording(kind, fast), MANY_CUTS, fast, JUDGES[kind])


@pytest.mark.parametrize("kind", ["readings", "state"])
async def test_the_judge_sees_a_disk_that_lies(recording, fast, kind):
    with pytest.raises(AssertionError, match="what was confirmed is lost"):
        await cut(recording(kind, fast), 3, fast, JUDGES[kind], behind=30)
