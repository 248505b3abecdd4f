"""What is counted for MQTT, on cases small enough to see; and, at length, that a rig without faults loses nothing."""

from __future__ import annotations

import json

import pytest
from tests.faults import comparison
from tests.faults.campaign import Outcome, carry_out
from tests.faults.feeder import Fed
from tests.faults.mqtt import SETUPS, Got, firsts, rig, tally
from tests.faults.plan import Fault
from tests.faults.verdict import Hit, judge, recoveries


def came(*numbers, channel="f1.n"):
    return [Got(channel=channel, value=str(number), at_s=float(at)) for at, number in enumerate(numbers)]


def test_a_repeat_is_no_inversion_and_an_inversion_is_no_repeat():
    found = tally(came(1, 2, 2, 1, 5, 3, 4, 3) + came(1, channel="f2.n"))
    assert (found.arrivals, found.repeats) == (9, 3)
    assert found.inversions == ("f1.n: 3 after 5", "f1.n: 4 after 5")


def test_what_came_twice_is_there_once_from_its_first_time():
    assert [(one.seq, one.at_s) for one in firsts(came(1, 2, 1, 3))] == [(1, 0.0), (2, 1.0), (3, 3.0)]


def outcome(name, said, got, **more):
    found = Outcome(seed=7, server=name, date="2026-11-22", planned=1, **more)
    cut = Fault(number=1, kind="cut", target="wire", at_s=0.0, for_s=1.0)
    found.hits = [Hit(fault=cut, began_s=0.0, ended_s=1.0, online=True)]
    found.verdict = judge(said, got, kills=[], told=[], alarms=[])
    found.recoveries = recoveries(found.hits, said, got, found.verdict.lost)
    found.repeats, found.pushed = tally(got).repeats, tally(got).arrivals
    found.inversions = tally(got).inversions
    return found


def test_the_comparison_has_a_column_for_each_and_says_what_was_lost_to_which_fault(tmp_path):
    said = [Fed("f1.n", number, number / 10) for number in (1, 2, 3, 4)]
    page = comparison.write(
        outcome("knoop", said, came(1, 2, 3, 4, 4)), {"plain": outcome("mosquitto", said, came(4, 1))}, tmp_path
    ).read_text("utf-8")
    assert "|  | Knoop | MQTT as installed |" in page
    assert "| **lost** | **0** (0.00%) | **2** (50.00%) |" in page
    assert "| **out of order** | **0** | **1** |" in page
    assert "| came more than once | 1 of 5 | 0 of 2 |" in page
    assert "| cut | 0 | 2 |" in page
    assert json.loads((tmp_path / "comparison.json").read_text("utf-8")).keys() == {"Knoop", "MQTT as installed"}


def test_a_comparison_that_broke_off_says_so(tmp_path):
    broken = Outcome(seed=7, server="mosquitto", date="2026-11-22", planned=1, broken="no mosquitto")
    page = comparison.write(outcome("knoop", [], []), {"plain": broken}, tmp_path).read_text("utf-8")
    assert "- MQTT as installed: **it broke off**, no mosquitto" in page
    assert "|  | Knoop |\n" in page


@pytest.mark.long
@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.name)
async def test_without_faults_each_way_brings_everything_once_and_in_order(setup, tmp_path):
    """Or what is counted in a run would be this rig's own."""
    found = Outcome(seed=7, server=setup.name, date="2026-11-22", planned=0)
    async with rig(tmp_path / setup.name, setup) as made:
        await carry_out(made, [], found, events=300, per_s=50, told_s=0.0)
    assert not found.problems, found.problems
    assert (found.verdict.arrived, found.pushed, found.repeats) == (300, 300, 0)
