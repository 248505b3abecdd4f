"""ack: say that a person has seen an alert."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Ask, Choice, Command, House, Instant, Reply, Request, Sentence, readable, refuse
from knoop.text import humane
from knoop.words import ALL, tokens

NONE = N_("No alert waits for an acknowledgement.")


async def run(request: Request, house: House) -> Reply:
    """Acknowledge one alert by name, the only one that waits, or all."""
    seen = _seen(request, house)
    waiting = _waiting(request, house)
    if request.argument in seen:
        return await _one(request, house, request.argument)
    wanted = tokens(request.argument)
    if wanted and not {*wanted} <= ALL:
        return await _one(request, house, next((name for name in seen if tokens(name) == wanted), None))
    if not waiting:
        return refuse(NONE)
    if len(waiting) > 1 and not wanted:
        return refuse(N_("More than one alert waits; say “ack all” or one of: {choices}"), choices=tuple(waiting))
    replies = [await _one(request, house, name, alone=len(waiting) == 1) for name in waiting]
    return Reply(tuple(line for reply in replies for line in reply.lines), ok=all(reply.ok for reply in replies))


def _seen(request: Request, house: House) -> list[str]:
    mine = readable(request.sender, house)
    return [name for name, rule in house.alerts.rules.items() if rule.when.channel in mine]


def _waiting(request: Request, house: House) -> list[str]:
    return [name for name in _seen(request, house) if house.alerts.state(name).phase == "raised"]


def _choices(request: Request, house: House) -> list[Choice]:
    alerts = [Choice(name, Sentence("{alert}", {"alert": humane(name)})) for name in _waiting(request, house)]
    return [*alerts, Choice("all", Sentence(N_("all of them")))] if len(alerts) > 1 else alerts


async def _one(request: Request, house: House, name: str | None, *, alone: bool = True) -> Reply:
    if name is None:
        return refuse(N_("There is no alert “{alert}”."), alert=request.argument)
    state = house.alerts.state(name)
    if state.phase == "acknowledged":
        return refuse(N_("{alert} was already acknowledged by {person}."), alert=humane(name), person=state.by)
    if state.phase != "raised":
        return refuse(N_("{alert} is not raised: there is nothing to acknowledge."), alert=humane(name))
    told = _told(request, house, name) if alone and request.via != "room" else ()
    await house.acknowledge(name, by=request.sender)
    return Reply((Sentence(N_("Acknowledged: {alert}."), {"alert": humane(name)}), *told))


def _told(request: Request, house: House, name: str) -> tuple[Sentence, ...]:
    """Who else was told, and when it was on one of their devices, for those who may know the people of the house."""
    asking = house.access.person(request.sender)
    if asking is None or asking.role < Role.OWNER:
        return ()
    others: list[str | Sentence] = []
    for who, at_ns in house.alarms.calls.told(name).items():
        person = house.access.person(house.jid(who))
        if person is not None and person.jid != asking.jid:
            values = {"person": person.title, "time": Instant(at_ns)}
            others.append(person.title if at_ns is None else Sentence(N_("{person} (received {time})"), values))
    return (Sentence(N_("Told, too: {people}."), {"people": tuple(others)}),) if others else ()


COMMAND = Command(
    verb=N_("ack"),
    role=Role.OPERATOR,
    summary=N_("acknowledge an alert"),
    usage=(N_("ack"), N_("ack frost"), N_("ack all")),
    run=run,
    takes="text",
    writes=True,
    aliases=("acknowledge", "gezien", "bevestig"),
    form=(Ask(name="alert", kind="one", label=N_("Alert"), choices=_choices, needed=True, without=NONE),),
    rooms="all",
)
