"""What `knoop bench` measures: this code on this board against a real server, never a loop by itself.

Rates depend on the machine's mood; CPU time of this process (getrusage) and ratios of one run are the figures to
compare. Every scenario is bounded in count and in time, and its node is deleted at the end.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles

from knoop import __version__, payload
from knoop.errors import LinkError, Refusal
from knoop.record import Record
from knoop.store import Store
from knoop.xmpp import nodes
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_bench import halves
from knoop_hw.clock import SystemClock

NODE = nodes.Node(name="urn:knoop:1:bench", max_items="1", send_last="never")
IN_FLIGHT = 16
BATCH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run. Rates are per second of wall time, `cpu_us_*` microseconds of this process's user and system time."""

    version: str
    python: str
    machine: str
    stanzas_per_s: float
    stanzas_in_flight_per_s: float
    cpu_us_per_stanza: float
    readings_per_s: float
    cpu_us_per_reading: float
    ping_ms_p50: float
    ping_ms_p99: float
    rss_mb: float
    pss_mb: float
    login_ms: float
    hw_rss_mb: float = 0.0
    hw_pss_mb: float = 0.0
    both_pss_mb: float = 0.0
    socket_ms_p50: float = 0.0
    socket_ms_p99: float = 0.0


def cpu_us() -> float:
    """CPU time of this process so far, user and system, all threads, in microseconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


async def measure(account: Account, *, quick: bool) -> Figures:
    """Run all scenarios against the account's server. Raises LinkError or Refusal."""
    seconds, count = (1.0, 300) if quick else (10.0, 5000)
    started = time.perf_counter()
    async with _session(account) as session:
        login_ms = (time.perf_counter() - started) * 1000
        # Connected and idle: what a node costs before it has anything to say.
        rss_mb, pss_mb = halves.memory_mb(os.getpid())
        await nodes.configure(session, NODE, ())
        try:
            async def publish(number: int) -> None:
                await _publish(session, _record(number))

            one = await _bounded(publish, count=count, seconds=seconds, width=1)
            many = await _bounded(publish, count=count, seconds=seconds, width=IN_FLIGHT)
            readings = await _whole_path(session, count=count, seconds=seconds)
            pings = sorted([await session.ping() * 1000 for _ in range(50 if quick else 200)])
        finally:
            await nodes.delete(session, NODE.name)
    percentiles = quantiles(pings, n=100)
    cost = await halves.measure(quick=quick)
    return Figures(
        version=__version__, python=platform.python_version(), machine=platform.machine(),
        stanzas_per_s=round(one.per_s, 1), stanzas_in_flight_per_s=round(many.per_s, 1),
        cpu_us_per_stanza=round(many.cpu_us, 1), readings_per_s=round(readings.per_s * BATCH, 1),
        cpu_us_per_reading=round(readings.cpu_us / BATCH, 1), ping_ms_p50=round(percentiles[49], 2),
        ping_ms_p99=round(percentiles[98], 2), rss_mb=rss_mb, pss_mb=pss_mb, login_ms=round(login_ms, 1),
        hw_rss_mb=cost.rss_mb, hw_pss_mb=cost.pss_mb, both_pss_mb=round(pss_mb + cost.pss_mb, 1),
        socket_ms_p50=cost.added_ms_p50, socket_ms_p99=cost.added_ms_p99,
    )


@dataclass(frozen=True, slots=True)
class _Rate:
    per_s: float
    cpu_us: float


async def _bounded(step: Callable[[int], Awaitable[None]], *, count: int, seconds: float, width: int) -> _Rate:
    """`step` for at most `count` times and `seconds`, `width` of them in flight."""
    numbers = iter(range(1, count + 1))
    wall, cpu = time.perf_counter(), cpu_us()
    done = 0

    async def lane() -> None:
        nonlocal done
        for number in numbers:
            await step(number)
            done += 1
            if time.perf_counter() - wall > seconds:
                return

    await asyncio.gather(*(lane() for _ in range(width)))
    return _Rate(done / (time.perf_counter() - wall), (cpu_us() - cpu) / done)


async def _whole_path(session: Session, *, count: int, seconds: float) -> _Rate:
    """A batch of readings into a store on this disk, out to the server, and out of the outbox."""
    with tempfile.TemporaryDirectory(prefix="knoop-bench-") as folder:
        async with Store.open(Path(folder) / "readings.db") as store:
            async def step(number: int) -> None:
                batch = [_record(number * BATCH + offset) for offset in range(BATCH)]
                kept = await store.add([(record, ("pubsub",)) for record in batch])
                element = payload.readings(kept)
                await nodes.publish(session, NODE.name, kept[0].identity, element)
                await store.delivered("pubsub", [record.row for record in kept])

            return await _bounded(step, count=max(1, count // BATCH), seconds=seconds, width=1)


async def _publish(session: Session, record: Record) -> None:
    await nodes.publish(session, NODE.name, record.identity, payload.readings([record]))


def _record(number: int) -> Record:
    return Record(
        run="bench000", channel="bench.temperature", seq=number, cls="telemetry", type="number",
        value=20 + number % 50 / 10, unit="°C", boot="bench", boottime_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        at_ns=time.time_ns(),
    )


@asynccontextmanager
async def _session(account: Account) -> AsyncIterator[Session]:
    """A login of its own resource beside the running node's, that is deaf to everything."""
    account = replace(account, jid=replace(account.jid, resource="bench"))
    session = await Session.open(
        account, clock=SystemClock(), context=tls_context(account), on_message=lambda _message, _late: None,
        on_presence=lambda _presence: None, admits=lambda sender: not sender,
    )
    try:
        yield session
    except Refusal as error:
        raise LinkError(f"the server refuses what the benchmark needs: {error}") from error
    finally:
        await session.close()
