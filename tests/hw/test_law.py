"""The law of outputs on the simulated board in one process, in fake time, with the board's trace as the observer."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress

import pytest
from tests.hw import law
from tests.hw.law import EVENTS, LAW, Move, Row
from tests.hw.stopping import Stopping

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.board import Board
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.link import LinkClosed, pair
from knoop_hw.messages import Beat, Done, Failed, Set
from knoop_hw.outputs import to_safe
from knoop_hw.simulated import Simulated

PINS = ("GPIO5", "GPIO6", "GPIO12", "GPIO13", "GPIO18", "GPIO19", "GPIO22", "GPIO23", "GPIO24", "GPIO25", "GPIO27")


class Agent:
    """What the hardware half notices of an agent: a link, beats, requests."""

    def __init__(self, board, clock):
        self.link, board_end = pair(through_json=True)
        self.clock, self.hangs = clock, False
        self.answers = {}
        self._tasks = [asyncio.create_task(work) for work in (board.serve(board_end), self._beat(), self._listen())]

    async def _beat(self):
        with suppress(LinkClosed):
            while True:
                if not self.hangs:
                    await self.link.send(Beat())
                await self.clock.sleep(law.BEAT_S)

    async def _listen(self):
        with suppress(LinkClosed):
            while True:
                match await self.link.receive():
                    case Done() | Failed() as answer:
                        self.answers[answer.id] = answer

    async def set(self, name, value):
        number = len(self.answers) + 1
        now_ns = self.clock.boottime_ns()
        await self.link.send(Set(id=number, channel=name, value=value, by="anna@example.org", asked_ns=now_ns))
        await self.clock.advance(0)
        assert isinstance(self.answers[number], Done), self.answers[number]

    async def close(self):
        await self.link.close()
        await self.clock.advance(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class OneProcess:
    """Both halves here: a death is a board that is dropped, a hang is time in which it does not run."""

    pins = PINS
    slack_s = 0.001

    def __init__(self, folder):
        self.folder, self.clock = folder, Stopping()
        self.board = self.agent = None
        self._lives = 0
        self.trace = folder / "board.jsonl"
        (folder / "scenario.toml").write_text(f'trace = "{self.trace}"\n')

    def _config(self, tables):
        head = '[board]\ndriver = "simulated"\nscenario = "scenario.toml"\n'
        problems = []
        loaded = hw_config.load(decode.parse(head + tables, str(self.folder / "node.toml")), problems)
        assert [str(problem) for problem in problems] == []
        return loaded

    async def begin(self, tables):
        self.config = self._config(tables)
        self._lives += 1
        self.state = self.folder / f"state{self._lives}"
        self.state.mkdir()

    async def start(self, half):
        if half == "hw":
            self.board = await Board(self.config, clock=self.clock, state=self.state).__aenter__()
        else:
            self.agent = Agent(self.board, self.clock)
        await self.clock.advance(0)

    async def stop(self, half):
        if half == "hw" and self.board is not None:
            await self.board.__aexit__(None, None, None)
            self.board = None
        elif half == "agent" and self.agent is not None:
            await self.agent.close()
            self.agent = None

    async def kill(self, half):
        if half == "agent":
            await self.stop("agent")
            return
        self.board.outputs._open.clear()  # gone before it could do anything
        await self.stop("hw")
        after = Simulated(self.config, clock=self.clock)
        assert to_safe(self.config.outputs, factory=after.factory) == []
        after.close()

    async def pause(self, half, for_s):
        if half == "hw":
            for _ in range(int(for_s / law.BEAT_S)):  # they wait in the socket
                await self.agent.link.send(Beat())
            self.clock.skip(for_s)
            await self.clock.advance(0)
        else:
            self.agent.hangs = True
            await self.clock.advance(for_s)
            self.agent.hangs = False

    async def upgrade(self, half):
        if half == "agent":
            await self.stop("agent")
            await self.start("agent")
        elif not self.board.outputs.moved_by_a_restart():
            await self.stop("hw")
            await self.start("hw")

    async def reload(self, half, tables):
        if half == "hw":
            self.config = self._config(tables)
            await self.board.reload(self.config)  # it hangs up, so that the agent hears what there is now
            await self.stop("agent")
            await self.start("agent")

    async def set(self, name, value):
        await self.agent.set(name, value)

    async def wait(self, for_s):
        await self.clock.advance(for_s)

    def now_s(self):
        return self.clock.boottime_ns() / 1e9

    async def moves(self):
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        entries = [json.loads(line) for line in lines]
        return [Move(entry["t_ns"] / 1e9, entry["line"], bool(entry["level"])) for entry in entries]


HERE = [row for row in LAW if row.event != "server away"]  # there is no server here
BATCHES = [*law.batches(law.both(HERE), len(PINS) - 1)]


@pytest.mark.parametrize("rows", BATCHES, ids=lambda rows: f"{rows[0].event}-{rows[0]}".replace(" ", "_"))
async def test_lines_make_these_transitions_and_no_others(rows, tmp_path):
    await law.obey(rows, OneProcess(tmp_path))


class TestTheLawIsWhole:
    """Every cell of the transition table has rows, and every value of the keys it depends on."""

    @pytest.mark.parametrize("event", EVENTS)
    @pytest.mark.parametrize("safe_already", [True, False], ids=["already safe", "not safe"])
    def test_every_event_in_both_columns(self, event, safe_already):
        assert [row for row in LAW if row.event == event and row.already_safe is safe_already]

    @pytest.mark.parametrize("event", EVENTS)
    def test_every_value_of_initial_and_safe(self, event):
        rows = [row for row in LAW if row.event == event]
        assert {row.initial for row in rows} == {"off", "on", "restore"}
        assert {row.safe for row in rows} == {"off", "on", "keep"}

    @pytest.mark.parametrize("event", [event for event, what in EVENTS.items() if "agent" in what.cell])
    def test_the_dead_man_at_every_death_of_the_agent(self, event):
        assert {row.dead_man for row in LAW if row.event == event} >= {None, "true", '"1min"'}

    def test_no_two_rows_contradict_each_other(self):
        asked = [(r.event, r.initial, r.safe, r.dead_man, r.before, r.more, r.pwm) for r in LAW]
        assert len(set(asked)) == len(asked)

    @pytest.mark.parametrize("event", EVENTS)
    def test_a_row_that_is_safe_already_stays_unless_initial_or_own_limits_say_otherwise(self, event):
        """The first column of the table says “nothing”."""
        for row in LAW:
            if row.event == event and row.already_safe and row.moves:
                assert "start" in event or event in {"hw restart", "hw crash", "hw reload own"}, str(row)


class TestHoldingABoardAgainstIt:
    """A board that breaks the law is found out."""

    ROW = Row("agent kill", "off", "off", "true", law.ON, (law.OFF,), law.LET_GO)

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            (Row("hw stop", "off", "off", None, law.ON, ()), "went off instead of nowhere"),
            (Row("hw stop", "off", "keep", None, law.ON, (law.OFF,)), "went nowhere instead of off"),
            (Row("hw restart", "on", "off", None, law.ON, (law.ON,)), "went off, then on instead of on"),
            (Row("agent kill", "off", "off", "true", law.ON, (law.OFF,), (0.0, 1.6)), "s too late"),
            (Row("agent kill", "off", "off", "true", law.ON, (law.OFF,), (3.0, 4.0)), "s too soon"),
        ],
        ids=str,
    )
    async def test_what_moved_otherwise_is_named(self, row, complaint, tmp_path):
        with pytest.raises(AssertionError, match=re.escape(str(row)) + ".*" + complaint):
            await law.obey([row], OneProcess(tmp_path))

    async def test_each_line_is_judged_by_its_own_row(self, tmp_path):
        wrong = Row("agent kill", "off", "off", None, law.ON, (law.OFF,), active_low=True)
        with pytest.raises(AssertionError) as caught:
            await law.obey([self.ROW, wrong], OneProcess(tmp_path))
        assert str(caught.value) == f"{wrong}: went nowhere instead of off"


class TestAfterADeath:
    """`to_safe`, which `knoop-hw --safe` does."""

    TABLES = (
        '[output.a]\npin = "GPIO5"\n[output.b]\npin = "GPIO6"\nsafe = "on"\n'
        '[output.c]\npin = "GPIO12"\nsafe = "keep"\ninitial = "on"\n'
    )

    @pytest.fixture
    async def rig(self, tmp_path):
        rig = OneProcess(tmp_path)
        await rig.begin(self.TABLES)
        await rig.start("hw")
        await rig.start("agent")
        await rig.set("a", True)
        yield rig
        await rig.stop("agent")
        await rig.stop("hw")

    async def test_a_line_that_fails_stops_no_other(self, rig, monkeypatch):
        await rig.stop("agent")
        rig.board.outputs._open.clear()
        await rig.stop("hw")
        after = Simulated(rig.config, clock=rig.clock)

        def taken(*_):
            raise RuntimeError("'GPIO busy'")

        before = len(await rig.moves())
        with monkeypatch.context() as patch:
            patch.setattr(after.factory.pin("GPIO5"), "output_with_state", taken)
            [failed] = to_safe(rig.config.outputs, factory=after.factory)
        after.close()
        assert isinstance(failed, DeviceError)
        assert str(failed) == "output.a: GPIO5 is in use by another program; `gpioinfo` names it"
        assert [(move.pin, move.level) for move in (await rig.moves())[before:]] == [("GPIO6", True)]

    async def test_pulses_in_software_are_over_but_the_line_may_be_high(self, tmp_path):
        rig = OneProcess(tmp_path)
        await rig.begin('[output.fan]\npin = "GPIO18"\nkind = "pwm"\nactive_low = true\ndigits = 1\n')
        await rig.start("hw")
        rig.board.outputs.set("fan", 100)
        before = len(await rig.moves())
        await rig.kill("hw")
        assert [move.level for move in (await rig.moves())[before:]] == [True]

    async def test_off_comes_before_on(self, rig):
        before = len(await rig.moves())
        await rig.kill("hw")
        assert [(move.pin, move.level) for move in (await rig.moves())[before:]] == [("GPIO5", False), ("GPIO6", True)]


async def test_a_trace_of_an_earlier_boot_says_nothing_about_the_lines(tmp_path):
    """After a boot a line is what its resistor makes of it."""
    rig = OneProcess(tmp_path)
    rig.trace.write_text('{"t_ns": 99000000000, "channel": "a", "line": "GPIO5", "level": true}\nhalf a li')
    await rig.begin('[output.a]\npin = "GPIO5"\n')
    await rig.start("hw")
    await rig.stop("hw")
    assert rig.trace.read_text().count("\n") == 1


async def test_a_beat_that_waited_while_we_hung_saves_nobody_from_the_dead_man(tmp_path):
    """It has its turn before the timer: the silence counts all the same."""
    rig = OneProcess(tmp_path)
    await rig.begin('[output.pump]\npin = "GPIO5"\ndead_man = true\n')
    await rig.start("hw")
    rig.board.outputs.set("pump", True)
    rig.clock.skip(3)
    rig.board.outputs.beat()
    assert [move.level for move in await rig.moves()] == [True, False]
    await rig.stop("hw")


async def test_a_request_after_a_hang_meets_what_was_due_meanwhile(tmp_path):
    """The line rests as long as min_off says, also when max_on could end only late."""
    rig = OneProcess(tmp_path)
    await rig.begin('[output.pump]\npin = "GPIO5"\nmax_on = "2s"\nmin_off = "1min"\n')
    await rig.start("hw")
    await rig.wait(60)
    rig.board.outputs.set("pump", True)
    rig.clock.skip(10)
    with pytest.raises(SetRefused, match=r"rests for another 60 s"):
        rig.board.outputs.set("pump", True)
    assert [move.level for move in await rig.moves()] == [True, False]
    await rig.stop("hw")
