"""What a node says of its own disk: four words, how long each holds, and an alert that is there without a table."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass, field

import pytest
from tests.node.house import ANNA, CLEO, greenhouse
from tests.node.test_config import GOOD, problems
from tests.node.test_store import broken_disk

from knoop import cli
from knoop.access import Access, Person, Role
from knoop.alerts import Alerts, Rule
from knoop.command import Request
from knoop.commands import table
from knoop.condition import Condition
from knoop.database import Database
from knoop.disk import CHANNELS, DROPPED, FAILED, LONGEST_S, REFUSED, REPLACED_S, STEADY_S, STORAGE, Disk, quiet
from knoop.errors import NoAnswer, StoreError
from knoop.execution import NO_DISK, UNSURE, Execution
from knoop.record import Record
from knoop.state import State
from knoop.state_tables import MIGRATIONS, Grant
from knoop.storage import COUNT_S, HANGS_S, PROVE_AGAIN_S, PROVE_S, Storage
from knoop.text import Voice
from knoop_hw.clock import FakeClock

TABLE = ("CREATE TABLE thing (name TEXT) STRICT;",)
S = 1_000_000_000


def record_of(channel, value, seq=1):
    return Record(
        run="aaaaaaaa", channel=channel, seq=seq, cls="event", type="text", value=value, boot="b", boottime_ns=seq * S,
        at_ns=seq * S,
    )  # fmt: skip


def add(name="a"):
    return lambda db: db.execute("INSERT INTO thing VALUES (?)", (name,))


def things(db):
    return [name for (name,) in db.execute("SELECT name FROM thing")]


class TestWords:
    """`Disk.after`: from what is refused to one of four words."""

    def days(self, *steps):
        disk, said = Disk(), []
        for at_s, trouble, replaced in steps:
            disk = disk.after(at_s * S, trouble=trouble, replaced=replaced)
            said.append(disk.health)
        return said

    def test_bad_news_at_once_good_news_after_a_minute(self):
        assert self.days((0, None, 0), (1, "full", 0), (2, None, 0), (61, None, 0), (62, None, 0)) == [
            "ok", "full", "full", "full", "ok"
        ]  # fmt: skip

    def test_a_disk_that_comes_and_goes_does_not_flap(self):
        flapping = [(second, "failing" if second % 30 == 0 else None, 0) for second in range(600)]
        assert set(self.days(*flapping)) == {"failing"}

    def test_one_that_is_well_for_a_minute_and_a_half_again_and_again_is_told_of_a_few_times_and_then_it_stays(self):
        said = self.days(*((second, "full" if second % 90 == 0 else None, 0) for second in range(7200)))
        raised = [second for second in range(1, 7200) if said[second] == "full" != said[second - 1]]
        assert len(raised) <= 3
        assert set(said[3600:]) == {"full"}

    def test_after_hours_without_trouble_a_minute_is_enough_again(self):
        hour = int(LONGEST_S)
        twice = [(0, "full", 0), (1, None, 0), (61, None, 0), (200, "full", 0), (201, None, 0), (262, None, 0)]
        later = [(9 * hour + at_s, trouble, 0) for at_s, trouble in ((-hour, None), (0, "full"), (1, None), (61, None))]
        said = self.days(*twice, *later)
        assert said == ["full", "full", "ok", "full", "full", "full", "ok", "full", "full", "ok"]

    def test_lost_rights_are_told_before_all_else_while_they_cannot_be_read_and_for_a_day_where_they_are_gone(self):
        disk = Disk().after(0, trouble="failing", replaced=0, unreadable=True)
        assert disk.health == "rights_lost"
        assert disk.after(61 * S, trouble="failing", replaced=0).health == "failing"
        gone = Disk().after(0, trouble=None, replaced=1, lost=True)
        assert gone.health == "rights_lost"
        assert gone.after(61 * S, trouble="full", replaced=1, lost=True).health == "full"
        assert gone.after(int(REPLACED_S * S), trouble=None, replaced=1, lost=True).health == "ok"

    def test_it_changes_no_more_than_once_a_minute(self):
        between = [(second, "full" if second % 2 else "failing", 0) for second in range(180)]
        said = self.days(*between)
        changes = [second for second in range(1, 180) if said[second] != said[second - 1]]
        assert changes
        assert all(b - a >= STEADY_S for a, b in zip(changes, changes[1:], strict=False))

    def test_a_damaged_file_is_news_for_a_day_and_gives_way_to_worse(self):
        day = int(REPLACED_S)
        steps = ((0, None, 1), (100, "full", 1), (200, None, 1), (261, None, 1), (day - 1, None, 1), (day, None, 1))
        assert self.days(*steps) == ["replaced", "full", "full", "replaced", "replaced", "ok"]

    def test_a_second_one_begins_another_day(self):
        day = int(REPLACED_S)
        assert self.days((0, None, 1), (day - 10, None, 2), (day, None, 2))[-1] == "replaced"


@dataclass
class Router:
    """Keeps what it gets."""

    latest: dict = field(default_factory=dict)
    dropped: Counter = field(default_factory=Counter)
    went: list = field(default_factory=list)

    def put(self, record):
        self.went.append(record)
        self.latest[record.channel] = record

    def said(self, channel=STORAGE):
        return [record.value for record in self.went if record.channel == channel]


async def nothing():
    """Nobody reads anything again."""


def storage_of(database, clock, router, *, run="aaaaaaaa", state=None, recall=nothing, **more):
    return Storage(
        database, state or State(database), run=run, clock=clock, now_ns=clock.time_ns, router=router, recall=recall,
        **more,
    )


@pytest.fixture
async def watched(tmp_path):
    """A database, the channels that watch it, and the clock they go by."""
    clock, router = FakeClock(), Router()
    async with Database(tmp_path / "one.db", migrations=TABLE) as database:
        running = asyncio.create_task(storage_of(database, clock, router).run())
        await clock.advance(0)
        yield database, router, clock
        running.cancel()


async def refuse(database):
    with broken_disk(), pytest.raises(StoreError):
        await database.run(add())


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


async def later(clock, seconds, database):
    """Let time pass no faster than the database's thread can follow."""
    for _ in range(int(seconds)):
        await clock.advance(1)
        await asyncio.get_running_loop().run_in_executor(database._thread, int)  # behind what it was given


