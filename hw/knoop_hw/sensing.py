"""One sensor kept alive: opened, read, and when it fails, opened again; nothing else notices.

One log line when it goes and one when it is back, the same for a single value of it; see `trouble` for those that
come and go. docs/adr/0017-sensors-that-fail.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from knoop_hw import source
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, reason_of
from knoop_hw.model import Quality, Report
from knoop_hw.source import Sample, Source, Stuck
from knoop_hw.tables import Sensor
from knoop_hw.trouble import Trouble

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
MOST_BUGS = 3  # tracebacks of one driver; another second brings the same ones again
# What a driver may raise: also when it awaits something of its own that was cancelled.
_ANY = (Exception, asyncio.CancelledError)


def _nobody(_opened: Source | None) -> None:
    """Nothing is written to this sensor."""


async def sense(
    sensor: Sensor, *, clock: Clock, report: Report, on_open: Callable[[Source | None], None] = _nobody
) -> None:
    """Report the samples of `sensor` until cancelled.

    While it cannot be opened its channels are `missing`, when reading fails `error`, both before anything is closed;
    it is tried again after pauses that double from 1 s to 10 s. What is stuck is tried again only when it has
    returned: no sensor ever has two threads. `on_open` gets the source when it is open, and None before it is closed
    and when it does not open.
    """
    await _Sensing(sensor, clock=clock, report=report, on_open=on_open).run()


def _told_to_end() -> bool:
    """Whether it is this task that is cancelled, and not something in the driver."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Sensing:
    def __init__(
        self, sensor: Sensor, *, clock: Clock, report: Report, on_open: Callable[[Source | None], None]
    ) -> None:
        self._sensor, self._clock, self._report, self._on_open = sensor, clock, report, on_open
        self._name = f"sensor.{sensor.name}"
        self._channels = {item.field.name: item.channel.name for item in sensor.fields}
        self._trouble = Trouble(self._name, log=log)
        self._of_one = {field: Trouble(f"{self._name}.{field}", log=log) for field in self._channels}
        self._pause_s = FIRST_PAUSE_S
        self._bugs: set[str] = set()

    async def run(self) -> None:
        driver = source.load(self._sensor.driver)
        while True:
            failure: BaseException | None = None
            try:
                async with driver.open(self._sensor.config, clock=self._clock) as opened:
                    failure = await self._read(opened)
            except _ANY as error:  # a mistake in one driver must not take the board with it
                if _told_to_end():
                    raise
                if failure is None:  # else it is said, and whether it closes well is nobody's concern
                    failure = error
                    self._on_open(None)
                    self._failed(error, "missing")
            if isinstance(failure, Stuck):
                await asyncio.wait({failure.returned})  # it may be others', too: never cancelled here
            await self._clock.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _read(self, opened: Source) -> BaseException:
        """Why there are no more samples; its channels say so already."""
        failure: BaseException = DeviceError("it ended")
        try:
            self._on_open(opened)
            async for samples in opened.samples():
                self._pass(samples)
                self._pause_s = FIRST_PAUSE_S
        except _ANY as error:  # as above
            if _told_to_end():
                raise
            failure = error
        finally:
            self._on_open(None)
        self._failed(failure, "error")
        return failure

    def _pass(self, samples: tuple[Sample, ...]) -> None:
        for sample in samples:
            self._report(self._channels[sample.field], sample.value, sample.quality, sample.boottime_ns)
        now_ns = self._clock.boottime_ns()
        if samples and len(samples) == len(self._channels) and all(sample.quality == "error" for sample in samples):
            self._trouble.is_("it answers, but not with a reading", now_ns)
            return
        self._trouble.over()
        for sample in samples:
            if sample.quality == "error":
                self._of_one[sample.field].is_("no reading; the others go on", now_ns)
            elif sample.quality != "missing":
                self._of_one[sample.field].over()

    def _failed(self, error: BaseException, quality: Quality) -> None:
        now_ns = self._clock.boottime_ns()
        for channel in self._channels.values():
            self._report(channel, None, "error" if isinstance(error, Stuck) else quality, now_ns)
        again = "it is tried again when that returns" if isinstance(error, Stuck) else "it is tried again"
        self._trouble.is_(f"{self._reason(error)}; {again}", now_ns, follow=True)

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, DeviceError):
            return str(error).removeprefix(f"{self._name}: ")
        if isinstance(error, OSError | ValueError):
            said = reason_of(error)
            file = getattr(error, "filename", None)
            return f"{file}: {said}" if file else said
        if (bug := repr(error)) not in self._bugs and len(self._bugs) < MOST_BUGS:
            self._bugs.add(bug)
            log.error("%s: its driver '%s' has a bug", self._name, self._sensor.driver, exc_info=error)
        return "its driver failed"
