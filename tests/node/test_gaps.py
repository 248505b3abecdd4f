"""What a subscriber missed, as XML: the request is taken whole or not at all, a page is what docs/wire.md says."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.wire import faults, validate

from knoop import gaps, payload
from knoop.gaps import Cursor, Query, fitting, page, parse
from knoop.record import Record

H, R, RSM = (f"{{{name}}}" for name in (gaps.HISTORY, payload.READINGS, gaps.RSM))
T1, T2 = "2026-11-22T10:15:03.120Z", "2026-11-22T10:15:04Z"
AT_NS = payload.parse_timestamp(T1)


def request(attributes: str = "", rsm: str | None = None) -> ET.Element:
    inside = "" if rsm is None else f"<set xmlns='{gaps.RSM}'>{rsm}</set>"
    return ET.fromstring(f"<history xmlns='{gaps.HISTORY}' {attributes}>{inside}</history>")


def record(seq: int, channel: str = "door", **changes) -> Record:
    plain = Record(
        run="k3v9q2xa", channel=channel, seq=seq, cls="event", type="boolean", value=True, boot="b1",
        boottime_ns=seq * 10**9, at_ns=AT_NS + seq * 10**9, row=100 + seq,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("element", "query"),
    [
        (request(), Query()),
        (request("channel='air.temperature'"), Query(channel="air.temperature")),
        (request("run='k3v9q2xa'"), Query(run="k3v9q2xa")),
        (request("run='k3v9q2xa' from='3' to='3'"), Query(run="k3v9q2xa", first=3, last=3)),
        (request(f"from='{T1}' to='{T1}'"), Query(since_ns=AT_NS, until_ns=AT_NS)),
        (request("from='0001-01-01T00:00:00Z' to='9999-12-31T23:59:59Z'"),
         Query(since_ns=1 - 2**63, until_ns=2**63 - 1)),
        (request(rsm=""), Query()),
        (request(rsm="<max> 7 </max><after>12.0123abcd</after>"), Query(most=7, after=Cursor(row=12, mark="0123abcd"))),
        (request(rsm="<max>100000000</max>"), Query()),
        (request("xmlns:x='urn:example' x:taste='sweet'"), Query()),
    ],
)  # fmt: skip
def test_what_may_be_asked(element, query):
    validate(element)
    assert parse(element) == query


@pytest.mark.parametrize(
    "element",
    [
        *(request(attributes) for attributes in (
            "chanel='door'", "channel='Door'", "channel=''", "run='K3V9Q2XA'", "run=''", "from='3'", "to='yesterday'",
            f"run='k3v9q2xa' from='{T1}'", "run='k3v9q2xa' from='0'", "run='k3v9q2xa' from='-1'",
            "run='k3v9q2xa' to=''", "run='k3v9q2xa' to='٣'",
            f"run='k3v9q2xa' to='{'9' * 19}'", "from='2026-11-22T10:15:03+01:00'",
            "from='2026-11-22 10:15:03'",
        )),
        *(request(rsm=rsm) for rsm in (
            "<max>0</max>", "<max>-1</max>", "<max>many</max>", "<max/>", "<max>1</max><max>1</max>", "<count/>",
            "<max xmlns='urn:other'>1</max>",
        )),
        ET.fromstring(f"<history xmlns='{gaps.HISTORY}'><set><max>1</max></set></history>"),
    ],
)  # fmt: skip
def test_what_the_schema_refuses_is_refused(element):
    assert faults(element)
    with pytest.raises(ValueError):
        parse(element)


@pytest.mark.parametrize(
    "attributes",
    [f"from='{T2}' to='{T1}'", "run='k3v9q2xa' from='4' to='3'", "from='2026-13-22T10:15:03Z'", "complete='true'"],
)
def test_what_no_schema_can_say_is_refused(attributes):
    with pytest.raises(ValueError):
        parse(request(attributes))


def test_pages_go_forward_only_and_a_foreign_cursor_is_not_there():
    for rsm in ("<before/>", "<max>1</max><before>12.0123abcd</before>", "<index>3</index>"):
        with pytest.raises(gaps.Unsupported):
            parse(request(rsm=rsm))
    for rsm in ("<after/>", "<after>12</after>", f"<after>{'9' * 19}.0123abcd</after>", "<after>x.0123abcd</after>"):
        with pytest.raises(LookupError):
            parse(request(rsm=rsm))


@given(st.text(max_size=30), st.sampled_from(["channel", "run", "from", "to"]))
def test_any_text_is_taken_or_refused(text, name):
    element = request()
    element.set(name, text)
    try:
        parse(element)
    except ValueError:
        return
    validate(element)


def test_a_page_is_what_the_schema_says_and_reads_back_in_order():
    records = [
        record(1), record(1, "lamp", value=False), record(5, "air", cls="telemetry", type="number", value=21.5),
        record(2, run="p7m2c4aa"), record(3, run="p7m2c4aa", at_ns=None), record(4, run="p7m2c4aa", at_ns=None),
        record(5, run="p7m2c4aa", at_ns=None, boot="b2"), record(6, at_ns=AT_NS - 5 * 10**9),
    ]  # fmt: skip
    for complete in (True, False):
        element = page(records, complete=complete)
        validate(element)
        assert element.get("complete") == ("true" if complete else "false")
        together = element.findall(f"{R}readings")
        assert [len(one) for one in together] == [3, 1, 2, 1, 1]
        came = [one for group in together for one in payload.parse_readings(group)]
        assert [(one.identity, one.value) for one in came] == [(one.identity, one.value) for one in records]
        assert element.findtext(f"{RSM}set/{RSM}last") == str(Cursor.at(records[-1]))


def test_a_page_of_nothing_has_no_cursor():
    element = page((), complete=True)
    validate(element)
    assert not len(element)


def test_a_cursor_knows_its_reading_again():
    text = page([record(7)], complete=True).findtext(f"{RSM}set/{RSM}last")
    asked = parse(request(rsm=f"<after>{text}</after>"))
    assert asked.after == Cursor.at(record(7))
    assert asked.after != Cursor.at(record(7, run="p7m2c4aa"))


def test_a_page_has_at_most_100_readings_or_32_kib_and_at_least_one():
    small = [record(seq) for seq in range(1, 300)]
    assert len(fitting(small, most=100)) == 100
    assert fitting(small, most=7) == small[:7]
    long = [record(seq, type="text", value="&" * 4096) for seq in range(1, 9)]
    assert fitting(long, most=100) == long[:1]
    wide = [record(seq, type="text", value="🙂" * 4096) for seq in (1, 2)]  # reckoned as more than a page
    assert fitting(wide, most=100) == wide[:1]
    for records in (small[:100], fitting(long, most=100)):
        assert len(ET.tostring(page(records, complete=False))) <= payload.BATCH_BYTES
    assert fitting((), most=100) == ()
