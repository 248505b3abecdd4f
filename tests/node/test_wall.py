"""Whether the wall clock is right, and that setting it by hours breaks no timer, alarm or history."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from tests.node.house import ANNA, BRAM, CHANNELS, CLEO, greenhouse

from knoop import timekeeping
from knoop.access import Access
from knoop.alerts import Alerts, Rule
from knoop.budgets import Budgets
from knoop.condition import Condition
from knoop.errors import LinkError, Refusal
from knoop.jid import Jid
from knoop.record import Record
from knoop.reminders import Calls
from knoop.router import Route, Router
from knoop.telling import Telling
from knoop.text import Voice
from knoop.timekeeping import LOOK_S, Timekeeping
from knoop.wall import RELEASED_NS, STEADY_S, Ends, Wall
from knoop.watches import Watches
from knoop_hw.clock import FakeClock
from knoop_hw.messages import Hello, Readings
from knoop_hw.model import Reading

ROOT = Path(__file__).parents[2]
S = 10**9
HOUR_S = 3600
JUMPS = (3 * HOUR_S, -3 * HOUR_S)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def at(text):
    """UTC nanoseconds of a time in Amsterdam."""
    return int(datetime.fromisoformat(text).replace(tzinfo=AMSTERDAM).timestamp()) * S


# ── trust ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_that_the_machine_vouches_for_is_right_unless_it_shows_the_past():
    assert Wall(FakeClock()).synced()
    assert not Wall(FakeClock(synced=False)).synced()
    assert not Wall(FakeClock(time_ns=RELEASED_NS)).synced()


def test_a_clock_once_right_stays_so_when_its_time_server_has_gone():
    clock = FakeClock()
    wall = Wall(clock)
    assert wall.synced()
    clock.is_set = False
    assert wall.synced()
    clock.jump(-25 * 365 * 86400)
    assert not wall.synced(), "2001 is wrong, whoever vouched for it"
    clock.jump(25 * 365 * 86400)
    assert wall.synced()


async def test_the_machine_is_asked_again_each_second_and_at_once_when_it_was_set():
    clock = FakeClock(synced=False)
    wall = Wall(clock)
    assert not wall.synced()
    clock.is_set = True
    assert not wall.synced()
    await clock.advance(1)
    assert wall.synced()

    clock = FakeClock(synced=False)
    wall = Wall(clock)
    assert not wall.synced()
    clock.is_set = True
    clock.jump(2)
    assert wall.synced()


@pytest.mark.parametrize(("ahead_s", "rtt_s", "right"), [
    (0.4, 0.1, True), (-5.0, 0.0, True), (5.1, 0.0, False), (5.1, 0.2, True), (-3 * 3600, 0.1, False),
])
def test_our_server_agrees(ahead_s, rtt_s, right):
    wall = Wall(FakeClock(synced=False))
    assert wall.agrees(ahead_s, rtt_s) is right
    assert wall.synced() is right


def test_who_agrees_about_1970_proves_nothing():
    wall = Wall(FakeClock(time_ns=300 * S, synced=False))
    assert not wall.agrees(0.0, 0.1)
    assert not wall.synced()


def test_disagreeing_takes_no_trust_away():
    wall = Wall(FakeClock())
    assert wall.synced()
    assert not wall.agrees(-3600.0, 0.1)
    assert wall.synced()


async def test_being_set_is_noticed_once_and_slewing_is_not():
    clock = FakeClock()
    wall = Wall(clock)
    await clock.advance(10)
    clock.jump(0.005)
    assert wall.stepped_ns() == 0
    clock.jump(-3 * HOUR_S)
    assert wall.stepped_ns() == -3 * HOUR_S * S
    assert wall.stepped_ns() == 0


async def test_nothing_old_is_deleted_by_a_clock_that_was_just_set():
    clock = FakeClock()
    wall = Wall(clock)
    assert not wall.steady()
    await clock.advance(STEADY_S)
    assert wall.steady()
    clock.jump(365 * 86400)
    wall.stepped_ns()
    await clock.advance(STEADY_S - 1)
    assert not wall.steady()
    clock.jump(-365 * 86400)
    wall.stepped_ns()
    await clock.advance(STEADY_S)
    assert wall.steady()


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_promise_lasts_as_long_as_it_said(jump_s):
    clock, ends = FakeClock(), None
    ends = Ends(clock, synced=lambda: True)
    promised = clock.time_ns() + HOUR_S * S
    assert ends.until_ns("frost", promised) == promised
    clock.jump(jump_s)
    await clock.advance(HOUR_S - 1)
    assert ends.until_ns("frost", promised) == promised + jump_s * S, "as the clock on the wall has it now"
    await clock.advance(1)
    assert ends.until_ns("frost", promised) is None


async def test_a_promise_of_before_the_start_waits_for_a_clock_that_is_right():
    clock, synced = FakeClock(time_ns=300 * S), False
    ends = Ends(clock, synced=lambda: synced)
    promised = 1_795_342_503 * S
    assert ends.until_ns("frost", promised) is None
    clock.jump(1_795_342_503 - 300 - HOUR_S)
    synced = True
    assert ends.until_ns("frost", promised) == promised
    assert ends.until_ns("flood", promised - 2 * HOUR_S * S) is None


# ── finding out ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Server:
    """A session whose server's clock is `ahead_s` before ours; it may refuse, or hang up."""

    def __init__(self, clock, *, ahead_s=0.0, error=None, said=None):
        self.clock, self.ahead_s, self.error, self.said, self.asked = clock, ahead_s, error, said, 0
        self.jid = Jid("greenhouse", "example.org", "knoop")

    async def iq(self, kind, child, *, to, timeout_s):
        self.asked += 1
        assert (kind, child.tag, to) == ("get", "{urn:xmpp:time}time", "example.org")
        if self.error:
            raise self.error
        answer = ET.Element("{jabber:client}iq")
        time = ET.SubElement(answer, "{urn:xmpp:time}time")
        utc = datetime.fromtimestamp(self.clock.time_ns() // S + self.ahead_s, UTC)
        ET.SubElement(time, "{urn:xmpp:time}utc").text = f"{utc:%Y-%m-%dT%H:%M:%SZ}" if self.said is None else self.said
        return answer


@pytest.fixture
async def house(tmp_path):
    async with greenhouse(tmp_path, readings=False) as made:
        yield made


@pytest.fixture
async def unset(house, tmp_path):
    """A house that does not know whether its clock is right, with a reading from before."""
    await house.report("door", False)
    house.clock.is_set = False
    house.wall = Wall(house.clock)
    now_ns = house.clock.boottime_ns()
    record = replace(house.latest["door"], seq=99, boot=house.clock.boot_id, boottime_ns=now_ns, at_ns=None)
    await house.store.add([(record, ())])
    return house


@asynccontextmanager
async def kept(house, session=None):
    """Timekeeping that goes on; call what comes to let so many seconds pass."""
    task = asyncio.create_task(Timekeeping(house, session=lambda: session).run())

    async def passes(seconds):
        for _ in range(seconds):
            await house.clock.advance(LOOK_S)
            for _ in range(5):  # what it asked of the disks is done, and what it then asked, in order
                await house.store.backlog()
                await house.state.grants()

    try:
        yield passes
    finally:
        task.cancel()


async def untimed(house):
    return [record for record in await house.store.history("door") if record.at_ns is None]


async def test_a_login_asks_first_and_readings_from_before_get_their_time(unset, caplog):
    caplog.set_level(logging.INFO)
    server, served = Server(unset.clock), []
    (before,) = await untimed(unset)
    await unset.clock.advance(90)

    async def serve(session):
        served.append((session, unset.synced()))

    await Timekeeping(unset, session=lambda: None).asking_first(serve)(server)
    assert served == [(server, True)]
    assert await untimed(unset) == []
    newest = (await unset.store.history("door", limit=1))[0]
    assert newest.seq == before.seq
    assert newest.at_ns == unset.clock.time_ns() - 90 * S
    assert "1 readings from before" in caplog.text


async def test_a_clock_that_is_right_is_asked_for_no_time(house):
    server, served = Server(house.clock), []

    async def serve(session):
        served.append(session)

    await Timekeeping(house, session=lambda: None).asking_first(serve)(server)
    assert served == [server]
    assert server.asked == 0


@pytest.mark.parametrize("trouble", [
    {"error": Refusal("service-unavailable", "x")}, {"error": LinkError("gone")}, {"said": "soon"}, {"said": ""},
    {"said": "2026-11-22T10:15:03"},
])
async def test_a_server_that_does_not_say_changes_nothing(unset, caplog, trouble):
    served = []

    async def serve(session):
        served.append(session)

    server = Server(unset.clock, **trouble)
    await Timekeeping(unset, session=lambda: None).asking_first(serve)(server)
    assert served == [server]
    assert not unset.synced()
    assert len(await untimed(unset)) == 1


async def test_a_server_that_disagrees_is_asked_again_when_the_clock_is_set(unset, caplog):
    caplog.set_level(logging.INFO)
    server = Server(unset.clock, ahead_s=3 * HOUR_S)
    async with kept(unset, server) as passes:
        await passes(2)
        assert server.asked == 0, "a login asks by itself"
        await Timekeeping(unset, session=lambda: server).ask(server)
        assert "clock is 10800 s behind example.org's" in caplog.text
        unset.clock.jump(3 * HOUR_S)
        server.ahead_s = 0
        await passes(2)
    assert server.asked == 2
    assert unset.synced()
    assert "was set: it is +10800 s to before" in caplog.text
    assert "this machine's clock is right: " in caplog.text
    assert await untimed(unset) == []


async def test_a_server_that_disagrees_is_asked_every_six_hours(unset, monkeypatch):
    monkeypatch.setattr(timekeeping, "ASK_S", 60)  # as six hours, in less looks
    server = Server(unset.clock, ahead_s=3 * HOUR_S)
    async with kept(unset, server) as passes:
        await passes(1)
        await unset.clock.advance(58)
        assert server.asked == 0
        await passes(1)
        assert server.asked == 1
        await unset.clock.advance(59)
        assert server.asked == 1


async def test_in_1970_it_says_what_is_wrong_and_what_that_means(unset, caplog):
    unset.clock.jump(-unset.clock.time_ns() / 1e9 + 300)
    async with kept(unset) as passes:
        await passes(2)
        said = "clock is wrong, it says 1970-01-01 00:05:00 UTC: readings carry no time, and no certificate is valid"
        assert said in caplog.text
        assert len(await untimed(unset)) == 1
        unset.clock.jump(1_795_342_503 - 302)
        unset.clock.is_set = True
        await passes(2)
    assert await untimed(unset) == []


async def test_an_alert_that_was_raised_before_is_kept_with_its_time(unset):
    cold = replace(unset.latest["door"], channel="air.temperature", type="number", value=-1.0, at_ns=None)
    for change in unset.alerts.feed(cold):
        unset.changed(change)
    saving = asyncio.create_task(unset.alarms.save(unset.state))

    async def since_ns():
        for _ in range(5):
            await unset.state.grants()
        return {row.name: row.since_ns for row in await unset.state.load_alerts()}["frost"]

    assert await since_ns() == 0
    unset.clock.is_set = True
    await unset.clock.advance(1)
    assert unset.alarms.due() == ()
    assert await since_ns() == unset.clock.time_ns() - S
    saving.cancel()


async def test_status_says_that_the_time_is_not_known(unset):
    assert "My clock has not been set yet: readings have no time." in await unset.ask(ANNA, "status")
    unset.clock.is_set = True
    await unset.clock.advance(1)
    assert "clock" not in await unset.ask(ANNA, "status")


async def test_a_row_of_an_earlier_boot_stays_without_a_time(unset):
    gone = replace((await untimed(unset))[0], seq=100, boot="11111111-0000-4000-8000-000000000000")
    await unset.store.add([(gone, ())])
    unset.clock.is_set = True
    await unset.clock.advance(2)
    async with kept(unset) as passes:
        await passes(1)
    assert [record.seq for record in await untimed(unset)] == [100]


# ── a clock that is set by three hours ────────────────────────────────────────────────────────────────────────────────


def test_only_these_look_at_the_wall_clock_at_all():
    """Every other timer cannot be moved by it: leases, guards, filters, heartbeats, rates, watches, reminders."""
    allowed = {
        "hw/knoop_hw/clock.py": "it is the clock",
        "node/knoop/wall.py": "judges it",
        "node/knoop/timekeeping.py": "says what it shows",
        "node/knoop/xmpp/servertime.py": "compares it",
        "node/knoop/household.py": "the time of records, and how people are told",
        "node/knoop/router.py": "the time of records, and what is old enough to go",
        "node/knoop/telling.py": "the time of day, for quiet hours",
        "node/knoop/command.py": "how old a reading of an earlier boot is",
        "node/knoop/commands/history.py": "the last 24 h",
        "node/knoop/commands/quiet.py": "until when, for people",
        "node/knoop/commands/silence.py": "until when, for people",
        "node/knoop/execution.py": "the audit log",
        "node/knoop/ownership.py": "the audit log",
        "node/knoop/claim.py": "until when a code counts, over restarts and beside a node that is off",
        "node/knoop/strangers.py": "whether it still does, where the clock is right",
        "node/knoop/commands/invite.py": "until when a code counts",
        "node/knoop/commands/who.py": "whether it still does, for people",
        "node/knoop/knocks.py": "how many strangers were put to the owners today",
        "node/knoop/live.py": "shown to people",
        "node/knoop/moving.py": "when an archive was made, for people",
        "node/knoop/status_file.py": "status.json, shown to people",
        "node/knoop/doctor/network.py": "whether a certificate is valid",
    }
    look = {
        str(file.relative_to(ROOT))
        for folder in ("node", "hw") for file in (ROOT / folder).rglob("*.py")
        if ".time_ns" in file.read_text("utf-8")
    }
    assert look - allowed.keys() == set(), "time by the wall clock jumps: durations come from boottime"


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_alerts_wait_and_clear_as_if_nothing_was(house, jump_s):
    await house.report("door", True)
    await house.clock.advance(200)
    house.clock.jump(jump_s)
    assert house.alarms.due() == ()
    await house.clock.advance(99)
    assert house.alarms.due() == ()
    await house.clock.advance(1)
    (raised,) = house.alarms.due()
    assert (raised.alert, raised.change) == ("door_open", "raised")
    house.changed(raised)
    house.clock.jump(-jump_s)
    await house.report("door", False)
    assert house.transitions[-1].change == "cleared"


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_reminders_come_when_they_would_have(house, jump_s):
    rule = Rule(name="frost", when=Condition.parse("air.temperature < 0"), repeat_s=600.0)

    async def reminded(jump_s):
        house.alerts = Alerts([rule])
        house.alarms.calls = Calls(lambda: house.alerts.rules, house.alarms)
        await house.report("air.temperature", -1.0)
        times = []
        for minute in range(60):
            await house.clock.advance(60)
            if minute == 14:
                house.clock.jump(jump_s)
            times += [(minute, change.change) for change in house.alarms.due()]
        await house.report("air.temperature", 5.0)
        return times

    assert await reminded(jump_s) == await reminded(0) != []


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_silence_lasts_as_long_as_was_said_also_after_a_restart(house, jump_s):
    await house.ask(BRAM, "silence frost 2h")
    async with kept(house) as passes:
        house.clock.jump(jump_s)
        await house.clock.advance(HOUR_S - 1)
        await passes(1)
    shown = Voice(lang="en", now_ns=house.clock.time_ns(), zone=UTC)._instant(house.clock.time_ns() + HOUR_S * S)
    assert await house.ask(ANNA, "silence frost") == f"frost is silent until {shown}, said Bram."
    assert abs((await house.state.silences())["frost"].until_ns - house.clock.time_ns() - HOUR_S * S) < 2 * S
    await house.clock.advance(HOUR_S - 1)
    assert house.alarms.silenced("frost") is not None
    await house.clock.advance(1)
    assert house.alarms.silenced("frost") is None


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_quiet_time_lasts_as_long_as_was_said_also_after_a_restart(house, jump_s):
    who = str(CLEO.bare)
    await house.ask(CLEO, "quiet 2h")
    async with kept(house) as passes:
        house.clock.jump(jump_s)
        await house.clock.advance(HOUR_S - 1)
        await passes(1)
    assert house.telling.is_quiet(who)
    again = Telling(house)
    await again.restore(house.state)
    assert again.is_quiet(who)
    await house.clock.advance(HOUR_S - 2)
    assert house.telling.is_quiet(who)
    assert again.is_quiet(who)
    await house.clock.advance(4)
    assert not house.telling.is_quiet(who)
    assert not again.is_quiet(who)


async def test_a_silence_outlasts_a_clock_that_is_lost(house):
    await house.ask(BRAM, "silence frost 1h")
    house.clock.jump(-house.clock.time_ns() / 1e9 + 300)
    await house.clock.advance(HOUR_S - 1)
    assert house.alarms.silenced("frost") is not None
    await house.clock.advance(1)
    assert house.alarms.silenced("frost") is None


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_rates_and_watches_do_not_notice(jump_s):
    clock, budgets, watches = FakeClock(), Budgets(burst=3, per_s=1.0), Watches()
    watches.start(ANNA, ["door"], until_ns=clock.boottime_ns() + 600 * S)
    for _ in range(3):
        assert budgets.spend(ANNA.bare, clock.boottime_ns())[0]
    clock.jump(jump_s)
    assert not budgets.spend(ANNA.bare, clock.boottime_ns())[0]
    await clock.advance(599)
    assert watches.due(clock.boottime_ns()) == []
    await clock.advance(1)
    assert [due.ended for due in watches.due(clock.boottime_ns())] == [True]
    assert budgets.spend(ANNA.bare, clock.boottime_ns())[0]


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_history_goes_on(house, jump_s):
    for temperature in (10.0, 20.0):
        await house.report("air.temperature", temperature)
        await house.report("door", True)
        await house.clock.advance(600)
    house.clock.jump(jump_s)
    for temperature in (30.0, 40.0):
        await house.report("door", False)
        await house.report("air.temperature", temperature)
        await house.clock.advance(600)
    said = await house.ask(ANNA, "history air temperature 24h")
    assert "Air temperature, last 1 d: 4 readings." in said
    assert said.splitlines()[-1].endswith(" 40.0 °C"), "the newest last, as they came"
    assert "Lowest 10.0 °C" in said
    assert "highest 40.0 °C" in said
    opened = await house.ask(ANNA, "history door 24h")
    assert "open" in opened
    assert "−" not in opened, "no time ran backwards"


async def test_a_glitch_of_a_year_is_not_the_last_day(house):
    house.clock.jump(365 * 86400)
    await house.report("air.temperature", -40.0)
    house.clock.jump(-365 * 86400)
    await house.report("air.temperature", 20.0)
    assert "-40" not in (await house.ask(ANNA, "history temp 24h")).replace("−", "-")


async def test_how_old_a_value_of_an_earlier_boot_is_only_a_right_clock_knows(house):
    await house.report("door", False)
    house.latest["door"] = replace(house.latest["door"], boot="b")
    await house.clock.advance(3600)
    assert "1 h ago" in await house.ask(ANNA, "read door")
    house.clock.jump(-3 * HOUR_S)
    assert await house.ask(ANNA, "read door") == "Front door was closed before the last start."
    house.clock.jump(-house.clock.time_ns() / 1e9 + 300)
    assert await house.ask(ANNA, "read door") == "Front door was closed before the last start."


def router(house, **more):
    made = Router(house.store, clock=house.clock, on_stored=lambda _upto: None, on_record=lambda _record: None, **more)
    channels = tuple(CHANNELS.values())
    made.hello(Hello(version="1", run="b0a2dk3x", boot=house.clock.boot_id, digest="d", channels=channels))
    return made


async def test_what_is_on_its_way_and_what_stands_get_their_time_as_well(unset):
    made = router(unset, synced=unset.synced)
    unset.router = made
    await made.route([Route(sink="pubsub")])
    there_ns = unset.clock.boottime_ns()
    made.take(Readings(upto=1, items=(Reading(channel="door", seq=100, value=True, boottime_ns=there_ns),)))
    assert made.latest["door"].at_ns is None
    (offered,) = made.outbox.offer("pubsub", 100).records
    assert offered.at_ns is None
    await unset.clock.advance(60)
    unset.clock.is_set = True
    async with kept(unset) as passes:
        await passes(1)
    want_ns = unset.clock.time_ns() - 61 * S
    assert made.latest["door"].at_ns == want_ns
    assert [record.at_ns for record in made.outbox.offer("pubsub", 100).records] == [want_ns]
    await made.flush()
    assert (await unset.store.history("door", limit=1))[0].at_ns == want_ns
    assert await untimed(unset) == []


async def test_a_clock_that_shows_next_year_for_an_hour_deletes_no_history(house):
    await house.report("door", True)
    made = router(house, synced=house.synced, steady=house.wall.steady, retain_s=86400.0)
    running = asyncio.create_task(made.run())
    try:
        async with kept(house) as passes:
            await passes(1)
            await house.clock.advance(HOUR_S / 2)
            house.clock.jump(365 * 86400)
            await house.clock.advance(HOUR_S)  # it would prune in the middle of this
            await passes(1)
            house.clock.jump(-365 * 86400)
            await passes(1)
            assert len(await house.store.history("door")) == 1
            for _ in range(26):
                await house.clock.advance(HOUR_S)
                await passes(1)
            assert await house.store.history("door") == [], "a day by a steady clock"
    finally:
        running.cancel()


# ── summer time ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("utc", "quiet"), [
    ("2026-10-25T04:59:00+00:00", True),  # 05:59 in winter time, after the night of 25 hours
    ("2026-10-25T05:00:00+00:00", False),
    ("2026-10-24T19:59:00+00:00", False),  # 21:59 in summer time
    ("2026-10-24T20:00:00+00:00", True),
    ("2026-10-25T00:30:00+00:00", True), ("2026-10-25T01:30:00+00:00", True),  # 02:30, twice
    ("2027-03-28T03:59:00+00:00", True),  # 05:59 in summer time, after the night of 23 hours
    ("2027-03-28T04:00:00+00:00", False),
])
async def test_quiet_hours_are_those_on_the_wall(house, utc, quiet):
    person = replace(house.access.person(CLEO), quiet=((22 * 60, 6 * 60),))
    house.access = Access([person])
    house.telling.zone = AMSTERDAM
    house.clock.jump(datetime.fromisoformat(utc).timestamp() - house.clock.time_ns() / 1e9)
    assert house.telling.is_quiet(str(CLEO.bare)) is quiet


def test_the_hour_that_comes_twice_is_said_as_the_wall_clock_said_it():
    voice = Voice(lang="en", now_ns=at("2026-10-25T12:00"), zone=AMSTERDAM)
    first, second = at("2026-10-25T02:30"), at("2026-10-25T02:30") + HOUR_S * S
    assert [voice._instant(ns) for ns in (first, second, second + HOUR_S * S)] == ["02:30", "02:30", "03:30"]
    late = Record(run="b0a2dk3x", channel="x", seq=1, cls="event", type="text", value="a", boot="b", boottime_ns=0,
                  at_ns=at("2026-10-24T23:30"))  # fmt: skip
    assert voice.event(late, Alerts()).endswith("(at 2026-10-24 23:30)")
