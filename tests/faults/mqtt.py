"""What somebody would use instead: paho-mqtt with QoS 1 and Debian's mosquitto, under the faults that Knoop bears.

The same plan, the same kind of wire between publisher and broker, the same devices that count, the same arithmetic for
what is lost and for what a kill may cost. Nobody's `problems` come of it: it is a comparison.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from tests.faults import mqtt_publisher
from tests.faults.feeder import Feeder
from tests.faults.rig import BELL, Peer, Rig, empty
from tests.integration.running import until

from knoop_bench.errors import ServerFailed
from knoop_bench.ports import LOOPBACK, free_ports
from knoop_bench.proxy import Proxy
from knoop_bench.server import PATH

EVENTS = tuple(f"f{number}" for number in range(8))
AGAIN_S = 1.0  # what ended by itself is started again after so long
THERE_S = 20.0
STILL_S = 20.0  # with every link there, nothing came for so long: nothing more will

# /etc/mosquitto/mosquitto.conf of Debian 12 and 13, but for: paths that only root could write to, the `pid_file` that
# no init script reads here, and the user. `-p` names the port and leaves all else as it is without a `listener`: on
# loopback only, and whoever comes is let in. (With a `listener` it would take `allow_anonymous true`.)
AS_INSTALLED: Final = """\
persistence true
persistence_location {folder}/
log_dest file {folder}/mosquitto.log
user {user}
"""
# mosquitto.conf(5): saved after each change, nothing thrown away, and "1 … will guarantee in-order delivery".
KEPT: Final = """\
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
max_inflight_messages 1
"""
# The same page, "Configuring bridges"; what it does by itself after a cut is 5 to 30 s, and 60 s for a silent link.
BRIDGE: Final = """\
connection uplink
address {host}:{port}
topic # out 1
restart_timeout 1 5
keepalive_interval 10
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One way to do it. `near` is the configuration of a broker beside the publisher, None where there is none.

    `again_s`: after how long the subscriber tries again, at least and at most; it doubles in between.
    """

    name: str
    title: str
    publisher: str
    again_s: tuple[int, int] = (1, 1)
    broker: str = AS_INSTALLED
    near: str | None = None


SETUPS: Final = (
    Setup(name="plain", title="as installed, as in the documentation's first example", publisher="plain",
          again_s=(1, 120)),  # paho's own
    Setup(name="kept", title="all that the two offer for keeping messages", publisher="kept",
          broker=AS_INSTALLED + KEPT),
    Setup(name="bridge", title="the same, and a mosquitto beside the publisher that bridges to the other",
          publisher="kept", broker=AS_INSTALLED + KEPT, near=AS_INSTALLED + KEPT + BRIDGE),
)  # fmt: skip


class Program:
    """A process that is killed and stopped; one that ends by itself is started again, as by `Restart=always`.

    `heard`: what to do whenever it has died, or is about to begin.
    """

    def __init__(self, command: Sequence[str], log: Path, heard: Callable[[], None] = lambda: None) -> None:
        self._command, self._log, self._heard = tuple(command), log, heard
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._spawn()
        self._keeping = asyncio.create_task(self._keep())

    async def kill(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        self._tell(signal.SIGKILL)  # before anything is awaited: the moment counts
        self._heard()
        if self._keeping is not None:
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._process is not None:
            await self._process.wait()

    def stop(self) -> None:
        self._tell(signal.SIGSTOP)

    def cont(self) -> None:
        self._tell(signal.SIGCONT)

    async def _keep(self) -> None:
        while self._process is not None:
            await self._process.wait()
            self._heard()
            await asyncio.sleep(AGAIN_S)
            await self._spawn()

    async def _spawn(self) -> None:
        self._heard()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", "--", *self._command, cwd=self._log.parent,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    def _tell(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


class Nobody:
    """Knoop has a process here, and this way to do it has none: what would happen to it does not."""

    async def start(self) -> None:
        pass

    async def kill(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def cont(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A message as it came, a number; `at_s` is the loop's time. No process of the publisher's says which one it is."""

    channel: str
    value: str
    at_s: float
    run: str = ""
    way: str = "push"
    pushed: int = 1

    @property
    def seq(self) -> int:
        return int(self.value)

    @property
    def identity(self) -> str:
        return f"{self.channel}-{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """`inversions`: a number that came for the first time after a greater one of its channel."""

    arrivals: int
    repeats: int
    inversions: tuple[str, ...]
    lost: tuple[str, ...] = ()  # nobody but the feeder knows what there was
    conflicts: tuple[str, ...] = ()

    def of(self, _classes: Iterable[str]) -> Tally:
        return self

    def __str__(self) -> str:
        return f"{self.arrivals} came, {self.repeats} repeats, {len(self.inversions)} inversions"


def firsts(came: Iterable[Got]) -> list[Got]:
    """Each once, in the order of first arrival."""
    found: dict[str, Got] = {}
    for one in came:
        found.setdefault(one.identity, one)
    return [*found.values()]


def tally(came: Sequence[Got]) -> Tally:
    """What came more than once, and what came for the first time behind its successors."""
    highest: dict[str, int] = defaultdict(int)
    inversions, known, repeats = [], set[str](), 0
    for one in came:
        repeats += one.identity in known
        if one.identity not in known and one.seq < highest[one.channel]:
            inversions.append(f"{one.channel}: {one.seq} after {highest[one.channel]}")
        known.add(one.identity)
        highest[one.channel] = max(highest[one.channel], one.seq)
    return Tally(arrivals=len(came), repeats=repeats, inversions=tuple(inversions))


class Judge:
    """A subscriber with a kept session and a fixed name, straight at the broker, that comes back after each cut."""

    def __init__(self, port: int, again_s: tuple[int, int]) -> None:
        self.came: list[Got] = []
        self.subscribed = False
        self._now = asyncio.get_running_loop().time
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="judge", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._is(subscribed=True)
        self._client.on_disconnect = lambda *_: self._is(subscribed=False)
        self._client.on_message = lambda _client, _data, message: self._take(message)
        self._client.reconnect_delay_set(*again_s)
        self._client.connect_async(LOOPBACK, port, keepalive=10)

    async def __aenter__(self) -> Self:
        self._client.loop_start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    @property
    def readings(self) -> list[Got]:
        return firsts(self.came)

    @property
    def told(self) -> list[str]:
        """Nobody chats here: who subscribes has the alarms."""
        return [one.identity for one in self.readings if one.channel == f"{BELL}.n"]

    def verdict(self) -> Tally:
        return tally([*self.came])

    async def close_gaps(self, *, within_s: float) -> None:
        """There is no history to ask for; wait a little longer than Knoop is given."""
        before = -1
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self.came) > before:
                    before = len(self.came)
                    await asyncio.sleep(STILL_S)

    def _take(self, message: MQTTMessage) -> None:  # in paho's thread
        channel = message.topic.replace("/", ".")
        self.came.append(Got(channel=channel, value=message.payload.decode(), at_s=self._now()))

    def _is(self, *, subscribed: bool) -> None:
        self.subscribed = subscribed


@dataclass(slots=True, kw_only=True)
class MqttRig(Rig):
    """`hw` is the publisher, `agent` the broker beside it at `near_port`, if there is one."""

    near_port: int | None

    async def _agent_there(self) -> None:
        """As for Knoop: a publisher is killed while somebody takes what it has, where that is on the same machine."""
        await self.feeder.listened_to()
        if self.near_port is not None:
            port = self.near_port
            await until(lambda: connections(port) > 0, lambda: "the publisher is not connected", THERE_S)


def connections(port: int) -> int:
    """How many established connections a port of this machine serves (proc(5), net/tcp: state 01)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@asynccontextmanager
