"""One connection to a host of several addresses: the first that answers, soon, and dead ones are given up."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack, suppress

import pytest

from knoop.xmpp import dial

DEAF = "127.0.0.9"


@pytest.fixture
def hearing():
    """The port of a server at 127.0.0.1 and ::1."""
    with socket.create_server(("127.0.0.1", 0)) as four, socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as six:
        port = four.getsockname()[1]
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::1", port))
        six.listen()
        yield port


@pytest.fixture
def deaf():
    """A port at DEAF and ::1 where a connection hangs: its queue is full. At 127.0.0.1 somebody hears."""
    with socket.create_server(("127.0.0.1", 0)) as hearing, ExitStack() as stack:
        port = hearing.getsockname()[1]
        for family, address in ((socket.AF_INET, DEAF), (socket.AF_INET6, "::1")):
            full = stack.enter_context(socket.socket(family))
            full.bind((address, port))
            full.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket(family))
                waiting.setblocking(False)
                with suppress(BlockingIOError):
                    waiting.connect((address, port))
        yield port


async def test_the_first_address_that_answers_is_taken(hearing):
    with await dial.connect(["::1", "127.0.0.1"], hearing) as won:
        assert won.getpeername()[0] == "::1"


async def test_addresses_that_are_silent_cost_a_quarter_of_a_second_each(deaf, monkeypatch):
    monkeypatch.setattr(dial, "STAGGER_S", 0.02)
    async with asyncio.timeout(20):
        with await dial.connect(["::1", DEAF, "127.0.0.1"], deaf) as won:
            assert won.getpeername()[0] == "127.0.0.1"


async def test_an_address_that_refuses_costs_nothing(hearing, monkeypatch):
    monkeypatch.setattr(dial, "STAGGER_S", 3600.0)
    async with asyncio.timeout(20):
        with await dial.connect(["127.0.0.9", "127.0.0.1"], hearing) as won:
            assert won.getpeername()[0] == "127.0.0.1"


async def test_when_all_fail_the_first_ones_reason_is_told(hearing):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as refused:
        await dial.connect(["127.0.0.1", "::1"], port)
    assert refused.value.errno == errno.ECONNREFUSED
    with pytest.raises(OSError, match="no address"):
        await dial.connect([], port)


async def test_nothing_is_left_open_when_it_is_cancelled(deaf):
    before = {*asyncio.all_tasks()}
    task = asyncio.create_task(dial.connect([DEAF], deaf))
    while not {*asyncio.all_tasks()} - before - {task}:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    async with asyncio.timeout(20):
        while not {*asyncio.all_tasks()} <= before:
            await asyncio.sleep(0)


async def test_the_kernel_gives_up_on_what_nobody_acknowledges(hearing):
    with await dial.connect(["127.0.0.1"], hearing) as won:
        assert won.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert won.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert not won.getblocking()
