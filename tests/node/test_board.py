"""The agent's end of the Board protocol."""

import asyncio
import contextlib

import pytest

from knoop.board import BoardClient
from knoop.jid import Jid
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.link import pair
from knoop_hw.messages import Done, Failed, Hello, Set
from knoop_hw.model import Channel, Reading

ANNA = Jid("anna", "example.org", "phone")
CHANNELS = tuple(Channel(name=n, kind="switch", type="boolean", cls="event", writable=True) for n in ("lamp", "pump"))
HELLO = Hello(version="0.1.0", run="aaaaaaaa", boot="b", digest="d", channels=CHANNELS)


class Listener:
    """What the client needs of a router."""

    def hello(self, hello):
        self.heard = hello

    def take(self, message):
        pass


@contextlib.asynccontextmanager
async def connected():
    ours, theirs = pair(through_json=True)
    client = BoardClient(ours, clock=SystemClock())
    await theirs.send(HELLO)
    await client.connected(Listener())
    listening = asyncio.create_task(client.listen(Listener()))
    try:
        yield client, theirs
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def done(request):
    reading = Reading(channel=request.channel, seq=1, value=bool(request.value), boottime_ns=1)
    return Done(id=request.id, reading=reading)


async def test_two_requests_at_once_get_their_own_answers():
    async with connected() as (client, board):
        asked = [asyncio.create_task(client.set(name, True, for_s=None, by=ANNA)) for name in ("lamp", "pump")]
        requests = [await board.receive(), await board.receive()]
        assert len({request.id for request in requests}) == 2
        for request in reversed(requests):
            await board.send(done(request))
        async with asyncio.timeout(2):
            assert [(await task).channel for task in asked] == ["lamp", "pump"]


async def test_who_asks_and_for_how_long_is_passed_on():
    async with connected() as (client, board):
        task = asyncio.create_task(client.set("lamp", True, for_s=1.5, by=ANNA))
        request = await board.receive()
        assert request == Set(id=request.id, channel="lamp", value=True, for_ms=1500, by="anna@example.org")
        await board.send(Failed(id=request.id, error="interlock", text="lamp: the pump is on"))
        with pytest.raises(SetRefused, match="the pump is on") as refused:
            await task
        assert refused.value.reason == "interlock"


async def test_an_unknown_channel_is_refused_here():
    async with connected() as (client, _board):
        with pytest.raises(SetRefused):
            await client.set("gate", True, for_s=None, by=ANNA)


async def test_a_board_that_hangs_up_is_a_device_error():
    ours, theirs = pair()
    client = BoardClient(ours, clock=SystemClock())
    await theirs.send(HELLO)
    await client.connected(Listener())
    await theirs.close()
    with pytest.raises(DeviceError, match="hung up"):
        await client.listen(Listener())


async def test_a_board_that_does_not_say_hello_is_refused():
    ours, theirs = pair()
    await theirs.send(done(Set(id=1, channel="lamp", value=True, by="anna@example.org")))
    with pytest.raises(DeviceError, match="does not begin with a hello"):
        await BoardClient(ours, clock=SystemClock()).connected(Listener())
