"""Fifty nodes in one room: a frosty minute is a few lines, a roll-call is bounded, a restart brings everybody back.

All fifty are whole nodes with a session each, in this process; the server is a real one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio
from tests.integration.inprocess import Node, node
from tests.integration.running import Way, until, write
from tests.interop.conftest import make

from knoop_bench.certificates import Authority
from knoop_bench.seen import Seen
from knoop_bench.server import Server
from knoop_bench.witness import Witness

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLEET = 50
NICKS = tuple(f"n{number:02}" for number in range(FLEET))
MORE = """
[publish]
pubsub = "off"
[alert.frost]
when = "door == on"
severity = "critical"
"""
BOARD = '[board]\ndriver = "simulated"\nscenario = "scenario.toml"\n[input.door]\npin = "GPIO17"\nlabel = "Door"\n'


@dataclass(slots=True)
class Fleet:
    """The nodes by nick, and Anna, who may operate all of them and is in their room."""

    server: Server
    room: str
    nodes: dict[str, Node]
    anna: Witness

    def lines(self, after: int) -> list[Seen]:
        """What nodes said in the room."""
        return [
            seen for seen in self.anna.seen[after:]
            if seen.type == "groupchat" and seen.body and seen.sender.partition("/")[2] in self.nodes
        ]

    def inside(self) -> int:
        """How many nodes are in the room, as far as they know."""
        rooms = (next(iter(one.agent.presence._rooms.values())) for one in self.nodes.values())
        return sum(room._room is not None and room._room.joined for room in rooms)

    async def named(self, after: int) -> list[Seen]:
        """The lines, once every node is in one of them and none has anything left to say."""

        def missing() -> set[str]:
            return set(NICKS) - names(self.lines(after))

        await until(lambda: not missing(), lambda: f"in no line: {missing()}", 60)
        async with asyncio.timeout(30):
            for one in self.nodes.values():
                while one.agent.router.outbox._lines[f"room:{self.room}"].waits:
                    await asyncio.sleep(0.05)
        await self.anna.ping()
        return self.lines(after)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(
    software: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    """Fifty nodes that are in the room."""
    folder = tmp_path_factory.mktemp("fleet")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(make(software, folder / software, authority))
        jids = {nick: server.add_account(nick, "secret") for nick in NICKS}
        anna_jid = server.add_account("anna", "secret")
        room = server.room("fleet")
        anna = await watch(stack, server, anna_jid)
        await anna.join(room, "anna")
        nodes = {}
        for nick, jid in jids.items():
            home = folder / nick
            home.mkdir()
            table = f'[room."{room}"]\nnick = "{nick}"\ncommands = true\n'
            file = write(home, Way.to(server), jid=jid, people={anna_jid: '"owner"'}, board=BOARD, more=MORE + table)
            nodes[nick] = await stack.enter_async_context(node(file, password="secret"))
        made = Fleet(server, room, nodes, anna)
        await until(lambda: made.inside() == FLEET, lambda: f"{made.inside()} are in the room", 60)
        yield made


async def watch(stack: AsyncExitStack, server: Server, jid: str) -> Witness:
    return await stack.enter_async_context(
        Witness(jid, "secret", port=server.tls_port, ca_file=server.ca_file, login_s=60)
    )


def names(lines: list[Seen]) -> set[str]:
    """The nodes that lines about alerts speak for."""
    listed = (seen.body.partition(": ")[2].split(", ") for seen in lines if " nodes: " in seen.body)
    return {name for some in listed for name in some} | {seen.sender.partition("/")[2] for seen in lines}


async def test_a_storm_of_alarms_is_a_few_lines_with_every_node_in_them(fleet, record_property):
    for value, kind in ((True, "raised"), (False, "cleared")):
        after, began_s = fleet.anna.mark, time.monotonic()
        for one in fleet.nodes.values():
            one.reads("door", value)
        lines = await fleet.named(after)
        record_property(kind, f"{len(lines)} lines in {time.monotonic() - began_s:.1f} s")
        assert len(lines) <= 3, [str(line) for line in lines]


async def test_all_are_acknowledged_by_one_line(fleet):
    after = fleet.anna.mark
    for one in fleet.nodes.values():
        one.reads("door", True)
    await fleet.named(after)
    after = fleet.anna.mark
    fleet.anna.say(fleet.room, "ack * frost", type="groupchat")
    lines = await fleet.named(after)
    assert len(lines) <= 3, [str(line) for line in lines]


async def test_a_roll_call_is_one_line_each_in_a_bounded_time(fleet):
    after, began_s = fleet.anna.mark, asyncio.get_running_loop().time()
    fleet.anna.say(fleet.room, "roll", type="groupchat")
    fleet.anna.say(fleet.room, "all: status", type="groupchat")  # one round at a time
    await until(lambda: len(fleet.lines(after)) >= FLEET, lambda: f"{len(fleet.lines(after))} answered", 30)
    await fleet.anna.none(lambda seen: seen in fleet.lines(after)[FLEET:], 2.0, after=after)
    lines = fleet.lines(after)
    assert sorted(seen.sender.partition("/")[2] for seen in lines) == sorted(NICKS)
    assert all("\n" not in seen.body for seen in lines)
    assert lines[-1].at_s - began_s < 20
    assert lines[FLEET // 2].at_s - lines[0].at_s > 1, "they came all at once"


async def test_after_a_restart_of_the_server_all_are_back_within_a_minute(fleet):
    began_s = time.monotonic()
    await fleet.server.restart()
    await until(lambda: fleet.inside() < FLEET, lambda: "nobody noticed", 30)
    await until(lambda: fleet.inside() == FLEET, lambda: f"{fleet.inside()} are in the room", 60)
    assert time.monotonic() - began_s < 60
