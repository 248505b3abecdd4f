"""A button and a counter of the real program: what people and machines hear of them, and what a restart leaves."""

from __future__ import annotations

import json
import signal

import pytest
from tests.integration.running import SCENARIO, Running, Way, until, write

from knoop_bench.witness import EVENTS

pytestmark = pytest.mark.prosody

BOARD = """
[board]
driver = "simulated"
scenario = "scenario.toml"
[input.bell]
label = "Doorbell"
pin = "GPIO22"
kind = "button"
[input.water]
pin = "GPIO23"
kind = "counter"
unit = "l"
rate = "l/min"
[alert.help]
when = 'bell == "double"'
"""
RINGING = (
    SCENARIO + 'repeat = "5s"\n'
    '[[step]]\nat = "0.5s"\nline = "bell"\npress = "100ms"\n'
    '[[step]]\nat = "1.5s"\nline = "bell"\npress = "100ms"\ntimes = 2\n'
    '[[step]]\nat = "3s"\nline = "bell"\npress = "1.5s"\n'
    '[[step]]\nat = "0.2s"\nline = "water"\npulses = 4\nevery = "500ms"\n'
)
SAID = {"click": "Doorbell: pressed.", "double": "Doorbell: pressed twice.", "long": "Doorbell: held."}


@pytest.fixture
async def node(prosody, account, witness, tmp_path):
    """A program that is not started yet, its JID, and its owner."""
    device, anna = account("greenhouse"), account("anna")
    config = {"jid": device.jid, "password": device.password, "people": {anna.jid: '"owner"'}, "board": BOARD}

    def scenario(text):
        write(tmp_path, Way.to(prosody), **config, scenario=text)

    scenario(RINGING)
    made = Running(tmp_path)
    made.scenario, made.jid, made.owner = scenario, device.jid, await witness(anna, friends=[device.jid])
    yield made
    await made.stop()
    assert "Traceback" not in made.log, made.log


async def begins(node, times=1):
    after = node.owner.mark
    node.start()
    await node.online(times=times)
    await node.owner.wait(lambda s: s.kind == "presence" and s.sender == f"{node.jid}/knoop" and not s.type, 15,
                          after=after)  # fmt: skip


async def hears(node, text, after=0):
    return await node.owner.wait(
        lambda seen: seen.sender_bare == node.jid and seen.kind == "message" and seen.body.startswith(text),
        15, after=after,
    )  # fmt: skip


async def asks(node, text, answer):
    after = node.owner.mark
    node.owner.say(node.jid, text)
    return (await hears(node, answer, after)).body


async def test_who_rings_is_heard_each_time_by_people_and_machines(node):
    await begins(node)
    for _ in range(2):
        for text in SAID.values():
            await hears(node, text, after=node.owner.mark)
    await hears(node, "Alert help: Doorbell is pressed twice")
    gestures = [
        child for item in node.owner.items if item.node == EVENTS and item.payload is not None
        for child in item.payload if child.get("channel") == "bell"
    ]  # fmt: skip
    assert {child.tag.rpartition("}")[2] for child in gestures} == {"text"}
    numbers = [int(child.get("seq")) for child in gestures]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    order = ["click", "double", "long"] * len(gestures)
    start = order.index(gestures[0].text)
    assert [child.text for child in gestures] == order[start : start + len(gestures)]
    assert await asks(node, "bell", "Doorbell: ") in {
        f"{said[:-1]}, {age} s ago." for said in SAID.values() for age in range(1, 6)
    }


async def test_a_total_goes_on_after_the_end_and_after_a_crash(node):
    kept = node.folder / "state" / "knoop" / "counters.json"
    await begins(node)
    await until(lambda: kept.exists() and json.loads(kept.read_text())["water"] > 0, lambda: node.log)
    await node.stop()
    first = json.loads(kept.read_text())["water"]
    assert first >= 1
    await begins(node, times=2)
    assert int((await asks(node, "water", "Water is ")).split()[2]) >= first
    await until(lambda: json.loads(kept.read_text())["water"] > first, lambda: node.log)
    await node.stop(signal.SIGKILL)
    second = json.loads(kept.read_text())["water"]
    node.scenario(SCENARIO)  # nothing happens any more
    await begins(node, times=3)
    assert await asks(node, "water", "Water is ") == f"Water is {second} l."
    assert await asks(node, "water rate", "Water rate is ") == "Water rate is 0.0 l/min (estimate)."
