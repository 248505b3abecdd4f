"""A gate: who is inside may finish, nobody else comes in once it is shut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Open at first, and shut once."""

    def __init__(self) -> None:
        self._open = True
        self._inside = 0
        self._left = asyncio.Event()

    @asynccontextmanager
    async def through(self) -> AsyncIterator[None]:
        """Be inside; at a gate that is shut this waits until the waiting task is cancelled."""
        if not self._open:
            await asyncio.Event().wait()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._left.set()

    async def shut(self) -> None:
        """Let nobody in from now on; returns when nobody is inside."""
        self._open = False
        while self._inside:
            self._left.clear()
            await self._left.wait()
