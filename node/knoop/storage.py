"""The agent's own channels of its disk: watches the databases, proves that they can be written, makes the records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from knoop.database import Database
from knoop.disk import CHANNELS, DROPPED, STORAGE, Disk
from knoop.errors import StoreError, Trouble
from knoop.record import Record
from knoop.router import Router
from knoop_hw.clock import Clock
from knoop_hw.model import Channel, Value

LOOK_S: Final = 1.0
HANGS_S: Final = 30.0  # a card that tidies up inside takes a second or two, seldom ten
# Nothing may be written for weeks by a node whose door stays shut: it must not learn with the burglar that its disk
# takes nothing any more. A page of each database an hour is 20 MB a year.
PROVE_S: Final = 3600.0
PROVE_AGAIN_S: Final = 10.0  # while something is refused, so that it is known when that is over
COUNT_S: Final = 60.0  # how often the count of lost readings is told while it grows

_CHANNELS: Final[Mapping[str, Channel]] = {channel.name: channel for channel in CHANNELS}


class Storage:
    """`node.storage` and `node.dropped`, from `run` until cancelled.

    `router` takes each record, and knows the last of each channel and how many were lost; `now_ns` is UTC, None while
    unknown.
    """

    def __init__(
        self, *databases: Database, run: str, clock: Clock, now_ns: Callable[[], int | None], router: Router
    ) -> None:
        self._databases, self._run, self._clock, self._now_ns, self._router = databases, run, clock, now_ns, router
        self._disk = Disk()
        self._seq = dict.fromkeys(_CHANNELS, 0)
        self._counted_ns: int | None = None
        self._answers: dict[Database, tuple[int, int]] = {}  # calls that ended, and when that was first seen

    def follow(self, former: Storage) -> None:
        """Go on where the agent of another configuration ended."""
        self._disk, self._counted_ns = former._disk, former._counted_ns

    async def run(self) -> None:
        """Look every second, prove it now and then."""
        proving: asyncio.Task[None] | None = None
        proved_ns = self._clock.boottime_ns()
        try:
            while True:
                now_ns = self._clock.boottime_ns()
                self._look(now_ns)
                pause_s = PROVE_AGAIN_S if self._disk.health in {"full", "failing"} else PROVE_S
                if now_ns - proved_ns >= pause_s * 1e9 and (proving is None or proving.done()):
                    proved_ns = now_ns
                    proving = asyncio.create_task(self._prove())
                await self._clock.sleep(LOOK_S)
        finally:
            if proving is not None:
                proving.cancel()

    async def _prove(self) -> None:
        for database in self._databases:
            with suppress(StoreError):  # which is the database's `trouble` then
                await database.prove()

    def _look(self, now_ns: int) -> None:
        troubles = {self._trouble(database, now_ns) for database in self._databases}
        trouble: Trouble | None = "failing" if "failing" in troubles else "full" if "full" in troubles else None
        replaced = sum(database.replaced for database in self._databases)
        self._disk = self._disk.after(now_ns, trouble=trouble, replaced=replaced)
        self._say(STORAGE, self._disk.health, now_ns)
        if self._counted_ns is None or now_ns - self._counted_ns >= COUNT_S * 1e9:
            self._counted_ns = now_ns
            self._say(DROPPED, float(sum(self._router.dropped.values())), now_ns)

    def _trouble(self, database: Database, now_ns: int) -> Trouble | None:
        ended, since_ns = self._answers.get(database, (-1, now_ns))
        if database.ended != ended or database.begun == ended:
            self._answers[database] = (database.ended, now_ns)
        elif now_ns - since_ns >= HANGS_S * 1e9:
            return "failing"
        return database.trouble.reason if database.trouble else None

    def _say(self, name: str, value: Value, now_ns: int) -> None:
        """Tell it where the last that is known was another."""
        known = self._router.latest.get(name)
        if known is not None and known.value == value:
            return
        self._seq[name] += 1
        channel = _CHANNELS[name]
        self._router.put(
            Record(
                run=self._run, channel=name, seq=self._seq[name], cls=channel.cls, type=channel.type, value=value,
                boot=self._clock.boot_id, boottime_ns=now_ns, at_ns=self._now_ns(),
            )
        )
