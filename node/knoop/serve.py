"""A node from its start to its end, and from one configuration to the next (docs/adr/0009).

Database, state and board stay open; the agent is made anew. What another configuration needs is tried before anything
is touched, and what fails all the same is undone: a reload happens wholly or not at all.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from knoop.agent import Agent
from knoop.board import BEAT_S
from knoop.command import N_, Sentence, counted
from knoop.config import Config
from knoop.database import Database
from knoop.ending import SETTLE_S, Ending
from knoop.errors import LinkError
from knoop.halves import Way, apart, inside
from knoop.safe import SafeNode, remembered
from knoop.starts import Start
from knoop.state import State
from knoop.status_file import StatusFile
from knoop.store import Store
from knoop.together import first
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock, SystemClock
from knoop_hw.errors import ConfigError, DeviceError, NotAsBefore, Problem
from knoop_hw.life import at_a_terminal, end, in_time, lock, refusing
from knoop_hw.notify import notify, reloading

log = logging.getLogger(__name__)

Loaded = tuple[Config, str]
"""A configuration and the account's password."""


async def serve(
    config: Config, *, password: str, state: Path, load: Callable[[], Loaded], board: Path | None = None,
    status: Path | None = None, safe: bool = False,
) -> int:  # fmt: skip
    """Open everything a configuration names and be the node until SIGTERM. Returns the exit code 0.

    `board`: the socket of a hardware half in a process of its own; None: the board is opened here as well.
    `status`: where to write how the node is, if anywhere. `safe`: in safe mode, as after too many crashes.
    SIGHUP takes over what `load` returns (it raises ConfigError); for a node that a terminal started it means stop: a
    terminal that goes away must not leave outputs on. Where it was ignored at the start (nohup) it stays ignored.
    Raises DeviceError, StoreError, or LoginRefused when the first login is refused.
    """
    _note(config)
    clock = SystemClock()
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    ending, file = Ending(clock), StatusFile(status, name=config.node.name) if status else None

    def told_to_stop() -> None:
        ending.begin()
        stop.set()

    def left_alone() -> None:
        log.warning("SIGHUP: this node ends with its terminal; started by setsid it would take over its node.toml")
        told_to_stop()

    loop.add_signal_handler(signal.SIGTERM, told_to_stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, left_alone if at_a_terminal() else again.set)
    async with AsyncExitStack() as stack:
        taken = f"{state} is in use by another knoop; stop it, or give this one another folder (XDG_STATE_HOME)"
        stack.enter_context(lock(state / "lock", taken=taken))
        if file:
            file.begun()
            stack.callback(file.stopped, clock)
        start = await stack.enter_async_context(Start(state, clock=clock, ending=ending, by_hand=safe))
        if start.safe is not None:
            memory = await remembered(stack, state / "state.db", bare=start.bare)
            stack.push_async_callback(_close, memory.database, ending=ending)
            node = SafeNode(config, clock=clock, state=memory, password=password, safe=start.safe,
                            apart=board is not None, tells=start.tells, status=file)
            await node.run(stop, again, load)
            return 0
        store = await stack.enter_async_context(Store.open(state / "readings.db", max_bytes=config.storage.max))
        memory = await stack.enter_async_context(State.open(state / "state.db"))
        stack.push_async_callback(_close, store.database, memory.database, ending=ending)
        way = await stack.enter_async_context(
            apart(board, clock=clock) if board else inside(config, clock=clock, state=state)
        )
        served = _Served(way=way, store=store, state=memory, clock=clock, load=load, stop=stop, again=again,
                         ending=ending, status=file, start=start)
        await served.live(config, password)
    return 0


async def _close(*databases: Database, ending: Ending) -> None:
    """Close them for as long as there is time; a disk that hangs must not hold the end up."""
    try:
        async with asyncio.timeout(ending.left_s(keep_s=0)):
            await asyncio.gather(*(database.close() for database in databases))
    except TimeoutError:
        log.error("the disk does not answer: the databases are left as after a power cut, which does them no harm")


