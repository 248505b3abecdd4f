"""The demo without a terminal: a conversation that proves, from the clients' side, what a node does.

Each step looks only at what XMPP clients saw, at the simulated board's pins and at the meter's telegram, never into
the node. A step that does not see what it claims raises NotSeen; the tour then ends non-zero.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from knoop_bench import schema
from knoop_bench.errors import BenchError, NotSeen
from knoop_bench.seen import Item, Seen
from knoop_bench.stage import NODE, OWNER, STRANGER, TELEGRAM, VIEWER, Stage
from knoop_bench.witness import EVENTS, NODES, READINGS, STATE, Witness

KNOOP = "{urn:knoop:1:readings}"
NICK = NODE
CUT_S = 6.0
BENCH_TIMEOUT_S = 40.0

# What the recorded telegram says, read here by OBIS code with one regular expression, not by the node's parser.
METER: Mapping[str, tuple[str, str]] = {
    "meter.energy_t1": ("1-0:1.8.1", "kWh"), "meter.energy_t2": ("1-0:1.8.2", "kWh"),
    "meter.returned_t1": ("1-0:2.8.1", "kWh"), "meter.power": ("1-0:1.7.0", "kW"),
    "meter.gas": ("0-1:24.2.1", "m³"),
}


@dataclass(slots=True)
class Cast:
    """The clients of the tour. `patience` scales how long a step waits for what it claims."""

    anna: Actor
    bram: Actor
    mallory: Actor
    patience: float = 1.0


class Actor(Witness):
    """A witness whose side of the conversation is printed as it happens. `deaf` hides stanzas, to test the tour."""

    def __init__(self, stage: Stage, user: str, *, deaf: Callable[[Seen], bool] | None = None, **more: Any) -> None:
        server = stage.server
        super().__init__(
            stage.jid(user), server.password(user), port=server.tls_port, ca_file=server.ca_file, **more
        )
        self._name = user
        self._deaf = deaf

    def blind(self, deaf: Callable[[Seen], bool] | None) -> None:
        """Hide these stanzas from now on, and those that came already."""
        self._deaf = deaf
        self.seen[:] = [seen for seen in self.seen if not (deaf and deaf(seen))]

    def say(self, to: str, text: str, *, id: str = "", type: str = "chat") -> str:  # noqa: A002 -- XMPP's own words
        """Send a message, and print it."""
        show(f"{self._name} → {to.partition('@')[0]}", text)
        return super().say(to, text, id=id, type=type)

    def _record(self, stanza: Any) -> Any:
        before = len(self.seen)
        result = super()._record(stanza)
        for seen in self.seen[before:]:
            if self._deaf and self._deaf(seen):
                self.seen.remove(seen)
            elif seen.kind == "message" and seen.body and seen.type != "error":
                sender = seen.sender.rpartition("/")[2] if seen.type == "groupchat" else seen.sender.partition("@")[0]
                place = "room" if seen.type == "groupchat" else self._name
                show(f"{sender} → {place}", seen.body)
        return result


def show(who: str, text: str) -> None:
    """One line of the conversation; further lines of a message stand under it."""
    first, *rest = text.splitlines() or [""]
    print(f"  {time.strftime('%H:%M:%S')}  {who:<20} {first}", flush=True)
    for line in rest:
        print(f"  {'':<30} {line}", flush=True)


Step = Callable[[Stage, Cast], Awaitable[str]]


async def typed_readings(stage: Stage, cast: Cast) -> str:
    """The owner's client gets typed readings over PEP."""
    node = stage.jid(NODE)
    seen = await cast.anna.wait(
        lambda s: s.sender_bare == node and "air.temperature" in _values(s, READINGS), 10 * cast.patience
    )
    items = [item for item in seen.items if item.node == READINGS]
    for item in items:
        assert item.payload is not None, "an item came without a payload"
        schema.validate(item.payload)
    state = await cast.anna.wait(lambda s: any(item.node == STATE for item in s.items), 10 * cast.patience)
    for item in state.items:
        assert item.payload is not None, "an item came without a payload"
        schema.validate(item.payload)
    value, unit = _values(seen, READINGS)["air.temperature"]
    if unit != "°C" or not -40 < float(value) < 60:
        raise NotSeen(f"air.temperature came as {value} {unit}")
    return f"air.temperature {value} {unit} in item {items[0].id}; readings and state match the schema"


async def door(stage: Stage, cast: Cast) -> str:
    """A door edge on the simulated board arrives as an event item and as a chat sentence."""
    after, node = cast.anna.mark, stage.jid(NODE)
    item = await cast.anna.wait(
        lambda s: s.sender_bare == node and "door" in _values(s, EVENTS), 15 * cast.patience, after=after
    )
    value = _values(item, EVENTS)["door"][0]
    for event in item.items:
        assert event.payload is not None, "an item came without a payload"
        schema.validate(event.payload)
    sentence = f"Front door is {'open' if value == 'true' else 'closed'}."
    chat = await cast.anna.wait(
        lambda s: s.type == "chat" and s.sender_bare == node and s.body == sentence, 5 * cast.patience, after=after
    )
    if chat.id != item.items[0].id:
        raise NotSeen(f"the sentence has id {chat.id}, the item {item.items[0].id}: one reading, one identity")
    return f"item {item.items[0].id} = {value}, and “{sentence}” with the same id"


