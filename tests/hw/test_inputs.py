"""Inputs of a board: what edges become, on simulated lines and on lines that lose edges, in fake time."""

from __future__ import annotations

import errno
import gc
import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from knoop_hw import inputs as inputs_module
from knoop_hw.board import Board
from knoop_hw.cap import BURST
from knoop_hw.inputs import KEEP_NS, LOOK_NS, Inputs
from knoop_hw.lines import Edge
from knoop_hw.simulated import SimulatedPin

S = 1_000_000_000
MS = 1_000_000
DOOR = '[input.door]\npin = "GPIO17"\n'
HALL = '[input.hall]\npin = "GPIO27"\nkind = "motion"\n'
BELL = '[input.bell]\npin = "GPIO22"\nkind = "button"\n'
WATER = '[input.water]\npin = "GPIO23"\nkind = "counter"\n'


@pytest.fixture
async def house(configured, clock, tmp_path):
    """Open boards from tables; they keep their totals in one folder. What each says is in `board.heard`."""
    opened = []

    async def open_(text, scenario="", *, state=tmp_path):
        board = Board(configured(text, scenario), clock=clock, state=state)
        board.heard = heard_by(board)
        opened.append(await board.__aenter__())
        return board

    yield open_
    for board in opened:
        await board.__aexit__(None, None, None)


def heard_by(board):
    """Every reading of a board, as it becomes one."""
    heard, add = [], board._pipes.kept.add

    def listening(reading, cls):
        heard.append(reading)
        return add(reading, cls)

    board._pipes.kept.add = listening
    return heard


def values(board, channel):
    return [reading.value for reading in board.heard if reading.channel == channel]


class Line:
    """A line as gpiod's is: its edges come in lots, and the kernel counts those that it could not keep."""

    def __init__(self, config, *, on_edges, level=False, **_):
        self.config, self._on_edges, self.level, self.lost = config, on_edges, level, 0

    def change(self, *edges):
        """Edges as (level, at_ns, lost)."""
        self.lost += sum(lost for _, _, lost in edges)
        self.level = edges[-1][0]
        self._on_edges([Edge(*edge) for edge in edges])

    def look(self):
        return self.level

    def close(self):
        pass


@pytest.fixture
def lossy(monkeypatch, configured, clock, tmp_path):
    """Inputs on lines that a test moves: (inputs, lines by name, what was reported)."""
    made = []

    def open_(text, level=False):
        lines, heard = {}, []

        def line(config, **given):
            lines[config.name] = Line(config, level=level, **given)
            return lines[config.name]

        monkeypatch.setattr(inputs_module, "InputLine", line)
        there = Inputs(clock=clock, report=lambda *what: heard.append(what), state=tmp_path)
        made.append(there)
        there.open(configured(text).inputs, factory=None)
        return there, lines, heard

    yield open_
    for there in made:
        there.close()
        there.close()


