"""A store on paper: what the outbox needs of one, on a disk that stalls, fails and is replaced when a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from knoop.errors import StoreError
from knoop.store import CLASSES


class Paper:
    """`rows` is what is on it, `commits` how many readings each commit had, `asked` counts what touched it."""

    def __init__(self):
        self.dropped = Counter(dict.fromkeys(CLASSES, 0))
        self.set_aside = None
        self.rows = {}
        self.deliveries = {}  # (sink, row): class
        self.commits = []
        self.asked = Counter()
        self.writes = self.reads = True  # else they fail
        self.going = asyncio.Event()
        self.going.set()

    def lost(self, cls, count):
        self.dropped[cls] += count

    async def _disk(self, what, works):
        self.asked[what] += 1
        await asyncio.sleep(0)
        await self.going.wait()
        if not works():
            raise StoreError("the disk is gone")

    async def add(self, entries):
        entries = list(entries)
        try:
            await self._disk("add", lambda: self.writes)
        except StoreError:
            urgent = [entry for entry in entries if entry[0].cls != "telemetry"]
            self.dropped["telemetry"] += len(entries) - len(urgent)
            if urgent:
                raise
            return []
        self.commits.append(len(entries))
        kept = []
        for record, sinks in entries:
            row = next((row for row, one in self.rows.items() if one.identity == record.identity), 0)
            if not row:
                row = max(self.rows, default=0) + 1
                self.deliveries |= {(sink, row): CLASSES.index(record.cls) for sink in sinks}
            self.rows[row] = replace(record, row=row)
            kept.append(self.rows[row])
        return kept

    async def pending(self, sink, *, limit=100):
        await self._disk("pending", lambda: self.reads)
        waiting = sorted((cls, row) for (other, row), cls in self.deliveries.items() if other == sink)
        return [self.rows[row] for _, row in waiting[:limit]]

    async def delivered(self, sink, rows):
        await self._disk("delivered", lambda: self.writes)
        for row in rows:
            self.deliveries.pop((sink, row), None)

    async def backlog(self):
        await self._disk("backlog", lambda: self.reads)
        return dict(Counter(sink for sink, _ in self.deliveries))

    async def forget(self, sink):
        await self._disk("forget", lambda: self.writes)
        self.deliveries = {key: cls for key, cls in self.deliveries.items() if key[0] != sink}

    async def waiting(self):
        await self._disk("waiting", lambda: self.reads)
        counts = {}
        for (sink, row), cls in self.deliveries.items():
            if CLASSES[cls] != "telemetry":
                counts.setdefault(sink, Counter())[self.rows[row].channel] += 1
        return counts

    def corrupt(self):
        """The file is set aside, and an empty one is there."""
        self.rows, self.deliveries, self.set_aside = {}, {}, object()
