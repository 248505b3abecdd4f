"""Another program of the same machine at `board.sock`, in either direction: two halves as processes, on a real server.

Who may open the socket may move every output by a valid wish; that is what its mode is for. What is tried here is all
the rest: who may not open it, what is no valid wish, and everything that should keep a half from its work.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import pytest_asyncio
from tests.attacks.rig import BOARD, House, besieged

from knoop_bench.errors import NotSeen
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

BOUND_S = 15.0
FAN = '\n[output.fan]\npin = "GPIO18"\nkind = "pwm"\n'
HELLO = {"m": "hello", "v": 1, "version": "9", "run": "evilevil", "boot": "x", "digest": "d"}
FORGED = "\n12:00:00 INFO anna@localhost: lock off → done\x1b[2J\x9b31m\u202e\u2028"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory, authority) -> AsyncIterator[House]:
    """One node of two halves for all tests: each leaves it as it found it."""
    async with besieged(
        tmp_path_factory.mktemp("home"), authority, board=BOARD + FAN, halves=True, growth_mb=48
    ) as made:
        yield made


def wish(**more: Any) -> bytes:
    """A wish that is good but for what `more` says."""
    good = {"m": "set", "id": 1, "channel": "lamp", "value": True, "by": "anna@localhost",
            "asked_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
    return json.dumps({**good, **more}, ensure_ascii=False).encode() + b"\n"


@asynccontextmanager
async def neighbour(house: House) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Somebody who may open the socket, and so has the place of the agent for now."""
    reader, writer = await asyncio.open_unix_connection(house.socket, limit=2**20)
    try:
        hello = json.loads(await reader.readline())
        assert hello["m"] == "hello"
        yield reader, writer
    finally:
        writer.transport.abort()


