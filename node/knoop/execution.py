"""From a request to its reply: may they, what happened, and the audit log; the same for chat, form and room.

What may have changed something is in the audit log however it ended, also when the node was stopped meanwhile. What
went wrong inside is found in the log by the incident id that the person is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from knoop.budgets import Budgets
from knoop.command import N_, Command, House, Reply, Request, Via, not_yours, refuse
from knoop.errors import NoAnswer, StoreError
from knoop.jid import Jid
from knoop.state import AUDIT_CHARACTERS
from knoop_hw.logs import printable

log = logging.getLogger(__name__)

STRANGERS_AUDITED_PER_MIN = 30  # a flood of strangers must not push our people's lines out of the audit log
# What one person may ask: so many things at once, and so many a second on and on. Somebody who types needs a tenth; it
# also ends what two machines that answer each other's answers would go on with for ever.
BURST = 200
PER_S = 1.0
AUDIT_TIMEOUT_S = 3.0  # writing takes milliseconds, a worn SD card at times a second; a disk that hangs, for ever
INCIDENT = N_("Something went wrong inside, and nothing is known to have changed. The log has it as incident {id}.")
NO_DISK = N_("My disk does not do that now, so nothing has changed. The log says why.")
UNSURE = N_("My disk does not answer, so I do not know whether that is kept. Look again when it does, or say it again.")
EXPIRED = N_("That arrived late, so I did nothing. Please say it again.")
CUT_OFF = "cut off: the outcome is unknown"


class Execution:
    """Runs verbs for people with rights. `close` waits for the audit lines that are being written."""

    def __init__(self, house: House, *, verbs: Mapping[str, Command]) -> None:
        self.verbs = verbs
        self._house = house
        self._incidents = 0
        self._strangers: tuple[int, int] = (0, 0)  # (minute, audited in it)
        self._budgets = Budgets(burst=BURST, per_s=PER_S)
        self._audits: set[asyncio.Task[None]] = set()
        self._recalling: asyncio.Task[None] | None = None
        self._unwritten = False

    def follow(self, former: Execution) -> None:
        """Go on counting where another one ended."""
        self._strangers, self._budgets = former._strangers, former._budgets

    async def run(self, request: Request, *, words: str) -> Reply:
        """Do what is asked, if the sender may now. `words` are what the audit log says was asked; never raises.

        Who asks freshly is the caller's to know. A cancelled request that writes is audited as cut off.
        """
        command = self.verbs[request.verb]
        person = self._house.access.person(request.sender)
        if person is None or person.role < command.role:
            await self._noted(request, words, "refused: not allowed")
            return not_yours(command)
        try:
            reply = await command.run(request, self._house)
        except asyncio.CancelledError:
            if command.writes:
                self.note(request.sender, words, CUT_OFF, via=request.via)  # `close` waits for it
            raise
        except StoreError as error:
            log.error("%s: %s", request.verb, error)
            reply = refuse(UNSURE if isinstance(error, NoAnswer) else NO_DISK)
            if isinstance(error, NoAnswer) and (self._recalling is None or self._recalling.done()):
                self._recalling = asyncio.create_task(self._recall())
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            return refuse(INCIDENT, id=self.incident(request.sender, words, error, via=request.via))
        if command.writes:
            await self._noted(request, words, "done" if reply.ok else "refused")
        return reply

    async def _noted(self, request: Request, words: str, result: str) -> None:
        """Have it in the audit log, on the disk, before anybody is answered; but let no disk hold up the answer."""
        await asyncio.wait((self.note(request.sender, words, result, via=request.via),), timeout=AUDIT_TIMEOUT_S)

    def too_often(self, who: Jid) -> bool:
        """Whether this person asks more than anybody types; call it once for each thing that they ask.

        Each bare address has a budget of its own, for all that it does by chat, form and room.
        """
        enough, tell = self._budgets.spend(who.bare, self._house.clock.boottime_ns())
        if tell:
            log.warning("%s asks faster than anybody types; the rest is left out", who.bare)
        return not enough

    def note(self, who: Jid, action: str, result: str, *, via: Via = "chat") -> asyncio.Future[None]:
        """Begin to write an audit line; who waits for it may be cancelled, the line is written all the same."""
        task = asyncio.create_task(self._write(who, action, result, via))
        self._audits.add(task)
        task.add_done_callback(self._audits.discard)
        return asyncio.shield(task)

    def stranger(self, who: Jid, said: str, *, via: Via = "chat") -> None:
        """Note in the audit log that somebody without rights said something; of a flood only the first."""
        if self.notes_strangers():
            self._strangers = (self._strangers[0], self._strangers[1] + 1)
            self.note(who, said, "refused: stranger", via=via)

    def notes_strangers(self) -> bool:
        """Whether another stranger of this minute is noted."""
        minute = self._house.clock.boottime_ns() // 60_000_000_000
        if self._strangers[0] != minute:
            self._strangers = (minute, 0)
        return self._strangers[1] < STRANGERS_AUDITED_PER_MIN

    def incident(self, who: Jid, action: str, error: Exception, *, via: Via = "chat") -> str:
        """Log what went wrong, whole, and that it did in the audit log; returns the id to tell people."""
        self._incidents += 1
        incident = f"{self._house.run}-{self._incidents}"
        log.error("incident %s: %s asked %r", incident, who, action, exc_info=error)
        self.note(who, action, f"failed: incident {incident}", via=via)
        return incident

    async def close(self) -> None:
        """Let the audit lines reach the disk, for a bounded time."""
        if self._recalling is not None:
            self._recalling.cancel()
        if self._audits:
            await asyncio.wait(self._audits, timeout=AUDIT_TIMEOUT_S)

    async def _recall(self) -> None:
        """What a disk that hung kept after all counts from the moment when it answers, not from the next start."""
        await self._house.state.answering()
        with suppress(StoreError):
            await self._house.recall()

    async def _write(self, who: Jid, action: str, result: str, via: Via) -> None:
        try:
            await self._house.state.audit(
                at_ns=self._house.clock.time_ns(), who=str(who), action=action, result=result, via=via,
                encrypted=False,
            )
        except StoreError as error:
            if not self._unwritten:
                log.error("the audit log is not kept on the disk, only here: %s", error)
            self._unwritten = True
            log.warning("audit: %s asked %r (%s): %s", who, printable(action, AUDIT_CHARACTERS), via, result)
        else:
            if self._unwritten:
                log.warning("the audit log is kept on the disk again")
            self._unwritten = False
