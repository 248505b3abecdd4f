"""roll: this node's health in one line; said in a room, every node there answers."""

from __future__ import annotations

from knoop.access import Role
from knoop.alerts import PREFIX
from knoop.command import N_, Command, House, Reply, Request, Sentence, Span, counted, readable


async def run(request: Request, house: House) -> Reply:
    """Name, alerts, what is missing, for how long it is up, version."""
    health, mine = house.health(), readable(request.sender, house)
    alerts = sum(house.alerts.watched(PREFIX + state.name) in mine for state in house.alerts.raised())
    missing = sum(name in mine for name in health.faulty)
    values = {"node": house.label or house.name, "uptime": Span(round(health.uptime_s)), "version": health.version}
    if alerts:
        what = counted("{count} alert", "{count} alerts", alerts)
    elif missing:
        what = counted("{count} value missing", "{count} values missing", missing)
    else:
        what = Sentence(N_("all is well"))
    return Reply((Sentence(N_("{node}: {what}, up {uptime}, Knoop {version}."), {**values, "what": what}),))


COMMAND = Command(
    verb=N_("roll"),
    role=Role.VIEWER,
    summary=N_("one line on how I am; in a room every node answers"),
    usage=(N_("roll"),),
    run=run,
    aliases=("presentie",),
    rooms="all",
)
