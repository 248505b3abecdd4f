"""Click, double, long: the state machine alone, with edges at any times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.gestures import Gesture, Gestures

DOUBLE, LONG, SETTLE = 400, 800, 20
END = 10**9


def machine(*, double=DOUBLE, long=LONG, pressed=False):
    return Gestures(double_ns=double, long_ns=long, settle_ns=SETTLE, pressed=pressed)


def played(gestures, edges):
    """(when it was told, gesture) for edges (level, at, lost), each heard of SETTLE later, and timers on time."""
    told = []

    def until(now):
        while (due := gestures.due_ns) is not None and due < now:
            told.extend((due, gesture) for gesture in gestures.elapse(due))

    for level, at, lost in edges:
        until(at + SETTLE)
        told.extend((at + SETTLE, gesture) for gesture in gestures.edge(level, at, lost=lost))
    until(END)
    return told


def presses(*spans):
    """Edges of presses given as (from, to)."""
    return [(level, at, 0) for start, end in spans for level, at in ((True, start), (False, end))]


@pytest.mark.parametrize(
    ("spans", "gestures"),
    [
        ([(0, 100)], [("click", 0)]),
        ([(0, 100), (200, 300)], [("double", 0)]),
        ([(0, 100), (500, 600)], [("double", 0)]),  # begins as the time is over
        ([(0, 100), (501, 600)], [("click", 0), ("click", 501)]),
        ([(0, 800)], [("long", 0)]),
        ([(0, 799)], [("click", 0)]),
        ([(0, 5000)], [("long", 0)]),
        ([(0, 100), (200, 5000)], [("double", 0)]),  # the second press is told; how long it lasts is nothing more
        ([(0, 100), (200, 300), (400, 500)], [("double", 0), ("click", 400)]),
        ([(0, 100), (200, 300), (400, 500), (600, 700)], [("double", 0), ("double", 400)]),
        ([(0, 1000), (1100, 1200)], [("long", 0), ("click", 1100)]),  # a click after a long one is no double
        ([(0, 100), (700, 2000)], [("click", 0), ("long", 700)]),
    ],
)
def test_a_hand(spans, gestures):
    assert [gesture for _, gesture in played(machine(), presses(*spans))] == [Gesture(*one) for one in gestures]


def test_each_is_told_as_soon_as_it_is_certain():
    assert played(machine(), presses((0, 5000))) == [(LONG + SETTLE, Gesture("long", 0))]
    assert played(machine(), presses((0, 100), (200, 300))) == [(200 + SETTLE, Gesture("double", 0))]
    assert played(machine(), presses((0, 100))) == [(100 + DOUBLE + 1 + SETTLE, Gesture("click", 0))]
    assert played(machine(double=0), presses((0, 100))) == [(100 + SETTLE, Gesture("click", 0))]


def test_without_double_clicks_two_presses_are_two_clicks():
    told = played(machine(double=0), presses((0, 100), (150, 250)))
    assert [gesture for _, gesture in told] == [Gesture("click", 0), Gesture("click", 150)]


def test_without_long_presses_a_press_is_a_click_however_long():
    assert [gesture for _, gesture in played(machine(long=0), presses((0, 10**8)))] == [Gesture("click", 0)]


def test_an_edge_that_is_heard_of_late_is_not_too_late():
    gestures = machine()
    assert gestures.edge(True, 0) == []
    assert gestures.edge(False, 100) == []
    assert gestures.elapse(100 + DOUBLE + SETTLE) == []  # a second press may have begun and be resting still
    assert gestures.edge(True, 100 + DOUBLE) == [Gesture("double", 0)]


def test_what_is_held_at_the_start_is_no_gesture():
    assert played(machine(pressed=True), [(False, 5000, 0), *presses((6000, 6100))]) == [
        (6100 + DOUBLE + 1 + SETTLE, Gesture("click", 6000))
    ]
    assert machine(pressed=True).due_ns is None


class TestLostEdges:
    def test_a_press_whose_end_is_unknown_is_no_gesture(self):
        assert played(machine(), [(True, 0, 0), (True, 300, 1), (False, 400, 0)]) == [
            (400 + DOUBLE + 1 + SETTLE, Gesture("click", 300, gap=True))
        ]

    def test_a_click_that_was_over_is_told(self):
        edges = [(True, 0, 0), (False, 100, 0), (False, 300, 2)]
        assert played(machine(), edges) == [(300 + SETTLE, Gesture("click", 0))]

    def test_only_the_next_one_says_so(self):
        told = played(machine(double=0), [(False, 0, 7), *presses((1000, 1100), (3000, 3100))])
        assert [gesture.gap for _, gesture in told] == [True, False]

    def test_the_same_level_twice_is_a_lost_edge(self):
        told = played(machine(double=0), [(True, 0, 0), (True, 5000, 0), (False, 5100, 0)])
        assert told[-1][1] == Gesture("click", 5000, gap=True)


class Definition:
    """The gestures of presses (from, to) whose edges are all known, by the words of the documentation."""

    @staticmethod
    def of(spans, *, double, long):
        told, waiting = [], None
        for start, end in spans:
            if waiting is not None and start - waiting[1] <= double:
                told.append(("double", waiting[0]))
                waiting = None
                continue
            if waiting is not None:
                told.append(("click", waiting[0]))
                waiting = None
            if long and end - start >= long:
                told.append(("long", start))
            elif double:
                waiting = (start, end)
            else:
                told.append(("click", start))
        return [*told, *([("click", waiting[0])] if waiting else [])]


GAPS = st.lists(st.tuples(st.integers(1, 1200), st.integers(1, 1200)), max_size=30)
TIMES = st.sampled_from([0, 1, 300, 400, 1500])


def spans_of(gaps):
    spans, at = [], 0
    for before, length in gaps:
        spans.append((at + before, at + before + length))
        at += before + length
    return spans


@given(GAPS, TIMES, TIMES)
def test_any_presses_are_what_the_definition_says(gaps, double, long):
    spans = spans_of(gaps)
    told = [(gesture.value, gesture.at_ns) for _, gesture in played(machine(double=double, long=long), presses(*spans))]
    assert told == Definition.of(spans, double=double, long=long)


@given(GAPS, st.lists(st.integers(0, 60_000), max_size=20))
def test_when_somebody_asks_changes_nothing(gaps, asked):
    """Edges heard of at once, with questions at any time: what is told is the same."""
    gestures, told = machine(), []
    events = [(at, edge) for edge in presses(*spans_of(gaps)) for at in [edge[1]]] + [(at, None) for at in asked]
    for at, edge in sorted(events, key=lambda event: event[0]):
        told += gestures.edge(edge[0], at) if edge else gestures.elapse(at)
    told += gestures.elapse(END)
    assert told == [gesture for _, gesture in played(machine(), presses(*spans_of(gaps)))]


EDGES = st.lists(st.tuples(st.booleans(), st.integers(0, 1000), st.integers(0, 3)), max_size=40)


@given(EDGES, st.booleans(), TIMES, TIMES)
def test_whatever_happens_nothing_is_made_up(steps, pressed, double, long):
    """Any edges, lost ones and nonsense included: each gesture began with an edge to pressed that was seen, once."""
    edges, at = [], 0
    for level, pause, lost in steps:
        at += pause
        edges.append((level, at, lost))
    told = played(machine(double=double, long=long, pressed=pressed), edges)
    begins = [gesture.at_ns for _, gesture in told]
    seen = [at for level, at, _ in edges if level]
    assert len(begins) <= len(seen)
    assert set(begins) <= set(seen)
    assert begins == sorted(begins)
    assert [now for now, _ in told] == sorted(now for now, _ in told)


@given(GAPS, st.integers(0, 60))
def test_a_restart_in_the_middle_tells_nothing_twice_and_nothing_false(gaps, cut):
    """Another machine takes over between two edges: it tells what begins after it, and never what was held already."""
    spans = spans_of(gaps)
    edges = presses(*spans)
    before, after = edges[:cut], edges[cut:]
    pressed = bool(before) and before[-1][0]
    whole = Definition.of(spans, double=DOUBLE, long=LONG)
    told = [gesture for _, gesture in played(machine(pressed=pressed), after)]
    known = [span for span in spans if span[0] >= (after[0][1] if after else END)]
    assert [(gesture.value, gesture.at_ns) for gesture in told] == Definition.of(known, double=DOUBLE, long=LONG)
    assert len(told) <= len(whole)
    assert not any(gesture.gap for gesture in told)
