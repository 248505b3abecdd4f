"""All that is open: lines and sensors on one side, one agent on the other, readings numbered between them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from knoop_hw import __version__
from knoop_hw.clock import Clock
from knoop_hw.errors import SetRefused
from knoop_hw.filters import Filter, Options
from knoop_hw.kept import LIMIT, Kept
from knoop_hw.lines import InputLine
from knoop_hw.link import Link, LinkClosed
from knoop_hw.messages import Beat, Done, Failed, Hello, Message, Readings, Set, SetError, Stored
from knoop_hw.model import Channel, Quality, Reading, Value
from knoop_hw.outputs import Outputs
from knoop_hw.pinfactory import lgpio_factory
from knoop_hw.restore import Memory
from knoop_hw.sensing import sense
from knoop_hw.tables import Config
from knoop_hw.timer import Timer

if TYPE_CHECKING:
    from knoop_hw.simulated import Simulated

log = logging.getLogger(__name__)

BATCH = 100  # readings in one message: about 12 kB, far below a line's 64 KiB
BATCH_TEXT = 32 * 1024  # characters of text values in one message


def new_run() -> str:
    """8 random base32 characters: which start of the hardware half a reading belongs to."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(8))


class Board:
    """An open board: `async with Board(config, clock=clock) as board: await board.serve(link)`.

    Entering raises DeviceError when a line does not open, after closing those that did. A sensor that does
    not open is tried again in the background. Leaving takes the outputs to their safe levels.
    """

    def __init__(
        self, config: Config, *, clock: Clock, run: str | None = None, state: Path | None = None, keep: int = LIMIT
    ) -> None:
        """`state`: the folder that `initial = "restore"` needs. `keep`: readings held until they are stored."""
        self.run = new_run() if run is None else run
        self.simulated: Simulated | None = None
        self._config, self._clock, self._memory = config, clock, Memory(state)
        self._pipes = _Pipes(config, clock=clock, keep=keep)
        self._outputs: Outputs | None = None
        self._stack = AsyncExitStack()
        self._serving: Link | None = None

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
            self._open_lines(self._factory(stack), stack)
            if self.simulated is not None:
                self.simulated.start()
            sensing = [
                asyncio.create_task(sense(sensor, clock=self._clock, report=self._pipes.put), name=sensor.name)
                for sensor in self._config.sensors
            ]
            stack.push_async_callback(_cancel, sensing)
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

    def _factory(self, stack: AsyncExitStack) -> Any:
        if self._config.board.driver == "simulated":
            from knoop_hw.simulated import Simulated  # noqa: PLC0415 -- gpiozero only where it is used

            self.simulated = Simulated(self._config, clock=self._clock)
            stack.callback(self.simulated.close)
            return self.simulated.factory
        if not self._config.inputs and not self._config.outputs:
            return None  # sensors only: no GPIO chip is needed
        factory = lgpio_factory()
        stack.callback(factory.close)
        return factory

    def _open_lines(self, factory: Any, stack: AsyncExitStack) -> None:
        pipes = self._pipes
        self._outputs = Outputs(
            self._config.outputs, factory=factory, clock=self._clock, report=pipes.put, memory=self._memory
        )
        stack.callback(self._outputs.close)
        for line in self._config.inputs:
            opened = InputLine(line, factory=factory, clock=self._clock, report=partial(pipes.put_line, line.name))
            stack.callback(opened.close)

    async def serve(self, link: Link) -> None:
        """Speak the Board protocol on `link` until it closes; a new call hangs up the former one.

        The agent first gets the hello, then the last reading of every channel that it has stored already (it
        knows them by their identity), then everything not yet stored.
        """
        await self._hang_up()
        self._serving = link
        sending = asyncio.create_task(self._send(link))
        try:
            while True:
                await self._handle(await link.receive(), link)
        except LinkClosed:
            pass
        finally:
            if self._serving is link:
                self._serving = None
            await _cancel([sending])
            await link.close()

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

    def _set(self, message: Set) -> Done | Failed:
        for_s = None if message.for_ms is None else message.for_ms / 1000
        try:
            self.outputs.set(message.channel, message.value, for_s=for_s)
        except SetRefused as refused:
            reason: SetError = refused.reason  # type: ignore[assignment]  # one of the protocol's words
            log.info("%s wanted %s = %s: %s", message.by, message.channel, message.value, refused)
            return Failed(id=message.id, error=reason, text=str(refused))
        return Done(id=message.id, reading=self._pipes.latest[message.channel])


class _Pipes:
    """From samples to kept readings:

    Each channel's filter, its sequence number, and who waits for new ones.
    """

    def __init__(self, config: Config, *, clock: Clock, keep: int) -> None:
        self._clock = clock
        self.channels = config.channels()
        self.kept = Kept(limit=keep)
        self.latest: dict[str, Reading] = {}
        self._by_name = {channel.name: channel for channel in self.channels}
        self._arrived = asyncio.Event()
        options: dict[str, Options] = {line.name: line for line in config.inputs}
        options |= {line.name: line for line in config.outputs}
        options |= {item.channel.name: item.options for sensor in config.sensors for item in sensor.fields}
        self._filters = {
            name: Filter(options[name], minimum=channel.minimum, maximum=channel.maximum)
            for name, channel in self._by_name.items()
        }
        self._timers = {name: Timer(partial(self._elapse, name), clock=clock) for name in self._by_name}

    def put(self, name: str, value: Value, quality: Quality, at_ns: int) -> None:
        """One sample of a channel; what passes its filter becomes a reading."""
        self._number(name, self._filters[name].feed(value, quality, at_ns))

    def put_line(self, name: str, value: Value, at_ns: int) -> None:
        """What an input says: always ok, or it would not be open."""
        self.put(name, value, "ok", at_ns)

    def _elapse(self, name: str) -> None:
        self._number(name, self._filters[name].elapse(self._clock.boottime_ns()))

    def _number(self, name: str, passed: tuple[Value, Quality, int] | None) -> None:
        if passed is not None:
            value, quality, at_ns = passed
            seq = self.latest[name].seq + 1 if name in self.latest else 1
            reading = Reading(channel=name, seq=seq, value=value, quality=quality, boottime_ns=at_ns)
            self.latest[name] = reading
            self.kept.add(reading, self._by_name[name].cls)
            self._arrived.set()
        self._timers[name].at(self._filters[name].due_ns)

    async def wait_beyond(self, number: int) -> None:
        """Return when there is a reading with a greater number."""
        while self.kept.newest <= number:
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.close()


def _fitting(batch: list[tuple[int, Reading]]) -> list[tuple[int, Reading]]:
    """The readings from the front that fit one line of the protocol; at least one."""
    text = 0
    for index, (_, reading) in enumerate(batch):
        text += len(reading.value) if isinstance(reading.value, str) else 0
        if text > BATCH_TEXT and index:
            return batch[:index]
    return batch


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
