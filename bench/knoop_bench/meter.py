"""A smart meter's P1 port: recorded telegrams on a pseudo-terminal, at the pace of the real line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import termios
import tty
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self

_BITS_PER_BYTE = 10  # 8N1: start, eight data, stop
_CHUNK = 128  # 11 ms at 115200 baud: finer than that a loop only burns processor time


class Meter:
    """`async with Meter(files, every_s=10) as meter:` sends one telegram after another to `meter.device`.

    `files` hold one telegram each, bytes as on the line; they repeat. A meter does not wait for anybody: what
    nobody reads is lost, so a late reader may find the middle of a telegram first, as on a real port.
    """

    def __init__(self, files: Sequence[Path], *, every_s: float = 10.0, baud: int = 115_200) -> None:
        if not files or every_s <= 0 or baud <= 0:
            raise ValueError("a meter needs a telegram, a period and a speed")
        self.every_s = every_s
        self.baud = baud
        self.sent = 0
        self._telegrams = tuple(file.read_bytes() for file in files)
        self._line = asyncio.Lock()
        self._master, self._slave = -1, -1
        self._device = ""
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the line and start sending at once."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._device = os.ttyname(self._slave)
        self._sender = asyncio.get_running_loop().create_task(self._send_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplug: the reader sees a hang-up."""
        try:
            if self._sender:
                self._sender.cancel()
                await asyncio.gather(self._sender, return_exceptions=True)
        finally:
            for handle in (self._master, self._slave):
                with contextlib.suppress(OSError):
                    os.close(handle)
            self._master, self._slave = -1, -1

    @property
    def device(self) -> str:
        """The path that a reader opens, as it would /dev/ttyUSB0."""
        assert self._device, "the meter was not entered"
        return self._device

    async def send(self, data: bytes) -> bool:
        """Send bytes at the line's pace, between telegrams; False when some was lost unread."""
        loop = asyncio.get_running_loop()
        async with self._line:
            began_s = loop.time()
            for start in range(0, len(data), _CHUNK):
                chunk = data[start : start + _CHUNK]
                if not self._write(chunk):
                    return False
                due_s = began_s + (start + len(chunk)) * _BITS_PER_BYTE / self.baud
                await asyncio.sleep(due_s - loop.time())
        return True

    async def _send_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for telegram in cycle(self._telegrams):
            if await self.send(telegram):
                self.sent += 1
            due_s = max(due_s + self.every_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def _write(self, chunk: bytes) -> bool:
        """Put a chunk on the line; on overrun it is lost with all that was not read."""
        with contextlib.suppress(BlockingIOError):
            if os.write(self._master, chunk) == len(chunk):
                return True
        termios.tcflush(self._slave, termios.TCIFLUSH)
        return False
