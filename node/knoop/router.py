"""From the board's readings to records, and from records to the sinks that are to get them.

Deciding is pure: `to_record` and `sinks_for`. The Router around it never touches the disk from the loop,
tells the board what is safe, and stands between publishers and the store, so that an event also goes out when
the disk is full.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from knoop.errors import StoreError
from knoop.gate import Gate
from knoop.record import Record
from knoop.store import CLASSES, Store
from knoop.together import woken
from knoop_hw.clock import Clock
from knoop_hw.messages import Hello, Readings
from knoop_hw.model import Channel, Class, Quality, Reading, Type, Value

_log = logging.getLogger(__name__)

# Telemetry shares a commit for so long. Bytes written per reading, 20 channels at 1/s each: 2.8 kB at 1 s,
# 1.0 kB at 10 s, 0.7 kB at 20 s. Longer also means later, until publishers need not wait for the disk.
GROUP_S = 1.0
RETRY_S = 5.0  # between attempts to move remembered events to a disk that failed
PRUNE_S = 3600.0  # what is kept for days may stay an hour longer
HELD = 10_000  # readings waiting for a slow disk, as many as the board keeps itself
REMEMBERED = 1_000  # events and alarms that no disk took
TEXT_CHARACTERS = 4096  # a text value; longer ones are cut, so that any reading fits an item
EVERY: Final[frozenset[Class]] = frozenset(CLASSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A sink (`pubsub`, `chat:JID`, `room:JID`), the classes it gets, and of these what it `wants`.

    `wants` is asked once a record, with the channel's last record before it (None when there was none).
    """

    sink: str
    classes: frozenset[Class] = EVERY
    wants: Callable[[Record, Record | None], bool] = lambda _record, _before: True


def sinks_for(record: Record, before: Record | None, routes: Iterable[Route]) -> tuple[str, ...]:
    """The sinks that are to get this record, which follows `before` on its channel."""
    return tuple(route.sink for route in routes if record.cls in route.classes and route.wants(record, before))


def wall_ns(boottime_ns: int, clock: Clock, *, synced: bool) -> int | None:
    """When that boottime was, in UTC nanoseconds since 1970; None while the wall clock cannot be trusted."""
    return clock.time_ns() - (clock.boottime_ns() - boottime_ns) if synced else None


def to_record(reading: Reading, channel: Channel, hello: Hello, *, at_ns: int | None) -> Record:
    """The reading as the world sees it. A value that is not of the channel's type becomes quality `error`."""
    value, quality = _fit(reading.value, channel.type, reading.quality)
    return Record(
        run=hello.run, channel=channel.name, seq=reading.seq, cls=channel.cls, type=channel.type, value=value,
        unit=channel.unit, quality=quality, boot=hello.boot, boottime_ns=reading.boottime_ns, at_ns=at_ns,
    )  # fmt: skip


def _fit(value: Value, kind: Type, quality: Quality) -> tuple[Value, Quality]:
    if value is None:
        return None, quality
    if kind == "boolean" and isinstance(value, bool):
        return value, quality
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None, "error"
        return (number, quality) if math.isfinite(number) else (None, "error")
    if kind == "text" and isinstance(value, str):
        text = value.encode("utf-8", "replace").decode()  # a lone surrogate is no character
        return (text, quality) if len(text) <= TEXT_CHARACTERS else (f"{text[: TEXT_CHARACTERS - 1]}…", "warning")
    return None, "error"


@dataclass(slots=True, eq=False)
class _Held:
    """A record on its way to the disk. While it is, nothing above `floor` may be answered with Stored."""

    record: Record
    sinks: tuple[str, ...]
    floor: int


