"""`make fuzz`: every target in turn, led by coverage: `python -m tests.fuzz.run [--minutes 25] [--seed 7] [NAME …]`.

Says how far it is every ten seconds; Ctrl-C ends it with the report of what was done. `build/fuzz/report.txt` has the
executions, `build/fuzz/corpus` what was interesting (the next run goes on from it), `build/fuzz/found` what was found,
made as small as it gets. Exit code 1: something was found.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS, Target

from knoop import __version__

OUT = Path("build/fuzz")
SAID_EVERY_S = 10.0
MOST_FOUND = 3  # of one target; then the next one has its turn
INPUT_S = 20  # longest time of one input; a busy machine is no finding
RSS_MB = 700  # coverage and corpus included; a node has bounds of its own in `inbound`
SMALLER_S = 60.0
SCRATCH_S = 5.0  # what a child needs to end


@dataclass(slots=True)
class Outcome:
    """What came of one target."""

    name: str
    executions: int = 0
    seconds: float = 0.0
    features: int = 0
    corpus: int = 0
    rss_mb: int = 0
    found: list[Path] = field(default_factory=list)


class Stopped(Exception):
    """Ctrl-C."""


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    which = f"of {', '.join(TARGETS)}; all of them when none is named"
    parser.add_argument("names", nargs="*", metavar="NAME", help=which)
    parser.add_argument("--minutes", type=float, default=25.0, help="of all targets together")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    if unknown := {*arguments.names} - TARGETS.keys():
        parser.error(f"no such target: {', '.join(unknown)}")
    machine = f"Python {platform.python_version()} on {platform.machine()}"
    try:
        import atheris  # noqa: F401 -- only asked for
    except ImportError:
        print(f"There is no atheris for {machine}; `make test` has a slice of this, everywhere.")
        return 2
    chosen = {name: TARGETS[name] for name in arguments.names or TARGETS}
    share = sum(target.share for target in chosen.values())
    outcomes, stopped = [], False
    for name, target in chosen.items():
        outcome = Outcome(name)
        outcomes.append(outcome)
        try:
            _fuzz(outcome, target, seconds=arguments.minutes * 60 * target.share / share, seed=arguments.seed)
        except Stopped:
            stopped = True
            break
    report = _report(outcomes, seed=arguments.seed, stopped=stopped)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "report.txt").write_text(report, "utf-8")
    print(report)
    return 1 if any(outcome.found for outcome in outcomes) else 0


def _fuzz(outcome: Outcome, target: Target, *, seconds: float, seed: int) -> None:
    """Fuzz one target for so long, again after each finding."""
    name = outcome.name
    corpus, found = OUT / "corpus" / name, OUT / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    kept = CORPUS.glob(f"{name}-*")
    for number, known in enumerate((*target.seeds, *(one.read_bytes() for one in kept))):
        (corpus / f"seed-{number:04}").write_bytes(known)
    count = OUT / f"{name}.count"
    count.unlink(missing_ok=True)
    began = time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 1 and len(outcome.found) < MOST_FOUND:
        prefix = found / f"{name}-"
        before = {*found.glob(f"{name}-*")}
        arguments = [
            f"-max_total_time={left:.0f}", f"-seed={seed + len(outcome.found)}", f"-rss_limit_mb={RSS_MB}",
            f"-timeout={INPUT_S}", "-print_final_stats=1", f"-artifact_prefix={prefix}", str(corpus),
        ]  # fmt: skip
        try:
            _child(outcome, count, arguments)
        finally:
            outcome.seconds = time.monotonic() - began
            outcome.corpus = len([*corpus.iterdir()])
        for artifact in sorted({*found.glob(f"{name}-*")} - before):
            outcome.found.append(_smaller(artifact, target))
            print(f"{name}: found something: {outcome.found[-1]}", flush=True)


def _child(outcome: Outcome, count: Path, arguments: list[str]) -> None:
    """One process of libFuzzer until it ends; raises Stopped on Ctrl-C, when it has ended."""
    before, began = outcome.executions, time.monotonic()
    log = OUT / f"{outcome.name}.log"
    with log.open("a", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", outcome.name, str(count), *arguments],
            stdout=said, stderr=said, start_new_session=True,
        )
    stopped = False
    while process.poll() is None:
        try:
            process.wait(SAID_EVERY_S)
        except subprocess.TimeoutExpired:
            outcome.executions = _counted(count)
            rate = (outcome.executions - before) / (time.monotonic() - began)
            print(f"{outcome.name}: {outcome.executions:,} executions, {rate:,.0f} a second", flush=True)
        except KeyboardInterrupt:
            stopped = True
            process.send_signal(signal.SIGINT)
            try:
                process.wait(SCRATCH_S)
            except subprocess.TimeoutExpired:
                process.kill()
    outcome.executions = _counted(count)
    text = log.read_text("utf-8", "replace")
    if features := re.findall(r" ft: (\d+) ", text):
        outcome.features = int(features[-1])
    if peaks := re.findall(r"peak_rss_mb:\s+(\d+)", text):
        outcome.rss_mb = max(map(int, peaks))
    if stopped:
        raise Stopped


def _counted(count: Path) -> int:
    return struct.unpack("<Q", count.read_bytes())[0] if count.exists() else 0


def _smaller(artifact: Path, target: Target) -> Path:
    """The input with everything taken away that it does without, in a file of its own; it fails in the same way."""
    data, until = artifact.read_bytes(), time.monotonic() + SMALLER_S
    with _quietly(), ExitStack() as stack:
        one = target.open(stack)
        why = _why(one, data)
        step = len(data) // 2
        while why and step and time.monotonic() < until:
            at, shorter = 0, False
            while at < len(data) and time.monotonic() < until:
                less = data[:at] + data[at + step :]
                if _why(one, less) == why:
                    data, shorter = less, True
                else:
                    at += step
            step = step if shorter and step == 1 else step // 2
    made = artifact.with_suffix(".small")
    made.write_bytes(data)
    return made


def _why(one: object, data: bytes) -> str:
    """How this input fails, roughly; '' when it does not."""
    try:
        one(data)
    except Exception as error:  # noqa: BLE001 -- whatever it is
        return f"{type(error).__name__} {str(error)[:24]}"
    return ""


@contextmanager
def _quietly() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        before, sys.stderr = sys.stderr, nowhere
        try:
            yield
        finally:
            sys.stderr = before


def _report(outcomes: list[Outcome], *, seed: int, stopped: bool) -> str:
    total, seconds = sum(one.executions for one in outcomes), sum(one.seconds for one in outcomes)
    found = [path for one in outcomes for path in one.found]
    lines = [
        f"# Fuzzing Knoop {__version__}", "",
        f"{total:,} executions in {seconds / 60:.1f} min, seed {seed}, Python {platform.python_version()} on "
        f"{platform.machine()}{'; stopped by hand' if stopped else ''}. {len(found)} findings.", "",
        "| target | executions | minutes | a second | features | corpus | peak MB | findings |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in outcomes:
        lines += [
            f"| {one.name} | {one.executions:,} | {one.seconds / 60:.1f} | {one.executions / (one.seconds or 1):,.0f} "
            f"| {one.features} | {one.corpus} | {one.rss_mb} | {len(one.found)} |"
        ]
    return "\n".join([*lines, "", *(f"- `{path}`" for path in found), ""])


if __name__ == "__main__":
    sys.exit(main())
