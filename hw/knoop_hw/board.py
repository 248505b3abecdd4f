"""All that is open: lines and sensors on one side, one agent on the other, readings numbered between them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from knoop_hw import __version__, device
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, NotAsBefore
from knoop_hw.inputs import Inputs
from knoop_hw.kept import LIMIT
from knoop_hw.left import Left
from knoop_hw.life import end
from knoop_hw.link import Link
from knoop_hw.messages import LATE_NS, Hello, Set
from knoop_hw.model import Channel, Reading
from knoop_hw.outputs import Outputs, to_safe
from knoop_hw.pinfactory import pin_factory
from knoop_hw.pipes import Pipes
from knoop_hw.preflight import look, preflight
from knoop_hw.remote import Remotes
from knoop_hw.restore import Memory
from knoop_hw.runs import new_run
from knoop_hw.sensing import sense
from knoop_hw.tables import Config, Sensor
from knoop_hw.talk import Talk

if TYPE_CHECKING:
    from knoop_hw.simulated import Simulated

log = logging.getLogger(__name__)


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
        self.remotes = Remotes(clock=clock, report=self._pipes.put)
        self.inputs = Inputs(clock=clock, report=self._pipes.put, state=state)
        self._sensing: dict[str, tuple[Sensor, asyncio.Task[None]]] = {}
        self._factory: Any = None
        self._stack = AsyncExitStack()
        self._talk = Talk(self, self._pipes, clock=clock)
        self._leaving: asyncio.Task[None] | None = None

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
            stack.push_async_callback(self.remotes.close)
            stack.callback(self.inputs.close)
            self._open_lines(self._config)
            if self.simulated is not None:
                self.simulated.start()
            self._start_sensing(self._config)
            stack.push_async_callback(self._talk.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the outputs to their safe levels, then hang up, stop the sensors and close everything."""
        self.release()
        await self.released()
        await self._stack.aclose()

    def release(self) -> None:
        """Take the outputs to their safe levels and let go of them, before anything that may have to wait.

        Those of the board's own lines at once; those in devices from now on, which `released` waits for.
        """
        if self._outputs is not None:
            self._outputs.close()
        if self._leaving is None:
            self._leaving = asyncio.create_task(self.remotes.close())

    async def released(self) -> None:
        """Return when the outputs in devices are safe, or 2 s after `release`."""
        if self._leaving is not None:
            await self._leaving

    async def to_safe(self) -> list[DeviceError]:
        """Take the outputs to their safe levels without opening the board, after a process that could not do it itself.

        The board's own lines first. Returns what failed.
        """
        config, failed = self._config, []
        try:
            if config.outputs:
                self._need_factory(config)
                failed += to_safe(config.outputs, factory=self._factory)
        except DeviceError as error:  # no way to any line
            failed.append(error)
        finally:
            self._close_factory()
        return [*failed, *await device.to_safe(config.sensors, config.remotes, clock=self._clock)]

    async def drain(self) -> None:
        """Listen to no line and sensor any more; return when the agent has everything that was told, or is gone."""
        self.inputs.close()
        await self._end_sensing(self._sensing)
        await self._talk.drained()

    async def reload(self, config: Config) -> None:
        """Become what `config` says. Hangs up before: a new `serve` says what there is then.

        Only what its own table changed is closed and opened: an output that goes or changes gets its safe level, and
        one that comes or changes its initial one. Raises DeviceError when a line does not open: then everything is
        as before, but an output that was closed for it is where a start leaves it. Raises NotAsBefore when even that
        failed.
        """
        former = self._config
        same = (config.board.driver, config.board.chip) == (former.board.driver, former.board.chip)
        if not same or config.world != former.world:
            raise DeviceError("board: another driver, chip or scenario takes a new start; stop Knoop, start it again")
        async with self._talk.steady:
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
        """Close what is not in `config`, open what is not open yet. Raises DeviceError half-way.

        What takes its time comes first, while the agent is still heard: a dead man must not let go because of us.
        """
        self._try_new_lines(config)
        self._need_factory(config)
        sensors = {sensor.name: sensor.device for sensor in config.sensors}
        gone = [name for name, (sensor, _) in self._sensing.items() if sensors.get(name) != sensor.device]
        written = self.remotes.staying(config.remotes, gone=gone)
        await self.remotes.release(self.remotes.names - written)
        await self._talk.hang_up()
        staying = self.outputs.staying(config.outputs)
        self.outputs.release({line.name for line in self._config.outputs} - staying)
        self.inputs.release(self.inputs.names - self.inputs.staying(config.inputs))
        await self._end_sensing(gone)
        self._config = config
        if self.simulated is not None:
            self.simulated.follow(config)
        self._pipes.follow(config)
        self.outputs.renew(line for line in config.outputs if line.name in staying)
        self.remotes.renew(remote for remote in config.remotes if remote.name in written)
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
        """Start the sensors that are not, and write to those that have outputs."""
        self.remotes.open(remote for remote in config.remotes if remote.name not in self.remotes.names)
        for sensor in config.sensors:
            if sensor.name not in self._sensing:
                opened = partial(self.remotes.opened, sensor.name)
                work = sense(sensor, clock=self._clock, report=self._pipes.put, on_open=opened)
                self._sensing[sensor.name] = (sensor, asyncio.create_task(work, name=sensor.name))

    async def _end_sensing(self, names: Iterable[str]) -> None:
        await end([self._sensing.pop(name)[1] for name in list(names)])

    async def serve(self, link: Link) -> None:
        """Speak the Board protocol on `link` until it closes; a new call hangs up the former one."""
        await self._talk.serve(link)

    def hello(self) -> Hello:
        """What a newly connected agent hears first."""
        text = json.dumps([asdict(channel) for channel in self.channels], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Hello(
            version=__version__, run=self.run, boot=self._clock.boot_id, digest=digest, channels=self.channels
        )  # fmt: skip

    def beat(self) -> None:
        """The agent lives."""
        self.outputs.beat()
        self.remotes.beat()

    def slow(self, name: str) -> bool:
        """Whether setting this takes the time that its device takes."""
        return name in self.remotes.names

    async def set(self, wish: Set) -> Reading:
        """Move an output; the reading is what it then shows. Raises SetRefused."""
        for_s = None if wish.for_ms is None else wish.for_ms / 1000
        if self.slow(wish.channel):
            await self.remotes.set(wish.channel, wish.value, for_s=for_s, until_ns=wish.asked_ns + LATE_NS)
        else:
            self.outputs.set(wish.channel, wish.value, for_s=for_s)
        return self._pipes.latest[wish.channel]

    def moved_by_a_restart(self) -> list[str]:
        """The outputs that closing and opening again would move, or whose lease it would forget: an upgrade waits."""
        return [*self.outputs.moved_by_a_restart(), *self.remotes.moved_by_a_restart()]
