"""revoke: take all rights from somebody."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, refuse, say


async def run(request: Request, house: House) -> Reply:
    """Takes effect at once, also for somebody whom node.toml names, until an owner allows them again."""
    try:
        jid = house.jid(request.argument.strip()).bare
    except ValueError:
        return refuse(N_("Say whose rights, for example: {example}"), example="revoke bram@example.org")
    if jid == request.sender.bare:
        return refuse(N_("Your own rights are for another owner to change."))
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
