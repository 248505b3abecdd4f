"""Payloads: valid, exact, and the same when read back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.node.wire import validate

from knoop import payload
from knoop.health import Level
from knoop.record import Record
from knoop_hw.model import Channel, Kind

RUN, BOOT = "k3v9q2xa", "6f1c2a54-0a5b-4a6e-9a53-1b2c3d4e5f60"
AT = 1_795_342_503_120_000_000
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CHANNELS = st.sampled_from(["door", "lamp_2", "air.temperature", "air.humidity", "w1.28_00ff", "alert.frost"])
VALUES = {
    "number": NUMBERS,
    "boolean": st.booleans(),
    "text": st.text(st.characters(exclude_categories=["Cs"])),
}
TIMES = st.integers(0, 4_000_000_000_000).map(lambda ms: ms * 1_000_000)


def record(value=21.4, *, channel="air.temperature", seq=88, at_ns=AT, **more):
    kind = {bool: "boolean", str: "text"}.get(type(value), "number")
    given = {
        "run": RUN,
        "cls": "telemetry",
        "type": kind,
        "unit": "°C",
        "boot": BOOT,
        "boottime_ns": 5_000_000_000,
    }
    return Record(channel=channel, seq=seq, value=value, at_ns=at_ns, **{**given, **more})


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(["number", "boolean", "text"]))
    quality = draw(st.sampled_from(["ok", "missing", "error", "estimate", "warning", "lost"]))
    return Record(
        run=draw(st.sampled_from([RUN, "p7m2c4aa"])), channel=draw(CHANNELS), seq=draw(st.integers(1, 10**9)),
        cls=draw(st.sampled_from(["telemetry", "telemetry", "telemetry", "event", "alarm"])), type=kind,
        value=None if quality in {"missing", "error"} else draw(VALUES[kind]), quality=quality,
        unit=draw(st.sampled_from(["", "°C", "m³", "<&'\">"])), boot=draw(st.sampled_from([BOOT, "other"])),
        boottime_ns=draw(TIMES), at_ns=draw(st.one_of(st.none(), TIMES)),
    )  # fmt: skip


def as_read(record: Record) -> Record:
    """What of a record a subscriber can know."""
    value = record.value
    if isinstance(value, str):
        value = payload._ILLEGAL.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))
    unsynced = record.at_ns is None
    return replace(
        record, value=value, row=0, boot=record.boot if unsynced else "",
        boottime_ns=record.boottime_ns if unsynced else 0,
    )  # fmt: skip


@given(st.lists(records(), max_size=8))
def test_batches_are_valid_and_read_back_the_same(given):
    items = [payload.readings(batch) for batch in payload.batches(given)]
    for item in items:
        validate(item)
    parsed = [ET.fromstring(ET.tostring(item)) for item in items]
    assert [record for item in parsed for record in payload.parse_readings(item)] == [as_read(one) for one in given]


@given(st.lists(records(), max_size=8), st.one_of(st.none(), TIMES))
def test_a_state_is_valid_and_reads_back(given, at_ns):
    latest = {one.channel: one for one in given}
    channels = [Channel(name=one.channel, kind="sensor", type=one.type, unit=one.unit) for one in latest.values()]
    channels.append(Channel(name="never_seen", kind="counter", type="number", unit="mm"))
    ((item, element),) = payload.state(channels, latest, at_ns=at_ns)
    validate(element)
    assert item == "0"
    read = payload.parse_readings(ET.fromstring(ET.tostring(element)))
    assert [one.identity for one in read] == [one.identity for one in latest.values()]
    for one in read:
        was = as_read(latest[one.channel])
        assert (one.value, one.quality, one.unit, one.cls) == (was.value, was.quality, was.unit, was.cls)
        assert one.at_ns == (None if at_ns is None else latest[one.channel].at_ns)


def test_a_state_of_many_channels_is_several_items():
    channels = [Channel(name=f"c{number}", kind="sensor", type="number") for number in range(450)]
    items = payload.state(channels, {}, at_ns=AT)
    assert [(item, len(element)) for item, element in items] == [("0", 200), ("1", 200), ("2", 50)]


def test_a_house_without_channels_still_has_a_state():
    ((_, element),) = payload.state([], {}, at_ns=AT)
    validate(element)


@given(NUMBERS)
@example(1e300)
@example(5e-324)
@example(0.1 + 0.2)
@example(-0.0)
def test_numbers_are_exact_and_without_exponent(value):
    text = payload.number(value)
    assert float(text) == value
    assert not set(text) - set("-.0123456789")


@pytest.mark.parametrize(("value", "text"), [(61.0, "61"), (21.4, "21.4"), (-0.0, "0"), (1e-7, "0.0000001")])
def test_numbers_as_people_write_them(value, text):
    assert payload.number(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_goes_out(value):
    with pytest.raises(ValueError, match="no place on the wire"):
        payload.number(value)


@given(st.integers(0, 4_000_000_000_000))
def test_times_read_back_to_the_millisecond(ms):
    assert payload.parse_timestamp(payload.timestamp(ms * 1_000_000 + 999_999)) == ms * 1_000_000


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:15:03", "2026-13-22T10:15:03Z", "10:15", "", "2026-11-22T10:15:03+01:00"]
)
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        payload.parse_timestamp(text)


def test_the_example_of_the_design():
    warm, damp = (
        record(),
        record(61.0, channel="air.humidity", unit="%", at_ns=AT + 12_000_000, quality="warning"),
    )
    example = ET.fromstring(
        '<readings xmlns="urn:knoop:1:readings" run="k3v9q2xa" at="2026-11-22T10:15:03.120Z">'
        '<number channel="air.temperature" seq="88" unit="°C">21.4</number>'
        '<number channel="air.humidity" seq="88" unit="%" dt="12" quality="warning">61</number></readings>'
    )
    assert ET.tostring(payload.readings([warm, damp])) == ET.tostring(example)


def test_a_batch_has_at_most_a_hundred_readings():
    sizes = [len(batch) for batch in payload.batches(record(seq=seq) for seq in range(1, 251))]
    assert sizes == [100, 100, 50]


@pytest.mark.parametrize("text", ["x" * 4096, "&" * 4096, "\U0001f6aa" * 4096])
def test_a_batch_has_at_most_32_kib(text):
    batches = list(payload.batches(record(text, seq=seq) for seq in range(1, 40)))
    assert sum(map(len, batches)) == 39
    assert all(len(ET.tostring(payload.readings(batch), encoding="utf-8")) <= 32 * 1024 for batch in batches)


def test_long_numbers_count_too():
    batches = list(payload.batches(record(5e-324, seq=seq) for seq in range(1, 101)))
    assert all(len(ET.tostring(payload.readings(batch), encoding="utf-8")) <= 32 * 1024 for batch in batches)


def test_events_and_alarms_travel_alone():
    mixed = [
        record(seq=1),
        record(seq=2, cls="event"),
        record(seq=3, cls="alarm"),
        record(seq=4),
        record(seq=5),
    ]
    assert [[one.seq for one in batch] for batch in payload.batches(mixed)] == [[1], [2], [3], [4, 5]]


def test_an_event_says_its_class():
    element = payload.event(record(True, channel="door", unit="", cls="event"))
    validate(element)
    assert element[0].get("class") == "event"
    with pytest.raises(ValueError, match="no event"):
        payload.event(record())


def test_readings_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="one item"):
        payload.readings([record(), record(run="p7m2c4aa")])


def test_about_is_valid():
    channels = [
        Channel(name="door", kind="contact", type="boolean", cls="event", label="Front\ndoor \x07"),
        Channel(name="fan", kind="pwm", type="number", unit="%", minimum=0, maximum=100, writable=True, digits=0),
        Channel(name="lock", kind="switch", type="boolean", writable=True, confirm=True),
    ]
    element = payload.about(version="0.1.0", digest="5b1e", channels=channels, verbs=("help", "read"))
    validate(element)
    door, fan, lock = element[0], element[1], element[2]
    assert door.get("label") == "Front door \ufffd"
    assert (fan.get("min"), fan.get("max"), fan.get("digits"), fan.get("writable")) == (
        "0",
        "100",
        "0",
        "true",
    )
    assert lock.get("confirm") == "true"


@pytest.mark.parametrize("kind", get_args(Kind))
def test_about_knows_every_kind_of_channel(kind):
    validate(payload.about(version="0.1.0", digest="5b1e", verbs=(), channels=[
        Channel(name="it", kind=kind, type="boolean"),
    ]))  # fmt: skip


@pytest.mark.parametrize("health", get_args(Level))
def test_about_says_how_the_node_is(health):
    element = payload.about(version="0.1.0", digest="5b1e", channels=(), verbs=(), health=health)
    assert element.get("health") == health
    validate(element)
    element.set("health", "so-so")
    with pytest.raises(AssertionError, match="Invalid attribute health"):
        validate(element)


@pytest.mark.parametrize(
    "text", ["<readings/>", "<about xmlns='urn:knoop:1:about'/>", "<readings xmlns='urn:knoop:1:readings'/>"]
)
def test_another_payload_is_no_reading(text):
    with pytest.raises(ValueError):
        payload.parse_readings(ET.fromstring(text))