class _Served:
    """What stays open, and the agent that has it now."""

    def __init__(
        self, *, way: Way, store: Store, state: State, clock: Clock, load: Callable[[], Loaded],
        stop: asyncio.Event, again: asyncio.Event, ending: Ending, status: StatusFile | None, start: Start,
    ) -> None:  # fmt: skip
        self._way, self._store, self._state, self._clock = way, store, state, clock
        self._load, self._stop, self._again = load, stop, again
        self._ending, self._status, self._start = ending, status, start
        self._handing_over = False

    async def live(self, config: Config, password: str) -> None:
        """Be the node, with one agent after another, until told to stop or something fails."""
        agent: Agent | None = self._agent((config, password), None)
        proving = asyncio.create_task(self._start.proven(lambda: agent is not None and agent.proven))
        try:
            while agent is not None:
                agent = await self._serve(agent)
        finally:
            self._release()
            proving.cancel()

    def _agent(self, loaded: Loaded, former: Agent | None) -> Agent:
        config, password = loaded
        return Agent(
            config, clock=self._clock, store=self._store, state=self._state, board=self._way.client(),
            password=password, former=former, ending=self._ending, status=self._status,
        )  # fmt: skip

    async def _serve(self, agent: Agent) -> Agent | None:
        """Serve until the end, or until another agent is to go on."""
        leave = asyncio.Event()
        life = asyncio.create_task(agent.run(leave, release=self._release))
        stopping, wanting = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._wanted(agent))
        tasks: tuple[asyncio.Task[Any], ...] = (life, stopping, wanting)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if wanting.done() and not life.done() and not stopping.done():
                self._handing_over = True
                await first(agent.settle(), self._stop.wait())
                leave.set()
                return await self._hand_over(agent, life, wanting.result())
            self._release()
            await first(agent.settle(within_s=SETTLE_S), life)
            leave.set()
            await life
            return None
        finally:
            self._handing_over = False
            await end(tasks)

    def _release(self) -> None:
        """Outputs first, before anything that may have to wait."""
        if not self._handing_over or self._stop.is_set():
            notify("STOPPING=1")
            self._way.release()

    async def _wanted(self, agent: Agent) -> Loaded:
        """What the next SIGHUP brings that is good and different, or the same for a board with other channels.

        What is not good is said.
        """
        while True:
            await first(self._again.wait(), agent.renewed.wait())
            if agent.renewed.is_set():
                log.info("the hardware half has other channels: they are taken over")
                return agent.loaded
            self._again.clear()
            reloading()
            with refusing(partial(self._not_taken, agent)):
                wanted = await in_time(self._load)
                if wanted == agent.loaded:
                    log.info("reload: nothing changed")
                else:
                    await self._try_login(agent, wanted)
                    return wanted
            notify("READY=1")

    async def _try_login(self, agent: Agent, loaded: Loaded) -> None:
        """Log in once where the account changed, beside the present login. Raises ConfigError."""
        wanted = Account.of(*loaded)
        try:
            context = tls_context(wanted)  # also of an account that is as before: the next login reads its file anew
            if wanted == Account.of(*agent.loaded):
                return
            beside: Account = replace(wanted, jid=replace(wanted.jid, resource=f"{wanted.jid.resource}-reload"))
            session = await Session.open(
                beside, clock=self._clock, context=context, on_message=lambda _stanza, _late: None,
                on_presence=lambda _stanza: None, admits=lambda _sender: False,
            )  # fmt: skip
            await session.close()
        except LinkError as error:
            raise ConfigError([Problem("", 0, "", f"the changed account was tried first: {error}")]) from None

    async def _hand_over(self, agent: Agent, life: asyncio.Task[None], loaded: Loaded) -> Agent:
        """The agent that goes on: with what is `loaded`, or as before where the board does not take that."""
        beating = asyncio.create_task(self._beat())
        try:
            await first(life, self._stop.wait())
            self._release()  # when told to stop meanwhile
            await life
            config, _ = loaded
            why = ""
            try:
                await self._way.reload(config)
            except NotAsBefore:
                raise
            except DeviceError as error:
                why, loaded = str(error), agent.loaded
            made = self._agent(loaded, agent)
            if why:
                self._not_taken(made, *why.splitlines())
            elif loaded is not agent.loaded:
                _note(config)
                for key in _only_at_start(agent.loaded[0], config):
                    log.warning("%s: %s holds from the next start on", config.file, key)
                log.info("reload: %s is taken", config.file)
            return made
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        """Between two agents the node lives all the same: no dead man lets go."""
        while not self._stop.is_set():
            await self._way.beat()
            await self._clock.sleep(BEAT_S)

    def _not_taken(self, agent: Agent, *problems: str) -> None:
        """Say every problem in the log, and that there are some to the owners."""
        for problem in problems:
            log.error("%s", problem)
        log.error("reload: the new configuration is not taken; the old one stays")
        count = counted("{count} problem", "{count} problems", len(problems))
        text = N_("The new node.toml was not taken: {problems}, see the log. I go on with the old one.")
        agent.announce(Sentence(text, {"problems": count}))


def _only_at_start(former: Config, config: Config) -> list[str]:
    """The changed keys that an open node cannot follow."""
    changed = {
        "node.loop": former.node.loop != config.node.loop,
        "storage.max": former.storage.max != config.storage.max,
    }
    return [key for key, differs in changed.items() if differs]


def _note(config: Config) -> None:
    """What the owner should write otherwise, one line a key."""
    for note in config.notes:
        log.warning("%s", note)
