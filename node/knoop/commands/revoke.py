"""revoke: take all rights from somebody, or an invite back."""

from __future__ import annotations

from knoop.access import EVERYBODY, Role
from knoop.claims import theirs
from knoop.command import N_, Ask, Choice, Command, House, Reply, Request, Sentence, refuse, say
from knoop.jid import Jid

EXAMPLE = N_("revoke bram@example.org")


async def run(request: Request, house: House) -> Reply:
    """Takes effect at once, also for somebody whom node.toml names, until an owner allows them again.

    A name instead of an address takes back that invite.
    """
    if "@" not in request.argument and (taken := await _invite(request, house)) is not None:
        return taken
    try:
        jid = house.jid(request.argument.strip()).bare
    except ValueError:
        return refuse(N_("Say whose rights, for example: {example}"), example=Sentence(EXAMPLE))
    if (reply := not_for_you(jid, request, house)) is not None:
        return reply
    if house.access.person(jid) is None:
        return refuse(N_("{jid} has no rights here."), jid=str(jid))
    if house.access.named(jid):  # deleting the grant would give back what node.toml says
        await house.state.grant(str(jid), str(Role.NONE), ())
    else:
        await house.state.revoke(str(jid))
    await house.rights_changed()
    if house.access.person(jid) is not None:
        return refuse(N_("{jid} still has rights here: have a look at node.toml."), jid=str(jid))
    return say(N_("{jid} has no rights here any more."), jid=str(jid))


async def _invite(request: Request, house: House) -> Reply | None:
    """Take back the open invite of this name; None when there is none that is theirs."""
    me, name = house.access.person(request.sender), request.argument.strip().casefold()
    offers = [offer for offer in await house.claims.offers() if me is not None and theirs(me, offer)]
    offer = next((offer for offer in offers if offer.name.casefold() == name), None)
    if offer is None or not await house.claims.withdraw(offer):
        return None
    return say(N_("The invite for {name} is taken back."), name=offer.name)


def not_for_you(jid: Jid, request: Request, house: House) -> Reply | None:
    """Why the asking owner cannot change the rights of a bare JID; None when they can.

    Nobody changes their own. Who is an owner by node.toml is touched only by another such owner: somebody who got
    their rights in a chat cannot lock out who owns the board. An owner limited by `only` is one within it: they
    change the rights of those who have none beyond it.
    """
    access = house.access
    if jid == request.sender.bare:
        return refuse(N_("Your own rights are for another owner to change."))
    if access.role_in_file(jid) is Role.OWNER and access.role_in_file(request.sender) is not Role.OWNER:
        sentence = N_("node.toml makes {jid} an owner; only another owner named there can change that.")
        return refuse(sentence, jid=str(jid))
    me, person = access.person(request.sender), access.person(jid)
    if me is None or (person is not None and not me.covers(person)):
        return refuse(N_("{jid} has rights beyond yours, so they are for another owner to change."), jid=str(jid))
    return None


def _choices(request: Request, house: House) -> list[Choice]:
    """Those whose rights the asking owner can take, and the invites, as they were when somebody looked last."""
    people = [p for p in house.access.everyone() if p.jid.local != EVERYBODY]
    mine = [p for p in people if not_for_you(p.jid, request, house) is None]
    me = house.access.person(request.sender)
    invites = [o for o in house.claims.known if me is not None and theirs(me, o)]
    return [
        *(Choice(o.name, Sentence(N_("{name} (invited)"), {"name": o.name})) for o in invites),
        *(Choice(str(p.jid), Sentence(N_("{name} ({jid})") if p.name else "{jid}", {"name": p.name, "jid": str(p.jid)}))
          for p in mine),
    ]


COMMAND = Command(
    verb=N_("revoke"),
    role=Role.OWNER,
    summary=N_("take all rights from somebody"),
    usage=(EXAMPLE, N_("revoke bram")),
    run=run,
    takes="text",
    writes=True,
    aliases=("intrekken",),
    form=(Ask(name="jid", kind="one", label=N_("Whose rights"), choices=_choices, needed=True),),
)
