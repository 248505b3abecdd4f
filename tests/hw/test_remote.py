"""Outputs that live in devices: the law of docs/adr/0018-outputs-in-devices.md, event by event."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hw import peer
from tests.hw.peer import DEVICES, Peer
from tests.hw.stopping import Stopping

from knoop_hw import config as hw_config
from knoop_hw import decode, source
from knoop_hw.board import Board
from knoop_hw.errors import DeviceError
from knoop_hw.link import LinkClosed, pair
from knoop_hw.messages import Beat, Done, Failed, Set
from knoop_hw.remote_tables import Remote

OFF, ON = False, True
BOARD = '[board]\ndriver = "simulated"\n'
DEVICE = '[sensor.arduino]\ndriver = "peer"\n'
PUMP = '[output.pump]\nsensor = "arduino"\nkey = "p"\n'
DIMMER = '[output.dimmer]\nsensor = "arduino"\nkey = "d"\nkind = "number"\nminimum = 0\nmaximum = 255\n'
WARMTH = (
    '[output.warmth]\nsensor = "arduino"\nkey = "w"\nkind = "number"\nminimum = 5\nmaximum = 30\nunit = "°C"\n'
    'initial = 18\nsafe = 12\n'
)  # fmt: skip


def read(tables):
    problems = []
    loaded = hw_config.load(decode.parse(tables, "node.toml"), problems)
    return loaded, [str(problem).removeprefix("node.toml:") for problem in problems]


def made(tables, device=DEVICE):
    loaded, problems = read(BOARD + device + tables)
    assert problems == []
    return loaded


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    """`driver = "peer"` is there as if it were in the folder."""
    real, names = source.load, source.names()
    monkeypatch.setattr(source, "names", lambda: (*names, "peer"))
    monkeypatch.setattr(source, "load", lambda name: peer if name == "peer" else real(name))
    yield
    DEVICES.clear()


@pytest.fixture
def clock():
    return Stopping()


@pytest.fixture
def arduino(clock):
    DEVICES["arduino"] = Peer(clock)
    return DEVICES["arduino"]


class House:
    """A board, and an agent that beats while it lives."""

    def __init__(self, clock, state):
        self.clock, self.state, self.board, self.link, self.alive = clock, state, None, None, False
        self.answers, self._tasks, self._ids = {}, [], 0

    async def start(self, tables, device=DEVICE):
        self.board = await Board(made(tables, device), clock=self.clock, state=self.state).__aenter__()
        await self.connect()
        return self

    async def connect(self):
        self.link, board_end = pair(through_json=True)
        self.alive = True
        works = (self.board.serve(board_end), self._listen(self.link), self._beat(self.link))
        self._tasks += [asyncio.create_task(work) for work in works]
        await self.clock.advance(0)

    async def _listen(self, link):
        try:
            while True:
                answer = await link.receive()
                if isinstance(answer, Done | Failed):
                    self.answers[answer.id] = answer
        except LinkClosed:
            pass

    async def _beat(self, link):
        try:
            while True:
                await link.send(Beat())
                await self.clock.sleep(0.5)
        except LinkClosed:
            pass

    async def ask(self, name, value, *, for_s=None):
        """A wish's number, before it is answered."""
        self._ids += 1
        now_ns, for_ms = self.clock.boottime_ns(), None if for_s is None else round(for_s * 1000)
        wish = Set(id=self._ids, channel=name, value=value, for_ms=for_ms, by="anna@example.org", asked_ns=now_ns)
        await self.link.send(wish)
        await self.clock.advance(0)
        return self._ids

    async def set(self, name, value, *, for_s=None):
        """The answer: a reading's value and quality, or what is refused and why."""
        answer = self.answers[await self.ask(name, value, for_s=for_s)]
        if isinstance(answer, Failed):
            return answer.error, answer.text
        return answer.reading.value, answer.reading.quality

    def now(self, name):
        reading = self.board.latest.get(name)
        return reading and (reading.value, reading.quality)

    async def reload(self, tables, device=DEVICE):
        await self.board.reload(made(tables, device))
        await self.clock.advance(0)
        await self.connect()

    async def agent_dies(self):
        self.alive = False
        await self.link.close()
        await self.clock.advance(0)

    async def stop(self):
        if self.board is not None:
            stopping = asyncio.create_task(self.board.__aexit__(None, None, None))
            await self.clock.advance(0)
            for _ in range(40):
                if stopping.done():
                    break
                await self.clock.advance(0.1)
            await stopping
            self.board = None

    async def die(self):
        """As by kill -9: nobody writes any more."""
        board, self.board = self.board, None
        board.remotes._devices.clear()
        await board.__aexit__(None, None, None)

    async def close(self):
        await self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def house(clock, tmp_path):
    opened = House(clock, tmp_path)
    yield opened
    await opened.close()


