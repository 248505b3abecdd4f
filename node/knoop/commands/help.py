"""help: what this person can say here."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Ask, Choice, Command, House, Reply, Request, Sentence, readable, refuse
from knoop.commands import table

SWITCHED = (N_("{channel} on"), N_("{channel} off for 10min"))


async def run(request: Request, house: House) -> Reply:
    """Without an argument every verb that is open to the person, else the examples of one."""
    verbs = _open(request, house)
    wanted = request.argument.strip(" .,!?“”'\"").lower()
    if not wanted:
        lines = [Sentence("{verb}: {summary}", _values(command)) for command in verbs]
        return Reply((*lines, Sentence(N_("Say “help” and a word for examples, or just a name to read it."))))
    command = next((c for c in verbs if wanted in {c.verb, *c.aliases}), None)
    if command is None:
        return refuse(N_("I do not know “{verb}”. Say “help” to see what I know."), verb=wanted)
    examples = Sentence(N_("For example: {examples}"), {"examples": _examples(command, request, house)})
    return Reply((Sentence("{verb}: {summary}", _values(command)), examples))


def _open(request: Request, house: House) -> list[Command]:
    person = house.access.person(request.sender)
    role = person.role if person is not None else Role.NONE
    safe_mode = house.health().safe is not None
    return [c for c in table().values() if c.role <= role and (c.safe or not safe_mode)]


def _examples(command: Command, request: Request, house: House) -> tuple[Sentence, ...]:
    """Those of the verb; what can be set is shown with this node's own outputs, which it then does."""
    mine = readable(request.sender, house).values()
    outputs = [channel for channel in mine if channel.writable and not channel.confirm]
    if command.takes != "value" or not outputs:
        return tuple(map(Sentence, command.usage))
    said = []
    if switch := next((channel for channel in outputs if channel.type == "boolean"), None):
        said += [Sentence(message, {"channel": switch}) for message in SWITCHED]
    if number := next((channel for channel in outputs if channel.type == "number"), None):
        said.append(Sentence("{channel} 40", {"channel": number}))
    return tuple(said)


def _choices(request: Request, house: House) -> list[Choice]:
    verbs = [Choice(c.verb, Sentence("{verb}: {summary}", _values(c))) for c in _open(request, house)]
    return [Choice("", Sentence(N_("everything"))), *verbs]


def _values(command: Command) -> dict[str, object]:
    return {"verb": Sentence(command.verb), "summary": Sentence(command.summary)}


COMMAND = Command(
    verb=N_("help"),
    role=Role.VIEWER,
    summary=N_("what you can say"),
    usage=(N_("help"), N_("help set")),
    run=run,
    takes="text",
    aliases=("hulp",),
    form=(Ask(name="verb", kind="one", label=N_("About what"), choices=_choices),),
    rooms="name",
    safe=True,
)
