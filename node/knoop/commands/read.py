"""read: what channels are now. Just saying a name does the same."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Ask, Command, House, Reply, Request, Sentence, Span, chosen, dated, readable

MOST = 30  # lines that a phone still shows; beyond that a person wants a name


async def run(request: Request, house: House) -> Reply:
    """One line a channel: value, quality, and age where it is old. Without a name, all of them."""
    wanted = chosen(request, house) or list(readable(request.sender, house).values())
    lines = [dated(house, channel.name) for channel in wanted[:MOST]]
    if len(wanted) > MOST:
        lines.append(Sentence(N_("And {count} more; name what you want."), {"count": len(wanted) - MOST}))
    if lines and (away_s := house.health().away_s) is not None:
        text = N_("The hardware half has been away for {span}: these are the last values.")
        lines.append(Sentence(text, {"span": Span(round(away_s))}))
    return Reply(tuple(lines) or (Sentence(N_("There is nothing here that you may read.")),))


COMMAND = Command(
    verb=N_("read"),
    role=Role.VIEWER,
    summary=N_("what something is now"),
    usage=(N_("lamp"), N_("temp"), N_("read"), N_("is the lamp on?")),
    run=run,
    takes="channels",
    aliases=("get", "show", "lees", "toon", "lezen"),
    form=(Ask(name="channels", kind="channels", label=N_("Channels (none chosen: all)")),),
    rooms="all",
)
