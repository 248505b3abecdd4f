"""`python -m tests.faults.run --seed 7`: 10,000 events over 200 faults; what `make faults` does first.

Beside it the same happens to MQTT, used in three ways, unless told not to: see `tests.faults.mqtt`.
Ctrl-C ends everything and still writes the report. Exit code 1: something was lost, or came in the wrong order.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.faults import comparison, report
from tests.faults.campaign import Outcome, carry_out, today
from tests.faults.plan import MINUTES, plan
from tests.faults.rig import SERVERS, rig

BUILD = Path(__file__).parents[2] / "build" / "faults"


async def run(outcome: Outcome, *, events: int, folder: Path, others: Mapping[str, Outcome]) -> None:
    """Carry it out; `outcome` and `others` have what came of it also when this is cancelled."""
    async with rig(folder / "rig", server=outcome.server) as made:
        faults = plan(outcome.seed, count=outcome.planned, targets=made.targets, pace=MINUTES)
        takes_s = faults[-1].until_s if faults else 60.0
        print(f"{events} events, {len(faults)} faults, seed {outcome.seed}: {takes_s / 60:.0f} min, some waiting for"
              f" links, and what it takes until all is quiet; logs in {folder / 'rig'}", flush=True)  # fmt: skip
        async with asyncio.TaskGroup() as both:
            both.create_task(comparison.beside(others, faults, events=events, folder=folder / "mqtt", say=_say))
            await carry_out(made, faults, outcome, events=events, per_s=events / takes_s, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7, help="which faults, in which order (7)")
    parser.add_argument("--events", type=int, default=10_000, help="to be said, alarms among them (10000)")
    parser.add_argument("--faults", type=int, default=200, help="one every 6 s (200)")
    parser.add_argument("--server", choices=sorted(SERVERS), default="prosody", help="(prosody)")
    parser.add_argument("--folder", type=Path, default=BUILD, help="for report and logs (build/faults)")
    parser.add_argument("--without-mqtt", action="store_true", help="Knoop only; mosquitto need not be installed")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # one started in the background inherits it as ignored
    outcome = Outcome(seed=given.seed, server=given.server, date=today(), planned=given.faults)
    others = {} if given.without_mqtt else comparison.outcomes(given.seed, given.faults)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run(outcome, events=given.events, folder=given.folder.resolve(), others=others))
    finally:
        pages = [report.write(outcome, given.folder, name="report")]
        pages += [comparison.write(outcome, others, given.folder)] if others else []
        for page in pages:
            print(f"\n{page.read_text('utf-8')}\n{page}")
    broken = outcome.problems or any(one.broken or one.interrupted for one in (outcome, *others.values()))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
