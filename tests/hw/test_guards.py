"""When an output may move, and when it must."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.errors import SetRefused
from knoop_hw.guards import Due, Guard, Limits

S = 1_000_000_000


def guard(name="pump", *, value=False, **limits):
    return Guard(name, Limits(**limits), value=value, now_ns=0)


def ask(guard_, value, at_s, **more):
    """Request and apply."""
    level = guard_.request(value, now_ns=int(at_s * S), **more)
    guard_.applied(level, now_ns=int(at_s * S), for_s=more.get("for_s"))
    return level


def refused(guard_, value, at_s, **more):
    with pytest.raises(SetRefused) as caught:
        guard_.request(value, now_ns=int(at_s * S), **more)
    return caught.value.reason, str(caught.value)


class TestRange:
    def test_a_switch_is_on_or_off(self):
        assert ask(guard(), True, 0) is True
        assert refused(guard(), 0.5, 0) == ("range", "pump: is on or off; 0.5 is neither")
        assert refused(guard(), 1, 0)[0] == "range"

    def test_pwm_takes_percents_and_knows_on_and_off(self):
        fan = guard("fan", value=0.0, span=(0.0, 100.0), unit="%")
        assert ask(fan, 40, 0) == 40.0
        assert ask(fan, True, 1) == 100.0
        assert ask(fan, False, 2) == 0.0
        for nonsense in (-1, 100.1, float("nan"), float("inf")):
            assert refused(fan, nonsense, 3) == ("range", f"fan: takes 0 to 100 %, not {nonsense}")

    def test_a_lease_is_positive(self):
        assert refused(guard(), True, 0, for_s=0) == ("range", "pump: a time must be longer than 0 ms")


class TestMaxOn:
    def test_it_goes_off_by_itself(self):
        pump = guard(max_on_s=60)
        assert pump.due() is None
        ask(pump, True, 10)
        assert pump.due() == Due(70 * S, False, "max_on")

    def test_asking_again_does_not_prolong_it(self):
        pump = guard(max_on_s=60)
        ask(pump, True, 10)
        ask(pump, True, 50)
        assert pump.due().at_ns == 70 * S

    def test_a_longer_lease_is_refused(self):
        text = "pump: may be on for 60 s at most (max_on); ask for no more"
        assert refused(guard(max_on_s=60), True, 0, for_s=61) == ("range", text)


class TestPulse:
    """On is on for so long, whoever asks how often."""

    def test_on_ends_by_itself(self):
        gate = guard("gate", pulse_s=0.5)
        assert gate.due() is None
        ask(gate, True, 10)
        assert gate.due() == Due(int(10.5 * S), False, "pulse")
        assert gate.lasting is False

    def test_asking_again_does_not_prolong_it(self):
        gate = guard("gate", pulse_s=0.5)
        for at_s in (10, 10.2, 10.4):
            ask(gate, True, at_s)
            assert gate.due().at_ns == 10.5 * S

    def test_longer_is_refused_and_shorter_is_shorter(self):
        gate = guard("gate", pulse_s=0.5)
        text = "gate: gives pulses of 500 ms (pulse); ask for no more"
        assert refused(gate, True, 0, for_s=0.6) == ("range", text)
        ask(gate, True, 1, for_s=0.5)
        ask(gate, False, 1.1)
        ask(gate, True, 2, for_s=0.2)
        assert gate.due() == Due(int(2.2 * S), False, "lease")

    def test_nothing_returns_to_on(self):
        gate = guard("gate", pulse_s=0.5)
        ask(gate, True, 0)
        ask(gate, False, 0.1, for_s=10)
        assert gate.due() is None

    def test_it_rests_after_a_pulse_as_after_anything(self):
        gate = guard("gate", pulse_s=0.5, min_off_s=5)
        ask(gate, True, 10)
        gate.applied(False, now_ns=gate.due().at_ns, forced=True)
        assert refused(gate, True, 11)[0] == "min-off"

    def test_the_dead_man_may_end_it_sooner(self):
        gate = guard("gate", pulse_s=30, dead_man_s=2)
        gate.beat(10 * S)
        ask(gate, True, 10)
        assert gate.due() == Due(12 * S, False, "dead_man")

    def test_one_that_was_not_confirmed_ends_as_well(self):
        gate = guard("gate", pulse_s=0.5, safe="keep")  # no configuration has this: not even the safe level ends it
        gate.failed(True, now_ns=0)
        assert gate.due() == Due(S // 2, False, "pulse")


class TestMinOff:
    def test_it_rests(self):
        pump = guard(min_off_s=30)
        ask(pump, True, 100)
        ask(pump, False, 118)
        text = "pump: rests for another 12 s (min_off 30 s); try again then"
        assert refused(pump, True, 136) == ("min-off", text)
        assert ask(pump, True, 148) is True

    def test_it_rests_after_a_start_too(self):
        assert refused(guard(min_off_s=30), True, 10)[0] == "min-off"

    def test_off_is_always_allowed(self):
        assert ask(guard(min_off_s=30), False, 0) is False


class TestInterlock:
    def test_not_both(self):
        up, down = guard("up"), guard("down")
        ask(up, True, 0)
        text = "down: may not be on together with up; switch up off first"
        assert refused(down, True, 1, others=[up]) == ("interlock", text)
        ask(up, False, 2)
        assert ask(down, True, 2, others=[up]) is True

    def test_not_at_once_after_the_other(self):
        up, down = guard("up"), guard("down", interlock_wait_s=2)
        assert refused(down, True, 1, others=[up])[0] == "interlock"  # what was on before the start?
        assert ask(down, True, 2, others=[up]) is True
        ask(down, False, 3)
        ask(up, True, 3)
        ask(up, False, 5)
        text = "down: waits another 1500 ms after up; try again then".replace("1500 ms", "2 s")
        assert refused(down, True, 5.5, others=[up]) == ("interlock", text)
        assert ask(down, True, 7, others=[up]) is True


class TestLease:
    def test_it_returns_to_the_former_value(self):
        lamp = guard("lamp")
        ask(lamp, True, 0, for_s=10)
        assert lamp.due() == Due(10 * S, False, "lease")

    def test_a_second_lease_still_returns_to_what_was_before_the_first(self):
        fan = guard("fan", value=0.0, span=(0.0, 100.0), unit="%")
        ask(fan, 20, 0, for_s=10)
        ask(fan, 60, 5, for_s=10)
        assert fan.due() == Due(15 * S, 0.0, "lease")

    def test_a_plain_request_ends_it(self):
        lamp = guard("lamp")
        ask(lamp, True, 0, for_s=10)
        ask(lamp, True, 5)
        assert lamp.due() is None

    def test_on_for_a_while_changes_nothing_when_it_is_on_already(self):
        lamp = guard("lamp", value=True)
        ask(lamp, True, 0, for_s=10)
        assert lamp.due() is None

    def test_off_for_a_while_returns_only_when_it_has_rested(self):
        pump = guard("pump", value=True, min_off_s=30)
        ask(pump, False, 0, for_s=10)
        assert pump.due() == Due(30 * S, True, "lease")

    def test_max_on_comes_first(self):
        pump = guard(max_on_s=5)
        ask(pump, True, 0)
        ask(pump, True, 1, for_s=5)
        assert pump.due() == Due(5 * S, False, "max_on")


class TestDeadMan:
    def test_two_seconds_after_the_last_beat(self):
        lamp = guard("lamp", dead_man_s=2)
        ask(lamp, True, 0)
        lamp.beat(10 * S)
        assert lamp.due() == Due(12 * S, False, "dead_man")

    def test_nothing_when_it_is_safe_already(self):
        assert guard("lamp", dead_man_s=2).due() is None
        assert guard("light", dead_man_s=2, safe="on", value=True).due() is None

    def test_safe_may_be_on(self):
        light = guard("light", dead_man_s=2, safe="on", value=True)
        ask(light, False, 1)
        assert light.due() == Due(2 * S, True, "dead_man")

    def test_no_lease_returns_to_a_level_that_is_not_safe_once_the_beat_is_overdue(self):
        pump = guard(dead_man_s=2, value=True)
        ask(pump, False, 0, for_s=60)
        for beat_s, at_s in ((57, 60), (58, 60)):  # at 58 + 2 it is overdue as well
            pump.beat(beat_s * S)
            with pytest.raises(SetRefused, match=r"^pump: the agent has been silent for \d s \(dead_man\)$"):
                pump.returning(True, now_ns=at_s * S)
        pump.beat(59 * S)
        assert pump.returning(True, now_ns=60 * S) is True

    def test_a_lease_returns_to_the_safe_level_whoever_is_dead(self):
        light = guard("light", dead_man_s=2, safe="on", value=True)
        assert light.returning(True, now_ns=60 * S) is True


class TestFault:
    """A line that did not confirm what it was told."""

    def test_on_that_was_not_confirmed_counts_as_on_and_goes_to_safe_at_once(self):
        up, down = guard("up"), guard("down")
        up.failed(True, now_ns=3 * S)
        assert up.due() == Due(3 * S, False, "fault")
        assert refused(down, True, 3, others=[up])[0] == "interlock"
        up.applied(False, now_ns=4 * S, forced=True)
        assert up.due() is None

    def test_off_that_was_not_confirmed_counts_as_on(self):
        pump = guard(max_on_s=60)
        ask(pump, True, 0)
        pump.failed(False, now_ns=10 * S)
        assert pump.on
        assert pump.due() == Due(10 * S, False, "fault")

    def test_without_a_safe_level_its_lease_and_max_on_still_end(self):
        lock = guard("lock", safe="keep", max_on_s=60)
        lock.failed(True, now_ns=0, for_s=10)
        assert lock.due() == Due(10 * S, False, "lease")


@given(
    st.lists(st.tuples(st.floats(0, 30), st.booleans(), st.none() | st.floats(0.1, 40)), max_size=40),
    st.floats(1, 20), st.floats(0, 20),
)  # fmt: skip
def test_whatever_is_asked_max_on_and_min_off_hold(requests, max_on_s, min_off_s):
    pump = guard(max_on_s=max_on_s, min_off_s=min_off_s)
    now, on, changes = 0, False, [(0, False)]

    def note(value, at):
        nonlocal on
        if value != on:
            on = value
            changes.append((at, value))

    for gap, value, for_s in requests:
        end = now + int(gap * S)
        while (due := pump.due()) is not None and due.at_ns <= end:
            now = max(due.at_ns, now)
            pump.applied(due.value, now_ns=now, forced=True)
            note(due.value, now)
        now = end
        try:
            level = pump.request(value, now_ns=now, for_s=for_s)
        except SetRefused:
            continue
        pump.applied(level, now_ns=now, for_s=for_s)
        note(level, now)
    for (start, value), (end, _) in itertools.pairwise(changes):
        if value:
            assert end - start <= max_on_s * S + 1
        else:
            assert end - start >= min_off_s * S - 1
