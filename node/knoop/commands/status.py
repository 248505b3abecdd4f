"""status: how the node is, understood in three seconds."""

from __future__ import annotations

from knoop.access import Role
from knoop.alerts import PREFIX
from knoop.command import N_, Command, House, Reply, Request, Sentence, Span, counted, readable
from knoop.text import humane

LEVELS = {
    "stopped": N_("stopped"),
    "link down": N_("not connected"),
    "degraded": N_("degraded"),
    "fine": N_("fine"),
}

ALERTS = {
    "raised": N_("Alert {alert}: not acknowledged."),
    "acknowledged": N_("Alert {alert}: acknowledged by {person}."),
}


async def run(request: Request, house: House) -> Reply:
    """One line on the node, then only lines that say something: alarms, faults, what is on, what waits."""
    health, mine = house.health(), readable(request, house)
    lines = [
        Sentence(
            N_("{node}: {level}, up {uptime}, connected for {link}.")
            if health.link_up
            else N_("{node}: {level}, up {uptime}, not connected for {link}."),
            {
                "node": house.label or house.name,
                "level": Sentence(LEVELS[health.level]),
                "uptime": Span(round(health.uptime_s)),
                "link": Span(round(health.link_since_s)),
            },
        )
    ]
    for state in house.alerts.raised():
        if house.alerts.watched(PREFIX + state.name) in mine:
            values = {"alert": humane(state.name), "person": state.by}
            lines.append(Sentence(ALERTS[state.phase], values))
    faulty = tuple(mine[name] for name in health.faulty if name in mine)
    if faulty:
        lines.append(Sentence(N_("No value from: {channels}."), {"channels": faulty}))
    on = tuple(c for n, c in mine.items() if c.writable and (r := house.latest.get(n)) is not None and r.value)
    if on:
        lines.append(Sentence(N_("On: {channels}."), {"channels": on}))
    if health.backlog:
        lines.append(counted("{count} reading waits to be sent.", "{count} readings wait to be sent.", health.backlog))
    return Reply(tuple(lines))


COMMAND = Command(
    verb="status",
    role=Role.VIEWER,
    summary=N_("how this node is"),
    usage=("status",),
    run=run,
    aliases=("stand", "toestand"),
)