class TestChannels:
    async def test_a_start_says_how_it_is_once(self, watched):
        _, router, clock = watched
        await clock.advance(COUNT_S * 3)
        assert [(r.identity, r.value, r.cls, r.type) for r in router.went] == [
            ("aaaaaaaa-node.storage-1", "ok", "event", "text"), ("aaaaaaaa-node.dropped-1", 0, "telemetry", "number"),
        ]  # fmt: skip
        assert all(record.at_ns is not None and record.boot == clock.boot_id for record in router.went)

    async def test_what_is_known_from_the_last_start_is_not_said_again(self, tmp_path):
        clock, router = FakeClock(), Router(dropped=Counter(event=7))
        for name, value in ((STORAGE, "ok"), (DROPPED, 7.0)):
            router.latest[name] = record_of(name, value)
        async with Database(tmp_path / "one.db", migrations=TABLE) as database:
            running = asyncio.create_task(storage_of(database, clock, router).run())
            await clock.advance(COUNT_S)
            assert router.went == []
            router.dropped["telemetry"] = 5
            await clock.advance(COUNT_S)
            assert router.said(DROPPED) == [12]
            running.cancel()

    async def test_trouble_of_the_last_start_is_over_when_it_was_well_for_a_minute(self, tmp_path):
        clock, router = FakeClock(), Router()
        router.latest[STORAGE] = record_of(STORAGE, "failing")
        async with Database(tmp_path / "one.db", migrations=TABLE) as database:
            running = asyncio.create_task(storage_of(database, clock, router).run())
            await later(clock, STEADY_S - 2, database)
            assert router.said() == []
            await later(clock, 4, database)
            assert router.said() == ["ok"]
            assert database.ended >= 3  # it was tried, again and again
            running.cancel()

    async def test_the_count_of_what_is_lost_is_told_once_a_minute(self, watched):
        _, router, clock = watched
        for _ in range(180):
            router.dropped["telemetry"] += 10
            await clock.advance(1)
        assert router.said(DROPPED) == [0, 600, 1200, 1800]

    async def test_what_was_refused_is_counted_on_over_a_start_once_a_minute(self, tmp_path):
        clock, router, refused = FakeClock(), Router(), []
        router.latest[REFUSED] = record_of(REFUSED, 40.0)
        async with Database(tmp_path / "one.db", migrations=TABLE) as database:
            storage = storage_of(database, clock, router, counts=lambda: {REFUSED: len(refused), FAILED: 0})
            running = asyncio.create_task(storage.run())
            for second in range(129):
                refused.append(second)
                await clock.advance(1)
            assert (router.said(REFUSED), router.said(FAILED)) == ([41, 100, 160], [0])
            running.cancel()

    async def test_a_disk_that_refuses_and_takes_again(self, watched):
        database, router, clock = watched
        await refuse(database)
        await clock.advance(1)
        assert router.said() == ["ok", "failing"]
        begun = database.begun
        await later(clock, PROVE_AGAIN_S, database)
        await until(lambda: database.ended > begun and database.trouble is None)  # nobody wrote but itself
        await later(clock, STEADY_S + 2, database)
        assert router.said() == ["ok", "failing", "ok"]

    async def test_a_quiet_node_finds_out_by_itself(self, watched):
        database, router, clock = watched
        with broken_disk():
            await clock.advance(PROVE_S + 1)
            await until(lambda: database.trouble)
        await clock.advance(1)
        assert router.said() == ["ok", "failing"]

    async def test_a_disk_that_hangs_is_failing(self, watched):
        database, router, clock = watched
        go_on = threading.Event()
        hanging = asyncio.create_task(database.run(lambda _: go_on.wait(30)))
        await until(lambda: database.begun > database.ended)
        await clock.advance(HANGS_S - 2)
        assert router.said() == ["ok"]
        await clock.advance(4)
        assert router.said() == ["ok", "failing"]
        go_on.set()
        await hanging
        await later(clock, STEADY_S + 2, database)
        assert router.said()[-1] == "ok"

    async def test_a_reload_says_nothing_twice(self, watched):
        database, router, clock = watched
        await refuse(database)
        await clock.advance(1)
        former = storage_of(database, clock, router)
        running = asyncio.create_task(former.run())
        await clock.advance(1)
        running.cancel()
        after = storage_of(database, clock, router, run="bbbbbbbb")
        after.follow(former)
        running = asyncio.create_task(after.run())
        await clock.advance(1)
        running.cancel()
        assert router.said() == ["ok", "failing"]


