"""What is told of a storm, and when a storm is one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.cap import BURST, CALM_NS, INTERVAL_NS, Cap, Storm

S = 1_000_000_000


def told_of(offers):
    """(when, item, gap) of what passes, with a timer that is on time."""
    cap, told = Cap(), []

    def until(now):
        while (due := cap.due_ns) is not None and due < now:
            if (passed := cap.elapse(due)) is not None:
                told.append((due, *passed))

    for at, item in offers:
        until(at)
        if (passed := cap.offer(item, at)) is not None:
            told.append((at, *passed))
    until(10**18)
    return told, cap


def test_a_few_changes_pass_at_once_and_say_nothing_of_gaps():
    told, cap = told_of([(n, n) for n in range(BURST)])
    assert told == [(n, n, False) for n in range(BURST)]
    assert cap.left_out == 0


def test_of_a_storm_ten_a_second_pass_and_the_last():
    told, cap = told_of([(n * S // 10_000, n) for n in range(100_000)])  # 10 kHz for 10 s
    assert BURST + 99 <= len(told) <= BURST + 101
    assert told[-1][1] == 99_999
    assert len(told) + cap.left_out == 100_000
    assert not any(gap for _, _, gap in told[:BURST])
    assert all(gap for _, _, gap in told[BURST:])


def test_one_that_had_to_wait_alone_is_late_and_no_gap():
    told, _ = told_of([(n, n) for n in range(BURST + 1)])
    assert told[-1] == (INTERVAL_NS, BURST, False)


def test_after_quiet_a_burst_passes_again():
    told, cap = told_of([(n, n) for n in range(BURST)] + [(BURST * INTERVAL_NS + n, n) for n in range(BURST)])
    assert (len(told), cap.left_out) == (2 * BURST, 0)


def test_what_was_lost_before_is_a_gap_with_the_next_that_passes():
    cap = Cap()
    assert cap.offer("a", 0, gap=True) == ("a", True)
    assert cap.offer("b", 1) == ("b", False)


@given(st.lists(st.tuples(st.integers(0, S), st.booleans()), max_size=200))
def test_whatever_comes(steps):
    """Never faster than promised, in order, the last one always, a gap exactly where something is missing."""
    at, offers = 0, []
    for number, (pause, _) in enumerate(steps):
        at += pause // 40
        offers.append((at, number))
    told, cap = told_of(offers)
    times = [when for when, _, _ in told]
    for first, last in zip(range(len(times)), range(BURST, len(times)), strict=False):
        assert times[last] - times[first] >= INTERVAL_NS - 1, "more than a burst within one interval"
    items = [item for _, item, _ in told]
    assert items == sorted(set(items))
    assert items[-1:] == [number for _, number in offers[-1:]]
    assert len(items) + cap.left_out == len(offers)
    for before, (_, item, gap) in zip([-1, *items], told, strict=False):
        assert gap == (item != before + 1)


class TestStorm:
    def test_it_begins_once_and_is_over_once_it_was_calm_with_exact_numbers(self):
        storm = Storm()
        assert not storm.begins(0, edges=100, lost=0, left_out=0)
        assert storm.due_ns is None
        assert storm.begins(S, edges=110, lost=3, left_out=0)
        assert not storm.begins(2 * S, edges=1110, lost=3, left_out=990)
        assert not storm.begins(3 * S, edges=1112, lost=3, left_out=990)
        assert not storm.is_over(S + CALM_NS)
        assert storm.due_ns == 2 * S + CALM_NS
        assert not storm.is_over(2 * S + CALM_NS - 1)
        assert storm.is_over(2 * S + CALM_NS)
        assert not storm.is_over(3 * S + CALM_NS)
        assert (storm.edges, storm.lost, storm.left_out, storm.lasted_s) == (1012, 3, 990, 1.0)
        assert storm.due_ns is None

    def test_the_next_one_counts_anew(self):
        storm = Storm()
        assert storm.begins(0, edges=10, lost=5, left_out=0)
        assert storm.is_over(CALM_NS)
        assert storm.begins(100 * S, edges=20, lost=6, left_out=0)
        assert (storm.edges, storm.lost) == (10, 1)
