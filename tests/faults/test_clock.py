"""A wall clock that lies: the real node under Debian's libfaketime, against a real Prosody that knows better.

The kernel here never says that its clock is kept right, so the server's word (XEP-0202) decides.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.running import TICKING, Owned, Running, Way, until, write

from knoop_bench.errors import Refused
from knoop_bench.prosody import Prosody
from knoop_bench.witness import EVENTS, READINGS, Witness

pytestmark = pytest.mark.prosody

PASSWORDS = {"greenhouse": "secret", "anna": "secret"}
NODE, OWNER = "greenhouse@localhost", "anna@localhost"
HOUR_S = 3600.0
READING = f"{{{READINGS}}}readings"
# The door opens and closes each second, the alert comes 3 s after it stayed open, which it does once.
ALARM = '[alert.open]\nwhen = "door == on"\nfor = "3s"\n'
STAYS_OPEN = 'trace = "board.jsonl"\n[[step]]\nat = "4s"\nline = "door"\nvalue = true\n'
SLACK_S = 2.0  # between this machine's clock and what a reading says of the same instant


@dataclass(frozen=True, slots=True)
class Event:
    """An item of the events node. `at_s` is None where the node's clock could not be trusted."""

    seq: int
    value: str
    at_s: float | None


class Faked(Running):
    """A node whose wall clock is off by what a file says; boottime and everything that waits is real."""

    def __init__(self, folder: Path, *, off_s: float, env: tuple[str, ...] = (), before: tuple[str, ...] = ()) -> None:
        self._file = folder / "off"
        faked = (
            "env", f"LD_PRELOAD={_library()}", f"FAKETIME_TIMESTAMP_FILE={self._file}", "FAKETIME_NO_CACHE=1",
            "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", *env,
        )
        super().__init__(folder, before=(*before, *faked))
        self.off(off_s)

    def off(self, seconds: float) -> None:
        """Set its clock so much before or behind the right one, now."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+.6f}\n", "ascii")
        draft.replace(self._file)


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "Debian's libfaketime is missing: bench/debian-packages libfaketime"
    return found[0]


def since(*date: int) -> float:
    """How far that date (UTC) is from now, in seconds."""
    return datetime(*date, tzinfo=UTC).timestamp() - time.time()


async def events(anna: Witness) -> dict[int, Event]:
    """What the server keeps of the door, by seq."""
    found = {}
    for item in await anna.pep_items(NODE, EVENTS):
        root = item.payload
        assert root is not None
        assert root.tag == READING
        (child,) = root
        if child.get("channel") == "door":
            at = root.get("at")
            assert (at is None) == (root.get("clock") == "unsynced")
            at_s = None if at is None else datetime.fromisoformat(at).timestamp()
            found[int(child.get("seq", "0"))] = Event(int(child.get("seq", "0")), child.text or "", at_s)
    return found


async def heard(anna: Witness, wanted, what: str, within_s: float = 15.0) -> dict[int, Event]:
    """The door's events when they are as `wanted`."""
    found: dict[int, Event] = {}
    try:
        async with asyncio.timeout(within_s):
            while True:
                with suppress(Refused):  # the node has not named its readers yet
                    found = await events(anna)
                    if wanted(found):
                        return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"no {what} within {within_s:g} s: {found}") from None


@asynccontextmanager
async def place(folder: Path, authority, *, off_s: float, more: str = "", scenario: str = TICKING, **options):
    """A server, a node that begins at a wrong time, and its owner."""
    async with Prosody(folder / "prosody", PASSWORDS, authority=authority) as server:
        home = folder / "node"
        home.mkdir()
        write(home, Way.to(server), jid=NODE, scenario=scenario, more=more)
        node = Faked(home, off_s=off_s, **options)
        node.start()
        try:
            async with Witness(
                OWNER, "secret", port=server.tls_port, ca_file=server.ca_file, friends=(NODE,)
            ) as anna:
                yield node, anna
        finally:
            await node.stop()


