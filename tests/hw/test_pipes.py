"""What the log says when a filter objects to what is sampled."""

from __future__ import annotations

import pytest

from knoop_hw.pipes import Pipes

S = 1_000_000_000
AIR = """
[sensor.air]
driver = "simulated"
stale = "1h"
valid = [-40, 60]
"""


@pytest.fixture
async def air(configured, clock):
    """The pipes of AIR, and a way to feed its temperature, a sample every ten minutes."""
    pipes = Pipes(configured(AIR), clock=clock, keep=100)

    def sampled(*values, since=0):
        for step, value in enumerate(values, since):
            pipes.put("air.temperature", value, "error" if value is None else "ok", step * 600 * S)
        return pipes.latest["air.temperature"]

    yield pipes, sampled
    pipes.close()


async def test_one_line_when_a_value_goes_stale_and_one_when_it_moves(air, caplog):
    _, sampled = air
    assert sampled(*[21.5] * 12).quality == "warning"
    assert sampled(21.6, since=12).quality == "ok"
    assert caplog.messages == [
        "air.temperature: 21.5 for 1h without any change; a warning until it moves", "air.temperature: moves again",
    ]  # fmt: skip


async def test_a_sensor_that_fails_while_it_is_stale_has_not_moved(air, caplog):
    _, sampled = air
    assert sampled(*[21.5] * 8, None).quality == "error"
    assert sampled(21.5, 21.5, since=9).quality == "warning"
    assert len(caplog.messages) == 1


async def test_one_line_when_values_are_no_longer_valid_and_one_when_they_are(air, caplog):
    _, sampled = air
    assert sampled(21, 85, 86, float("nan")).quality == "error"
    sampled(None, 85, since=4)  # the sensor fails amid it, which is no end of this
    assert sampled(22, since=6).value == 22
    assert caplog.messages == [
        "air.temperature: 85 is not valid ([-40, 60] is); an error until it is", "air.temperature: is valid again",
    ]  # fmt: skip


async def test_a_reload_that_leaves_the_option_says_no_more_and_one_that_takes_it_forgets_it(air, configured, caplog):
    pipes, sampled = air
    sampled(*[21.5] * 8)
    pipes.follow(configured(AIR + 'label = "Air"'))
    assert sampled(21.5, since=8).quality == "warning"
    pipes.follow(configured(AIR.replace('stale = "1h"', "")))
    assert sampled(21.5, since=9).quality == "ok"
    assert len(caplog.messages) == 1
