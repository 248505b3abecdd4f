"""Grammars of what comes in: chat, stanzas, node.toml, the Board protocol both ways; a quick slice of `make fuzz`.

Each is a property over whatever the grammar makes. `make fuzz` drives the same ones by coverage (`targets`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import math
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.fuzz.inbound import CONFIG, HOW, KNOWN, MEMORY, SLICES, Inbound
from tests.fuzz.material import JIDS, ORDERS, PHRASES, SEEDS, SNIPPETS, VALUES
from tests.node.house import CHANNELS
from tests.node.paper import Paper

from knoop import commands, config
from knoop.board import BoardClient, once
from knoop.command import Intent, Reply
from knoop.parse import parse
from knoop.router import Router
from knoop.text import Voice
from knoop.toml_schema import schema
from knoop.words import fold, words
from knoop.xmpp import compat
from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.board import Board
from knoop_hw.clock import FakeClock
from knoop_hw.errors import ConfigError, DeviceError
from knoop_hw.link import LinkClosed, pair
from knoop_hw.messages import Beat, Done, Failed, Hello, Leaving, Readings, Set, Stored, encode
from knoop_hw.messages import decode as decoded
from knoop_hw.model import Channel, Reading

VERBS = commands.table()
QUICK = settings(
    max_examples=80, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What nonsense brings into the log is judged elsewhere."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# ── chat ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

CALLED = {
    channel.name: tuple(
        frozenset(words(fold(name))) for name in (channel.name, channel.label, *channel.aliases) if name
    )
    for channel in CHANNELS.values()
}
SAID = sorted({word for text in (*PHRASES, *VALUES) for word in text.split() if len(word) < 40})
NAMES = sorted({name for one in CHANNELS.values() for name in (one.name, one.label, *one.aliases) if name})
SENTENCES = st.lists(
    st.sampled_from(SAID) | st.sampled_from(NAMES) | st.sampled_from(PHRASES) | st.text(max_size=6), max_size=9
).flatmap(lambda pieces: st.sampled_from((" ", ", ", "  ", "\n", ". ", "")).map(lambda between: between.join(pieces)))
HOUSE_ORDERS = (
    "lamp on", "set lamp on", "turn on the lamp", "lamp on for 10s", "zet de lamp uit", "pump 40", "pump 40%",
    "heating off", "Café lights on", "doe de kachel aan", "set pump to 21,5", "switch off lamp, please",
)  # fmt: skip
# Each of these makes an order doubtful, wherever it stands: a word nobody knows, a condition, a negation.
DOUBTS = ("xyzzy", "qwop", "not", "don't", "never", "niet", "nooit", "unless", "tenzij", "frobnicate", "lmap")


@settings(QUICK, max_examples=60)
@given(SENTENCES | st.sampled_from(ORDERS) | st.text(max_size=60))
def test_chat_acts_only_on_what_was_said(text):
    """What would move an output names it whole and fits it; everything else is a sentence that can be said."""
    judge_chat(text)


def judge_chat(text):
    """Raise AssertionError where this is understood as it must not be."""
    meant = parse(text, channels=CHANNELS, verbs=VERBS)
    if isinstance(meant, Reply):
        for lang in ("en", "nl"):
            assert Voice(lang=lang, channels=CHANNELS, now_ns=1).render(meant)
        return
    assert meant.verb in VERBS
    assert set(meant.channels) <= set(CHANNELS)
    assert meant.for_s is None or (math.isfinite(meant.for_s) and meant.for_s > 0)
    if meant.verb == "set":
        [name] = meant.channels
        channel = CHANNELS[name]
        assert channel.writable
        said = set(words(fold(text)))
        assert any(called <= said for called in CALLED[name]), text
        assert "?" not in text
        if channel.type == "boolean":
            assert isinstance(meant.value, bool)
        else:
            assert channel.minimum <= meant.value <= channel.maximum


@QUICK
@given(st.sampled_from(HOUSE_ORDERS), st.sampled_from(DOUBTS), st.integers(0, 9), st.sampled_from(("", "!", " 💡")))
def test_doubt_never_acts(order, doubt, place, end):
    """An order with one word in it that nobody knows, or that may turn it round, moves nothing."""
    said = order.split()
    said.insert(min(place, len(said)), doubt)
    meant = parse(" ".join(said) + end, channels=CHANNELS, verbs=VERBS)
    assert not (isinstance(meant, Intent) and meant.verb == "set"), " ".join(said)


# ── stanzas ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _element(tag: str, attributes: dict[str, str], children: list[str], text: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")

    said = "".join(f" {name}='{escaped(value)}'" for name, value in attributes.items())
    return f"<{tag}{said}>{escaped(text)}{''.join(children)}</{tag}>"


WORDS = st.sampled_from(VALUES) | st.sampled_from(PHRASES)
INNER = st.sampled_from(SNIPPETS) | st.builds(
    _element, st.sampled_from(("body", "x", "query", "command", "field", "value", "item", "status", "error", "delay")),
    st.dictionaries(
        st.sampled_from(("xmlns", "var", "node", "sessionid", "action", "jid", "code", "id", "type")), WORDS, max_size=3
    ),
    st.lists(st.sampled_from(SNIPPETS), max_size=2), WORDS,
)  # fmt: skip
STANZAS = st.lists(
    st.builds(
        _element, st.sampled_from(("message", "presence", "iq")),
        st.fixed_dictionaries(
            {"from": st.sampled_from(JIDS), "id": st.sampled_from(("m1", "m2", "q1"))},
            optional={"type": WORDS, "to": st.sampled_from(JIDS), "xml:lang": st.sampled_from(("nl", "en", ""))},
        ),
        st.lists(INNER, max_size=4), st.just(""),
    ) | st.sampled_from(SEEDS), min_size=1, max_size=3,
).map("".join)  # fmt: skip


@cache
def _inbound() -> Inbound:
    return Inbound().__enter__()


@settings(QUICK, max_examples=60)
@given(st.integers(0, len(HOW) - 1), st.integers(0, len(SLICES) - 1), STANZAS)
def test_stanzas_move_nothing(how, size, stanzas):
    """A whole node behind any stanzas: `inbound` says what must hold."""
    _inbound().feed(bytes((how, size)) + stanzas.encode("utf-8", "replace"))


@pytest.fixture(scope="module", autouse=True)
def _nodes_end() -> Iterator[None]:
    yield
    if _inbound.cache_info().currsize:
        _inbound().__exit__()
        _inbound.cache_clear()


# ── node.toml ─────────────────────────────────────────────────────────────────────────────────────────────────────────

GOOD = tomllib.loads(CONFIG + KNOWN)


def _keys(node: Any) -> set[str]:
    own = set(node.get("properties", ())) if isinstance(node, dict) else set()
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return own.union(*map(_keys, below))


KEYS = sorted(_keys(schema()))
SCALARS = (
    st.sampled_from((
        "", "1s", "10min", "-1s", "10 MiB", "GPIO17", "GPIO99", "gpio17", "lamp", "door", "door == on", "x > 1 and",
        "pwm",
        "simulated", "modbus", "p1", "nmea", "w1", "owner", "viewer", "alarm", "22:00-07:00", "25:00-1", "true", "nl",
        "scenario.toml", "/dev/null", "../../etc/passwd", "a@b", "\0", "\u202e", "x" * 3000, "1e999", "°C", "pep",
        "off",
    ))
    | st.integers(-(2**70), 2**70) | st.integers(-2, 300) | st.floats() | st.booleans() | st.text(max_size=8)
)  # fmt: skip
ITEMS = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(KEYS), SCALARS, max_size=3)
CHANGES = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=4), st.sampled_from(KEYS) | st.text(max_size=5), ITEMS),
    min_size=1, max_size=5,
)  # fmt: skip


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case float() if not math.isfinite(value):
            return str(value)
    return repr(value)


def _changed(changes: list[tuple[list[int], str, Any]]) -> str:
    document = copy.deepcopy(GOOD)
    for path, key, item in changes:
        table = document
        for step in path:
            tables = [one for one in table.values() if isinstance(one, dict)]
            if not tables:
                break
            table = tables[step % len(tables)]
        if key in table and item == "":
            del table[key]
        else:
            table[key] = item
    return "\n".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in document.items())


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(dir=MEMORY))


@pytest.fixture(scope="module", autouse=True)
def _folder_ends() -> Iterator[None]:
    yield
    if _folder.cache_info().currsize:
        (_folder() / "node.toml").unlink(missing_ok=True)
        _folder().rmdir()
        _folder.cache_clear()


@QUICK
@given(CHANGES.map(_changed) | st.text(max_size=80) | st.binary(max_size=60))
def test_a_configuration_is_one_or_a_config_error(document):
    """Whatever the file says: a configuration, or a ConfigError whose problems can be shown."""
    file = _folder() / "node.toml"
    file.write_bytes(document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass"))
    try:
        config.load(file, jid=compat.jid, words=commands.words())
    except ConfigError as error:
        assert error.problems
        assert str(error)


# ── the Board protocol ────────────────────────────────────────────────────────────────────────────────────────────────

BOARD = """
[input.door]
pin = "GPIO17"
[output.lamp]
pin = "GPIO27"
max_on = "60s"
[output.up]
pin = "GPIO5"
interlock = ["down"]
[output.down]
pin = "GPIO6"
[output.fan]
pin = "GPIO18"
kind = "pwm"
"""
LARGE = (2**63 - 1, 2**63, -(2**63), 10**18, 10**15)
NUMBERS = st.integers(-3, 5) | st.sampled_from(LARGE) | st.floats() | st.booleans()
PLAIN = NUMBERS | st.none() | st.sampled_from(
    ("", "lamp", "fan", "up", "door", "nope", "x" * 200, "\u2028", "1", "ok", "error")
)
MADE = (
    Set(id=7, channel="lamp", value=True, for_ms=10_000, by="anna@example.org", asked_ns=10**15),
    Set(id=8, channel="fan", value=40.5, by="anna@example.org", asked_ns=10**15),
    Set(id=9, channel="up", value=True, by="anna@example.org", asked_ns=10**15),
    Set(id=9, channel="down", value=True, by="anna@example.org", asked_ns=10**15), Stored(upto=1), Beat(), Leaving(),
    Done(id=1, reading=Reading(channel="lamp", seq=1, value=True, boottime_ns=1)),
    Failed(id=1, error="range", text="no"),
    Readings(upto=2, items=(
        Reading(channel="door", seq=2, value=True, boottime_ns=5),
        Reading(channel="fan", seq=1, value=None, quality="error", boottime_ns=5),
    )),
    Hello(version="0.1.0", run="k3v9q2xa", boot="b", digest="d", channels=(
        Channel(name="door", kind="contact", type="boolean", cls="event"),
    )),
)  # fmt: skip


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    """A line of the protocol with a few values changed, or with none."""
    raw = json.loads(encode(draw(st.sampled_from(MADE))))
    for _ in range(draw(st.integers(0, 3))):
        target: Any = raw
        while draw(st.booleans()):
            parts = target.values() if isinstance(target, dict) else target
            below = [one for one in parts if isinstance(one, dict | list)]
            if not below:
                break
            target = draw(st.sampled_from(below))
        value = draw(PLAIN | st.lists(PLAIN, max_size=2))
        if isinstance(target, dict):
            target[draw(st.sampled_from([*target, "value", "extra"]))] = value
        else:
            target.append(value)
    return json.dumps(raw).encode("utf-8", "replace")


LINES = st.lists(_lines() | st.binary(max_size=40), min_size=1, max_size=6)


def _messages(lines: list[bytes]) -> list[Any]:
    messages = []
    for line in lines:
        with contextlib.suppress(ValueError):  # all that a line may be else
            messages.append(decoded(line))
    return messages


@settings(QUICK, max_examples=40)
@given(LINES)
def test_what_an_agent_may_say_to_a_board(lines):
    """No message ends the board or takes an output where it may not be."""
    messages = _messages(lines)
    assume(messages)
    asyncio.run(_to_board(messages))


async def _to_board(messages):
    made = hw_config.load(decode.parse('[board]\ndriver = "simulated"\n' + BOARD, "x"), [])
    async with Board(made, clock=FakeClock(boottime_ns=10**15)) as board:
        ours, theirs = pair()
        serving = asyncio.create_task(board.serve(theirs))
        hearing = asyncio.create_task(_heard(ours))
        for message in messages:
            await ours.send(message)
        for _ in range(30):
            await asyncio.sleep(0)
        if serving.done():
            serving.result()
        levels = {name: reading.value for name, reading in board.latest.items()}
        assert not (levels["up"] and levels["down"])
        assert levels["lamp"] in {True, False}
        assert 0 <= levels["fan"] <= 100
        await ours.close()
        await asyncio.wait_for(serving, 20)
        await hearing


async def _heard(link):
    with contextlib.suppress(LinkClosed):
        while True:
            await link.receive()


@settings(QUICK, max_examples=40)
@given(LINES)
def test_what_a_board_may_say_to_an_agent(lines):
    """No message ends the agent's end or its router."""
    messages = _messages(lines)
    assume(messages)
    asyncio.run(_from_board(messages))


async def _from_board(messages):
    clock, ours_theirs = FakeClock(boottime_ns=10**15), pair()
    ours, theirs = ours_theirs
    client = BoardClient(once(ours), clock=clock)
    router = Router(Paper(), clock=clock, synced=lambda: True, on_stored=client.stored, on_record=lambda _record: None)
    await theirs.send(MADE[-1])
    await client.connected(router)
    tasks = [asyncio.create_task(work) for work in (client.listen(router), router.run())]
    try:
        for message in messages:
            await theirs.send(message)
        for _ in range(30):
            await asyncio.sleep(0)
        for task in tasks:
            if task.done():
                task.result()
        await theirs.close()
        with pytest.raises(DeviceError):
            async with asyncio.timeout(20):
                await clock.advance(2)
                await tasks[0]
        if tasks[1].done():
            tasks[1].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