class TestWishes:
    async def test_what_the_device_shows_is_ok(self, house, arduino):
        await house.start(PUMP + DIMMER)
        assert await house.set("pump", True) == (True, "ok")
        assert await house.set("dimmer", 120) == (120.0, "ok")
        assert arduino.level == {"p": True, "d": 120.0}

    async def test_what_it_cannot_show_is_an_estimate(self, house, arduino):
        arduino.shows = False
        await house.start(PUMP)
        assert house.now("pump") == (False, "estimate")
        assert await house.set("pump", True) == (True, "estimate")

    async def test_beats_and_lines_go_on_while_a_device_takes_its_time(self, house, arduino, clock):
        await house.start(PUMP + '[output.lamp]\npin = "GPIO17"\n')
        arduino.takes_s = 1.0
        slow = await house.ask("pump", True)
        assert await house.set("lamp", True) == (True, "ok")
        assert slow not in house.answers
        await clock.advance(1.0)
        assert house.answers[slow].reading.value is True

    async def test_wishes_are_done_in_order_and_each_is_answered(self, house, arduino, clock):
        await house.start(PUMP + DIMMER)
        arduino.takes_s = 1.0
        asked = [await house.ask("pump", True), await house.ask("dimmer", 7), await house.ask("pump", False)]
        await clock.advance(3.0)
        assert arduino.told(1) == [True, 7.0, False], "the first write was pump's initial level"
        assert [house.answers[number].reading.value for number in asked] == [True, 7.0, False]

    async def test_a_wish_that_waited_too_long_is_not_done_any_more(self, house, arduino, clock):
        """The agent has given up by then (messages.LATE_NS) and said so."""
        await house.start(PUMP)
        arduino.takes_s = 3.0
        asked = [await house.ask("pump", value) for value in (True, False, True)]
        await clock.advance(20.0)
        assert [type(house.answers[number]) for number in asked] == [Done, Failed, Failed]
        assert "its device has not taken False for 2 s" in house.answers[asked[1]].text
        assert "its device was busy for too long" in house.answers[asked[2]].text
        assert arduino.told(1) == [True, False], "the one that was cut off counts as failed: it went to safe"

    async def test_what_waited_in_a_driver_while_we_hung_is_not_sent(self, house, arduino, clock):
        """As for a turn on a bus: who asked has been told that it was not done."""
        await house.start(PUMP + 'safe = "keep"\n')
        arduino.takes_s = 2.0
        asked = await house.ask("pump", True)
        clock.skip(30)
        await clock.advance(10)
        assert house.answers[asked].text == "output.pump: its device has not taken True for 4 s; is it stuck?"
        assert arduino.told(1) == []

    async def test_a_device_that_hangs_is_waited_for_for_four_seconds(self, house, arduino, clock):
        await house.start(PUMP + 'safe = "keep"\n')
        arduino.takes_s = 1e9
        asked = await house.ask("pump", True)
        await clock.advance(3.9)
        assert asked not in house.answers
        await clock.advance(0.2)
        assert house.answers[asked].error == "device"
        assert house.answers[asked].text == "output.pump: its device has not taken True for 4 s; is it stuck?"
        assert house.now("pump") == (None, "error")

    async def test_a_device_that_says_nothing_takes_wishes_all_the_same(self, house, arduino):
        await house.start(PUMP, DEVICE + "hangs = true\n")
        assert await house.set("pump", True) == (True, "ok")

    @pytest.mark.parametrize(
        ("name", "value", "answer"),
        [
            ("dimmer", 256, ("range", "dimmer: takes 0 to 255, not 256")),
            ("dimmer", True, (255.0, "ok")),
            ("dimmer", False, (0.0, "ok")),
            ("warmth", 4.9, ("range", "warmth: takes 5 to 30 °C, not 4.9")),
            ("warmth", True, ("range", "warmth: takes 5 to 30 °C, not True")),
            ("pump", 0.5, ("range", "pump: is on or off; 0.5 is neither")),
            ("lamp", True, ("unknown", "lamp: is not an output of this board; outputs: none")),
        ],
    )
    async def test_what_fits_is_written_and_nothing_else(self, house, arduino, name, value, answer):
        await house.start(PUMP + DIMMER + WARMTH)
        before = len(arduino.writes)
        assert await house.set(name, value) == answer
        assert len(arduino.writes) - before == (answer[1] == "ok")

    async def test_a_number_may_be_rounded_and_is_then_what_the_device_says(self, house, arduino, clock):
        await house.start(DIMMER)
        arduino.rounds = lambda value: value - value % 2
        assert await house.set("dimmer", 121) == (120.0, "ok")
        await clock.advance(5)
        assert arduino.told() == [121.0]

    async def test_a_device_that_shows_something_else_has_failed(self, house, arduino, clock, caplog):
        await house.start(PUMP)
        arduino.rounds = lambda _value: False
        reason, text = await house.set("pump", True)
        assert (reason, text) == ("device", "output.pump: its device shows False after it was set to True; look at it")
        await clock.advance(3)
        assert arduino.told(1) == [True, False], "it went to safe, which it shows: enough"

    async def test_a_bug_in_a_driver_costs_one_answer_and_is_said_once(self, house, arduino, clock, caplog):
        await house.start(PUMP)
        arduino.rounds = lambda _value: {}["bug"]
        assert (await house.set("pump", True))[0] == "device"
        await clock.advance(10)  # safe is tried every second
        assert caplog.text.count("the driver of its device has a bug") == 1

    @pytest.mark.parametrize("shown", [float("nan"), float("inf"), 10**400, "x"])
    async def test_what_is_no_level_is_a_failure_and_no_bug(self, house, arduino, shown):
        await house.start(DIMMER)
        arduino.rounds = lambda _value: shown
        reason, text = await house.set("dimmer", 5)
        assert (reason, text.endswith("which is no level; look at it")) == ("device", True)
        assert house.now("dimmer") == (None, "error")

    async def test_words_of_a_channel(self, house, arduino):
        await house.start(PUMP + DIMMER + WARMTH + "confirm = true\n")
        found = {channel.name: channel for channel in house.board.channels}
        assert [found[name].kind for name in ("pump", "dimmer", "warmth")] == ["switch", "number", "number"]
        assert all(found[name].writable for name in ("pump", "dimmer", "warmth"))
        assert (found["warmth"].minimum, found["warmth"].maximum, found["warmth"].unit) == (5.0, 30.0, "°C")
        assert (found["warmth"].digits, found["dimmer"].digits, found["warmth"].confirm) == (1, None, True)


    @pytest.mark.parametrize(("said", "wanted"), [("", True), ("confirm = false\n", False)])
    async def test_a_lock_is_a_switch_that_wants_a_code(self, house, arduino, said, wanted):
        await house.start(PUMP + 'kind = "lock"\n' + said)
        [pump] = [channel for channel in house.board.channels if channel.name == "pump"]
        assert (pump.kind, pump.type, pump.confirm) == ("lock", "boolean", wanted)
        assert await house.set("pump", True) == (True, "ok")


