"""What a node does all day, in CPU seconds: `make bench` times these beside `knoop bench`, `make test` runs each once.

The figures are for comparing two commits on one machine, never for a limit in a test.
"""

import asyncio
import contextlib
import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.hw.ends import KINDS, ends

from knoop import commands, payload
from knoop.parse import parse
from knoop.record import Record
from knoop.store import Store
from knoop.xmpp import inbound
from knoop_hw.messages import Readings, Stored, decode, encode
from knoop_hw.model import Channel, Reading
from knoop_hw.sensors import p1

TELEGRAM = (Path(__file__).parents[1] / "data" / "p1" / "dsmr50.txt").read_bytes()
CHANNELS = {
    name: Channel(name=name, kind="switch", type="boolean", cls="event", writable=True)
    for name in ("lamp", "pump", "heating", "gate")
}


def record(number):
    return Record(
        run="aaaaaaaa", channel="air.temperature", seq=number, cls="telemetry", type="number", value=20 + number / 10,
        unit="°C", boot="b", boottime_ns=number, at_ns=1_795_342_503_000_000_000 + number,
    )


def test_ten_readings_as_an_item(benchmark):
    batch = [record(number) for number in range(1, 11)]
    element = benchmark(lambda: ET.tostring(payload.readings(batch)))
    assert element.count(b"channel=") == 10


def test_ten_readings_through_the_board_protocol(benchmark):
    items = tuple(Reading(channel="air.temperature", seq=n, value=20.5, boottime_ns=n) for n in range(1, 11))
    message = Readings(upto=10, items=items)
    assert benchmark(lambda: decode(encode(message))) == message


@pytest.mark.parametrize("kind", KINDS)
def test_ten_readings_over_each_link_and_the_answer(benchmark, kind):
    items = tuple(Reading(channel="air.temperature", seq=n, value=20.5, boottime_ns=n) for n in range(1, 11))
    message = Readings(upto=10, items=items)
    with asyncio.Runner() as runner:

        async def opened():
            return ends(kind)

        agent, board = runner.run(opened())

        async def there_and_back():
            await board.send(message)
            assert await agent.receive() == message
            await agent.send(Stored(upto=10))
            return await board.receive()

        assert benchmark(lambda: runner.run(there_and_back())) == Stored(upto=10)
        for end in (agent, board):
            runner.run(end.close())


def test_a_telegram(benchmark):
    [frame] = p1.Frames(crc=True).feed(TELEGRAM)
    assert benchmark(lambda: p1.parse(frame))["power"] == 0.244


def test_what_a_person_types(benchmark):
    intent = benchmark(lambda: parse("set lamp on for 10s", channels=CHANNELS, verbs=commands.table()))
    assert (intent.verb, intent.channels, intent.for_s) == ("set", ("lamp",), 10)


def test_a_message_is_judged(benchmark):
    message = ET.fromstring(
        "<message xmlns='jabber:client' from='anna@example.org/x' type='chat' id='1'><body>lamp on</body></message>"
    )
    assert benchmark(lambda: inbound.chat(message)).text == "lamp on"


@pytest.mark.parametrize("size", [1, 10, 100])
def test_readings_into_the_outbox_and_out(benchmark, tmp_path, size):
    """One commit a group: what a larger group saves."""
    numbers = itertools.count(1)
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        opening = Store.open(tmp_path / "readings.db")
        store = runner.run(opening.__aenter__())
        stack.callback(lambda: runner.run(opening.__aexit__(None, None, None)))

        async def group():
            kept = await store.add([(record(next(numbers)), ("pubsub",)) for _ in range(size)])
            await store.delivered("pubsub", [one.row for one in kept])
            return kept

        assert len(benchmark(lambda: runner.run(group()))) == size
        assert runner.run(store.backlog()) == {}