class TestStart:
    """A disk that takes nothing when the node starts."""

    @pytest.fixture
    async def path(self, tmp_path):
        path = tmp_path / "one.db"
        async with Database(path, migrations=TABLE) as database:
            await database.run(add("kept"))
        return path

    async def takes_it_up(self, database, known):
        """It reads what was there, keeps nothing, and goes on by itself once the disk does."""
        assert database.trouble.reason == "failing"
        for _ in range(2):
            with pytest.raises(StoreError, match=r"one\.db"):
                await database.run(add("lost"))
            assert await database.run(things) == known
        assert database.set_aside is None

    async def test_what_is_there_is_read_and_added_to_later(self, path):
        with broken_disk():
            database = await Database(path, migrations=TABLE).__aenter__()
            await self.takes_it_up(database, ["kept"])
        await database.run(add("new"))
        assert database.trouble is None
        assert await database.run(things) == ["kept", "new"]
        await database.close()
        async with Database(path, migrations=TABLE) as database:
            assert await database.run(things) == ["kept", "new"]

    async def test_what_only_the_log_of_a_killed_node_has_is_read_too(self, path, tmp_path):
        async with Database(path, migrations=TABLE) as database:
            await database.run(add("late"))
            killed = tmp_path / "killed"
            killed.mkdir()
            for file in tmp_path.glob("one.db*"):
                shutil.copy(file, killed)
        assert (killed / "one.db-wal").stat().st_size
        with broken_disk():
            database = await Database(killed / "one.db", migrations=TABLE).__aenter__()
            assert await database.run(things) == ["kept", "late"]
        await database.run(add("new"))
        assert await database.run(things) == ["kept", "late", "new"]
        await database.close()

    async def test_a_first_start(self, tmp_path):
        with broken_disk():
            database = await Database(tmp_path / "one.db", migrations=TABLE).__aenter__()
            await self.takes_it_up(database, [])
        await database.prove()
        await database.run(add("new"))
        assert await database.run(things) == ["new"]
        await database.close()

    async def test_one_of_an_older_knoop_is_brought_up_to_date_in_memory_where_it_is_small(self, path):
        newer = (*TABLE, "ALTER TABLE thing ADD COLUMN size INTEGER;")
        with broken_disk():
            for keep, known in ((True, ["kept"]), (False, [])):
                async with Database(path, migrations=newer, keep=keep) as database:
                    assert await database.run(things) == known
        async with Database(path, migrations=newer, keep=True) as database:
            assert await database.run(things) == ["kept"]
            await database.run(lambda db: db.execute("UPDATE thing SET size = 1"))

    async def test_a_damaged_one_is_empty_until_it_can_be_replaced(self, path):
        path.write_bytes(b"not a database" * 1000)
        with broken_disk():
            database = await Database(path, migrations=TABLE).__aenter__()
            assert database.trouble.reason == "failing"
            assert await database.run(things) == []
        await database.run(add("new"))
        assert database.set_aside is not None
        assert await database.run(things) == ["new"]
        await database.close()

    async def test_what_somebody_set_up_wrongly_still_stops_it(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="a folder that user id") as caught:
            await Database(tmp_path / "file" / "one.db", migrations=TABLE).__aenter__()
        assert caught.value.reason == "other"


