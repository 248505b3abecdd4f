"""read: what channels are now. Just saying a name does the same."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import (
    N_,
    Ask,
    Command,
    House,
    Reply,
    Request,
    Sentence,
    Span,
    chosen,
    readable,
    reading,
)
from knoop.record import Record

OLD_S = 600.0  # twice the usual heartbeat: from here on a value's age is part of its meaning
MOST = 30  # lines that a phone still shows; beyond that a person wants a name


async def run(request: Request, house: House) -> Reply:
    """One line a channel: value, quality, and age where it is old. Without a name, all of them."""
    wanted = chosen(request, house) or list(readable(request.sender, house).values())
    lines = [_line(house, channel.name) for channel in wanted[:MOST]]
    if len(wanted) > MOST:
        lines.append(Sentence(N_("And {count} more; name what you want."), {"count": len(wanted) - MOST}))
    return Reply(tuple(lines) or (Sentence(N_("There is nothing here that you may read.")),))


def _line(house: House, name: str) -> Sentence:
    channel, record = house.channels[name], house.latest.get(name)
    line = reading(channel, record)
    if record is None:
        return line
    age_s = _age_s(house, record)
    if age_s is None:
        return Sentence(N_("{channel} was {value} before the last start."), {"channel": channel, "value": record})
    if age_s < OLD_S:
        return line
    values = {"channel": channel, "value": record, "age": Span(age_s)}
    return Sentence(N_("{channel} is {value}, as of {age} ago."), values)


def _age_s(house: House, record: Record) -> float | None:
    """Seconds since the reading; None when its clock cannot be compared with ours."""
    if record.boot == house.clock.boot_id:
        return (house.clock.boottime_ns() - record.boottime_ns) / 1e9
    return None if record.at_ns is None else (house.clock.time_ns() - record.at_ns) / 1e9


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
