"""A device that is written to: one thing after the other, and nothing for longer than its time."""

from __future__ import annotations

import asyncio
import logging
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from knoop_hw import source
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, reason_of
from knoop_hw.guards import Due, Guard, Level
from knoop_hw.life import end
from knoop_hw.remote_tables import Remote
from knoop_hw.source import Shows, Source, Writable
from knoop_hw.tables import Sensor
from knoop_hw.timer import within

log = logging.getLogger(__name__)

T = TypeVar("T")

END_S = 2.0  # for everything that is written to one device at the end: a stop must not take longer
WRITE_S = 4.0  # of the 5 s in which the agent waits for an answer (messages.LATE_NS)
MOST_BUGS = 3  # tracebacks of one driver
AFTER_S = 10.0  # for what is safe after a kill: the device is opened first, and a small one restarts then


@dataclass(slots=True, eq=False)
class Wanted:
    """An output in a device, and what is wanted of it."""

    config: Remote
    guard: Guard
    begun: bool = False  # its device is there, and it has its initial level or is as it was
    met: bool = False  # its device was there before
    tells: bool = False  # its device showed once how it is
    leaving: bool = False
    said: Level | None = None  # the last level that was reported
    owed: Due | None = None  # what must happen, until it has: no beat and no wish takes it back
    retry_ns: int = 0
    failing: bool = False  # the log knows
    coming: Level | None = None  # what is being written now, and may be there already

    def notice(self, now_ns: int) -> None:
        """What is due is owed from now on, also while its device is away."""
        if not self.met or self.owed is not None:
            return
        due, safe = self.guard.due(), self.config.safe_level
        if safe is not None and self.guard.deserted(now_ns):
            if due is not None and due.cause == "lease" and due.at_ns <= now_ns:  # a beat that comes next is too late
                self.guard.let_go()
            if self.coming not in {None, safe} or self.guard.value != safe or not self.guard.known:
                due = Due(now_ns, safe, "dead_man")
            else:
                due = self.guard.due()
        if due is not None and due.at_ns <= now_ns:
            self.owed = due

    def has(self, shown: Level | None) -> bool:
        """Whether its device, that is back, shows what it had: it lost nothing."""
        return shown is not None and self.met and self.guard.sure and shown in {self.guard.value, self.said}

    def first(self, now_ns: int, shown: Level | None) -> tuple[Level | None, int | None]:
        """The initial level, or what comes before it: rest, as after any switching-off; and when it then comes."""
        level, safe, min_off_s = self.config.initial_level, self.config.safe_level, self.config.min_off_s
        deserted = self.guard.deserted(now_ns) or (self.owed is not None and self.owed.cause == "dead_man")
        if self.met and safe is not None and deserted:
            return safe, None
        if level is not True or shown is True or not min_off_s:
            return level, None
        if safe is False:
            return False, now_ns + int(min_off_s * 1e9)
        return (False, now_ns) if self.met and self.guard.off_since_ns is not None else (level, None)

    def owes(self, now_ns: int) -> bool:
        """Whether something must happen now."""
        return self.begun and not self.leaving and self.owed is not None and self.retry_ns <= now_ns


