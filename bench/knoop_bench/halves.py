"""What two processes cost over one: time on the socket, memory of the hardware half with ten lines open."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles

from knoop_bench.errors import StageFailed
from knoop_hw import config, decode, sock
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
from knoop_hw.link import Link, LinkClosed, pair
from knoop_hw.messages import Done, Readings, Set, Stored

INPUTS, OUTPUTS = (4, 5, 6, 12, 13), (18, 22, 23, 24, 25)
LINES = '[board]\ndriver = "simulated"\n' + "".join(
    f'[{kind}.{kind}{pin}]\npin = "GPIO{pin}"\n'
    for kind, pins in (("input", INPUTS), ("output", OUTPUTS)) for pin in pins
)
LAMP = f"output{OUTPUTS[0]}"
START_S = 20.0
REST_S = 0.001  # between two wishes: people are not faster


@dataclass(frozen=True, slots=True)
class Cost:
    """`added_ms_*`: what the socket adds to a wish and its answer, against both halves in one process.

    Each is the median of several rounds, so that what else the machine does in one of them does not count.
    """

    added_ms_p50: float
    added_ms_p99: float
    rss_mb: float
    pss_mb: float


def memory_mb(pid: int) -> tuple[float, float]:
    """(RSS, PSS) of a process in MB, from the kernel's own count (proc(5), smaps_rollup)."""
    sizes: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0]) / 1024
    return round(sizes["Rss"], 1), round(sizes["Pss"], 1)


async def measure(*, quick: bool) -> Cost:
    """The same wishes to the same simulated lines over both kinds of link, by turns. Raises StageFailed."""
    rounds, wishes = (3, 250) if quick else (7, 500)
    with tempfile.TemporaryDirectory(prefix="knoop-bench-") as folder:
        async with AsyncExitStack() as stack:
            pid, far = await stack.enter_async_context(_apart(Path(folder)))
            near = await stack.enter_async_context(_inside(Path(folder) / "node.toml"))
            rss_mb, pss_mb = memory_mb(pid)
            numbers = count(1)
            added = []
            for _ in range(rounds):
                one, two = [
                    quantiles([await _wish(link, next(numbers)) for _ in range(wishes)], n=100) for link in (near, far)
                ]
                added.append([two[at] - one[at] for at in (49, 98)])
    p50, p99 = (round(median(column), 3) for column in zip(*added, strict=True))
    return Cost(added_ms_p50=p50, added_ms_p99=p99, rss_mb=rss_mb, pss_mb=pss_mb)


async def _wish(link: Link, number: int) -> float:
    """Milliseconds from a wish to the level read back, of halves that have nothing else to do."""
    began = time.perf_counter()
    asked_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    await link.send(Set(id=number, channel=LAMP, value=bool(number % 2), by="bench@example.org", asked_ns=asked_ns))
    took_ms, told = 0.0, False
    while not (took_ms and told):
        match await link.receive():
            case Done():
                took_ms = (time.perf_counter() - began) * 1000
            case Readings() as message:
                await link.send(Stored(upto=message.upto))
                told = any(reading.channel == LAMP for reading in message.items)
    await asyncio.sleep(REST_S)
    return took_ms


@asynccontextmanager
async def _inside(file: Path) -> AsyncIterator[Link]:
    async with Board(config.load(decode.load(file), []), clock=SystemClock()) as board:
        agent, end = pair()
        serving = asyncio.create_task(board.serve(end))
        await agent.receive()
        yield agent
        await agent.close()
        await serving


@asynccontextmanager
async def _apart(folder: Path) -> AsyncIterator[tuple[int, Link]]:
    """A `knoop-hw` of its own and a connection to it."""
    (folder / "node.toml").write_text(LINES, "utf-8")
    command = (sys.executable, "-m", "knoop_hw", "--config", "node.toml", "--socket", "board.sock", "--state", "state")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        link = await _connected(folder / "board.sock", process)
        await link.receive()
        yield process.pid, link
        await link.close()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _connected(path: Path, process: asyncio.subprocess.Process) -> Link:
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with suppress(OSError, LinkClosed):
                    return sock.connect(path, peer="the hardware half")
                await asyncio.sleep(0.05)
    raise StageFailed(f"knoop-hw did not open its socket within {START_S:g} s")