class TestContact:
    async def test_it_says_how_it_is_and_how_it_becomes(self, house, clock):
        board = await house(DOOR)
        board.simulated.drive("door", True)
        await clock.advance(1)
        assert values(board, "door") == [False, True]

    async def test_motion_is_a_high_line_that_is_held_low_unless_said_otherwise(self, house, clock):
        board = await house(HALL)
        pin = board.simulated.factory.pin("GPIO27")
        assert (pin.pull, pin.state) == ("down", False)
        board.simulated.drive("hall", True)
        await clock.advance(1)
        assert pin.state
        assert values(board, "hall") == [False, True]

    async def test_a_motion_sensor_that_pulls_low_is_a_matter_of_configuration(self, house):
        board = await house(HALL + 'pull = "up"\nactive_low = true\n')
        pin = board.simulated.factory.pin("GPIO27")
        assert (pin.pull, pin.state, values(board, "hall")) == ("up", True, [False])

    async def test_after_lost_edges_the_next_reading_says_so_also_when_nothing_changed(self, lossy, clock, caplog):
        inputs, lines, heard = lossy(DOOR)
        now = clock.boottime_ns()
        lines["door"].change((True, now, 0), (False, now + 1, 1), (False, now + 2, 3))
        lines["door"].change((True, now + 3, 0))
        assert heard[1:] == [
            ("door", True, "ok", now), ("door", False, "lost", now + 1), ("door", False, "lost", now + 2),
            ("door", True, "ok", now + 3),
        ]  # fmt: skip
        assert inputs.lost == {"door": 4}
        assert [record.message for record in caplog.records] == [
            "input.door: changes faster than can be told; look at its wiring and its debounce"
        ]

    async def test_a_storm_is_two_lines_in_the_log_with_exact_numbers(self, lossy, clock, caplog):
        _, lines, heard = lossy(DOOR)
        for step in range(100):  # 10 s of it; what is left in a lot is a hundredth of what happened
            at = clock.boottime_ns()
            edges = [(bool(n % 2), at + n, 99) for n in range(10)]
            lines["door"].change(*edges, (step % 2 == 0, at + 10, 0))
            await clock.advance(0.1)
        await clock.advance(60)
        assert BURST + 98 <= len(heard) - 1 <= BURST + 101
        assert heard[-1][1:3] == (False, "lost")
        left_out = 1100 - (len(heard) - 1)
        assert [record.message for record in caplog.records] == [
            "input.door: changes faster than can be told; look at its wiring and its debounce",
            f"input.door: calm again; in 9.9 s there were 100100 changes: 99000 lost before they were read, "
            f"{left_out} not told",
        ]

    async def test_lost_is_a_gap_in_the_readings_of_the_board_too(self, house, clock):
        board = await house(DOOR + 'heartbeat = "1h"\n')
        for quality, value in (("ok", True), ("lost", True), ("lost", True), ("ok", False), ("ok", False)):
            board._pipes.put("door", value, quality, clock.boottime_ns())
        await clock.advance(3601)
        said = [(reading.value, reading.quality) for reading in board.heard]
        assert said == [
            (False, "ok"), (True, "ok"), (True, "lost"), (True, "lost"), (False, "ok"), (False, "ok"),
        ]  # fmt: skip


class TestButton:
    @pytest.mark.parametrize(
        ("for_s", "times", "gestures"),
        [(0.1, 1, ["click"]), (0.1, 2, ["double"]), (2, 1, ["long"]), (0.1, 3, ["double", "click"])],
    )
    async def test_a_hand_on_a_bouncing_button(self, house, clock, for_s, times, gestures):
        board = await house(BELL, '[contact.bell]\nbounce = "8ms"\n')
        assert board.heard == []
        board.simulated.press("bell", for_s, times=times)
        await clock.advance(5)
        assert values(board, "bell") == gestures

    async def test_it_is_stamped_when_the_press_began(self, house, clock):
        board = await house(BELL, "[contact.bell]\nbounce = 0\n")
        began = clock.boottime_ns()
        board.simulated.press("bell", 2)
        await clock.advance(1)
        assert [(r.value, r.boottime_ns) for r in board.heard] == [("long", began)]  # it is still held
        await clock.advance(5)
        assert len(board.heard) == 1

    async def test_a_second_press_that_is_still_resting_when_the_time_is_over_is_in_time(self, house, clock):
        board = await house(BELL + 'debounce = "50ms"\n', "[contact.bell]\nbounce = 0\n")
        for level, for_s in ((True, 0.1), (False, 0.38), (True, 0.1), (False, 5)):
            board.simulated.drive("bell", level)
            await clock.advance(for_s)
        assert values(board, "bell") == ["double"]

    async def test_equal_gestures_are_readings_each(self, house, clock):
        board = await house(BELL)
        for _ in range(3):
            board.simulated.press("bell")
            await clock.advance(10)
        assert [(r.seq, r.value) for r in board.heard] == [(1, "click"), (2, "click"), (3, "click")]

    async def test_without_double_clicks_it_is_told_when_the_button_is_let_go(self, house, clock):
        board = await house(BELL + "double = 0\n", "[contact.bell]\nbounce = 0\n")
        board.simulated.press("bell", 0.1, times=2)
        await clock.advance(0.13)
        assert values(board, "bell") == ["click"]
        await clock.advance(1)
        assert values(board, "bell") == ["click", "click"]

    async def test_held_while_the_board_opens_is_no_gesture(self, lossy, clock):
        _, lines, heard = lossy(BELL, level=True)
        await clock.advance(5)
        lines["bell"].change((False, clock.boottime_ns(), 0))
        await clock.advance(5)
        assert heard == []
        at = clock.boottime_ns()
        lines["bell"].change((True, at, 0), (False, at + 50 * MS, 0))
        await clock.advance(5)
        assert heard == [("bell", "click", "ok", at)]

    async def test_after_lost_edges_the_next_gesture_says_so(self, lossy, clock):
        _, lines, heard = lossy(BELL)
        at = clock.boottime_ns()
        lines["bell"].change((True, at, 0), (False, at + 50 * MS, 500))
        lines["bell"].change((True, at + 60 * MS, 0), (False, at + 90 * MS, 0))
        await clock.advance(5)
        assert heard == [("bell", "click", "lost", at + 60 * MS)]

    async def test_a_line_that_stutters_rings_ten_times_a_second_at_most(self, lossy, clock, caplog):
        _, lines, heard = lossy(BELL + "double = 0\n")
        for _ in range(1000):
            at = clock.boottime_ns()
            lines["bell"].change((True, at, 0), (False, at + 1, 0))
            await clock.advance(0.01)
        await clock.advance(30)
        assert BURST + 95 <= len(heard) <= BURST + 101
        assert len(caplog.records) == 2
        assert caplog.records[1].message.endswith(f": 0 lost before they were read, {1000 - len(heard)} not told")

    async def test_the_script_plays(self, house, clock):
        script = (
            '[[step]]\nat = "1s"\nline = "bell"\npress = "100ms"\n'
            '[[step]]\nat = "5s"\nline = "bell"\npress = "80ms"\ntimes = 2\n'
            '[[step]]\nat = "9s"\nline = "bell"\npress = "3s"\n'
        )
        board = await house(BELL, script)
        await clock.advance(20)
        assert values(board, "bell") == ["click", "double", "long"]