class TestPeople:
    def test_it_is_quiet_while_there_is_nothing_to_say(self):
        assert quiet(STORAGE, None)
        assert quiet(STORAGE, record_of(STORAGE, "ok"))
        assert not quiet(STORAGE, record_of(STORAGE, "full"))
        assert quiet(REFUSED, record_of(REFUSED, 7))
        assert not quiet("door", None)

    def test_each_kind_of_trouble_is_an_alarm_of_its_own(self):
        alerts = Alerts([Rule(name="storage", when=Condition(STORAGE, "!=", "ok"), anew=True)])
        said = []
        for seq, value in enumerate(("ok", "replaced", "replaced", "full", "ok", "full"), start=1):
            said.append([change.change for change in alerts.feed(record_of(STORAGE, value, seq))])
            if value == "replaced" and said[-1]:
                alerts.acknowledge("storage", by="Anna", now_ns=seq * S, at_ns=seq * S)
        assert said == [[], ["raised"], [], ["raised"], ["cleared"], ["raised"]]

    def test_every_other_alert_is_raised_once(self):
        alerts = Alerts([Rule(name="mode", when=Condition("mode", "!=", "away"))])
        changes = [
            alerts.feed(record_of("mode", value, seq))
            for seq, value in enumerate(("home", "party", "away"), start=1)
        ]
        assert [[change.change for change in some] for some in changes] == [["raised"], [], ["cleared"]]

    @pytest.mark.parametrize("value", ["full", "failing", "replaced", "rights_lost"])
    def test_the_alarm_says_what_to_do(self, value):
        alerts = Alerts([Rule(name="storage", when=Condition(STORAGE, "!=", "ok"), anew=True)])
        voice = Voice(lang="en", channels={c.name: c for c in CHANNELS}, now_ns=S, boot="b", boottime_ns=S)
        (raised,) = alerts.feed(record_of(STORAGE, value))
        alarm = Record(
            run="aaaaaaaa", channel="alert.storage", seq=1, cls="alarm", type="text", value=raised.change, boot="b",
            boottime_ns=S, at_ns=S,
        )  # fmt: skip
        said = voice.event(alarm, alerts)
        assert said.startswith("Alert storage: ")
        assert {
            "full": "make room", "failing": "the log says why", "replaced": "begun anew",
            "rights_lost": "rights given or taken in chat are lost; look at [people]",
        }[value] in said


class TestConfiguration:
    def test_the_alert_is_there_without_a_table(self, load):
        rule = next(rule for rule in load(GOOD).rules if rule.name == "storage")
        assert (str(rule.when), rule.severity, rule.for_s, rule.anew) == ("node.storage != ok", "warning", 0, True)

    def test_a_table_of_that_name_replaces_it(self, load):
        (rule,) = (r for r in load(GOOD + '[alert.storage]\nseverity = "critical"\n').rules if r.name == "storage")
        assert (str(rule.when), rule.severity, rule.anew) == ("node.storage != ok", "critical", True)
        own = GOOD + '[alert.storage]\nwhen = "node.dropped > 1000"\n'
        (rule,) = (r for r in load(own).rules if r.name == "storage")
        assert (str(rule.when), rule.anew) == ("node.dropped > 1000", False)

    def test_no_device_is_called_so(self, load):
        wrong = GOOD.replace("[sensor.air]", "[sensor.node]")
        assert any("'node' is what the agent's own channels begin with" in one for one in problems(load, wrong))

    def test_check_names_it_and_does_not_count_it(self, load, tmp_path, capsys):
        load(GOOD)
        cli.main(["check", "--config", str(tmp_path / "node.toml"), "--json"])
        said = json.loads(capsys.readouterr().out)
        assert (said["alerts"], said["own_alerts"]) == (1, ["door_missing", "air_missing", "storage"])


