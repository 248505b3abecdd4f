"""The wire between a node and its server: cut, mended, stalled, slow, and one that swallows."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from knoop_bench.proxy import Proxy


@asynccontextmanager
async def serving(talk):
    """A server that talks so to each who comes; yields its port and the writers to them."""
    writers = []

    async def meet(reader, writer):
        writers.append(writer)
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], writers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@asynccontextmanager
async def echo():
    """A server that sends back what it gets, and counts those who come."""

    async def talk(reader, writer):
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        finally:
            writer.close()

    async with serving(talk) as found:
        yield found


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


@pytest.mark.parametrize(("way", "arrives"), [("up", b""), ("down", b"held")])
async def test_one_way_can_stall_alone(way, arrives):
    heard = bytearray()
    came = asyncio.Event()

    async def listen(reader, writer):
        heard.extend(await reader.read(100))
        came.set()
        writer.write(b"answer")

    async with serving(listen) as (port, _), Proxy(port) as wire, connected(wire) as (reader, writer):
        wire.stall(way)
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert heard == arrives
        wire.resume()
        assert await reader.readexactly(6) == b"answer"
        assert came.is_set()


async def test_a_hole_takes_what_is_said_and_who_lost_bytes_is_reset_when_it_is_mended(wire):
    async with connected(wire) as (reader, writer), connected(wire) as (quiet_reader, quiet_writer):
        for each in (writer, quiet_writer):
            each.write(b"a")
        assert await reader.read(1) == await quiet_reader.read(1) == b"a"
        wire.swallow()
        writer.write(b"lost")
        async with connected(wire) as (_, late):  # new ones are accepted, too
            late.write(b"lost as well")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
        wire.resume()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        quiet_writer.write(b"b")
        assert await quiet_reader.read(1) == b"b", "it said nothing meanwhile, and lives"


async def test_who_leaves_a_hole_is_not_noticed_behind_it():
    async with echo() as (port, writers), Proxy(port) as wire:
        async with connected(wire) as (reader, writer):
            writer.write(b"a")
            assert await reader.read(1) == b"a"
            wire.swallow()
        await asyncio.sleep(0.05)
        assert wire.connections == 1
        assert not writers[0].is_closing()


async def test_a_throttled_wire_passes_on_so_many_bytes_a_second(wire):
    loop = asyncio.get_running_loop()
    async with connected(wire) as (reader, writer):
        wire.throttle(20_000)
        began_s = loop.time()
        writer.write(bytes(4_000))
        first = await reader.read(65_536)
        assert len(first) < 4_000, "slow from the first byte on"
        await reader.readexactly(4_000 - len(first))
        assert loop.time() - began_s > 0.1
        wire.resume()
        writer.write(bytes(400_000))
        await reader.readexactly(400_000)


async def test_a_delayed_wire_is_late_and_not_slow(wire):
    loop = asyncio.get_running_loop()
    async with connected(wire) as (reader, writer):
        wire.delay(0.05)
        began_s = loop.time()
        for number in range(20):
            writer.write(bytes([number]))
            await asyncio.sleep(0.01)
        assert await reader.readexactly(20) == bytes(range(20))
        took_s = loop.time() - began_s
        assert 0.1 < took_s < 20 * 0.1, "each byte is late, and none waits for those before it"


async def test_a_connection_is_reset_amid_what_it_says():
    heard = bytearray()
    ended = asyncio.Event()

    async def listen(reader, writer):
        try:
            while data := await reader.read(100):
                heard.extend(data)
        except ConnectionResetError:
            ended.set()

    async with serving(listen) as (port, _), Proxy(port) as wire:
        async with connected(wire) as (reader, writer):
            writer.write(b"<one/>")
            while len(heard) < 6:
                await asyncio.sleep(0.005)
            wire.reset_after(4)
            writer.write(b"<two/>")
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
        await asyncio.wait_for(ended.wait(), 5)
        assert heard == b"<one/><tw"
        ended.clear()
        async with connected(wire) as (_, writer):  # the next one is none of its business
            writer.write(b"<three/>")
            writer.write_eof()
            async with asyncio.timeout(20):
                while not heard.endswith(b"<three/>"):
                    await asyncio.sleep(0.005)
