"""Once a second: how the node is, told to whoever looks from outside, and to the watchdog if what should move does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from knoop.errors import StoreError
from knoop.health import Health
from knoop.progress import Progress
from knoop.status_file import StatusFile
from knoop_hw.notify import notify

if TYPE_CHECKING:
    from knoop.household import Household

log = logging.getLogger(__name__)

TICK_S = 1.0
COUNTING = 50  # a count of 900,000 rows takes 65 ms: seldom enough to cost 2 % at most


class Vitals:
    """`show` tells people by presence; `status` is None where no folder is for it."""

    def __init__(
        self, house: Household, *, progress: Progress, show: Callable[[], None], status: StatusFile | None
    ) -> None:
        self._house, self._progress, self._show, self._status = house, progress, show, status
        self._shown: tuple[str, str] = ("", "")
        self._stuck: tuple[str, ...] = ()

    async def run(self) -> None:
        """Until cancelled. Nothing in it waits for a disk, a server or a person."""
        while True:
            await self._house.clock.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """One look."""
        house = self._house
        health = house.health()
        if self._status is not None:
            self._status.tell(health, now_ns=house.clock.boottime_ns(), at_ns=house.now_ns)
        shown = (health.show, house.glance(health))
        if shown != self._shown and health.link_up:
            self._shown = shown
            self._show()
        if self._moves(health):
            notify("WATCHDOG=1")

    def _moves(self, health: Health) -> bool:
        """Without a link nothing is to be sent, and a restart would not mend that."""
        stuck = self._progress.stuck() if health.link_up else ()
        if stuck and stuck != self._stuck:
            log.error("no progress with %s: the watchdog is told nothing more", ", ".join(stuck))
        self._stuck = stuck
        return not stuck

    async def count(self) -> None:
        """Keep up how many readings wait, apart from `run`: a disk that hangs is no reason to restart."""
        house, took_s = self._house, 0.0
        while True:
            await house.clock.sleep(TICK_S + COUNTING * took_s)
            began_ns = house.clock.boottime_ns()
            try:
                house.waits(max((await house.store.backlog()).values(), default=0))
            except StoreError as error:
                log.debug("the store does not answer: %s", error)
            took_s = (house.clock.boottime_ns() - began_ns) / 1e9
