"""Who is told what unasked."""

from datetime import UTC

import pytest

from knoop.access import Access, Person, Role
from knoop.household import Household
from knoop.jid import Jid
from knoop.record import Record
from knoop.state import State
from knoop.telling import news
from knoop_hw.clock import FakeClock
from knoop_hw.model import Channel

ANNA, BRAM = Jid("anna", "example.org"), Jid("bram", "example.org")


def record(seq=2, value=True, cls="event", channel="door", boottime_ns=1_000_000_000):
    return Record(
        run="aaaaaaaa", channel=channel, seq=seq, cls=cls, type="boolean", value=value, boot="b",
        boottime_ns=boottime_ns, at_ns=None,
    )


def test_how_things_stand_at_a_start_is_no_news_unless_they_stood_otherwise():
    assert not news(record(seq=1), None)
    assert not news(record(seq=1), record(seq=9))
    assert news(record(seq=1), record(seq=9, value=False))
    assert news(record(seq=2), record(seq=1))
    assert news(record(seq=1, cls="alarm"), None)


def test_what_happens_is_news_also_as_the_first_thing_after_a_start():
    """Somebody rings while the node has just begun, and rang before it ended."""
    click = record(seq=1, value="click", channel="bell")
    assert news(click, click, happens=True)
    assert not news(click, click)


class Fixed:
    """A board that only knows its channels; nothing is set in these tests."""

    def __init__(self):
        self.channels = {"door": Channel(name="door", kind="contact", type="boolean", cls="event")}
        self.away_since_ns = None

    async def set(self, channel, value, *, for_s, by, asked_ns):
        return record(channel=channel, value=value)


@pytest.fixture
def house(tmp_path):
    from knoop import config
    from knoop.xmpp import compat

    file = tmp_path / "node.toml"
    file.write_text('[node]\nname = "g"\n[xmpp]\njid = "g@example.org"\n[room."fleet@rooms.example.org"]\n')
    made = Household(
        config.load(file, jid=compat.jid), run="aaaaaaaa", clock=FakeClock(), store=None, state=None, board=Fixed(),
        changed=lambda _transition: None, rights=lambda: None, session=lambda: None,
    )
    made.access = Access([
        Person(jid=ANNA, role=Role.OWNER), Person(jid=BRAM, role=Role.VIEWER, only=("air",)),
        Person(jid=Jid("*", "example.net"), role=Role.VIEWER),
    ])
    return made


def told(house, what, before=None):
    return {r.sink for r in house.telling.routes() if what.cls in r.classes and r.wants(what, before)}


def test_everything_goes_to_machines_events_to_owners_alarms_to_all_who_may_read(house):
    assert told(house, record(cls="telemetry")) == {"pubsub"}
    assert told(house, record()) == {"pubsub", "chat:anna@example.org"}
    assert told(house, record(cls="alarm", channel="air.x")) == {
        "pubsub", "chat:anna@example.org", "chat:bram@example.org", "room:fleet@rooms.example.org",
    }


@pytest.mark.parametrize(("pubsub", "sinks"), [
    ("off", set()), ("pep", {"pubsub"}), ("pubsub.example.org", {"pubsub:pubsub.example.org"}),
])
def test_machines_get_it_where_node_toml_says(house, pubsub, sinks):
    from dataclasses import replace

    house.config = replace(house.config, publish=replace(house.config.publish, pubsub=pubsub))
    assert told(house, record(cls="telemetry")) == sinks


def test_what_is_on_its_way_does_not_wait(house):
    house.link = (True, 0)
    for count in (1, 1, 2, 0, 1, 1, 1, 1):
        house.waits(count)
        assert house.health().backlog == 0
    house.waits(3)
    assert house.health().backlog == 1, "one has for five seconds"
    house.link = (False, 0)
    assert house.health().backlog == 3, "without a link nothing is on its way"


