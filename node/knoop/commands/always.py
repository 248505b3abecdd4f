"""always: make a stranger who asked a viewer."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request
from knoop.commands.once import asks, settle


async def run(request: Request, house: House) -> Reply:
    """`[JID]`: they get a viewer's rights, and an answer to what they asked if it only reads."""
    return await settle(request, house, "always")


COMMAND = Command(
    verb=N_("always"),
    role=Role.OWNER,
    summary=N_("make a stranger who asked a viewer"),
    usage=(N_("always eve@example.org"), N_("always")),
    run=run,
    takes="text",
    writes=True,
    aliases=("altijd",),
    form=asks(),
)
