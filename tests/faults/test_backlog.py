"""After an outage: 100,000 old readings drain at Debian's 10 kB/s, and what happens now is told now.

Measured from the reading to its item at an observer, which shares no code with the node. The pace follows the server's
answers (knoop.pace), so nothing here tells the node how fast this server reads.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import quantiles

import pytest
from tests.integration.inprocess import Node, node
from tests.integration.running import Way, until, write

from knoop.record import Record
from knoop.store import Store
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.seen import Item
from knoop_bench.witness import EVENTS, READINGS, Witness

pytestmark = pytest.mark.prosody

WITHIN_S = 2.0
OLD_EVENTS = 10_000
AT_ONCE = 5_000
BOARD = """
[board]
driver = "simulated"

[input.door]
pin = "GPIO17"

[input.gate]
pin = "GPIO27"

[input.smoke]
pin = "GPIO22"
class = "alarm"
"""


async def fill(path: Path, count: int) -> None:
    """The store of a node that was long without a link: old events of one channel, and telemetry."""
    path.parent.mkdir(exist_ok=True)
    async with Store.open(path) as store:
        for first in range(0, count, AT_ONCE):
            await store.add(
                (
                    Record(
                        run="before00", channel="door" if number < OLD_EVENTS else "air.temperature", seq=number + 1,
                        cls="event" if number < OLD_EVENTS else "telemetry", type="number", value=20 + number % 50 / 10,
                        unit="" if number < OLD_EVENTS else "°C", boot="before", boottime_ns=number * 10**9,
                        at_ns=1_790_000_000_000_000_000 + number * 10**9,
                    ),
                    ("pubsub",),
                )
                for number in range(first, min(first + AT_ONCE, count))
            )  # fmt: skip


def readings(item: Item) -> list[tuple[str, str, int]]:
    """Run, channel and number of each reading of an item."""
    if item.payload is None:
        return []
    run = item.payload.get("run", "")
    return [(run, one.get("channel", ""), int(one.get("seq", "0"))) for one in item.payload]


class Backlog:
    """A node with a backlog, and who watches it: how long live readings take, and whether its link stays prompt."""

    def __init__(self, running: Node, anna: Witness) -> None:
        self._running, self._anna = running, anna
        self._seq = 0
        self.took_s: list[float] = []
        self.late = False

    async def tell(self) -> None:
        """An event and an alarm at once: how long until both are there; the alarm comes first."""
        self._seq += 1
        loop, after = asyncio.get_running_loop(), self._anna.mark
        began_s = loop.time()
        for channel in ("gate", "smoke"):
            self._running.reads(channel, self._seq % 2 == 0)
        found = {}
        for channel in ("gate", "smoke"):
            wanted = ("inthetest", channel, self._seq)
            found[channel] = await self._anna.wait(
                lambda seen, wanted=wanted: any(wanted in readings(item) for item in seen.items), 20, after=after
            )
        assert found["smoke"].number < found["gate"].number
        self.took_s.append(found["gate"].at_s - began_s)

    async def watch_pings(self) -> None:
        """Whether anything that comes would count as late (knoop.xmpp.fresh), looked at all the time."""
        while True:
            clock, session = self._running.agent.house.clock, self._running.agent.presence.session
            self.late |= session is None or session.fresh.late(clock.boottime_ns())
            await asyncio.sleep(0.05)

    def came(self, run: str, channel: str) -> list[int]:
        """The numbers that arrived, in the order they did."""
        items = (item for item in self._anna.items if item.node in {READINGS, EVENTS})
        return [seq for item in items for one, name, seq in readings(item) if (one, name) == (run, channel)]


async def drains(folder: Path, *, old: int, live: int, every_s: float) -> Backlog:
    """So many old readings, so many live events: the figures."""
    options = Options(rate_limit="10kb/s")
    server = Prosody(folder / "server", {"greenhouse": "secret", "anna": "secret"}, options=options)
    async with AsyncExitStack() as stack:
        await asyncio.gather(fill(folder / "state" / "readings.db", old), stack.enter_async_context(server))
        way = Way.to(server)
        jid = "greenhouse@localhost"
        anna = await stack.enter_async_context(
            Witness("anna@localhost", "secret", port=way.port, ca_file=way.ca_file, friends=[jid])
        )
        file = write(folder, way, jid=jid, board=BOARD)
        running = await stack.enter_async_context(node(file, password="secret"))
        it = Backlog(running, anna)
        await until(lambda: len(it.came("before00", "door")) > 10, lambda: "no backlog came", 20)
        watching = asyncio.create_task(it.watch_pings())
        pinged_s = 0.0
        try:
            for number in range(live):
                await it.tell()
                if number == live // 2:
                    session = running.agent.presence.session
                    assert session is not None
                    pinged_s = await session.ping()
                await asyncio.sleep(every_s)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        assert not it.late
        assert 0 < pinged_s < 5
        waiting = (await running.agent.house.store.backlog()).get("pubsub", 0)
        assert waiting > old // 2, "the backlog lasted as long as this took"
        doors = it.came("before00", "door")
        assert doors == [*range(1, len(doors) + 1)], "in order, none twice"
        assert len(doors) > 10 + 4 * (sum(it.took_s) + every_s * live), "and it drains meanwhile"
    return it


async def test_live_events_pass_a_backlog(tmp_path):
    it = await drains(tmp_path, old=20_000, live=5, every_s=0.1)
    assert max(it.took_s) <= WITHIN_S, it.took_s


@pytest.mark.long
async def test_live_events_pass_a_hundred_thousand_old_readings(tmp_path):
    it = await drains(tmp_path, old=100_000, live=60, every_s=1.0)
    p95 = quantiles(it.took_s, n=20)[-1]
    print(f"live events: median {quantiles(it.took_s, n=2)[0]:.2f} s, p95 {p95:.2f} s, worst {max(it.took_s):.2f} s")
    assert p95 <= WITHIN_S, it.took_s
