"""What one sink has not got: in memory, and how much of it on the disk. Pure.

A sink's alarms and events never overtake each other on a channel. So a channel with some of them on the disk sends from
there, until the disk has none of it: what comes meanwhile goes to the disk first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile

from knoop.held import RANK, Held
from knoop.record import Record

GATHER_S = 1.0  # telemetry shares an item; a stanza of its own costs ten times the CPU and the bytes
LEAST_S = 0.001  # to wait: what is left of a second after rounding is not worth waking up for
REMEMBERED = 1_000  # a sink's alarms and events that stay in memory when the disk has them, and deliveries to be marked
AHEAD = 100  # rows read from the disk at once: four portions


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """What a sink is to get next. What is `bulk` can wait for its turn; where there is nothing, `wait_s` may help."""

    records: Sequence[Record] = ()
    bulk: bool = False
    wait_s: float | None = None


class Line:
    """What one sink has not got: in memory, and how much is on the disk."""

    def __init__(self, sink: str) -> None:
        self.sink = sink
        self.behind: Counter[str] | None = None  # alarms and events on the disk by channel; None: nobody asked yet
        self.deep = True  # whether telemetry may be on the disk
        self.blind = False  # what is on the disk cannot be read: better out of order than not at all
        self.unmarked: dict[str, int] = {}  # it has these, which the disk does not know yet: rows by identity
        self._memory: tuple[OrderedDict[str, Held], ...] = tuple(OrderedDict() for _ in RANK)
        self._saved = 0  # of the alarms and events in memory those that are on the disk as well
        self._ahead: dict[str, Held] = {}  # read from the disk
        self._flying: dict[str, Held] = {}
        self._at_once = AHEAD
        self._changes = 0  # what went to the disk, counted: what was read before may lack it
        self._told: set[str] | None = None  # delivered since a reading began, where one is under way
        self._freed: set[str] = set()

    def __iter__(self) -> Iterator[Held]:
        return chain.from_iterable(queue.values() for queue in self._memory)

    def __contains__(self, held: Held) -> bool:
        return held.key in self._memory[RANK[held.record.cls]]

    @property
    def waits(self) -> bool:
        """Whether the sink has not got something, as far as is known."""
        return bool(any(self._memory) or self._ahead or self.behind or self.deep)

    @property
    def may_go(self) -> bool:
        """Whether what was read changed what is offered, or more is to be read."""
        return bool(self._ahead or self._memory[RANK["telemetry"]] or self.wants_disk)

    @property
    def wants_disk(self) -> bool:
        """Whether rows are to be read; none while the disk does not take what was delivered: they would come again."""
        return bool(self.behind or self.deep) and not (self._ahead or self.blind) and len(self.unmarked) < REMEMBERED

    @property
    def crowded(self) -> bool:
        """Whether more is in memory than needs to be: `spill` helps."""
        return self._saved > REMEMBERED

    def put(self, held: Held) -> bool:
        """One more waits. Whether its publisher should look now; what has to wait for the disk is left out."""
        if self._blocked(held):
            return False
        rank = RANK[held.record.cls]
        queue = self._memory[rank]
        queue[held.key] = held
        self._saved += bool(held.row) and rank != RANK["telemetry"]
        return rank != RANK["telemetry"] or len(queue) == 1 or len(queue) == self._at_once

    def offer(self, at_once: int, now_ns: int) -> Portion:
        """Alarms, then live events; or else what can wait: old events, then telemetry."""
        self._at_once = at_once
        alarms, events, telemetry = self._memory
        old = takewhile(lambda held: held.record.cls == "alarm", self._ahead.values())  # alarms are read first
        urgent = [held.record for held in islice(chain(old, alarms.values(), events.values()), at_once)]
        if urgent:
            return Portion(records=urgent)
        if self._ahead:
            return Portion(records=[held.record for held in islice(self._ahead.values(), at_once)], bulk=True)
        if not telemetry or (not self.blind and (self.behind or self.deep)):
            return Portion()
        wait_s = GATHER_S - (now_ns - next(iter(telemetry.values())).since_ns) / 1e9
        if len(telemetry) < at_once and wait_s > 0:
            return Portion(wait_s=max(wait_s, LEAST_S))
        return Portion(records=[held.record for held in islice(telemetry.values(), at_once)], bulk=True)

    def fly(self, records: Iterable[Record]) -> None:
        """These of the last offer are on their way."""
        for key in (record.identity for record in records):
            held = self._ahead.get(key) or next((queue[key] for queue in self._memory if key in queue), None)
            if held is not None:
                self._flying[key] = held

    def land(self) -> None:
        """Nothing is on its way any more. What did not arrive is offered again, in its order."""
        self._flying.clear()

    def has(self, key: str) -> Held | None:
        """The sink has this one: what we held of it. A row is to be marked."""
        held = self._flying.pop(key, None)
        if held is None:
            return None
        if self._told is not None:
            self._told.add(key)
        inside = self._forget(held)
        if held.row:
            self.unmarked[key] = held.row
            if not inside and held.record.cls != "telemetry":
                self._less(held.record.channel)
        self._ahead.pop(key, None)
        return held

    def drop(self, held: Held) -> None:
        """It was given up: nobody gets it any more."""
        self._forget(held)
        self._flying.pop(held.key, None)

    def saved(self, held: Held) -> bool:
        """The disk has it now, as one that this sink has not got. Whether its publisher should look."""
        if held in self:
            if held.record.cls == "telemetry":
                self._forget(held)
                self._went(held)
            else:
                self._saved += 1
            return False
        self._went(held)
        return not self._ahead

    def spill(self) -> None:
        """Let go of what the disk has, and of what then has to wait behind it."""
        for held in [held for queue in self._memory for held in queue.values() if held.row]:
            self._forget(held)
            self._went(held)
        self._step_back()

    def freed(self) -> set[str]:
        """The channels, since this was asked last, whose last old one was delivered: what is held may be put."""
        freed, self._freed = self._freed, set()
        return freed

    def reading(self) -> tuple[int, int]:
        """How many rows to read, `limit`; give both numbers to `read`, or call `unread`."""
        self._told = set()
        return AHEAD + len(self.unmarked) + self._saved, self._changes

    def unread(self) -> None:
        """The reading has ended."""
        self._told = None

    def read(self, records: Sequence[Record], limit: int, changes: int) -> bool:
        """These rows were read from the disk, the first ones of all. Whether they are of use: else read again."""
        told = self._told or set()
        if changes != self._changes:
            return False
        waiting = [one for one in records if one.identity not in self.unmarked and one.identity not in told]
        if len(records) < limit:  # that was all: counts that went wrong are right again
            self.behind = Counter(one.channel for one in waiting if one.cls != "telemetry" and not self._in_memory(one))
            self.deep = any(one.cls == "telemetry" for one in waiting)
        for one in waiting:
            if not self._in_memory(one):
                self._ahead[one.identity] = Held(record=one, sinks={self.sink}, row=one.row)
        return True

    def anew(self, behind: Counter[str]) -> None:
        """What the disk says now, after it could not be read: nothing of it is in memory."""
        self.spill()
        self._ahead.clear()
        self._changes += 1
        self.behind, self.deep, self.blind = behind, True, False
        self._step_back()

    def replaced(self) -> None:
        """The disk's file is another, empty one, and what memory has is on no disk any more."""
        self.behind, self.deep = Counter(), False
        self.unmarked.clear()
        self._ahead.clear()
        self._changes += 1
        self._saved = 0
        for held in self._flying.values():
            held.row = 0

    def _blocked(self, held: Held) -> bool:
        if self.blind or held.record.cls == "telemetry":
            return False
        return self.behind is None or held.record.channel in self.behind

    def _step_back(self) -> None:
        for held in [held for queue in self._memory for held in queue.values() if self._blocked(held)]:
            self._forget(held)

    def _in_memory(self, record: Record) -> bool:
        return record.identity in self._memory[RANK[record.cls]]

    def _forget(self, held: Held) -> bool:
        rank = RANK[held.record.cls]
        if self._memory[rank].pop(held.key, None) is None:
            return False
        self._saved -= bool(held.row) and rank != RANK["telemetry"]
        return True

    def _went(self, held: Held) -> None:
        """The disk has it, and memory has not."""
        self._changes += 1
        if held.record.cls == "telemetry":
            self.deep = True
            return
        if self.behind is not None:
            self.behind[held.record.channel] += 1
        if held.record.cls == "alarm" or all(one.record.cls == "telemetry" for one in self._ahead.values()):
            self._ahead.clear()  # read again: it goes before what was read

    def _less(self, channel: str) -> None:
        if self.behind and channel in self.behind:
            self.behind[channel] -= 1
            if self.behind[channel] <= 0:
                del self.behind[channel]
                self._freed.add(channel)
