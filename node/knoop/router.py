"""From the board's readings to records, and from records to the sinks that are to get them.

Deciding is pure: `to_record` and `sinks_for`. What becomes of a record on its way is the outbox's business.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from knoop.errors import StoreError
from knoop.outbox import Outbox
from knoop.record import Record
from knoop.store import CLASSES, Store
from knoop.together import together
from knoop_hw.clock import Clock
from knoop_hw.messages import Hello, Readings
from knoop_hw.model import Channel, Class, Quality, Reading, Type, Value

_log = logging.getLogger(__name__)

PRUNE_S = 3600.0  # what is kept for days may stay an hour longer
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


class Router:
    """Takes readings and passes them on to its `outbox`.

    `synced` says whether the wall clock is to be trusted, `steady` whether so much that what is older by it than
    `retain_s`, or what `retain_for` has for its channel or device, may go. `on_stored` is the outbox's. `on_record` is
    called once for each new record, before it is safe, and must not block.
    """

    def __init__(
        self, store: Store, *, clock: Clock, synced: Callable[[], bool],
        on_stored: Callable[[int], None], on_record: Callable[[Record], None], retain_s: float | None = None,
        retain_for: Mapping[str, float] | None = None, steady: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self.latest: dict[str, Record] = {}
        self.outbox = Outbox(store, clock=clock, on_stored=on_stored)
        self._store, self._clock, self._synced, self._steady = store, clock, synced, steady
        self._on_record, self._retain_s, self._retain_for = on_record, retain_s, retain_for or {}
        self._routes: tuple[Route, ...] = ()
        self._hello: Hello | None = None
        self._channels: dict[str, Channel] = {}
        self._seen: dict[str, tuple[str, int]] = {}

    def follow(self, former: Router) -> None:
        """Go on where another router of this store ended; `hello` and `route` come next."""
        self.latest, self._seen = former.latest, former._seen
        self.outbox.follow(former.outbox)

    @property
    def dropped(self) -> Mapping[Class, int]:
        """Readings lost on this side of the board since the start, by class."""
        return self.outbox.dropped

    async def route(self, routes: Iterable[Route]) -> None:
        """Use these routes from now on; what waited for a sink that is in none of them is forgotten."""
        self._routes = tuple(routes)
        await self.outbox.route({route.sink for route in self._routes})

    async def restore(self, channels: Iterable[str]) -> None:
        """Fill `latest` from the store for those of `channels` that said nothing yet.

        What it has is no news, should a board that did not hear that it is safe send it again.
        """
        wanted = set(channels)
        try:
            latest = await self._store.latest()
        except StoreError as error:
            _log.error("what was measured before is not known: %s", error)
            return
        for record in latest:
            if record.channel in wanted:
                self.latest.setdefault(record.channel, record)
                self._seen.setdefault(record.channel, (record.run, record.seq))

    def hello(self, hello: Hello) -> None:
        """The board is there, or there again: `upto` counts anew, and what was not stored is sent again."""
        self._hello = hello
        self._channels = {channel.name: channel for channel in hello.channels}
        self.outbox.restart()

    def take(self, message: Readings) -> None:
        """Accept readings from the board, passing over repeats and channels that `hello` did not name."""
        hello = self._hello
        assert hello is not None, "the board's first message is hello"
        floor, self.outbox.received = self.outbox.received, message.upto
        synced = self._synced()
        records = []
        for reading in message.items:
            if channel := self._channels.get(reading.channel):
                at_ns = wall_ns(reading.boottime_ns, self._clock, synced=synced)
                records.append(to_record(reading, channel, hello, at_ns=at_ns))
            else:
                _log.error("%s: a reading of a channel that the board did not announce", reading.channel)
        self._accept(records, floor)
        self.outbox.answer()  # also when nothing was new: the board waits for it

    def put(self, record: Record) -> None:
        """Accept a record of the agent's own, such as one of `alert.NAME`."""
        self._accept([record], self.outbox.received)

    async def date(self, boot: str, offset_ns: int) -> int:
        """The clock is right: what was measured before in this boot gets its time, boottime + offset.

        Returns how many readings on the disk that were; raises StoreError.
        """
        for channel, record in self.latest.items():
            if record.at_ns is None and record.boot == boot:
                self.latest[channel] = replace(record, at_ns=record.boottime_ns + offset_ns)
        self.outbox.date(boot, offset_ns)
        return await self._store.correct(boot, offset_ns)

    async def run(self) -> None:
        """Keep the disk up to date, and no older history than wanted, until cancelled."""
        await together(self.outbox.run(), self._prune())

    def hurry(self) -> None:
        """What the board says until its next hello is to be on the disk as soon as possible: it is about to end."""
        self.outbox.hurry()

    async def flush(self) -> None:
        """Commit all that is held, now. What the disk refuses stays held or is counted, not raised."""
        await self.outbox.flush()

    async def _prune(self) -> None:
        while self._retain_s is not None:
            await self._clock.sleep(PRUNE_S)
            with suppress(StoreError):  # then at the next hour
                more = 1
                while more and self._synced() and self._steady():
                    now_ns = self._clock.time_ns()
                    own_ns = {name: now_ns - int(span_s * 1e9) for name, span_s in self._retain_for.items()}
                    more = await self._store.prune(now_ns - int(self._retain_s * 1e9), own_ns=own_ns)

    def _accept(self, records: Iterable[Record], floor: int) -> None:
        """Hold the new ones among these records, then tell of each: a listener's failure loses no reading."""
        new = [record for record in records if self._is_new(record)]
        for record in new:
            before = self.latest.get(record.channel)
            self.latest[record.channel] = record
            self.outbox.hold(record, sinks_for(record, before, self._routes), floor=floor)
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