async def lamp(stage: Stage, cast: Cast) -> str:
    """`lamp on` switches the simulated lamp, and the reply states the value read back."""
    node, after, before = stage.jid(NODE), cast.anna.mark, len(transitions(stage, "lamp"))
    cast.anna.say(node, "lamp on")
    await cast.anna.wait(lambda s: s.sender_bare == node and s.body == "Lamp is on.", 5 * cast.patience, after=after)
    moved = transitions(stage, "lamp")[before:]
    if [move["level"] for move in moved] != [True]:
        raise NotSeen(f"the lamp's line on the board moved {moved}, not once to high")
    after = cast.anna.mark
    cast.anna.say(node, "lamp?")
    await cast.anna.wait(lambda s: s.sender_bare == node and s.body == "Lamp is on.", 5 * cast.patience, after=after)
    return f"{moved[0]['line']} went high on the board"


async def stranger(stage: Stage, cast: Cast) -> str:
    """A stranger's command changes nothing, gets no reply, and is in the audit log."""
    node, before, after = stage.jid(NODE), len(transitions(stage, "lamp")), cast.mallory.mark
    cast.mallory.say(f"{node}/knoop", "lamp off")
    await cast.mallory.none(lambda s: s.kind != "iq" and s.sender_bare == node, 2.0, after=after)
    if moved := transitions(stage, "lamp")[before:]:
        raise NotSeen(f"the lamp's line on the board moved: {moved}")
    after = cast.anna.mark
    cast.anna.say(node, "log")
    line = await cast.anna.wait(
        lambda s: s.sender_bare == node and "refused: stranger" in s.body and stage.jid(STRANGER) in s.body,
        5 * cast.patience, after=after,
    )
    return next(text for text in line.body.splitlines() if "stranger" in text)


async def room(stage: Stage, cast: Cast) -> str:
    """The node is in the fleet room; an alarm shows there and, after `ack`, says so."""
    node = stage.jid(NODE)

    def said(start: str) -> Callable[[Seen], bool]:
        return lambda s: s.type == "groupchat" and s.sender == f"{stage.room}/{NICK}" and s.body.startswith(start)

    await cast.bram.wait(
        lambda s: s.kind == "presence" and s.sender == f"{stage.room}/{NICK}" and not s.type, 10 * cast.patience
    )
    raised = await cast.bram.wait(said("Critical alert frost: "), 40 * cast.patience)
    await cast.anna.wait(lambda s: s.type == "chat" and s.body == raised.body, 5 * cast.patience)
    cast.anna.say(node, "ack frost")
    acknowledged = await cast.bram.wait(said("frost: acknowledged by Anna"), 5 * cast.patience, after=raised.number)
    return f"“{raised.body}” then “{acknowledged.body}”"


async def meter(stage: Stage, cast: Cast) -> str:
    """The meter's readings equal the telegram's."""
    node = stage.jid(NODE)
    telegram = telegram_values()
    seen: dict[str, tuple[str, str]] = {}

    def complete(stanza: Seen) -> bool:
        if stanza.sender_bare == node:
            seen.update(_values(stanza, READINGS))
        return all(name in seen for name in telegram)

    await cast.anna.wait(complete, 15 * cast.patience)
    for name, (value, unit) in telegram.items():
        if float(seen[name][0]) != value or seen[name][1] != unit:
            raise NotSeen(f"{name}: the telegram says {value} {unit}, the item {seen[name]}")
    return ", ".join(f"{name.removeprefix('meter.')} {seen[name][0]} {seen[name][1]}" for name in telegram)


async def cut(stage: Stage, cast: Cast) -> str:
    """The link is cut and comes back: the events of the meantime arrive once, in order."""
    node, after = stage.jid(NODE), cast.anna.mark
    # Each opening of the scenario is followed by a closing within the cut, but not each closing by an opening.
    await cast.anna.wait(lambda s: _values(s, EVENTS).get("door", ("",))[0] == "true", 20 * cast.patience, after=after)
    print(f"  {time.strftime('%H:%M:%S')}  (the node's link is cut for {CUT_S:g} s)", flush=True)
    await stage.proxy.cut()
    try:
        await cast.anna.wait(
            lambda s: s.kind == "presence" and s.sender_bare == node and s.type == "unavailable",
            5 * cast.patience, after=after,
        )
        down, cut_at = cast.anna.mark, datetime.now(UTC)
        await asyncio.sleep(CUT_S)
        if any(item.node == EVENTS for seen in cast.anna.seen[down:] for item in seen.items):
            raise NotSeen("events came while the link was cut: nothing was proven")
    finally:
        restored_at = datetime.now(UTC)
        await stage.proxy.restore()
    await cast.anna.wait(
        lambda s: s.kind == "presence" and s.sender_bare == node and not s.type, 30 * cast.patience, after=down
    )
    print(f"  {time.strftime('%H:%M:%S')}  (the node is back)", flush=True)
    # One that happened after the cut stands behind the backlog: whatever was to come of that, repeats too, has come.
    await cast.anna.wait(
        lambda s: any(event.at > restored_at for event in door_events([s])), 15 * cast.patience, after=down
    )
    arrived = door_events(cast.anna.seen)
    events = list({event.id: event for event in reversed(arrived)}.values())[::-1]  # as every subscriber does
    numbers = [event.seq for event in events]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise NotSeen(f"the door's events came as {numbers}: not once each, in order")
    meantime = [event.seq for event in events if event.arrived >= down and cut_at < event.at < restored_at]
    if not meantime:
        raise NotSeen("no event that happened while the link was cut came after it")
    repeats = len(arrived) - len(events)
    return (
        f"of door events {numbers}, all once and in order, {meantime} happened while the link was cut "
        f"({repeats or 'no'} repeat{'s' * (repeats != 1)} known by their id)"
    )