def test_only_narrows_what_one_is_told(house):
    assert "chat:bram@example.org" not in told(house, record(cls="alarm", channel="door"))


def test_quiet_hours_are_kept(house):
    house.telling.quiet = {str(ANNA): house.clock.time_ns() + 1}
    assert told(house, record()) == {"pubsub"}
    house.telling.quiet = {str(ANNA): house.clock.time_ns() - 1}
    assert "chat:anna@example.org" in told(house, record())


async def test_nobody_is_told_of_their_own_doing(house):
    anna, now_ns = Jid("anna", "example.org", "phone"), house.clock.boottime_ns()
    await house.set("door", True, for_s=None, by=anna, heard_ns=now_ns)
    assert told(house, record(boottime_ns=house.clock.boottime_ns())) == {"pubsub"}
    later = record(boottime_ns=house.clock.boottime_ns() + 3_000_000_000)
    assert "chat:anna@example.org" in told(house, later), "what it does by itself afterwards is news again"


def test_whose_requests_reach_a_handler(house):
    assert house.admits("")
    assert house.admits("example.org")
    assert house.admits("g@example.org/other")
    assert house.admits("anna@example.org/x")
    assert not house.admits("mallory@example.org/x")
    assert house.admits("zoe@example.net/x"), "a whole domain that node.toml named"
    assert house.people() == {ANNA, BRAM}
    assert house.readers() == {ANNA}


def at(house, clock):
    """Let the wall clock show this time of the day in UTC."""
    hour, minute = map(int, clock.split(":"))
    house.clock.jump(hour * 3600 + minute * 60 - house.clock.time_ns() / 1e9 % 86400)


@pytest.mark.parametrize(("clock", "quiet"), [
    ("21:59", False), ("22:00", True), ("23:59", True), ("00:00", True), ("06:59", True), ("07:00", False),
    ("12:59", False), ("13:00", True), ("13:29", True), ("13:30", False),
])
def test_quiet_hours_of_the_day_go_over_midnight(house, clock, quiet):
    house.telling.zone = UTC
    house.access = Access([
        Person(jid=ANNA, role=Role.OWNER, quiet=((22 * 60, 7 * 60), (13 * 60, 13 * 60 + 30))),
        Person(jid=BRAM, role=Role.OWNER),
    ])
    at(house, clock)
    assert house.telling.is_quiet(str(ANNA)) is quiet
    assert ("chat:anna@example.org" in told(house, record())) is not quiet
    assert "chat:bram@example.org" in told(house, record())
    house.clock.jump(-house.clock.time_ns() / 1e9 + 23 * 3600)
    assert not house.telling.is_quiet(str(ANNA)), "1970 is no time of the day"


def test_quiet_hours_that_are_over_silence_nothing_before_the_clock_is_set(house):
    """A clock that shows 1970 lies before the end of every quiet time there ever was: alarms were not told."""
    alarm = record(cls="alarm")
    house.telling.quiet = {str(ANNA): house.clock.time_ns() - 1}
    house.clock.jump(-house.clock.time_ns() / 1e9)
    assert not house.synced()
    assert "chat:anna@example.org" in told(house, alarm)


async def test_a_watch_of_one_of_a_whole_domain_outlives_a_change_of_rights(house, tmp_path):
    """`*@example.net` was asked for instead of the watcher: any grant to anybody ended their watches."""
    zoe, carl = Jid("zoe", "example.net", "x"), Jid("carl", "example.com", "x")
    for watcher in (zoe, carl):
        house.watch(watcher, ["door"], for_s=60)
    async with State.open(tmp_path / "state.db") as house.state:
        await house.state.grant("dora@example.org", "viewer")
        await house.rights_changed()
        assert (house.unwatch(zoe), house.unwatch(carl)) == (1, 0)
        house.watch(zoe, ["door"], for_s=60)
        await house.state.grant("zoe@example.net", "none")
        await house.rights_changed()
        assert house.unwatch(zoe) == 0