class TestAway:
    async def test_a_wish_is_refused_at_once_and_the_channel_is_missing(self, house, arduino):
        arduino.away()
        await house.start(PUMP)
        assert house.now("pump") == (None, "missing")
        reason, text = await house.set("pump", True)
        assert reason == "absent"
        assert text == "pump: sensor.arduino is not there; see to that device, its own readings say more"
        assert arduino.writes == []

    async def test_pulled_and_plugged_in_it_begins_anew_once(self, house, arduino, clock, caplog):
        await house.start(PUMP + DIMMER)
        await house.set("pump", True)
        arduino.away()
        await clock.advance(5)
        assert house.now("pump") == house.now("dimmer") == (None, "missing")
        assert (await house.set("pump", True))[0] == "absent"
        arduino.back()
        await clock.advance(30)
        assert arduino.told(2) == [False], "pump's initial level; the dimmer keeps what it has"
        assert house.now("pump") == (False, "ok")
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
            "sensor.arduino: was unplugged; plug it in again; it is tried again", "sensor.arduino: is back",
        ]  # fmt: skip

    async def test_pulled_in_the_middle_of_a_wish(self, house, arduino, clock):
        await house.start(PUMP)
        arduino.takes_s = 1.0
        asked = await house.ask("pump", True)
        arduino.away()
        await clock.advance(2)
        assert house.answers[asked].error == "device"
        assert house.now("pump") == (None, "missing")
        arduino.takes_s = 0.0
        arduino.back()
        await clock.advance(10)
        assert arduino.told(1) == [False]

    async def test_what_keeps_its_level_is_not_known_when_it_is_back(self, house, arduino, clock):
        await house.start(PUMP + 'initial = "keep"\n')
        assert (house.now("pump"), arduino.writes) == (None, [])
        assert await house.set("pump", True, for_s=5) == (
            "range", "pump: nobody knows to what it would return; set it without a time first",
        )  # fmt: skip
        await house.set("pump", True)
        arduino.away()
        await clock.advance(1)
        arduino.back()
        await clock.advance(10)
        assert (house.now("pump"), arduino.told()) == ((True, "estimate"), [True])

    @pytest.mark.parametrize(("level", "told"), [(ON, [False]), (OFF, [])])
    async def test_what_keeps_its_level_is_looked_at_where_the_device_can_tell(
        self, house, arduino, clock, level, told
    ):
        arduino.tells, arduino.level["p"] = True, level
        await house.start(PUMP + 'initial = "keep"\nmax_on = "10s"\n')
        assert (house.now("pump"), arduino.writes) == ((level, "ok"), [])
        await clock.advance(11)
        assert arduino.told() == told

    async def test_one_that_cannot_be_looked_at_is_said(self, house, arduino, caplog):
        arduino.tells = arduino.refuses = True
        await house.start(PUMP + 'initial = "keep"\n')
        assert house.now("pump") is None
        assert "output.pump: sensor.arduino: says nothing; look at it" in caplog.text

    async def test_a_lease_ends_although_the_device_was_away(self, house, arduino, clock):
        await house.start(PUMP + 'initial = "keep"\n')
        await house.set("pump", False)
        await house.set("pump", True, for_s=10)
        arduino.away()
        await clock.advance(8)
        arduino.back()
        await clock.advance(30)
        assert arduino.told() == [False, True, False]

    async def test_what_must_happen_and_fails_is_tried_every_second_until_it_has(self, house, arduino, clock, caplog):
        await house.start(PUMP + 'max_on = "10s"\n')
        await house.set("pump", True)
        arduino.refuses = True
        began = arduino.began
        await clock.advance(14.5)
        assert arduino.began - began == 5
        assert house.now("pump") == (None, "error")
        arduino.refuses = False
        await clock.advance(5)
        assert arduino.told(1) == [True, False]
        assert house.now("pump") == (False, "ok")
        said = [record.message for record in caplog.records if record.levelname in {"ERROR", "WARNING"}]
        assert said == [
            "output.pump: sensor.arduino: takes nothing; look at it; trying again every second",
            "output.pump: is back",
        ]  # fmt: skip

    async def test_dead_man_is_stronger_than_the_initial_level(self, house, arduino, clock):
        await house.start(PUMP + 'initial = "on"\ndead_man = true\n')
        await clock.advance(3)
        assert arduino.told() == [True]
        arduino.away()
        await clock.advance(0)
        await house.agent_dies()
        await clock.advance(5)
        arduino.back()
        await clock.advance(10)
        assert arduino.told(1) == [False]