async def rig(folder: Path, setup: Setup) -> AsyncIterator[MqttRig]:
    """Set up, with the publisher connected and the judge subscribed."""
    for program, package in {"mosquitto": "mosquitto", "setpriv": "util-linux"}.items():
        if shutil.which(program, path=PATH) is None:
            raise ServerFailed(f"{program} is not installed: run `bench/debian-packages {package}`")
    empty(folder)
    port, near_port = free_ports(2)
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Proxy(port))
        feeder = await stack.enter_async_context(Feeder(EVENTS, slow=[BELL]))
        server = _broker(folder / "broker", port, setup.broker)
        near: Peer = Nobody()
        if setup.near is not None:
            near = _broker(folder / "near", near_port, setup.near, wire.port)
        publisher = Program(
            (sys.executable, mqtt_publisher.__file__, setup.publisher, str(near_port if setup.near else wire.port),
             *(f"{device.name}={device.path}" for device in feeder.devices)),
            folder / "publisher.log", feeder.forget,
        )  # fmt: skip
        for peer in (server, near, publisher):
            stack.push_async_callback(peer.kill)
            await peer.start()
        judge = await stack.enter_async_context(Judge(port, setup.again_s))
        made = MqttRig(
            wire=wire, peers={"server": server, "hw": publisher, "agent": near}, feeder=feeder, judge=judge,
            person=judge, halves={}, near_port=near_port if setup.near else None,
        )  # fmt: skip
        async with asyncio.timeout(60):
            await feeder.listened_to()
            await until(lambda: judge.subscribed and wire.connections, lambda: "no connection", 60)
        yield made


def _broker(folder: Path, port: int, configuration: str, far_port: int = 0) -> Program:
    """Debian's mosquitto at `port`; `far_port` is where a bridge leads to."""
    folder.mkdir()
    file = folder / "mosquitto.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    file.write_text(configuration.format(folder=folder, user=user, host=LOOPBACK, port=far_port), "utf-8")
    program = shutil.which("mosquitto", path=PATH)
    assert program is not None, "looked for above"
    return Program((program, "-c", str(file), "-p", str(port)), folder / "console.txt")
