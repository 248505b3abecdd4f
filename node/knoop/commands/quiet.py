"""quiet: say nothing unasked to me for a while."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Ask, Choice, Command, House, Instant, Reply, Request, Sentence, Span, refuse, say

PRESETS = {"30min": 1800.0, "1h": 3600.0, "2h": 7200.0, "8h": 28800.0, "1d": 86400.0}
LONGEST_S = 7 * 86400.0  # who wants silence for longer wants another `notify` in node.toml


async def run(request: Request, house: House) -> Reply:
    """Quiet for a span, not any more, or until when it is now; only ever for the person who asks.

    Quiet hours outlive a restart, so they are kept in wall-clock time and promised only while that is known.
    """
    me = str(request.sender.bare)
    if request.value is False:
        await house.telling.hush(me, 0)
        return say(N_("I speak up again."))
    if not house.synced():
        return refuse(N_("I do not know what time it is yet, so I cannot keep quiet. Please ask again later."))
    if request.for_s is None:
        until_ns = house.telling.quiet_until_ns(me)
        if until_ns is not None:
            return say(N_("I keep quiet until {time}; “quiet off” ends it."), time=Instant(until_ns))
        return refuse(N_("Say for how long, for example: {example}"), example=Sentence(N_("quiet 2h")))
    until_ns = house.clock.time_ns() + round(min(request.for_s, LONGEST_S) * 1e9)
    await house.telling.hush(me, until_ns)
    return say(N_("I keep quiet until {time}; “quiet off” ends it."), time=Instant(until_ns))


def times(_request: Request, _house: House) -> list[Choice]:
    """How long, or not any more, to choose from."""
    spans = [Choice(text, Sentence("{span}", {"span": Span(s)})) for text, s in PRESETS.items()]
    return [*spans, Choice("off", Sentence(N_("not any more: speak up again")))]


COMMAND = Command(
    verb=N_("quiet"),
    role=Role.VIEWER,
    summary=N_("no messages to you for a while"),
    usage=(N_("quiet 2h"), N_("quiet off"), N_("quiet")),
    run=run,
    takes="span",
    writes=True,
    aliases=("stil", "stilte"),
    form=(
        Ask(name="for", kind="span", label=N_("For how long"), choices=times, usual="2h"),
        Ask(name="other", kind="span", label=N_("Or another time, like 45min or 3h")),
    ),
)
