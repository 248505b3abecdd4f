"""The life of an alert: what raises it, what ends it, and what does neither."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.alerts import Absence, Alerts, AlertState, Rule
from knoop.condition import Condition
from knoop.record import Record
from knoop_hw.model import Channel

S = 1_000_000_000


def air(value, at_s=0, quality="ok", boot="b"):
    return Record(
        run="r", channel="air", seq=1, cls="telemetry", type="number", value=value, unit="°C", quality=quality,
        boot=boot, boottime_ns=int(at_s * S), at_ns=int(at_s * S) + 7,
    )  # fmt: skip


def frost(**more) -> Rule:
    return Rule(name="frost", when=Condition.parse("air < 0"), **more)


def heard(alerts: Alerts, *records: Record) -> list[str]:
    return [change.change for record in records for change in alerts.feed(record)]


@pytest.mark.parametrize(
    ("text", "channel", "op", "literal"),
    [
        ("air.temperature < 0", "air.temperature", "<", 0.0),
        ("air.temperature<=-2.5", "air.temperature", "<=", -2.5),
        ("  rain >= 1e2 ", "rain", ">=", 100.0),
        ("door == on", "door", "==", True),
        ("door != False", "door", "!=", False),
        ("mode == away", "mode", "==", "away"),
        ("mode != 'on'", "mode", "!=", "on"),
        ('mode == "far away"', "mode", "==", "far away"),
    ],
)
def test_a_condition_is_channel_op_literal(text, channel, op, literal):
    condition = Condition.parse(text)
    assert (condition.channel, condition.op, condition.literal) == (channel, op, literal)
    assert type(condition.literal) is type(literal)
    assert Condition.parse(str(condition)).op == op


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected CHANNEL OP LITERAL"),
        ("air", "expected CHANNEL OP LITERAL"),
        ("air <", "expected CHANNEL OP LITERAL"),
        ("air = 3", "expected CHANNEL OP LITERAL"),
        ("Air < 3", "expected CHANNEL OP LITERAL"),
        ("0 > air", "expected CHANNEL OP LITERAL"),
        ("air < 3 and door == on", "is no literal"),
        ("air << 3", "expected CHANNEL OP LITERAL"),
        ("door > on", "compares numbers"),
        ("mode < away", "compares numbers"),
        ("air < nan", "not a number that a channel can have"),
        ("air < inf", "not a number that a channel can have"),
    ],
)
def test_anything_else_says_what_is_expected(text, why):
    with pytest.raises(ValueError, match=why):
        Condition.parse(text)


@given(st.text())
def test_a_condition_is_parsed_or_refused_whatever_it_is(text):
    with suppress(ValueError):
        assert Condition.parse(text).channel in text


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("air < 0", -0.1, True), ("air < 0", 0.0, False), ("air <= 0", 0, True), ("air != 0", 1.0, True),
        ("door == on", True, True), ("door == on", False, False), ("door != on", False, True),
        ("mode == away", "away", True), ("mode == away", "home", False),
        ("air == 1", True, None), ("door == on", 1.0, None), ("door == on", "on", None), ("air < 0", None, None),
        ("door != on", None, None),
    ],
)  # fmt: skip
def test_a_condition_is_only_judged_on_a_value_of_its_type(text, value, holds):
    assert Condition.parse(text).holds(value) is holds


def test_a_condition_is_checked_against_the_channels():
    channels = {"air": Channel(name="air", kind="sensor", type="number")}
    Condition.parse("air < 0").check(channels)
    with pytest.raises(ValueError, match="air == on: air is a number"):
        Condition.parse("air == on").check(channels)
    with pytest.raises(ValueError, match="there is no channel door"):
        Condition.parse("door == on").check(channels)


def test_a_button_is_compared_with_gestures():
    channels = {"bell": Channel(name="bell", kind="button", type="text")}
    for text in ('bell == "double"', "bell != long"):
        Condition.parse(text).check(channels)
    for text in ("bell == on", "bell == pressed", "bell > 1"):
        with pytest.raises(ValueError, match="bell is a button; compare it with click, double, long"):
            Condition.parse(text).check(channels)


def test_an_alert_for_a_gesture_is_over_with_the_next_one_that_is_another():
    bell = Rule(name="help", when=Condition.parse('bell == "double"'))

    def done(value, at_s):
        return Record(run="r", channel="bell", seq=at_s, cls="event", type="text", value=value, boot="b",
                      boottime_ns=at_s * S, at_ns=None)  # fmt: skip

    alerts = Alerts([bell])
    gestures = [done("click", 1), done("double", 2), done("double", 3), done("long", 4), done("double", 5)]
    assert heard(alerts, *gestures) == ["raised", "cleared", "raised"]


def test_a_rule_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match="'for' must not be negative"):
        frost(for_s=-1)
    with pytest.raises(ValueError, match="'clear' must be about air"):
        frost(clear=Condition.parse("door == off"))
    with pytest.raises(ValueError, match="frost is defined twice"):
        Alerts([frost(), frost()])


def test_an_alert_is_raised_acknowledged_and_over():
    alerts = Alerts([frost()])
    (raised,) = alerts.feed(air(-0.4, 10))
    assert (raised.alert, raised.change, raised.channel) == ("frost", "raised", "alert.frost")
    assert (raised.boottime_ns, raised.at_ns) == (10 * S, 10 * S + 7)
    assert alerts.state("frost").value == -0.4
    acknowledged = alerts.acknowledge("frost", by="Anna", now_ns=11 * S, at_ns=None)
    assert acknowledged.change == "acknowledged"
    assert (alerts.state("frost").phase, alerts.state("frost").by) == ("acknowledged", "Anna")
    assert heard(alerts, air(0.1)) == ["cleared"]
    assert alerts.raised() == ()


def test_a_raised_alert_is_raised_once():
    alerts = Alerts([frost()])
    assert heard(alerts, air(-1), air(-2), air(-3)) == ["raised"]
    alerts.acknowledge("frost", by="Anna", now_ns=0, at_ns=None)
    assert heard(alerts, air(-4), air(-1)) == []
    assert alerts.state("frost").by == "Anna"


def test_an_alert_that_comes_back_wants_to_be_seen_again():
    alerts = Alerts([frost()])
    alerts.feed(air(-1))
    alerts.acknowledge("frost", by="Anna", now_ns=0, at_ns=None)
    assert heard(alerts, air(1), air(-1)) == ["cleared", "raised"]
    assert (alerts.state("frost").phase, alerts.state("frost").by) == ("raised", "")


def test_clear_keeps_a_value_at_the_edge_from_flapping():
    alerts = Alerts([frost(clear=Condition.parse("air > 1"))])
    assert heard(alerts, air(-0.1), air(0.2), air(-0.1), air(1.0), air(0.5)) == ["raised"]
    assert heard(alerts, air(1.1), air(0.5)) == ["cleared"]


def test_a_clear_that_overlaps_when_does_not_end_what_still_holds():
    alerts = Alerts([frost(clear=Condition.parse("air > -5"))])
    assert heard(alerts, air(-1), air(-1), air(-1)) == ["raised"]


def test_for_waits_until_it_has_held_that_long():
    alerts = Alerts([frost(for_s=60)])
    assert heard(alerts, air(-1, 100)) == []
    assert alerts.due(159 * S, at_ns=None) == ()
    (raised,) = alerts.due(160 * S, at_ns=5)
    assert (raised.change, raised.boottime_ns, raised.at_ns) == ("raised", 160 * S, 5)
    assert alerts.due(161 * S, at_ns=None) == ()


def test_more_of_the_same_does_not_start_the_wait_anew():
    alerts = Alerts([frost(for_s=60)])
    assert heard(alerts, air(-1, 100), air(-2, 150), air(-3, 161)) == ["raised"]
    assert alerts.state("frost").value == -3


def test_a_dip_within_the_wait_starts_it_anew():
    alerts = Alerts([frost(for_s=60)])
    assert heard(alerts, air(-1, 100), air(1, 150), air(-1, 155)) == []
    assert alerts.due(214 * S, at_ns=None) == ()
    assert [raised.alert for raised in alerts.due(215 * S, at_ns=None)] == ["frost"]


@pytest.mark.parametrize("quality", ["missing", "error"])
def test_not_knowing_neither_satisfies_nor_clears(quality):
    alerts = Alerts([frost(), Rule(name="warm", when=Condition.parse("air != 5"))])
    assert heard(alerts, air(None, quality=quality)) == []
    assert heard(alerts, air(-1)) == ["raised", "raised"]
    assert heard(alerts, air(None, quality=quality)) == []
    assert len(alerts.raised()) == 2


def test_time_that_passes_unseen_raises_nothing():
    alerts = Alerts([frost(for_s=60)])
    assert heard(alerts, air(-1, 100), air(None, 110, quality="error")) == []
    assert alerts.due(500 * S, at_ns=None) == ()
    assert heard(alerts, air(-1, 501)) == ["raised"]


def test_what_is_not_raised_cannot_be_acknowledged():
    alerts = Alerts([frost(for_s=5)])
    for _ in range(2):
        with pytest.raises(ValueError, match="not raised"):
            alerts.acknowledge("frost", by="Anna", now_ns=0, at_ns=None)
        alerts.feed(air(-1))
    with pytest.raises(KeyError):
        alerts.acknowledge("fire", by="Anna", now_ns=0, at_ns=None)


def test_nobody_acknowledges_twice():
    alerts = Alerts([frost()])
    alerts.feed(air(-1))
    alerts.acknowledge("frost", by="Anna", now_ns=0, at_ns=None)
    with pytest.raises(ValueError, match="acknowledged"):
        alerts.acknowledge("frost", by="Bram", now_ns=0, at_ns=None)
    assert alerts.state("frost").by == "Anna"


def test_a_restart_forgets_no_alert_and_no_acknowledgement():
    before = Alerts([frost(), Rule(name="heat", when=Condition.parse("air < -1"))])
    before.feed(air(-2, 10))
    before.acknowledge("frost", by="Anna", now_ns=11 * S, at_ns=99)
    after = Alerts([frost(), Rule(name="heat", when=Condition.parse("air < -1"))])
    after.restore(before.snapshot())
    assert after.snapshot() == before.snapshot()
    assert heard(after, air(-2, 3, boot="c")) == []
    assert (after.state("frost").by, after.state("frost").at_ns) == ("Anna", 99)
    assert heard(after, air(2, 4, boot="c")) == ["cleared", "cleared"]


def test_a_wait_does_not_survive_a_restart():
    before = Alerts([frost(for_s=60)])
    before.feed(air(-1, 100))
    after = Alerts([frost(for_s=60)])
    after.restore(before.snapshot())
    assert after.due(200 * S, at_ns=None) == ()
    assert heard(after, air(-1, 300, boot="c")) == []
    assert after.due(359 * S, at_ns=None) == ()
    assert [raised.alert for raised in after.due(360 * S, at_ns=None)] == ["frost"]


def test_a_snapshot_of_a_rule_that_is_gone_is_ignored():
    alerts = Alerts([])
    alerts.restore([AlertState(name="frost", phase="raised")])
    assert alerts.raised() == ()
    assert alerts.snapshot() == ()


def test_the_rights_on_an_alert_are_those_on_what_it_watches():
    alerts = Alerts([frost()])
    assert alerts.watched("alert.frost") == "air"
    assert alerts.watched("air") == "air"
    assert alerts.watched("alert.gone") == "alert.gone"


def meter(channel, value, at_s):
    return replace(air(value, at_s, "missing" if value is None else "ok"), channel=channel)


def missing(**more) -> Rule:
    when = Absence("meter", ("meter.power", "meter.gas"), "Smart meter")
    return Rule(**{"name": "meter_missing", "when": when, "for_s": 300.0} | more)


def test_a_device_that_never_reports_is_missing_after_a_while():
    alerts = Alerts([missing()])
    assert alerts.due(10**15, at_ns=None) == (), "nobody looks yet"
    alerts.begin(100 * S)
    assert alerts.due(399 * S, at_ns=None) == ()
    (raised,) = alerts.due(400 * S, at_ns=10**18)
    assert (raised.channel, raised.change) == ("alert.meter_missing", "raised")
    assert alerts.state("meter_missing").since_at_ns == 10**18 - 300 * S
    assert alerts.due(9999 * S, at_ns=None) == ()


def test_a_device_is_missing_when_its_last_value_went_and_back_with_the_first():
    alerts = Alerts([missing()])
    alerts.begin(0)
    assert heard(alerts, meter("meter.power", 1.0, 1), meter("meter.gas", 2.0, 1)) == []
    assert heard(alerts, meter("meter.power", None, 10)) == []
    assert alerts.due(1000 * S, at_ns=None) == (), "gas has a value"
    assert heard(alerts, meter("meter.gas", None, 1000), meter("meter.power", None, 1100)) == []
    assert alerts.due(1299 * S, at_ns=None) == ()
    assert [change.change for change in alerts.due(1300 * S, at_ns=None)] == ["raised"]
    assert heard(alerts, meter("meter.power", None, 1301), meter("other", 1.0, 1302)) == []
    assert heard(alerts, meter("meter.power", 21.4, 1400)) == ["cleared"]
    assert alerts.state("meter_missing").last == 21.4
    assert alerts.due(9999 * S, at_ns=None) == ()


def test_a_short_gap_is_none():
    alerts = Alerts([missing()])
    alerts.begin(0)
    assert heard(alerts, meter("meter.power", None, 10), meter("meter.power", 1.0, 250)) == []
    assert heard(alerts, meter("meter.power", None, 400)) == []
    assert alerts.due(699 * S, at_ns=None) == ()
    assert len(alerts.due(700 * S, at_ns=None)) == 1


def test_a_restart_raises_a_missing_device_no_second_time():
    before = Alerts([missing()])
    before.begin(0)
    before.due(400 * S, at_ns=None)
    after = Alerts([missing()])
    after.restore(before.snapshot())
    after.begin(10 * S)
    assert after.due(10**15, at_ns=None) == ()
    assert heard(after, meter("meter.gas", 2.0, 1)) == ["cleared"]


def test_who_begins_to_look_again_misses_nothing_that_is_there():
    alerts = Alerts([missing()])
    alerts.begin(0)
    assert heard(alerts, meter("meter.gas", 2.0, 1)) == []
    alerts.begin(100 * S)
    assert alerts.due(10**15, at_ns=None) == ()


def test_the_rights_on_a_missing_device_are_those_on_its_first_channel():
    assert Alerts([missing()]).watched("alert.meter_missing") == "meter.power"


def test_what_was_raised_before_the_clock_was_set_gets_its_time_later():
    alerts = Alerts([frost(for_s=60)])
    alerts.feed(replace(air(-1, 100), at_ns=None))
    alerts.due(160 * S, at_ns=None)
    assert alerts.state("frost").since_at_ns is None
    alerts.due(200 * S, at_ns=10**18)
    assert alerts.state("frost").since_at_ns == 10**18 - 100 * S
    assert alerts.state("frost").at_ns == 10**18 - 40 * S


def test_the_newest_value_is_known_beside_the_one_that_raised_it():
    alerts = Alerts([frost()])
    alerts.feed(air(-1))
    alerts.feed(air(-5))
    alerts.feed(air(None, quality="error"))
    assert (alerts.state("frost").value, alerts.state("frost").last) == (-1, -5)


values = st.one_of(st.none(), st.floats(-3, 3, allow_nan=False))


@given(st.lists(st.tuples(values, st.floats(0, 100)), max_size=40), st.floats(0, 60))
def test_raised_and_cleared_alternate_whatever_happens(readings, for_s):
    alerts = Alerts([frost(for_s=for_s, clear=Condition.parse("air > 1"))])
    now_s, changes = 0.0, []
    for value, pause_s in readings:
        now_s += pause_s
        changes += [change.change for change in alerts.due(int(now_s * S), at_ns=None)]
        changes += heard(alerts, air(value, now_s, quality="missing" if value is None else "ok"))
    assert changes == ["raised", "cleared"] * (len(changes) // 2) + ["raised"] * (len(changes) % 2)
