"""The agent's own channels: watches the databases, proves that they can be written, makes the records; and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from knoop.database import Database
from knoop.disk import BAD, CHANNELS, DROPPED, STORAGE, Disk
from knoop.errors import StoreError, Trouble
from knoop.record import Record
from knoop.router import Router
from knoop.state import State
from knoop_hw.clock import Clock
from knoop_hw.model import Channel, Value

LOOK_S: Final = 1.0
HANGS_S: Final = 30.0  # a card that tidies up inside takes a second or two, seldom ten
# Nothing may be written for weeks by a node whose door stays shut: it must not learn with the burglar that its disk
# takes nothing any more. A page of each database an hour is 20 MB a year.
PROVE_S: Final = 3600.0
PROVE_AGAIN_S: Final = 10.0  # while something is refused, so that it is known when that is over
COUNT_S: Final = 60.0  # how often a count is told while it grows: a flood of strangers is a reading a minute

_CHANNELS: Final[Mapping[str, Channel]] = {channel.name: channel for channel in CHANNELS}


class Storage:
    """`node.storage`, `node.dropped` and further counts, from `run` until cancelled.

    `counts` are counted on from what was told last before the start; what came within COUNT_S of an end is lost to
    them. `router` takes each record, and knows the last of each channel and how many were lost; `now_ns` is UTC, None
    while unknown. `recall` is to read from `state` again what it did not have before.
    """

    def __init__(
        self, readings: Database, state: State, *, run: str, clock: Clock, now_ns: Callable[[], int | None],
        router: Router, recall: Callable[[], Awaitable[None]],
        counts: Callable[[], Mapping[str, float]] = dict,
    ) -> None:  # fmt: skip
        self._databases, self._state, self._recall = (readings, state.database), state, recall
        self._run, self._clock, self._now_ns, self._router = run, clock, now_ns, router
        self._disk: Disk | None = None
        self._known = self._source()
        self._seq = dict.fromkeys(_CHANNELS, 0)
        self._counted_ns: int | None = None
        self._counts = counts
        self._counted: dict[str, float] | None = None  # what the counts were before this start
        self._answers: dict[Database, tuple[int, int]] = {}  # calls that ended, and when that was first seen

    def follow(self, former: Storage) -> None:
        """Go on where the agent of another configuration ended."""
        self._disk, self._counted_ns, self._known = former._disk, former._counted_ns, former._known
        self._counted = former._counted

    async def run(self) -> None:
        """Look every second, prove it now and then."""
        proving: asyncio.Task[None] | None = None
        recalling: asyncio.Task[None] | None = None
        proved_ns = self._clock.boottime_ns()
        try:
            while True:
                now_ns = self._clock.boottime_ns()
                self._disk = self._look(self._disk or self._before(now_ns), now_ns)
                if self._known != self._source() and (recalling is None or recalling.done()):
                    recalling = asyncio.create_task(self._read_anew())
                pause_s = PROVE_S if self._disk.health in {"ok", "replaced"} else PROVE_AGAIN_S
                if now_ns - proved_ns >= pause_s * 1e9 and (proving is None or proving.done()):
                    proved_ns = now_ns
                    proving = asyncio.create_task(self._prove())
                await self._clock.sleep(LOOK_S)
        finally:
            for task in (proving, recalling):
                if task is not None:
                    task.cancel()

    async def _prove(self) -> None:
        for database in self._databases:
            with suppress(StoreError):  # which is the database's `trouble` then
                await database.prove()

    async def _read_anew(self) -> None:
        source = self._source()
        with suppress(StoreError):  # tried again in a second
            await self._recall()
            self._known = source

    def _source(self) -> tuple[bool, int]:
        """What rights are read from: anything else than before is to be read anew."""
        return self._state.database.blank, self._state.database.replaced

    def _before(self, now_ns: int) -> Disk:
        """How it was before this start; what was wrong then is well when it has been so for a while."""
        last = self._router.latest.get(STORAGE)
        health = next((bad for bad in BAD if last is not None and last.value == bad), None)
        return Disk(health=health, well_ns=now_ns) if health else Disk()

    def _look(self, disk: Disk, now_ns: int) -> Disk:
        troubles = {self._trouble(database, now_ns) for database in self._databases}
        trouble: Trouble | None = "failing" if "failing" in troubles else "full" if "full" in troubles else None
        replaced = sum(database.replaced for database in self._databases)
        state = self._state
        disk = disk.after(now_ns, trouble=trouble, replaced=replaced, unreadable=state.unreadable, lost=state.lost)
        self._say(STORAGE, disk.health, now_ns)
        if self._counted_ns is None or now_ns - self._counted_ns >= COUNT_S * 1e9:
            self._counted_ns = now_ns
            self._say(DROPPED, float(sum(self._router.dropped.values())), now_ns)
            self._count(now_ns)
        return disk

    def _count(self, now_ns: int) -> None:
        counts = self._counts()
        if self._counted is None:
            self._counted = {name: self._told(name) for name in counts}
        for name, count in counts.items():
            self._say(name, self._counted.get(name, 0.0) + count, now_ns)

    def _told(self, name: str) -> float:
        last = self._router.latest.get(name)
        return last.value if last is not None and isinstance(last.value, float) else 0.0

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
