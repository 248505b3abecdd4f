"""Who hears of a raised alert, when it is said again, who is next, and that nothing floods."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.alerts import Rule
from knoop.condition import Condition
from knoop.record import Record
from knoop.reminders import DAY_S, Call, Calls, Hearing, Message, pause_s

S = 1_000_000_000
ANNA, BRAM, CLEO = "anna@example.org", "bram@example.org", "cleo@example.org"


def rule(**more):
    return Rule(**{"name": "frost", "when": Condition.parse("air < 0"), "repeat_s": 60.0} | more)


class House:
    """The people, and one alert that says what it is told to say."""

    def __init__(self, made=None, usual=(ANNA,), run="aaaaaaaa"):
        self.rule = made or rule()
        self.people = usual
        self.quiet, self.without_rights = set(), set()
        self.run, self.seq, self.muted = run, 0, False
        self.calls = Calls(lambda: {self.rule.name: self.rule}, self)
        self.heard = []

    def usual(self, _alert):
        return self.people

    def may(self, who, _alert):
        return who not in self.without_rights

    def held(self, who, _alert):
        return who in self.quiet

    def say(self, value, at_s):
        self.seq += 1
        record = Record(
            run=self.run, channel="alert.frost", seq=self.seq, cls="alarm", type="text", value=value, boot="b",
            boottime_ns=int(at_s * S), at_ns=None,
        )
        self.calls.hear("frost", record, int(at_s * S))
        hearing = {who for who in (ANNA, BRAM, CLEO) if self.calls.hears(who, record)}
        self.heard.append((at_s, value, hearing))
        return record, hearing

    def until(self, *ends_s, step_s=1):
        """Let time pass second by second; returns who was reminded when."""
        begin_s, end_s = ends_s
        before = len(self.heard)
        for now_s in range(begin_s, end_s, step_s):
            for alert in self.calls.due(now_s * S, muted=lambda _alert: self.muted):
                assert alert == "frost"
                self.say("reminded", now_s)
        return [(at_s, hearing) for at_s, _, hearing in self.heard[before:]]


def test_the_id_of_a_message_says_what_it_is_about():
    assert Message.parse("k3v9q2xa-alert.frost-12") == Message("k3v9q2xa", "frost", 12)
    for identity in ("", "k3v9q2xa-air-1", "k3v9q2xa-alert.frost-0", "k3v9q2xa-alert.frost-1x", "x-alert.frost-1",
                     "k3v9q2xa-alert.fr-ost-1", " k3v9q2xa-alert.frost-1", "k3v9q2xa-alert.frost-1\n",
                     "k3v9q2xa-alert.frost-" + "9" * 40):  # fmt: skip
        assert Message.parse(identity) is None


@pytest.mark.parametrize(("severity", "pause"), [("critical", 900), ("warning", 7200), ("info", 0)])
def test_how_often_depends_on_the_severity_unless_it_is_said(severity, pause):
    assert pause_s(rule(severity=severity, repeat_s=None)) == pause
    assert pause_s(rule(severity=severity, repeat_s=5.0)) == 5
    assert pause_s(rule(severity=severity, repeat_s=0.0), 9) == 0


def test_a_reminder_comes_after_ever_longer_pauses_of_at_most_a_day():
    assert [pause_s(rule(), step) for step in range(4)] == [60, 120, 240, 480]
    assert pause_s(rule(), 11) == pause_s(rule(), 10**6) == DAY_S
    assert pause_s(rule(repeat_s=3 * DAY_S), 4) == 3 * DAY_S
    house = House()
    house.say("raised", 0)
    assert house.until(0, 1000) == [(60, {ANNA}), (180, {ANNA}), (420, {ANNA}), (900, {ANNA})]


@pytest.mark.parametrize("end", ["acknowledged", "cleared"])
def test_what_was_seen_or_is_over_is_not_said_again(end):
    house = House(usual=(ANNA, BRAM))
    house.say("raised", 0)
    house.until(0, 100)
    assert house.say(end, 100)[1] == {ANNA, BRAM}, "everybody who was told hears that"
    assert house.until(100, 5000) == []


def test_info_is_never_repeated():
    house = House(rule(severity="info", repeat_s=None))
    house.say("raised", 0)
    assert house.until(0, 2 * 86400, step_s=60) == []


def test_who_does_not_answer_makes_it_the_next_ones():
    house = House(rule(repeat_s=0.0, escalate=(BRAM, CLEO), escalate_after_s=100.0))
    first, hearing = house.say("raised", 0)
    assert hearing == {ANNA}
    assert house.until(0, 1000) == [(100, {BRAM}), (200, {CLEO})]
    assert house.calls.hearing(ANNA, first) == Hearing(first=True)
    last = replace(first, value="reminded", seq=3)
    assert house.calls.hearing(CLEO, last) == Hearing(first=True, unanswered_s=200)
    assert house.calls.hearing(BRAM, last) == Hearing()
    assert house.say("acknowledged", 1000)[1] == {ANNA, BRAM, CLEO}


def test_who_was_escalated_to_hears_reminders_from_then_on():
    house = House(rule(escalate=(BRAM,), escalate_after_s=100.0))
    house.say("raised", 0)
    assert house.until(0, 200) == [(60, {ANNA}), (100, {BRAM}), (180, {ANNA, BRAM})]


def test_who_is_told_anyway_or_has_no_right_any_more_is_passed_over():
    house = House(rule(repeat_s=0.0, escalate=(ANNA, BRAM, CLEO), escalate_after_s=100.0))
    house.without_rights = {BRAM}
    house.say("raised", 0)
    assert house.until(0, 1000) == [(100, {CLEO})]


def test_what_falls_together_is_one_reminder():
    house = House(rule(escalate=(BRAM,), escalate_after_s=60.0))
    house.say("raised", 0)
    assert house.until(0, 100) == [(60, {ANNA, BRAM})]


def test_after_quiet_hours_what_still_waits_is_told_once():
    house = House(usual=(ANNA, BRAM))
    house.quiet = {ANNA}
    raised, hearing = house.say("raised", 0)
    assert hearing == {BRAM}
    assert house.until(0, 100) == [(60, {BRAM})]
    house.quiet = set()
    assert house.until(100, 200) == [(100, {ANNA}), (180, {ANNA, BRAM})]
    assert house.calls.hearing(ANNA, replace(raised, value="reminded", seq=3)) == Hearing(first=True)
    assert house.calls.hearing(ANNA, replace(raised, value="reminded", seq=4)) == Hearing()


@pytest.mark.parametrize("end", ["acknowledged", "cleared"])
def test_after_quiet_hours_what_is_over_is_not_told(end):
    house = House()
    house.quiet = {ANNA}
    house.say("raised", 0)
    house.say(end, 10)
    house.quiet = set()
    assert house.until(10, 1000) == []
    assert house.heard[-1][2] == set()


def test_a_night_of_quiet_is_no_reason_to_remind_less_often():
    house = House()
    house.say("raised", 0)
    house.quiet = {ANNA}
    assert house.until(0, 10_000) == []
    assert house.calls.snapshot()["frost"].step == 0
    house.quiet = set()
    assert house.until(10_000, 10_001) == [(10_000, {ANNA})]


def test_while_muted_nothing_is_due_and_nothing_has_piled_up_afterwards():
    house = House(rule(escalate=(BRAM,), escalate_after_s=100.0))
    house.say("raised", 0)
    house.muted = True
    assert house.until(0, 10_000) == []
    house.muted = False
    assert 1 <= len(house.until(10_000, 10_101)) <= 2


def test_machines_are_reminded_where_there_is_nobody():
    house = House(usual=())
    house.say("raised", 0)
    assert house.until(0, 200) == [(60, set()), (180, set())]


def test_a_long_sleep_of_the_machine_is_one_reminder():
    house = House()
    house.say("raised", 0)
    assert house.until(100_000, 100_002) == [(100_000, {ANNA})]


def test_a_reminder_that_was_overtaken_is_stale_but_not_the_first_that_somebody_hears():
    house = House(rule(escalate=(BRAM,), escalate_after_s=60.0))
    house.say("raised", 0)
    one, _ = house.say("reminded", 1)
    house.until(0, 61)
    two = replace(one, seq=3)
    assert not house.calls.stale(ANNA, two)
    assert house.calls.stale(ANNA, one)
    house.say("reminded", 70)
    assert house.calls.stale(ANNA, two)
    assert not house.calls.stale(BRAM, two), "it says who did not answer"
    house.say("acknowledged", 80)
    assert house.calls.stale(BRAM, two)
    assert not house.calls.stale(BRAM, replace(two, value="acknowledged"))


def test_only_messages_about_the_present_raising_are_current():
    house = House()
    house.say("raised", 0)
    house.until(0, 100)
    assert house.calls.current(Message("aaaaaaaa", "frost", 2))
    assert not house.calls.current(Message("aaaaaaaa", "frost", 3)), "nobody was sent that one"
    assert not house.calls.current(Message("bbbbbbbb", "frost", 1))
    house.say("cleared", 100)
    assert not house.calls.current(Message("aaaaaaaa", "frost", 1))
    house.say("raised", 200)
    assert not house.calls.current(Message("aaaaaaaa", "frost", 2))
    assert house.calls.current(Message("aaaaaaaa", "frost", 4))


def kept(calls: Calls) -> dict[str, Call]:
    """What a restart keeps: all but the times of this boot."""
    plain = {name: json.loads(json.dumps(asdict(call), default=sorted)) for name, call in calls.snapshot().items()}
    return {
        name: Call(
            told=call["told"], owed=frozenset(call["owed"]), escalated=tuple(call["escalated"]), step=call["step"],
            runs=tuple(map(tuple, call["runs"])), over=call["over"],
        )
        for name, call in plain.items()
    }


def test_a_restart_tells_nobody_again_and_goes_on_with_the_step_it_had():
    before = House(rule(escalate=(BRAM, CLEO), escalate_after_s=100.0))
    before.say("raised", 0)
    before.until(0, 190)
    after = House(before.rule, run="bbbbbbbb")
    after.calls.restore(kept(before.calls), 10 * S)
    assert after.until(10, 300) == [(110, {CLEO}), (250, {ANNA, BRAM, CLEO})], "60 · 2², from the start on"
    assert after.calls.current(Message("aaaaaaaa", "frost", 1))
    assert after.calls.current(Message("bbbbbbbb", "frost", 2))
    assert after.say("cleared", 300)[1] == {ANNA, BRAM, CLEO}


def test_a_restart_leaves_what_was_acknowledged_in_peace():
    before = House()
    before.say("raised", 0)
    before.say("acknowledged", 1)
    after = House(run="bbbbbbbb")
    after.calls.restore(kept(before.calls), 0)
    assert after.until(0, 5000) == []
    assert after.say("cleared", 5000)[1] == {ANNA}


def test_receipts_count_for_those_who_were_told_only():
    house = House()
    record, _ = house.say("raised", 0)
    for who, identity in ((ANNA, record.identity), (BRAM, record.identity), (ANNA, "aaaaaaaa-alert.fire-1")):
        house.calls.arrived(who, identity, 77)
    assert house.calls.told("frost") == {ANNA: 77}
    house.say("cleared", 1)
    house.say("raised", 2)
    assert house.calls.told("frost") == {ANNA: None}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 4 * DAY_S)),
        st.tuples(st.sampled_from(["raised", "acknowledged", "cleared"]), st.just(0.0)),
        st.tuples(st.sampled_from(["quiet", "loud", "mute", "unmute", "restart"]), st.just(0.0)),
    ),
    max_size=30,
)


@given(steps, st.sampled_from([0.0, 1.0, 60.0, 7200.0]), st.booleans())
def test_whatever_happens_reminders_are_few_and_only_while_it_waits(steps, repeat_s, escalates):
    """Per raising: one a day, the doublings before, one for each who is next, one for each end of a quiet time."""
    escalate = (BRAM, CLEO) if escalates else ()
    house = House(rule(repeat_s=repeat_s, escalate=escalate, escalate_after_s=600.0))
    now_s, phase, reminded, allowed = 0.0, "idle", 0, 0.0
    for what, seconds in steps:
        if what == "wait":
            for part in range(10):
                for _ in house.calls.due(int((now_s + seconds * part / 10) * S), muted=lambda _alert: house.muted):
                    assert phase == "raised"
                    assert not house.muted
                    house.say("reminded", now_s + seconds * part / 10)
                    reminded += 1
            now_s += seconds
            allowed += seconds / DAY_S + 1 if repeat_s else 0
        elif what in {"quiet", "loud"}:
            house.quiet = {ANNA, BRAM} if what == "quiet" else set()
            allowed += 2
        elif what in {"mute", "unmute"}:
            house.muted = what == "mute"
            allowed += 1
        elif what == "restart":
            snapshot, house.run, house.seq = kept(house.calls), f"{len(house.heard):08}", 0
            house.calls = Calls(lambda: {house.rule.name: house.rule}, house)
            house.calls.restore(snapshot, int(now_s * S))
            allowed += 1
        elif (phase, what) in {("idle", "raised"), ("raised", "acknowledged"), ("raised", "cleared"),
                               ("acknowledged", "cleared")}:
            house.say(what, now_s)
            phase = "idle" if what == "cleared" else what
            allowed += 20 if what == "raised" else 0  # 2^17 s is more than a day; two may be next
        assert reminded <= allowed
    told = [value for _, value, _ in house.heard]
    for before, after in zip(["cleared", *told], told, strict=False):
        assert after != "reminded" or before in {"raised", "reminded"}


def test_a_bounce_passes_it_on_at_once_and_each_person_does_that_once():
    house = House(rule(repeat_s=0.0, escalate=(BRAM, CLEO), escalate_after_s=1800.0))
    raised, _ = house.say("raised", 0)
    assert house.calls.bounced(ANNA, raised.identity, 5 * S)
    assert not house.calls.bounced(ANNA, raised.identity, 5 * S)
    assert house.until(5, 60) == [(5, {BRAM})]
    to_bram = replace(raised, seq=2, value="reminded")
    assert house.calls.hearing(BRAM, to_bram) == Hearing(first=True), "nobody was asked for 30 min"
    assert not house.calls.bounced(ANNA, to_bram.identity, 61 * S), "one who is away passes it on once"
    assert house.calls.bounced(BRAM, to_bram.identity, 61 * S)
    assert house.until(61, 5000) == [(61, {CLEO})]


def test_a_bounce_that_is_not_theirs_or_of_something_else_passes_nothing_on():
    house = House(rule(repeat_s=0.0, escalate=(BRAM,), escalate_after_s=1800.0))
    old, _ = house.say("raised", 0)
    house.say("cleared", 1)
    raised, _ = house.say("raised", 2)
    for who, identity in ((CLEO, raised.identity), (BRAM, raised.identity), (ANNA, old.identity), (ANNA, ""),
                          (ANNA, "aaaaaaaa-alert.frost-9"), (ANNA, "aaaaaaaa-alert.heat-3")):  # fmt: skip
        assert not house.calls.bounced(who, identity, 3 * S)
    assert house.until(3, 600) == []
    house.say("acknowledged", 600)
    assert not house.calls.bounced(ANNA, raised.identity, 601 * S), "somebody has seen it"


def test_a_bounce_with_nobody_next_changes_nothing_for_anybody():
    house = House()
    raised, _ = house.say("raised", 0)
    assert house.calls.bounced(ANNA, raised.identity, 5 * S)
    assert house.until(5, 130) == [(60, {ANNA})]


def test_what_still_stands_of_what_was_told():
    house = House()
    raised, reminded = Message("aaaaaaaa", "frost", 1), Message("aaaaaaaa", "frost", 2)
    house.say("raised", 0)
    house.say("reminded", 1)
    assert house.calls.stands(raised, "raised") and house.calls.stands(reminded, "reminded")
    assert not house.calls.stands(Message("bbbbbbbb", "frost", 1), "raised"), "another raising"
    house.say("acknowledged", 2)
    assert house.calls.stands(Message("aaaaaaaa", "frost", 3), "acknowledged")
    assert not house.calls.stands(raised, "raised")
    house.say("cleared", 3)
    cleared = Message("aaaaaaaa", "frost", 4)
    assert house.calls.stands(cleared, "cleared")
    assert not house.calls.stands(Message("aaaaaaaa", "frost", 3), "acknowledged")
    house.say("raised", 4)
    assert not house.calls.stands(cleared, "cleared"), "it is back"
