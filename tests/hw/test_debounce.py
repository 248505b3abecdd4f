"""A level that counts once it has rested: against its definition."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.debounce import Debounce


def test_the_stamp_is_that_of_the_edge_that_began_the_rest():
    debounce = Debounce(False, rest_ns=10)
    for at, level in [(0, True), (2, False), (4, True)]:
        debounce.edge(level, at)
    assert debounce.due_ns == 14
    assert debounce.settle(13, actual=True) is None
    assert debounce.settle(14, actual=True) == 4
    assert debounce.level is True


def test_a_lost_edge_is_found_by_looking():
    debounce = Debounce(False, rest_ns=10)
    debounce.edge(True, 0)
    assert debounce.settle(10, actual=False) is None
    assert debounce.settle(20, actual=False) is None
    assert debounce.level is False
    assert debounce.due_ns is None


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 30), st.booleans())
def test_levels_that_rest_count_and_others_do_not(gaps, rest, timely):
    """Against the definition: an edge counts when the next one is more than `rest` later and the level is new.

    Also when the timer has its turn only at the end (not `timely`).
    """
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
        if due is not None and due < at_ and (timely or value is None):
            heard.append((debounce.settle(due, actual=actual), debounce.level))
        if value is not None:
            actual = value
            heard.append((debounce.edge(value, at_), debounce.level))
    heard = [(began, shown) for began, shown in heard if began is not None]
    assert heard == expected