class Router:
    """Takes readings, keeps them, wakes who is to send them.

    `synced` says whether the wall clock is to be trusted. `on_stored(upto)` is called when the board may
    forget readings: they are on the disk, were delivered from memory, or were dropped and counted.
    `on_record` is called once for each new record, before it is safe, and must not block. What is sent goes through
    `gate`.
    """

    def __init__(
        self, store: Store, *, clock: Clock, synced: Callable[[], bool],
        on_stored: Callable[[int], None], on_record: Callable[[Record], None],
        group_s: float = GROUP_S, retain_s: float | None = None,
    ) -> None:  # fmt: skip
        self.latest: dict[str, Record] = {}
        self._store, self._clock, self._synced = store, clock, synced
        self._on_stored, self._on_record = on_stored, on_record
        self._group_s, self._retain_s = group_s, retain_s
        self._routes: tuple[Route, ...] = ()
        self._hello: Hello | None = None
        self._channels: dict[str, Channel] = {}
        self._seen: dict[str, tuple[str, int]] = {}
        self._held, self._memory = deque[_Held](), deque[_Held]()
        self._committing: list[_Held] = []
        self._unmarked: dict[str, dict[str, Record]] = {}  # sink → what it has, by identity, unknown to the disk yet
        self._wakes: dict[str, asyncio.Event] = {}
        self._some, self._urgent = asyncio.Event(), asyncio.Event()
        self._dropped: Counter[Class] = Counter()
        self._received, self._answered, self._failing = 0, 0, False
        self.gate = Gate()

    def follow(self, former: Router) -> None:
        """Go on where another router of this store ended; `hello` and `route` come next."""
        self.latest, self._seen = former.latest, former._seen
        self._held, self._memory, self._unmarked = former._held, former._memory, former._unmarked
        self._dropped, self._failing = former._dropped, former._failing
        if self._held:
            self._some.set()

    @property
    def dropped(self) -> Mapping[Class, int]:
        """Readings lost on this side of the board since the start, by class."""
        return {cls: self._dropped[cls] + self._store.dropped[cls] for cls in CLASSES}

    @property
    def sinks(self) -> frozenset[str]:
        """Every sink there is a route to."""
        return frozenset(route.sink for route in self._routes)

    def wake(self, sink: str) -> asyncio.Event:
        """Set when something new waits for `sink`; its publisher clears it before it asks for `pending`."""
        return self._wakes.setdefault(sink, asyncio.Event())

    async def route(self, routes: Iterable[Route]) -> None:
        """Use these routes from now on; what waited for a sink that is in none of them is forgotten."""
        self._routes = tuple(routes)
        for held in (*self._memory, *self._committing, *self._held):
            held.sinks = tuple(sink for sink in held.sinks if sink in self.sinks)
        for gone in self._unmarked.keys() - self.sinks:
            del self._unmarked[gone]
        with suppress(StoreError):  # nobody asks for them any more; they go at the next change
            for waiting in await self._store.backlog():
                if waiting not in self.sinks:  # asked anew each time: the routes may have changed meanwhile
                    await self._store.forget(waiting)
        for sink in self.sinks:
            self.wake(sink).set()

    async def restore(self, channels: Iterable[str]) -> None:
        """Fill `latest` from the store for those of `channels` that said nothing yet.

        What it has is no news, should a board that did not hear that it is safe send it again.
        """
        wanted = set(channels)
        for record in await self._store.latest():
            if record.channel in wanted:
                self.latest.setdefault(record.channel, record)
                self._seen.setdefault(record.channel, (record.run, record.seq))

    def hello(self, hello: Hello) -> None:
        """The board is there, or there again: `upto` counts anew, and what was not stored is sent again."""
        self._hello = hello
        self._channels = {channel.name: channel for channel in hello.channels}
        self._received = self._answered = 0
        for held in (*self._memory, *self._committing, *self._held):
            held.floor = 0  # it may be sent again, under a number that we cannot foresee

    def take(self, message: Readings) -> None:
        """Accept readings from the board, passing over repeats and channels that `hello` did not name."""
        hello = self._hello
        assert hello is not None, "the board's first message is hello"
        floor, self._received = self._received, message.upto
        synced = self._synced()
        records = []
        for reading in message.items:
            if channel := self._channels.get(reading.channel):
                at_ns = wall_ns(reading.boottime_ns, self._clock, synced=synced)
                records.append(to_record(reading, channel, hello, at_ns=at_ns))
            else:
                _log.error("%s: a reading of a channel that the board did not announce", reading.channel)
        self._accept(records, floor)

    def put(self, record: Record) -> None:
        """Accept a record of the agent's own, such as one of `alert.NAME`."""
        self._accept([record], self._received)

    async def run(self) -> None:
        """Commit what comes, events and alarms at once, telemetry once in `group_s`, until cancelled."""
        pruned_ns = self._clock.boottime_ns()
        while True:
            await woken(self._some, self._clock, RETRY_S if self._memory else PRUNE_S)
            if self._some.is_set():
                await woken(self._urgent, self._clock, self._group_s)
            await self.flush()
            now_ns = self._clock.boottime_ns()
            if self._retain_s is not None and now_ns - pruned_ns >= PRUNE_S * 1e9 and self._synced():
                pruned_ns = now_ns
                with suppress(StoreError):  # then at the next hour
                    while await self._store.prune(self._clock.time_ns() - int(self._retain_s * 1e9)):
                        pass

    async def flush(self) -> None:
        """Commit all that is held, now. What the disk refuses is remembered or counted, not raised."""
        self._some.clear()
        self._urgent.clear()
        self._committing = [*self._memory, *self._held]
        self._memory.clear()
        self._held.clear()
        try:
            await self._store.add((held.record, held.sinks) for held in self._committing)
            self._say(None)
        except StoreError as error:
            self._say(error)
            self._memory.extend(held for held in self._committing if held.record.cls != "telemetry")
            self._shed(self._memory, REMEMBERED)
        except BaseException:  # cancelled: the store may or may not have them, and takes them twice
            self._held.extendleft(reversed(self._committing))
            raise
        finally:
            told, self._committing = self._committing, []
        for sink in {sink for held in told for sink in held.sinks}:
            self.wake(sink).set()
        self._answer()

    async def pending(self, sink: str, *, limit: int = 100) -> list[Record]:
        """What `sink` has not got: best class first, then oldest; `row` is 0 where no disk has it."""
        memory = [held.record for held in self._memory if sink in held.sinks]
        sent = self._unmarked.get(sink, {})
        try:
            records = await self._store.pending(sink, limit=limit + len(sent))
        except StoreError as error:
            if not memory:
                raise
            _log.warning("sending from memory only: %s", error)
            records = []
        known = {record.identity for record in records}
        merged = [*records, *(record for record in memory if record.identity not in known)]
        merged = [record for record in merged if record.identity not in sent]
        return sorted(merged, key=lambda record: CLASSES.index(record.cls))[:limit]

    async def delivered(self, sink: str, records: Sequence[Record]) -> None:
        """`sink` has these records. Where the disk does not take that, it is remembered: nothing is sent again."""
        unmarked = self._unmarked.setdefault(sink, {})
        # By identity: a row's number may be another reading's after a damaged file was replaced.
        unmarked.update({record.identity: replace(record, row=0) for record in records})
        for held in self._memory:
            if held.record.identity in unmarked and sink in held.sinks:
                held.sinks = tuple(other for other in held.sinks if other != sink)
                del unmarked[held.record.identity]
        self._memory = deque(held for held in self._memory if held.sinks)
        self._answer()
        under_way = {held.record.identity for held in self._committing}
        marking = [record for identity, record in unmarked.items() if identity not in under_way]
        rows = {record.identity: record.row for record in records if record.row}
        lost = [record for record in marking if record.identity not in rows]
        try:
            if lost:  # adding again finds the row that the disk gave it meanwhile
                rows |= {found.identity: found.row for found in await self._store.add((one, ()) for one in lost)}
            await self._store.delivered(sink, [rows[record.identity] for record in marking if record.identity in rows])
        except StoreError as error:
            self._say(error)
            while len(unmarked) > REMEMBERED:
                del unmarked[next(iter(unmarked))]
        else:
            for record in marking:
                unmarked.pop(record.identity, None)

    def _accept(self, records: Iterable[Record], floor: int) -> None:
        """Hold the new ones among these records, then tell of each: a listener's failure loses no reading."""
        new = [record for record in records if self._is_new(record)]
        for record in new:
            before = self.latest.get(record.channel)
            self.latest[record.channel] = record
            self._held.append(_Held(record, sinks_for(record, before, self._routes), floor))
            self._shed(self._held, HELD)  # the disk does not keep pace
            if record.cls != "telemetry":
                self._urgent.set()
        self._some.set()  # also when nothing is new: the board waits for its answer
        for record in new:
            try:
                self._on_record(record)
            except Exception:  # noqa: BLE001 -- whoever listens, the readings go on
                _log.exception("a listener failed at %s", record.identity)

    def _is_new(self, record: Record) -> bool:
        """Whether this is no repeat: within a run the numbers of a channel only grow."""
        run, seq = self._seen.get(record.channel, ("", 0))
        if run == record.run and record.seq <= seq:
            return False
        self._seen[record.channel] = (record.run, record.seq)
        return True

    def _shed(self, queue: deque[_Held], most: int) -> None:
        """Give up the oldest of the least class until at most so many are left, and count them."""
        while len(queue) > most:
            victim = max(queue, key=lambda held: CLASSES.index(held.record.cls))
            queue.remove(victim)
            self._dropped[victim.record.cls] += 1

    def _answer(self) -> None:
        unsafe = (*self._memory, *self._committing, *self._held)
        upto = min((held.floor for held in unsafe), default=self._received)
        if upto > self._answered:
            self._answered = upto
            self._on_stored(upto)

    def _say(self, why: StoreError | None) -> None:
        """Log once when the disk goes and once when it is back."""
        if why and not self._failing:
            _log.error("readings are not safe on disk, events and alarms are kept in memory: %s", why)
        elif self._failing and not why:
            _log.warning("readings are safe on disk again")
        self._failing = why is not None
