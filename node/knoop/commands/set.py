"""set: move an output, and say where it really is afterwards."""

from __future__ import annotations

from math import isclose, isfinite

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, Sentence, Span, beyond, chosen, reading, refuse
from knoop.text import state
from knoop_hw.errors import SetRefused
from knoop_hw.model import Channel

REFUSED = {
    "interlock": N_("{channel} stays as it is: something that must not be on together with it is on."),
    "min-off": N_("{channel} stays off: it still has to rest. Try again later."),
    "range": N_("{channel} stays as it is: that is outside its limits."),
    "away": N_("{channel} stays as it is: the hardware half is away. Try again when it is back."),
    "absent": N_("{channel} stays as it is: its device is away. Try again when it is back."),
    "late": N_("That arrived late, so I did nothing. Please say it again."),
    "unsure": N_("The hardware half went away before it answered: look at {channel} when it is back."),
}
FAILED = N_("{channel} could not be set: its device does not answer.")


async def run(request: Request, house: House) -> Reply:
    """Set exactly one output; the answer is the level read back."""
    channels, value = chosen(request, house), request.value
    if len(channels) != 1 or value is None:
        example = Sentence(N_("set lamp on"))
        return refuse(N_("Say what to set and to which value, for example: {example}"), example=example)
    channel = channels[0]
    if not channel.writable:
        return refuse(N_("{channel} cannot be set: it only reports."), channel=channel)
    if not _fits(channel, value):
        return refuse(N_("{channel} does not take this value: nothing was done."), channel=channel)
    if (limits := beyond(channel, value)) is not None:
        return limits
    span = request.for_s
    if channel.pulse_s is not None and value:
        if span is not None and span > channel.pulse_s:
            pulse = Span(channel.pulse_s)
            return refuse(N_("{channel} gives pulses of {span}: nothing was done."), channel=channel, span=pulse)
        span = channel.pulse_s if span is None else span
    if channel.confirm and not request.confirmed:
        return _wants_a_code(channel, value, span)
    try:
        who = request.sender
        record = await house.set(channel.name, value, for_s=request.for_s, by=who, heard_ns=request.heard_ns)
    except SetRefused as refused:
        return refuse(REFUSED.get(refused.reason, FAILED), channel=channel)
    if record.value is None or not isclose(float(record.value), value, rel_tol=1e-3, abs_tol=_near(channel)):
        return Reply((reading(channel, record), Sentence(N_("It did not follow: have a look at it."))), ok=False)
    if span is None:
        return Reply((reading(channel, record),))
    values = {"channel": channel, "value": record, "span": Span(span)}
    return Reply((Sentence(N_("{channel} is {value}, for {span}."), values),))


def _wants_a_code(channel: Channel, value: bool | float, span: float | None) -> Reply:
    """A refusal for all but who can give a code and hear it again."""
    said = Sentence(state(channel, value)) if isinstance(value, bool) else value
    shown = Sentence("{value} {unit}" if channel.unit else "{value}", {"value": said, "unit": channel.unit})
    text = N_("Send {code} within {within} to do this: set {channel} to {value}.")
    if span is not None:
        text = N_("Send {code} within {within} to do this: set {channel} to {value} for {span}.")
    values = {"channel": channel, "value": shown, "span": Span(span or 0)}
    refused = Sentence(N_("{channel} is set with a one-time code only: nothing was done."), {"channel": channel})
    return Reply((refused,), ok=False, confirm=Sentence(text, values))


def _fits(channel: Channel, value: bool | float) -> bool:
    if channel.type == "boolean":
        return isinstance(value, bool)
    return channel.type == "number" and not isinstance(value, bool) and isfinite(value)


def _near(channel: Channel) -> float:
    """What an output may round by: the hardware half, too, takes that for done."""
    if channel.minimum is None or channel.maximum is None:
        return 1e-6
    return (channel.maximum - channel.minimum) / 100


COMMAND = Command(
    verb=N_("set"),
    role=Role.OPERATOR,
    summary=N_("switch or set something"),
    usage=(N_("lamp on"), N_("set lamp on for 10s"), N_("set pump 40")),
    run=run,
    takes="value",
    writes=True,
    aliases=("switch", "turn", "put", "zet", "doe", "schakel"),
    rooms="name",
)
