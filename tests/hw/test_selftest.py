"""The self-test on simulated wires: what it says of good boards, of others, and of no wire at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knoop_hw.clock import FakeClock
from knoop_hw.jumper import SimulatedWire
from knoop_hw.selftest import Outcome, examine, verdict


async def examined(clock: FakeClock, **wire: Any) -> tuple[dict[str, Outcome], SimulatedWire]:
    """Every outcome by its check, in time that passes by itself."""
    joined = SimulatedWire(("GPIO17", "GPIO27"), clock=clock, **wire)

    async def all_of_it() -> list[Outcome]:
        return [outcome async for outcome in examine(joined, clock=clock)]

    task = asyncio.create_task(all_of_it())
    while not task.done():
        await clock.advance(0.01)
    return {outcome.check: outcome for outcome in task.result()}, joined


async def test_a_good_board_is_told_to_be_one(clock):
    outcomes, _ = await examined(clock)
    assert {check: outcome.verdict for check, outcome in outcomes.items()} == {
        "pulls": "ok", "levels": "ok", "edges": "ok", "latency": "ok", "burst": "ok", "loss": "ok", "debounce": "ok",
        "released": "note", "kill -9": "note",
    }  # fmt: skip
    assert outcomes["edges"].figures == {"sent": 500, "read": 500, "counted": 500}
    assert outcomes["loss"].figures == {"sent": 400, "read": 16, "lost": 384}
    assert verdict([*outcomes.values()], simulated=False) == "This board does what Knoop relies on."


async def test_a_simulation_is_never_told_to_be_a_board(clock):
    outcomes, _ = await examined(clock)
    assert "nothing about a board" in verdict([*outcomes.values()], simulated=True)


async def test_without_a_wire_nothing_is_driven(clock):
    driven: list[bool] = []

    class Watched(SimulatedWire):
        def drive(self, level: bool) -> None:
            driven.append(level)

    wire = Watched(("GPIO17", "GPIO27"), clock=clock, wire=False)
    task = asyncio.create_task(collected(wire, clock))
    while not task.done():
        await clock.advance(0.01)
    outcomes = task.result()
    assert [outcome.check for outcome in outcomes] == ["pulls", "wire"]
    assert "is the wire there" in outcomes[-1].text
    assert not driven
    assert verdict(outcomes, simulated=False) == "Not what Knoop relies on: wire."


async def collected(wire: SimulatedWire, clock: FakeClock) -> list[Outcome]:
    return [outcome async for outcome in examine(wire, clock=clock)]


async def test_without_pulls_the_missing_wire_shows_when_the_line_is_driven(clock):
    outcomes, _ = await examined(clock, wire=False, pulls=False)
    assert list(outcomes) == ["pulls", "levels"]
    assert outcomes["levels"].text == "GPIO17 was driven high, and GPIO27 stays low: is the wire there?"


async def test_a_chip_without_pulls_is_no_bad_board(clock):
    outcomes, _ = await examined(clock, pulls=False)
    assert outcomes["pulls"].verdict == "note"
    assert "without a pull" in outcomes["released"].text
    assert verdict([*outcomes.values()], simulated=False) == "This board does what Knoop relies on."


@pytest.mark.parametrize(("keeps", "said"), [(True, "the line keeps its level"), (False, "the line lets go")])
async def test_what_a_line_does_that_nobody_holds_is_told(clock, keeps, said):
    outcomes, _ = await examined(clock, keeps=keeps)
    for check in ("released", "kill -9"):
        assert outcomes[check].text.startswith(said)
        assert outcomes[check].figures == {"high kept": keeps, "low kept": keeps}


async def test_edges_that_nobody_noticed_are_a_fault(clock):
    outcomes, _ = await examined(clock, deaf=100)
    assert outcomes["edges"].verdict == "no"
    assert outcomes["burst"].figures == {"sent": 1000, "read": 990, "counted": 990}
    assert "edges" in verdict([*outcomes.values()], simulated=False)


@pytest.mark.parametrize("steps", [0, 1, 3, 9])
async def test_whenever_it_ends_the_line_is_an_input_again(clock, steps):
    wire = SimulatedWire(("GPIO17", "GPIO27"), clock=clock)
    checks = examine(wire, clock=clock)
    for _ in range(steps):
        step = asyncio.ensure_future(anext(checks))
        while not step.done():
            await clock.advance(0.01)
    await checks.aclose()
    wire.listen("up")
    assert wire.level(), "the listening line's pull holds it: nobody drives it"
