"""What is wrong with the node itself, in one short sentence for everybody who sees its presence. Pure.

No alert and no channel stands in it: a viewer of one channel must not learn of another's alarm.
"""

from __future__ import annotations

from knoop.command import N_, Sentence
from knoop.health import Health


def glance(health: Health) -> Sentence | None:
    """The most urgent of what is wrong; None where nothing is."""
    if health.safe is not None:
        return Sentence(N_("Safe mode: I only answer."))
    if health.away_s is not None:
        return Sentence(N_("The hardware half is away."))
    if health.storage not in {"", "ok"}:
        return Sentence(N_("Trouble with the disk."))
    if health.faulty:
        return Sentence(N_("Values are missing."))
    return Sentence(N_("Readings were lost.")) if health.losing else None
