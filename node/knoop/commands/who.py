"""who: the people with rights here."""

from __future__ import annotations

from contextlib import suppress

from knoop.access import EVERYBODY, Person, Role
from knoop.claims import Offer, theirs
from knoop.command import N_, Command, House, Instant, Reply, Request, Sentence
from knoop.errors import StoreError

ROLES = {Role.VIEWER: N_("viewer"), Role.OPERATOR: N_("operator"), Role.OWNER: N_("owner")}


async def run(request: Request, house: House) -> Reply:
    """One line a person: what they may do, and where the right comes from; then the invites that are open.

    An owner limited by `only` sees themselves and those whose rights they may change: nobody with rights beyond.
    """
    me = house.access.person(request.sender)
    seen = [person for person in house.access.everyone() if me is not None and me.covers(person)]
    lines = [rights(person, named=house.access.named(person.jid)) for person in seen]
    now_ns = house.clock.time_ns() if house.synced() else None
    with suppress(StoreError):  # people are known without the disk
        lines += [invited(o) for o in await house.claims.offers() if me and theirs(me, o) and o.open(now_ns)]
    return Reply(tuple(lines))


def invited(offer: Offer) -> Sentence:
    """An invite that nobody has used yet, in one sentence."""
    values = {
        "name": offer.name, "role": Sentence(ROLES[Role.parse(offer.role)]), "channels": offer.only,
        "time": Instant(offer.until_ns),
    }  # fmt: skip
    if offer.only:
        return Sentence(N_("{name}: invited as {role}, only {channels}, until {time}."), values)
    return Sentence(N_("{name}: invited as {role}, until {time}."), values)


def rights(person: Person, *, named: bool) -> Sentence:
    """What somebody may do, in one sentence."""
    who = N_("{name} ({jid})") if person.name else "{jid}"
    values = {
        "person": Sentence(N_("everybody at {domain}"), {"domain": person.jid.domain})
        if person.jid.local == EVERYBODY
        else Sentence(who, {"name": person.name, "jid": str(person.jid)}),
        "role": Sentence(ROLES[person.role]),
        "channels": person.only,
        "source": Sentence(N_("from node.toml") if named else N_("given in chat")),
    }
    if person.only:
        return Sentence(N_("{person}: {role}, only {channels} ({source})."), values)
    return Sentence(N_("{person}: {role} ({source})."), values)


COMMAND = Command(
    verb=N_("who"),
    role=Role.OWNER,
    summary=N_("the people with rights here"),
    usage=(N_("who"),),
    run=run,
    aliases=("wie",),
)
