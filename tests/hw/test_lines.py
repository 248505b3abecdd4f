"""Inputs and outputs on simulated lines: bounce, debounce, levels and transitions, in fake time."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.errors import DeviceError
from knoop_hw.lines import Debounce, InputLine, OutputLine
from knoop_hw.pinfactory import lgpio_factory
from knoop_hw.simulated import Simulated

S = 1_000_000_000


@pytest.fixture
async def bench(configured, clock):
    """Build a simulated board from tables; yields a function, closes what it made."""
    made = []

    def build(text, scenario=""):
        config = configured(text, scenario)
        board = Simulated(config, clock=clock)
        made.append(board)
        return config, board

    yield build
    for board in made:
        board.close()
        board.close()


def listen(config, board, clock, index=0):
    heard = []
    line = InputLine(
        config.inputs[index], factory=board.factory, clock=clock, report=lambda value, at: heard.append((at, value))
    )
    return heard, line


async def test_a_bouncing_contact_is_one_event_at_the_edge_that_lasted(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO17"', '[contact.door]\nbounce = "5ms"\n')
    heard, line = listen(config, board, clock)
    start = clock.boottime_ns()
    board.drive("door", True)
    await clock.advance(1)
    assert board.level("door") is True
    assert len(board.factory.pin("GPIO17").states) > 3  # it did bounce
    [(_, first), (at, value)] = heard
    assert (first, value) == (False, True)
    assert start < at <= start + 5_000_000
    line.close()
    line.close()


async def test_a_flicker_shorter_than_debounce_is_nothing(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO17"\ndebounce = "50ms"', "[contact.door]\nbounce = 0\n")
    heard, line = listen(config, board, clock)
    board.drive("door", True)
    await clock.advance(0.04)
    board.drive("door", False)
    await clock.advance(1)
    assert [value for _, value in heard] == [False]
    line.close()


async def test_a_button_with_a_pull_up_is_pressed_when_low(bench, clock):
    config, board = bench('[input.bell]\npin = "GPIO22"\nkind = "button"')
    heard, line = listen(config, board, clock)
    assert board.level("bell") is True
    board.drive("bell", True)
    await clock.advance(1)
    assert board.level("bell") is False
    assert [value for _, value in heard] == [False, True]
    line.close()


async def test_a_counter_counts_each_pulse_once(bench, clock):
    config, board = bench('[input.rain]\npin = "GPIO23"\nkind = "counter"')
    heard, line = listen(config, board, clock)
    board.pulse("rain", 5, every_s=1)
    await clock.advance(10)
    assert [value for _, value in heard] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    line.close()


async def test_without_debounce_every_edge_counts_at_once(bench, clock):
    config, board = bench('[input.rain]\npin = "GPIO23"\ndebounce = 0', "[contact.rain]\nbounce = 0\n")
    heard, line = listen(config, board, clock)
    for value in (True, False, True):
        board.drive("rain", value)
        await clock.advance(0.001)
    assert [value for _, value in heard] == [False, True, False, True]
    line.close()


async def test_an_edge_after_closing_is_nothing(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO17"')
    heard, line = listen(config, board, clock)
    board.drive("door", True)
    await clock.advance(0.001)
    line.close()
    await clock.advance(1)
    assert len(heard) == 1


@pytest.mark.parametrize(("active_low", "idle"), [(False, False), (True, True)])
async def test_an_output_opens_without_a_blip(bench, clock, tmp_path, active_low, idle):
    trace = tmp_path / "lines.jsonl"
    config, board = bench(
        f'[output.lamp]\npin = "GPIO27"\nactive_low = {str(active_low).lower()}', f'trace = "{trace}"\n'
    )
    line = OutputLine(config.outputs[0], factory=board.factory, initial=False)
    assert (line.value, board.level("lamp")) == (False, idle)
    assert line.set(True) is True
    assert board.level("lamp") is not idle
    assert line.set(False) is False
    line.close()
    line.close()
    entries = [json.loads(row) for row in trace.read_text().splitlines()]
    assert [entry["level"] for entry in entries] == [not idle, idle]
    assert entries[0] == {"t_ns": clock.boottime_ns(), "channel": "lamp", "line": "GPIO27", "level": not idle}


async def test_an_output_that_starts_on_makes_one_transition(bench, tmp_path):
    trace = tmp_path / "lines.jsonl"
    config, board = bench('[output.lamp]\npin = "GPIO27"', f'trace = "{trace}"\n')
    OutputLine(config.outputs[0], factory=board.factory, initial=True)
    assert len(trace.read_text().splitlines()) == 1


@pytest.mark.parametrize("active_low", [False, True])
async def test_pulses_are_percents(bench, active_low):
    config, board = bench(f'[output.fan]\npin = "GPIO18"\nkind = "pwm"\nactive_low = {str(active_low).lower()}')
    fan = OutputLine(config.outputs[0], factory=board.factory, initial=False)
    assert fan.value == 0.0
    assert fan.set(40.0) == 40.0
    assert board.level("fan") == pytest.approx(0.6 if active_low else 0.4)
    assert fan.set(0.0) == 0.0
    fan.close()


class TestErrors:
    async def test_a_line_that_is_open_already(self, bench, clock):
        config, board = bench('[input.door]\npin = "GPIO17"')
        _, line = listen(config, board, clock)
        with pytest.raises(DeviceError, match=r"^input.door: GPIO17 is already open in this process$"):
            listen(config, board, clock)
        line.close()

    async def test_a_fixed_resistor(self, bench, clock):
        config, board = bench('[input.door]\npin = "GPIO2"\npull = "down"')
        with pytest.raises(DeviceError, match=r'^input.door: GPIO2 has a resistor that pulls it up; set pull = "up"$'):
            listen(config, board, clock)

    async def test_a_line_that_this_board_does_not_have(self, configured):
        from gpiozero.pins.mock import MockFactory

        config = configured('[output.lamp]\npin = "GPIO27"')
        first_model_b = MockFactory(revision="0002")  # has no GPIO27 on its header
        with pytest.raises(DeviceError, match=r"^output.lamp: this board has no line GPIO27; see `pinout`$"):
            OutputLine(config.outputs[0], factory=first_model_b, initial=False)

    async def test_an_output_that_was_closed(self, bench):
        config, board = bench('[output.lamp]\npin = "GPIO27"')
        line = OutputLine(config.outputs[0], factory=board.factory, initial=False)
        line.close()
        with pytest.raises(DeviceError, match=r"^output.lamp: GPIO27 cannot be set"):
            line.set(True)
        with pytest.raises(DeviceError, match=r"^output.lamp: GPIO27 cannot be read"):
            _ = line.value

    def test_no_gpio_here(self):
        with pytest.raises(DeviceError, match=r"^board: (lgpio is not installed|no GPIO lines here)"):
            lgpio_factory()


def test_looking_for_gpio_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError):
        lgpio_factory()
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert "LG_WD" not in os.environ


class TestDebounce:
    def test_the_stamp_is_that_of_the_edge_that_began_the_rest(self):
        debounce = Debounce(False, rest_ns=10)
        for at, level in [(0, True), (2, False), (4, True)]:
            debounce.edge(level, at)
        assert debounce.due_ns == 14
        assert debounce.settle(13, actual=True) is None
        assert debounce.settle(14, actual=True) == 4
        assert debounce.level is True

    def test_a_lost_edge_is_found_by_looking(self):
        debounce = Debounce(False, rest_ns=10)
        debounce.edge(True, 0)
        assert debounce.settle(10, actual=False) is None
        assert debounce.settle(20, actual=False) is None
        assert debounce.level is False
        assert debounce.due_ns is None

    @given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 30))
    def test_levels_that_rest_count_and_others_do_not(self, gaps, rest):
        """Against the definition: an edge counts when the next one is at least `rest` later and the level is new."""
        edges, at, level = [], 0, False
        for gap in gaps:
            at += gap
            level = not level
            edges.append((at, level))
        expected, accepted = [], False
        for (start, value), (end, _) in itertools.pairwise([*edges, (at + 1000, None)]):
            if end - start > rest and value != accepted:
                accepted = value
                expected.append((start, value))
        debounce, heard = Debounce(False, rest_ns=rest), []
        actual = False
        for at_, value in [*edges, (at + 1000, None)]:
            due = debounce.due_ns
            if due is not None and due < at_ and (began := debounce.settle(due, actual=actual)) is not None:
                heard.append((began, debounce.level))
            if value is not None:
                actual = value
                debounce.edge(value, at_)
        assert heard == expected