@dataclass(slots=True, eq=False)
class Device:
    """A sensor (`name`) with outputs. Who holds `turn` may write; `source` is None while it is away."""

    name: str
    source: Source | None = None
    outputs: dict[str, Wanted] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    paying: bool = False  # what is owed is on its way
    _bugs: set[str] = field(default_factory=set)  # of its driver, that the log has
    _writing: asyncio.Future[bool | float | None] | None = None

    async def write(self, to: Remote, level: Level, *, clock: Clock, limit_s: float = WRITE_S) -> Level | None:
        """What the device shows after it was told this level; None: it cannot tell.

        Raises DeviceError, also when it takes longer than `limit_s`.
        """
        if self.source is None:
            raise DeviceError(f"output.{to.name}: sensor.{self.name} is not there; it stays as it is")
        writable: Writable = self.source  # type: ignore[assignment]  # its driver has a `Write`: the configuration saw to it
        late = f"its device has not taken {level} for {limit_s:.2g} s; is it stuck?"
        return await self._bounded(writable.write(to.to, level), to, limit_s, late, clock)

    async def shown(self, to: Remote, *, clock: Clock) -> Level | None:
        """What the device shows without being told anything; None: it cannot tell. Raises DeviceError."""
        if not isinstance(self.source, Shows):
            return None
        late = f"its device has not answered for {WRITE_S:g} s; is it stuck?"
        return await self._bounded(self.source.shown(to.to), to, WRITE_S, late, clock)

    async def _bounded(
        self, work: Coroutine[Any, Any, bool | float | None], to: Remote, limit_s: float, late: str, clock: Clock
    ) -> Level | None:
        due_ns = clock.boottime_ns() + int(limit_s * 1e9)
        doing = self._writing = asyncio.ensure_future(_until(work, due_ns, clock))
        patience = asyncio.ensure_future(clock.sleep(limit_s))
        try:
            await asyncio.wait({doing, patience}, return_when=asyncio.FIRST_COMPLETED)
            if doing.cancelled() and clock.boottime_ns() >= due_ns:
                raise DeviceError(f"output.{to.name}: {late}")
            if (why := self._why_not(doing, to)) is not None:
                raise DeviceError(f"output.{to.name}: {why or late}")
            return _as(to, doing.result())
        finally:
            self._writing = None
            await end((doing, patience))

    def _why_not(self, doing: asyncio.Future[bool | float | None], to: Remote) -> str | None:
        """Why nothing was written; None: it was. Empty: nobody knows yet."""
        if not doing.done():
            return ""
        if doing.cancelled():
            return "the end came before its device answered"
        error = doing.exception()
        if error is None:
            return None
        # A mistake in one driver must not take the board with it; what is tried every second is said once.
        known = isinstance(error, OSError | ValueError) or repr(error) in self._bugs
        if not known and len(self._bugs) < MOST_BUGS:
            self._bugs.add(repr(error))
            log.error("output.%s: the driver of its device has a bug", to.name, exc_info=error)
        return reason_of(error)

    @property
    def beginning(self) -> list[Wanted]:
        """The outputs that have not begun yet."""
        return [output for output in self.outputs.values() if not output.begun and not output.leaving]

    async def leave(
        self, outputs: Iterable[Wanted], move: Callable[[Wanted, Level], Awaitable[object]], *, clock: Clock
    ) -> None:
        """Take these outputs to their safe levels with `move`, in 2 s at most, whatever fails."""
        left = {output: level for output in outputs if (level := output.config.safe_level) is not None}
        try:
            await within(self._make_safe(left, move, clock), END_S, clock=clock)
        except TimeoutError:
            for output in left:
                log.error("output.%s: its device has not taken its safe level for %g s", output.config.name, END_S)
        except Exception:  # the next device has its turn
            log.exception("sensor.%s: the end of its outputs", self.name)

    async def _make_safe(
        self, left: dict[Wanted, Level], move: Callable[[Wanted, Level], Awaitable[object]], clock: Clock
    ) -> None:
        """What is done of `left` is taken from it."""
        try:
            await within(self.turn.acquire(), END_S / 2, clock=clock)
        except TimeoutError:
            if self._writing is not None:
                self._writing.cancel()
            await self.turn.acquire()
        try:
            for output, level in sorted(left.items(), key=lambda item: bool(item[1])):
                try:
                    await move(output, level)
                except DeviceError as error:
                    log.error("%s (on closing)", error)
                del left[output]
        finally:
            self.turn.release()


async def _until(work: Coroutine[Any, Any, T], due_ns: int, clock: Clock) -> T:
    """What `work` returns, which takes no step after `due_ns`: then it is cancelled.

    A timer alone would not do. After a hang of ours everything that waited goes on at once, and what a driver had kept
    for its turn on a bus would still be sent.
    """
    return await _steps(work, due_ns, clock)