class TestBack:
    """A device that can tell how it is was away: a read failed, a port vanished."""

    @staticmethod
    async def away_and_back(house, arduino, *, for_s=0.0, lost=None, by_then=None):
        before = len(arduino.writes)
        arduino.away()
        await house.clock.advance(for_s)
        if by_then is not None:
            await by_then()
        arduino.level |= lost or {}
        arduino.back()
        await house.clock.advance(12)
        return arduino.told(before)

    @pytest.fixture
    def arduino(self, arduino):
        arduino.tells = True
        return arduino

    @pytest.mark.parametrize("initial", ["off", "on", "keep"])
    @pytest.mark.parametrize("level", [ON, OFF])
    async def test_what_it_did_not_lose_is_not_written(self, house, arduino, initial, level):
        await house.start(PUMP + f'initial = "{initial}"\n')
        await house.set("pump", level)
        assert await self.away_and_back(house, arduino) == []
        assert house.now("pump") == (level, "ok")

    @pytest.mark.parametrize(("initial", "told"), [("off", []), ("on", [ON]), ("keep", [])])
    async def test_what_it_lost_begins_anew(self, house, arduino, initial, told):
        await house.start(PUMP + f'initial = "{initial}"\n')
        await house.set("pump", True)
        assert await self.away_and_back(house, arduino, lost={"p": False}) == told
        assert house.now("pump") == (bool(told), "ok")

    @pytest.mark.parametrize(("shown", "told"), [(18.0, []), (18.1, [18.0]), (25.0, [18.0])])
    async def test_a_start_writes_what_is_not_there_already(self, house, arduino, shown, told):
        arduino.level["w"] = shown
        await house.start(WARMTH)
        assert (arduino.told(), house.now("warmth")) == (told, (18.0, "ok"))

    async def test_what_was_rounded_was_not_lost(self, house, arduino):
        arduino.rounds = lambda value: value - value % 2
        await house.start(DIMMER + "initial = 0\n")
        await house.set("dimmer", 121)
        assert await self.away_and_back(house, arduino) == []
        assert house.now("dimmer") == (120.0, "ok")

    async def test_limits_and_times_go_on_counting(self, house, arduino):
        await house.start(PUMP + 'max_on = "30s"\n' + DIMMER + "initial = 0\n")
        await house.set("pump", True)
        await house.set("dimmer", 200, for_s=20)
        assert await self.away_and_back(house, arduino) == []
        await house.clock.advance(9)
        assert arduino.told()[-1] == 0.0
        await house.clock.advance(10)
        assert arduino.told()[-1] is False

    async def test_what_became_due_while_it_was_away_happens(self, house, arduino):
        await house.start(PUMP + 'initial = "keep"\nmax_on = "30s"\n')
        await house.set("pump", True)
        assert await self.away_and_back(house, arduino, for_s=60) == [False]

    @pytest.mark.parametrize("tells", [True, False])
    async def test_an_agent_that_was_silent_in_between_is_not_forgotten(self, house, arduino, tells):
        """It was there again before the device was."""
        arduino.tells = tells
        await house.start(PUMP + 'initial = "on"\ndead_man = true\n')
        await house.set("pump", True)

        async def silence():
            await house.agent_dies()
            await house.clock.advance(5)
            await house.connect()
            await house.clock.advance(3)

        assert await self.away_and_back(house, arduino, by_then=silence) == [False]

    @pytest.mark.parametrize("safe", ["off", "keep"])
    async def test_a_wish_that_failed_is_not_what_it_had(self, house, arduino, safe):
        await house.start(PUMP + f'safe = "{safe}"\n')
        arduino.takes_s = 1.0
        asked = await house.ask("pump", True)
        assert await self.away_and_back(house, arduino, for_s=2, lost={"p": True}) == [False]
        assert house.answers[asked].error == "device"

    async def test_one_answer_that_is_lost_switches_nothing_off(self, house, arduino, caplog):
        await house.start(PUMP)
        await house.set("pump", True)
        arduino.lost_answers = 3
        assert await self.away_and_back(house, arduino) == []
        assert house.now("pump") == (True, "ok")
        assert [line for line in caplog.messages if line.startswith("output.pump")] == [
            "output.pump: sensor.arduino: says nothing; look at it; trying again every second", "output.pump: is back",
        ]  # fmt: skip

    async def test_what_is_due_does_not_wait_for_an_answer(self, house, arduino):
        await house.start(PUMP + 'max_on = "10s"\n')
        await house.set("pump", True)
        arduino.lost_answers = 1_000_000
        assert await self.away_and_back(house, arduino, for_s=1) == [False]

    async def test_what_is_on_already_need_not_rest(self, house, arduino):
        arduino.level["p"] = True
        await house.start(PUMP + 'initial = "on"\nmin_off = "1min"\n')
        await house.clock.advance(90)
        assert (arduino.told(), house.now("pump")) == ([], (True, "ok"))

    @pytest.mark.parametrize("event", ["away", "stop"])
    async def test_what_goes_while_it_is_asked_gets_no_initial_level(self, house, arduino, caplog, event):
        await house.start(PUMP + 'initial = "on"\n')
        await house.set("pump", False)
        before = len(arduino.writes)
        arduino.away()
        await house.clock.advance(0)
        arduino.back()
        arduino.takes_s, arduino.level = 0.8, {}
        await house.clock.advance(1.5)
        if event == "away":
            arduino.away()
            await house.clock.advance(5)
            assert house.now("pump") == (None, "missing")
        else:
            await house.stop()
        assert arduino.told(before) == ([] if event == "away" else [False])
        assert "trying again" not in caplog.text

    async def test_an_upgrade_would_forget_what_it_had(self, house, arduino):
        await house.start(PUMP)
        await house.set("pump", True)
        arduino.away()
        await house.clock.advance(1)
        assert house.board.moved_by_a_restart() == ["pump"]

    async def test_the_end_does_not_wait_for_an_answer(self, house, arduino):
        await house.start(PUMP)
        await house.set("pump", True)
        arduino.lost_answers = 1_000_000
        await self.away_and_back(house, arduino)
        await house.stop()
        assert arduino.told(1) == [True, False]


