"""How the node is: one value that feeds `status`, presence, `about` and the watchdog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["stopped", "link down", "degraded", "fine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The node at one instant. `link_since_s` and `uptime_s` are seconds; `backlog` counts deliveries
    that should have been sent by now.

    `away_s`: for how long the hardware half has been away; None while it is there.
    """

    link_up: bool
    link_since_s: float
    uptime_s: float
    alarms: tuple[str, ...] = ()
    unacknowledged: int = 0
    faulty: tuple[str, ...] = ()
    backlog: int = 0
    dropped: int = 0
    away_s: float | None = None
    version: str

    @property
    def level(self) -> Level:
        """The one word for it; a node that can say this is not stopped."""
        if not self.link_up:
            return "link down"
        return "degraded" if self.faulty or self.dropped or self.away_s is not None else "fine"

    @property
    def show(self) -> str:
        """RFC 6121 §4.7.2.1: do not disturb while an alarm waits for a person, else plainly available."""
        return "dnd" if self.unacknowledged else ""
