"""A board with one sensor, or none, in a process of its own: what that costs it, as JSON on stdout."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

from knoop_hw import cli, logs
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
from knoop_hw.tables import Config, Sensor

FIRST_S = 15.0  # until a sensor that works has its first readings: a slow board imports a library in 2 s
LOOK_S = 0.05


def main() -> None:
    """Arguments: FILE EVERY_S FIRST SECONDS. Measure for SECONDS, after FIRST samples.

    A sensor that is asked is asked every EVERY_S, which may be more often than node.toml may say. One that gives
    nothing is exit code 1 and a sentence on stderr.
    """
    logs.configure(verbose=False)
    file, every_s, first, seconds = sys.argv[1:]
    config = cli.load(Path(file))
    config = replace(config, sensors=tuple(_asked(sensor, float(every_s)) for sensor in config.sensors))
    print(json.dumps(asyncio.run(_measured(config, first=int(first), seconds=float(seconds)))))


def _asked(sensor: Sensor, every_s: float) -> Sensor:
    if getattr(sensor.config, "every_s", None) is None:
        return sensor
    return replace(sensor, config=replace(sensor.config, every_s=every_s))


async def _measured(config: Config, *, first: int, seconds: float) -> dict[str, object]:
    async with Board(config, clock=SystemClock()) as board:
        await _come(board, first)
        modules = sorted(sys.modules)
        memory_kb = _memory_kb()
        before, cpu_us = _samples(board), _cpu_us()
        await asyncio.sleep(seconds)
        samples, cpu_us = _samples(board) - before, _cpu_us() - cpu_us
        values = len(board.latest)
    return {"samples": samples, "values": values, "cpu_us": cpu_us, "memory_kb": memory_kb, "modules": modules}


async def _come(board: Board, count: int) -> None:
    try:
        async with asyncio.timeout(FIRST_S):
            while _samples(board) < count:  # noqa: ASYNC110 -- the board has no word for it, and needs none
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        sys.exit(f"only {_samples(board)} samples in {FIRST_S:g} s")


def _samples(board: Board) -> int:
    """Of the channel that told most: its filter passes all of them."""
    return max((reading.seq for reading in board.latest.values() if reading.value is not None), default=0)


def _cpu_us() -> float:
    """User and system time of this process, its threads, and the programs that it ran and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used) * 1e6


def _memory_kb() -> int:
    """What is in no file and nobody else's (proc(5), smaps_rollup).

    Not RSS, in which the pages of shared libraries come and go; not PSS, to which every other Python here adds.
    """
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return next(int(text.split()[1]) for text in rollup.splitlines() if text.startswith("Anonymous:"))