class TestCounter:
    async def test_each_pulse_is_counted_once(self, house, clock):
        board = await house(WATER)
        board.simulated.pulse("water", 5)
        await clock.advance(10)
        assert values(board, "water") == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]

    async def test_pulses_that_were_not_read_are_counted(self, lossy, clock, caplog):
        inputs, lines, heard = lossy(WATER)
        lines["water"].change((True, clock.boottime_ns(), 0), (True, clock.boottime_ns(), 41))
        assert heard[-1][1:3] == (43.0, "ok")
        assert inputs.lost == {"water": 41}
        await clock.advance(30)
        assert [record.message for record in caplog.records] == [
            "input.water: pulses come faster than they can be read; they are counted all the same",
            "input.water: calm again; in 0.0 s there were 43 pulses: 41 counted without being read",
        ]

    async def test_a_fast_flow_is_no_storm(self, lossy, clock, caplog):
        _, lines, heard = lossy(WATER)
        for _ in range(500):
            lines["water"].change((True, clock.boottime_ns(), 0))
            await clock.advance(0.01)
        await clock.advance(30)
        assert caplog.records == []
        assert heard[-1][1:3] == (500.0, "ok")
        assert len(heard) < 100

    async def test_the_total_goes_on_after_a_restart(self, house, clock):
        text = WATER + "multiply = 0.5\noffset = 100\n"
        first = await house(text)
        first.simulated.pulse("water", 5)
        await clock.advance(10)
        await first.__aexit__(None, None, None)
        second = await house(text)
        assert values(second, "water") == [52.5]
        second.simulated.pulse("water")
        await clock.advance(10)
        assert values(second, "water") == [52.5, 53.0]

    async def test_without_a_folder_it_counts_from_0(self, house, clock):
        for _ in range(2):
            board = await house(WATER, state=None)
            board.simulated.pulse("water", 2)
            await clock.advance(5)
            assert values(board, "water") == [0.0, 1.0, 2.0]
            await board.__aexit__(None, None, None)

    async def test_a_crash_costs_what_came_since_the_last_write_and_no_more(self, lossy, clock, tmp_path):
        """Each write is of all there is then; pulses slower than the writes are all written at once."""
        inputs, lines, _ = lossy(WATER)

        def on_disk():
            inputs._kept._thread.join(10)
            return json.loads((tmp_path / "counters.json").read_text())["water"]

        for total in (1, 2, 3):
            lines["water"].change((True, clock.boottime_ns(), 0))
            await clock.advance(KEEP_NS / 1e9)
            assert on_disk() == total
        for _ in range(95):  # ten a second
            lines["water"].change((True, clock.boottime_ns(), 0))
            await clock.advance(0.1)
        assert on_disk() == 4
        await clock.advance(0.6)
        assert on_disk() == 98

    @pytest.mark.parametrize("end", [True, False], ids=["at the end", "also when no pulse comes"])
    async def test_what_a_full_disk_refused_is_written(self, lossy, clock, tmp_path, end):
        inputs, lines, _ = lossy(WATER)
        (tmp_path / "counters.new").mkdir()
        lines["water"].change((True, clock.boottime_ns(), 0))
        await clock.advance(1)
        inputs._kept._thread.join(10)
        (tmp_path / "counters.new").rmdir()
        if end:
            inputs.close()
        else:
            await clock.advance(KEEP_NS / 1e9)
            inputs._kept._thread.join(10)
        assert json.loads((tmp_path / "counters.json").read_text()) == {"water": 1}

    async def test_a_reload_goes_on_counting(self, house, configured, clock):
        board = await house(WATER)
        board.simulated.pulse("water", 2)
        await clock.advance(5)
        await board.reload(configured(WATER + 'label = "Water"\nrate = "1/min"\n'))
        await board.reload(configured(WATER + 'label = "Water"\nrate = "1/min"\ndebounce = "5ms"\n'))
        board.simulated.pulse("water", 2)
        await clock.advance(5)
        assert values(board, "water") == [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]
        await board.reload(configured(DOOR))
        await board.reload(configured(WATER))
        assert values(board, "water")[-1] == 4.0

    async def test_after_a_reload_that_gives_pulses_another_meaning_it_is_told(self, house, configured, clock):
        script = "[contact.water]\nbounce = 0\n"
        board = await house(WATER + 'unit = "l"\nrate = "l/min"\n', script)
        board.simulated.pulse("water", 20, every_s=1)
        await clock.advance(19.5)
        assert (board.latest["water"].value, board.latest["water.rate"].value) == (20.0, pytest.approx(60))
        await board.reload(configured(WATER + 'unit = "m³"\nmultiply = 0.01\nrate = "m³/h"\n', script))
        await clock.advance(0.1)
        assert (board.latest["water"].value, board.channels[0].unit) == (0.2, "m³")
        await clock.advance(11)
        rates = [reading.value for reading in board.heard if reading.channel == "water.rate"]
        assert any(rate == pytest.approx(36) for rate in rates)

    async def test_two_count_each_their_own(self, house, clock, tmp_path):
        board = await house(WATER + '[input.gas]\npin = "GPIO5"\nkind = "counter"\n')
        board.simulated.pulse("water", 2)
        board.simulated.pulse("gas", 3)
        await clock.advance(5)
        await board.__aexit__(None, None, None)
        assert json.loads((tmp_path / "counters.json").read_text()) == {"gas": 3, "water": 2}


