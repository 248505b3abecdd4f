"""What an observer makes of what came: what is lost, what came twice, what came too late."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from knoop_bench.ledger import Ledger, timestamp

AT = "2026-11-22T10:15:03.120Z"


def came(*seqs: int, run="k3v9q2xa", channel="door", cls="event", value="true") -> ET.Element:
    children = "".join(
        f"<boolean channel='{channel}' seq='{seq}' class='{cls}' dt='{seq}'>{value}</boolean>" for seq in seqs
    )
    return ET.fromstring(f"<readings xmlns='urn:knoop:1:readings' run='{run}' at='{AT}'>{children}</readings>")


def state(**seqs: int) -> ET.Element:
    children = "".join(
        f"<text channel='{channel}' run='k3v9q2xa' seq='{seq}' quality='ok' class='event'>x</text>"
        for channel, seq in seqs.items()
    )
    return ET.fromstring(
        f"<state xmlns='urn:knoop:1:state' at='{AT}'>{children}<number channel='new' quality='missing'/></state>"
    )


def pushed(*payloads: ET.Element) -> Ledger:
    ledger = Ledger()
    for number, payload in enumerate(payloads):
        ledger.enter(payload, way="push", at_s=float(number))
    return ledger


def test_all_there_once_and_in_order():
    ledger = pushed(came(1, 2), came(3), came(1, run="p7m2c4aa"), came(1, channel="lamp"))
    verdict = ledger.verdict()
    assert (verdict.readings, verdict.arrivals, verdict.repeats, verdict.repaired) == (5, 5, 0, 0)
    assert (verdict.lost, verdict.inversions, verdict.conflicts) == ((), (), ())
    assert not [*ledger.gaps()]
    assert [reading.identity for reading in ledger.readings][-1] == "k3v9q2xa-lamp-1"
    assert ledger.readings[1].at == datetime(2026, 11, 22, 10, 15, 3, 122_000, UTC)


def test_a_hole_is_lost_until_history_brings_it():
    ledger = pushed(came(2), came(5))
    assert ledger.verdict().lost == ("k3v9q2xa-door-1", "k3v9q2xa-door-3", "k3v9q2xa-door-4")
    assert [*ledger.gaps()] == [("k3v9q2xa", "door", 1, 4)]
    assert ledger.enter(came(1, 2, 3, 4), way="history", at_s=9.0) == 3
    verdict = ledger.verdict()
    assert (verdict.lost, verdict.repaired, verdict.repeats, verdict.inversions) == ((), 3, 0, ())


def test_the_state_says_what_must_be_there():
    ledger = pushed(came(1))
    ledger.note(state(door=3, lamp=1))
    assert ledger.verdict().lost == ("k3v9q2xa-door-2", "k3v9q2xa-door-3", "k3v9q2xa-lamp-1")
    ledger.note(state(door=2))
    assert len(ledger.verdict().lost) == 3


def test_repeats_are_counted_by_push_whoever_brought_the_first():
    ledger = pushed(came(1), came(1), came(2))
    ledger.enter(came(2, 3), way="history", at_s=9.0)
    ledger.enter(came(3), way="push", at_s=10.0)
    verdict = ledger.verdict()
    assert (verdict.arrivals, verdict.repeats, verdict.duplicate_rate) == (4, 2, 0.5)
    assert [(reading.pushed, reading.fetched, reading.way) for reading in ledger.readings] == [
        (2, 0, "push"), (1, 1, "push"), (1, 1, "history"),
    ]  # fmt: skip


def test_only_a_first_arrival_by_push_can_be_out_of_order():
    assert pushed(came(1), came(3), came(2)).verdict().inversions == ("k3v9q2xa-door: 2 after 3",)
    assert pushed(came(3, 2)).verdict().inversions == ("k3v9q2xa-door: 2 after 3",)
    assert pushed(came(1), came(2), came(1)).verdict().inversions == ()
    assert pushed(came(2), came(1, channel="lamp"), came(1, run="p7m2c4aa")).verdict().inversions == ()
    repaired = pushed(came(1))
    repaired.enter(came(2, 3), way="history", at_s=1.0)
    repaired.enter(came(2), way="push", at_s=2.0)
    assert repaired.verdict().inversions == ()


def test_one_identity_with_two_contents_is_a_conflict():
    verdict = pushed(came(1), came(1, value="false"), came(1, channel="lamp")).verdict()
    assert verdict.conflicts == ("k3v9q2xa-door-1",)
    assert "CONFLICTS" in str(verdict)


def test_a_verdict_about_some_classes():
    verdict = pushed(came(2), came(3, channel="air.t", cls="telemetry"), came(1, value="false")).verdict()
    assert verdict.of({"event", "alarm"}).lost == ()
    assert verdict.of({"event"}).inversions == ("k3v9q2xa-door: 1 after 2",)
    assert len(verdict.of({"telemetry"}).lost) == 2
    assert verdict.of({"telemetry"}).readings == 1


def test_what_is_no_payload_is_refused_and_what_is_unknown_ignored():
    with pytest.raises(ValueError):
        Ledger().enter(state(), way="push", at_s=0.0)
    with pytest.raises(ValueError):
        Ledger().note(came(1))
    grown = came(1)
    ET.SubElement(grown, "{urn:example}more")
    assert pushed(grown).verdict().readings == 1


def test_a_time_on_the_wire():
    assert timestamp(datetime(2026, 11, 22, 10, 15, 3, 120_999, UTC)) == AT
