"""The two ends between an agent and a board, of each kind there is: the same tests hold for all of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Literal

from knoop_hw.link import Link, pair
from knoop_hw.messages import Message
from knoop_hw.sock import SocketLink

Kind = Literal["objects", "json", "socket"]
KINDS: tuple[Kind, ...] = ("objects", "json", "socket")


def ends(kind: Kind) -> tuple[Link, Link]:
    """(the agent's end, the board's end)."""
    if kind == "socket":
        agent, board = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return SocketLink(agent, peer="the hardware half"), SocketLink(board, peer="the agent")
    return pair(through_json=kind == "json")


class Sending:
    """Somebody who sends on and on: message 0, 1, 2 …; `sent` is how many the link has taken."""

    def __init__(self, link: Link, message: Callable[[int], Message]) -> None:
        self.sent = 0
        self._link, self._message = link, message
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._link.send(self._message(self.sent))
            self.sent += 1

    async def stuck(self) -> int:
        """How many were taken when no more are: nothing moves while everybody else has twenty turns."""
        while True:
            before = self.sent
            for _ in range(20):
                await asyncio.sleep(0)
            if self.sent == before:
                return before
