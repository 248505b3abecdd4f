"""about: what this is, and where its source code is."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, Sentence, counted, readable


async def run(request: Request, house: House) -> Reply:
    """Version, size, run, and the source, which AGPL-3.0 §13 promises to everybody who talks to it."""
    values = {"version": house.health().version, "node": house.name, "run": house.run}
    return Reply(
        (
            Sentence(N_("Knoop {version}, node {node}, run {run}."), values),
            counted(
                "{count} channel that you may read.",
                "{count} channels that you may read.",
                len(readable(request.sender, house)),
            ),
            Sentence(N_("Free software (AGPL-3.0-or-later); its source: {source}"), {"source": house.source}),
        )
    )


COMMAND = Command(
    verb=N_("about"),
    role=Role.VIEWER,
    summary=N_("version and source code"),
    usage=(N_("about"),),
    run=run,
    aliases=("version", "over", "versie"),
    rooms="name",
    safe=True,
)