async def logs_in_and_dates_what_it_measured(node: Faked, anna: Witness, *, year: int, began_s: float) -> None:
    await node.says(f"clock is wrong, it says {year}-01-01")
    await node.says("is not valid yet: check this machine's clock")
    assert "connected as" not in node.log
    set_s = time.time()
    node.off(0)
    await node.online()
    found = await heard(anna, lambda e: e and (e[max(e)].at_s or 0) > set_s + 1, "event after the clock was set")
    assert sorted(found) == list(range(min(found), max(found) + 1)), "without a gap"
    times = [found[seq].at_s for seq in sorted(found)]
    assert None not in times
    assert times == sorted(times)
    assert began_s - SLACK_S < times[0] < set_s, "measured before the clock was set, and dated by it"
    assert times[-1] < time.time() + SLACK_S
    assert "have their time now" in node.log


async def goes_on_after(node: Faked, anna: Witness, jump_s: float) -> None:
    """The clock is set by so much: events, a command with a lease, and history go on, and no timer noticed."""
    before = await events(anna)
    after = max(before)
    node.off(jump_s)
    first_s = time.time()
    owned = Owned(owner=anna, jid=NODE)
    await owned.asks("lamp on for 1s", "Lamp is on")
    asked_s = time.monotonic()

    def by_the_new_clock(seen: dict[int, Event]) -> bool:  # what was on its way when it was set comes first
        newest = seen[max(seen)] if seen and max(seen) >= after + 4 else None
        return newest is not None and abs((newest.at_s or 0) - (time.time() + jump_s)) < SLACK_S + 2

    found = await heard(anna, by_the_new_clock, "events by the new clock", 30)
    assert all(found[seq] == before[seq] for seq in before.keys() & found.keys()), "what was published keeps its time"
    assert sorted(found) == list(range(min(found), max(found) + 1))
    await until(lambda: node.moves()[-1:] == [False], lambda: f"the lease does not end: {node.moves()}")
    assert time.monotonic() - asked_s < 15
    assert "reading" in await owned.asks("history door 24h", "Front door, last 1 d")
    await node.says("clock was set: it is", within_s=15 if first_s else 0)


async def test_a_node_that_boots_in_1970_and_is_set_by_three_hours_later(tmp_path, authority):
    began_s = time.time()
    async with place(tmp_path, authority, off_s=since(1970, 1, 1)) as (node, anna):
        await logs_in_and_dates_what_it_measured(node, anna, year=1970, began_s=began_s)
        await goes_on_after(node, anna, 3 * HOUR_S)


@pytest.mark.long
async def test_a_node_that_boots_in_2001(tmp_path, authority):
    began_s = time.time()
    async with place(tmp_path, authority, off_s=since(2001, 1, 1)) as (node, anna):
        await logs_in_and_dates_what_it_measured(node, anna, year=2001, began_s=began_s)


@pytest.mark.long
async def test_a_node_that_boots_at_its_last_shutdown_says_that_it_does_not_know_the_time(tmp_path, authority):
    """As Debian without a battery clock: two hours late, so the login works. Flagged on the wire, dated on the disk."""
    async with place(tmp_path, authority, off_s=-2 * HOUR_S) as (node, anna):
        await node.says("clock is 7200 s behind localhost's")
        flagged = await heard(anna, lambda e: len(e) > 3, "events of an unknown time")
        assert {event.at_s for event in flagged.values()} == {None}
        owned = Owned(owner=anna, jid=NODE)
        assert "do not know what time it is" in await owned.asks("quiet 2h", "I do not know what time")
        node.off(0)
        await node.says("this machine's clock is right")
        found = await heard(anna, lambda e: e and e[max(e)].at_s is not None, "events with a time")
        assert abs(found[max(found)].at_s - time.time()) < SLACK_S
        await node.says("have their time now")
        lines = (await owned.asks("history door 24h", "Front door, last 1 d")).splitlines()
        assert int(lines[0].split(": ")[1].split()[0]) >= len(flagged), "history knows them all by now"


