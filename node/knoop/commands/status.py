"""status: how the node is, understood in three seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from knoop import plight
from knoop.access import Role
from knoop.alerts import PREFIX
from knoop.command import N_, Command, House, Instant, Reply, Request, Sentence, Span, counted, readable
from knoop.commands.silence import silent_now
from knoop.health import SafeMode
from knoop.text import humane
from knoop_hw.model import Kind

ALERTS = {
    "raised": N_("Alert {alert} since {time}: nobody has acknowledged it."),
    "acknowledged": N_("Alert {alert}, acknowledged by {person} ({time})."),
}

# What is going on, and the kinds of channel in which it does.
ACTIVE: Mapping[str, frozenset[Kind]] = {
    N_("On: {channels}."): frozenset({"switch", "pwm", "number"}),
    N_("Open: {channels}."): frozenset({"contact"}),
    N_("Unlocked: {channels}."): frozenset({"lock"}),
    N_("Motion: {channels}."): frozenset({"motion"}),
}


async def run(request: Request, house: House) -> Reply:
    """The first line is the answer; then only lines that say something: alarms, faults, what is on or open."""
    health, mine = house.health(), readable(request.sender, house)
    spans = {"uptime": Span(round(health.uptime_s)), "link": Span(round(health.link_since_s))}
    link = N_("Up {uptime}, connected for {link}.") if health.link_up else N_("Up {uptime}, not connected for {link}.")
    if health.safe is not None:
        return Reply((*_safe_mode(request, house, health.safe), Sentence(link, spans)))
    alerts = [state for state in house.alerts.raised() if house.alerts.watched(PREFIX + state.name) in mine]
    faulty = tuple(mine[name] for name in health.faulty if name in mine)
    lines = [_first(house, len(alerts), waiting=any(state.phase == "raised" for state in alerts), faulty=len(faulty))]
    if health.away_s is not None:
        text = N_("The hardware half has been away for {time}: values are old, and nothing can be switched.")
        lines.append(Sentence(text, {"time": Span(round(health.away_s))}))
    if not house.synced():
        lines.append(Sentence(N_("My clock has not been set yet: readings have no time.")))
    for state in alerts:
        values = {"alert": humane(state.name), "person": state.by, "time": Instant(state.at_ns)}
        lines.append(Sentence(ALERTS[state.phase], values))
        lines += silent_now(state.name, house)
    if faulty:
        lines.append(Sentence(N_("No value from: {channels}."), {"channels": faulty}))
    active = [channel for name, channel in mine.items() if (now := house.latest.get(name)) is not None and now.value]
    for message, kinds in ACTIVE.items():
        there = tuple(channel for channel in active if channel.kind in kinds)
        if there:
            lines.append(Sentence(message, {"channels": there}))
    if health.backlog:
        lines.append(counted("{count} reading waits to be sent.", "{count} readings wait to be sent.", health.backlog))
    if health.dropped:
        lines.append(counted("{count} reading was lost.", "{count} readings were lost.", health.dropped))
    return Reply((*lines, Sentence(link, spans)))


def _safe_mode(request: Request, house: House, safe: SafeMode) -> Iterator[Sentence]:
    text = N_("🔴 {node}: safe mode. Nothing is measured, switched or reported.")
    yield Sentence(text, {"node": house.label or house.name})
    yield plight.why(safe)
    me = house.access.person(request.sender)
    if me is not None and me.role is Role.OWNER and not me.only and (said := plight.last(safe)):
        yield said
    yield plight.until(safe, house.clock.boottime_ns())


def _first(house: House, alerts: int, *, waiting: bool, faulty: int) -> Sentence:
    """One glance: a colour, the node, and how many things are not as they should be."""
    values = {"node": house.label or house.name}
    if waiting:
        return counted("🔴 {node}: {count} alert.", "🔴 {node}: {count} alerts.", alerts, **values)
    if alerts:
        return counted(
            "🟠 {node}: {count} alert, acknowledged.", "🟠 {node}: {count} alerts, acknowledged.", alerts, **values
        )
    health = house.health()
    if health.away_s is not None:
        return Sentence(N_("🟠 {node}: the hardware half is away."), values)
    if health.storage not in {"", "ok"}:
        return Sentence(N_("🟠 {node}: trouble with the disk."), values)
    if faulty:
        return counted("🟠 {node}: {count} value missing.", "🟠 {node}: {count} values missing.", faulty, **values)
    if health.losing:
        return Sentence(N_("🟠 {node}: readings were lost."), values)
    return Sentence(N_("🟢 {node}: all is well."), values)


COMMAND = Command(
    verb=N_("status"),
    role=Role.VIEWER,
    summary=N_("how this node is"),
    usage=(N_("status"),),
    run=run,
    aliases=("stand", "toestand"),
    rooms="all",
    safe=True,
)