async def answered(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """What the half says to a wish; None when it hangs up instead."""
    with suppress(ConnectionError):
        async with asyncio.timeout(BOUND_S):
            while line := await reader.readline():
                message = json.loads(line)
                if message["m"] in {"done", "failed"}:
                    return message
    return None


def unmoved(house: House, since: int) -> None:
    """Nothing moved since; the half acts upon a wish before it answers it, or hangs up."""
    assert house.moves[since:] == []
    for half in house.processes:
        assert half.code is None
        assert all(line.isprintable() for line in half.log.splitlines())


async def there(house: House, anna: Witness) -> bool:
    """Whether the half is back, and the agent that goes on with its channels: a question to the one before is lost."""
    after = anna.mark
    anna.say(house.jid, "fan")
    with suppress(NotSeen):
        seen = await anna.wait(lambda seen: seen.sender_bare == house.jid and bool(seen.body), 1.0, after=after)
        return seen.body == "Fan is 0 %."
    return False


async def obeys(house: House, since: int) -> None:
    """Nothing moved since, the agent is back, and the owner's wish is the first that moves a line."""
    unmoved(house, since)
    async with house.visit("anna") as anna:
        async with asyncio.timeout(BOUND_S):
            while not await there(house, anna):
                await asyncio.sleep(0.2)  # who asks faster than that is left out
        await house.asks(anna, "lamp on", "Lamp is on")
        await house.asks(anna, "lamp off", "Lamp is off")
    assert house.moves[since:] == [("lamp", True), ("lamp", False)]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_cannot_even_open_it(home, tmp_path):
    assert stat.S_IMODE(home.socket.stat().st_mode) == 0o660
    here = os.open(home.socket.parent, os.O_PATH)  # no folder above it may be what keeps them out
    home.socket.parent.chmod(0o755)
    try:
        for group, permitted in ((65534, False), (0, True)):
            pid = os.fork()
            if not pid:
                os.setgroups([])
                os.setgid(group)
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as end:
                    os._exit(end.connect_ex(f"/proc/self/fd/{here}/board.sock"))
            assert (os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0) is permitted
    finally:
        os.close(here)


GARBAGE = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": b"\0" * 65_000 + b"\n",
    "no UTF-8": b"\xff\xfe{}\n",
    "a list": b"[]\n",
    "deep": b"[" * 60_000 + b"\n",
    "a line without an end": b"x" * 300_000,
    "an unknown message": b'{"m":"move","channel":"lamp","value":true}\n',
    "an unknown key": wish(force=True),
    "no number": wish().replace(b'"value": true', b'"value": NaN'),
    "a huge number": wish(id=10**400),
    "a huge lease": wish(for_ms=2**63),
    "half a wish": b'{"m":"set","id":1,"channel":"lamp"}\n',
    "a text for a value": wish(value="on"),
    "a list for a value": wish(value=[True]),
    "another version": json.dumps({**HELLO, "v": 2, "channels": []}).encode() + b"\n",
    "a forged line of the log": json.dumps({"m": FORGED}).encode() + b"\n",
    "a forged key": wish(**{FORGED: 1}),
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_ends_the_connection_and_moves_nothing(home, what):
    since = len(home.moves)
    async with neighbour(home) as (reader, writer):
        writer.write(GARBAGE[what] + wish())  # and the wish behind it is not read any more
        assert await answered(reader) is None
    unmoved(home, since)


REFUSED = {
    "an input": {"channel": "door"},
    "a sensor": {"channel": "air.temperature", "value": 30.0},
    "nothing that there is": {"channel": FORGED},
    "half on": {"value": 0.5},
    "a number for a switch": {"value": 2},
    "less than the least": {"channel": "fan", "value": -0.5},
    "more than the most": {"channel": "fan", "value": 100.5},
    "infinitely much": {"channel": "fan", "value": 1e999},
    "infinitely little": {"channel": "fan", "value": -1e999},
    "asked long ago": {"asked_ns": 0},
    "asked before time began": {"asked_ns": -(2**63)},
    "for less than no time": {"for_ms": -1},
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_wish_that_cannot_be_is_refused_and_moves_nothing(home, what):
    since = len(home.moves)
    async with neighbour(home) as (reader, writer):
        data = wish(**REFUSED[what]).replace(b"Infinity", b"1e999")
        writer.write(data)
        answer = await answered(reader)
        assert answer is None or answer["m"] == "failed", answer
    unmoved(home, since)


async def test_after_all_that_an_owner_is_obeyed_at_once(home):
    await obeys(home, len(home.moves))


FLOODS = {
    "beats": b'{"m":"beat"}\n' * 200_000,
    "wishes whose answers nobody reads": wish(channel="nothing") * 20_000,
    "readings that are said to be safe": b'{"m":"stored","upto":0}\n' * 100_000,
    "words of the other half": json.dumps({**HELLO, "channels": []}).encode() + b"\n" + b'{"m":"leaving"}\n' * 10_000,
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_costs_the_owner_nothing_that_stays(home, what):
    since = len(home.moves)
    async with neighbour(home) as (_, writer):
        writer.write(FLOODS[what])
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(3.0):  # who reads no answers is written to no more, and waits for ever
                await writer.drain()
    await obeys(home, since)


async def test_half_lines_and_slow_ones_move_nothing(home):
    since = len(home.moves)
    for cut in (1, 20, len(wish()) - 1):
        async with neighbour(home) as (_, writer):
            writer.write(wish()[:cut])
            await writer.drain()
    async with neighbour(home) as (_, writer):
        for byte in wish()[:20]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
    await obeys(home, since)


async def test_three_hundred_connections_leave_one_agent(home):
    since = len(home.moves)
    ends = [(await asyncio.open_unix_connection(home.socket))[1] for _ in range(300)]
    for end in ends:
        end.transport.abort()
    await obeys(home, since)


async def test_a_second_agent_that_stays_is_thrown_out_by_the_first(home):
    since = len(home.moves)
    async with neighbour(home) as (reader, _):
        async with asyncio.timeout(BOUND_S):
            while await reader.read(2**20):
                pass  # until the half hangs up: its own agent came back
        await obeys(home, since)


# The other direction --------------------------------------------------------------------------------------------------

LAMP = {"name": "lamp", "kind": "relay", "type": "boolean", "cls": "event", "writable": True}
LIES = {
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
    "no hello": b'{"m":"readings","upto":1,"items":[]}\n',
    "a name that forges lines": json.dumps(
        {**HELLO, "channels": [{**LAMP, "label": f"Lamp{FORGED}", "aliases": [FORGED, "x" * 5000]}]}
    ).encode() + b"\n",
    "a name of a verb": json.dumps({**HELLO, "channels": [{**LAMP, "name": "revoke"}]}).encode() + b"\n",
    "a thousand channels": json.dumps(
        {**HELLO, "channels": [{"name": f"c{n}", "kind": "relay", "type": "boolean"} for n in range(1000)]}
    ).encode() + b"\n",
    "answers that nobody asked for": json.dumps({**HELLO, "channels": [LAMP]}).encode() + b"\n" + b"".join(
        b'{"m":"failed","id":%d,"error":"range","text":"%s"}\n' % (n, b"x" * 500) for n in range(2000)
    ),
}


@pytest.mark.parametrize("what", LIES)
async def test_a_half_that_lies_moves_nothing_and_the_agent_lives(home, what):
    """Somebody listens where the hardware half should: the agent may say less, and is as before when it is back."""
    met, ends = asyncio.Event(), []

    def lie(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        writer.write(LIES[what])
        met.set()

    since = len(home.moves)
    await home.hw.stop()
    server = await asyncio.start_unix_server(lie, home.socket)
    try:
        async with asyncio.timeout(BOUND_S):
            await met.wait()
        async with home.visit("anna") as anna:
            body = await home.asks(anna, "status")
            assert all(line.isprintable() for line in body.splitlines())
            assert not any(line.startswith("12:00:00") for line in body.splitlines())
            assert home.node.code is None
    finally:
        server.close()
        for end in ends:
            end.transport.abort()
        home.socket.unlink(missing_ok=True)
        home.hw.start()
    await obeys(home, since)
