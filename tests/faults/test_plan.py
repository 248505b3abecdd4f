"""The plan is a function of its seed, and does each kind of harm as often as any other."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from tests.faults.plan import LONG_S, MINUTES, SECONDS, WIRE, kinds, plan

KNOOP = (WIRE, "server", "hw", "agent")


def test_the_same_seed_is_the_same_plan_and_another_is_another():
    assert plan(7, count=200, targets=KNOOP) == plan(7, count=200, targets=KNOOP)
    assert plan(7, count=200, targets=KNOOP) != plan(8, count=200, targets=KNOOP)


def test_a_shorter_plan_is_the_beginning_of_a_longer_one():
    assert plan(7, count=20, targets=KNOOP) == plan(7, count=200, targets=KNOOP)[:20]


@pytest.mark.parametrize("pace", [MINUTES, SECONDS])
def test_each_kind_comes_as_often_as_any_other_and_none_before_the_last_is_over(pace):
    found = plan(7, count=200, targets=KNOOP, pace=pace)
    assert [fault.number for fault in found] == list(range(1, 201))
    counts = Counter(fault.name for fault in found)
    assert len(counts) == len(kinds(KNOOP)) == 14
    assert max(counts.values()) - min(counts.values()) <= 1
    for one, other in pairwise(found):
        assert other.at_s - one.until_s >= pace.quiet_s[0] - 0.02


def test_two_hundred_and_what_they_need_fit_into_half_an_hour_for_any_seed():
    for seed in range(50):
        assert plan(seed, count=200, targets=KNOOP)[-1].until_s < 1500


def test_some_outlast_what_a_node_waits_for_an_answer_but_not_in_a_quick_run():
    long = Counter(fault.name for seed in range(5) for fault in plan(seed, count=200, targets=KNOOP)
                   if fault.for_s >= LONG_S[0])  # fmt: skip
    assert {"stall", "stall up", "stall down", "swallow", "stop server", "stop agent", "stop hw"} == long.keys()
    assert 25 <= long.total() <= 55
    assert max(fault.for_s for fault in plan(7, count=200, targets=KNOOP, pace=SECONDS)) <= 1


def test_what_is_not_to_happen_does_not():
    found = plan(7, count=100, targets=KNOOP, but={"kill agent", "kill hw"})
    assert {fault.name for fault in found}.isdisjoint({"kill agent", "kill hw"})
    assert len({fault.name for fault in found}) == 12


def test_another_system_has_the_same_plan_for_its_own_processes():
    found = plan(7, count=60, targets=(WIRE, "server", "publisher"))
    assert {fault.target for fault in found} == {WIRE, "server", "publisher"}
    assert str(found[0]).startswith(found[0].name)
