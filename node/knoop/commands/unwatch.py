"""unwatch: no more changes."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, counted, say


async def run(request: Request, house: House) -> Reply:
    """End the watch of this chat."""
    count = house.unwatch(request.sender)
    if not count:
        return say(N_("Nothing was being watched."))
    return Reply((counted("Stopped watching {count} value.", "Stopped watching {count} values.", count),))


COMMAND = Command(
    verb=N_("unwatch"),
    role=Role.VIEWER,
    summary=N_("end the watch"),
    usage=(N_("unwatch"),),
    run=run,
    takes="channels",
    writes=True,
    aliases=("ontvolg",),
    form=(),
)
