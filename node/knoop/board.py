"""The agent's end of the Board protocol: readings come, requests go, and the beat says that we live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from knoop.command import N_, Sentence, Span
from knoop.jid import Jid
from knoop.record import Record
from knoop.router import Router, to_record, wall_ns
from knoop.together import first
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.link import Link, LinkClosed
from knoop_hw.messages import LATE_NS, Beat, Done, Failed, Hello, Leaving, Message, Readings, Set, Stored
from knoop_hw.model import Channel
from knoop_hw.notify import notify

log = logging.getLogger(__name__)

BEAT_S = 0.5
# A line moves in microseconds; longer means that the other half hangs. It refuses what is older than LATE_NS, so when
# we give up nothing happens any more.
SET_TIMEOUT_S = LATE_NS / 1e9 + 0.5
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)  # between attempts to reach a half that is away; the last one again and again
SILENT_S = 10.0  # a half that systemd starts for our call takes some seconds on a slow board
SHORT_NS = 10_000_000_000  # a connection that ends sooner is like none: perhaps two agents hang up on each other

TOLD_S = 60.0  # a restart takes a second, an update some; from here on its owners should know that nobody watches

Dial = Callable[[], Awaitable[Link]]
"""A new connection to the board. Raises OSError while there is none, DeviceError when there will never be one."""


class BoardClient:
    """What one agent has of a board. `connected` first, then `listen` and `beat` for as long as it lives.

    A board that goes is waited for. `renewed` is set when it comes back with other channels: they are for another
    agent, which gets this one's `hello` as `known` and so need not wait. `apart`: it is a process of its own.
    """

    def __init__(self, dial: Dial, *, clock: Clock, known: Hello | None = None, apart: bool = False) -> None:
        self.apart = apart
        self.channels: Mapping[str, Channel] = {}
        self.hello: Hello | None = None
        self.away_since_ns: int | None = clock.boottime_ns()
        self.renewed = asyncio.Event()
        self._dial, self._clock, self._known = dial, clock, known
        self._link: Link | None = None
        self._asked: dict[int, asyncio.Future[Done | Failed]] = {}
        self._id = 0
        self._stored = 0
        self._answer = asyncio.Event()
        self._said = ""
        self._attempts = self._there_since_ns = 0

    async def connected(self, router: Router) -> None:
        """Return with the board's hello, known or its first. Raises DeviceError when there will never be one."""
        if self._known is not None:
            self._greet(self._known, router)
        else:
            await self._reach(router)

    async def listen(self, router: Router) -> None:
        """Take what the board says, from one connection to the next. Raises DeviceError when it is gone for good."""
        while True:
            link = self._link or await self._reach(router)
            answering = asyncio.create_task(self._answer_stored(link))
            try:
                while True:
                    self._take(await link.receive(), router)
            except LinkClosed as error:
                self._gone(str(error))
            finally:
                answering.cancel()

    def _take(self, message: object, router: Router) -> None:
        match message:
            case Readings():
                router.take(message)
            case Leaving():
                router.hurry()
            case Done() | Failed():
                asked = self._asked.pop(message.id, None)
                if asked and not asked.done():
                    asked.set_result(message)
            case _:
                log.error("the board sent a %s, which does not belong there", type(message).__name__.lower())

    async def _reach(self, router: Router) -> Link:
        """A connection with a hello on it; one with other channels than before is for another agent."""
        link, hello = await self._dialled()
        if self.hello is not None and hello.digest != self.hello.digest:
            self.hello, self._link = hello, link  # the beat goes on
            self.renewed.set()
            await asyncio.get_running_loop().create_future()  # until another agent goes on
        self._greet(hello, router)
        self._link, self.away_since_ns, self._there_since_ns = link, None, self._clock.boottime_ns()
        if self._said:
            log.warning("the hardware half is there: run %s, %d channels", hello.run, len(hello.channels))
            notify("STATUS=both halves are up")
            self._said = ""
        return link

    async def _dialled(self) -> tuple[Link, Hello]:
        while True:
            if self._attempts:
                await self._clock.sleep(PAUSES_S[min(self._attempts, len(PAUSES_S)) - 1])
            self._attempts += 1
            try:
                link = await self._dial()
                hello = await self._first_word(link)
            except (LinkClosed, OSError) as error:
                if isinstance(error, DeviceError):
                    raise
                self._waits(str(error))
            else:
                if isinstance(hello, Hello):
                    return link, hello
                await link.close()
                self._waits("it does not begin with a hello; are both halves of one release?")

    async def _first_word(self, link: Link) -> Message:
        """What the board says first, however long that takes; a long silence is said."""
        receiving = asyncio.create_task(link.receive())
        try:
            await first(receiving, self._clock.sleep(SILENT_S))
            if not receiving.done():
                self._waits("it took the call and says nothing yet; does it hang?")
            return await receiving
        finally:
            receiving.cancel()

    def _greet(self, hello: Hello, router: Router) -> None:
        self._answer.clear()  # a number of the connection before means other readings here
        self.hello = hello
        self.channels = {channel.name: channel for channel in hello.channels}
        router.hello(hello)

    def _waits(self, why: str) -> None:
        """Say once why nobody is there, and again when the reason is another one."""
        if why != self._said:
            log.warning("waiting for the hardware half: %s", why)
            notify(f"STATUS=waiting for the hardware half: {why}")
            self._said = why

    def _gone(self, why: str) -> None:
        now_ns = self._clock.boottime_ns()
        if now_ns - self._there_since_ns > SHORT_NS:
            self._attempts = 0
        self._link, self.away_since_ns = None, now_ns
        self._waits(why)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(LinkClosed(why))

    async def beat(self) -> None:
        """Say every BEAT_S that the agent lives: outputs with a dead man depend on it."""
        while True:
            if (link := self._link) is not None:
                try:
                    await link.send(Beat())
                except LinkClosed:
                    log.debug("nobody hears the beat")  # `listen` has it, and what was written before
            await self._clock.sleep(BEAT_S)

    def stored(self, upto: int) -> None:
        """Everything up to `upto` is safe: the board may forget it."""
        self._stored = upto
        self._answer.set()

    async def set(self, channel: str, value: bool | float, *, for_s: float | None, by: Jid, asked_ns: int) -> Record:
        """Move an output; the record is the level read back. Raises SetRefused, at once while the board is away.

        `asked_ns` (boottime) is when a person's wish came: the other half carries nothing out that is LATE_NS old.
        """
        hello, link = self.hello, self._link
        if abs(self._clock.boottime_ns() - asked_ns) > LATE_NS:
            raise SetRefused("late", f"{channel}: asked too long ago")
        if link is None or self.away_since_ns is not None:
            raise SetRefused("away", f"{channel}: the hardware half is away")
        if hello is None or channel not in self.channels:
            raise SetRefused("unknown", f"{channel}: no such channel")
        self._id = number = self._id + 1
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        for_ms = None if for_s is None else max(1, round(for_s * 1000))
        wish = Set(id=number, channel=channel, value=value, for_ms=for_ms, by=str(by.bare), asked_ns=asked_ns)
        try:
            async with asyncio.timeout(SET_TIMEOUT_S):
                await link.send(wish)
                answer = await asked
        except TimeoutError:
            raise SetRefused("device", f"{channel}: the hardware half does not answer") from None
        except LinkClosed:
            raise SetRefused("unsure", f"{channel}: the hardware half went away before it answered") from None
        finally:
            self._asked.pop(number, None)
        if isinstance(answer, Failed):
            raise SetRefused(answer.error, answer.text)
        at_ns = wall_ns(answer.reading.boottime_ns, self._clock, synced=True)
        return to_record(answer.reading, self.channels[channel], hello, at_ns=at_ns)

    async def _answer_stored(self, link: Link) -> None:
        try:
            while True:
                await self._answer.wait()
                self._answer.clear()
                await link.send(Stored(upto=self._stored))
        except LinkClosed:
            log.debug("nobody hears what is stored")  # they come again, and are known by their identity


class Absence:
    """What people hear of a hardware half that is away for long: once that it is, and once that it is back."""

    def __init__(self) -> None:
        self._told = False

    def news(self, away_s: float | None) -> Sentence | None:
        """What is to be said now, if it has been away for so long; None: it is there."""
        if away_s is None and self._told:
            self._told = False
            return Sentence(N_("The hardware half is back."))
        if away_s is not None and away_s >= TOLD_S and not self._told:
            self._told = True
            text = N_("The hardware half has been away for {time}: nothing is measured, and no alarm can be raised.")
            return Sentence(text, {"time": Span(round(away_s))})
        return None


def once(link: Link) -> Dial:
    """The way to a board that has just this connection: one in the same process."""
    waiting = [link]

    async def dial() -> Link:
        if not waiting:
            raise DeviceError("the hardware half hung up")
        return waiting.pop()

    return dial
