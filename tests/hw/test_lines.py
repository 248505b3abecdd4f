"""Inputs and outputs on simulated lines: bounce, debounce, levels and transitions, in fake time."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.hw.stopping import Stopping

from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.kernel_edges import Change
from knoop_hw.lines import WAITING, Edge, InputLine, OutputLine
from knoop_hw.simulated import Simulated, SimulatedFactory, SimulatedPin

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


def listen(config, board, clock):
    heard = []
    return heard, InputLine(config.inputs[0], factory=board.factory, clock=clock, on_edges=heard.extend)


async def test_a_bouncing_contact_is_one_event_at_the_edge_that_lasted(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO17"', '[contact.door]\nbounce = "5ms"\n')
    heard, line = listen(config, board, clock)
    start = clock.boottime_ns()
    board.drive("door", True)
    await clock.advance(1)
    assert board.level("door") is True
    assert len(board.factory.pin("GPIO17").states) > 3  # it did bounce
    [edge] = heard
    assert (edge.level, edge.lost, line.level, line.lost) == (True, 0, True, 0)
    assert start < edge.at_ns <= start + 5_000_000
    line.close()
    line.close()


async def test_a_flicker_shorter_than_debounce_is_nothing(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO17"\ndebounce = "50ms"', "[contact.door]\nbounce = 0\n")
    heard, line = listen(config, board, clock)
    board.drive("door", True)
    await clock.advance(0.04)
    board.drive("door", False)
    await clock.advance(1)
    assert (heard, line.level) == ([], False)
    line.close()


async def test_a_button_with_a_pull_up_is_pressed_when_low(bench, clock):
    config, board = bench('[input.bell]\npin = "GPIO22"\nkind = "button"')
    heard, line = listen(config, board, clock)
    assert (board.level("bell"), line.level) == (True, False)
    board.drive("bell", True)
    await clock.advance(1)
    assert (board.level("bell"), line.level) == (False, True)
    assert [edge.level for edge in heard] == [True]
    line.close()


async def test_a_counter_hears_of_each_pulse_once(bench, clock):
    config, board = bench('[input.rain]\npin = "GPIO23"\nkind = "counter"')
    heard, line = listen(config, board, clock)
    board.pulse("rain", 5, every_s=1)
    await clock.advance(10)
    assert [edge.level for edge in heard] == [True] * 5
    line.close()


async def test_without_debounce_every_edge_counts_at_once(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO23"\ndebounce = 0', "[contact.door]\nbounce = 0\n")
    heard, line = listen(config, board, clock)
    for value in (True, False, True):
        board.drive("door", value)
        await clock.advance(0.001)
    assert [edge.level for edge in heard] == [True, False, True]
    line.close()


async def test_an_edge_after_closing_is_nothing(bench, clock):
    config, board = bench('[input.door]\npin = "GPIO17"')
    heard, line = listen(config, board, clock)
    board.drive("door", True)
    await clock.advance(0.001)
    line.close()
    await clock.advance(1)
    assert heard == []


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


class KernelPin(SimulatedPin):
    """What `gpiod_pins` adds to a pin: the kernel's own edges, told when a test says so."""

    def listen(self, told, *, edges, debounce_s):
        self.asked, self.tell = (edges, debounce_s), told


