"""once: answer a stranger this one time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from knoop.access import EVERYBODY, Role
from knoop.command import N_, Ask, Choice, Command, House, Reply, Request, Sentence, refuse
from knoop.commands.allow import doubts
from knoop.commands.revoke import not_for_you

if TYPE_CHECKING:
    from knoop.knocks import Answer

DONE: Mapping[Answer, str] = {
    "once": N_("I have answered {jid}, this once."),
    "always": N_("{jid} is a viewer from now on."),
    "never": N_("I do not ask about {jid} any more, and hear nothing of them."),
}
EXAMPLE = N_("once eve@example.org")


async def run(request: Request, house: House) -> Reply:
    """`[JID]`: what they asked is answered as a viewer's, if it only reads. Without an address: who waits, if one."""
    return await settle(request, house, "once")


async def settle(request: Request, house: House, answer: Answer) -> Reply:
    """Answer a knock; the address may be left out where only one waits."""
    waiting = house.knocks.waiting
    text = request.argument.strip() or (str(waiting[0]) if len(waiting) == 1 else "")
    if not text:
        if waiting:
            return refuse(N_("Say whom: {jids}"), jids=tuple(map(str, waiting)))
        return refuse(N_("Nobody waits for an answer. Give somebody rights with “allow”."))
    try:
        jid = house.jid(text).bare
    except ValueError:
        return refuse(N_("“{text}” is no address. Nothing was changed."), text=text)
    if (not jid.local or jid.local == EVERYBODY or house.access.person(jid) is not None) or (
        jid not in waiting and (answer == "once" or not await house.knocks.shut_out(jid))
    ):
        return refuse(N_("{jid} does not wait for an answer. Nothing was changed."), jid=str(jid))
    if (reply := not_for_you(jid, request, house)) is not None:
        return reply
    me = house.access.person(request.sender)
    if answer != "never" and (me is None or me.only):
        return refuse(N_("A viewer reads everything, which is more than yours. Say: {example}"), example=Sentence(
            N_("allow {jid} viewer"), {"jid": str(jid)},
        ))  # fmt: skip
    if not await house.knocks.answer(jid, answer):
        return refuse(N_("What {jid} asked is more than reading, or gone. Nothing was done."), jid=str(jid))
    return Reply((Sentence(DONE[answer], {"jid": str(jid)}), *(doubts(jid, house) if answer == "always" else ())))


def knocking(_request: Request, house: House) -> list[Choice]:
    """Who waits, to choose from."""
    return [Choice(str(jid), Sentence("{jid}", {"jid": str(jid)})) for jid in house.knocks.waiting]


def asks() -> tuple[Ask, ...]:
    """The question of all three forms."""
    return (Ask(name="jid", kind="one", label=N_("Who"), choices=knocking, needed=True,
                without=N_("Nobody waits for an answer.")),)  # fmt: skip


COMMAND = Command(
    verb=N_("once"),
    role=Role.OWNER,
    summary=N_("answer a stranger this one time"),
    usage=(EXAMPLE, N_("once")),
    run=run,
    takes="text",
    writes=True,
    aliases=("eenmalig",),
    form=asks(),
)