class TestCommands:
    """What people ask of a node whose disk takes nothing."""

    async def test_what_needs_the_disk_is_refused_and_what_does_not_is_done(self, tmp_path, caplog):
        async with greenhouse(tmp_path) as house:
            execution = Execution(house, verbs=table())
            with broken_disk():
                quiet_please = Request(sender=ANNA, verb="quiet", for_s=60)
                reply = await execution.run(quiet_please, words="quiet 1min")
                assert (reply.ok, reply.lines[0].message) == (False, NO_DISK)
                read = Request(sender=ANNA, verb="status")
                assert (await execution.run(read, words="status")).ok
                await execution.note(ANNA, "lamp on", "done")
                await execution.note(ANNA, "lamp off", "done")
            assert caplog.text.count("the audit log is not kept on the disk") == 1
            assert all(f"asked {words!r} (chat): " in caplog.text for words in ("quiet 1min", "lamp on", "lamp off"))
            await execution.note(ANNA, "lamp on", "done")
            assert caplog.text.count("the audit log is kept on the disk again") == 1
            assert [line.action for line in await house.state.audit_tail(9)] == ["lamp on"]

    async def test_a_disk_that_hangs_does_not_hold_up_the_answer(self, tmp_path, monkeypatch):
        monkeypatch.setattr("knoop.execution.AUDIT_TIMEOUT_S", 0.05)
        go_on = threading.Event()
        async with greenhouse(tmp_path) as house:
            execution = Execution(house, verbs=table())
            hanging = asyncio.create_task(house.state.database.run(lambda _: go_on.wait(30)))
            stranger = Request(sender=CLEO, verb="allow", argument="x@example.org owner")
            async with asyncio.timeout(20):
                assert not (await execution.run(stranger, words="allow x owner")).ok
            go_on.set()
            await hanging
            await execution.close()
            assert [line.action for line in await house.state.audit_tail(9)] == ["allow x owner"]

    async def test_nobody_gets_or_loses_a_right_by_a_disk_that_cannot_be_read(self, tmp_path):
        async with State.open(tmp_path / "state.db") as state:
            await state.grant("bram@example.org", "none")
            known = await state.grants()
            assert known
        assert await state.grants() == known  # it is closed now: nothing can be read
        with pytest.raises(StoreError):
            await state.silences()  # which nobody has asked for before

    async def test_an_order_that_hangs_is_answered_and_counts_when_the_disk_does(self, tmp_path, monkeypatch):
        monkeypatch.setattr("knoop.state.ANSWER_S", 0.05)
        go_on = threading.Event()
        async with greenhouse(tmp_path) as house:
            execution, keep = Execution(house, verbs=table()), house.state.database.run

            def hangs(work):
                return keep(lambda db: (work(db), go_on.wait(30))[0])

            monkeypatch.setattr(house.state.database, "run", hangs)
            allow = Request(sender=ANNA, verb="allow", argument="eve@example.org viewer")
            async with asyncio.timeout(20):
                reply = await execution.run(allow, words="allow eve viewer")
                assert (reply.ok, reply.lines[0].message) == (False, UNSURE)
                for verb, more in (("quiet", {"for_s": 60}), ("silence", {"argument": "frost 1h"}), ("log", {})):
                    reply = await execution.run(Request(sender=ANNA, verb=verb, **more), words=verb)
                    assert (reply.ok, reply.lines[0].message) == (False, NO_DISK), verb
                assert len(execution._audits) == 0  # they went to the log
            eve = house.jid("eve@example.org")
            assert house.access.person(eve) is None
            go_on.set()
            await until(lambda: house.access.person(eve) is not None)
            assert house.telling.quiet == {}
            assert await house.state.silences() == {}
            await execution.close()

    async def test_what_waited_behind_a_hanging_call_is_not_done_later(self, tmp_path, monkeypatch):
        monkeypatch.setattr("knoop.state.ANSWER_S", 0.05)
        go_on = threading.Event()
        async with State.open(tmp_path / "state.db") as state:
            hanging = asyncio.create_task(state.database.run(lambda _: go_on.wait(30)))
            with pytest.raises(StoreError) as caught:
                await state.grant("eve@example.org", "owner")
            assert not isinstance(caught.value, NoAnswer)
            go_on.set()
            await hanging
            await state.answering()
            assert await state.grants() == []

    @pytest.mark.parametrize("steps", range(5))
    async def test_what_is_on_its_way_to_the_disk_at_the_end_arrives(self, tmp_path, steps):
        async with greenhouse(tmp_path) as house:
            await house.report("air.temperature", -3.0)
            saving = asyncio.create_task(house.alarms.save(house.state))
            for _ in range(steps):
                await asyncio.sleep(0)
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)
            expected = ["frost"] if steps else []  # which never began
            assert [row.name for row in await house.state.load_alerts()] == expected

    async def test_a_start_waits_for_a_slow_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr("knoop.state.ANSWER_S", 0.01)
        go_on = threading.Event()
        async with State.open(tmp_path / "state.db") as state:
            hanging = asyncio.create_task(state.database.run(lambda _: go_on.wait(30)))
            starting = asyncio.gather(state.load_alerts(), state.load_unreceived(), state.grants())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(starting), 0.05)
            go_on.set()
            await hanging
            assert await starting == [[], ([], {}), []]

    async def test_only_owners_are_told_and_whoever_they_name(self, tmp_path):
        async with greenhouse(tmp_path) as house:
            house.alerts = Alerts([Rule(name="storage", when=Condition(STORAGE, "!=", "ok"))])
            assert [*house.alarms.usual("storage")] == [str(ANNA.bare)]
            assert house.alarms.may(str(CLEO.bare), "storage")  # should an owner let it be passed on
            house.access = Access([Person(jid=CLEO.bare, role=Role.VIEWER)])
            assert [*house.alarms.usual("storage")] == []