class TestRate:
    async def test_a_water_meter_in_litres(self, house, clock):
        board = await house(WATER + 'unit = "l"\nmultiply = 0.5\nrate = "l/min"\n', "[contact.water]\nbounce = 0\n")
        assert [(r.channel, r.value, r.quality) for r in board.heard] == [
            ("water", 0.0, "ok"), ("water.rate", 0.0, "estimate"),
        ]  # fmt: skip
        board.simulated.pulse("water", 30, every_s=2)
        await clock.advance(59)
        assert values(board, "water.rate")[1:] == [pytest.approx(15)] * len(values(board, "water.rate")[1:])
        assert board.latest["water.rate"].value == pytest.approx(15)
        await clock.advance(120)
        rates = [reading for reading in board.heard if reading.channel == "water.rate"]
        assert (rates[-1].value, rates[-1].quality) == (0.0, "ok")
        assert len(rates) <= 2 + 179 / 10

    async def test_its_own_options(self, house, clock):
        table = '[input.water.rate]\nunit = "1/s"\nmin_interval = 0\n'
        board = await house(WATER + table, "[contact.water]\nbounce = 0\n")
        for every_s in (1.0, 0.5, 0.1):
            board.simulated.pulse("water", 40, every_s=every_s)
            await clock.advance(every_s * 40)
        assert [round(value) for value in values(board, "water.rate")][:1] == [0]
        assert {round(value, 3) for value in values(board, "water.rate")} >= {1.0, 2.0, 10.0}


