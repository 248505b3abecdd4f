"""What passes a channel's filter, and when."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.filters import Delta, Filter, Options

S = 1_000_000_000


def passed(filter_, samples):
    """The values that pass, of (seconds, value) pairs; None as a value is an error."""
    out = []
    for at, value in samples:
        quality = "error" if value is None else "ok"
        result = filter_.feed(value, quality, int(at * S))
        if result is not None:
            out.append((result[2] / S, result[0]))
    return out


def test_without_options_every_number_passes_and_a_boolean_only_when_it_changes():
    assert passed(Filter(Options()), [(0, 1.0), (1, 1.0)]) == [(0, 1.0), (1, 1.0)]
    assert passed(Filter(Options()), [(0, True), (1, True), (2, False)]) == [(0, True), (2, False)]
    assert passed(Filter(Options()), [(0, "a"), (1, "a"), (2, "b")]) == [(0, "a"), (2, "b")]


def test_a_sample_stamped_before_the_last_one_passes_all_the_same():
    """An edge is stamped when it happened, which may be just before the reading that was made meanwhile."""
    assert passed(Filter(Options()), [(5, False), (4, True)]) == [(5, False), (4, True)]


def test_a_delta_counts_from_the_last_that_passed():
    samples = [(0, 21.0), (1, 21.1), (2, 21.2), (3, 21.3), (4, 21.0)]
    assert passed(Filter(Options(delta=Delta(0.2))), samples) == [(0, 21.0), (2, 21.2), (4, 21.0)]


def test_a_relative_delta():
    samples = [(0, 100.0), (1, 101.0), (2, 102.0), (3, 100.1), (4, 99.9)]
    assert passed(Filter(Options(delta=Delta(2, relative=True))), samples) == [(0, 100.0), (2, 102.0), (4, 99.9)]


def test_delta_zero_passes_changes_only():
    assert passed(Filter(Options(delta=Delta(0))), [(0, 1.0), (1, 1.0), (2, 1.5)]) == [(0, 1.0), (2, 1.5)]


def test_what_min_interval_holds_back_passes_when_it_has_elapsed():
    filter_ = Filter(Options(min_interval_s=10, delta=Delta(0)))
    assert passed(filter_, [(0, 1.0), (1, 2.0), (2, 3.0)]) == [(0, 1.0)]
    assert filter_.due_ns == 10 * S
    assert filter_.elapse(10 * S - 1) is None
    assert filter_.elapse(10 * S) == (3.0, "ok", 2 * S)  # with the time of the sample, not of the release
    assert filter_.due_ns is None


def test_a_value_that_came_back_is_not_released():
    filter_ = Filter(Options(min_interval_s=10, delta=Delta(0.5)))
    assert passed(filter_, [(0, 1.0), (1, 2.0), (2, 1.0)]) == [(0, 1.0)]
    assert filter_.due_ns is None


def test_a_heartbeat_repeats_the_last_value_with_its_own_time():
    filter_ = Filter(Options(heartbeat_s=60))
    assert passed(filter_, [(0, True), (30, True)]) == [(0, True)]
    assert filter_.due_ns == 60 * S
    assert filter_.elapse(60 * S) == (True, "ok", 60 * S)
    assert filter_.due_ns == 120 * S


def test_a_change_of_quality_passes_whatever_the_interval():
    filter_ = Filter(Options(min_interval_s=100, delta=Delta(50)))
    assert passed(filter_, [(0, 1.0), (1, None), (2, None), (3, 1.0)]) == [(0, 1.0), (1, None), (3, 1.0)]


def test_calibration_median_and_clamp_in_this_order():
    filter_ = Filter(Options(offset=-10, multiply=2, median=3), minimum=0, maximum=100)
    assert [value for _, value in passed(filter_, [(0, 11.0), (1, 1000.0), (2, 12.0), (3, 5.0), (4, 4.0)])] == [
        2.0, 100.0, 4.0, 4.0, 0.0,
    ]  # fmt: skip


def test_an_error_empties_the_median():
    filter_ = Filter(Options(median=3))
    assert passed(filter_, [(0, 1.0), (1, 1.0), (2, None), (3, 9.0)])[-1] == (3, 9.0)


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
timed = st.lists(st.tuples(st.integers(0, 20), numbers), min_size=1, max_size=60).map(
    lambda steps: [(sum(gap for gap, _ in steps[: i + 1]), value) for i, (_, value) in enumerate(steps)]
)


@given(timed, st.floats(0.01, 1000))
def test_two_readings_differ_by_delta_and_nothing_larger_is_hidden(samples, delta):
    out = passed(Filter(Options(delta=Delta(delta))), samples)
    assert all(abs(a - b) >= delta * (1 - 1e-9) for (_, a), (_, b) in itertools.pairwise(out))
    last = out[0][1]
    remaining = iter(out[1:])
    following = next(remaining, None)
    for at, value in samples[1:]:
        if following == (at, value) and value != last:
            last, following = value, next(remaining, None)
        else:
            assert abs(value - last) < delta or value == last


@given(timed, st.integers(1, 50))
def test_readings_are_min_interval_apart_and_the_newest_value_is_not_lost(samples, interval):
    filter_ = Filter(Options(min_interval_s=interval, delta=Delta(0)))
    times = []
    shown = None
    for at, value in samples:
        due = filter_.due_ns
        if due is not None and due < at * S:
            released = filter_.elapse(due)
            times.append(due)
            shown = released[0]
        result = filter_.feed(value, "ok", at * S)
        if result is not None:
            times.append(at * S)
            shown = result[0]
    if filter_.due_ns is not None:
        shown = filter_.elapse(filter_.due_ns)[0]
    assert shown == samples[-1][1]
    # a value that was released late carries the time of its sample, so the next may follow it sooner
    assert len(times) <= (samples[-1][0] - samples[0][0]) / interval * 2 + 2


@given(timed)
def test_a_silent_channel_beats(samples):
    filter_ = Filter(Options(heartbeat_s=5, delta=Delta(1e9)))
    out = passed(filter_, samples)
    assert all(b - a >= 5 for (a, _), (b, _) in itertools.pairwise(out))


@given(st.lists(numbers, min_size=1, max_size=30), st.sampled_from([1, 3, 5, 7]))
def test_the_median_is_that_of_the_last_samples(values, window):
    out = [value for _, value in passed(Filter(Options(median=window)), enumerate(values))]
    assert out == [statistics.median(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]


@given(st.lists(st.booleans(), min_size=1))
def test_booleans_alternate(values):
    out = [value for _, value in passed(Filter(Options()), enumerate(values))]
    assert out[0] == values[0]
    assert all(a != b for a, b in itertools.pairwise(out))
    assert out[-1] == values[-1]


@pytest.mark.parametrize("general", [Options(), Options(delta=Delta(1), label="x", offset=0.0, median=3)])
def test_options_of_a_field_go_over_those_of_its_sensor(general):
    assert Options(delta=Delta(2), multiply=0.0).over(general).delta == Delta(2)
    assert Options(multiply=0.0).over(general).multiply == 0.0
    assert Options().over(general) == general


class TestLost:
    """`lost`: something before this reading is missing. That happened; it does not last."""

    def test_it_passes_although_nothing_changed_and_is_not_said_again(self):
        filter_ = Filter(Options(heartbeat_s=60))
        fed = [("ok", True), ("lost", True), ("lost", True), ("ok", True), ("ok", False)]
        said = [filter_.feed(value, quality, at * S) for at, (quality, value) in enumerate(fed)]
        assert said == [(True, "ok", 0), (True, "lost", S), (True, "lost", 2 * S), None, (False, "ok", 4 * S)]
        filter_.feed(False, "lost", 5 * S)
        assert filter_.elapse(65 * S) == (False, "ok", 65 * S)

    def test_it_waits_for_min_interval_and_stays_with_what_then_passes(self):
        filter_ = Filter(Options(min_interval_s=10))
        assert filter_.feed(True, "ok", 0) == (True, "ok", 0)
        assert filter_.feed(False, "lost", S) is None
        assert filter_.feed(True, "ok", 2 * S) is None  # it came back; that something was missed must still be said
        assert filter_.elapse(10 * S) == (True, "lost", 2 * S)
        assert filter_.due_ns is None


def test_what_happens_passes_each_time():
    filter_ = Filter(Options(), repeats=True)
    assert passed(filter_, [(0, "click"), (1, "click"), (2, "long"), (3, "long")]) == [
        (0, "click"), (1, "click"), (2, "long"), (3, "long"),
    ]  # fmt: skip