class TestGuards:
    async def test_max_on_from_the_moment_it_came_on(self, house, arduino, clock):
        await house.start(PUMP + 'max_on = "10s"\n')
        await house.set("pump", True)
        await clock.advance(6)
        await house.set("pump", True)
        await clock.advance(10)
        assert [(round(at - arduino.writes[1][0]), value) for at, _, value in arduino.writes[1:]] == [
            (0, True), (6, True), (10, False),
        ]  # fmt: skip

    async def test_what_may_be_on_counts_as_on(self, house, arduino, clock):
        await house.start(PUMP + 'initial = "keep"\nmax_on = "10s"\n')
        await clock.advance(9)
        assert arduino.writes == []
        await clock.advance(2)
        assert arduino.told() == [False]

    @pytest.mark.parametrize(("before", "told_after_s"), [(ON, 6), (OFF, 10)])
    async def test_so_does_what_was_away_and_keeps_its_level(self, house, arduino, clock, before, told_after_s):
        """What was on is not on for longer because of that; what was off may be on from the moment it is back."""
        await house.start(PUMP + 'initial = "keep"\nmax_on = "10s"\n')
        await house.set("pump", before)
        await clock.advance(3)
        arduino.away()
        await clock.advance(0)
        arduino.back()
        await clock.advance(1)
        back_s = clock.boottime_ns() / 1e9
        await clock.advance(20)
        assert arduino.told(1) == [False]
        assert arduino.writes[1][0] - back_s == pytest.approx(told_after_s, abs=0.1)

    async def test_min_off_also_after_a_start(self, house, arduino, clock):
        await house.start(PUMP + 'min_off = "1min"\n')
        assert (await house.set("pump", True))[0] == "min-off"
        await clock.advance(60)
        assert await house.set("pump", True) == (True, "ok")
        arduino.away()
        await clock.advance(0)
        arduino.back()
        await clock.advance(2)
        assert (await house.set("pump", True))[0] == "min-off"

    @pytest.mark.parametrize("initial", ["on", "keep"])
    async def test_min_off_for_what_begins_on_or_is_not_known(self, house, arduino, clock, initial):
        await house.start(PUMP + f'initial = "{initial}"\nmin_off = "1min"\n')
        assert (await house.set("pump", True))[0] == "min-off"
        await clock.advance(61)
        assert arduino.told() == ([False, True] if initial == "on" else [])

    async def test_a_level_for_a_while(self, house, arduino, clock):
        await house.start(DIMMER)
        await house.set("dimmer", 40)
        assert await house.set("dimmer", 200, for_s=5) == (200.0, "ok")
        await clock.advance(6)
        assert arduino.told() == [40.0, 200.0, 40.0]

    @pytest.mark.parametrize(("tables", "told"), [(PUMP, False), (WARMTH, 12.0)])
    async def test_dead_man_once(self, house, arduino, clock, tables, told):
        await house.start(tables + "dead_man = true\n")
        await house.set("pump" if tables == PUMP else "warmth", True if tables == PUMP else 25)
        await clock.advance(10)
        await house.agent_dies()
        before = len(arduino.writes)
        await clock.advance(1.4)
        assert len(arduino.writes) == before
        await clock.advance(60)
        assert arduino.told(before) == [told]
        await house.connect()
        await clock.advance(5)
        assert len(arduino.writes) == before + 1, "its coming back moves nothing"

    async def test_our_own_hang_is_a_silence_too(self, house, arduino, clock):
        await house.start(PUMP + "dead_man = true\n")
        await house.set("pump", True)
        for _ in range(8):
            await house.link.send(Beat())  # they wait in the socket
        clock.skip(4)
        await clock.advance(0.1)
        assert arduino.told(1) == [True, False]

    @pytest.mark.parametrize(("first", "then"), [(ON, OFF), (OFF, ON)])
    async def test_a_time_that_ended_while_we_hung_does_not_go_before_the_dead_man(
        self, house, arduino, clock, first, then
    ):
        """It would bring back what the agent, silent for too long, must not have on; a beat waits in the socket."""
        await house.start(PUMP + "dead_man = true\n")
        await house.set("pump", first)
        await house.set("pump", then, for_s=1)
        before = len(arduino.writes)
        clock.skip(10)
        house.board.beat()
        await clock.advance(10)
        assert arduino.told(before) == [False] * then
        assert house.now("pump") == (False, "ok")

    async def test_what_became_due_while_the_device_took_its_time_happens(self, house, arduino, clock):
        """Neither the wish that was under way nor the agent's coming back takes it back."""
        await house.start(PUMP + "dead_man = true\n")
        await clock.advance(1)
        arduino.takes_s = 3.5
        await house.ask("pump", True)
        await house.agent_dies()
        await clock.advance(3)
        await house.connect()
        arduino.takes_s = 0.0
        await clock.advance(3)
        assert arduino.told(1) == [True, False]

    async def test_what_was_due_comes_before_a_wish(self, house, arduino, clock):
        await house.start(PUMP + 'max_on = "2s"\nmin_off = "1min"\n')
        await clock.advance(60)
        await house.set("pump", True)
        clock.skip(10)
        assert (await house.set("pump", True))[0] == "min-off"
        assert arduino.told(1) == [True, False]


# ── the law ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# Event → what is written for `initial` and `safe` (None: keep).
LAW = {
    "start": lambda initial, _safe: [initial],
    "stop": lambda _initial, safe: [safe],
    "kill": lambda _initial, _safe: [],
    "kill, --safe": lambda _initial, safe: [safe],
    "restart": lambda initial, safe: [safe, initial],
    "kill, start": lambda initial, _safe: [initial],
    "upgrade": lambda initial, safe: [safe, initial] if {initial, safe} <= {ON, None} else [],  # what it has already
    "agent dies": lambda _initial, _safe: [],
    "it hangs": lambda _initial, _safe: [],
    "reload, nothing changed": lambda _initial, _safe: [],
    "reload, another table": lambda _initial, _safe: [],
    "reload, words": lambda _initial, _safe: [],
    "reload, own table": lambda initial, safe: [safe, initial],
    "reload, its sensor": lambda initial, safe: [safe, initial],
    "reload, gone": lambda _initial, safe: [safe],
    "reload, its sensor gone": lambda _initial, safe: [safe],
    "its device away": lambda _initial, _safe: [],
    "its device away and back": lambda initial, _safe: [initial],
}


async def happen(event, house, arduino, tables):
    clock, lamp = house.clock, '[output.lamp]\npin = "GPIO17"\n'
    match event:
        case "stop":
            await house.stop()
        case "kill":
            await house.die()
        case "kill, --safe":
            await house.die()
            assert await Board(made(tables), clock=clock, state=house.state).to_safe() == []
        case "restart":
            await house.stop()
            await house.start(tables)
        case "kill, start":
            await house.die()
            await house.start(tables)
        case "upgrade":
            if not house.board.moved_by_a_restart():
                await house.stop()
                await house.start(tables)
        case "agent dies":
            await house.agent_dies()
        case "it hangs":
            clock.skip(4)
        case "reload, nothing changed":
            await house.reload(tables)
        case "reload, another table":
            await house.reload(tables + lamp)
        case "reload, words":
            await house.reload(tables + 'label = "It"\naliases = ["that"]\nconfirm = true\nclass = "alarm"\n')
        case "reload, own table":
            await house.reload(tables + 'more = "x"\n')
        case "reload, its sensor":
            await house.reload(tables, DEVICE + 'device = "x"\n')
        case "reload, gone":
            await house.reload(lamp)
        case "reload, its sensor gone":
            await house.reload(lamp, "")
        case "its device away":
            arduino.away()
        case "its device away and back":
            arduino.away()
            await clock.advance(1)
            arduino.back()
    await clock.advance(15)