class TestTheKernelsEdges:
    @pytest.fixture
    def opened(self, configured, clock):
        """Open an input on such a pin; yields what it heard, the line and the pin."""
        made = []

        def build(keys, high=False):
            factory = SimulatedFactory(clock=clock, trace=None)
            factory.pin_class = KernelPin
            [config] = configured(f'[input.door]\npin = "GPIO17"\n{keys}').inputs
            pin = factory.pin("GPIO17")
            pin.idle(high)
            heard = []
            made.append(InputLine(config, factory=factory, clock=clock, on_edges=heard.append))
            return heard, made[-1], pin

        yield build
        for line in made:
            line.close()
            line.close()

    async def test_a_change_is_told_with_the_kernels_stamp(self, opened):
        heard, line, pin = opened("")
        assert (pin.asked, line.level) == (("both", 0.02), False)
        pin.tell([Change(True, 5, 0), Change(False, 9, 0)])
        assert heard == [[Edge(level=True, at_ns=5), Edge(level=False, at_ns=9)]]
        assert (line.level, line.lost) == (False, 0)

    async def test_an_edge_that_the_level_at_opening_has_is_not_told_again(self, opened):
        heard, line, pin = opened("", high=True)
        pin.tell([Change(True, 5, 0)])
        assert (heard, line.level) == ([], True)
        pin.tell([Change(False, 6, 0)])
        assert heard == [[Edge(level=False, at_ns=6)]]

    async def test_lost_edges_are_told_even_where_the_level_is_as_before(self, opened):
        heard, line, pin = opened("")
        pin.tell([Change(False, 5, 3), Change(False, 6, 0)])
        assert heard == [[Edge(level=False, at_ns=5, lost=3)]]
        assert line.lost == 3

    async def test_after_a_failure_what_it_shows_is_its_level(self, opened):
        heard, line, pin = opened("")
        pin.idle(True)
        assert (line.level, line.resume(), line.level) == (False, True, True)
        pin.tell([Change(False, 5, 0)])
        assert heard == [[Edge(level=False, at_ns=5)]]

    @pytest.mark.parametrize(("active_low", "asked"), [("true", "falling"), ("false", "rising")])
    async def test_a_counter_asks_for_edges_to_active_and_hears_of_each(self, opened, active_low, asked):
        heard, line, pin = opened(f'kind = "counter"\ndebounce = 0\nactive_low = {active_low}')
        assert pin.asked == (asked, 0)
        pin.tell([Change(asked == "rising", at, lost) for at, lost in ((1, 0), (2, 0), (3, 60))])
        [edges] = heard
        assert [edge.level for edge in edges] == [True] * 3
        assert sum(1 + edge.lost for edge in edges) == 63
        assert line.level is (active_low == "true")  # as the line is now: low


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

    async def test_an_input_that_cannot_be_read_says_what_to_look_at(self, bench, clock, monkeypatch):
        config, board = bench('[input.door]\npin = "GPIO17"')
        _, line = listen(config, board, clock)
        assert line.look() is False
        monkeypatch.setattr(type(board.factory.pin("GPIO17")), "_get_state", lambda _: 1 / 0)
        with pytest.raises(DeviceError, match=r"^input.door: GPIO17 cannot be read \(.*\); look at its chip"):
            line.look()
        line.close()

    async def test_an_output_that_was_closed(self, bench):
        config, board = bench('[output.lamp]\npin = "GPIO27"')
        line = OutputLine(config.outputs[0], factory=board.factory, initial=False)
        line.close()
        with pytest.raises(DeviceError, match=r"^output.lamp: GPIO27 cannot be set"):
            line.set(True)
        with pytest.raises(DeviceError, match=r"^output.lamp: GPIO27 cannot be read"):
            _ = line.value


class TestAHang:
    """Edges come from another thread while the loop stands still (a stalled card, SIGSTOP of one thread)."""

    @pytest.fixture
    def opened(self, configured):
        clock = Stopping()
        made = []

        def build(keys):
            config = configured(f'[input.door]\npin = "GPIO17"\n{keys}')
            board = Simulated(config, clock=clock)
            made.extend((board, InputLine(config.inputs[0], factory=board.factory, clock=clock, on_edges=heard.extend)))
            pin, line = board.factory.pin("GPIO17"), made[-1]

            def pulse(high_s, low_s):
                pin.drive_high()
                clock.skip(high_s)
                pin.drive_low()
                clock.skip(low_s)

            return clock, line, pulse

        heard = []
        build.heard = heard
        yield build
        for one in made:
            one.close()

    async def test_a_meters_pulses_are_counted(self, opened):
        clock, _, pulse = opened('kind = "counter"')
        began = clock.boottime_ns()
        for _ in range(100):
            pulse(0.03, 0.05)
        await clock.advance(1)
        assert [(edge.at_ns - began) // 1_000_000 for edge in opened.heard] == [80 * n for n in range(100)]

    async def test_a_short_press_is_no_nothing(self, opened):
        clock, line, pulse = opened("")
        pulse(0.1, 0.005)
        await clock.advance(1)
        assert [edge.level for edge in opened.heard] == [True, False]
        assert line.level is False

    async def test_a_storm_meanwhile_is_kept_in_bounds_and_what_was_left_out_is_counted(self, opened):
        clock, line, pulse = opened("debounce = 0")
        for _ in range(5 * WAITING):
            pulse(0.0001, 0.0001)
        assert len(line._listening._waiting) == WAITING
        assert len(asyncio.get_running_loop()._ready) < 10
        await clock.advance(1)
        assert len(opened.heard) == WAITING
        assert (opened.heard[0].lost, line.lost) == (9 * WAITING, 9 * WAITING)
        assert sum(edge.lost for edge in opened.heard[1:]) == 0

    async def test_a_thread_and_the_loop_lose_no_count_between_them(self, configured):
        config = configured('[input.door]\npin = "GPIO17"\ndebounce = 0')
        board = Simulated(config, clock=SystemClock())
        line = InputLine(config.inputs[0], factory=board.factory, clock=SystemClock(), on_edges=lambda _: None)
        ours = line._listening

        def storm():
            for index in range(40_000):
                ours._on_edge(0.0, index % 2)

        await asyncio.to_thread(storm)
        ours._take()
        ours._take()
        assert ours._taken + line.lost == 40_000
        line.close()
        board.close()

    async def test_of_such_a_storm_a_counter_counts_the_pulses(self, opened):
        clock, _, pulse = opened('kind = "counter"\ndebounce = 0')
        for _ in range(5 * WAITING):
            pulse(0.0001, 0.0001)
        await clock.advance(1)
        assert sum(1 + edge.lost for edge in opened.heard) == 5 * WAITING
