"""The wire between a node and its server: cut, mended, stalled."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from knoop_bench.proxy import Proxy


@asynccontextmanager
async def echo():
    """A server that sends back what it gets, and counts those who come."""
    writers = []

    async def talk(reader, writer):
        writers.append(writer)
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], writers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@pytest.fixture
async def wire():
    async with echo() as (port, _), Proxy(port) as proxy:
        yield proxy


@asynccontextmanager
async def connected(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_bytes_pass_untouched_in_both_directions(wire):
    sent = bytes(range(256)) * 4_000
    async with connected(wire) as (reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent


async def test_an_end_of_one_direction_is_passed_on(wire):
    async with connected(wire) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"


async def test_a_cut_resets_what_is_open_and_refuses_what_is_new(wire):
    async with connected(wire) as (reader, writer):
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        assert wire.connections == 1
        await wire.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    assert wire.connections == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", wire.port)


async def test_restored_it_works_again_at_the_same_port(wire):
    port = wire.port
    await wire.cut()
    await wire.cut()
    await wire.restore()
    await wire.restore()
    assert wire.port == port
    async with connected(wire) as (reader, writer):
        writer.write(b"back")
        assert await reader.readexactly(4) == b"back"


async def test_stalled_it_stays_open_and_says_nothing_until_resumed(wire):
    async with connected(wire) as (reader, writer):
        wire.stall()
        writer.write(b"held")
        async with connected(wire):  # new ones are accepted too
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
        wire.resume()
        assert await reader.readexactly(4) == b"held"


async def test_a_stalled_wire_can_be_cut(wire):
    async with connected(wire) as (reader, writer):
        wire.stall()
        writer.write(b"lost")
        await asyncio.sleep(0.01)
        await wire.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_without_a_server_behind_it_a_connection_is_reset():
    async with Proxy(1) as wire:  # nobody listens on port 1
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.transport.abort()
