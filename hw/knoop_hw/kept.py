"""Readings that the agent has not stored yet: numbered, bounded, the least important forgotten first.

Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice

from knoop_hw.model import Class, Reading

LIMIT = 10_000
_DROP_ORDER: tuple[Class, ...] = ("telemetry", "event", "alarm")


class Kept:
    """An ordered store of at most `limit` readings.

    Numbers count from 1 within a run and are never used twice.
    """

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._next = 1
        self._by_class: dict[Class, dict[int, Reading]] = {cls: {} for cls in _DROP_ORDER}
        self.stored = 0
        self.dropped: dict[Class, int] = dict.fromkeys(_DROP_ORDER, 0)

    def __len__(self) -> int:
        return sum(map(len, self._by_class.values()))

    @property
    def newest(self) -> int:
        """The number of the last reading that was added, 0 before the first."""
        return self._next - 1

    def add(self, reading: Reading, cls: Class) -> int:
        """Keep a reading; returns its number. When full, the oldest of the least important class goes."""
        self._by_class[cls][self._next] = reading
        self._next += 1
        if len(self) > self._limit:
            victim = next(victim for victim in _DROP_ORDER if self._by_class[victim])
            del self._by_class[victim][next(iter(self._by_class[victim]))]
            self.dropped[victim] += 1
        return self.newest

    def forget(self, upto: int) -> None:
        """The agent has stored everything up to this number.

        Numbers that were never given out are an error.
        """
        if not 0 <= upto <= self.newest:
            raise ValueError(f"stored up to {upto}, but the last reading is number {self.newest}")
        self.stored = max(self.stored, upto)
        for readings in self._by_class.values():
            for number in list(_upto(readings, upto)):
                del readings[number]

    def drop(self, channels: Container[str]) -> None:
        """Forget the readings of these channels."""
        for readings in self._by_class.values():
            for number in [number for number, reading in readings.items() if reading.channel in channels]:
                del readings[number]

    def after(self, number: int, *, limit: int) -> list[tuple[int, Reading]]:
        """At most `limit` kept readings with a greater number, in order."""
        parts = (islice(_beyond(readings, number), limit) for readings in self._by_class.values())
        return sorted((item for part in parts for item in part), key=lambda item: item[0])[:limit]


def _upto(readings: dict[int, Reading], upto: int) -> Iterator[int]:
    for number in readings:  # dicts keep the order of insertion, and numbers only grow
        if number > upto:
            return
        yield number


def _beyond(readings: dict[int, Reading], number: int) -> Iterator[tuple[int, Reading]]:
    return ((n, reading) for n, reading in readings.items() if n > number)