class TestRights:
    """What was given or taken in chat, when the file that has it cannot be read or is damaged."""

    async def test_unreadable_at_a_start_it_is_told_and_read_again_as_soon_as_it_can_be(self, tmp_path, monkeypatch):
        path = tmp_path / "state.db"
        async with State.open(path) as state:
            await state.grant("bram@example.org", "none")
        clock, router, recalled = FakeClock(), Router(), []
        with monkeypatch.context() as patch, broken_disk():
            patch.setattr(Database, "_view", lambda _self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            state = State(await Database(path, migrations=MIGRATIONS, check=True, keep=True).__aenter__())
            assert await state.grants() == []

            async def recall():
                recalled.append(await state.grants())

            storage = storage_of(state.database, clock, router, state=state, recall=recall)
            running = asyncio.create_task(storage.run())
            await clock.advance(1)
            assert router.said() == ["rights_lost"]
            assert recalled == []
        async with asyncio.timeout(20):
            while not recalled:
                await later(clock, PROVE_AGAIN_S, state.database)
        assert recalled == [[Grant("bram@example.org", "none")]]
        running.cancel()
        await state.database.close()

    async def test_a_first_start_on_such_a_disk_has_lost_nothing(self, tmp_path):
        with broken_disk():
            async with State.open(tmp_path / "state.db") as state:
                assert await state.grants() == []
                assert not (state.unreadable or state.lost)

    async def test_damaged_before_the_start_they_are_lost(self, tmp_path):
        (tmp_path / "state.db").write_bytes(b"not a database" * 1000)
        clock, router = FakeClock(), Router()
        async with State.open(tmp_path / "state.db") as state:
            assert await state.grants() == []
            running = asyncio.create_task(storage_of(state.database, clock, router, state=state).run())
            await clock.advance(1)
            assert router.said() == ["rights_lost"]
            running.cancel()

    async def test_damaged_while_it_runs_what_is_known_goes_on(self, tmp_path):
        path = tmp_path / "state.db"
        async with State.open(path) as state:
            await state.grant("bram@example.org", "none")
            await state.quiet("anna@example.org", 5)
            before = await state.grants(), await state.quiet_until()
            await state.database._in_thread(lambda: state.database._replace(sqlite3.DatabaseError("damaged")))
            await state.grant("eve@example.org", "viewer")
            rights = await state.grants()
            assert rights == [*before[0], Grant("eve@example.org", "viewer")]
            assert await state.quiet_until() == before[1]
            assert not state.lost
        async with State.open(path) as state:
            assert await state.grants() == rights
