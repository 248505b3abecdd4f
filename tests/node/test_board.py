"""The agent's end of the Board protocol."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from knoop.board import Absence, BoardClient, once
from knoop.jid import Jid
from knoop.text import Voice
from knoop_hw.clock import FakeClock, SystemClock
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.link import pair
from knoop_hw.messages import LATE_NS, Beat, Done, Failed, Hello, Set, Stored
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
    client = BoardClient(once(ours), clock=SystemClock())
    await theirs.send(HELLO)
    await client.connected(Listener())
    listening = asyncio.create_task(client.listen(Listener()))
    try:
        yield client, theirs
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def now_ns():
    return SystemClock().boottime_ns()


def done(request):
    reading = Reading(channel=request.channel, seq=1, value=bool(request.value), boottime_ns=1)
    return Done(id=request.id, reading=reading)


async def test_two_requests_at_once_get_their_own_answers():
    async with connected() as (client, board):
        asked = [
            asyncio.create_task(client.set(name, True, for_s=None, by=ANNA, asked_ns=now_ns()))
            for name in ("lamp", "pump")
        ]
        requests = [await board.receive(), await board.receive()]
        assert len({request.id for request in requests}) == 2
        for request in reversed(requests):
            await board.send(done(request))
        async with asyncio.timeout(20):
            assert [(await task).channel for task in asked] == ["lamp", "pump"]


async def test_who_asks_and_for_how_long_is_passed_on():
    async with connected() as (client, board):
        asked_ns = now_ns() - 2_000_000_000  # it waited behind another one
        task = asyncio.create_task(client.set("lamp", True, for_s=1.5, by=ANNA, asked_ns=asked_ns))
        request = await board.receive()
        assert request == Set(
            id=request.id, channel="lamp", value=True, for_ms=1500, by="anna@example.org", asked_ns=asked_ns
        )
        await board.send(Failed(id=request.id, error="interlock", text="lamp: the pump is on"))
        with pytest.raises(SetRefused, match="the pump is on") as refused:
            await task
        assert refused.value.reason == "interlock"


@pytest.mark.parametrize("off_ns", [-LATE_NS - 1, LATE_NS + 60_000_000_000, None])
async def test_what_was_asked_long_ago_or_never_does_not_reach_the_board(off_ns):
    async with connected() as (client, board):
        asked_ns = 0 if off_ns is None else now_ns() + off_ns
        with pytest.raises(SetRefused) as refused:
            await client.set("lamp", True, for_s=None, by=ANNA, asked_ns=asked_ns)
        assert refused.value.reason == "late"
        task = asyncio.create_task(client.set("pump", True, for_s=None, by=ANNA, asked_ns=now_ns()))
        request = await board.receive()
        assert request.channel == "pump", "the first that it hears of"
        await board.send(done(request))
        await task


async def test_a_board_that_goes_is_waited_for_and_wishes_are_refused_at_once():
    boards = []

    async def dial():
        ours, theirs = pair(through_json=True)
        await theirs.send(HELLO)
        boards.append(theirs)
        return ours

    client, router = BoardClient(dial, clock=SystemClock()), Listener()
    with pytest.raises(SetRefused) as refused:
        await client.set("lamp", True, for_s=None, by=ANNA, asked_ns=now_ns())
    assert refused.value.reason == "away"
    await client.connected(router)
    listening = asyncio.create_task(client.listen(router))
    try:
        client.stored(7)
        assert await boards[0].receive() == Stored(upto=7)
        asked = asyncio.create_task(client.set("lamp", True, for_s=None, by=ANNA, asked_ns=now_ns()))
        await boards[0].receive()
        client.stored(500)
        await boards[0].close()
        with pytest.raises(SetRefused, match="went away before it answered") as refused:
            await asked
        assert refused.value.reason == "unsure"
        async with asyncio.timeout(20):
            while len(boards) < 2 or client.away_since_ns is not None:
                await asyncio.sleep(0)
            asked = asyncio.create_task(client.set("lamp", True, for_s=None, by=ANNA, asked_ns=now_ns()))
            request = await boards[1].receive()
            assert isinstance(request, Set), "a number of another connection means other readings on this one"
            await boards[1].send(done(request))
            assert (await asked).value is True
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_other_channels_are_for_another_agent():
    hellos = [HELLO, replace(HELLO, digest="other", channels=())]
    boards = []

    async def dial():
        ours, theirs = pair()
        await theirs.send(hellos[len(boards)])
        boards.append(theirs)
        return ours

    client, router = BoardClient(dial, clock=SystemClock()), Listener()
    await client.connected(router)
    tasks = [asyncio.create_task(work) for work in (client.listen(router), client.beat())]
    try:
        await boards[0].close()
        async with asyncio.timeout(20):
            await client.renewed.wait()
            assert isinstance(await boards[1].receive(), Beat), "the dead man is held on to until another one goes on"
        assert router.heard is HELLO
        with pytest.raises(SetRefused, match="is away"):
            await client.set("lamp", True, for_s=None, by=ANNA, asked_ns=now_ns())
        another = BoardClient(dial, clock=SystemClock(), known=client.hello)
        await another.connected(router)
        assert (len(boards), another.channels) == (2, {})
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_agents_at_one_board_do_not_race():
    """A mistake of their owner: each hangs up on the other, once a second and not as fast as they can."""
    clock, dialled = FakeClock(), []

    async def dial():
        ours, theirs = pair()
        await theirs.send(HELLO)
        await theirs.close()
        dialled.append(clock.boottime_ns())
        return ours

    client = BoardClient(dial, clock=clock)
    await client.connected(Listener())
    listening = asyncio.create_task(client.listen(Listener()))
    try:
        await clock.advance(60)
        assert 55 <= len(dialled) <= 65
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def test_owners_hear_once_that_the_hardware_half_is_away_for_long_and_once_that_it_is_back():
    absence, voice = Absence(), Voice(lang="nl", now_ns=0)
    heard = [absence.news(away_s) for away_s in (None, 1, 59, 61, 62, 3600, None, None, 5, None, 70)]
    assert [voice.sentence(news) if news else "" for news in heard] == [
        "", "", "", "De hardwarehelft is al 1 min 1 s weg: er wordt niets gemeten en er kan geen alarm komen.", "", "",
        "De hardwarehelft is terug.", "", "", "",
        "De hardwarehelft is al 1 min 10 s weg: er wordt niets gemeten en er kan geen alarm komen.",
    ]  # fmt: skip


async def test_one_that_takes_the_call_and_says_nothing_is_named(caplog):
    """It hangs, or something else has the socket: whoever starts the agent must not look at an empty log."""
    clock, (ours, theirs) = FakeClock(), pair()
    connecting = asyncio.create_task(BoardClient(once(ours), clock=clock).connected(Listener()))
    await clock.advance(9)
    assert not caplog.records
    await clock.advance(2)
    assert caplog.messages == ["waiting for the hardware half: it took the call and says nothing yet; does it hang?"]
    await theirs.send(HELLO)
    async with asyncio.timeout(20):
        await connecting


async def test_a_second_hello_on_one_connection_is_said_and_passed_over(caplog):
    async with connected() as (client, board):
        await board.send(HELLO)
        task = asyncio.create_task(client.set("lamp", True, for_s=None, by=ANNA, asked_ns=now_ns()))
        await board.send(done(await board.receive()))
        await task
    assert caplog.messages == ["the board sent a hello, which does not belong there"]


async def test_an_unknown_channel_is_refused_here():
    async with connected() as (client, _board):
        with pytest.raises(SetRefused):
            await client.set("gate", True, for_s=None, by=ANNA, asked_ns=now_ns())


async def test_a_board_that_hangs_up_is_a_device_error():
    ours, theirs = pair()
    client = BoardClient(once(ours), clock=SystemClock())
    await theirs.send(HELLO)
    await client.connected(Listener())
    await theirs.close()
    with pytest.raises(DeviceError, match="hung up"):
        await client.listen(Listener())


async def test_a_board_that_does_not_say_hello_is_refused():
    ours, theirs = pair()
    await theirs.send(done(Set(id=1, channel="lamp", value=True, by="anna@example.org", asked_ns=0)))
    with pytest.raises(DeviceError, match="hung up"):
        await BoardClient(once(ours), clock=SystemClock()).connected(Listener())