@pytest.mark.parametrize("event", LAW)
@pytest.mark.parametrize("safe", [OFF, ON, None])
@pytest.mark.parametrize("initial", [OFF, ON, None])
async def test_a_switch_is_written_this_and_nothing_else(house, arduino, event, initial, safe):
    words = {OFF: "off", ON: "on", None: "keep"}
    tables = PUMP + f'initial = "{words[initial]}"\nsafe = "{words[safe]}"\n'
    before = 0
    if event != "start":
        await house.start(tables)
        assert await house.set("pump", True) == (True, "ok")
        before = len(arduino.writes)
        await happen(event, house, arduino, tables)
    else:
        await house.start(tables)
        await house.clock.advance(15)
    assert arduino.told(before) == [level for level in LAW[event](initial, safe) if level is not None]


@pytest.mark.parametrize("event", [event for event in LAW if event != "start"])
@pytest.mark.parametrize(("initial", "safe"), [(None, None), (18.0, 12.0), (0.0, None)])
async def test_a_number_is_written_this_and_nothing_else(house, arduino, event, initial, safe):
    told = {level: '"keep"' if level is None else f"{level:g}" for level in (initial, safe)}
    tables = DIMMER + f"initial = {told[initial]}\nsafe = {told[safe]}\n"
    await house.start(tables)
    assert await house.set("dimmer", 25) == (25.0, "ok")
    before = len(arduino.writes)
    await happen(event, house, arduino, tables)
    assert arduino.told(before) == [level for level in LAW[event](initial, safe) if level is not None]


async def test_a_reload_that_waits_for_a_device_lets_no_dead_man_go(house, arduino, clock):
    """The agent is heard meanwhile, and neither a line nor another device notices."""
    DEVICES["relay"] = other = Peer(clock)
    staying = (
        '[output.lamp]\npin = "GPIO17"\ndead_man = true\n[sensor.relay]\ndriver = "peer"\n'
        '[output.gate]\nsensor = "relay"\nkey = "g"\ndead_man = true\n'
    )
    await house.start(staying + PUMP)
    await house.set("lamp", True)
    await house.set("gate", True)
    arduino.takes_s = 1e9
    reloading = asyncio.create_task(house.board.reload(made(staying)))
    for _ in range(25):
        await clock.advance(0.1)
    await reloading
    await house.connect()
    assert (house.now("lamp"), other.told(1)) == ((True, "ok"), [True])
    assert house.board.remotes.names == {"gate"}


async def test_a_reload_that_fails_leaves_the_devices_as_a_start_does(house, arduino, monkeypatch):
    await house.start(PUMP + DIMMER)
    await house.set("pump", True)
    await house.set("dimmer", 5)
    real, before = house.board._open_lines, len(arduino.writes)

    def fails_once(_config):
        monkeypatch.setattr(house.board, "_open_lines", real)
        raise DeviceError("output.lamp: GPIO17 is taken")

    monkeypatch.setattr(house.board, "_open_lines", fails_once)
    with pytest.raises(DeviceError, match="taken"):
        await house.board.reload(made(PUMP + 'max_on = "1min"\n' + DIMMER + 'label = "Light"\n'))
    await house.connect()
    assert arduino.told(before) == [False, False], "pump: safe, then initial; nobody touches the dimmer"
    assert {channel.name: channel.label for channel in house.board.channels}["dimmer"] == ""
    assert await house.set("pump", True) == (True, "ok")
    assert house.now("dimmer") == (5.0, "ok")


WORDS = ["agent dies", "agent comes", "away", "back", "slow", "fast", "refuses", "takes", "blinks", "forgets"]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["set", "set", "set", "for"]), st.booleans()),
    st.tuples(st.sampled_from(["advance", "advance", "hang"]), st.sampled_from([0.3, 1.0, 2.5, 7.0])),
    st.tuples(st.sampled_from(WORDS), st.none()),
)


async def do(step, value, house, arduino):
    match step:
        case "set" | "for" if house.alive:
            await house.ask("pump", value, for_s=2 if step == "for" else None)
        case "advance":
            await house.clock.advance(value)
        case "hang":
            house.clock.skip(value)
            await house.clock.advance(0)
        case "agent dies" if house.alive:
            await house.agent_dies()
        case "agent comes" if not house.alive:
            await house.connect()
        case "away":
            arduino.away()
        case "back" if not arduino.there:
            arduino.back()
        case "blinks" if arduino.there:
            arduino.away()
            arduino.back()
        case "forgets":
            arduino.level.clear()
        case "slow" | "fast":
            arduino.takes_s = 0.7 if step == "slow" else 0.0
        case "refuses" | "takes":
            arduino.refuses = step == "refuses"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=5, max_size=25), initial=st.sampled_from(["off", "keep"]), tells=st.booleans())
async def test_whatever_comes_the_limits_hold(tmp_path, steps, initial, tells):
    """Judged by what the device was told: never on for longer, never sooner, and off at last."""
    clock = Stopping()
    arduino, house = Peer(clock), House(clock, tmp_path)
    arduino.tells = tells
    DEVICES["arduino"], went_off = arduino, clock.boottime_ns() / 1e9
    await house.start(PUMP + f'initial = "{initial}"\nmax_on = "5s"\nmin_off = "3s"\ndead_man = "4s"\n')
    for step, value in steps:
        await do(step, value, house, arduino)
    for step in ("takes", "fast", "back"):
        await do(step, None, house, arduino)
    await clock.advance(25)  # whatever was owed has happened
    assert house.now("pump") in {None, (False, "ok"), (None, "missing")}
    assert not arduino.level.get("p")
    undisturbed = not {"away", "refuses", "slow", "hang", "blinks", "forgets"} & {step for step, _ in steps}
    came_on = None
    for at, _, level in arduino.writes:
        assert came_on is None or not undisturbed or at - came_on <= 5.01, "max_on"
        if level and came_on is None:
            assert at - went_off >= 2.99, "min_off"
            came_on = at
        elif not level and came_on is not None:
            went_off, came_on = at, None
    await house.close()


