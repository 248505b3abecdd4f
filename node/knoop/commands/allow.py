"""allow: give somebody rights."""

from __future__ import annotations

from knoop.access import EVERYBODY, Role
from knoop.command import N_, Command, House, Reply, Request, Sentence, refuse
from knoop.commands.who import ROLES, rights

WORDS = {"kijker": Role.VIEWER, "bediener": Role.OPERATOR, "eigenaar": Role.OWNER}
ONLY = {"only", "alleen"}
USAGE = ("allow bram@example.org viewer", "allow bram@example.org operator only lamp")


async def run(request: Request, house: House) -> Reply:
    """`JID ROLE [only CHANNEL …]`; the answer is what the rights are afterwards."""
    text, word, *rest = (*request.argument.split(), "", "")
    role, only = _role(word), tuple(name.strip(",").lower() for name in rest[1:] if name.strip(","))
    rest = [part for part in rest if part]
    if role is None or (rest and rest[0].lower() not in ONLY) or (rest and not only):
        return refuse(N_("Say who and as what, for example: {example}"), example=USAGE[1])
    try:
        jid = house.jid(text).bare
    except ValueError:
        return refuse(N_("“{text}” is no address. Nothing was changed."), text=text)
    if jid.local in {"", EVERYBODY}:
        return refuse(N_("A whole server can get rights in node.toml only. Nothing was changed."))
    if jid == request.sender.bare:
        return refuse(N_("Your own rights are for another owner to change."))
    unknown = tuple(name for name in only if not _exists(name, house))
    if unknown:
        return refuse(N_("There is no channel {channels}. Nothing was changed."), channels=unknown)
    await house.state.grant(str(jid), str(role), only)
    await house.rights_changed()
    person = house.access.person(jid)
    if person is None:  # node.toml limits them to channels that this grant does not name
        return Reply(
            (Sentence(N_("node.toml does not allow {jid} that: no rights are left."), {"jid": str(jid)}),),
            ok=False,
        )
    lines = [rights(person, named=house.access.named(jid))]
    if person.role < role:
        allowed = {"role": Sentence(ROLES[person.role])}
        lines.append(Sentence(N_("node.toml allows no more than {role}; chat can only narrow that."), allowed))
    return Reply(tuple(lines), ok=person.role == role)


def _role(word: str) -> Role | None:
    try:
        return WORDS.get(word.lower()) or Role.parse(word) or None  # NONE is what revoke is for
    except ValueError:
        return None


def _exists(name: str, house: House) -> bool:
    return any(name in {channel, channel.partition(".")[0]} for channel in house.channels)


COMMAND = Command(
    verb="allow",
    role=Role.OWNER,
    summary=N_("give somebody rights"),
    usage=USAGE,
    run=run,
    takes="text",
    writes=True,
    aliases=("grant", "toestaan"),
)
