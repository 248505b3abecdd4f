"""How fast pulses come, from their times alone, and what a table of totals may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw import counting
from knoop_hw.counting import GATE_NS, SLOWEST_NS, ZERO_NS, ZERO_PERIODS, Measured, Rate

S = 1_000_000_000


def told_of(pulses, *, until_s=None, opened=0):
    """(when, measured) for pulses (at, count), with a timer that is on time."""
    rate, told = Rate(opened), []

    def until(now):
        while (due := rate.due_ns) is not None and due < now:
            if (measured := rate.elapse(due)) is not None:
                told.append((due, measured))

    for at, count in pulses:
        until(at)
        if (measured := rate.pulse(count, at)) is not None:
            told.append((at, measured))
    if until_s is not None:
        until(until_s * S + 1)
    return told, rate


def test_nothing_is_known_before_two_pulses():
    rate = Rate(0)
    assert rate.measured == Measured(0.0, known=False)
    assert rate.pulse(1, 5 * S) is None
    assert rate.measured == Measured(0.0, known=False)
    assert rate.pulse(1, 9 * S) == Measured(0.25)


def test_no_pulse_for_an_hour_is_known_to_be_nothing():
    told, rate = told_of([], until_s=10_000)
    assert told == [(SLOWEST_NS, Measured(0.0))]
    assert rate.due_ns is None


FAST = st.tuples(st.integers(50_000, 50_000_000), st.integers(1, 6))
SLOW = st.tuples(st.integers(50_000, 600 * S), st.just(1))


@given(FAST | SLOW, st.integers(3, 400))
def test_a_steady_flow_is_told_exactly_and_once_a_gate(flow, count):
    """Whatever the gate cuts, also when of `each` pulses only the last was read."""
    period, each = flow
    told, _ = told_of([(n * period * each, each) for n in range(1, count)])
    for _, measured in told:
        assert measured.per_s == pytest.approx(1e9 / period)
    for (before, _), (after, _) in zip(told, told[1:], strict=False):
        assert after - before >= GATE_NS * 0.999


def test_pulses_that_stay_away_make_it_fall_and_then_it_is_nothing():
    told, rate = told_of([(0, 1), (10 * S, 1)], until_s=1000)
    assert told == [
        (10 * S, Measured(0.1)),
        (30 * S, Measured(1 / 20)),
        (50 * S, Measured(1 / 40)),
        (90 * S, Measured(1 / 80)),
        (170 * S, Measured(0.0)),
    ]
    assert rate.due_ns is None


def test_a_fast_flow_that_ends_is_over_within_seconds():
    told, _ = told_of([(n * S // 75, 1) for n in range(75 * 5)], until_s=60)
    assert told[0][1].per_s == pytest.approx(75)
    after = [(when - (75 * 5 - 1) * S // 75, measured.per_s) for when, measured in told]
    assert after[-1][1] == 0.0
    assert ZERO_NS <= after[-1][0] <= ZERO_NS + 2 * GATE_NS
    assert all(per_s <= 1e9 / when for when, per_s in after if when > GATE_NS)


def test_a_burst_shorter_than_the_gate_is_measured_too():
    told, _ = told_of([(n * S // 100, 1) for n in range(11)], until_s=60)
    assert told[0] == (GATE_NS, Measured(pytest.approx(100)))
    assert told[-1][1] == Measured(0.0)


def test_what_lies_between_two_flows_is_no_flow():
    """The first pulse after nothing does not say how much."""
    told, rate = told_of([(0, 1), (S, 1), (7200 * S, 1)])
    assert rate.measured == Measured(0.0)
    assert rate.pulse(1, 7202 * S) == Measured(0.5)
    assert told[-1][1] == Measured(0.0)


def test_a_slow_flow_is_not_nothing_between_two_of_its_pulses():
    period = 50 * 60 * S
    told, _ = told_of([(n * period, 1) for n in range(10)])
    assert [measured.per_s for _, measured in told] == [pytest.approx(1e9 / period)]
    assert counting.ZERO_PERIODS * period > SLOWEST_NS


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(1, 3)), max_size=60))
def test_whatever_comes(steps):
    """It ends in nothing, is never negative, never above what two pulses prove, and told once a gate at most."""
    at, pulses = 0, []
    for pause, count in steps:
        at += pause
        pulses.append((at, count))
    told, rate = told_of(pulses, until_s=10**7)
    assert rate.measured == Measured(0.0)
    assert rate.due_ns is None
    gaps = [b - a for (a, _), (b, _) in zip(pulses, pulses[1:], strict=False) if b > a]
    most = 1e9 / min(gaps) * sum(count for _, count in pulses) if gaps else 0
    assert all(0 <= measured.per_s <= most * 1.001 for _, measured in told)
    measured = [when for when, _ in told]
    assert all(b - a >= GATE_NS * 0.999 for a, b in zip(measured, measured[1:], strict=False))
    assert ZERO_PERIODS > 2


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 2**53 - 1)))
def test_totals_come_back(totals):
    assert counting.read(counting.written(totals)) == totals


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"water": -1}', '{"water": 1.5}', '{"water": true}', '{"water": "1"}', "\0\0\0",
     '{"water": 9007199254740993}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_table_of_totals(text):
    with pytest.raises(ValueError):
        counting.read(text)
