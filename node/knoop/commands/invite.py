"""invite: a code that gives somebody of the house their rights, whatever their address is."""

from __future__ import annotations

from knoop.access import Role, within
from knoop.claims import INVITE_S, MOST, WORD, Offer, link, theirs
from knoop.command import N_, Ask, Command, House, Instant, Reply, Request, Sentence, readable, refuse
from knoop.commands.allow import ONLY, WHAT, role_called
from knoop.commands.who import ROLES

USAGE = (N_("invite bram viewer"), N_("invite bram operator only lamp"))
WHOLE = N_("For {name}, {role}: works once, until {time}. Whoever has it can use it.")
LIMITED = N_("For {name}, {role}, only {channels}: works once, until {time}. Whoever has it can use it.")
LONGEST = 40  # characters of a name
BETWEEN = frozenset({"as", "a", "an", "uit", "als"})  # what people say between a name and a role


async def run(request: Request, house: House) -> Reply:
    """`NAME ROLE [only CHANNEL …]`; the answer holds the code. A new invite for the same name replaces the one before.

    An owner limited by `only` gives at most that.
    """
    said = request.argument.split()
    at = next((at for at, word in enumerate(said) if at and role_called(word) is not None), len(said))
    role, rest = role_called(said[at]) if at < len(said) else None, said[at + 1 :]
    while at > 1 and said[at - 1].lower() in BETWEEN:
        at -= 1
    name = " ".join(said[:at])
    only = tuple(part.strip(",").lower() for part in rest[1:] if part.strip(","))
    me = house.access.person(request.sender)
    if me is None or role is None or (rest and rest[0].lower() not in ONLY) or (rest and not only):
        return refuse(N_("Say who and as what, for example: {example}"), example=Sentence(USAGE[1]))
    if "@" in name:
        example = Sentence("{word} {jid} {role}", {"word": Sentence(N_("allow")), "jid": name, "role": str(role)})
        return refuse(N_("An invite is for somebody whose address you do not know. Say: {example}"), example=example)
    if len(name) > LONGEST or not name.isprintable():
        return refuse(N_("That is no name. Nothing was changed."))
    mine = readable(request.sender, house)
    unknown = tuple(part for part in only if not any(part in {known, known.partition(".")[0]} for known in mine))
    if unknown:
        return refuse(N_("There is no channel {channels}. Nothing was changed."), channels=unknown)
    if not house.synced():
        return refuse(N_("I do not know what time it is yet, so no invite could end. Please ask again later."))
    now_ns = house.clock.time_ns()
    given, until_ns = within(me, only), now_ns + round(INVITE_S * 1e9)
    former = [offer for offer in await house.claims.offers() if offer.name]
    for ended in [offer for offer in former if not offer.open(now_ns)]:
        await house.claims.withdraw(ended)
        former.remove(ended)
    same = next((offer for offer in former if offer.name.casefold() == name.casefold()), None)
    if same is not None and not theirs(me, same):
        return refuse(N_("That name is taken by another owner's invite. Nothing was changed."))
    if same is None and len(former) >= MOST:
        mine_first = next((offer.name for offer in former if theirs(me, offer)), "…")  # no name of others' invites
        return refuse(N_("{count} invites are open. Take one back first: {example}"), count=MOST,
                      example=Sentence(N_("revoke {name}"), {"name": mine_first}))
    offer = Offer(role=str(role), only=given, name=same.name if same else name, by=str(me.jid), until_ns=until_ns)
    code = await house.claims.make(offer)
    lines = [
        Sentence(LIMITED if given else WHOLE, {
            "name": offer.name, "role": Sentence(ROLES[role]), "channels": given, "time": Instant(until_ns),
        }),
        Sentence("{link}", {"link": link(house.own, code)}),
        Sentence(N_("Or let them send me: {code}"), {"code": f"{WORD} {code}"}),
    ]  # fmt: skip
    if given != only:
        lines.append(Sentence(N_("You can give no more than your own: {channels}."), {"channels": given}))
    return Reply(tuple(lines), passing=True)


COMMAND = Command(
    verb=N_("invite"),
    role=Role.OWNER,
    summary=N_("a code that gives somebody rights"),
    usage=USAGE,
    run=run,
    takes="text",
    writes=True,
    aliases=("uitnodigen", "nodig"),
    form=(Ask(name="name", kind="text", label=N_("Name"), needed=True), *WHAT),
)
