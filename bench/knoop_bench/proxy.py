"""A stretch of wire between a node and its server that can be cut, stalled, slowed down, and mended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Literal, Self

from knoop_bench.ports import LOOPBACK, free_ports

Way = Literal["up", "down"]  # to the server, and from it
BOTH: tuple[Way, Way] = ("up", "down")

_CHUNK = 64 * 1024
_SLICE_S = 0.05  # a slow wire passes on what it may in so long, so that it is slow from the first byte on
_HELD = 16  # chunks on their way in one direction, before the sender is held back
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST instead of FIN


class Proxy:
    """`async with Proxy(server.tls_port) as wire:` forwards 127.0.0.1:`wire.port` to `target` untouched.

    `cut` is a cable pulled near the peer (connections reset, new ones refused), `stall` one pulled far away
    (everything stays open, nothing arrives), `swallow` a router that drops what it should pass on, `throttle` and
    `delay` a poor line, `reset_after` the end of a connection amid what it says. `restore` undoes a cut, `resume`
    all the others.
    """

    def __init__(self, target: int, *, host: str = LOOPBACK) -> None:
        self.target = target
        self.host = host
        self.port = free_ports(1)[0]
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._holed: set[asyncio.Task[None]] = set()  # links that lost bytes
        self._flowing: dict[Way, asyncio.Event] = {way: asyncio.Event() for way in BOTH}
        self._swallowing = False
        self._bytes_per_s: float | None = None
        self._delay_s = 0.0
        self._fuse: int | None = None
        self.resets = 0  # connections that `reset_after` has ended
        self.resume()

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

    def stall(self, *ways: Way) -> None:
        """Keep connections open and accept new ones, but forward nothing in these ways, by default both."""
        for way in ways or BOTH:
            self._flowing[way].clear()

    def swallow(self) -> None:
        """Keep connections open and accept new ones, and lose whatever they say."""
        self._swallowing = True

    def throttle(self, bytes_per_s: float) -> None:
        """Forward no more than this in each direction of each connection."""
        self._bytes_per_s = bytes_per_s

    def delay(self, seconds: float) -> None:
        """Forward everything so much later, in each direction."""
        self._delay_s = seconds

    def reset_after(self, count: int) -> None:
        """Reset the connection that says the `count`-th byte from now on to the server, which gets those before it."""
        self._fuse = count

    def resume(self) -> None:
        """Forward again as a good wire does, beginning with what was held back; who lost bytes is reset."""
        self._swallowing, self._bytes_per_s, self._delay_s, self._fuse = False, None, 0.0, None
        for flowing in self._flowing.values():
            flowing.set()
        for link in self._holed:
            link.cancel()
        self._holed.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.get_running_loop().create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        link.add_done_callback(self._holed.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        link = asyncio.current_task()
        assert link is not None
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as both_ways:
                for way, source, sink in zip(BOTH, (reader, far_reader), (far_writer, writer), strict=True):
                    held = asyncio.Queue[tuple[float, bytes]](_HELD)
                    both_ways.create_task(self._take(way, source, held, link))
                    both_ways.create_task(self._give(way, held, sink))
        except* OSError:
            pass  # one side is gone: the other learns it by the reset below
        finally:
            for one in writers:
                _reset(one)
            for one in writers:
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _take(
        self, way: Way, reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]], link: asyncio.Task[None]
    ) -> None:
        """Read what is to be forwarded; b"" says that there is no more."""
        loop = asyncio.get_running_loop()
        more = True
        while more:
            data = await reader.read(self._size)
            due_s, more = loop.time() + self._delay_s, bool(data)
            await self._flowing[way].wait()
            if self._swallowing:
                self._holed.add(link)
            else:
                await held.put((due_s, data))
        if self._swallowing:
            await asyncio.Future[None]()  # nobody hears of the end, either, until the link is reset

    async def _give(self, way: Way, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s, data = await held.get()
            await asyncio.sleep(due_s - loop.time())
            await self._flowing[way].wait()
            if not data:
                writer.write_eof()
                return
            while data:
                part, data = data[: self._size], data[self._size :]
                await self._pass_on(way, part, writer)

    async def _pass_on(self, way: Way, data: bytes, writer: asyncio.StreamWriter) -> None:
        if way == "up" and self._fuse is not None:
            data, self._fuse = data[: self._fuse - 1], self._fuse - len(data)
            if self._fuse <= 0:
                self._fuse = None
                self.resets += 1
                await _last(writer, data)
        writer.write(data)
        await writer.drain()
        if self._bytes_per_s:
            await asyncio.sleep(len(data) / self._bytes_per_s)

    @property
    def _size(self) -> int:
        """Bytes to read and to write at once."""
        return max(1, int(self._bytes_per_s * _SLICE_S)) if self._bytes_per_s else _CHUNK


async def _last(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write what the other side is to have before its connection is reset."""
    writer.write(data)
    await writer.drain()
    raise ConnectionResetError("amid what it says")


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST; one that both sides have closed already is past resetting."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
