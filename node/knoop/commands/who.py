"""who: the people with rights here."""

from __future__ import annotations

from knoop.access import EVERYBODY, Person, Role
from knoop.command import N_, Command, House, Reply, Request, Sentence

ROLES = {Role.VIEWER: N_("viewer"), Role.OPERATOR: N_("operator"), Role.OWNER: N_("owner")}


async def run(request: Request, house: House) -> Reply:
    """One line a person: what they may do, and where the right comes from.

    An owner limited by `only` sees themselves and those whose rights they may change: nobody with rights beyond.
    """
    me = house.access.person(request.sender)
    seen = [person for person in house.access.everyone() if me is not None and me.covers(person)]
    return Reply(tuple(rights(person, named=house.access.named(person.jid)) for person in seen))


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
