"""The two ends between agent and board: whole messages, in order, until one side closes.

Inside one process the ends are a pair of bounded queues. A sender that is too fast waits: nothing is dropped
here, because the board decides what may be forgotten (`kept`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from knoop_hw.errors import HardwareError
from knoop_hw.messages import Message, decode, encode

LIMIT = 64  # messages in flight in one direction; a batch is ≤ 100 readings, so at most about 0.8 MB


class LinkClosed(HardwareError, ConnectionError):
    """The other end is gone, or this one was closed."""


class NotTheProtocol(LinkClosed):
    """We hung up, because what the other end sent is no message; the text says what it was."""


class Link(Protocol):
    """One end."""

    async def send(self, message: Message) -> None:
        """Hand over one message; waits while the other end is behind. Raises LinkClosed."""
        ...

    async def receive(self) -> Message:
        """The next message; those sent before a close still arrive. Raises LinkClosed."""
        ...

    async def close(self) -> None:
        """Close both directions; closing twice is fine."""
        ...


class _Lane:
    """One direction: a bounded queue that can end."""

    def __init__(self) -> None:
        self._items: deque[Message] = deque()
        self._closed = False
        self._moved = asyncio.Event()  # something was put, taken or closed

    async def put(self, item: Message) -> None:
        while len(self._items) >= LIMIT and not self._closed:
            self._moved.clear()
            await self._moved.wait()
        if self._closed:
            raise LinkClosed("the link is closed")
        self._items.append(item)
        self._moved.set()

    async def take(self) -> Message:
        while not self._items:
            if self._closed:
                raise LinkClosed("the link is closed")
            self._moved.clear()
            await self._moved.wait()
        item = self._items.popleft()
        self._moved.set()
        return item

    def close(self) -> None:
        self._closed = True
        self._moved.set()


class QueueLink:
    """One end of `pair`."""

    def __init__(self, out: _Lane, into: _Lane, *, through_json: bool) -> None:
        self._out, self._into, self._through_json = out, into, through_json

    async def send(self, message: Message) -> None:
        """Hand over one message, as the socket would: ValueError when it does not fit a line."""
        await self._out.put(decode(encode(message)) if self._through_json else message)

    async def receive(self) -> Message:
        """The next message of the other end."""
        return await self._into.take()

    async def close(self) -> None:
        """End both directions."""
        self._out.close()
        self._into.close()


def pair(*, through_json: bool = False) -> tuple[QueueLink, QueueLink]:
    """(the agent's end, the board's end) in one process.

    `through_json` sends each message as its line of JSON.
    """
    up, down = _Lane(), _Lane()
    return QueueLink(down, up, through_json=through_json), QueueLink(up, down, through_json=through_json)
