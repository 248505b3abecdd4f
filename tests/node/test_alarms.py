"""Alerts among the people of a real household: who is told, what a silence does, what a restart keeps."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from knoop import config
from knoop.access import Access, Person, Role
from knoop.alarms import Alarms
from knoop.alerts import Alerts
from knoop.errors import StoreError
from knoop.household import Household
from knoop.payload import timestamp
from knoop.record import Record
from knoop.state import State
from knoop.state_tables import AlertRow
from knoop.xmpp import compat
from knoop_hw.clock import FakeClock
from knoop_hw.model import Channel

ANNA, BRAM, CLEO = "anna@example.org", "bram@example.org", "cleo@example.org"
FILE = """
[node]
name = "g"
[xmpp]
jid = "g@example.org"
[people]
"anna@example.org" = { role = "owner", name = "Anna" }
"bram@example.org" = { role = "operator", notify = [] }
"cleo@example.org" = { role = "viewer", only = ["lamp"] }
[room."fleet@rooms.example.org"]
[board]
driver = "simulated"
[input.door]
pin = "GPIO17"
[output.lamp]
pin = "GPIO27"
[alert.open]
when = "door == on"
repeat = "1min"
escalate = ["bram@example.org"]
escalate_after = "30min"
[alert.fire]
when = "door == on"
for = "1s"
severity = "critical"
repeat = "0s"
"""


class Board:
    """A board that only knows its channels."""

    def __init__(self):
        self.channels = {"door": Channel(name="door", kind="contact", type="boolean", cls="event")}
        self.away_since_ns = None


class Router:
    """Keeps what is put, with the sinks that its routes choose."""

    def __init__(self, house):
        self.house, self.went, self.latest, self.dropped = house, [], {}, {}

    def put(self, record):
        sinks = {r.sink for r in self.house.telling.routes() if record.cls in r.classes and r.wants(record, None)}
        self.went.append((record, sinks))


class Home:
    """A household whose clock is held still, with a router that remembers."""

    def __init__(self, loaded, state, clock, run="aaaaaaaa"):
        self.clock, self.state, self.seq, self.sent = clock, state, 0, []
        self.house = Household(
            loaded, run=run, clock=clock, store=None, state=state, board=Board(),
            changed=self.say, rights=lambda: None, session=lambda: None,
        )
        self.house.router = self.router = Router(self.house)
        self.house.link = (True, 0)

    def say(self, change):
        self.house.alarms.say(change)

    async def __aenter__(self):
        await self.house.alarms.restore(self.state)
        self.report("lamp", False)
        self._saving = asyncio.create_task(self.house.alarms.save(self.state))
        return self

    async def __aexit__(self, *_error):
        await self.kept()
        self._saving.cancel()
        await asyncio.wait([self._saving])

    async def kept(self):
        """All that happened so far is on the disk."""
        async with asyncio.timeout(20):
            while self.house.alarms._changed.is_set():
                await asyncio.sleep(0)
        await self.state.grants()  # in one thread, in order

    def door(self, value):
        self.report("door", value)

    def report(self, channel, value, at_ns=None):
        self.seq += 1
        record = Record(
            run="board123", channel=channel, seq=self.seq, cls="event", type="boolean", value=value,
            boot=self.clock.boot_id, boottime_ns=at_ns or self.clock.boottime_ns(), at_ns=self.clock.time_ns(),
        )
        for change in self.house.alerts.feed(record):
            self.house.alarms.say(change)

    async def wait(self, seconds, step_s=1):
        for _ in range(0, seconds, step_s):
            await self.clock.advance(step_s)
            for change in self.house.alarms.due():
                self.house.alarms.say(change)
            self.sent += self.house.alarms.again()

    def deliver(self, to=ANNA):
        """What the chat of this person does with all that waits for it; returns the ids."""
        records = [record for record, sinks in self.router.went if f"chat:{to}" in sinks]
        for record in records:
            self.house.alarms.note(to, record, f"{record.value}!")
        return [record.identity for record in records]

    def again(self):
        """What was sent once more since the last time asked: to whom and which change, by first letter and text."""
        sent, self.sent = self.sent, []
        return [(stanza.get("to")[0], stanza.findtext("{jabber:client}body"), stanza.get("id")) for stanza in sent]

    def heard(self):
        """Since the last time asked: alert and change, and who heard it, by the first letter; r: the room."""
        went, self.router.went = self.router.went, []
        return [
            (record.channel.removeprefix("alert."), record.value,
             "".join(sorted(sink.partition(":")[2][0] if ":" in sink else "" for sink in sinks)))
            for record, sinks in went
        ]  # fmt: skip

    def says(self, who, change):
        """The last message about `open` with this change as that person reads it."""
        record = [record for record, _ in self.router.went if record.value == change][-1]
        return self.house.personal(who, record, "en")


@pytest.fixture
async def make(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(FILE)
    loaded = config.load(file, jid=compat.jid)
    async with State.open(tmp_path / "state.db") as state:
        clock = FakeClock()

        @asynccontextmanager
        async def made(**more):
            async with Home(loaded, state, clock, **more) as home:
                yield home

        yield made


@pytest.fixture
async def home(make):
    async with make() as made:
        yield made


async def test_an_alarm_is_said_again_then_to_the_next_and_its_end_to_all_of_them(home):
    home.door(True)
    assert home.heard() == [("open", "raised", "af")]
    await home.wait(1)
    assert home.heard() == [("fire", "raised", "af")]
    await home.wait(1799)
    heard = home.heard()
    assert heard[:-1] == [("open", "reminded", "a")] * 4, "after 1, 3, 7, 15 min"
    assert heard[-1] == ("open", "reminded", "b")
    await home.house.acknowledge("open", by=compat.jid(f"{BRAM}/x"))
    assert home.heard() == [("open", "acknowledged", "af")], "who did it has their answer"
    await home.wait(7200, step_s=60)
    assert home.heard() == []
    await home.house.acknowledge("fire", by=compat.jid(f"{ANNA}/x"))
    assert home.heard() == [("fire", "acknowledged", "f")]
    home.door(False)
    assert home.heard() == [("open", "cleared", "abf"), ("fire", "cleared", "af")], "that it is over is nobody's doing"


async def test_who_is_next_hears_what_it_is_and_that_nobody_answered(home):
    home.door(True)
    await home.wait(1800)
    assert home.says(BRAM, "reminded").startswith("Alert open: door is open (since ")
    assert home.says(BRAM, "reminded").endswith("; nobody acknowledged it for 30 min).")
    assert home.says(ANNA, "reminded").startswith("Still: Alert open: door is open (since ")


async def test_somebody_who_is_only_called_is_told_of_nothing_else(home):
    event = Record(
        run="board123", channel="door", seq=9, cls="alarm", type="boolean", value=True, boot="b", boottime_ns=1,
        at_ns=None,
    )
    assert {r.sink for r in home.house.telling.routes() if r.wants(event, None)} == {
        "pubsub", f"chat:{ANNA}", "room:fleet@rooms.example.org",
    }  # fmt: skip


async def test_quiet_holds_back_a_warning_and_nothing_critical(home):
    home.house.telling.quiet = {ANNA: home.clock.time_ns() + 10 * 10**9}
    home.door(True)
    await home.wait(5)
    assert home.heard() == [("open", "raised", "f"), ("fire", "raised", "af")]
    await home.wait(10)
    assert home.says(ANNA, "reminded").startswith("Alert open: door is open (since ")
    assert home.heard() == [("open", "reminded", "a")]


async def test_silence_is_for_people_and_rooms_and_what_still_waits_is_told_after_it(home):
    await home.house.alarms.silence("fire", home.clock.time_ns() + 60 * 10**9, by=compat.jid(f"{BRAM}/x"))
    await home.house.alarms.silence("open", home.clock.time_ns() + 60 * 10**9, by=compat.jid(f"{ANNA}/x"))
    assert home.house.alarms.silenced("open").by == "Anna"
    home.door(True)
    await home.wait(30)
    assert home.heard() == [("open", "raised", ""), ("fire", "raised", "")]
    assert home.house.health().unacknowledged == 2
    await home.house.alarms.silence("fire", 0, by=compat.jid(f"{ANNA}/x"))
    await home.wait(1)
    assert home.heard() == [("fire", "reminded", "a")]
    await home.wait(30)
    assert home.heard() == [("open", "reminded", "a")]


async def test_a_restart_tells_nobody_twice_and_goes_on(make):
    async with make() as before:
        before.door(True)
        await before.wait(10)
        await before.house.alarms.silence("fire", before.clock.time_ns() + 3600 * 10**9, by=compat.jid(f"{ANNA}/x"))
        identity = before.router.went[0][0].identity
    async with make(run="bbbbbbbb") as after:
        assert {state.name: state.value for state in after.house.alerts.raised()} == {"open": True, "fire": True}
        assert after.house.alarms.silenced("fire").by == "Anna"
        after.door(True)
        await after.wait(59)
        assert after.heard() == []
        await after.wait(2)
        assert after.says(ANNA, "reminded").startswith("Still: Alert open: door is open (since ")
        assert after.heard() == [("open", "reminded", "a")]
        assert after.house.alarms.answers(identity) == ("open", True)
        after.door(False)
        assert after.heard() == [("open", "cleared", "af"), ("fire", "cleared", "")]


async def test_a_restart_while_the_clock_is_not_set_goes_on(make):
    async with make() as before:
        before.door(True)
    async with make(run="bbbbbbbb") as after:
        after.clock.jump(-after.clock.time_ns() / 1e9)
        after.house.telling.quiet = {ANNA: 2 * 10**18}
        await after.wait(61)
        assert after.heard()[-1] == ("open", "reminded", "a"), "nobody knows whether it is night"


@pytest.mark.parametrize("seconds", [-3e8, 3e8])
async def test_a_clock_that_jumps_sends_no_burst_and_stops_nothing(home, seconds):
    home.door(True)
    home.heard()
    home.clock.jump(seconds)
    await home.wait(59)
    assert home.heard() == [("fire", "raised", "af")]
    await home.wait(2)
    assert home.heard() == [("open", "reminded", "a")]


async def test_without_a_link_nothing_piles_up(home):
    home.door(True)
    home.house.link = (False, 0)
    await home.wait(7200, step_s=10)
    assert [change for _, change, _ in home.heard()] == ["raised", "raised"]
    home.house.link = (True, 0)
    await home.wait(61)
    assert home.heard() == [("open", "reminded", "a")]


async def test_a_device_that_is_missing_calls_and_its_channel_is_among_all(home):
    assert {"alert.door_missing", "alert.lamp_missing", "alert.open"} <= {c.name for c in home.house.all_channels}
    await home.wait(299)
    home.report("lamp", None)
    assert home.heard() == []
    await home.wait(1)
    assert home.heard() == [("door_missing", "raised", "af")], "it has not reported since the start"
    home.door(False)
    assert home.heard() == [("door_missing", "cleared", "af")]
    await home.wait(299)
    assert home.heard() == [("lamp_missing", "raised", "acf")], "its value went"


async def test_what_an_older_knoop_kept_is_said_again_to_those_who_are_told_anyway(make):
    async with make() as before:
        await before.state.save_alerts([AlertRow("open", "raised", 7, "")])
    async with make(run="bbbbbbbb") as after:
        await after.wait(61)
        assert after.heard() == [("open", "reminded", "a")]


async def test_what_was_there_long_before_its_rule_waits_from_now_on(home):
    """A rule that came with another configuration is fed what was said before it."""
    home.report("door", False)
    before = home.clock.boottime_ns()
    await home.wait(7200, step_s=60)
    home.report("door", True, at_ns=before)
    assert home.heard() == [("open", "raised", "af")]
    await home.wait(59)
    assert home.heard() == [("fire", "raised", "af")]
    await home.wait(1)
    assert home.heard() == [("open", "reminded", "a")]


async def test_another_configuration_goes_on_where_the_former_ended(home):
    home.door(True)
    home.heard()
    other = Household(
        home.house.config, run="cccccccc", clock=home.clock, store=None, state=home.state, board=Board(),
        changed=lambda _change: None, rights=lambda: None, session=lambda: None,
    )
    other.follow(home.house)
    assert isinstance(other.alarms, Alarms)
    assert other.alarms.calls.snapshot() == home.house.alarms.calls.snapshot()


async def test_what_changed_last_is_kept_when_the_node_stops_at_once(make):
    async with make() as home:
        home._saving.cancel()
        await asyncio.gather(home._saving, return_exceptions=True)
        saving = asyncio.create_task(home.house.alarms.save(home.state))
        await asyncio.sleep(0)
        home.door(True)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        assert [row.name for row in await home.state.load_alerts()] == ["open"]


def gives_receipts(home, *people):
    """Clients of these have confirmed an alarm before."""
    for who in people:
        home.house.alarms.unreceived.restore([], {who: 0})


async def test_an_alarm_that_no_client_confirmed_is_sent_again_as_it_was_and_says_when(home):
    gives_receipts(home, ANNA)
    home.door(True)
    said_at = home.clock.time_ns()
    [raised] = home.deliver()
    await home.wait(59)
    assert home.again() == [], "it was said in this login"
    await home.wait(1)
    [stanza] = home.sent
    assert home.again() == [("a", "raised!", raised)]
    assert stanza.find("{urn:xmpp:receipts}request") is not None
    assert stanza.find("{urn:xmpp:delay}delay").get("stamp") == timestamp(said_at)
    home.house.alarms.received(compat.jid(f"{ANNA}/phone"), raised)
    await home.wait(7200, step_s=10)
    assert home.again() == []
    assert home.house.alarms.calls.told("open")[ANNA] is not None


@pytest.mark.parametrize("ends", ["acknowledge", "clear", "revoke", "remove", "another configuration"])
async def test_what_has_ended_is_not_sent_again(home, ends):
    gives_receipts(home, ANNA)
    home.door(True)
    home.deliver()
    house = home.house
    match ends:
        case "acknowledge":
            await house.acknowledge("open", by=compat.jid(f"{BRAM}/x"))
        case "clear":
            home.door(False)
        case "revoke":
            house.access = Access([Person(jid=compat.jid(ANNA), role=Role.VIEWER, only=("lamp",))])
        case "remove":
            house.access = Access([])
        case _:
            house.alerts = Alerts({name: rule for name, rule in house.alerts.rules.items() if name != "open"}.values())
    await home.wait(7200, step_s=10)
    assert home.again() == []
    assert house.alarms.unreceived._notes == {}


async def test_that_it_is_over_takes_the_place_of_that_it_began(home):
    gives_receipts(home, ANNA)
    home.door(True)
    home.door(False)
    home.deliver()
    await home.wait(61)
    assert [text for _, text, _ in home.again()] == ["cleared!"]
    home.door(True)
    await home.wait(300)
    assert home.again() == [], "it is not over any more"


@pytest.mark.parametrize("how", ["quiet", "silence"])
async def test_quiet_and_silence_hold_a_repeat_back(home, how):
    gives_receipts(home, ANNA)
    home.door(True)
    [raised] = home.deliver()
    until_ns = home.clock.time_ns() + 600 * 10**9
    if how == "quiet":
        await home.house.telling.hush(ANNA, until_ns)
    else:
        await home.house.alarms.silence("open", until_ns, by=compat.jid(f"{BRAM}/x"))
    await home.wait(590)
    assert home.again() == []
    await home.wait(70)
    assert home.again() == [("a", "raised!", raised)]


async def test_a_restart_goes_on_with_what_nobody_received(make):
    async with make() as before:
        gives_receipts(before, ANNA)
        before.door(True)
        [raised] = before.deliver()
        await before.wait(61)
        assert len(before.again()) == 1
    async with make(run="bbbbbbbb") as after:
        after.door(True)
        await after.wait(1)
        await after.wait(9)
        assert after.again() == []
        await after.wait(1)
        assert after.again() == [("a", "raised!", raised)], "once with the login"
        await after.wait(7200, step_s=10)
        assert len(after.again()) == 2, "after 5 and 30 min: 1 min was before"
    async with make(run="cccccccc") as after:
        assert after.house.alarms.unreceived._notes == {}
        assert after.house.alarms.unreceived.gives_receipts(ANNA)


async def test_without_a_link_no_pause_passes_and_each_login_sends_it_once(home):
    gives_receipts(home, ANNA)
    home.door(True)
    home.deliver()
    await home.wait(1)
    home.house.link = (False, 1)
    await home.wait(7200, step_s=10)
    assert home.again() == []
    home.house.link = (True, 2)
    await home.wait(59)
    assert len(home.again()) == 1


async def test_what_comes_back_goes_to_the_next_at_once_and_is_tried_again_later(home, caplog):
    home.door(True)
    [raised] = home.deliver()
    await home.wait(5)
    home.heard()
    for _ in range(3):
        home.house.alarms.bounced(compat.jid(ANNA), raised, "service-unavailable")
    await home.wait(1)
    assert home.heard() == [("open", "reminded", "b")], "not after 30 min"
    [warned] = [line for line in caplog.messages if "came back" in line]
    assert ANNA in warned and "service-unavailable" in warned
    home.house.alarms.bounced(compat.jid(BRAM), raised, "")
    await home.wait(30)
    assert home.heard() == [] and home.again() == []
    home.house.link = (True, 0)
    await home.wait(275)
    assert home.again() == [("a", "raised!", raised)]


async def test_what_ended_after_a_restart_stays_ended(make):
    async with make() as home:
        home.door(True)
    async with make(run="bbbbbbbb") as home:
        home.door(False)
    assert await home.state.load_alerts() == []


async def test_an_alarm_counts_as_sent_when_its_note_is_on_the_disk(make):
    async with make() as home:
        home.door(True)
        [raised] = home.deliver()
        await home.house.alarms.kept()
        [note], _ = await home.state.load_unreceived()
        assert (note.identity, note.jid, note.change) == (raised, ANNA, "raised")


async def test_what_the_disk_did_not_take_is_tried_once_more_at_the_end(make, monkeypatch):
    takes = False

    async def save_alerts(rows):
        if not takes:
            raise StoreError("the disk is full")
        await State.save_alerts(home.state, rows)

    async with make() as home:
        monkeypatch.setattr(home.state, "save_alerts", save_alerts)
        home.door(True)
        await home.kept()
        assert await home.state.load_alerts() == []
        takes = True
    assert [row.name for row in await home.state.load_alerts()] == ["open"]


async def test_a_disk_that_fails_or_hangs_holds_no_alarm_up(make, monkeypatch, caplog):
    monkeypatch.setattr("knoop.alarms.KEPT_S", 0.01)
    hangs, failing = asyncio.Event(), True

    async def save_unreceived(*_notes):
        await hangs.wait()
        if failing:
            raise StoreError("the disk is full")
        return await State.save_unreceived(home.state, *_notes)

    async with make() as home:
        monkeypatch.setattr(home.state, "save_unreceived", save_unreceived)
        home.door(True)
        home.deliver()
        await home.house.alarms.kept()
        monkeypatch.setattr("knoop.alarms.KEPT_S", 1000)
        async with asyncio.timeout(20):
            await home.house.alarms.kept()
            hangs.set()
            await home.kept()
            for _ in range(5):
                await home.wait(1)
                await home.kept()
            await home.house.alarms.kept()
        assert len([line for line in caplog.messages if "not remembered" in line]) == 1
        failing = False
        await home.wait(60)
        await home.kept()
        assert len((await home.state.load_unreceived())[0]) == 1, "tried again when the disk is back"
