"""Whole nodes in the test's own process: many of them in one room, and their pauses in the test's hand.

Everything is the real thing but the board's readings, which `Node.reads` makes up. Who wants the program as its users
start it takes `running`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from knoop import commands, config
from knoop.agent import Agent
from knoop.board import BoardClient, once
from knoop.record import Record
from knoop.state import State
from knoop.store import Store
from knoop.xmpp import compat
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
from knoop_hw.link import pair

STOP_S = 15.0


@dataclass(slots=True)
class Node:
    """A node that runs. `reads` is a reading of its board."""

    agent: Agent
    _seq: dict[str, int] = field(default_factory=dict)

    def reads(self, channel: str, value: bool | float) -> None:
        """Let the board report this value of `channel`."""
        clock, channels = self.agent.house.clock, self.agent.house.channels
        seq = self._seq[channel] = self._seq.get(channel, 0) + 1
        self.agent.router.put(
            Record(
                run="inthetest", channel=channel, seq=seq, cls=channels[channel].cls, type=channels[channel].type,
                value=value, boot=clock.boot_id, boottime_ns=clock.boottime_ns(), at_ns=clock.time_ns(),
            )
        )

    @property
    def level(self) -> bool:
        """The lamp, as the board says."""
        return bool(self.agent.house.latest["lamp"].value)


@asynccontextmanager
async def node(file: Path, *, password: str) -> AsyncIterator[Node]:
    """The node of this `node.toml`, on a simulated board, until the block ends."""
    clock, stop = SystemClock(), asyncio.Event()
    loaded = config.load(file, jid=compat.jid, words=commands.words())
    state = file.parent / "state"
    state.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(state / "readings.db"))
        memory = await stack.enter_async_context(State.open(state / "state.db"))
        board = await stack.enter_async_context(Board(loaded.hw, clock=clock, state=state))
        agent_end, board_end = pair()
        serving = asyncio.create_task(board.serve(board_end))
        stack.callback(serving.cancel)
        agent = Agent(
            loaded, clock=clock, store=store, state=memory, board=BoardClient(once(agent_end), clock=clock),
            password=password,
        )
        life = asyncio.create_task(agent.run(stop, release=board.release))
        try:
            yield Node(agent)
        finally:
            stop.set()
            async with asyncio.timeout(STOP_S):
                await life
