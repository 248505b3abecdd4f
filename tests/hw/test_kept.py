"""What the board keeps until the agent has stored it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.kept import Kept
from knoop_hw.model import Reading


def reading(seq):
    return Reading(channel="x", seq=seq, value=1.0, boottime_ns=0)


def test_they_come_back_in_order_and_only_beyond_the_number():
    kept = Kept()
    for seq, cls in enumerate(["telemetry", "alarm", "event", "telemetry"], 1):
        assert kept.add(reading(seq), cls) == seq
    assert [number for number, _ in kept.after(1, limit=10)] == [2, 3, 4]
    assert [number for number, _ in kept.after(0, limit=2)] == [1, 2]
    kept.forget(2)
    assert [number for number, _ in kept.after(0, limit=10)] == [3, 4]
    assert (kept.stored, kept.newest, len(kept)) == (2, 4, 2)


def test_telemetry_goes_first_then_events_and_all_are_counted():
    kept = Kept(limit=3)
    for seq, cls in enumerate(["alarm", "event", "telemetry", "telemetry", "alarm", "alarm", "alarm"], 1):
        kept.add(reading(seq), cls)
    assert [number for number, _ in kept.after(0, limit=10)] == [5, 6, 7]
    assert kept.dropped == {"telemetry": 2, "event": 1, "alarm": 1}


def test_an_acknowledgement_of_what_never_was():
    with pytest.raises(ValueError, match="stored up to 1, but the last reading is number 0"):
        Kept().forget(1)


@given(st.lists(st.sampled_from(["telemetry", "event", "alarm"]), max_size=80), st.integers(1, 20))
def test_alarms_outlive_everything_and_nothing_goes_uncounted(classes, limit):
    kept = Kept(limit=limit)
    for seq, cls in enumerate(classes, 1):
        kept.add(reading(seq), cls)
    left = [number for number, _ in kept.after(0, limit=1000)]
    assert left == sorted(left)
    assert len(left) == min(len(classes), limit)
    assert len(left) + sum(kept.dropped.values()) == len(classes)
    alarms = [number for number, cls in enumerate(classes, 1) if cls == "alarm"]
    assert [number for number in left if number in alarms] == alarms[-limit:]