class TestTheEnd:
    PIN = '[output.lamp]\npin = "GPIO17"\nsafe = "on"\n'

    async def test_pins_first_then_all_devices_at_once(self, house, arduino, clock):
        DEVICES["relay"] = other = Peer(clock)
        tables = PUMP + self.PIN + '[output.gate]\nsensor = "relay"\nkey = "g"\n[sensor.relay]\ndriver = "peer"\n'
        await house.start(tables)
        await clock.advance(1)
        arduino.takes_s = other.takes_s = 1.5
        ended_ns = clock.boottime_ns()
        house.board.release()
        assert house.board.latest["lamp"].value is True, "before anything that takes time"
        board = house.board
        await house.stop()
        assert clock.boottime_ns() - ended_ns <= 1_700_000_000
        assert arduino.told(1) == other.told(1) == [False]
        assert arduino.writes[-1][0] == other.writes[-1][0]
        assert board.latest["gate"].value is False

    async def test_a_device_that_hangs_costs_two_seconds_and_the_others_nothing(self, house, arduino, clock, caplog):
        DEVICES["relay"] = other = Peer(clock)
        tables = PUMP + '[output.gate]\nsensor = "relay"\nkey = "g"\n[sensor.relay]\ndriver = "peer"\n'
        await house.start(tables)
        arduino.takes_s = 1e9
        await house.ask("pump", True)
        before_ns = clock.boottime_ns()
        await house.stop()
        assert 1.9e9 <= clock.boottime_ns() - before_ns <= 2.3e9
        assert other.told(1) == [False]
        assert "output.pump: its device has not taken its safe level for 2 s" in caplog.text

    async def test_a_wish_that_is_under_way_is_cut_off(self, house, arduino, clock):
        await house.start(PUMP)
        arduino.takes_s = 1e9
        asked = await house.ask("pump", True)
        waiting = await house.ask("pump", True)
        stopping = asyncio.create_task(house.board.__aexit__(None, None, None))
        await clock.advance(0.9)
        arduino.takes_s = 0.5
        await clock.advance(0.7)
        await stopping
        house.board = None
        assert arduino.told(1) == [False]
        assert house.answers[asked].text == "output.pump: the end came before its device answered"
        assert house.answers[waiting].text == "pump: is being closed; ask again"

    async def test_who_leaves_waits_for_one_output_and_not_for_all_that_begin(self, house, arduino, clock):
        arduino.takes_s = 0.9
        others = "".join(on("arduino", f"o{number}", 'key = "o"') for number in range(9))
        await house.start(PUMP + others)
        reloading = asyncio.create_task(house.board.reload(made(others)))
        for _ in range(25):
            await clock.advance(0.1)
        await reloading
        assert [value for _, key, value in arduino.writes if key == "p"] == [False, False]

    async def test_a_device_that_is_away_is_named(self, house, arduino, clock, caplog):
        await house.start(PUMP)
        arduino.away()
        await clock.advance(1)
        await house.stop()
        assert "output.pump: sensor.arduino is not there; it stays as it is (on closing)" in caplog.text

    async def test_an_upgrade_names_what_it_would_move(self, house, arduino):
        await house.start(PUMP + WARMTH + DIMMER)
        await house.set("dimmer", 3)
        assert house.board.moved_by_a_restart() == ["warmth"]
        await house.set("pump", True)
        await house.set("dimmer", 4, for_s=5)
        assert house.board.moved_by_a_restart() == ["pump", "warmth", "dimmer"]


