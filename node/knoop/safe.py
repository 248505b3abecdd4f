"""Safe mode: a node that keeps crashing logs in and answers its people, and does nothing else (docs/adr/0043).

    server ▶ guard ▶ verbs with `safe` ▶ reply

No board, readings, rooms, publishers or alerts: what of all that crashes is not there. Rights, the login, the verbs and
the audit log are those of a node as it should be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree as ET

from knoop import commands, plight, readings_tables, resource, state_tables
from knoop.access import EVERYBODY, Access, Role
from knoop.board import BoardClient
from knoop.claims import veiled
from knoop.command import Intent, Reply, Sentence, refuse
from knoop.config import Config
from knoop.conversation import UNSAID, WHY
from knoop.database import Database
from knoop.ending import LINK_S, PATIENT_S
from knoop.errors import LinkError, StoreError
from knoop.execution import Execution
from knoop.health import Health, SafeMode
from knoop.household import Household
from knoop.jid import Jid
from knoop.parse import parse
from knoop.starts import SAFE_S
from knoop.state import State
from knoop.status_file import StatusFile
from knoop.store import Store
from knoop.together import first
from knoop.xmpp import compat, inbound, outbound
from knoop.xmpp.account import Account
from knoop.xmpp.fresh import digest
from knoop.xmpp.link import Link
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock
from knoop_hw.life import in_time, refusing
from knoop_hw.notify import notify, reloading
from knoop_hw.runs import new_run

log = logging.getLogger(__name__)

FEATURES = ("urn:xmpp:receipts", "urn:xmpp:chat-markers:0")
OPEN_S = 10.0  # for state.db; a disk that hangs must not keep owners from their answer
TICK_S = 1.0
NO_ANSWER = "the disk does not answer"
MOST = 20  # answers under way


async def remembered(stack: AsyncExitStack, file: Path, *, bare: bool) -> State:
    """The open state; one that was never opened where it cannot be, or is not to be: each call raises StoreError."""
    if not bare:
        opening = asyncio.create_task(stack.enter_async_context(State.open(file)))
        await asyncio.wait((opening,), timeout=OPEN_S)
        if opening.done():
            try:
                return opening.result()
            except (StoreError, OSError) as error:
                log.error("%s", error)
        else:
            opening.cancel()  # it goes on waiting for its thread; the end of the loop ends that
            log.error("%s: %s", file, NO_ANSWER)
    return State(Database(file, migrations=state_tables.MIGRATIONS))


class SafeNode:
    """A node in safe mode, put together; `run` is its life."""

    def __init__(
        self, config: Config, *, clock: Clock, state: State, password: str, safe: SafeMode, apart: bool,
        tells: bool, status: StatusFile | None,
    ) -> None:  # fmt: skip
        self.house = _House(config, clock=clock, state=state, safe=safe, apart=apart)
        self.execution = Execution(self.house, verbs={v: c for v, c in commands.table().items() if c.safe})
        self._config, self._clock, self._safe, self._status = config, clock, safe, status
        self._tells = tells
        self._said = 0
        self._session: Session | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._link = Link(
            Account.of(config, password), clock=clock, on_message=self._message, on_presence=lambda _presence: None,
            admits=self.house.admits, features=FEATURES, hears=self.house.admission.hears,
        )

    async def run(self, stop: asyncio.Event, again: asyncio.Event, load: Callable[[], Any]) -> None:
        """Answer until `stop`, or until it is time to start as usual, which `again` makes now. Raises LoginRefused when
        the first login is refused.

        A start that does not take its configuration would be the last one, and then nobody were answered: while `load`
        raises, safe mode goes on.
        """
        await self._restore()
        voice, now_ns = self.house.voice("en"), self._clock.boottime_ns()
        told = (plight.why(self._safe), plight.last(self._safe), plight.until(self._safe, now_ns))
        why, *more = (voice.sentence(said) for said in told if said)
        log.warning("%s is in safe mode: %s", self.house.name, " ".join((why, *more)))
        notify(f"READY=1\nSTATUS=safe mode: {why}")
        tasks = [asyncio.create_task(work) for work in (self._tick(), self._link.run(self._serve), self._over(load))]
        try:
            await first(stop.wait(), self._mended(again, load), *tasks)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            notify("STOPPING=1")
            for task in (*tasks, *self._answers):
                task.cancel()
            await asyncio.wait((*tasks, *self._answers), timeout=LINK_S)
            await self.execution.close()

    async def _restore(self) -> None:
        """Who has which rights. Where the disk does not say it, only those whom node.toml makes owners."""
        house = self.house
        try:
            async with asyncio.timeout(PATIENT_S):
                await house.rights_changed()
            unknown = f"{house.state.database.path} cannot be read" if house.state.unreadable else ""
        except (StoreError, TimeoutError) as error:
            unknown = str(error) or NO_ANSWER
        if unknown:
            log.error("%s; only those whom node.toml makes owners are answered", unknown)
            house.access = Access(person for person in self._config.people if person.role is Role.OWNER)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENT_S):
                await self.execution.restore()
                self._link.resource = await resource.kept(house.state, made=f"knoop-{new_run()}{new_run()}")

    async def _mended(self, again: asyncio.Event, load: Callable[[], Any]) -> None:
        """Return when somebody wants a start as usual, and there can be one."""
        while True:
            await again.wait()
            again.clear()
            reloading()
            if await self._right(load):
                return
            notify("READY=1")

    async def _right(self, load: Callable[[], Any]) -> bool:
        with refusing(self._not_taken):
            await in_time(load)
            return True
        return False

    def _not_taken(self, *problems: str) -> None:
        for problem in problems:
            log.error("%s", problem)
        log.error("no start could take that configuration; safe mode goes on")

    async def _over(self, load: Callable[[], Any]) -> None:
        """Return when it is time to start as usual, and that can be."""
        while self._safe.until_ns is not None:
            await self._clock.sleep((self._safe.until_ns - self._clock.boottime_ns()) / 1e9)
            if await self._right(load):
                log.warning("safe mode ends; the next start is as usual. Nothing starts this node? Then do it by hand")
                return
            until_ns = self._clock.boottime_ns() + round(SAFE_S * 1e9)
            self._safe = self.house.safe = replace(self._safe, until_ns=until_ns)
        await asyncio.Event().wait()

    async def _tick(self) -> NoReturn:
        while True:
            house = self.house
            if self._status is not None:
                self._status.tell(house.health(), now_ns=self._clock.boottime_ns(), at_ns=house.now_ns)
            notify("WATCHDOG=1")
            await self._clock.sleep(TICK_S)

    async def _serve(self, session: Session) -> None:
        """One login: be present, say to owners what is the matter, answer."""
        self._session = session
        self.house.link = (True, self._clock.boottime_ns())
        log.info("connected as %s (%s TLS)", session.jid, session.mode)
        try:
            presence = ET.Element(f"{inbound.CLIENT}presence")
            ET.SubElement(presence, f"{inbound.CLIENT}status").text = self.house.glance(self.house.health())
            session.send(presence)
            self._announce()
            await session.lost()
        finally:
            self._session = None
            self.house.link = (False, self._clock.boottime_ns())

    def _announce(self) -> None:
        tells, self._tells = self._tells, False
        house = self.house
        node = house.label or house.name
        said = plight.announced(self._safe, node=node, verbs=self._verbs(), now_ns=self._clock.boottime_ns())
        for person in house.access.everyone() if tells else ():
            if person.role is Role.OWNER and person.jid.local != EVERYBODY:
                self._say(person.jid, house.voice(person.lang).sentence(said))

    def _verbs(self) -> tuple[Sentence, ...]:
        return tuple(Sentence(verb) for verb in self.execution.verbs)

    def _say(self, to: Jid, text: str) -> None:
        self._said += 1
        self._write(outbound.message(str(to), text, f"{self.house.run}-said-{self._said}"))

    def _write(self, stanza: ET.Element) -> None:
        if self._session is not None:
            with suppress(LinkError):
                self._session.send(stanza)

    def _message(self, stanza: ET.Element, late: bool) -> None:
        """Hear one message; strangers get silence, whoever has rights a sentence."""
        heard = inbound.chat(stanza)
        text = heard.text if isinstance(heard, inbound.Said) else ""
        if not isinstance(heard, inbound.Said) and not (
            isinstance(heard, inbound.Ignored) and heard.why in inbound.ANSWERABLE
        ):
            return
        try:
            sender = compat.jid(heard.sender)
        except ValueError:
            return
        why = heard.why if isinstance(heard, inbound.Ignored) else "delayed" if late else ""
        if self.house.access.person(sender) is None:
            self.execution.stranger(sender, veiled(text) or why, encrypted=why == "encrypted")
            return
        if self.execution.too_often(sender) or not self.execution.seen.first_time(str(sender.bare), heard.id):
            return
        if isinstance(heard, inbound.Said) and heard.receipt and heard.id:
            self._write(outbound.received(heard.sender, heard.id))
        if len(self._answers) < MOST:
            task = asyncio.create_task(self._answer(sender, text, why=why, stanza=heard.id))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _answer(self, sender: Jid, text: str, *, why: str, stanza: str) -> None:
        person = self.house.access.person(sender)
        assert person is not None, "whoever has none is not answered"
        meant = Reply(()) if why else parse(text, channels={}, verbs=self.execution.verbs)
        if isinstance(meant, Intent):
            asked = meant.request(sender, lang=person.lang, heard_ns=self._clock.boottime_ns(), stanza=stanza)
            reply = await self.execution.run(asked, words=veiled(text))
        else:  # what is kept of it makes that it is not done later, either
            result, seen = f"ignored: {why}" if why else "refused: safe mode", digest(str(sender.bare), stanza)
            noted = self.execution.note(
                sender, veiled(text) or "message", result, encrypted=why == "encrypted", stanza=seen
            )  # fmt: skip
            await asyncio.wait((noted,), timeout=PATIENT_S)
            now_ns = self._clock.boottime_ns()
            reply = (
                refuse(WHY[why]) if why in {"corrected", "encrypted"}
                else plight.refused(self._safe, verbs=self._verbs(), now_ns=now_ns)
            )
        try:
            said = self.house.voice(person.lang).render(reply)
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            said = UNSAID.format(id=self.execution.incident(sender, text, error))
        self._say(sender, said)


class _House(Household):
    """The house of a node in safe mode: its people, and nothing that has a value."""

    def __init__(self, config: Config, *, clock: Clock, state: State, safe: SafeMode, apart: bool) -> None:
        nothing = Database(state.database.path.with_name("readings.db"), migrations=readings_tables.MIGRATIONS)
        super().__init__(
            replace(config, rules=(), rooms={}, network=None), run=new_run(), clock=clock, store=Store(nothing),
            state=state, board=BoardClient(_no_board, clock=clock, apart=apart), changed=lambda _transition: None,
            rights=lambda: None, session=lambda: None,
        )
        self.safe = safe

    def health(self) -> Health:
        return replace(super().health(), away_s=None, safe=self.safe)

    async def recall(self) -> None:
        """Nothing: of rights counts what the disk said at the start."""


async def _no_board() -> NoReturn:
    raise ConnectionError("safe mode opens no board")
