"""silence: nobody hears of an alert for a while."""

from __future__ import annotations

from collections.abc import Sequence

from knoop.access import Role
from knoop.command import N_, Ask, Choice, Command, House, Instant, Reply, Request, Sentence, readable, refuse
from knoop.commands.quiet import times
from knoop.text import humane
from knoop.words import ALL, DURING, SWITCH, duration, tokens, words

LONGEST_S = 7 * 86400.0  # what nobody wants to hear of for longer is better taken out of node.toml

UNTIL = N_(
    "{alert} is silent until {time}, for everybody, however critical; presence and “status” still show it. "
    "“silence {alert} off” ends it."
)
EXAMPLE = Sentence(N_("silence frost 1h"))


async def run(request: Request, house: House) -> Reply:
    """Silence one alert, or all, for a span; end that; or say until when it is silent.

    A silence outlives a restart, so it is kept in wall-clock time and promised only while that is known.
    """
    said = [word for word in words(request.argument) if word not in DURING]
    split = next((i for i in range(len(said)) if duration(said[i:]) is not None or said[i] in SWITCH), len(said))
    alerts = _named(request, house, said[:split])
    if isinstance(alerts, Reply):
        return alerts
    rest = said[split:]
    if rest and SWITCH.get(rest[0]) is False and len(rest) == 1:
        for name in alerts:
            await house.alarms.silence(name, 0, by=request.sender)
        return Reply((Sentence(N_("Not silent any more: {alerts}."), {"alerts": tuple(map(humane, alerts))}),))
    if not house.synced():
        return refuse(N_("I do not know what time it is yet, so I cannot keep quiet. Please ask again later."))
    for_s = duration(rest)
    if for_s is None:
        lines = tuple(line for name in alerts for line in silent_now(name, house))
        return Reply(lines) if lines else refuse(N_("Say for how long, for example: {example}"), example=EXAMPLE)
    until_ns = house.clock.time_ns() + round(min(for_s, LONGEST_S) * 1e9)
    for name in alerts:
        await house.alarms.silence(name, until_ns, by=request.sender)
    if len(alerts) == 1:
        return Reply((Sentence(UNTIL, {"time": Instant(until_ns), "alert": humane(alerts[0])}),))
    values = {"time": Instant(until_ns), "alerts": tuple(map(humane, alerts))}
    return Reply((
        Sentence(N_("Silent until {time}, for everybody, however critical: {alerts}."), values),
        Sentence(N_("Presence and “status” still show them; “silence all off” ends it.")),
    ))


def _named(request: Request, house: House, said: Sequence[str]) -> list[str] | Reply:
    """The alerts that are meant, of those that the asking person may read."""
    known = _known(request, house)
    wanted = tokens(said)
    if said and {*said} <= ALL:
        return known or refuse(N_("There is no alert here."))
    if not wanted:
        return refuse(N_("Say which alert, and for how long, for example: {example}"), example=EXAMPLE)
    found = [name for name in known if tokens(name) == wanted]
    return found or refuse(N_("There is no alert “{alert}”."), alert=" ".join(said))


def _known(request: Request, house: House) -> list[str]:
    mine = readable(request.sender, house)
    return [name for name, rule in house.alerts.rules.items() if rule.when.channel in mine]


def _choices(request: Request, house: House) -> list[Choice]:
    alerts = [Choice(name, Sentence("{alert}", {"alert": humane(name)})) for name in _known(request, house)]
    return [*alerts, Choice("all", Sentence(N_("all of them")))] if alerts else []


def silent_now(name: str, house: House) -> list[Sentence]:
    """Until when this alert is silent and who said so; nothing when it is not."""
    silence = house.alarms.silenced(name)
    if silence is None:
        return []
    values = {"alert": humane(name), "time": Instant(silence.until_ns), "person": silence.by}
    return [Sentence(N_("{alert} is silent until {time}, said {person}."), values)]


COMMAND = Command(
    verb=N_("silence"),
    role=Role.OPERATOR,
    summary=N_("no messages to anybody about an alert, for a while"),
    usage=(N_("silence frost 1h"), N_("silence all 1h"), N_("silence frost off")),
    run=run,
    takes="text",
    writes=True,
    aliases=("mute", "demp"),
    form=(
        Ask(
            name="alert", kind="one", label=N_("Alert"), choices=_choices, needed=True,
            without=N_("There is no alert here."),
        ),
        Ask(name="for", kind="one", label=N_("For how long"), choices=times, usual="1h"),
    ),
    rooms="all",
)
