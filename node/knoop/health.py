"""How the node is: one value that feeds `status`, presence, `about` and the watchdog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LOSING_S = 3600.0  # one reading that was lost last week must not hide what goes wrong today

Level = Literal["stopped", "safe mode", "link down", "degraded", "fine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeMode:
    """Why a node only answers (docs/adr/0043): so many crashes in a row, or so many starts that went with the machine.

    `last`: what the last crash said, '' where nobody could say anything. `by_hand`: somebody asked for it, whatever
    was before. `until_ns`: when it ends by itself (boottime), None for not.
    """

    crashes: int = 0
    cuts: int = 0
    last: str = ""
    by_hand: bool = False
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The node at one instant. `link_since_s` and `uptime_s` are seconds; `backlog` counts deliveries
    that should have been sent by now, and `dropped` readings lost since the start.

    `away_s`: for how long the hardware half has been away; None while it is there. `losing`: some of `dropped` were
    lost within LOSING_S. `storage`: what `node.storage` says, '' before it said anything. `safe`: None for a node as
    it should be.
    """

    link_up: bool
    link_since_s: float
    uptime_s: float
    alarms: tuple[str, ...] = ()
    unacknowledged: int = 0
    faulty: tuple[str, ...] = ()
    backlog: int = 0
    dropped: int = 0
    losing: bool = False
    storage: str = ""
    away_s: float | None = None
    stopped: bool = False
    safe: SafeMode | None = None
    version: str

    @property
    def level(self) -> Level:
        """The one word for it. An alert is no trouble of the node's own; `degraded` means that it says too little."""
        if self.stopped:
            return "stopped"
        if self.safe is not None:
            return "safe mode"
        if not self.link_up:
            return "link down"
        poorly = self.faulty or self.losing or self.away_s is not None or self.storage not in {"", "ok"}
        return "degraded" if poorly else "fine"

    @property
    def show(self) -> str:
        """RFC 6121 §4.7.2.1: do not disturb while an alarm waits for a person, else plainly available."""
        return "dnd" if self.unacknowledged else ""
