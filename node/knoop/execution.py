"""From a request to its reply: may they, what happened, and the audit log; the same for chat, form and room.

What may have changed something is in the audit log however it ended, also when the node was stopped meanwhile. What
went wrong inside is found in the log by the incident id that the person is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from knoop.access import EVERYBODY
from knoop.budgets import ANYBODY, Budgets
from knoop.command import N_, Command, House, Reply, Request, not_yours, refuse
from knoop.confirming import NO_CODE, Codes
from knoop.errors import NoAnswer, StoreError
from knoop.forms import spoken
from knoop.jid import Jid
from knoop.state import AUDIT_CHARACTERS
from knoop.xmpp.fresh import REMEMBERED_IDS, Seen, digest
from knoop_hw.logs import printable

log = logging.getLogger(__name__)

# Of strangers together: so many lines at once, and so many a second on and on. Their share of the audit log then holds
# four days of a flood, and it does not wear the card.
STRANGERS_AUDITED, STRANGERS_PER_S = 60, 1 / 180
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
LOGIN = "login"  # what is audited of ourselves
CODE = "code"  # what the audit log says instead of its digits


class Execution:
    """Runs verbs for people with rights. `close` waits for the audit lines that are being written."""

    def __init__(self, house: House, *, verbs: Mapping[str, Command]) -> None:
        self.verbs = verbs
        self.seen = Seen()
        self._house = house
        self._codes = Codes(house)
        self._incidents = 0
        self.refused = 0  # what was not done for want of rights, freshness or measure; strangers' messages, too
        self.failed = 0  # incidents
        self._strangers = Budgets(burst=STRANGERS_AUDITED, per_s=STRANGERS_PER_S)
        self._budgets = Budgets(burst=BURST, per_s=PER_S)
        self._audits: set[asyncio.Task[None]] = set()
        self._recalling: asyncio.Task[None] | None = None
        self._unwritten = False

    def follow(self, former: Execution) -> None:
        """Go on where another one ended: with its counts, and what was asked there is not asked again."""
        self._strangers, self._budgets, self.seen = former._strangers, former._budgets, former.seen
        self.refused, self.failed = former.refused, former.failed

    async def restore(self) -> None:
        """What was asked before the last start is not asked again, either. A disk that cannot be read knows nothing."""
        with suppress(StoreError):
            for known in await self._house.state.audited_stanzas(REMEMBERED_IDS):
                self.seen.remember(known)

    async def run(self, request: Request, *, words: str) -> Reply:
        """Do what is asked, if the sender may now. `words` are what the audit log says was asked; never raises.

        Who asks freshly is the caller's to know. A cancelled request that writes is audited as cut off. A request with
        a `code` is what was asked when that code was given.
        """
        if request.code is not None:
            return await self._redeem(request)
        command = self.verbs[request.verb]
        person = self._house.access.person(request.sender)
        if person is None or person.role < command.role:
            await self._noted(request, words, "refused: not allowed")
            return not_yours(command)
        try:
            reply = await command.run(request, self._house)
            if reply.confirm is not None:
                reply = await self._codes.ask(request, reply)
        except asyncio.CancelledError:
            if command.writes:
                self._note(request, words, CUT_OFF)  # `close` waits for it
            raise
        except StoreError as error:
            log.error("%s: %s", request.verb, error)
            reply = refuse(UNSURE if isinstance(error, NoAnswer) else NO_DISK)
            if isinstance(error, NoAnswer) and (self._recalling is None or self._recalling.done()):
                self._recalling = asyncio.create_task(self._recall())
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            incident = self.incident(request.sender, words, error, via=_way(request), stanza=_stanza(request))
            return refuse(INCIDENT, id=incident)
        if command.writes:
            unmoved = "a code is asked" if reply.asks_code else "refused"
            await self._noted(request, words, "done" if reply.ok else unmoved)
        return reply

    async def _redeem(self, request: Request) -> Reply:
        """Do what was asked when this one-time code was given, if it counts."""
        try:
            wish = await self._codes.redeem(request)
        except StoreError as error:
            log.error("a code: %s", error)
            return refuse(NO_DISK)
        if wish is None:
            await self._noted(request, CODE, "refused: no code that counts")
            return refuse(NO_CODE)
        return await self.run(wish, words=f"{spoken(replace(wish, argument=''))} ({CODE})")

    async def _noted(self, request: Request, words: str, result: str) -> None:
        """Have it in the audit log, on the disk, before anybody is answered; but let no disk hold up the answer."""
        await asyncio.wait((self._note(request, words, result),), timeout=AUDIT_TIMEOUT_S)

    def _note(self, request: Request, words: str, result: str) -> asyncio.Future[None]:
        return self.note(
            request.sender, words, result, via=_way(request), stanza=_stanza(request)
        )

    def too_often(self, who: Jid) -> bool:
        """Whether this person asks more than anybody types; call it once for each thing that they ask.

        Each bare address has a budget of its own, for all that it does by chat, form and room; those who have only
        their domain's rights have one together as well, or a domain's every account could fill the audit log.
        """
        enough, tell = self._budgets.spend(who.bare, self._house.clock.boottime_ns())
        if enough and not self._house.access.individual(who):
            enough, tell = self._budgets.spend(Jid(EVERYBODY, who.domain), self._house.clock.boottime_ns())
        self.refused += not enough
        if tell:
            log.warning("%s asks faster than anybody types; the rest is left out", who.bare)
        return not enough

    def note(
        self, who: Jid, action: str, result: str, *, via: str = "chat", encrypted: bool = False,
        stanza: bytes | None = None,
    ) -> asyncio.Future[None]:  # fmt: skip
        """Begin to write an audit line; who waits for it may be cancelled, the line is written all the same.

        `stanza` (`fresh.digest`) is what must not be asked again, also after a restart.
        """
        self.refused += result.startswith(("refused: ", "ignored: "))
        task = asyncio.create_task(self._write(who, action, result, via, encrypted=encrypted, stanza=stanza))
        self._audits.add(task)
        task.add_done_callback(self._audits.discard)
        return asyncio.shield(task)

    def stranger(self, who: Jid, said: str, *, via: str = "chat", encrypted: bool = False) -> None:
        """Note in the audit log that somebody without rights said something; of a flood only the first."""
        if self._strangers.spend(ANYBODY, self._house.clock.boottime_ns())[0]:
            self.note(who, said, "refused: stranger", via=via, encrypted=encrypted)
        else:
            self.refused += 1

    def notes_strangers(self) -> bool:
        """Whether another stranger is noted now."""
        return self._strangers.left(ANYBODY, self._house.clock.boottime_ns()) >= 1

    def incident(
        self, who: Jid, action: str, error: Exception, *, via: str = "chat", stanza: bytes | None = None
    ) -> str:
        """Log what went wrong, whole, and that it did in the audit log; returns the id to tell people."""
        self._incidents += 1
        self.failed += 1
        incident = f"{self._house.run}-{self._incidents}"
        log.error("incident %s: %s asked %r", incident, who, action, exc_info=error)
        self.note(who, action, f"failed: incident {incident}", via=via, stanza=stanza)
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

    def _counted_to(self, who: Jid, via: str) -> str:
        """To whom a line counts: strangers share a bound, and those who have rights by their domain that of theirs."""
        access = self._house.access
        if via == LOGIN:
            return via
        if access.person(who) is None:
            return ""
        return str(who.bare) if access.individual(who) else f"{EVERYBODY}@{who.domain}"

    async def _write(
        self, who: Jid, action: str, result: str, via: str, *, encrypted: bool, stanza: bytes | None
    ) -> None:
        try:
            await self._house.state.audit(
                at_ns=self._house.clock.time_ns(), who=str(who), action=action, result=result, via=via,
                encrypted=encrypted, stanza=stanza, whose=self._counted_to(who, via),
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


def _way(request: Request) -> str:
    """By which way it came, as the audit log says it."""
    return f"{request.via} {request.room}".rstrip()


def _stanza(request: Request) -> bytes | None:
    """What tells a repeat of it; a form's session is over by then."""
    return None if request.via == "form" else digest(str(request.sender.bare), request.stanza)
