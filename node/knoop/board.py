"""The agent's end of the Board protocol: readings come, requests go, and the beat says that we live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from knoop.jid import Jid
from knoop.record import Record
from knoop.router import Router, to_record, wall_ns
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.link import Link, LinkClosed
from knoop_hw.messages import Beat, Done, Failed, Hello, Readings, Set, Stored
from knoop_hw.model import Channel

log = logging.getLogger(__name__)

BEAT_S = 0.5
SET_TIMEOUT_S = 5.0  # a line moves in microseconds; longer means that the other half hangs


class BoardClient:
    """One connection to a board. `connected` first, then `listen` and `beat` for as long as it lives."""

    def __init__(self, link: Link, *, clock: Clock) -> None:
        self.channels: Mapping[str, Channel] = {}
        self.hello: Hello | None = None
        self._link = link
        self._clock = clock
        self._asked: dict[int, asyncio.Future[Done | Failed]] = {}
        self._id = 0
        self._stored = 0
        self._answer = asyncio.Event()

    async def connected(self, router: Router) -> None:
        """Wait for the board's hello. Raises DeviceError when it says something else first."""
        first = await self._link.receive()
        if not isinstance(first, Hello):
            raise DeviceError("the board does not begin with a hello; are both halves of one version?")
        self.hello = first
        self.channels = {channel.name: channel for channel in first.channels}
        router.hello(first)

    async def listen(self, router: Router) -> None:
        """Take what the board says. Raises DeviceError when it hangs up."""
        answering = asyncio.create_task(self._answer_stored())
        try:
            while True:
                message = await self._link.receive()
                match message:
                    case Readings():
                        router.take(message)
                    case Done() | Failed():
                        asked = self._asked.pop(message.id, None)
                        if asked and not asked.done():
                            asked.set_result(message)
                    case _:
                        log.error("the board sent a %s, which only we send", type(message).__name__.lower())
        except LinkClosed:
            raise DeviceError("the hardware half hung up") from None
        finally:
            answering.cancel()

    async def beat(self) -> None:
        """Say every BEAT_S that the agent lives: outputs with a dead man depend on it."""
        while True:
            await self._link.send(Beat())
            await self._clock.sleep(BEAT_S)

    def stored(self, upto: int) -> None:
        """Everything up to `upto` is safe: the board may forget it."""
        self._stored = upto
        self._answer.set()

    async def set(self, channel: str, value: bool | float, *, for_s: float | None, by: Jid) -> Record:
        """Move an output; the record is the level read back. Raises SetRefused."""
        hello = self.hello
        if hello is None or channel not in self.channels:
            raise SetRefused("unknown", f"{channel}: no such channel")
        self._id = number = self._id + 1
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        for_ms = None if for_s is None else max(1, round(for_s * 1000))
        try:
            await self._link.send(Set(id=number, channel=channel, value=value, for_ms=for_ms, by=str(by.bare)))
            async with asyncio.timeout(SET_TIMEOUT_S):
                answer = await asked
        except (TimeoutError, LinkClosed):
            raise SetRefused("device", f"{channel}: the hardware half does not answer") from None
        finally:
            self._asked.pop(number, None)
        if isinstance(answer, Failed):
            raise SetRefused(answer.error, answer.text)
        at_ns = wall_ns(answer.reading.boottime_ns, self._clock, synced=True)
        return to_record(answer.reading, self.channels[channel], hello, at_ns=at_ns)

    async def _answer_stored(self) -> None:
        while True:
            await self._answer.wait()
            self._answer.clear()
            await self._link.send(Stored(upto=self._stored))
