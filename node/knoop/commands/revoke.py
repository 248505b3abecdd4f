"""revoke: take all rights from somebody."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, refuse, say
from knoop.jid import Jid


async def run(request: Request, house: House) -> Reply:
    """Takes effect at once, also for somebody whom node.toml names, until an owner allows them again."""
    try:
        jid = house.jid(request.argument.strip()).bare
    except ValueError:
        return refuse(N_("Say whose rights, for example: {example}"), example="revoke bram@example.org")
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


COMMAND = Command(
    verb="revoke",
    role=Role.OWNER,
    summary=N_("take all rights from somebody"),
    usage=("revoke bram@example.org",),
    run=run,
    takes="text",
    writes=True,
    aliases=("intrekken",),
)
