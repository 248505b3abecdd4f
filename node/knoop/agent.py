"""The agent: what belongs to a node, opened and put together. Read it as a table of contents.

    board ▶ router ▶ outbox ▶ publishers ▶ server         (readings out)
    server ▶ guard ▶ conversation ▶ verbs ▶ board          (requests in)

What verbs see is in `household`, what lives as long as one login in `presence`.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as ET

from knoop import __version__, commands, payload
from knoop.alerts import AlertState, Transition
from knoop.board import BoardClient
from knoop.config import Config
from knoop.conversation import Conversation
from knoop.errors import LinkError, StoreError
from knoop.execution import Execution
from knoop.household import Household
from knoop.jid import Jid
from knoop.notify import notify
from knoop.presence import Presence
from knoop.publishers import Voice
from knoop.record import Record
from knoop.router import Router
from knoop.state import State
from knoop.store import Store
from knoop.xmpp import compat
from knoop.xmpp.link import Link
from knoop.xmpp.outbound import message
from knoop.xmpp.session import Account
from knoop_hw.board import Board, new_run
from knoop_hw.clock import Clock, SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.link import pair

log = logging.getLogger(__name__)

FEATURES: tuple[str, ...] = ("urn:xmpp:receipts",)  # what we announce (XEP-0030), beside the library's own
STOP_TIMEOUT_S = 5.0
TICK_S = 1.0


async def serve(config: Config, *, password: str, state: Path, clock: Clock | None = None) -> int:
    """Open everything a configuration names and be the node until SIGTERM or SIGHUP. Returns the exit code 0.

    Raises DeviceError, StoreError, or LoginRefused when the first login is refused.
    """
    clock = clock or SystemClock()
    stop = asyncio.Event()
    # A terminal that goes away must not leave outputs on; under nohup it is told to stay.
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else [])]
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        _lock(state, stack)
        store = await stack.enter_async_context(Store.open(state / "readings.db", max_bytes=config.storage.max))
        memory = await stack.enter_async_context(State.open(state / "state.db"))
        board = await stack.enter_async_context(Board(config.hw, clock=clock, state=state))
        agent_end, board_end = pair()
        serving = asyncio.create_task(board.serve(board_end))
        stack.callback(serving.cancel)
        agent = Agent(
            config, clock=clock, store=store, state=memory, board=BoardClient(agent_end, clock=clock), password=password
        )
        await agent.run(stop, release=board.release)
    return 0


class Agent:
    """A running node, put together; `run` is its life."""

    def __init__(
        self, config: Config, *, clock: Clock, store: Store, state: State, board: BoardClient, password: str
    ) -> None:
        self.house = house = Household(
            config, run=new_run(), clock=clock, store=store, state=state, board=board, changed=self._changed,
            rights=self._rights,
        )
        self.router = house.router = Router(
            store, clock=clock, synced=house.synced, on_stored=board.stored, on_record=self._record,
            retain_s=config.storage.retain_s,
        )
        self.presence = Presence(
            config, clock=clock, outbox=self.router, people=house.people, readers=house.readers, health=house.health,
            voice=Voice(sentence=house.sentence, may_hear=house.may_hear),
            about=self._about, present=self._present, on_link=self._linked,
        )
        self.execution = Execution(house, verbs=commands.table())
        self.conversation = Conversation(
            house, execution=self.execution, voice=house.voice, send=self._say, write=self.presence.send
        )
        self._clock = clock
        self._state = state
        self._store = store
        self._board = board
        self._link = Link(
            _account(config, password), clock=clock, on_message=self._message, on_presence=self._presence,
            admits=house.admits, features=FEATURES,
        )
        self._alert_seq: dict[str, int] = {}
        self._said = 0
        self._alerts_changed = asyncio.Event()

    async def run(self, stop: asyncio.Event, *, release: Callable[[], None]) -> None:
        """Be the node until `stop`; then `release` the outputs first, and leave what was taken safe on disk.

        Raises LoginRefused when the first login is refused.
        """
        await self._restore()
        works = (
            self._board.listen(self.router), self._board.beat(), self.router.run(), self._tick(), self._save_alerts(),
            self._link.run(self.presence.serve),
        )
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work) for work in works]
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        notify("READY=1")
        log.info("%s is up: %d channels, account %s", self.house.name, len(self.house.channels), self.house.config.jid)
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            notify("STOPPING=1")
            release()
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
            await self.conversation.close()
            await self.execution.close()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self.router.flush()
            except TimeoutError:
                log.error("the disk did not take the last readings within %g s; what it has is safe", STOP_TIMEOUT_S)

    async def _restore(self) -> None:
        """Go on where the last start ended: alerts, quiet hours, the last values, rights."""
        house = self.house
        house.alerts.restore(
            AlertState(name=row.name, phase=row.status, at_ns=row.since_ns or None, by=row.by)  # type: ignore[arg-type]
            for row in await self._state.load_alerts()
            if row.status in {"raised", "acknowledged"}
        )
        house.quiet = await self._state.quiet_until()
        await self._board.connected(self.router)
        await self.router.restore(channel.name for channel in house.all_channels)
        await house.rights_changed()
        for damaged in (self._store.set_aside, self._state.set_aside):
            if damaged:
                log.error("a damaged database was replaced; the old one is kept as %s", damaged)

    async def _tick(self) -> None:
        """What time brings: alerts that held long enough, watches that waited, the watchdog."""
        house = self.house
        while True:
            await self._clock.sleep(TICK_S)
            now_ns = self._clock.boottime_ns()
            for transition in house.alerts.due(now_ns, at_ns=house.now_ns):
                self._changed(transition)
            for watcher, record in house.watches.due(now_ns):
                self._tell(watcher, record)
            try:
                house.backlog = max((await self._store.backlog()).values(), default=0)
                house.quiet = await self._state.quiet_until()
            except StoreError as error:
                log.debug("the store does not answer: %s", error)
            notify("WATCHDOG=1")

    def _record(self, record: Record) -> None:
        """A record is new: it may raise an alert, and somebody may be watching."""
        for transition in self.house.alerts.feed(record):
            self._changed(transition)
        for watcher, seen in self.house.watches.feed(record, self._clock.boottime_ns()):
            self._tell(watcher, seen)

    def _changed(self, transition: Transition) -> None:
        """An alert changed: that is a reading of its own."""
        seq = self._alert_seq[transition.channel] = self._alert_seq.get(transition.channel, 0) + 1
        self.router.put(
            Record(
                run=self.house.run, channel=transition.channel, seq=seq, cls="alarm", type="text",
                value=transition.change, boot=self._clock.boot_id, boottime_ns=transition.boottime_ns,
                at_ns=transition.at_ns,
            )
        )
        self._alerts_changed.set()
        self.presence.show()

    async def _save_alerts(self) -> None:
        while True:
            await self._alerts_changed.wait()
            self._alerts_changed.clear()
            states = self.house.alerts.snapshot()
            try:
                await self._state.save_alerts((s.name, s.phase, s.at_ns or 0, s.by) for s in states)
            except StoreError as error:
                log.error("alerts are not remembered over a restart: %s", error)

    def _rights(self) -> None:
        self.presence.rights_changed()

    def _linked(self, up: bool) -> None:
        self.house.link = (up, self._clock.boottime_ns())

    def _message(self, stanza: ET.Element, late: bool) -> None:
        if stanza.get("type") == "error":
            self._gone(stanza.get("from", ""))
        if not self.presence.room_stanza(stanza):
            self.conversation.hear(stanza, late=late)

    def _presence(self, stanza: ET.Element) -> None:
        if stanza.get("type") in {"unavailable", "error"}:
            self._gone(stanza.get("from", ""))
        self.presence.stanza(stanza)

    def _gone(self, sender: str) -> None:
        """A device went away: it watches nothing any more."""
        with suppress(ValueError):
            self.house.watches.gone(compat.jid(sender))

    def _say(self, to: Jid, text: str) -> None:
        self._said += 1
        self.presence.send(message(str(to), text, f"{self.house.run}-said-{self._said}"))

    def _tell(self, watcher: Jid, record: Record) -> None:
        person = self.house.access.person(watcher)
        if person and self.presence.up and person.reads(record.channel):
            with suppress(LinkError):  # the link may end in this very instant
                self._say(watcher, self.house.sentence(record, person.lang))

    def _about(self) -> ET.Element:
        assert self._board.hello is not None, "the board says hello before any session"
        return payload.about(
            version=__version__, digest=self._board.hello.digest, channels=self.house.all_channels,
            verbs=commands.table(),
        )

    def _present(self) -> list[tuple[str, ET.Element]]:
        return payload.state(self.house.all_channels, self.house.latest, at_ns=self.house.now_ns)


def _lock(folder: Path, stack: AsyncExitStack) -> None:
    """One node a state folder: two would send everything twice."""
    held: IO[str] = stack.enter_context((folder / "lock").open("w", encoding="ascii"))
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DeviceError(f"{folder} is in use by another knoop; stop it, or give this one another folder") from None
    held.write(f"{os.getpid()}\n")
    held.flush()


def _account(config: Config, password: str) -> Account:
    xmpp = config.xmpp
    return Account(
        jid=config.jid if config.jid.resource else replace(config.jid, resource="knoop"), password=password,
        host=xmpp.host, port=xmpp.port, ca_file=xmpp.ca_file, fingerprint=xmpp.fingerprint,
    )
