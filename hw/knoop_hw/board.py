"""All that is open: lines and sensors on one side, one agent on the other, readings numbered between them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from knoop_hw import __version__
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, NotAsBefore, SetRefused
from knoop_hw.inputs import Inputs
from knoop_hw.kept import LIMIT
from knoop_hw.left import Left
from knoop_hw.life import end
from knoop_hw.link import Link, LinkClosed, NotTheProtocol
from knoop_hw.messages import LATE_NS, Beat, Done, Failed, Hello, Message, Readings, Set, SetError, Stored
from knoop_hw.model import Channel, Reading
from knoop_hw.outputs import Outputs, to_safe
from knoop_hw.pinfactory import pin_factory
from knoop_hw.pipes import Pipes
from knoop_hw.preflight import look, preflight
from knoop_hw.restore import Memory
from knoop_hw.runs import new_run
from knoop_hw.sensing import sense
from knoop_hw.tables import Config, Sensor

if TYPE_CHECKING:
    from knoop_hw.simulated import Simulated

log = logging.getLogger(__name__)

BATCH = 100  # readings in one message: about 12 kB, far below a line's 64 KiB
SAID_NS = 60_000_000_000
BATCH_TEXT = 32 * 1024  # characters of text values in one message


class Board:
    """An open board: `async with Board(config, clock=clock) as board: await board.serve(link)`.

    Entering raises DeviceError when a line does not open, after closing those that did. A sensor that does
    not open is tried again in the background. Leaving takes the outputs to their safe levels.
    """

    def __init__(
        self, config: Config, *, clock: Clock, run: str | None = None, state: Path | None = None, keep: int = LIMIT
    ) -> None:
        """`state`: the folder that `initial = "restore"` and `--safe` need. `keep`: readings held until stored."""
        self.run = new_run() if run is None else run
        self.simulated: Simulated | None = None
        self._config, self._clock, self._memory = config, clock, Memory(state)
        self._left = None if state is None else Left(state, boot_id=clock.boot_id)
        self._pipes = Pipes(config, clock=clock, keep=keep)
        self._outputs: Outputs | None = None
        self.inputs = Inputs(clock=clock, report=self._pipes.put, state=state)
        self._sensing: dict[str, tuple[Sensor, asyncio.Task[None]]] = {}
        self._factory: Any = None
        self._stack = AsyncExitStack()
        self._serving: Link | None = None
        self._forgot = asyncio.Event()
        self._steady = asyncio.Lock()
        self._said = ("", 0)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel of the configuration, whether its device answers or not."""
        return self._pipes.channels

    @property
    def dropped(self) -> dict[str, int]:
        """Readings forgotten because the agent did not store them in time, by class."""
        return {str(cls): count for cls, count in self._pipes.kept.dropped.items()}

    @property
    def latest(self) -> dict[str, Reading]:
        """The last reading of each channel that has one."""
        return dict(self._pipes.latest)

    @property
    def outputs(self) -> Outputs:
        """The open outputs; a board without lines has none. Only while the board is open."""
        if self._outputs is None:
            raise RuntimeError("the board is not open")
        return self._outputs

    async def __aenter__(self) -> Self:
        """Open every line, then start the sensors."""
        async with AsyncExitStack() as stack:
            stack.callback(self._pipes.close)
            stack.callback(self._close_factory)
            self._try_new_lines(self._config)
            self._need_factory(self._config)
            pipes = self._pipes
            self._outputs = Outputs((), factory=None, clock=self._clock, report=pipes.put, memory=self._memory)
            stack.callback(self._outputs.close)
            stack.push_async_callback(self._end_sensing, self._sensing)
            stack.callback(self.inputs.close)
            self._open_lines(self._config)
            if self.simulated is not None:
                self.simulated.start()
            self._start_sensing(self._config)
            stack.push_async_callback(self._hang_up)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the outputs to their safe levels, then hang up, stop the sensors and close everything."""
        self.release()
        await self._stack.aclose()

    def release(self) -> None:
        """Take the outputs to their safe levels and let go of them, before anything that may have to wait."""
        if self._outputs is not None:
            self._outputs.close()

    def to_safe(self) -> list[DeviceError]:
        """Take the outputs to their safe levels without opening the board, after a process that could not do it itself.

        Returns what failed. Raises DeviceError when there is no way to any line.
        """
        self._need_factory(self._config)
        try:
            return to_safe(self._config.outputs, factory=self._factory)
        finally:
            self._close_factory()

    async def drain(self) -> None:
        """Listen to no line and sensor any more; return when the agent has everything that was told, or is gone."""
        self.inputs.close()
        await self._end_sensing(self._sensing)
        while len(self._pipes.kept) and self._serving is not None:
            self._forgot.clear()
            await self._forgot.wait()

    async def reload(self, config: Config) -> None:
        """Become what `config` says. Hangs up first: a new `serve` says what there is then.

        Only what its own table changed is closed and opened: an output that goes or changes gets its safe level, and
        one that comes or changes its initial one. Raises DeviceError when a line does not open: then everything is
        as before, but an output that was closed for it is where a start leaves it. Raises NotAsBefore when even that
        failed.
        """
        former = self._config
        same = (config.board.driver, config.board.chip) == (former.board.driver, former.board.chip)
        if not same or config.world != former.world:
            raise DeviceError("board: another driver, chip or scenario takes a new start; stop Knoop, start it again")
        async with self._steady:
            await self._hang_up()
            try:
                await self._become(config.within(former.world))
            except DeviceError as error:
                try:
                    await self._become(former)
                except DeviceError as again:
                    raise NotAsBefore(f"{error}; and going back: {again}") from None
                raise
            self._pipes.settle()

    async def _become(self, config: Config) -> None:
        """Close what is not in `config`, open what is not open yet. Raises DeviceError half-way."""
        self._try_new_lines(config)
        self._need_factory(config)
        staying = self.outputs.staying(config.outputs)
        self.outputs.release({line.name for line in self._config.outputs} - staying)
        self.inputs.release(self.inputs.names - self.inputs.staying(config.inputs))
        sensors = {sensor.name: sensor.device for sensor in config.sensors}
        gone = [name for name, (sensor, _) in self._sensing.items() if sensors.get(name) != sensor.device]
        await self._end_sensing(gone)
        self._config = config
        if self.simulated is not None:
            self.simulated.follow(config)
        self._pipes.follow(config)
        self.outputs.renew(line for line in config.outputs if line.name in staying)
        self._open_lines(config)
        self._start_sensing(config)

    def _try_new_lines(self, config: Config) -> None:
        """What another program or the board itself has is found out before anything moves."""
        if config.board.driver == "simulated":  # it has no other programs
            return
        held = {line.pin for line in self._config.outputs} | {line.pin for line in self._config.inputs}
        if config.inputs or config.outputs:
            preflight(config, look(config.board.chip), held=held if self._factory else ())

    def _need_factory(self, config: Config) -> None:
        if self._factory is not None:
            return
        if config.board.driver == "simulated":
            from knoop_hw.simulated import Simulated  # noqa: PLC0415 -- gpiozero only where it is used

            self.simulated = Simulated(config, clock=self._clock)
            self._factory = self.simulated.factory
        elif config.inputs or config.outputs:  # for sensors only no GPIO chip is needed
            self._factory = pin_factory(config.board, clock=self._clock)

    def _close_factory(self) -> None:
        if self.simulated is not None:
            self.simulated.close()
        elif self._factory is not None:
            self._factory.close()

    def _open_lines(self, config: Config) -> None:
        """Open the lines that are not; noted first, because a kill may come at any moment."""
        if self._left is not None:
            self._left.note(config)
        outputs = self.outputs
        outputs.open((line for line in config.outputs if line.name not in outputs.names), factory=self._factory)
        self.inputs.open(config.inputs, factory=self._factory)

    def _start_sensing(self, config: Config) -> None:
        """Start the sensors that are not."""
        for sensor in config.sensors:
            if sensor.name not in self._sensing:
                work = sense(sensor, clock=self._clock, report=self._pipes.put)
                self._sensing[sensor.name] = (sensor, asyncio.create_task(work, name=sensor.name))

    async def _end_sensing(self, names: Iterable[str]) -> None:
        await end([self._sensing.pop(name)[1] for name in list(names)])

    async def serve(self, link: Link) -> None:
        """Speak the Board protocol on `link` until it closes; a new call hangs up the former one.

        The agent first gets the hello, then the last reading of every channel that it has stored already (it
        knows them by their identity), then everything not yet stored.
        """
        former, self._serving = self._serving, link
        if former is not None:
            await former.close()
        async with self._steady:
            pass  # who comes in amid a reload hears what there is after it
        sending = asyncio.create_task(self._send(link))
        try:
            while True:
                await self._handle(await link.receive(), link)
        except NotTheProtocol as error:
            self._say(str(error))
        except LinkClosed:
            pass
        finally:
            if self._serving is link:
                self._serving = None
                self._forgot.set()
            await end([sending])
            await link.close()

    def _say(self, nonsense: str) -> None:
        """One line; who says the same again and again gets no more than one a minute."""
        now_ns = self._clock.boottime_ns()
        if nonsense != self._said[0] or now_ns - self._said[1] > SAID_NS:
            log.error("%s", nonsense)
            self._said = (nonsense, now_ns)

    async def _hang_up(self) -> None:
        link, self._serving = self._serving, None
        if link is not None:
            await link.close()

    def hello(self) -> Hello:
        """What a newly connected agent hears first."""
        text = json.dumps([asdict(channel) for channel in self.channels], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Hello(
            version=__version__, run=self.run, boot=self._clock.boot_id, digest=digest, channels=self.channels
        )  # fmt: skip

    async def _send(self, link: Link) -> None:
        pipes = self._pipes
        try:
            await link.send(self.hello())
            sent = pipes.kept.stored
            waiting = {reading.channel for _, reading in pipes.kept.after(sent, limit=pipes.kept.newest)}
            known = [reading for name, reading in pipes.latest.items() if name not in waiting]
            for start in range(0, len(known), BATCH):
                await link.send(Readings(upto=sent, items=tuple(known[start : start + BATCH])))
            while True:
                batch = _fitting(pipes.kept.after(sent, limit=BATCH))
                if batch:
                    sent = batch[-1][0]
                    await link.send(Readings(upto=sent, items=tuple(reading for _, reading in batch)))
                else:
                    sent = pipes.kept.newest  # what lies between was forgotten
                    await pipes.wait_beyond(sent)
        except LinkClosed:
            pass
        except ValueError:
            log.exception("a message does not fit the protocol; hanging up")
            await link.close()

    async def _handle(self, message: Message, link: Link) -> None:
        match message:
            case Stored():
                self._stored(message.upto)
            case Beat():
                self.outputs.beat()
            case Set():
                await link.send(self._set(message))
            case _:
                log.error("the agent sent a %s, which only the board sends", type(message).__name__.lower())

    def _stored(self, upto: int) -> None:
        try:
            self._pipes.kept.forget(upto)
        except ValueError as error:
            log.error("the agent %s", error)
        self._forgot.set()

    def _in_time(self, message: Set) -> None:
        age_ns = self._clock.boottime_ns() - message.asked_ns
        if abs(age_ns) > LATE_NS:  # a moment to come would be fresh for ever
            text = f"{message.channel}: asked too long ago ({age_ns / 1e9:.1f} s); ask again"
            raise SetRefused("device", text)

    def _set(self, message: Set) -> Done | Failed:
        for_s = None if message.for_ms is None else message.for_ms / 1000
        try:
            self._in_time(message)
            self.outputs.set(message.channel, message.value, for_s=for_s)
        except SetRefused as refused:
            reason: SetError = refused.reason  # type: ignore[assignment]  # one of the protocol's words
            log.info("%s wanted %s = %s: %s", message.by, message.channel, message.value, refused)
            return Failed(id=message.id, error=reason, text=str(refused))
        return Done(id=message.id, reading=self._pipes.latest[message.channel])


def _fitting(batch: list[tuple[int, Reading]]) -> list[tuple[int, Reading]]:
    """The readings from the front that fit one line of the protocol; at least one."""
    text = 0
    for index, (_, reading) in enumerate(batch):
        text += len(reading.value) if isinstance(reading.value, str) else 0
        if text > BATCH_TEXT and index:
            return batch[:index]
    return batch
