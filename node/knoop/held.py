"""Readings that no disk has yet, in memory: which are written next and when, and which are given up first. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from knoop.record import Record

RANK: Final = {"alarm": 0, "event": 1, "telemetry": 2}
# Ranks of what is only to be kept: telemetry that no sink was to get, telemetry and the rest that every sink has.
NOBODY, HISTORY, PAST = 3, 4, 5

# Telemetry that is not acknowledged is written so soon: a power cut costs no more. Acknowledged in time, which a
# working link does within a second and a round trip, it is history only, and shares a commit for longer: every commit
# writes two pages at least, so 20 channels at 1/s cost a tenth of it at 10 s.
UNSAFE_S = 2.0
HISTORY_S = 10.0
APART_S = 1.0  # telemetry commits no more often than this, so that a card has one sync a second at most
IDLE_S = 3600.0


@dataclass(slots=True, eq=False, kw_only=True)
class Held:
    """A record on its way; `sinks` have not got it.

    While it is not safe, nothing above `floor` may be answered with Stored: not on the disk (`row` is 0), and not with
    every sink that it was for (`had`), which is enough for alarms and events: telemetry is kept by the board until a
    disk has it, or the history of some seconds would go with a killed process. `tried` are sinks of a commit that
    failed, or of which we did not hear the end.
    """

    record: Record
    sinks: set[str]
    number: int = 0  # the order they came in
    floor: int = 0
    since_ns: int = 0
    row: int = 0
    had: bool = False
    tried: frozenset[str] = frozenset()
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.record.identity

    @property
    def rank(self) -> int:
        """Its class, the best one first; or that it is only to be kept."""
        if self.had:
            return HISTORY if self.record.cls == "telemetry" else PAST
        rank = RANK[self.record.cls]
        return NOBODY if rank == RANK["telemetry"] and not self.sinks else rank


class Unsaved:
    """What no disk has, by rank, each in the order it came."""

    def __init__(self) -> None:
        self._queues: tuple[OrderedDict[str, Held], ...] = tuple(OrderedDict() for _ in range(PAST + 1))

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def __iter__(self) -> Iterator[Held]:
        return chain.from_iterable(queue.values() for queue in self._queues)

    def add(self, held: Held) -> None:
        """Hold one more. One that came before others of its rank, whose sinks had them sooner, holds back theirs."""
        queue = self._queues[held.rank]
        for other in reversed(queue.values()):
            if other.floor <= held.floor:
                break
            other.floor = held.floor
        queue[held.key] = held

    def had(self, held: Held) -> None:
        """Its last sink has it: it is only to be kept."""
        here = self._queues[held.rank].pop(held.key, None)
        held.sinks.clear()
        held.had = True
        if here:
            self.add(held)

    def keep(self, sinks: Collection[str]) -> None:
        """There are no other sinks than these any more."""
        everything = [*self]
        for queue in self._queues:
            queue.clear()
        for held in everything:
            held.sinks.intersection_update(sinks)
            self.add(held)

    def oldest(self, *ranks: int) -> Held | None:
        """The one of these ranks that waits longest."""
        found = (next(iter(self._queues[rank].values()), None) for rank in ranks)
        return min((held for held in found if held), key=lambda held: held.since_ns, default=None)

    def due_ns(self, now_ns: int, committed_ns: int, *ranks: int) -> int:
        """When something of these ranks, or of any, is to be committed, telemetry having been at `committed_ns`."""
        due_ns = now_ns + round(IDLE_S * 1e9)
        for rank in ranks or range(len(self._queues)):
            if held := self.oldest(rank):
                within_s = UNSAFE_S if rank == RANK["telemetry"] else HISTORY_S
                apart_ns = committed_ns + round(APART_S * 1e9)
                urgent = rank < RANK["telemetry"]
                due_ns = min(due_ns, now_ns if urgent else max(apart_ns, held.since_ns + round(within_s * 1e9)))
        return due_ns

    def floor(self, *, failing: bool) -> int | None:
        """The least floor of what is not safe. Within a rank floors only grow, so the first of each is asked.

        With a disk that is `failing` history is given up, or the board would keep and in the end drop what is sent.
        """
        unsafe = self._queues[: HISTORY if failing else PAST]
        return min((held.floor for queue in unsafe for held in islice(queue.values(), 1)), default=None)

    def take(self, most: int, *, telemetry: bool) -> list[Held]:
        """At most so many, the best rank first, `telemetry` only if wanted: they are not here any more.

        What is returned is in the order it came, alarms and events before the rest. No telemetry gets ahead of older
        telemetry that is not wanted yet: after a start, what the disk has last counts as the last there was.
        """
        taken: list[Held] = []
        stays = None if telemetry else self.oldest(RANK["telemetry"])
        for queue in self._queues:
            while queue and len(taken) < most:
                first = next(iter(queue.values()))
                if stays and first.record.cls == "telemetry" and first.number >= stays.number:
                    break
                taken.append(queue.popitem(last=False)[1])
        return sorted(taken, key=lambda held: (held.record.cls == "telemetry", held.number))

    def give_back(self, taken: Sequence[Held]) -> None:
        """They were taken first, so they stand in front again."""
        for held in sorted(taken, key=lambda held: held.number, reverse=True):
            queue = self._queues[held.rank]
            queue[held.key] = held
            queue.move_to_end(held.key, last=False)

    def shed(self) -> Held:
        """Give up the oldest of what matters least."""
        queue = next(queue for queue in reversed(self._queues) if queue)
        return queue.popitem(last=False)[1]
