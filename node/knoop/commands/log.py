"""log: who asked for what lately."""

from __future__ import annotations

import re

from knoop.access import Role
from knoop.command import N_, Ask, Command, House, Instant, Reply, Request, Sentence, refuse, say

USUAL = 10
MOST = 50


async def run(request: Request, house: House) -> Reply:
    """The last lines of the audit log, newest last; it is about everything, so not for an owner of a part."""
    me = house.access.person(request.sender)
    if me is None or me.only:
        return refuse(N_("The log is about the whole node, and you may see only a part of it."))
    count = request.argument.strip() or str(USUAL)
    if not re.fullmatch("[0-9]{1,4}", count):
        return refuse(N_("Say how many lines, for example: {example}"), example=Sentence(N_("log 20")))
    tail = await house.state.audit_tail(max(1, min(int(count), MOST)))
    if not tail:
        return say(N_("Nobody has asked for anything yet."))
    return Reply(
        tuple(
            Sentence(
                "{time} {origin}: {action} → {result}",
                {
                    "time": Instant(line.at_ns), "origin": line.origin, "action": line.action, "result": line.result,
                },
            )
            for line in tail
        )
    )


COMMAND = Command(
    verb=N_("log"),
    role=Role.OWNER,
    summary=N_("who asked for what lately"),
    usage=(N_("log"), N_("log 20")),
    run=run,
    takes="text",
    aliases=("logboek",),
    form=(Ask(name="lines", kind="count", label=N_("How many lines"), usual=str(USUAL), most=MOST),),
    safe=True,
)