class TestAfterADeath:
    async def to_safe(self, clock, tables, *, device=DEVICE, takes_s=0.0):
        task = asyncio.create_task(Board(made(tables, device), clock=clock).to_safe())
        await clock.advance(takes_s)
        return [str(error) for error in await task]

    async def test_off_before_on_and_keep_is_not_touched(self, arduino, clock):
        tables = (
            '[output.a]\nsensor = "arduino"\nkey = "a"\nsafe = "on"\n' + PUMP + DIMMER + WARMTH
            + '[output.b]\nsensor = "arduino"\nkey = "b"\nsafe = "keep"\n'
        )  # fmt: skip
        assert await self.to_safe(clock, tables) == []
        assert [(key, value) for _, key, value in arduino.writes] == [("p", False), ("a", True), ("w", 12.0)]

    async def test_what_cannot_be_done_is_said_and_stops_nothing(self, arduino, clock):
        arduino.away()
        DEVICES["relay"] = other = Peer(clock)
        DEVICES["stuck"] = Peer(clock)
        DEVICES["stuck"].takes_s = 1e9
        DEVICES["wrong"] = Peer(clock)
        DEVICES["wrong"].rounds = lambda _value: True
        names = ("relay", "stuck", "wrong")
        devices = DEVICE + "".join(f'[sensor.{name}]\ndriver = "peer"\n' for name in names)
        tables = PUMP + "".join(f'[output.of_{name}]\nsensor = "{name}"\nkey = "k"\n' for name in names)
        assert await self.to_safe(clock, tables, device=devices, takes_s=10) == [
            "output.pump: sensor.arduino: is not there; plug it in",
            "output.of_stuck: its device has not taken False for 4 s; is it stuck?",
            "output.of_wrong: its device shows True instead of False",
        ]
        assert other.told() == [False]

    async def test_no_way_to_the_lines_is_no_reason_to_leave_the_devices(self, arduino, clock, monkeypatch):
        config = made(PUMP + '[output.lamp]\npin = "GPIO17"\n')
        board = Board(config, clock=clock)

        def no_chip(_config):
            raise DeviceError("there is no /dev/gpiochip0")

        monkeypatch.setattr(board, "_need_factory", no_chip)
        assert [str(error) for error in await board.to_safe()] == ["there is no /dev/gpiochip0"]
        assert arduino.told() == [False]


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        (PUMP + 'pin = "GPIO17"\n', "output.pump.pin: an output is on a pin or in a device; leave out 'pin' or "),
        (PUMP.replace("arduino", "arduin"), "output.pump.sensor: there is no sensor 'arduin'; did you mean 'arduino'?"),
        (PUMP.replace('"arduino"', "3"), "output.pump.sensor: there is no sensor '3'; expected one of arduino, pi"),
        (PUMP.replace("arduino", "pi"),
         "output.pump.sensor: its driver 'system' only reads; name a sensor that can be written"),
        (PUMP + "interlock = []\n", "output.pump.interlock: unknown key; "),
        (PUMP + 'pulse = "1s"\n', "output.pump.pulse: unknown key; "),
        (PUMP + 'more = "wrong"\n', "output.pump.more: is wrong; write something else"),
        (PUMP + 'keys = "p"\n', "output.pump.keys: unknown key; did you mean 'key'?"),
        (PUMP.replace('key = "p"\n', ""), "output.pump: 'key' is missing"),
        (PUMP + 'kind = "pwm"\n', 'output.pump.kind: "pwm" is not one of switch, lock, number'),
        (PUMP + "minimum = 1\n", 'output.pump.minimum: a switch is on or off; leave it out, or set kind = "number"'),
        (PUMP + "initial = 3\n", 'output.pump.initial: 3 is no level of a switch; say "off", "on" or "keep"'),
        (PUMP + 'initial = "restore"\n', 'output.pump.initial: expected "off", "on" or "keep", for a number "keep"'),
        (PUMP + 'safe = "keep"\ndead_man = true\n', "output.pump.dead_man: needs a safe value; set safe to "),
        (PUMP + 'safe = "on"\nmax_on = "1s"\n', "output.pump.max_on: contradicts initial or safe"),
        (PUMP + 'safe = "on"\nmin_off = "1s"\n', "output.pump.min_off: contradicts safe"),
        (PUMP + "delta = 1\n", "output.pump.delta: every change of an output is a reading; leave it out"),
        (DIMMER.replace("maximum = 255\n", ""), "output.dimmer.maximum: a number needs a least and a greatest value"),
        (DIMMER.replace("255", "0"), "output.dimmer.maximum: is not above minimum; correct one of them"),
        (DIMMER + "safe = 256\n", "output.dimmer.safe: 256 is not from 0 to 255; say one that is"),
        (DIMMER + 'safe = "off"\n', 'output.dimmer.safe: a number is not on or off; say "keep" or a number'),
        (DIMMER + "dead_man = true\n", "output.dimmer.dead_man: needs a safe value; set safe to a number"),
        (DIMMER + 'max_on = "1s"\n', "output.dimmer.max_on: only a switch is on or off; leave it out"),
        (DIMMER + 'unit = "°X"\n', "output.dimmer.unit: '°X' is not a unit Knoop knows"),
        (PUMP + '[output.lamp]\npin = "GPIO17"\ninterlock = ["pump"]\n',
         "output.lamp.interlock[1]: 'pump' lives in a device, and only lines of the board keep apart"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_to_do(tables, problem):
    _, problems = read(BOARD + DEVICE + '[sensor.pi]\ndriver = "system"\n' + tables)
    assert len(problems) == 1
    assert problem in problems[0]


BUS = '[sensor.bus]\ndriver = "modbus"\ndevice = "/dev/ttyUSB0"\n'
OTHER = BUS.replace("sensor.bus", "sensor.more")
UNO = '[sensor.uno]\ndriver = "lines"\ndevice = "/dev/ttyUSB0"\n'


def on(sensor, name, keys):
    return f'[output.{name}]\nsensor = "{sensor}"\n{keys}\n'


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        (BUS + on("bus", "a", "coil = 3") + on("bus", "b", "coil = 3"), "output.b: writes what output.a writes; "),
        (BUS + OTHER + on("bus", "a", "coil = 3") + on("more", "b", "coil = 3"), "output.b: writes what output.a "),
        (BUS + on("bus", "a", 'register = 3\ntype = "float32"\nkind = "number"\nminimum = 0\nmaximum = 1')
         + on("bus", "b", "register = 4"), "output.b: writes what output.a "),
        (BUS + OTHER + "unit = 2\n" + on("bus", "a", "coil = 3") + on("more", "b", "coil = 3")
         + on("bus", "c", "register = 3"), None),
        (UNO + on("uno", "a", 'write = "P{value}"') + on("uno", "b", 'write = "P{value}"'), "output.b: writes what "),
        (BUS + on("bus", "a", 'register = 3\nkind = "number"\nminimum = 0\nmaximum = 300000'),
         "output.a.maximum: 300000 does not fit into uint16; correct one of them"),
        (BUS + on("bus", "a", 'register = 3\nkind = "number"\nminimum = -5\nmaximum = 5'),
         "output.a.minimum: -5 does not fit into uint16; correct one of them"),
        (BUS + on("bus", "a", 'register = 3\nkind = ["switch"]'), "output.a.kind: ['switch'] is not one of "),
    ],
)  # fmt: skip
def test_one_thing_has_one_output_that_can_be_told_what_it_may(tables, problem):
    _, problems = read(BOARD + tables)
    assert [problem in said for said in problems] == ([] if problem is None else [True])


@pytest.mark.parametrize("name", [name for name in source.names() if hasattr(source.load(name), "Write")])
def test_the_keys_of_a_driver_are_its_own(name):
    write = source.load(name).Write
    assert write.__dataclass_params__.frozen
    assert not (decode.keys(write).keys() & decode.keys(Remote).keys()) - {"kind"}
