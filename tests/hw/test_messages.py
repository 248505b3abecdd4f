"""The Board protocol's lines, and the link that carries them."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hw.ends import KINDS as KINDS_OF_ENDS
from tests.hw.ends import Sending, ends

from knoop_hw.link import LinkClosed
from knoop_hw.messages import KINDS, MAX_LINE, Beat, Done, Failed, Hello, Leaving, Readings, Set, Stored, decode, encode
from knoop_hw.model import Channel, Reading

CHANNELS = (
    Channel(name="door", kind="contact", type="boolean", cls="alarm", label="Vóórdeur", aliases=("deur", "poort")),
    Channel(
        name="fan",
        kind="pwm",
        type="number",
        unit="%",
        digits=0,
        minimum=0.0,
        maximum=100.0,
        writable=True,
        confirm=True,
    ),
)
HELLO = (
    b'{"m":"hello","version":"1","run":"r","boot":"b","digest":"d","channels":'
    b'[{"name":"x","kind":"switch","type":"boolean","aliases":%s}]}'
)
READING = Reading(channel="air.temperature", seq=88, value=21.4, boottime_ns=123)
MESSAGES = [
    Hello(version="0.1.0", run="k3v9q2xa", boot="b", digest="d", channels=CHANNELS),
    Hello(version="0.1.0", run="k3v9q2xa", boot="b", digest="d", channels=()),
    Readings(
        upto=512,
        items=(
            READING,
            Reading(channel="air.humidity", seq=1, value=None, quality="error", boottime_ns=1),
            Reading(channel="door", seq=2, value=True, quality="estimate", boottime_ns=2),
            Reading(channel="mode", seq=3, value="aan", boottime_ns=3),
        ),
    ),
    Readings(upto=0, items=()),
    Stored(upto=512),
    Beat(),
    Leaving(),
    Set(id=7, channel="lamp", value=True, for_ms=10_000, by="anna@example.org", asked_ns=1),
    Set(id=8, channel="fan", value=40.5, by="anna@example.org", asked_ns=2**62),
    Done(id=7, reading=READING),
    Failed(id=7, error="min-off", text="pump: rests"),
]


@pytest.mark.parametrize("field", ["id", "asked_ns", "for_ms", "value"])
def test_numbers_have_64_bits(field):
    """A larger one was a mistake of ours further on: floats end at 2**1024."""
    wish = json.loads(encode(Set(id=7, channel="fan", value=1, for_ms=1, by="anna@example.org", asked_ns=1)))
    decode(json.dumps({**wish, field: 2**63 - 1}).encode())
    for number in (2**63, -(2**63) - 1, 10**400):
        with pytest.raises(ValueError, match=f"set.{field}: .* is no number of 64 bits"):
            decode(json.dumps({**wish, field: number}).encode())


def test_there_is_an_example_of_every_message():
    assert {type(message) for message in MESSAGES} == set(KINDS.values())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_round_trip(message):
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_an_unknown_key_is_an_error(message):
    raw = json.loads(encode(message)) | {"extra": 1}
    with pytest.raises(ValueError, match="unknown key 'extra'"):
        decode(json.dumps(raw).encode())


WITH_KEYS = [message for message in MESSAGES if not isinstance(message, Beat | Leaving)]


@pytest.mark.parametrize("message", WITH_KEYS, ids=lambda message: type(message).__name__)
def test_a_missing_key_is_an_error(message):
    raw = json.loads(encode(message))
    for key in raw.keys() - {"m", "v", "for_ms"}:
        with pytest.raises(ValueError):
            decode(json.dumps({name: item for name, item in raw.items() if name != key}).encode())


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"{", b"[]", b"3", b'{"m":"nonsense"}', b"{}", b"\xff", b"[" * 30_000,
        b'{"m":"stored","upto":true}', b'{"m":"stored","upto":"1"}', b'{"m":"stored","upto":1.5}',
        b'{"m":"set","id":1,"channel":"lamp","value":"on","by":"a"}',
        b'{"m":"readings","upto":1,"items":[{"channel":"x","seq":0,"value":1,"boottime_ns":0}]}',
        b'{"m":"readings","upto":1,"items":[{"channel":"x","seq":1,"value":1,"quality":"error","boottime_ns":0}]}',
        b'{"m":"readings","upto":1,"items":[3]}',
        b'{"m":["set"]}', b'{"m":{}}', b'{"m":"readings","upto":1,"items":3}', b'{"m":"hello","channels":{"a":1}}',
        b'{"m":"set","id":1,"channel":"fan","value":NaN,"by":"a"}',
        HELLO % b'"x"', HELLO % b"[1]", HELLO % b"[null]", HELLO % b"{}", HELLO % b"null",
    ],
)  # fmt: skip
def test_nonsense_is_a_value_error(line):
    with pytest.raises(ValueError):
        decode(line)


def test_a_line_too_long_is_refused_on_both_sides():
    with pytest.raises(ValueError, match="exceed the line limit"):
        encode(Failed(id=1, error="range", text="x" * MAX_LINE))
    with pytest.raises(ValueError, match="exceeds the limit"):
        decode(b" " * (MAX_LINE + 1))


def test_aliases_travel_as_a_list_of_names():
    made = decode(HELLO % b'["deur"]')
    assert made.channels[0].aliases == ("deur",)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_line_is_a_message_or_a_value_error(line):
    with contextlib.suppress(ValueError):
        decode(line)


@pytest.mark.parametrize("kind", KINDS_OF_ENDS)
class TestLink:
    async def test_messages_arrive_in_order(self, kind):
        agent, board = ends(kind)
        for message in MESSAGES:
            await board.send(message)
        assert [await agent.receive() for _ in MESSAGES] == MESSAGES
        await hung_up(agent, board)

    async def test_a_sender_waits_while_the_other_end_is_behind(self, kind):
        agent, board = ends(kind)
        sending = Sending(agent, lambda number: Stored(upto=number))
        sent = await sending.stuck()
        assert sent < 10_000
        assert [(await board.receive()).upto for _ in range(sent)] == list(range(sent))
        async with asyncio.timeout(20):
            while sending.sent == sent:
                await asyncio.sleep(0)
        await hung_up(agent, board)
        with pytest.raises(LinkClosed):
            await asyncio.wait_for(sending.task, 20)

    async def test_what_was_sent_before_a_close_still_arrives(self, kind):
        agent, board = ends(kind)
        await agent.send(Beat())
        await agent.close()
        await agent.close()
        assert await board.receive() == Beat()
        with pytest.raises(LinkClosed):
            await board.receive()
        with pytest.raises(LinkClosed):
            await board.send(Beat())
        with pytest.raises(LinkClosed):
            await agent.receive()
        await hung_up(agent, board)

    async def test_a_close_wakes_those_who_wait(self, kind):
        agent, board = ends(kind)
        waiting = [asyncio.create_task(end.receive()) for end in (agent, board)]
        await asyncio.sleep(0)
        await agent.close()
        for task in waiting:
            with pytest.raises(LinkClosed):
                await asyncio.wait_for(task, 20)
        await hung_up(agent, board)


async def hung_up(*both):
    for end in both:
        await end.close()