@types.coroutine
def _steps(work: Coroutine[Any, Any, T], due_ns: int, clock: Clock) -> Generator[Any, None, T]:
    error: BaseException | None = None
    cancelled = False
    while True:
        if not cancelled and clock.boottime_ns() >= due_ns:
            cancelled, error = True, asyncio.CancelledError()
        try:
            waits_for = work.send(None) if error is None else work.throw(error)
        except StopIteration as done:
            returned: T = done.value
            return returned
        error = None
        try:
            yield waits_for
        except BaseException as raised:  # noqa: BLE001 -- it is the work's
            error = raised


def same(config: Remote, shown: Level, level: Level) -> bool:
    """Whether a level read back is the one that was written; a device may round, by a hundredth of its span."""
    near = 0.0 if config.span is None else (config.span[1] - config.span[0]) / 100
    return abs(float(shown) - float(level)) <= near


def _as(config: Remote, shown: bool | float | None) -> Level | None:
    """Raises DeviceError for what is no level."""
    if shown is None:
        return None
    try:
        level = bool(shown) if config.span is None else float(shown)
    except (TypeError, ValueError, OverflowError):
        level = math.nan
    if not math.isfinite(level):
        raise DeviceError(f"output.{config.name}: its device shows {shown!r:.30}, which is no level; look at it")
    return level


async def to_safe(sensors: Iterable[Sensor], remotes: Iterable[Remote], *, clock: Clock) -> list[DeviceError]:
    """Open the devices of these outputs and write their safe levels, after a process that could not do it itself.

    All devices at once, each in 10 s at most; `safe = "keep"` is not touched. Returns what failed.
    """
    levels = [(config, level) for config in remotes if (level := config.safe_level) is not None]
    levels.sort(key=lambda item: bool(item[1]))  # what goes off goes first
    devices = [(sensor, [item for item in levels if item[0].sensor == sensor.name]) for sensor in sensors]
    failed = await asyncio.gather(*(_one_safe(sensor, there, clock=clock) for sensor, there in devices if there))
    return [error for errors in failed for error in errors]


async def _one_safe(sensor: Sensor, levels: list[tuple[Remote, Level]], *, clock: Clock) -> list[DeviceError]:
    left, failed = [config for config, _ in levels], list[DeviceError]()

    async def work() -> None:
        async with source.load(sensor.driver).open(sensor.config, clock=clock) as opened:
            reading = asyncio.ensure_future(_read(opened))  # what the device answers is heard by who reads
            device = Device(sensor.name, opened)
            try:
                for config, level in levels:
                    try:
                        await _write_safe(device, config, level, clock=clock)
                    except DeviceError as error:
                        failed.append(error)
                    left.remove(config)
            finally:
                await end((reading,))

    reason = f"its device has not taken its safe level for {AFTER_S:g} s"
    try:
        await within(work(), AFTER_S, clock=clock)
    except TimeoutError:
        pass
    except Exception as error:  # it says what is wrong, and the next device has its turn
        if not isinstance(error, OSError | ValueError):
            log.exception("sensor.%s: its driver '%s' has a bug", sensor.name, sensor.driver)
        reason = reason_of(error)
    return [*failed, *(DeviceError(f"output.{config.name}: {reason}") for config in left)]


async def _write_safe(device: Device, config: Remote, level: Level, *, clock: Clock) -> None:
    """Raises DeviceError, also when the device shows another level."""
    shown = await device.write(config, level, clock=clock)
    if shown is not None and not same(config, shown, level):
        raise DeviceError(f"output.{config.name}: its device shows {shown} instead of {level}")
    word = f"{level:g}" if config.span else "on" if level else "off"
    log.debug("output.%s: %s, which is safe", config.name, word)


async def _read(opened: source.Source) -> None:
    async for _ in opened.samples():
        pass
