"""What the agent says of itself: its channels, and from what a disk refused to one of four words. Pure.

docs/adr/0031-disk.md says why a node goes on without its disk, and what that costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from knoop.errors import Trouble
from knoop.record import Record
from knoop_hw.model import Channel

Health = Literal["ok", "full", "failing", "replaced", "rights_lost"]

STORAGE: Final = "node.storage"
DROPPED: Final = "node.dropped"
REFUSED: Final = "node.refused"
FAILED: Final = "node.failed"
OWN: Final = frozenset({STORAGE, DROPPED, REFUSED, FAILED})
# For machines and alerts: in a chat `log` says who it was, and a number that any stranger can raise is no news there.
COUNTERS: Final = frozenset({REFUSED, FAILED})
ALERT: Final = "storage"  # the alert that is there without a table
CHANNELS: Final = (
    Channel(name=STORAGE, kind="sensor", type="text", cls="event"),
    Channel(name=DROPPED, kind="sensor", type="number", digits=0),
    Channel(name=REFUSED, kind="sensor", type="number", digits=0),
    Channel(name=FAILED, kind="sensor", type="number", digits=0),
)
STEADY_S: Final = 60.0  # what it says holds at least so long, and it was well so long before it is well
LONGEST_S: Final = 3600.0  # twice as long each time that it was not well for so long: a card that comes and goes
BAD: Final[frozenset[Health]] = frozenset({"full", "failing"})
# A damaged file is news for so long: somebody's quiet night must not swallow it.
REPLACED_S: Final = 86400.0


def quiet(name: str, latest: Record | None) -> bool:
    """Whether this is a channel of the node's own that has nothing to say to people now."""
    return name in COUNTERS or (name in OWN and (latest is None or latest.value in {"ok", 0}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How the disk is, and what decides how long that holds; times are boottime.

    `changed_ns`: when it became so, None before the first change. `well_ns`: since when nothing was refused, None while
    something is. `mended_ns`: when trouble was over last, `relapses` how often it was soon back. `replaced_ns`: when a
    damaged file was set aside last, and how many were until then.
    """

    health: Health = "ok"
    changed_ns: int | None = None
    well_ns: int | None = 0
    replaced_ns: int | None = None
    replaced: int = 0
    mended_ns: int | None = None
    relapses: int = 0

    def after(
        self, now_ns: int, *, trouble: Trouble | None, replaced: int, unreadable: bool = False, lost: bool = False
    ) -> Disk:
        """How it is now: what it refuses, if anything, and how many damaged files were set aside since the start.

        What was given or taken in chat cannot be read now (`unreadable`), or was in one of the damaged files (`lost`).
        """
        new = replaced > self.replaced
        disk = replace(
            self, replaced=replaced, replaced_ns=now_ns if new else self.replaced_ns,
            well_ns=None if trouble else now_ns if self.well_ns is None else self.well_ns,
        )  # fmt: skip
        wanted = "rights_lost" if unreadable else disk.wanted(now_ns, trouble, lost=lost)
        held = disk.changed_ns is not None and now_ns - disk.changed_ns < STEADY_S * 1e9
        if wanted == disk.health or held:
            return disk
        if disk.health in BAD and wanted not in BAD:
            disk = replace(disk, mended_ns=now_ns)
        elif wanted in BAD and disk.health not in BAD:
            soon = disk.mended_ns is not None and now_ns - disk.mended_ns < LONGEST_S * 1e9
            disk = replace(disk, relapses=disk.relapses + 1 if soon else 0)
        return replace(disk, health=wanted, changed_ns=now_ns)

    def wanted(self, now_ns: int, trouble: Trouble | None, *, lost: bool) -> Health:
        """What it would say if it may change at any time."""
        if trouble is not None:
            return "full" if trouble == "full" else "failing"
        well_s = min(STEADY_S * 2.0 ** min(self.relapses, 16), LONGEST_S)
        if self.health in BAD and (self.well_ns is None or now_ns - self.well_ns < well_s * 1e9):
            return self.health
        if self.replaced_ns is None or now_ns - self.replaced_ns >= REPLACED_S * 1e9:
            return "ok"
        return "rights_lost" if lost else "replaced"
