"""Nothing gets lost: a server, both halves, and one fault of each kind after another. `make faults` has 200 of them."""

from __future__ import annotations

import asyncio

import pytest
from tests.faults import report
from tests.faults.campaign import Outcome, carry_out, today
from tests.faults.plan import SECONDS, kinds, plan
from tests.faults.rig import rig
from tests.faults.run import BUILD
from tests.integration.running import alive

pytestmark = pytest.mark.prosody

EVENTS = 300
SEED = 209  # the agent is killed after most links were: a fresh one does not wait long before it tries again


async def test_three_hundred_events_survive_one_fault_of_each_kind(tmp_path, authority):
    outcome = Outcome(seed=SEED, server="prosody", date=today(), planned=14)
    async with rig(tmp_path / "rig", authority=authority) as made:
        faults = plan(SEED, count=len(kinds(made.targets)), targets=made.targets, pace=SECONDS)
        await carry_out(made, faults, outcome, events=EVENTS, per_s=EVENTS / faults[-1].until_s)
        for half in made.halves.values():
            assert "Traceback" not in half.log, half.log
    assert not outcome.problems, report.markdown(outcome)
    assert outcome.verdict.arrived + outcome.verdict.unwritten == outcome.verdict.fed >= EVENTS
    assert len(outcome.hits) == 14
    assert outcome.verdict.alarms


async def test_a_run_that_is_interrupted_ends_everything_and_knows_what_it_knows(tmp_path, authority):
    outcome = Outcome(seed=7, server="prosody", date=today(), planned=50)
    struck = asyncio.Event()

    async def run():
        async with rig(tmp_path / "rig", authority=authority) as made:
            pids.extend(half.pid for half in made.halves.values())
            faults = plan(7, count=50, targets=made.targets)
            await carry_out(made, faults, outcome, events=1_000, per_s=20, say=lambda _line: struck.set())

    pids = []
    task = asyncio.create_task(run())
    async with asyncio.timeout(60):
        await struck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(alive(pid) for pid in pids)
    assert outcome.interrupted
    assert outcome.verdict.arrived > 0
    assert "**Interrupted**" in report.markdown(outcome)


@pytest.mark.long
async def test_with_another_server(tmp_path):
    """ejabberd; Prosody has `make faults`."""
    outcome = Outcome(seed=7, server="ejabberd", date=today(), planned=42)
    async with rig(tmp_path / "rig", server="ejabberd") as made:
        faults = plan(7, count=42, targets=made.targets)
        await carry_out(made, faults, outcome, events=2_000, per_s=2_000 / faults[-1].until_s)
    report.write(outcome, BUILD, name="report-ejabberd")
    assert not outcome.problems, report.markdown(outcome)
