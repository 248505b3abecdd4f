"""How an agent reaches its board: in the same process, or in one of its own behind `board.sock` (docs/adr/0012).

Both ways have the same form, so that what serves need not know which one it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from knoop.board import BoardClient, once
from knoop_hw import sock
from knoop_hw.clock import Clock
from knoop_hw.link import Link, LinkClosed, pair
from knoop_hw.messages import Beat, Hello

if TYPE_CHECKING:
    from knoop.config import Config
    from knoop_hw.board import Board


class Way(Protocol):
    """What a node from its start to its end has of its board."""

    def client(self) -> BoardClient:
        """The board for another agent; the one before it has ended, or is about to."""
        ...

    def release(self) -> None:
        """The node ends: what ends with it is made safe, before anything that may have to wait."""
        ...

    async def reload(self, config: Config) -> None:
        """Let the board be what `config` says, if it is ours. Raises DeviceError when it stays as it was."""
        ...

    async def beat(self) -> None:
        """The node lives, although no agent says so at the moment."""
        ...


class Inside:
    """A board in this process: it starts, reloads and ends with the node."""

    def __init__(self, board: Board, *, clock: Clock) -> None:
        self._board, self._clock = board, clock
        self._serving: asyncio.Task[None] | None = None

    def client(self) -> BoardClient:
        agent_end, board_end = pair()
        self._serving = asyncio.create_task(self._board.serve(board_end))
        return BoardClient(once(agent_end), clock=self._clock)

    def release(self) -> None:
        self._board.release()

    async def reload(self, config: Config) -> None:
        await self._board.reload(config.hw)

    async def beat(self) -> None:
        self._board.beat()

    def close(self) -> None:
        if self._serving is not None:
            self._serving.cancel()


class Apart:
    """A board of another process, which lives and reloads by itself: outputs do not notice that the agent goes."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._link: Link | None = None
        self._client: BoardClient | None = None

    def client(self) -> BoardClient:
        known: Hello | None = self._client.hello if self._client is not None else None
        self._client = BoardClient(self._dial, clock=self._clock, known=known, apart=True)
        return self._client

    async def _dial(self) -> Link:
        try:
            link = sock.connect(self._path, peer="the hardware half")
        except OSError as error:
            why = error.strerror or error
            raise ConnectionError(f"{self._path}: {why}; start knoop-hw, or name its socket with --board") from None
        await self.close()  # the board hangs up on the one before as well
        self._link = link
        return link

    def release(self) -> None:
        """The outputs are the other half's."""

    async def reload(self, config: Config) -> None:
        """The other half reads the file when it is told to."""

    async def beat(self) -> None:
        if self._link is not None:
            with suppress(LinkClosed):
                await self._link.send(Beat())

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None


@asynccontextmanager
async def inside(config: Config, *, clock: Clock, state: Path) -> AsyncIterator[Way]:
    """A board in this process, open until the block ends. Raises DeviceError."""
    from knoop_hw.board import Board  # noqa: PLC0415 -- an agent alone has no lines

    async with Board(config.hw, clock=clock, state=state) as board:
        way = Inside(board, clock=clock)
        try:
            yield way
        finally:
            way.close()


@asynccontextmanager
async def apart(path: Path, *, clock: Clock) -> AsyncIterator[Way]:
    """The board of the process that listens at `path`, now or later."""
    way = Apart(path, clock=clock)
    try:
        yield way
    finally:
        await way.close()