@pytest.mark.long
@pytest.mark.parametrize("jump_s", [3 * HOUR_S, -3 * HOUR_S])
async def test_a_clock_that_is_set_there_and_back(tmp_path, authority, jump_s):
    async with place(tmp_path, authority, off_s=0) as (node, anna):
        await node.online()
        await heard(anna, lambda e: len(e) > 2, "events")
        await goes_on_after(node, anna, jump_s)
        await goes_on_after(node, anna, 0)
        assert "Traceback" not in node.log


@pytest.mark.long
@pytest.mark.parametrize("jump_s", [3 * HOUR_S, -3 * HOUR_S])
async def test_an_alert_waits_as_long_as_it_should_when_the_clock_is_set_meanwhile(tmp_path, authority, jump_s):
    async with place(tmp_path, authority, off_s=0, more=ALARM, scenario=STAYS_OPEN) as (node, anna):
        await node.online()
        opened = await heard(anna, lambda e: any(event.value == "true" for event in e.values()), "the door")
        node.off(jump_s)
        assert not any(seen.body.startswith("Alert open") for seen in anna.seen), "3 s are not over"
        told = await Owned(owner=anna, jid=NODE).told("Alert open")
        assert "(at " not in told.body, "it is news"
        assert len(opened) <= 2


@pytest.mark.long
async def test_winter_time_begins_and_no_timer_notices(tmp_path, authority):
    """In a zone like Amsterdam's, where the clock goes back an hour in a few seconds."""
    now = datetime.now(UTC)
    back = now + timedelta(hours=2, seconds=20)  # at this local summer time
    begin = now - timedelta(days=30)
    zone = f"CET-1CEST,J{_julian(begin)}/2,J{_julian(back)}/{back:%H:%M:%S}"
    async with place(tmp_path, authority, off_s=0, env=(f"TZ={zone}",)) as (node, anna):
        before = await heard(anna, lambda e: len(e) > 1, "events")
        owned = Owned(owner=anna, jid=NODE)
        summer = await owned.asks("quiet 3h", "I keep quiet until")
        assert f"{datetime.now(UTC) + timedelta(hours=4):%H:%M}" in summer, "three hours from now are in winter time"
        assert datetime.now(UTC) < back - timedelta(hours=2), "the machine was too slow for this test"
        await asyncio.sleep((back - timedelta(hours=2, seconds=-1) - datetime.now(UTC)).total_seconds())
        found = await heard(anna, lambda e: e and max(e) >= max(before) + 10, "events go on")
        times = [found[seq].at_s for seq in sorted(found)]
        assert times == sorted(times)
        assert summer == await owned.asks("quiet", "I keep quiet until"), "the end did not move"
        assert "clock was set" not in node.log


def _julian(day: datetime) -> int:
    """The day of the year, from 1, as POSIX's Jn has it: 29 February is never counted."""
    return (datetime(2027, day.month, day.day, tzinfo=UTC) - datetime(2026, 12, 31, tzinfo=UTC)).days


@pytest.mark.long
@pytest.mark.parametrize("offset_s", [-1, 20 * 365 * 86400])
async def test_a_machine_that_has_just_started_or_runs_for_twenty_years(tmp_path, authority, offset_s):
    """CLOCK_BOOTTIME of another size, in a time namespace (time_namespaces(7)); -1 is as young as it can be."""
    up_s = int(float(Path("/proc/uptime").read_text("ascii").split()[0]))
    offset_s = 5 - up_s if offset_s < 0 else offset_s
    began_s = time.time()
    before = ("unshare", "--user", "--map-root-user", "--time", f"--boottime={offset_s}")
    async with place(tmp_path, authority, off_s=0, before=before) as (node, anna):
        await node.online()
        found = await heard(anna, lambda e: len(e) > 3, "events")
        assert all(began_s - SLACK_S < event.at_s < time.time() + SLACK_S for event in found.values())
        owned = Owned(owner=anna, jid=NODE)
        await owned.asks("lamp on for 1s", "Lamp is on")
        await until(lambda: node.moves()[-1:] == [False], lambda: f"the lease does not end: {node.moves()}")
        assert "reading" in await owned.asks("history door 24h", "Front door, last 1 d")
