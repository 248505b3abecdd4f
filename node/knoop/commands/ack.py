"""ack: say that a person has seen an alert."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, Sentence, readable, refuse
from knoop.text import humane
from knoop.words import ALL, tokens


async def run(request: Request, house: House) -> Reply:
    """Acknowledge one alert by name, the only one that waits, or all."""
    mine = readable(request, house)
    seen = {name: rule for name, rule in house.alerts.rules.items() if rule.when.channel in mine}
    waiting = [name for name in seen if house.alerts.state(name).phase == "raised"]
    wanted = tokens(request.argument)
    if wanted and not {*wanted} <= ALL:
        return await _one(request, house, next((name for name in seen if tokens(name) == wanted), None))
    if not waiting:
        return refuse(N_("No alert waits for an acknowledgement."))
    if len(waiting) > 1 and not wanted:
        return refuse(N_("More than one alert waits; say “ack all” or one of: {choices}"), choices=tuple(waiting))
    replies = [await _one(request, house, name) for name in waiting]
    return Reply(tuple(line for reply in replies for line in reply.lines), ok=all(reply.ok for reply in replies))


async def _one(request: Request, house: House, name: str | None) -> Reply:
    if name is None:
        return refuse(N_("There is no alert “{alert}”."), alert=request.argument)
    state = house.alerts.state(name)
    if state.phase == "acknowledged":
        return refuse(N_("{alert} was already acknowledged by {person}."), alert=humane(name), person=state.by)
    if state.phase != "raised":
        return refuse(N_("{alert} is not raised: there is nothing to acknowledge."), alert=humane(name))
    await house.acknowledge(name, by=request.sender)
    return Reply((Sentence(N_("Acknowledged: {alert}."), {"alert": humane(name)}),))


COMMAND = Command(
    verb="ack",
    role=Role.OPERATOR,
    summary=N_("acknowledge an alert"),
    usage=("ack", "ack frost", "ack all"),
    run=run,
    takes="text",
    writes=True,
    aliases=("acknowledge", "gezien", "bevestig"),
)