class TestAChipThatIsGone:
    """An expander that was unplugged, or whose bus does not answer."""

    @pytest.fixture
    def unplugged(self):
        def fail(_):
            raise OSError(errno.ENODEV, "No such device")

        @contextmanager
        def unplugged():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(SimulatedPin, "_get_state", fail)
                yield

        return unplugged

    async def test_its_channels_say_so_and_come_back(self, house, clock, unplugged, caplog):
        board = await house(DOOR + BELL + WATER + 'rate = "1/min"\n')
        board.simulated.pulse("water", 2)
        await clock.advance(30)
        with unplugged():
            await clock.advance(LOOK_NS / 1e9)
            assert {(name, one.value, one.quality) for name, one in board.latest.items()} == {
                (name, None, "error") for name in ("door", "bell", "water", "water.rate")
            }
            await clock.advance(600)
            board.simulated.factory.pin("GPIO17").idle(True)
        await clock.advance(LOOK_NS / 1e9 + 11)
        assert values(board, "door") == [False, None, True]
        assert values(board, "water") == [0.0, 1.0, 2.0, None, 2.0]
        assert (board.latest["water.rate"].value, board.latest["water.rate"].quality) == (0.0, "estimate")
        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("ERROR", "input.door: GPIO17 cannot be read (No such device); look at its chip and that one's cable; "
                      "a chip that was unplugged needs a new start of Knoop; no input is heard meanwhile"),
            ("WARNING", "input.door: can be read again; all inputs are heard"),
        ]  # fmt: skip

    async def test_afterwards_a_door_is_heard_again_both_ways(self, house, clock, unplugged):
        board = await house(DOOR)
        board.simulated.drive("door", True)
        await clock.advance(1)
        with unplugged():
            await clock.advance(2 * LOOK_NS / 1e9)
            board.simulated.factory.pin("GPIO17").idle(False)
        await clock.advance(2 * LOOK_NS / 1e9)
        board.simulated.drive("door", True)
        await clock.advance(1)
        assert values(board, "door") == [False, True, None, False, True]

    async def test_a_reload_meanwhile_is_no_reason_to_say_it_twice(self, house, configured, clock, unplugged):
        board = await house(DOOR)
        with unplugged():
            await clock.advance(2 * LOOK_NS / 1e9)
            await board.reload(configured(DOOR + 'label = "Door"\n'))
            await clock.advance(2 * LOOK_NS / 1e9)
        assert values(board, "door") == [False, None]


async def test_ten_kilohertz_for_ten_seconds(house, clock, caplog):
    """Another sensor and a button get through, memory does not grow, and what was told and counted is exact."""
    caplog.set_level(logging.WARNING)
    text = (
        DOOR + "debounce = 0\n" + WATER + 'debounce = 0\nrate = "1/s"\n' + BELL
        + '[sensor.air]\ndriver = "simulated"\nevery = "1s"\n'
    )  # fmt: skip
    board = await house(text, "[contact.door]\nbounce = 0\n[contact.water]\nbounce = 0\n")
    pins = [board.simulated.factory.pin(name) for name in ("GPIO17", "GPIO23")]
    blocks, told = [], []
    for ms in range(10_000):
        for _ in range(5):
            for pin in pins:
                pin.drive_low()
                pin.drive_high()
        if ms == 5000:
            board.simulated.press("bell")
        await clock.advance(0.001)
        if ms in {2000, 9999}:
            for pin in pins:
                pin.clear_states()  # what gpiozero's mock line remembers of itself
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            told.append(len(board.heard))
    await clock.advance(60)
    door = [reading for reading in board.heard if reading.channel == "door"]
    assert BURST + 95 <= len(door) - 1 <= BURST + 105
    assert door[-1].value is True
    assert door[-1].quality == "lost"
    assert values(board, "water")[-1] == 50_000.0
    assert len(values(board, "water")) <= BURST + 105
    assert values(board, "bell") == ["click"]
    assert len(values(board, "air.temperature")) >= 10
    assert any(abs(value - 5000) < 1 for value in values(board, "water.rate"))
    assert blocks[1] - blocks[0] <= 30 * (told[1] - told[0]) + 3000  # readings that wait to be stored, and no edges
    messages = [record.message for record in caplog.records if "input." in record.message]
    assert len(messages) == 2
    # 10 kHz × 10 s; the very first edge shows the level that the line had. The opening's reading is no edge.
    assert messages[1].endswith(f": 0 lost before they were read, {99_999 - (len(door) - 1)} not told")


def test_what_a_power_cut_costs_is_in_the_decision():
    page = (Path(__file__).parents[2] / "docs/adr/0014-buttons-and-counters.md").read_text("utf-8")
    assert f"every {KEEP_NS // S} s" in page
