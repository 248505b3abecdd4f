"""Both halves on a real kernel, a real server on the host: from an edge to a person and back to a line."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.board.node import Node, later
from tests.integration.conftest import account, prosody, witness  # noqa: F401 -- fixtures
from tests.integration.running import Way

from knoop_bench.witness import EVENTS, Witness

BOARD = """
[input.door]
label = "Front door"
pin = "GPIO5"
debounce = "0ms"

[output.lamp]
label = "Lamp"
pin = "GPIO2"
"""

_numbers = itertools.count(1)


@dataclass(slots=True)
class House:
    """A node, its owner, and how many of the owner's seen stanzas are known."""

    node: Node
    jid: str
    owner: Witness

    def events(self) -> list[tuple[str, int, str]]:
        """Every reading of the door that came as an item: run, sequence number, value."""
        found = []
        for item in self.owner.items:
            if item.node == EVENTS and item.payload is not None:
                reading = item.payload[0]
                if reading.get("channel") == "door":
                    found.append((item.payload.get("run"), int(reading.get("seq")), reading.text))
        return found

    async def until_events(self, number: int) -> list[tuple[str, int, str]]:
        """Wait until so many different readings of the door have come; each once, and in order."""
        await self.owner.wait(lambda _: len(set(self.events())) >= number, 60)
        return list(dict.fromkeys(self.events()))

    async def asks(self, text: str, answer: str) -> None:
        after = self.owner.mark
        self.owner.say(self.jid, text)
        await self.owner.wait(
            lambda seen: seen.sender_bare == self.jid and seen.body.startswith(answer), 30, after=after
        )


@pytest.fixture
async def house(  # noqa: PLR0917 -- fixtures
    guest, lines, prosody, account, witness, tmp_path,  # noqa: F811
) -> AsyncIterator[House]:  # fmt: skip
    device, anna = account("greenhouse"), account("anna")
    owner = await witness(anna, friends=[device.jid])
    node = Node(guest, f"/root/node{next(_numbers)}", tmp_path)
    people = {anna.jid: '{ role = "owner", notify = ["alarm", "event"] }'}
    node.write(Way.to(prosody), device, people=people, board=BOARD)
    yield House(node, device.jid, owner)
    await later(node.close)


async def test_from_an_edge_to_a_person_and_back_to_a_line(house, lines, report):
    began = time.monotonic()
    await later(house.node.start, "hw", plainly=True)
    await later(house.node.start, "node", plainly=True)
    report("both halves' commands, from start to login", f"{time.monotonic() - began:.1f} s")
    mark = lines.recorded
    lines.drive(5, True)
    driven = time.monotonic()
    await house.owner.wait(lambda seen: seen.body.startswith("Front door is "), 60)
    report("from an edge to a chat message on the host", f"{(time.monotonic() - driven) * 1000:.0f} ms")
    run = (await house.until_events(2))[0][0]
    assert await house.until_events(2) == [(run, 1, "false"), (run, 2, "true")]

    await house.asks("lamp on", "Lamp is on")
    assert lines.moves(2, since=mark) == [True]
    await house.asks("lamp off", "Lamp is off")
    assert lines.moves(2, since=mark) == [True, False]


async def drive(lines, guest, number: int, *, high: bool) -> None:
    """So many edges, the first to `high`, each when the one before has been dealt with."""
    for index in range(number):
        await later(lines.drive, 5, high == (index % 2 == 0))
        await later(guest.rest)


async def test_a_restart_of_either_half_loses_no_reading(house, lines, guest):
    node = house.node
    await later(node.start, "hw")
    await later(node.start, "node")
    run = (await house.until_events(1))[0][0]
    expected = [(run, 1, "false")]

    await drive(lines, guest, 3, high=True)
    await later(node.stop, "node")
    await drive(lines, guest, 9, high=False)  # nobody is there to be told
    await later(node.start, "node")
    expected += [(run, 2 + index, "true" if index % 2 == 0 else "false") for index in range(12)]
    assert await house.until_events(len(expected)) == expected

    await drive(lines, guest, 5, high=True)
    assert await later(node.stop, "hw") == 0  # while the agent stores
    expected += [(run, 14 + index, "true" if index % 2 == 0 else "false") for index in range(5)]
    assert await house.until_events(len(expected)) == expected
    await house.asks("lamp on", "")
    assert not lines.level(2)

    await later(node.start, "hw")
    await drive(lines, guest, 4, high=False)
    seen = await house.until_events(len(expected) + 5)
    again = seen[-1][0]
    assert again != run
    assert seen == expected + [(again, 1 + index, "true" if index % 2 == 0 else "false") for index in range(5)]