async def bench(stage: Stage, cast: Cast) -> str:  # noqa: ARG001 -- a step
    """`bench --quick` measures stanzas/s, CPU per reading and memory against this server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "knoop", "bench", "--quick", "--json", "--config", str(stage.config),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BENCH_TIMEOUT_S):
            out, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise NotSeen(f"knoop bench ended with {process.returncode}: {errors.decode('utf-8', 'replace').strip()}")
    figures = json.loads(out)
    for name in ("stanzas_per_s", "cpu_us_per_reading", "pss_mb"):
        if not figures[name] > 0:
            raise NotSeen(f"{name} is {figures[name]}")
    return (
        "{stanzas_per_s:g} stanzas/s one at a time, {stanzas_in_flight_per_s:g} with 16 in flight, "
        "{cpu_us_per_reading:g} µs CPU per reading, {rss_mb:g} MB RSS ({pss_mb:g} MB PSS)"
    ).format_map(figures)


STEPS: tuple[Step, ...] = (typed_readings, door, lamp, stranger, room, meter, cut, bench)


async def tour(stage: Stage, *, steps: tuple[Step, ...] = STEPS) -> int:
    """Run every step on a set stage; returns how many did not see what they claim."""
    friends = (stage.jid(NODE),)
    async with (
        Actor(stage, OWNER, friends=friends) as anna,
        Actor(stage, VIEWER, friends=friends, notify=(), deaf=lambda s: s.type == "chat") as bram,
        Actor(stage, STRANGER, notify=NODES) as mallory,
    ):
        await bram.join(stage.room, VIEWER)
        cast = Cast(anna, bram, mallory)
        missing = 0
        for number, step in enumerate(steps, 1):
            print(f"\n{number}. {step.__doc__}", flush=True)
            missing += not await observed(step, stage, cast)
        return missing


async def observed(step: Step, stage: Stage, cast: Cast) -> bool:
    """Whether the step saw what it claims; says what it saw or missed."""
    try:
        stage.node.alive()
        saw = await step(stage, cast)
    except (BenchError, AssertionError, OSError, ValueError, TimeoutError) as error:
        print(f"   ✗ not seen: {error}", flush=True)
        return False
    print(f"   ✓ {saw}", flush=True)
    return True


def transitions(stage: Stage, channel: str) -> list[dict[str, Any]]:
    """What an observer of the board's pins saw of one output, oldest first."""
    if not stage.trace.exists():
        return []
    lines = [json.loads(line) for line in stage.trace.read_text("utf-8").splitlines()]
    return [line for line in lines if line["channel"] == channel]


def telegram_values(file: Path = TELEGRAM) -> dict[str, tuple[float, str]]:
    """Channel → (value, unit) of the recorded telegram."""
    text = file.read_text("ascii")
    values = {}
    for name, (code, unit) in METER.items():
        found = re.search(rf"^{re.escape(code)}\(.*?([0-9.]+)\*\w+\)\r?$", text, re.MULTILINE)
        assert found, f"{file} has no {code}"
        values[name] = (float(found[1]), unit)
    return values


@dataclass(frozen=True, slots=True)
class DoorEvent:
    """One event item of the door: the stanza it `arrived` with, its id and number, and when it happened."""

    arrived: int
    id: str
    seq: int
    at: datetime


def door_events(seen: list[Seen]) -> list[DoorEvent]:
    """Every event of the door, as they came."""
    return [
        DoorEvent(stanza.number, item.id, int(child.get("seq", "0")), _at(item.payload))
        for stanza in seen
        for item in stanza.items
        if item.node == EVENTS and item.payload is not None
        for child in _children(item)
        if child.get("channel") == "door"
    ]


def _at(payload: ET.Element) -> datetime:
    return datetime.fromisoformat(payload.get("at", ""))


def _values(stanza: Seen, node: str) -> dict[str, tuple[str, str]]:
    """Channel → (text, unit) of the readings that one stanza brought of `node`."""
    return {
        child.get("channel", ""): (child.text or "", child.get("unit", ""))
        for item in stanza.items
        if item.node == node
        for child in _children(item)
    }


def _children(item: Item) -> list[ET.Element]:
    return [] if item.payload is None else [child for child in item.payload if child.tag.startswith(KNOOP)]
