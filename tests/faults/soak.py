"""`python -m tests.faults.soak --minutes 30`: memory, descriptors and threads over time, with a fault every 20 s.

50 readings a second, seven of eight telemetry. Neither half is killed, so that each sample is of the same process: all
faults but those two happen. Ctrl-C ends everything and still writes the report. Exit code 1: it grows, or lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path

from tests.faults import report
from tests.faults.campaign import Outcome, carry_out, today
from tests.faults.plan import Pace, plan
from tests.faults.rig import Rig, rig
from tests.faults.run import BUILD
from tests.faults.verdict import slope_per_min

PER_S = 50.0
EVERY_S = 20.0
PACE = Pace(for_s=(0.5, 5.0), quiet_s=(15.0, 19.5), long=False)  # a fault every 20 s
SAMPLE_S = 10.0
WARM_UP_MIN = 5.0
MOST_MB_PER_MIN = 0.1
SPARE = 4  # descriptors that come and go: a connection being made, a file being written
EVENTS = ("f0", "f1")
TELEMETRY = tuple(f"t{number}" for number in range(14))  # each says at most 4 a second: see the feeder


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the kernel says of a process at `at_s` (proc(5))."""

    at_s: float
    rss_mb: float
    descriptors: int
    threads: int


@dataclass(slots=True)
class Growth:
    """The samples of one half, and what they say after the warm-up."""

    samples: list[Sample] = field(default_factory=list)

    def after(self, warm_up_s: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.at_s >= warm_up_s]

    def mb_per_min(self, warm_up_s: float) -> float:
        return slope_per_min([(sample.at_s, sample.rss_mb) for sample in self.after(warm_up_s)])

    def problems(self, name: str, warm_up_s: float) -> list[str]:
        """Memory that grows, descriptors or threads that stay: the least of the last third against the first's most."""
        samples = self.after(warm_up_s)
        third = len(samples) // 3
        if not third:
            return [f"{name}: no samples after the warm-up"]
        found = []
        if (slope := self.mb_per_min(warm_up_s)) > MOST_MB_PER_MIN:
            found.append(f"{name}: RSS grows by {slope:.3f} MB a minute")
        for what, of in (("descriptors", lambda one: one.descriptors), ("threads", lambda one: one.threads)):
            early, late = max(map(of, samples[:third])), min(map(of, samples[-third:]))
            if late > early + SPARE:
                found.append(f"{name}: {what} grew from at most {early} to at least {late}")
        return found


def sample(pid: int, at_s: float) -> Sample:
    """Look at a process now; raises FileNotFoundError when there is none."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if ":" in line
    )
    return Sample(
        at_s=at_s, rss_mb=int(status["VmRSS"].split()[0]) / 1024, threads=int(status["Threads"]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )  # fmt: skip


async def watch(made: Rig, growth: Mapping[str, Growth], *, for_s: float) -> None:
    """Sample every half for so long: afterwards its devices say nothing, and it closes their ports."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() - began_s < for_s:
        for name, half in made.halves.items():
            growth[name].samples.append(sample(half.pid, loop.time() - began_s))
        await asyncio.sleep(SAMPLE_S)


async def run(outcome: Outcome, growth: Mapping[str, Growth], *, minutes: float, folder: Path) -> None:
    async with rig(folder / "soak", server=outcome.server, events=EVENTS, telemetry=TELEMETRY) as made:
        endless = plan(
            outcome.seed, count=int(minutes * 6), targets=made.targets, pace=PACE, but={"kill agent", "kill hw"}
        )
        faults = list(takewhile(lambda fault: fault.until_s < minutes * 60, endless))
        outcome.planned = len(faults)
        print(f"{minutes:g} min, {PER_S:g} readings/s, {len(faults)} faults; logs in {folder / 'soak'}", flush=True)
        watching = asyncio.create_task(watch(made, growth, for_s=minutes * 60))
        try:
            await carry_out(
                made, faults, outcome, events=int(minutes * 60 * PER_S), per_s=PER_S,
                say=lambda line: print(line, flush=True),
            )
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def markdown(growth: Mapping[str, Growth], warm_up_s: float) -> str:
    """A table of what each half needed."""

    def row(name: str, one: Growth) -> Iterable[object]:
        samples = one.after(warm_up_s) or one.samples
        for_all = [[entry.rss_mb for entry in samples], [entry.descriptors for entry in samples]]
        rss, descriptors = ((min(values), max(values)) if values else (0, 0) for values in for_all)
        threads = max((entry.threads for entry in samples), default=0)
        return (
            name, f"{rss[0]:.1f} to {rss[1]:.1f} MB", f"{one.mb_per_min(warm_up_s):+.3f} MB/min",
            f"{descriptors[0]} to {descriptors[1]}", threads, len(samples),
        )  # fmt: skip

    head = ("half", "RSS", "slope", "descriptors", "threads, at most", "samples")
    return "\n".join(report.table(head, [row(name, one) for name, one in growth.items()])) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=BUILD)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in `run`
    warm_up_s = min(WARM_UP_MIN, given.minutes / 2) * 60  # a short one is for trying it out
    outcome = Outcome(seed=given.seed, server="prosody", date=today(), planned=0)
    growth = {name: Growth() for name in ("hw", "agent")}
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run(outcome, growth, minutes=given.minutes, folder=given.folder.resolve()))
    finally:
        problems = [text for name, one in growth.items() for text in one.problems(name, warm_up_s)]
        page = report.write(outcome, given.folder, name="soak")
        with page.open("a", encoding="utf-8") as file:
            file.write(f"\n{markdown(growth, warm_up_s)}\n" + "".join(f"- {text}\n" for text in problems))
        samples = {name: [asdict(one) for one in each.samples] for name, each in growth.items()}
        (given.folder / "soak-samples.json").write_text(json.dumps(samples) + "\n", "utf-8")
        print(f"\n{page.read_text('utf-8')}\n{page}")
    return 1 if problems or outcome.problems or outcome.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
