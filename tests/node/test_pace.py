"""Portions as large as the link answers in time, and one at a time of what can wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.pace import DISTANCE_S, FIRST, SLOW_S, Pace, Turn


def settled(most, bytes_per_s, size_of_one, rtt_s=0.05):
    """The size after a backlog of forty portions over such a link."""
    pace = Pace(most)
    for _ in range(40):
        pace.answered(pace.size, rtt_s + pace.size * size_of_one / bytes_per_s)
    return pace.size


def test_a_quick_link_soon_takes_full_portions():
    pace, sizes = Pace(25), []
    for _ in range(4):
        sizes.append(pace.size)
        pace.answered(pace.size, 0.02)
    assert sizes == [FIRST, 8, 16, 25]


def test_a_portion_that_was_not_full_proves_nothing():
    pace = Pace(25)
    pace.answered(FIRST - 1, 0.01)
    assert pace.size == FIRST


@given(st.integers(1, 50), st.floats(500, 1e6), st.integers(100, 5000))
def test_a_portion_takes_no_longer_than_an_answer_may_or_is_one_reading(most, bytes_per_s, size_of_one):
    size = settled(most, bytes_per_s, size_of_one)
    assert 1 <= size <= most
    assert size == 1 or 0.05 + size * size_of_one / bytes_per_s <= 2 * SLOW_S + DISTANCE_S


def test_debians_rate_limit_is_kept_in_half_a_second():
    assert 8 <= settled(25, 10_000, 300) <= 25


@pytest.mark.parametrize("rtt_s", [0.3, 0.8, 1.2])
def test_a_server_that_is_far_away_gets_full_portions(rtt_s):
    """Where every answer takes longer than SLOW_S for its distance alone, portions had sunk to one reading."""
    assert settled(25, 100_000, 300, rtt_s) == 25


def test_what_is_slow_from_the_first_answer_on_is_not_far_away():
    pace = Pace(25)
    for took_s in (6.0, 5.0):
        pace.answered(pace.size, took_s)
    assert pace.size == 1


def test_turns_go_round_in_the_order_of_asking():
    turn, called = Turn(), []

    def take(who):
        return turn.take(who, lambda: called.append(who))

    assert take("a")
    assert take("a"), "it still is"
    assert not take("b")
    assert not take("c")
    turn.leave("a")
    assert called == ["b"]
    assert not take("a"), "b was asked first"
    assert not take("c")
    turn.leave("b")  # it does not want it any more
    assert called == ["b", "c"]
    assert take("c")
    turn.leave("a")
    turn.leave("c")
    turn.leave("c")
    assert called == ["b", "c"], "nobody is left"
    assert take("b")
