"""The door: what somebody may do here before they are anybody. With a right code they become somebody.

Silence is the law: a wrong code, one of another time and one that never was are the same nothing. People with rights
get a sentence; they may use a code as well, when its owner lost the telephone or gives them more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from knoop import claims
from knoop.access import Access, Person, Role
from knoop.budgets import ANYBODY, Budgets
from knoop.claims import Offer
from knoop.command import N_, House, Intent, Reply, Sentence, readable, refuse
from knoop.errors import LinkError, StoreError
from knoop.execution import EXPIRED, Execution
from knoop.jid import Jid
from knoop.knocks import Knock
from knoop.ownership import OWNERS, owned
from knoop.parse import parse
from knoop.text import Voice
from knoop.xmpp.inbound import Said

log = logging.getLogger(__name__)

# Tries of one address, and of all together, whose number an attacker chooses. Nobody is locked out for longer than a
# flood lasts, and who is at the machine needs no message at all (`ownership`). Two a second find no code in 10¹⁵ years.
OWN_BURST, OWN_PER_S = 5, 1 / 60
ALL_BURST, ALL_PER_S = 60, 2.0
AT_ONCE = 8  # tries that are looked up; the disk is not a stranger's to fill

WELCOME = N_("Welcome: I am {node}. Say “help” for what I do.")
UNKNOWN = N_("I do not know this code. Each works once, and only for its time.")
ENOUGH = N_("You may do that already, so the code stays as it is: it is for somebody else.")
LESS = N_("You have rights here that this code would take from you, so it stays as it is. An owner can change them.")
NAMED = N_("node.toml says what {jid} may here, and a code gives no more. The code stays as it is.")
CLAIMED = N_("{jid} is an owner of {node} now, by a code from its console. Is that not right? Say: revoke {jid}")
JOINED = N_("{name} has used the invite: {rights}")


class _Seen:
    """A house in which somebody else has rights."""

    def __init__(self, house: House, access: Access) -> None:
        self._house, self.access = house, access

    def __getattr__(self, name: str) -> Any:
        return getattr(self._house, name)


class Door:
    """Hears who brings a code. `send` says something on the present session, `announce` says it to the owners."""

    def __init__(
        self, house: House, *, execution: Execution, voice: Callable[[str], Voice], send: Callable[[Jid, str], None],
        announce: Callable[[Sentence], None],
    ) -> None:  # fmt: skip
        self._house, self._execution, self._voice = house, execution, voice
        self._send, self._announce = send, announce
        self._own = Budgets(burst=OWN_BURST, per_s=OWN_PER_S)
        self._all = Budgets(burst=ALL_BURST, per_s=ALL_PER_S)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: set[Jid] = set()
        house.knocks.let_in = self._let_in

    def follow(self, former: Door) -> None:
        """Go on counting where another one ended."""
        self._own, self._all = former._own, former._all

    async def close(self) -> None:
        """Stop; what was being redeemed is so wholly or not at all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def claims(self, sender: Jid, heard: Said, *, late: bool) -> bool:
        """Whether this brings a code, right or wrong; then it is dealt with."""
        code = claims.find(heard.text)
        if not code:
            return False
        if self._may_try(sender) and len(self._tasks) < AT_ONCE:
            self._do(self._redeem(sender, code, late=late))
        else:
            self._execution.stranger(sender, claims.WORD)
        return True

    def knocks(self, sender: Jid, heard: Said) -> None:
        """Put what a stranger said to the owners, where that is wanted."""
        knocks = self._house.knocks
        if not knocks.wanted or sender.bare in self._asking or sender.bare in knocks.waiting:
            return
        if len(self._tasks) < AT_ONCE and owned(self._house.access):
            self._asking.add(sender.bare)
            self._do(self._ask(sender, heard.text))

    async def _ask(self, sender: Jid, text: str) -> None:
        try:
            question = await self._house.knocks.heard(sender, text)
        except StoreError as error:
            log.error("an owner is not asked about %s: %s", sender.bare, error)
        else:
            if question is not None:
                self._announce(question)
        finally:
            self._asking.discard(sender.bare)

    async def _let_in(self, knock: Knock) -> bool:
        """Answer with a viewer's rights and no more, once; False where what was asked would change something."""
        sender, now_ns = knock.sender, self._house.clock.boottime_ns()
        house = cast("House", _Seen(self._house, Access([Person(jid=sender.bare, role=Role.VIEWER)])))
        verbs = self._execution.verbs
        meant = parse(knock.text, channels=readable(sender, house), verbs=verbs)
        if isinstance(meant, Intent):
            command = verbs[meant.verb]
            if command.writes or command.role > Role.VIEWER:
                return False
            meant = await command.run(meant.request(sender, heard_ns=now_ns), house)
        await self._execution.note(sender, knock.text, "done: an owner let them")
        with suppress(LinkError):
            self._send(sender, self._voice("").render(meant))
        return True

    def _may_try(self, sender: Jid) -> bool:
        """Whether it is looked at; what a flood of others left out does not count against anybody."""
        now_ns, known = self._house.clock.boottime_ns(), self._house.access.person(sender) is not None
        if not known and self._all.left(ANYBODY, now_ns) < 1:
            return False
        enough, tell = self._own.spend(sender.bare, now_ns)
        if enough and not known:
            self._all.spend(ANYBODY, now_ns)
        if tell:
            log.warning("%s tries codes faster than anybody types; some are not looked at", sender.bare)
        return enough

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _redeem(self, sender: Jid, code: str, *, late: bool) -> None:
        try:
            offer = await self._house.claims.find(code)
            reply = await self._judge(sender, code, self._standing(offer), late=late)
        except StoreError as error:
            log.error("a code could not be looked up: %s", error)
            return
        if reply is not None:
            person = self._house.access.person(sender)
            with suppress(LinkError):
                self._send(sender, self._voice(person.lang if person else "").render(reply))

    def _standing(self, offer: Offer | None) -> Offer | None:
        """The same, if it counts now: it has not ended, and whoever invited may still give that much."""
        house = self._house
        if offer is None or not offer.open(house.clock.time_ns() if house.synced() else None):
            return None
        if not offer.name:  # the node's own ends with the first owner, whoever made them that
            return None if offer == OWNERS and owned(house.access) else offer
        by = house.access.person(house.jid(offer.by))
        return offer if by is not None and by.role is Role.OWNER and claims.theirs(by, offer) else None

    async def _judge(self, sender: Jid, code: str, offer: Offer | None, *, late: bool) -> Reply | None:
        """What is done with it, and said; None for nothing."""
        house, jid = self._house, sender.bare
        known = house.access.person(sender)
        if offer is None or not jid.local or jid == house.own:  # our own account, on somebody's telephone
            if known is None:
                self._execution.stranger(sender, claims.WORD)
                return None
            self._execution.note(sender, claims.WORD, "refused: wrong code")
            return refuse(UNKNOWN)
        if late:
            self._execution.note(sender, claims.WORD, "ignored: delayed")
            return refuse(EXPIRED)
        given = Person(jid=jid, role=Role.parse(offer.role), only=offer.only)
        if known is not None and known.role >= given.role and known.covers(given):
            return refuse(ENOUGH)
        if known is not None and not (given.role >= known.role and given.covers(known)):
            return refuse(LESS)
        by_file = house.access.with_grants([given]).person(jid)
        if by_file is None or by_file.role < given.role or self._put_out_by_others(jid, offer):
            return refuse(NAMED, jid=str(jid))
        if not await house.claims.take(code, str(jid)):  # another was quicker
            return refuse(UNKNOWN) if known else None
        await self._execution.note(sender, f"{claims.WORD} {offer.name}".strip(), f"done: {given.role}")
        before_owner = owned(house.access)
        with suppress(StoreError):  # they have the right, and whoever must hear of it does
            await house.rights_changed()
            await house.knocks.forgive(jid)
        return self._welcome(jid, offer, given, before_owner=before_owner)

    def _put_out_by_others(self, jid: Jid, offer: Offer) -> bool:
        """Whether node.toml makes them an owner and not the inviter, who cannot give back what another one took."""
        role = self._house.access.role_in_file
        return bool(offer.name) and role(jid) is Role.OWNER is not role(self._house.jid(offer.by))

    def _welcome(self, jid: Jid, offer: Offer, given: Person, *, before_owner: bool) -> Reply:
        from knoop.commands.allow import doubts  # noqa: PLC0415 -- verbs are loaded when they are
        from knoop.commands.who import rights  # noqa: PLC0415 -- as above

        house = self._house
        person = house.access.person(jid) or given
        line = rights(person, named=house.access.named(jid))
        log.warning("%s is %s here now, by a code of %s", jid, person.role, offer.by or "this node's own")
        if offer.name:
            self._announce(Sentence(JOINED, {"name": offer.name, "rights": line}))
            for doubt in doubts(jid, house):
                self._announce(doubt)
        elif before_owner:
            self._announce(Sentence(CLAIMED, {"jid": str(jid), "node": house.label or house.name}))
        return Reply((Sentence(WELCOME, {"node": house.label or house.name}), line))
