"""What is said with one agent at a time: what there is, what was read, what is wished for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from knoop_hw.clock import Clock
from knoop_hw.errors import SetRefused
from knoop_hw.life import end
from knoop_hw.link import Link, LinkClosed, NotTheProtocol
from knoop_hw.messages import LATE_NS, Beat, Done, Failed, Hello, Leaving, Message, Readings, Set, SetError, Stored
from knoop_hw.model import Reading
from knoop_hw.pipes import Pipes

log = logging.getLogger(__name__)

BATCH = 100  # readings in one message: about 12 kB, far below a line's 64 KiB
BATCH_TEXT = 32 * 1024  # characters of text values in one message
SAID_NS = 60_000_000_000


class Asked(Protocol):
    """Who does what an agent asks for."""

    def hello(self) -> Hello:
        """What there is."""
        ...

    def beat(self) -> None:
        """The agent lives."""
        ...

    def slow(self, name: str) -> bool:
        """Whether setting this may take time."""
        ...

    async def set(self, wish: Set) -> Reading:
        """Move an output; what it then shows. Raises SetRefused."""
        ...


class Talk:
    """The Board protocol's end at the devices. With `steady` held, who comes in waits."""

    def __init__(self, board: Asked, pipes: Pipes, *, clock: Clock) -> None:
        self._board, self._pipes, self._clock = board, pipes, clock
        self.steady = asyncio.Lock()
        self.link: Link | None = None
        self._forgot = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()
        self._said = ("", 0)

    async def serve(self, link: Link) -> None:
        """Speak the Board protocol on `link` until it closes; a new call hangs up the former one.

        The agent first gets the hello, then the last reading of every channel that it has stored already (it
        knows them by their identity), then everything not yet stored.
        """
        former, self.link = self.link, link
        if former is not None:
            await former.close()
        async with self.steady:
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
            if self.link is link:
                self.link = None
                self._forgot.set()
            await end([sending])
            await link.close()

    async def hang_up(self) -> None:
        """Whoever it is hears no more."""
        link, self.link = self.link, None
        if link is not None:
            await link.close()

    async def close(self) -> None:
        """Hang up, and answer nobody any more."""
        await self.hang_up()
        await end(self._answering)

    async def drained(self) -> None:
        """Return when the agent has everything that was told, or is gone; it is told to make haste."""
        if len(self._pipes.kept) and self.link is not None:
            with suppress(LinkClosed):
                await self.link.send(Leaving())
        while len(self._pipes.kept) and self.link is not None:
            self._forgot.clear()
            await self._forgot.wait()

    def _say(self, nonsense: str) -> None:
        """One line; who says the same again and again gets no more than one a minute."""
        now_ns = self._clock.boottime_ns()
        if nonsense != self._said[0] or now_ns - self._said[1] > SAID_NS:
            log.error("%s", nonsense)
            self._said = (nonsense, now_ns)

    async def _send(self, link: Link) -> None:
        pipes = self._pipes
        try:
            await link.send(self._board.hello())
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
                self._board.beat()
            case Set() if self._board.slow(message.channel):  # beats and other wishes go on meanwhile
                task = asyncio.create_task(self._answer(message, link))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            case Set():
                await link.send(await self._set(message))
            case _:
                log.error("the agent sent a %s, which only the board sends", type(message).__name__.lower())

    async def _answer(self, wish: Set, link: Link) -> None:
        answer = await self._set(wish)
        with suppress(LinkClosed):  # it was done all the same, and the next agent hears the reading
            await link.send(answer)

    def _stored(self, upto: int) -> None:
        try:
            self._pipes.kept.forget(upto)
        except ValueError as error:
            log.error("the agent %s", error)
        self._forgot.set()

    def _in_time(self, wish: Set) -> None:
        age_ns = self._clock.boottime_ns() - wish.asked_ns
        if abs(age_ns) > LATE_NS:  # a moment to come would be fresh for ever
            text = f"{wish.channel}: asked too long ago ({age_ns / 1e9:.1f} s); ask again"
            raise SetRefused("device", text)

    async def _set(self, wish: Set) -> Done | Failed:
        try:
            self._in_time(wish)
            reading = await self._board.set(wish)
        except SetRefused as refused:
            reason: SetError = refused.reason  # type: ignore[assignment]  # one of the protocol's words
            log.info("%s wanted %s = %s: %s", wish.by, wish.channel, wish.value, refused)
            return Failed(id=wish.id, error=reason, text=str(refused))
        return Done(id=wish.id, reading=reading)


def _fitting(batch: list[tuple[int, Reading]]) -> list[tuple[int, Reading]]:
    """The readings from the front that fit one line of the protocol; at least one."""
    text = 0
    for index, (_, reading) in enumerate(batch):
        text += len(reading.value) if isinstance(reading.value, str) else 0
        if text > BATCH_TEXT and index:
            return batch[:index]
    return batch
