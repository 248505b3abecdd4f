"""Knoop and what somebody would use instead, beside each other under one plan, and a table of what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.faults.campaign import Outcome, carry_out, today
from tests.faults.mqtt import SETUPS, MqttRig, Nobody, Setup, rig
from tests.faults.plan import Fault
from tests.faults.report import in_s, table
from tests.faults.verdict import recoveries

NAMES = {"plain": "MQTT as installed", "kept": "MQTT, all kept", "bridge": "MQTT, bridged"}


async def beside(
    outcomes: Mapping[str, Outcome], faults: Sequence[Fault], *, events: int, folder: Path,
    say: Callable[[str], None] = lambda _line: None,
) -> None:
    """Carry the plan out on every setup that has an outcome; what breaks off says so there, and ends nothing else."""
    async def one(setup: Setup, outcome: Outcome) -> None:
        try:
            await _carry_out(setup, outcome, faults, events=events, folder=folder / setup.name)
        except Exception as error:  # noqa: BLE001 - whatever it was, Knoop's run goes on
            outcome.broken = outcome.broken or repr(error)
        what = f"it broke off: {outcome.broken}" if outcome.broken else outcome.judged
        say(f"{NAMES[setup.name]}: {what}")

    async with asyncio.TaskGroup() as all_of_them:
        for setup in SETUPS:
            if setup.name in outcomes:
                all_of_them.create_task(one(setup, outcomes[setup.name]))


async def _carry_out(setup: Setup, outcome: Outcome, faults: Sequence[Fault], *, events: int, folder: Path) -> None:
    takes_s = faults[-1].until_s if faults else 60.0
    async with rig(folder, setup) as made:
        try:
            await carry_out(made, faults, outcome, events=events, per_s=events / takes_s, told_s=0.0)
        finally:
            _only_what_happened(made, outcome)


def _only_what_happened(made: MqttRig, outcome: Outcome) -> None:
    """Forget what would have happened to a process that there is not."""
    outcome.hits = [hit for hit in outcome.hits if not isinstance(made.peers.get(hit.fault.target), Nobody)]
    if outcome.verdict is not None:
        outcome.recoveries = recoveries(outcome.hits, made.feeder.fed, made.judge.readings, outcome.verdict.lost)


def outcomes(seed: int, planned: int) -> dict[str, Outcome]:
    """An empty one for each setup."""
    return {
        setup.name: Outcome(seed=seed, server=f"mosquitto, {setup.title}", date=today(), planned=planned)
        for setup in SETUPS
    }


def write(knoop: Outcome, others: Mapping[str, Outcome], folder: Path) -> Path:
    """Write `comparison` as JSON and as Markdown; returns the latter."""
    every = {"Knoop": knoop, **{NAMES[name]: outcome for name, outcome in others.items()}}
    (folder / "comparison.json").write_text(
        json.dumps({name: asdict(outcome) for name, outcome in every.items()}, indent=1) + "\n", "utf-8"
    )
    page = (folder / "comparison").with_suffix(".md")
    page.write_text(markdown(every), "utf-8")
    return page


def markdown(every: Mapping[str, Outcome]) -> str:
    """A column for each, first the figures, then what was lost to which fault."""
    some = next(iter(every.values()))
    lines = [f"# The same faults: {some.date}, seed {some.seed}", ""]
    lines += [f"- {name}: **it broke off**, {one.broken}" for name, one in every.items() if one.broken]
    lines += [f"- {name}: **interrupted**" for name, one in every.items() if one.interrupted]
    judged = {name: outcome for name, outcome in every.items() if outcome.verdict is not None}
    columns = [_figures(outcome) for outcome in judged.values()]
    rows = [(what, *(column[what] for column in columns)) for what in columns[0]] if columns else []
    lines += table(("", *judged), rows)
    kinds = sorted({name for outcome in judged.values() for name in outcome.recoveries})
    lines += ["", "Lost, by the fault that had begun last before it was said or within a second of it:", ""]
    found = [outcome.recoveries for outcome in judged.values()]
    lines += table(
        ("", *judged), [(kind, *(one[kind].lost if kind in one else "–" for one in found)) for kind in kinds]
    )
    return "\n".join(lines) + "\n"


def _figures(outcome: Outcome) -> dict[str, object]:
    verdict = outcome.verdict
    assert verdict is not None, "only of what was judged"
    return {
        "faults": len(outcome.hits),
        "events said": verdict.fed,
        "**lost**": f"**{len(verdict.lost)}** ({len(verdict.lost) / max(1, verdict.fed):.2%})",
        "**out of order**": f"**{len(outcome.inversions)}**",
        "came more than once": f"{outcome.repeats} of {outcome.pushed}",
        "came by asking for history": verdict.by_history,
        "cost of killing what reads the lines": f"{verdict.unwritten} in {len(verdict.kills)} kills",
        "from saying to arriving, median": in_s(verdict.latency_median_s),
        "longest": in_s(verdict.latency_longest_s),
    }
