"""never: hear nothing of a stranger any more."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request
from knoop.commands.once import asks, settle


async def run(request: Request, house: House) -> Reply:
    """`[JID]`: nobody is asked about them again, and our server lets nothing of theirs through (XEP-0191)."""
    return await settle(request, house, "never")


COMMAND = Command(
    verb=N_("never"),
    role=Role.OWNER,
    summary=N_("hear nothing of a stranger any more"),
    usage=(N_("never eve@example.org"), N_("never")),
    run=run,
    takes="text",
    writes=True,
    aliases=("nooit",),
    form=asks(),
)
