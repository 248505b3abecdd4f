"""A node that is told to stop has ended within 5 s, whoever does not answer, and nothing that it took is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.running import TICKING, Running, Way, alive, running, until, write

from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody
from knoop_bench.proxy import Proxy
from knoop_bench.witness import EVENTS, Witness

pytestmark = pytest.mark.prosody

WITHIN_S = 5.0
STALL_US = 9_000_000  # each sync of the disk waits so long


def gone(pid: int) -> bool:
    return not alive(pid)


@dataclass(slots=True, kw_only=True)
class Trial:
    """A node whose front door opens and closes each second, a wire to its server, and its owner."""

    node: Running
    server: Prosody
    wire: Proxy
    folder: Path

    @property
    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "knoop/status.json").read_text("utf-8")))

    async def told_to_stop(self) -> float:
        """Seconds from SIGTERM to the exit."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self.node.tell(signal.SIGTERM)
        # The process is over; a thread that strace holds keeps its number, and us from asking for its exit code.
        await until(partial(gone, self.node.pid), lambda: self.node.log, 30.0)
        return loop.time() - began_s

    async def events(self) -> list[int]:
        """The numbers of the first run's events of the door that are on the server, once the node has caught up."""
        async with Witness(
            "anna@localhost", "secret", port=self.server.tls_port, ca_file=self.server.ca_file
        ) as anna:  # fmt: skip
            found: dict[str, list[int]] = {}

            async def look() -> bool:
                found.clear()
                for item in await anna.pep_items("greenhouse@localhost", EVENTS):
                    assert item.payload is not None
                    for child in item.payload:
                        if child.get("channel") == "door":
                            found.setdefault(item.payload.get("run", ""), []).append(int(child.get("seq", "0")))
                return len(found) > 1

            async with asyncio.timeout(20):
                while not await look():
                    await asyncio.sleep(0.2)
            return sorted(set(next(iter(found.values()))))


@pytest.fixture
async def trial(tmp_path: Path, authority: Authority) -> AsyncIterator[Trial]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            Prosody(tmp_path / "server", {"greenhouse": "secret", "anna": "secret"}, authority=authority)
        )
        wire = await stack.enter_async_context(Proxy(server.tls_port))
        write(tmp_path, Way(wire.port, server.ca_file), jid="greenhouse@localhost", scenario=TICKING)
        node = await stack.enter_async_context(running(tmp_path))
        await node.online()
        await until((tmp_path / "knoop/status.json").exists, lambda: node.log)
        yield Trial(node=node, server=server, wire=wire, folder=tmp_path)


@asynccontextmanager
async def well(_: Trial) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def black_hole(trial: Trial) -> AsyncIterator[None]:
    trial.wire.stall()
    yield
    trial.wire.resume()


@asynccontextmanager
async def stopped_server(trial: Trial) -> AsyncIterator[None]:
    assert trial.server.pid is not None
    os.kill(trial.server.pid, signal.SIGSTOP)
    yield
    os.kill(trial.server.pid, signal.SIGCONT)


@asynccontextmanager
async def stalled_disk(trial: Trial) -> AsyncIterator[None]:
    calls = ("fdatasync", "fsync")
    tracer = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "strace", "-f", "-o", "/dev/null", "-p", str(trial.node.pid),
        "-e", f"trace={','.join(calls)}",
        *(part for call in calls for part in ("-e", f"inject={call}:delay_enter={STALL_US}")),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    assert b"attached" in await asyncio.wait_for(tracer.stderr.readline(), 10)
    yield
    await tracer.communicate()


@asynccontextmanager
async def both(trial: Trial) -> AsyncIterator[None]:
    async with black_hole(trial), stalled_disk(trial):
        yield


Trouble = Callable[[Trial], Any]


@pytest.mark.long
@pytest.mark.parametrize("trouble", [well, black_hole, stopped_server, stalled_disk, both])
async def test_a_node_that_is_told_to_stop_has_ended_in_time(trial: Trial, trouble: Trouble):
    async with trouble(trial):
        await asyncio.sleep(3)  # six edges of the door, by the scenario: they are what waits
        took_s = await trial.told_to_stop()
    print(f"\n{trouble.__name__}: {took_s:.2f} s")
    assert await trial.node.ended() == 0
    assert took_s <= WITHIN_S
    assert trial.status["level"] == "stopped"
    trial.node.start()
    await trial.node.online(times=2)
    numbers = await trial.events()
    if trouble is not both:  # then some were in memory only, and nobody else had them: the board is in this process
        assert numbers == list(range(1, len(numbers) + 1)), "none is missing"
        assert len(numbers) >= 5
