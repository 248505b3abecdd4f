"""What the log says of a thing that fails, and how often."""

from __future__ import annotations

import logging

import pytest

from knoop_hw.trouble import MOST, WITHIN_S, Trouble

S = 1_000_000_000


@pytest.fixture
def trouble():
    return Trouble("sensor.air", log=logging.getLogger(__name__))


def test_a_line_when_it_begins_and_one_when_it_is_over(trouble, caplog):
    trouble.over()
    trouble.is_("unplugged", 0)
    trouble.is_("not there", S)
    trouble.over()
    trouble.over()
    assert caplog.messages == ["sensor.air: unplugged", "sensor.air: is back"]


def test_another_reason_while_it_lasts_is_told_to_who_asks_for_more(trouble, caplog):
    caplog.set_level(logging.DEBUG)
    for second, reason in enumerate(("does not exist", "may not be opened", "may not be opened")):
        trouble.is_(reason, second * S, follow=True)
    trouble.over()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "sensor.air: does not exist"), ("DEBUG", "sensor.air: now: may not be opened"),
        ("WARNING", "sensor.air: is back"),
    ]  # fmt: skip


def test_its_end_is_told_as_its_beginning_wants_it(trouble, caplog):
    trouble.is_("21.5 for 1h", 0, end="moves again")
    trouble.over()
    assert caplog.messages[-1] == "sensor.air: moves again"


def test_what_comes_and_goes_is_counted_and_told_again_later(trouble, caplog):
    for second in range(int(WITHIN_S) + 1):
        trouble.is_("unplugged", second * S)
        trouble.over()
    often = "; it comes and goes, and is told at most 3 times in 10 min"
    assert caplog.messages == [
        *["sensor.air: unplugged", "sensor.air: is back"] * (MOST - 1), f"sensor.air: unplugged{often}",
        "sensor.air: is back", f"sensor.air: unplugged; {int(WITHIN_S) - MOST} more since this was last said{often}",
        "sensor.air: is back",
    ]  # fmt: skip


def test_one_that_was_only_counted_is_told_when_it_stays(trouble, caplog):
    for second in range(MOST + 1):
        trouble.over()
        trouble.is_("unplugged", second * S)
    assert len(caplog.messages) == 2 * MOST
    trouble.is_("unplugged", int(WITHIN_S * S) - 1)
    assert len(caplog.messages) == 2 * MOST
    trouble.is_("still not there", int(WITHIN_S * S))
    trouble.over()
    assert caplog.messages[2 * MOST :] == [
        "sensor.air: still not there; it comes and goes, and is told at most 3 times in 10 min", "sensor.air: is back",
    ]  # fmt: skip
