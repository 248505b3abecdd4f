"""bench: what this node costs and can do on this board, measured now."""

from __future__ import annotations

from knoop.access import Role
from knoop.command import N_, Command, House, Reply, Request, Sentence

LINES = {
    "stanzas_per_s": N_("{number} stanzas a second through the server and back"),
    "cpu_us_per_reading": N_("{number} µs of processor time a reading"),
    "pss_mb": N_("{number} MB of memory"),
    "ping_ms": N_("{number} ms to the server and back"),
}


async def run(_request: Request, house: House) -> Reply:
    """One line a number; three figures are all that repeat."""
    measured = await house.bench()
    return Reply(
        tuple(
            Sentence(message, {"number": float(f"{measured[name]:.3g}")})
            for name, message in LINES.items()
            if name in measured
        )
    )


COMMAND = Command(
    verb=N_("bench"),
    role=Role.OWNER,
    summary=N_("measure this node"),
    usage=(N_("bench"),),
    run=run,
    writes=True,
)
