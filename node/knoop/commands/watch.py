"""watch: be told of every change for a while."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, Sentence, Span, chosen, refuse, say

USUAL_S = 3600.0  # a watch that is forgotten ends by itself
LONGEST_S = 86400.0


async def run(request: Request, house: House) -> Reply:
    """Send changes of some channels to this chat; a new watch replaces the one before."""
    channels = chosen(request, house)
    if not channels:
        return refuse(N_("Say what to watch, for example: {example}"), example=Sentence(N_("watch temp")))
    for_s = min(request.for_s or USUAL_S, LONGEST_S)
    house.watch(request.sender, [channel.name for channel in channels], for_s=for_s)
    return say(
        N_("I tell you what changes for {span}: {channels}. “unwatch” ends it."),
        span=Span(for_s),
        channels=tuple(channels),
    )


COMMAND = Command(
    verb=N_("watch"),
    role=Role.VIEWER,
    summary=N_("be told of changes for a while"),
    usage=(N_("watch temp"), N_("watch door for 2h")),
    run=run,
    takes="channels",
    writes=True,
    aliases=("volg", "bekijk"),
)
