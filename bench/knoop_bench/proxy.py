"""A stretch of wire between a node and its server that can be cut, mended and stalled."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

from knoop_bench.ports import LOOPBACK, free_ports

_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST instead of FIN


class Proxy:
    """`async with Proxy(server.tls_port) as wire:` forwards 127.0.0.1:`wire.port` to `target` untouched.

    `cut` is a cable pulled near the peer (connections reset, new ones refused), `stall` one pulled far away
    (everything stays open, nothing arrives). Both are undone by `restore` and `resume`.
    """

    def __init__(self, target: int, *, host: str = LOOPBACK) -> None:
        self.target = target
        self.host = host
        self.port = free_ports(1)[0]
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Reset what is open and stop listening."""
        await self.cut()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    async def cut(self) -> None:
        """Reset all connections, refuse new ones."""
        if self._server:
            self._server.close()
            self._server = None
        links = tuple(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def restore(self) -> None:
        """Accept connections again, at the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    def stall(self) -> None:
        """Keep connections open and accept new ones, but forward nothing."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, beginning with what was held back."""
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.get_running_loop().create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pump(reader, far_writer))
                both_ways.create_task(self._pump(far_reader, writer))
        except* OSError:
            pass  # one side is gone: the other learns it by the reset below
        finally:
            for one in writers:
                _reset(one)
            for one in writers:
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        await self._flowing.wait()
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST; one that both sides have closed already is past resetting."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
