"""allow: give somebody rights."""

from __future__ import annotations

from collections.abc import Mapping

from knoop.access import EVERYBODY, Role, within
from knoop.command import N_, Ask, Choice, Command, House, Reply, Request, Sentence, readable, refuse
from knoop.commands.revoke import not_for_you
from knoop.commands.who import ROLES, rights
from knoop.confusable import Kind, doubt
from knoop.jid import Jid

WORDS = {"kijker": Role.VIEWER, "bediener": Role.OPERATOR, "eigenaar": Role.OWNER}
ONLY = {"only", "alleen"}
DOUBTS: Mapping[Kind, str] = {
    "address": N_("Mind: {jid} looks like {other}, but is another address. Not meant? Say: revoke {jid}"),
    "domain": N_("Mind: the server of {jid} looks like {other}, but is another one. Not meant? Say: revoke {jid}"),
    "mixed": N_("Mind: {jid} has letters of several alphabets in one name. Not meant? Say: revoke {jid}"),
}
USAGE = (N_("allow bram@example.org viewer"), N_("allow bram@example.org operator only lamp"))


async def run(request: Request, house: House) -> Reply:
    """`JID ROLE [only CHANNEL …]`; the answer is what the rights are afterwards.

    An owner limited by `only` gives at most that, and the other channels do not exist for them here either.
    """
    text, word, *rest = (*request.argument.split(), "", "")
    role, only = role_called(word), tuple(name.strip(",").lower() for name in rest[1:] if name.strip(","))
    rest = [part for part in rest if part]
    if role is None or (rest and rest[0].lower() not in ONLY) or (rest and not only):
        return refuse(N_("Say who and as what, for example: {example}"), example=Sentence(USAGE[1]))
    try:
        jid = house.jid(text).bare
    except ValueError:
        return refuse(N_("“{text}” is no address. Nothing was changed."), text=text)
    if jid.local in {"", EVERYBODY}:
        return refuse(N_("A whole server can get rights in node.toml only. Nothing was changed."))
    if jid == house.own:
        return refuse(N_("That is my own address. Nothing was changed."))
    if (reply := not_for_you(jid, request, house)) is not None:
        return reply
    mine = readable(request.sender, house)
    unknown = tuple(name for name in only if not any(name in {channel, channel.partition(".")[0]} for channel in mine))
    if unknown:
        return refuse(N_("There is no channel {channels}. Nothing was changed."), channels=unknown)
    me = house.access.person(request.sender)
    given = within(me, only) if me is not None else only
    await house.state.grant(str(jid), str(role), given)
    await house.knocks.forgive(jid)
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
    if given != only:
        lines.append(Sentence(N_("You can give no more than your own: {channels}."), {"channels": given}))
    return Reply((*lines, *doubts(jid, house)), ok=person.role == role)


def doubts(jid: Jid, house: House) -> tuple[Sentence, ...]:
    """What an owner is to look at again when this bare JID has got rights: that it looks like somebody else's."""
    found = doubt(jid, [other.jid for other in house.access.everyone() if other.jid != jid])
    return () if found is None else (Sentence(DOUBTS[found.kind], {"jid": str(jid), "other": found.other}),)


def role_called(word: str) -> Role | None:
    try:
        return WORDS.get(word.lower()) or Role.parse(word) or None  # NONE is what revoke is for
    except ValueError:
        return None


def _roles(_request: Request, _house: House) -> list[Choice]:
    return [Choice(str(role), Sentence(name)) for role, name in ROLES.items()]


def _channels(request: Request, house: House) -> list[Choice]:
    return [Choice(c.name, Sentence("{channel}", {"channel": c})) for c in readable(request.sender, house).values()]


WHAT = (  # that somebody gets
    Ask(name="role", kind="one", label=N_("As what"), choices=_roles, usual="viewer", needed=True),
    Ask(
        name="only", kind="many", label=N_("Only these channels (none chosen: all)"), choices=_channels, word="only"
    ),
)
COMMAND = Command(
    verb=N_("allow"),
    role=Role.OWNER,
    summary=N_("give somebody rights"),
    usage=USAGE,
    run=run,
    takes="text",
    writes=True,
    aliases=("grant", "toestaan"),
    form=(Ask(name="jid", kind="jid", label=N_("Address"), needed=True), *WHAT),
)
