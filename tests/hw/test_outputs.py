"""Outputs on simulated lines, some of them broken: what is refused, made safe, remembered, logged and let go."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import contextmanager, suppress

import pytest
from tests.hw.stopping import Stopping

from knoop_hw.errors import SetRefused
from knoop_hw.lines import OutputLine
from knoop_hw.outputs import Outputs
from knoop_hw.restore import FILE, Memory
from knoop_hw.simulated import Simulated

SHUTTER = '[output.up]\npin = "GPIO5"\nmax_on = "60s"\ninterlock = ["down"]\n[output.down]\npin = "GPIO6"\n'


class Rig:
    """Open outputs, the board they move, and what they report."""

    def __init__(self, config, clock, state=None):
        self.config = config
        self.board = Simulated(config, clock=clock)
        self.heard = []
        self.outputs = Outputs(
            config.outputs, factory=self.board.factory, clock=clock, report=self._hear, memory=Memory(state)
        )

    def _hear(self, name, value, quality, _at_ns):
        self.heard.append((name, value, quality))

    def pin(self, name):
        return self.board.factory.pin(next(line.pin for line in self.config.outputs if line.name == name))

    def level(self, name):
        """What a meter shows, also when the line cannot be read."""
        return bool(self.pin(name)._state)


@pytest.fixture
async def rig(configured, clock):
    made = []

    def build(text, state=None):
        made.append(Rig(configured(text), clock, state))
        return made[-1]

    yield build
    for one in made:
        one.outputs.close()
        one.board.close()


class BadHandle(Exception):
    """What lgpio.error is: no OSError."""


@contextmanager
def broken(pin, *methods, then=None):
    """A line that fails in these methods, or that always answers `then`."""

    def fail(*_):
        if then is None:
            raise BadHandle("bad handle")
        return then

    with pytest.MonkeyPatch.context() as patch:
        for method in methods:
            patch.setattr(pin, method, fail)
        yield


def refused(outputs, name, value, **more):
    with pytest.raises(SetRefused) as caught:
        outputs.set(name, value, **more)
    return caught.value.reason


class TestRestore:
    TABLE = '[output.heater]\npin = "GPIO27"\ninitial = "restore"\n'

    @pytest.mark.parametrize("lasting", [False, True])
    async def test_a_power_cut_during_a_lease_brings_back_what_the_lease_returns_to(self, rig, tmp_path, lasting):
        (tmp_path / "now").mkdir()
        heater = rig(self.TABLE, tmp_path / "now").outputs
        heater.set("heater", lasting)
        heater.set("heater", not lasting, for_s=600)
        shutil.copytree(tmp_path / "now", tmp_path / "after the cut")
        assert rig(self.TABLE, tmp_path / "after the cut").level("heater") is lasting

    async def test_a_lease_that_may_not_return_is_not_remembered_either(self, rig, clock, tmp_path):
        shutter = SHUTTER.replace('max_on = "60s"', 'initial = "restore"')
        one = rig(shutter, tmp_path)
        one.outputs.set("up", True)
        one.outputs.set("up", False, for_s=10)
        one.outputs.set("down", True)
        await clock.advance(20)
        assert (one.level("up"), one.level("down")) == (False, True)
        assert json.loads((tmp_path / FILE).read_text()) == {"up": False}

    async def test_of_interlocked_outputs_only_one_is_restored(self, rig, tmp_path, caplog):
        (tmp_path / FILE).write_text('{"up": true, "down": true}')
        shutter = (
            '[output.up]\npin = "GPIO5"\ninitial = "restore"\ninterlock = ["down"]\n'
            '[output.down]\npin = "GPIO6"\ninitial = "restore"\n'
        )
        one = rig(shutter, tmp_path)
        assert (one.level("up"), one.level("down")) == (True, False)
        assert caplog.messages == ["output.down: starts off: it is interlocked with up"]


    @pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b"\xff", b'{"heater": 1}'])
    async def test_a_damaged_memory_is_said_and_costs_only_itself(self, rig, tmp_path, caplog, content):
        (tmp_path / FILE).write_bytes(content)
        assert rig(self.TABLE, tmp_path).level("heater") is False
        [message] = caplog.messages
        assert "cannot be read" in message
        assert "outputs start off" in message

    async def test_what_the_dead_man_switched_off_stays_off(self, rig, clock, tmp_path):
        one = rig(self.TABLE + "dead_man = true\n", tmp_path)
        one.outputs.set("heater", True)
        await clock.advance(3)
        assert rig(self.TABLE, tmp_path).level("heater") is False


class TestPulse:
    """A gate opener's button: on is on for so long."""

    GATE = '[output.gate]\npin = "GPIO27"\npulse = "500ms"\n'

    async def test_on_goes_off_by_itself_and_both_are_reported(self, rig, clock):
        one = rig(self.GATE)
        assert one.outputs.set("gate", True) is True
        await clock.advance(0.49)
        assert one.level("gate") is True
        await clock.advance(0.02)
        assert one.heard == [("gate", False, "ok"), ("gate", True, "ok"), ("gate", False, "ok")]

    async def test_a_wall_of_requests_is_one_pulse_after_the_other(self, rig, clock):
        one = rig(self.GATE + 'min_off = "1s"\n')
        await clock.advance(1)
        for _ in range(100):
            with suppress(SetRefused):
                one.outputs.set("gate", True)
            await clock.advance(0.1)
        ons = [value for _, value, _ in one.heard[1:]]
        moves = [level for level, former in zip(ons, [False, *ons], strict=False) if level is not former]
        assert moves == [True, False] * (len(moves) // 2)
        assert len(moves) == pytest.approx(2 * 10 / 1.6, abs=2)

    async def test_a_line_that_fails_to_end_is_ended_when_it_answers(self, rig, clock):
        one = rig(self.GATE)
        one.outputs.set("gate", True)
        with broken(one.pin("gate"), "_set_state"):
            await clock.advance(30)
        await clock.advance(1)
        assert one.level("gate") is False

    async def test_the_agent_hears_of_it(self, rig):
        one = rig(self.GATE + '[output.lamp]\npin = "GPIO5"\n')
        assert [line.channel().pulse_s for line in one.config.outputs] == [0.5, None]


class TestARestartForNewCode:
    """It waits until nothing would move by it."""

    @pytest.mark.parametrize(
        ("keys", "on", "moved"),
        [
            ("", False, False), ("", True, True),
            ('safe = "keep"', False, False), ('safe = "keep"', True, True),
            ('safe = "keep"\ninitial = "restore"', True, False), ('initial = "restore"', True, True),
            ('initial = "on"', False, True), ('safe = "on"\ninitial = "on"', True, False),
            ('safe = "on"', True, True), ('safe = "on"\ninitial = "on"', False, True),
        ],
    )  # fmt: skip
    async def test_what_would_move(self, rig, keys, on, moved):
        one = rig(f'[output.lamp]\npin = "GPIO27"\n{keys}\n[output.still]\npin = "GPIO5"\n')
        one.outputs.set("lamp", on)
        assert one.outputs.moved_by_a_restart() == ["lamp"] * moved

    async def test_what_a_lease_returns_to_is_not_forgotten(self, rig, clock):
        one = rig('[output.lamp]\npin = "GPIO27"\nsafe = "keep"\ninitial = "restore"\n')
        one.outputs.set("lamp", True, for_s=60)
        assert one.outputs.moved_by_a_restart() == ["lamp"]
        await clock.advance(61)
        assert one.outputs.moved_by_a_restart() == []

    async def test_pulses(self, rig):
        one = rig('[output.fan]\npin = "GPIO18"\nkind = "pwm"\n')
        assert one.outputs.moved_by_a_restart() == []
        one.outputs.set("fan", 30)
        assert one.outputs.moved_by_a_restart() == ["fan"]


class TestWhatMustRestAtAStart:
    """Until now it may have been on: a board that restarts in a loop is no excuse."""

    async def test_a_compressor_comes_on_when_it_has_rested(self, rig, clock):
        one = rig('[output.fridge]\npin = "GPIO27"\ninitial = "on"\nmin_off = "5min"\n')
        await clock.advance(299)
        assert one.level("fridge") is False
        await clock.advance(2)
        assert one.level("fridge") is True

    async def test_a_restart_meanwhile_forgets_nothing(self, rig, clock, tmp_path):
        fridge = '[output.fridge]\npin = "GPIO27"\ninitial = "restore"\nmin_off = "5min"\n'
        first = rig(fridge, tmp_path)
        await clock.advance(300)
        first.outputs.set("fridge", True)
        for _ in range(3):
            rig(fridge, tmp_path)
            await clock.advance(200)
        last = rig(fridge, tmp_path)
        await clock.advance(301)
        assert last.level("fridge") is True

    async def test_a_shutter_waits_for_the_motor_that_may_still_turn(self, rig, clock):
        shutter = SHUTTER.replace('max_on = "60s"', 'initial = "on"\ninterlock_wait = "3s"')
        one = rig(shutter)
        assert one.level("up") is False
        assert refused(one.outputs, "down", True) == "interlock"
        await clock.advance(3.1)
        assert one.level("up") is True

    async def test_one_that_keeps_its_level_is_not_moved_for_it(self, rig):
        one = rig('[output.fridge]\npin = "GPIO27"\ninitial = "on"\nsafe = "keep"\nmin_off = "5min"\n')
        assert one.level("fridge") is True


class TestALineThatDoesNotAnswer:
    async def test_one_failed_read_back_leaves_no_output_on_that_its_guard_thinks_off(self, rig, clock):
        one = rig(SHUTTER)
        with broken(one.pin("up"), "_get_state"):
            assert refused(one.outputs, "up", True) == "device"
        assert one.level("up") is True
        assert refused(one.outputs, "down", True) == "interlock"
        await clock.advance(0)
        assert one.level("up") is False
        assert one.heard[-2:] == [("up", None, "error"), ("up", False, "ok")]
        assert one.outputs.set("down", True) is True

    async def test_it_is_made_safe_as_soon_as_it_answers(self, rig, clock):
        one = rig(SHUTTER)
        with broken(one.pin("up"), "_get_state"):
            refused(one.outputs, "up", True)
            with broken(one.pin("up"), "_get_state", "_set_state"):
                await clock.advance(3600)
                assert one.level("up") is True
                assert refused(one.outputs, "down", True) == "interlock"
        await clock.advance(1)
        assert one.level("up") is False

    async def test_off_that_failed_is_not_off(self, rig, clock):
        one = rig(SHUTTER)
        one.outputs.set("up", True)
        with broken(one.pin("up"), "_set_state"):
            assert refused(one.outputs, "up", False) == "device"
            assert refused(one.outputs, "down", True) == "interlock"
        await clock.advance(1)
        assert one.level("up") is False

    async def test_a_relay_that_sticks_is_not_off_because_it_was_told_so_twice(self, rig, clock):
        one = rig(SHUTTER.replace('max_on = "60s"', 'interlock_wait = "3s"'))
        await clock.advance(3)
        with broken(one.pin("up"), "_get_state", then=True):
            assert refused(one.outputs, "up", False) == "device"
            assert refused(one.outputs, "down", True) == "interlock"
            await clock.advance(30)
        await clock.advance(1)
        assert refused(one.outputs, "down", True) == "interlock", "it has been off for less than the wait"
        await clock.advance(3)
        assert one.outputs.set("down", True) is True

    async def test_a_line_that_is_on_after_it_opened_off_is_not_off(self, rig, clock, caplog):
        one = rig(SHUTTER)
        one.outputs.close()
        with broken(one.pin("up"), "_get_state", then=True):
            one.outputs.open(one.config.outputs, factory=one.board.factory)
            assert refused(one.outputs, "down", True) == "interlock"
            await clock.advance(30)
        await clock.advance(1)
        wrong = "output.up: GPIO5 reads True after it was set to False; check its wiring; trying again every second"
        assert caplog.messages == [wrong, "output.up: is back"]
        assert one.outputs.set("down", True) is True

    async def test_a_lease_that_fails_to_end_is_ended_when_the_line_answers(self, rig, clock):
        one = rig(SHUTTER)
        one.outputs.set("up", True, for_s=10)
        with broken(one.pin("up"), "_get_state", then=True):  # shorted: it reads on whatever is set
            await clock.advance(30)
            assert refused(one.outputs, "down", True) == "interlock"
        await clock.advance(1)
        assert one.heard[-1] == ("up", False, "ok")
        assert one.outputs.set("down", True) is True

    async def test_an_output_that_keeps_its_level_still_ends_a_lease_that_began_unread(self, rig, clock):
        one = rig('[output.lock]\npin = "GPIO27"\nsafe = "keep"\n')
        with broken(one.pin("lock"), "_get_state"):
            refused(one.outputs, "lock", True, for_s=10)
        await clock.advance(9)
        assert one.level("lock") is True
        await clock.advance(2)
        assert one.level("lock") is False

    async def test_it_is_told_once_when_it_goes_and_once_when_it_is_back(self, rig, clock, caplog):
        caplog.set_level(logging.WARNING)
        one = rig(SHUTTER)
        for _ in range(2):
            one.outputs.set("up", True)
            with broken(one.pin("up"), "_set_state"):
                await clock.advance(120)
            await clock.advance(1)
            assert one.level("up") is False
        gone = "output.up: GPIO5 cannot be set (bad handle); trying again every second"
        assert caplog.messages == [gone, "output.up: is back"] * 2

    async def test_it_does_not_delay_the_others(self, rig, clock):
        one = rig(SHUTTER + '[output.lamp]\npin = "GPIO27"\n')
        one.outputs.set("up", True, for_s=10)
        one.outputs.set("lamp", True, for_s=10.3)
        with broken(one.pin("up"), "_set_state"):
            await clock.advance(10.4)
            assert one.level("lamp") is False

    async def test_none_stays_open_when_one_cannot_be_read_at_start(self, configured, clock, monkeypatch):
        config = configured(SHUTTER.replace('max_on = "60s"', 'initial = "on"'))
        board = Simulated(config, clock=clock)
        pin = board.factory.pin("GPIO6")
        with monkeypatch.context() as patch:
            patch.setattr(type(pin), "_get_state", lambda _: 1 / 0)
            with pytest.raises(OSError, match="cannot be read"):
                Outputs(config.outputs, factory=board.factory, clock=clock, report=lambda *_: None, memory=Memory(None))
        assert board.level("up") is False
        for output in config.outputs:
            OutputLine(output, factory=board.factory, initial=False).close()
        board.close()


class TestTheDeadMan:
    TABLE = '[output.pump]\npin = "GPIO27"\ndead_man = true\n'

    async def test_no_lease_wakes_an_output_while_the_agent_is_dead(self, rig, clock):
        one = rig(self.TABLE)
        one.outputs.set("pump", True)
        one.outputs.beat()
        one.outputs.set("pump", False, for_s=60)
        before = len(one.heard)
        await clock.advance(120)
        one.outputs.beat()
        await clock.advance(1)
        assert one.heard[before:] == []

    async def test_a_lease_returns_while_the_agent_lives(self, rig, clock):
        one = rig(self.TABLE)
        one.outputs.set("pump", True)
        one.outputs.set("pump", False, for_s=60)
        for _ in range(121):
            one.outputs.beat()
            await clock.advance(0.5)
        assert one.level("pump") is True


    async def test_a_lease_that_ended_while_we_hung_does_not_hide_the_dead_man(self, configured):
        """It is refused; then the beat that waited in the socket would make the agent one that never was silent."""
        clock = Stopping()
        one = Rig(configured('[output.fan]\npin = "GPIO18"\nkind = "pwm"\ndead_man = "5s"\n'), clock)
        one.outputs.set("fan", 1.0)
        one.outputs.set("fan", True, for_s=0.1)
        clock.skip(6)
        one.outputs.beat()
        assert one.heard[-1] == ("fan", 0.0, "ok")
        one.outputs.close()
        one.board.close()


class TestForcedOn:
    """An output with safe = "on" (a heater that must not freeze) and its interlocked partner are never on together."""

    TABLE = (
        '[output.b]\npin = "GPIO6"\ninterlock = ["a"]\n'
        '[output.a]\npin = "GPIO5"\nsafe = "on"\ndead_man = true\n'
    )

    async def test_by_the_dead_man_the_partner_goes_off_first(self, rig, clock):
        one = rig(self.TABLE)
        one.outputs.beat()
        one.outputs.set("b", True)
        await clock.advance(3)
        assert (one.level("a"), one.level("b")) == (True, False)
        moves = [(name, value) for name, value, _ in one.heard if name in "ab"][-2:]
        assert moves == [("b", False), ("a", True)]

    @pytest.mark.parametrize("order", [1, -1])
    async def test_on_closing_the_partner_goes_off_first(self, rig, clock, order):
        tables = self.TABLE.replace("dead_man = true", "").split("[output.")[1:]
        one = rig("".join(f"[output.{table}" for table in tables[::order]))
        one.outputs.set("b", True)
        before = len(one.heard)
        one.outputs.close()
        assert [(name, value) for name, value, _ in one.heard[before:]] == [("b", False), ("a", True)]

    async def test_by_a_reload_that_takes_only_the_one_the_partner_that_stays_goes_off_first(self, rig, clock):
        one = rig(self.TABLE.replace("dead_man = true", ""))
        one.outputs.set("b", True)
        before = len(one.heard)
        one.outputs.release(["a"])
        assert [(name, value) for name, value, _ in one.heard[before:]] == [("b", False), ("a", True)]
        assert one.outputs.names == {"b"}

    async def test_when_the_partner_does_not_go_off_the_one_that_goes_stays_off(self, rig, caplog):
        one = rig(self.TABLE.replace("dead_man = true", ""))
        one.outputs.set("b", True)
        with broken(one.pin("b"), "_set_state"):
            one.outputs.release(["a"])
        assert (one.level("a"), one.level("b")) == (False, True)

    async def test_at_a_start_what_begins_off_is_off_before_the_partner_begins_on(self, rig, clock):
        one = rig(self.TABLE.replace('"GPIO6"', '"GPIO6"\ninitial = "on"').replace("dead_man = true", ""))
        one.outputs.close()
        assert (one.level("a"), one.level("b")) == (True, False)
        moves = []
        one.board.factory.note = lambda line, level: moves.append((line, level))
        one.outputs.open(one.config.outputs, factory=one.board.factory)
        assert moves == [("GPIO5", False), ("GPIO6", True)]


class TestClosing:
    TABLE = '[output.a]\npin = "GPIO5"\n[output.b]\npin = "GPIO6"\n[output.c]\npin = "GPIO27"\n'

    async def test_one_that_fails_stops_no_other(self, rig, clock, caplog):
        one = rig(self.TABLE)
        for name in "abc":
            one.outputs.set(name, True)
        held = [output.line for output in one.outputs._open.values()]  # else a finalizer meets the broken line
        with broken(one.pin("a"), "_set_state", "close"):
            one.outputs.close()
        assert [one.level(name) for name in "abc"] == [True, False, False]
        assert caplog.messages == [
            "output.a: GPIO5 cannot be set (bad handle) (on closing)",
            "output.a: bad handle (on closing)",
        ]
        assert [line._device.closed for line in held[1:]] == [True, True]

    async def test_all_are_safe_before_any_is_closed(self, rig, monkeypatch):
        one = rig(self.TABLE)
        seen = []
        for name in "abc":
            one.outputs.set(name, True)
            pin = one.pin(name)
            monkeypatch.setattr(pin, "close", lambda: seen.append([one.level(other) for other in "abc"]))
        one.outputs.close()
        assert seen == [[False] * 3] * 3

    @pytest.mark.parametrize(("safe", "level", "wire"), [("off", 1, 0), ("on", 99, 1)])
    async def test_a_fan_at_one_percent_is_not_off(self, rig, safe, level, wire):
        one = rig(f'[output.fan]\npin = "GPIO18"\nkind = "pwm"\nsafe = "{safe}"\n')
        one.outputs.set("fan", level)
        one.outputs.close()
        assert one.pin("fan")._state == wire

    async def test_a_line_that_cannot_be_read_is_made_safe_unseen(self, rig):
        one = rig(self.TABLE)
        one.outputs.set("a", True)
        with broken(one.pin("a"), "_get_state"):
            one.outputs.close()
        assert one.level("a") is False
