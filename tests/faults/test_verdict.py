"""The judge's arithmetic, on cases small enough to see: what is lost is found, and no more is excused than should."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.faults import report
from tests.faults.campaign import Outcome
from tests.faults.feeder import Fed
from tests.faults.plan import Fault
from tests.faults.verdict import Hit, judge, recoveries, slope_per_min

from knoop_bench.ledger import Reading

ALARMS = frozenset({"bell.n"})


def fed(*numbers, channel="f1.n", start_s=0.0):
    """One number each tenth of a second."""
    return [Fed(channel, number, start_s + at / 10) for at, number in enumerate(numbers)]


def got(number, *, at_s=9.0, channel="f1.n", run="r1", seq=None, way="push", value="", pushed=0):
    return Reading(
        run=run, channel=channel, seq=seq or number, cls="event", value=value or str(number), quality="ok",
        at=datetime(2026, 11, 22, tzinfo=UTC), way=way, at_s=at_s, number=0,
        pushed=pushed or way == "push",
    )  # fmt: skip


def judged(said, came, *, kills=(), told=(), away=()):
    return judge(said, came, kills=kills, told=told, alarms=ALARMS, away=away)


def test_nothing_is_lost_when_everything_came():
    verdict = judged(fed(1, 2, 3), [got(1), got(2, way="history"), got(3, value="3.0")])
    assert (verdict.fed, verdict.arrived, verdict.by_history, verdict.lost) == (3, 3, 1, ())


def test_what_never_came_is_lost_however_its_neighbours_are_numbered():
    """The seq says nothing: a reading that the node never numbered leaves no gap."""
    verdict = judged(fed(1, 2, 3), [got(1, seq=1), got(3, seq=2)])
    assert [one.number for one in verdict.lost] == [2]


def test_what_only_history_has_was_never_published_unless_the_judge_was_away():
    said = fed(1, 2, 3)
    came = [got(1, at_s=1.0, pushed=1), got(3, at_s=3.0, pushed=1), got(2, at_s=9.0, way="history")]
    assert judged(said, came).unpublished == ("r1-f1.n-2",)
    assert judged(said, came, away=[(0.0, 0.9), (3.1, 4.0)]).unpublished == ("r1-f1.n-2",)
    for away in ((0.5, 1.5), (2.9, 3.5), (1.5, 2.0), (0.0, 9.0)):
        assert judged(said, came, away=[away]).unpublished == (), away


def test_what_was_pushed_after_history_had_it_was_published():
    assert judged(fed(1), [got(1, way="history", pushed=1)]).unpublished == ()


def test_the_last_of_a_run_may_have_been_pushed_at_any_time_since_it_was_said():
    said, came = fed(1, 2), [got(1, at_s=1.0, pushed=1), got(2, way="history")]
    assert judged(said, came, away=[(0.0, 0.05)]).unpublished == ("r1-f1.n-2",)
    assert judged(said, came, away=[(50.0, 51.0)]).unpublished == ()


def test_a_number_that_nobody_said_does_not_count():
    verdict = judged(fed(1), [got(1), got(2), got(1, channel="f2.n"), got(1, value="error")])
    assert (verdict.arrived, verdict.lost) == (1, ())


def test_a_kill_excuses_the_end_of_what_was_said_before_it():
    said = fed(1, 2, 3, 4) + fed(1, 2, channel="f2.n")
    said.sort(key=lambda one: one.at_s)
    verdict = judged(said, [got(1), got(2), got(1, channel="f2.n")], kills=[0.35])
    assert verdict.lost == ()
    assert verdict.unwritten == 3
    assert verdict.kills[0].oldest_s == pytest.approx(0.25)


def test_a_kill_excuses_no_gap_before_what_was_written():
    verdict = judged(fed(1, 2, 3), [got(1), got(3)], kills=[0.25])
    assert [one.number for one in verdict.lost] == [2]
    assert verdict.unwritten == 0


def test_a_kill_excuses_nothing_that_was_said_long_before_it_or_after_it():
    assert [one.number for one in judged(fed(1, 2), [got(1)], kills=[5.0]).lost] == [2]
    assert [one.number for one in judged(fed(1, 2), [got(1)], kills=[0.05]).lost] == [2]


def test_each_kill_has_its_own_cost():
    said = fed(1, 2) + fed(3, 4, start_s=10)
    verdict = judged(said, [got(1), got(3)], kills=[0.2, 10.2])
    assert [kill.unwritten for kill in verdict.kills] == [1, 1]
    assert verdict.lost == ()


def test_an_alarm_that_the_person_has_not_is_missing_and_one_that_came_twice_is_counted():
    said = fed(1, 2, 3, channel="bell.n")
    came = [got(number, channel="bell.n") for number in (1, 2, 3)]
    verdict = judged(said, came, told=["r1-bell.n-1", "r1-bell.n-1", "r1-bell.n-2", "something else"])
    assert (verdict.alarms, verdict.told, verdict.told_again) == (3, 2, 1)
    assert verdict.unalarmed == ("r1-bell.n-3",)


def hit(number, kind, began_s, ended_s, **more):
    fault = Fault(number=number, kind=kind, target="wire", at_s=began_s, for_s=ended_s - began_s)
    return Hit(fault=fault, began_s=began_s, ended_s=ended_s, online=True, **more)


def test_recovery_is_the_first_arrival_of_something_said_after_the_fault():
    said = fed(1, 2, 3, 4)  # at 0.0, 0.1, 0.2, 0.3
    came = [got(1, at_s=0.05), got(2, at_s=2.0), got(3, at_s=1.5), got(4, at_s=1.0, way="history")]
    cut = recoveries([hit(1, "cut", 0.01, 0.15, repeats=4)], said, came, [])["cut"]
    assert (cut.hits, cut.overtaken, cut.repeats, cut.lost) == (1, 0, 4, 0)
    assert cut.median_s == cut.longest_s == pytest.approx(1.35)


def test_a_recovery_that_the_next_fault_overtook_is_none():
    hits = [hit(1, "cut", 0.01, 0.15), hit(2, "stall", 0.5, 0.6)]
    found = recoveries(hits, fed(1, 2, 3), [got(3, at_s=0.7)], [])
    assert (found["cut"].overtaken, found["cut"].median_s) == (1, None)
    assert found["stall"].overtaken == 1, "nothing was said after it"


def test_a_loss_is_put_down_to_the_fault_that_was_there():
    hits = [hit(1, "cut", 10, 11), hit(2, "stall", 20, 21)]
    lost = [Fed("f1.n", 1, 5.0), Fed("f1.n", 2, 12.0), Fed("f1.n", 3, 19.5), Fed("f1.n", 4, 25.0)]
    found = recoveries(hits, [], [], lost)
    assert (found["cut"].lost, found["stall"].lost) == (1, 2)


def test_slope_is_that_of_the_straight_line():
    assert slope_per_min([(0, 10.0), (60, 10.5), (120, 11.0)]) == pytest.approx(0.5)
    assert slope_per_min([(0, 10.0), (10, 12.0), (20, 10.0)]) == pytest.approx(0)
    assert slope_per_min([(0, 10.0)]) == slope_per_min([]) == 0


def test_a_report_says_what_is_wrong_and_is_json_as_well(tmp_path):
    outcome = Outcome(seed=7, server="prosody", date="2026-11-22", planned=2)
    assert outcome.problems == ["nothing was judged"]
    outcome.hits = [hit(1, "cut", 0.01, 0.15)]
    outcome.verdict = judged(fed(1, 2), [got(1)], kills=[1.5])
    outcome.recoveries = recoveries(outcome.hits, fed(1, 2), [got(1)], outcome.verdict.lost)
    outcome.inversions = ("r1-f1.n: 3 after 4",)
    page = report.write(outcome, tmp_path).read_text("utf-8")
    assert "| **lost** | **1** |" in page
    assert "- lost: f1.n 2" in page
    assert "- in the wrong order: r1-f1.n: 3 after 4" in page
    assert "Nothing was wrong" not in page
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [one["number"] for one in data["verdict"]["lost"]] == [2]
    assert len(data["problems"]) == 2


def test_a_report_of_a_run_that_kept_the_promise_says_so(tmp_path):
    outcome = Outcome(seed=7, server="prosody", date="2026-11-22", planned=0)
    outcome.verdict = judged(fed(1), [got(1)])
    assert outcome.problems == []
    assert "Nothing was wrong." in report.write(outcome, tmp_path).read_text("utf-8")


def test_a_node_that_does_not_try_any_more_is_found_out():
    """One that was away between two faults, or lately, only waits for its next try."""

    def problems(*online):
        cuts = [Fault(number=n, kind="cut", target="wire", at_s=n * 10.0, for_s=1.0) for n in range(len(online))]
        hits = [
            Hit(fault=cut, began_s=cut.at_s, ended_s=cut.until_s, online=there)
            for cut, there in zip(cuts, online, strict=True)
        ]
        outcome = Outcome(seed=1, server="prosody", date="2026-11-22", planned=len(hits), hits=hits)
        outcome.verdict = judge(fed(1), [got(1)], kills=(), told=(), alarms=ALARMS)
        return outcome.problems

    assert problems(True, *[False] * 12, True) == []
    assert problems(True, *[False] * 14) == ["without a link for 129 s, though it could have had one between faults"]
