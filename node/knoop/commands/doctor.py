"""doctor: what this machine lacks, from a chat; the same checks as `knoop doctor --offline`."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, Sentence, counted, refuse


async def run(request: Request, house: House) -> Reply:
    """The problems and what to do first, then what is worth knowing; what is fine in one line."""
    me = house.access.person(request.sender)
    if me is None or me.only:
        return refuse(N_("That is about the whole machine, and you may see only a part of this node."))
    try:
        found = await house.examined()
    except TimeoutError:
        return refuse(N_("🔴 Looking at this machine did not come to an end: perhaps its disk hangs."))
    problems = [one for one in found if one.level == "problem"]
    notes = [one for one in found if one.level == "note" and one.remedy]  # else it only says what it could not see
    node = house.label or house.name
    first = (
        counted("🔴 {node}: {count} problem.", "🔴 {node}: {count} problems.", len(problems), node=node) if problems
        else Sentence(N_("🟢 {node}: nothing is wrong with this machine."), {"node": node})
    )
    lines = [
        Sentence("{check}: {text} → {remedy}", {"check": one.check, "text": one.text, "remedy": one.remedy})
        for one in (*problems, *notes)
    ]
    fine = tuple(one.check for one in found if one.level == "ok")
    return Reply((first, *lines, *([Sentence(N_("Fine: {checks}."), {"checks": fine})] if fine else ())))


COMMAND = Command(
    verb=N_("doctor"),
    role=Role.OWNER,
    summary=N_("look at this machine, and say what to do"),
    usage=(N_("doctor"),),
    run=run,
    aliases=("dokter",),
    safe=True,
)
