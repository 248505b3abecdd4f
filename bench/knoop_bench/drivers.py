"""What each driver costs: processor time of a sample until it is a reading, memory, modules.

One process a driver, one after the other; only what they cost at rest is measured of all at once, because they sleep.
"""

from __future__ import annotations

import asyncio
import json
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from knoop import __version__
from knoop_bench.errors import StageFailed
from knoop_bench.stand_ins import STAND_INS
from knoop_hw import source

Said = dict[str, Any]  # what one process says of itself

EVERY_S = 0.01  # a hundred times a second, where a driver is one that asks
FIRST = 10  # samples after which nothing is done for the first time
REST_EVERY_S, REST_S = 10.0, 20.0
LIMIT_S = 20.0  # beyond what a process was to measure
MEASURE = "simulated"  # it reads nothing: what is left is the way from any driver to a reading
SIMULATED = '[board]\ndriver = "simulated"\n'
# Before anything imports asyncio: this half has no OpenSSL.
PROGRAM = """
import sys
from knoop_hw.cli import NOT_HERE
sys.modules.update(dict.fromkeys(NOT_HERE))
from knoop_bench.one_driver import main
main()
"""
NOTES = """\
CPU: user and system time of the whole process, of all its threads and of the programs that it starts, per sample of a
driver that has some 10 to 100 a second, from the device through the filters to numbered readings; nobody is connected.
× is that in multiples of 'simulated', which reads nothing; waking up is in both. What a chip makes the kernel do is in
none: files stand for its driver's. MB: memory of its own (anonymous) that the process has more than without the sensor,
after ten samples. Rest ms: CPU a minute with every = "10s" and the meter, the receiver and the lines talking once a
second; a sample costs more then, because the caches are cold. modules: Python's, which only this driver loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one driver. `cpu_us` a sample of `values` values, `rest_ms` of CPU a minute. `error`: why it has none."""

    driver: str
    about: str = ""
    error: str = ""
    samples: int = 0
    values: int = 0
    cpu_us: float = 0.0
    ratio: float = 0.0
    rest_ms: float | None = None
    memory_mb: float = 0.0
    modules: int = 0
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run."""

    version: str
    python: str
    machine: str
    base_mb: float
    drivers: tuple[Cost, ...]


async def measure(
    *, quick: bool, names: Sequence[str] | None = None, say: Callable[[str], None] = lambda _text: None
) -> Report:
    """Measure every driver, in about 20 s or 90 s. One that fails has an `error` and does not stop the others.

    Raises StageFailed when not even a board without a sensor can be measured.
    """
    names = source.names() if names is None else names
    rounds, seconds = (1, 1.0) if quick else (3, 1.5)
    bases: dict[str, list[Said]] = {"": [], SIMULATED: []}
    found: dict[str, list[Said]] = {name: [] for name in names}
    errors: dict[str, str] = {}
    for turn in range(1, rounds + 1):  # all of them in each, so that what else the machine does falls on all
        said = f"round {turn} of {rounds}, " if rounds > 1 else ""
        say(f"{said}a board without a sensor")
        for tables, base in bases.items():
            base.append(await _alone(tables))
        for number, name in enumerate(names, 1):
            say(f"{said}{number} of {len(names)}: {name}")
            try:
                found[name].append(await _apart(name, every_s=EVERY_S, first=FIRST, seconds=seconds))
            except StageFailed as error:
                errors[name] = str(error)
    measure = found.get(MEASURE, []) if MEASURE not in errors else []
    costs = [
        Cost(driver=name, error=errors[name]) if name in errors
        else _cost(name, found[name], bases[SIMULATED if name == MEASURE else ""], measure)
        for name in names
    ]
    if not quick:
        say("all of them at rest")
        costs = await asyncio.gather(*(_with_rest(cost) for cost in costs))
    return Report(
        version=__version__, python=platform.python_version(), machine=platform.machine(),
        base_mb=round(median(base["memory_kb"] for base in bases[""]) / 1024, 1), drivers=tuple(costs),
    )  # fmt: skip


def _cost(name: str, found: Sequence[Said], bases: Sequence[Said], measure: Sequence[Said]) -> Cost:
    """The middle of the rounds. `measure`: what the ratios are to, none when that failed."""
    added = set(found[-1]["modules"]) - set(bases[-1]["modules"])
    packages = {module.partition(".")[0] for module in added} - sys.stdlib_module_names
    libraries = {package for package in packages if not package.startswith(("knoop", "_"))}
    ratios = [_cpu_us(one) / _cpu_us(other) for one, other in zip(found, measure, strict=False)]
    memory = [one["memory_kb"] - base["memory_kb"] for one, base in zip(found, bases, strict=True)]
    return Cost(
        driver=name, about=STAND_INS[name].about, samples=sum(one["samples"] for one in found),
        values=found[-1]["values"], cpu_us=round(median(map(_cpu_us, found)), 1),
        ratio=round(median(ratios), 1) if ratios else 0.0, memory_mb=round(median(memory) / 1024, 2),
        modules=len(added), libraries=tuple(sorted(libraries)),
    )  # fmt: skip


def _cpu_us(one: Said) -> float:
    return float(one["cpu_us"] / one["samples"])


async def _with_rest(cost: Cost) -> Cost:
    if cost.error:
        return cost
    try:
        rest = await _apart(cost.driver, every_s=REST_EVERY_S, first=1, seconds=REST_S)
    except StageFailed as error:
        return replace(cost, error=str(error))
    return replace(cost, rest_ms=round(rest["cpu_us"] / 1000 * 60 / REST_S, 1))


async def _apart(name: str, *, every_s: float, first: int, seconds: float) -> Said:
    """What a process with this driver says of itself. Raises StageFailed."""
    if name not in STAND_INS:
        raise StageFailed("it has nothing to read; docs/own-driver.md says what to add to STAND_INS")
    with tempfile.TemporaryDirectory(prefix="knoop-bench-") as folder:
        async with STAND_INS[name].opened(Path(folder), every_s == EVERY_S) as tables:
            said = await _said(Path(folder), tables, every_s=every_s, first=first, seconds=seconds)
    if not said["samples"] and every_s == EVERY_S:
        raise StageFailed(f"no sample in {seconds:g} s, after {first}")
    return said


async def _alone(tables: str) -> Said:
    with tempfile.TemporaryDirectory(prefix="knoop-bench-") as folder:
        return await _said(Path(folder), tables, every_s=EVERY_S, first=0, seconds=0.2)


async def _said(folder: Path, tables: str, **asked: float) -> Said:
    file = folder / "node.toml"
    file.write_text(tables, "utf-8")
    # A session of its own: Ctrl-C at the terminal is for us, and we end it.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(file), *(str(asked[key]) for key in ("every_s", "first", "seconds")),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(asked["seconds"] + LIMIT_S):
            out, complaint = await process.communicate()
    except TimeoutError:
        raise StageFailed(f"not measured within {asked['seconds'] + LIMIT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        said = complaint.decode(errors="replace").splitlines()[-2:]
        raise StageFailed("; ".join(said) or f"exit code {process.returncode}")
    measured: Said = json.loads(out)
    return measured


def as_json(report: Report) -> str:
    """One JSON object."""
    return json.dumps(asdict(report), ensure_ascii=False)


def as_text(report: Report) -> str:
    """A line a driver, the dearest sample last."""
    machine = f"knoop {report.version}, Python {report.python}, {report.machine}"
    lines = [
        f"{machine}; a board without a sensor has {report.base_mb:.1f} MB of its own",
        f"{'driver':10} {'×':>5} {'CPU µs':>7} {'values':>6} {'MB':>5} {'rest ms':>7}  loads; reads here",
    ]
    for cost in sorted(report.drivers, key=lambda cost: (bool(cost.error), cost.cpu_us)):
        if cost.error:
            lines.append(f"{cost.driver:10} failed: {cost.error}")
            continue
        rest = "" if cost.rest_ms is None else f"{cost.rest_ms:.1f}"
        loads = f"{', '.join((*cost.libraries, f'{cost.modules} modules'))}; {cost.about}"
        cpu = f"{cost.ratio:5.1f} {cost.cpu_us:7.0f} {cost.values:6}"
        lines.append(f"{cost.driver:10} {cpu} {cost.memory_mb:5.1f} {rest:>7}  {loads}")
    return "\n".join((*lines, "", NOTES))


def run(*, quick: bool) -> Report:
    """`measure`, with progress on stderr where that is a terminal; SIGTERM ends it as orderly as Ctrl-C does."""

    async def until_told() -> Report:
        task = asyncio.current_task()
        assert task is not None, "this runs in a task"
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await measure(quick=quick, say=_say)

    try:
        return asyncio.run(until_told())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        _say("")


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
