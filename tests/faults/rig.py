"""Everything a run needs: server, wire, both halves, devices that count, who judges, and who is alarmed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from tests.faults.feeder import POLL, POLL_S, Feeder
from tests.faults.plan import WIRE, Fault
from tests.integration.running import AGENT, HARDWARE, Running, Way, until, write

from knoop_bench.certificates import Authority
from knoop_bench.ejabberd import Ejabberd
from knoop_bench.errors import BenchError
from knoop_bench.prosody import Prosody
from knoop_bench.proxy import Proxy
from knoop_bench.server import Server
from knoop_bench.subscriber import Subscriber
from knoop_bench.witness import Witness

SERVERS: dict[str, Callable[..., Server]] = {"prosody": Prosody, "ejabberd": Ejabberd}
BELL = "bell"
AGENT_BACK_S = 20.0
BURN_S = 5.0  # a connection that is to be reset amid what it says must say something
PERSON_AGAIN_S = 0.2
LOOK_S = 0.02
NOTICED_S = 1.0  # what a server sent in its last moments, or to a login that nobody has any more
FOR_EVER = float("inf")
PERSON_PING_S = 5.0


class Peer(Protocol):
    """A process that can be killed and stopped: a half, a server, another system's publisher or broker."""

    async def start(self) -> None:
        """Run; it need not be ready when this returns."""
        ...

    async def kill(self) -> None:
        """SIGKILL."""
        ...

    def stop(self) -> None:
        """SIGSTOP."""
        ...

    def cont(self) -> None:
        """SIGCONT."""
        ...


class HalfPeer:
    """A half of the node. `heard`: what to do whenever it has died, or is about to begin."""

    def __init__(self, running: Running, heard: Callable[[], None] = lambda: None) -> None:
        self.running = running
        self._heard = heard

    async def start(self) -> None:
        self._heard()
        self.running.start()

    async def kill(self) -> None:
        self.running.tell(signal.SIGKILL)
        self._heard()
        await self.running.ended()
        # Five kills in a row make it start in safe mode (docs/adr/0043), and here they are the plan's.
        (self.running.folder / "state" / "knoop" / "starts.json").unlink(missing_ok=True)

    def stop(self) -> None:
        self.running.tell(signal.SIGSTOP)

    def cont(self) -> None:
        self.running.tell(signal.SIGCONT)


