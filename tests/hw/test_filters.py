"""What passes a channel's filter, and when."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knoop_hw.filters import FILTERING, Delta, Filter, Options, foreign

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


def test_min_interval_counts_from_when_the_last_one_passed_not_from_its_sample():
    """It counted from the sample: with one every 6 s, `min_interval = "10s"` thinned nothing out."""
    filter_ = Filter(Options(min_interval_s=10))
    assert passed(filter_, [(0, 1.0), (6, 2.0)]) == [(0, 1.0)]
    assert filter_.elapse(10 * S) == (2.0, "ok", 6 * S)
    assert passed(filter_, [(12, 3.0), (18, 4.0)]) == []
    assert filter_.elapse(20 * S) == (4.0, "ok", 18 * S)


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


def test_a_product_has_no_more_digits_than_its_factors_made():
    """Five tips of a rain gauge were 1.3969999999999998 mm."""
    filter_ = Filter(Options(multiply=0.2794))
    assert [value for _, value in passed(filter_, [(tips, tips) for tips in range(1, 7)])] == [
        0.2794, 0.5588, 0.8382, 1.1176, 1.397, 1.6764,
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
            shown = filter_.elapse(due)[0]
            times.append(due // S)
        result = filter_.feed(value, "ok", at * S)
        if result is not None:
            times.append(at)
            shown = result[0]
    if filter_.due_ns is not None:
        shown = filter_.elapse(filter_.due_ns)[0]
    assert shown == samples[-1][1]
    assert all(b - a >= interval for a, b in itertools.pairwise(times))


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


def judged(filter_, samples):
    """What passes of (seconds, value) pairs, with its quality instead of its time."""
    fed = ((at, value, "error" if value is None else "ok") for at, value in samples)
    results = (filter_.feed(value, quality, int(at * S)) for at, value, quality in fed)
    return [result[:2] for result in results if result is not None]


def test_what_is_not_valid_is_no_reading_and_never_reaches_the_median():
    filter_ = Filter(Options(valid=(-40, 60), multiply=0.5, median=3))
    assert judged(filter_, [(0, 42), (1, 170), (2, -81), (3, 44), (4, 46)]) == [
        (21.0, "ok"), (None, "error"), (22.0, "ok"), (22.5, "ok"),
    ]  # fmt: skip
    assert judged(Filter(Options(valid=(0, math.inf))), [(0, 1e9), (1, -1)]) == [(1e9, "ok"), (None, "error")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_number_is_no_reading(value):
    filter_ = Filter(Options(clamp=(0, 100)))
    assert judged(filter_, [(0, value)]) == [(None, "error")]
    assert filter_.fault == "invalid"
    assert judged(Filter(Options(multiply=1e308)), [(0, 10.0)]) == [(None, "error")]


def test_clamp_is_of_the_median_and_of_what_the_channel_can_have():
    filter_ = Filter(Options(clamp=(0, 200)), minimum=10, maximum=100)
    assert [value for value, _ in judged(filter_, [(0, -5), (1, 50), (2, 150)])] == [10, 50, 100]


class TestStale:
    """The same raw sample for so long: a sensor that hangs, or says what it said before."""

    def test_it_is_a_warning_until_it_moves(self):
        filter_ = Filter(Options(stale_s=10, delta=Delta(0.5)))
        assert passed(filter_, [(at, 21.5) for at in range(10)]) == [(0, 21.5)]
        assert filter_.feed(21.5, "ok", 10 * S) == (21.5, "warning", 10 * S)
        assert filter_.fault == "stale"
        assert filter_.feed(21.5, "ok", 11 * S) is None
        assert filter_.feed(21.6, "ok", 12 * S) == (21.6, "ok", 12 * S)  # less than delta, but it moves
        assert filter_.fault == ""

    def test_raw_samples_count_not_what_the_median_and_clamp_make_of_them(self):
        filter_ = Filter(Options(stale_s=10, median=3, clamp=(0, 10)))
        samples = [(at, 20.0 + 0.1 * (at % 3 == 0)) for at in range(60)]
        assert {quality for _, quality in judged(filter_, samples)} == {"ok"}

    def test_a_heartbeat_repeats_the_warning(self):
        filter_ = Filter(Options(stale_s=10, heartbeat_s=60, delta=Delta(0)))
        passed(filter_, [(at, 1.0) for at in range(11)])
        assert filter_.elapse(filter_.due_ns) == (1.0, "warning", 70 * S)

    def test_min_interval_holds_neither_its_beginning_nor_its_end(self):
        filter_ = Filter(Options(stale_s=10, min_interval_s=3600))
        samples = [*((at, 1.0) for at in range(12)), (12, 2.0)]
        assert judged(filter_, samples) == [(1.0, "ok"), (1.0, "warning"), (2.0, "ok")]

    def test_time_without_samples_does_not_count(self):
        filter_ = Filter(Options(stale_s=10))
        assert judged(filter_, [(0, 1.0), (5, 1.0), (6, None), (1000, 1.0), (1004, 1.0), (1005, 1.0)]) == [
            (1.0, "ok"), (1.0, "ok"), (None, "error"), (1.0, "ok"), (1.0, "ok"), (1.0, "warning"),
        ]  # fmt: skip

    def test_text_can_be_stale_and_an_estimate_too(self):
        filter_ = Filter(Options(stale_s=10))
        assert judged(filter_, [(0, "idle"), (10, "idle"), (11, "busy")]) == [
            ("idle", "ok"), ("idle", "warning"), ("busy", "ok"),
        ]  # fmt: skip
        filter_.feed(5, "estimate", 20 * S)
        assert filter_.feed(5, "estimate", 30 * S) == (5, "warning", 30 * S)

    def test_a_filter_that_follows_another_goes_on_counting(self):
        former, filter_ = Filter(Options(stale_s=10)), Filter(Options(stale_s=10, delta=Delta(1)))
        judged(former, [(0, 1.0), (9, 1.0)])
        filter_.follow(former)
        assert judged(filter_, [(10, 1.0)]) == [(1.0, "warning")]


ranges = st.tuples(st.integers(-30, 30), st.integers(1, 40)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))
samples_of_any_kind = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(-40, 40), st.sampled_from([0.5, math.nan, 1e300]))),
    min_size=1, max_size=40,
)  # fmt: skip


@st.composite
def any_options(draw):
    valid, clamp = draw(st.none() | ranges), draw(st.none() | ranges)
    if valid and clamp and max(valid[0], clamp[0]) >= min(valid[1], clamp[1]):
        clamp = None
    min_interval = draw(st.sampled_from([None, 0, 7]))
    return Options(
        valid=valid, clamp=clamp, stale_s=draw(st.none() | st.integers(1, 20)), median=draw(st.sampled_from([None, 3])),
        offset=draw(st.sampled_from([None, 5])), min_interval_s=min_interval,
        delta=draw(st.sampled_from([None, Delta(0)])), heartbeat_s=draw(st.sampled_from([None, 0, 15])),
    )  # fmt: skip


def by_the_book(options, samples):
    """Value and quality of each of the (seconds, value) pairs: the whole history looked at anew each time."""
    window = []
    for index, (_, raw) in enumerate(samples):
        low, high = options.valid or (-math.inf, math.inf)
        value = None if raw is None else raw + (options.offset or 0)
        if value is None or not low <= value <= high:  # nan is in no range
            window = []
            yield None, "error"
            continue
        window = [*window, value][-(options.median or 1) :]
        value = statistics.median(window)
        if options.clamp:
            value = min(max(value, options.clamp[0]), options.clamp[1])
        moved = max((i for i in range(index) if samples[i][1] not in {raw, None}), default=-1)
        run = samples[index:moved:-1] if moved >= 0 else samples[index::-1]
        same_s = sum(b[0] - a[0] for b, a in itertools.pairwise(run) if None not in {a[1], b[1]})
        yield value, "warning" if options.stale_s and same_s >= options.stale_s else "ok"


@settings(max_examples=200)
@given(any_options(), samples_of_any_kind)
def test_what_is_shown_is_what_the_samples_say_by_the_book(options, steps):
    filter_ = Filter(options)
    samples = [(sum(gap for gap, _ in steps[: i + 1]), value) for i, (_, value) in enumerate(steps)]
    shown = ()
    book = list(by_the_book(options, samples))
    for (at, raw), (_, quality) in zip(samples, book, strict=True):
        while filter_.due_ns is not None and filter_.due_ns < at * S:
            shown = filter_.elapse(filter_.due_ns)
        now = filter_.feed(raw, "error" if raw is None else "ok", at * S)
        shown = now or shown
        assert shown[1] == quality, "a change of quality passes at once"
        assert (filter_.fault == "") == (quality == "ok" or raw is None)
        if shown[0] is not None:
            assert all(low <= shown[0] <= high for low, high in filter(None, (options.valid, options.clamp)))
    if filter_.due_ns is not None:
        shown = filter_.elapse(filter_.due_ns)
    assert shown[:2] == book[-1], "the last change is not lost"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"valid": (0, 10), "clamp": (10, 20)}, "clamp: valid = [0, 10] and clamp = [10, 20] have nothing in common"),
        ({"heartbeat_s": 5, "min_interval_s": 10}, "heartbeat: is shorter than min_interval (10s)"),
        ({"heartbeat_s": 0.05}, "heartbeat: expected at least 100ms, or 0 for none"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(said, wrong):
    with pytest.raises(ValueError, match=f"^{re.escape(wrong)}"):
        Options(**said)


def test_what_a_driver_would_rather_have_gives_way():
    defaults = Options(delta=Delta(2, relative=True), heartbeat_s=300, valid=(0, 100), min_interval_s=10)
    assert Options().over_defaults(defaults) == defaults
    said = Options(delta=Delta(0), min_interval_s=0.0, heartbeat_s=0.0)
    assert said.over_defaults(defaults) == Options(delta=Delta(0), min_interval_s=0.0, heartbeat_s=0.0, valid=(0, 100))
    assert Options(min_interval_s=600).over_defaults(defaults).heartbeat_s is None  # both cannot be kept
    assert Options(clamp=(200, 300)).over_defaults(defaults).valid is None


def test_a_heartbeat_that_is_said_shortens_the_drivers_min_interval_and_does_not_drop_it():
    """With `heartbeat = "1min"` a meter's energies were told with every sample: 8,640 times a day instead of 1,440."""
    defaults = Options(min_interval_s=300, heartbeat_s=300)
    assert Options(heartbeat_s=60).over_defaults(defaults) == Options(min_interval_s=60, heartbeat_s=60)
    assert Options(heartbeat_s=900).over_defaults(defaults) == Options(min_interval_s=300, heartbeat_s=900)
    assert Options(heartbeat_s=60, min_interval_s=0.0).over_defaults(defaults).min_interval_s == 0


def test_a_filter_is_made_of_every_option_but_the_words():
    words = {"label", "aliases", "cls", "digits"}
    assert {field.name for field in fields(Options)} - words == set(FILTERING)
    assert set(foreign("boolean")) - set(foreign("text")) == {"stale_s"}