class ServerPeer:
    """A private server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def start(self) -> None:
        await self._server.start()

    async def kill(self) -> None:
        await self._server.kill()

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._server.pid is not None:
            os.kill(self._server.pid, number)


class Person:
    """Somebody whose client gives receipts and comes back after each cut. `told`: ids of messages from `node`."""

    def __init__(self, make: Callable[[], Witness], node: str) -> None:
        self.told: list[str] = []
        self._make, self._node = make, node
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            with suppress(BenchError, OSError):
                async with self._make() as witness:
                    try:
                        await self._stay(witness)
                    finally:
                        self._take(witness)
            await asyncio.sleep(PERSON_AGAIN_S)

    async def _stay(self, witness: Witness) -> None:
        gone = asyncio.ensure_future(witness.gone())
        try:
            while not gone.done():
                self._take(witness)
                await witness.ping(timeout_s=PERSON_PING_S)
                await asyncio.wait({gone}, timeout=1.0)
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    def _take(self, witness: Witness) -> None:
        came, witness.seen[:] = [*witness.seen], []
        self.told += [
            seen.id for seen in came
            if seen.kind == "message" and seen.type == "chat" and seen.sender_bare == self._node and seen.body
        ]  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Rig:
    """What faults happen to.

    In the loop's time: `kills`, when the hardware half was killed; `away`, from when to when the judge was not there.
    """

    wire: Proxy
    peers: dict[str, Peer]
    feeder: Feeder
    judge: Subscriber
    person: Person
    halves: dict[str, Running]
    kills: list[float] = field(default_factory=list)
    away: list[tuple[float, float]] = field(default_factory=list)

    @property
    def targets(self) -> tuple[str, ...]:
        return (WIRE, *self.peers)

    async def strike(self, fault: Fault) -> None:
        """Begin it; one that is an instant (a reset) is over when this returns."""
        if fault.target == WIRE:
            await self._strike_wire(fault)
        elif fault.kind == "stop":
            self.peers[fault.target].stop()
        else:
            if fault.target == "hw":  # else what waits for an agent would die with it: another fault than this one
                await self._agent_there()
                self.kills.append(asyncio.get_running_loop().time())
            await self.peers[fault.target].kill()

    async def heal(self, fault: Fault) -> None:
        """End it."""
        if fault.target == WIRE:
            self.wire.resume()
            await self.wire.restore()
        elif fault.kind == "stop":
            self.peers[fault.target].cont()
        else:
            await self.peers[fault.target].start()

    async def look(self) -> None:
        """Note when the judge is away, for ever."""
        loop, since_s = asyncio.get_running_loop(), 0.0
        while True:
            here, now_s = self.judge.subscribed, loop.time()
            if self.away and self.away[-1][1] == FOR_EVER:
                if here:
                    self.away[-1] = (self.away[-1][0], now_s)
            elif not here:
                self.away.append((since_s, FOR_EVER))
            if here:
                since_s = now_s - NOTICED_S
            await asyncio.sleep(LOOK_S)

    async def _strike_wire(self, fault: Fault) -> None:
        match fault.kind:
            case "cut":
                await self.wire.cut()
            case "reset":
                before = self.wire.resets
                self.wire.reset_after(int(fault.amount))
                with suppress(AssertionError):  # nobody was there to be reset
                    await until(lambda: self.wire.resets > before, str, BURN_S)
            case "stall":
                self.wire.stall()
            case "stall up":
                self.wire.stall("up")
            case "stall down":
                self.wire.stall("down")
            case "swallow":
                self.wire.swallow()
            case "throttle":
                self.wire.throttle(fault.amount)
            case "delay":
                self.wire.delay(fault.amount)
            case _:
                raise ValueError(fault.kind)

    async def _agent_there(self) -> None:
        """The agent has what the hardware half wrote, up to what is being read."""
        await self.feeder.listened_to()
        socket = str(self.halves["hw"].folder / "knoop/board.sock")
        await until(lambda: _connected(socket), lambda: self.halves["agent"].log[-2000:], AGENT_BACK_S)


def _connected(path: str) -> bool:
    """Whether somebody is connected to a Unix socket (proc(5), net/unix: state 03)."""
    lines = Path("/proc/net/unix").read_text("utf-8", "replace").splitlines()
    return any(line.endswith(path) and line.split()[5] == "03" for line in lines)


@asynccontextmanager
async def rig(
    folder: Path, *, server: str = "prosody", authority: Authority | None = None,
    events: Sequence[str] = tuple(f"f{number}" for number in range(8)), telemetry: Sequence[str] = (),
) -> AsyncIterator[Rig]:
    """Set up, with the node online, the judge subscribed and a first alarm received by the person."""
    empty(folder)
    async with AsyncExitStack() as stack:
        accounts = dict.fromkeys(("greenhouse", "anna", "bram"), "secret")
        running: Server = await stack.enter_async_context(
            SERVERS[server](folder / server, accounts, authority=authority)
        )
        wire = await stack.enter_async_context(Proxy(running.tls_port))
        feeder = await stack.enter_async_context(Feeder([*events, *telemetry], slow=[BELL]))
        node, anna, bram = (running.jid(user) for user in accounts)
        write(
            folder, Way(wire.port, running.ca_file), jid=node,
            people={anna: '{ role = "owner", notify = ["alarm"] }', bram: '{ role = "viewer", notify = [] }'},
            board=_board(feeder, events), more='[alert.level]\nwhen = "bell.level > 0"\nseverity = "info"\n',
        )
        halves = {"hw": Running(folder, command=HARDWARE), "agent": Running(folder, command=AGENT)}

        def witness(jid: str, *, receipts: bool = False) -> Witness:
            return Witness(
                jid, "secret", port=running.tls_port, ca_file=running.ca_file, friends=[node], notify=(),
                receipts=receipts, login_s=5.0,
            )

        person = await stack.enter_async_context(Person(lambda: witness(anna, receipts=True), node))
        judge = await stack.enter_async_context(Subscriber(lambda: witness(bram), node))
        for half in halves.values():
            stack.push_async_callback(_ended, half)
            half.start()
        peers = {
            "server": ServerPeer(running), "hw": HalfPeer(halves["hw"], feeder.forget),
            "agent": HalfPeer(halves["agent"]),
        }  # fmt: skip
        made = Rig(wire=wire, peers=peers, feeder=feeder, judge=judge, person=person, halves=halves)
        looking = asyncio.create_task(made.look())
        stack.push_async_callback(_cancelled, looking)
        async with asyncio.timeout(60):
            await feeder.listened_to()
            await halves["agent"].online()
        yield made


def empty(folder: Path) -> None:
    """Make it, without what an earlier run left; raises FileExistsError when it holds something else."""
    mark = folder / ".knoop-faults"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise FileExistsError(f"{folder} holds something else: name a folder that is empty or new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def _board(feeder: Feeder, events: Sequence[str]) -> str:
    """A sensor for each device."""
    tables = ['[board]\ndriver = "simulated"\n']
    for device in feeder.devices:
        classes = {"n": "alarm" if device.name == BELL else "event" if device.name in events else "telemetry"}
        values = "n = { pattern = 'n=(\\d+) ' }\n"
        if device.name == BELL:
            values += "level = { pattern = 'level=(\\d)' }\n"
        tables.append(
            f'[sensor.{device.name}]\ndriver = "lines"\ndevice = "{device.path}"\nbaudrate = 115200\n'
            f'poll = "{POLL}"\nevery = "{POLL_S:g}s"\n[sensor.{device.name}.values]\n{values}'
            + "".join(f'[sensor.{device.name}.{name}]\nclass = "{cls}"\n' for name, cls in classes.items())
        )
    return "\n".join(tables)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _ended(half: Running) -> None:
    """Stop a half, also one that is stopped by a signal."""
    if half.code is None:
        half.tell(signal.SIGCONT)
    with suppress(AssertionError):
        await half.stop()
