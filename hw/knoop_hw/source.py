"""The contract of a sensor driver, and the loader that finds it.

A driver is one module in `sensors/` with a frozen dataclass `Config` (its keys in `[sensor.NAME]`),
`fields(config)` and `open(config, *, clock)`, an async context manager that yields a `Source`. The folder is
the table: only the modules a configuration names are imported, and a driver imports its libraries inside
`open`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from knoop_hw.clock import Clock
from knoop_hw.life import in_a_thread
from knoop_hw.model import Class, Quality, Type, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value a driver gives. `name` is empty when the channel carries the sensor's own name."""

    name: str
    type: Type = "number"
    unit: str = ""
    cls: Class = "telemetry"
    digits: int | None = None
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value as the driver saw it, before any filter.

    `value` is None exactly when it is missing or an error.
    """

    field: str
    value: Value
    quality: Quality = "ok"
    boottime_ns: int


class Source(Protocol):
    """An open sensor."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The values this sensor gives, known as soon as it is open."""
        ...

    def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """Samples for as long as the sensor is open; those of one tuple were taken together."""
        ...


class Driver(Protocol):
    """A module of `sensors/`."""

    Config: type[Any]

    def fields(self, config: Any) -> tuple[Field, ...]:
        """The values a sensor with this configuration gives, without touching it:

        Its channels exist while it is away.
        """
        ...

    def open(self, config: Any, *, clock: Clock) -> AbstractAsyncContextManager[Source]:
        """Open the sensor; raises DeviceError that names the device and the remedy."""
        ...


def names() -> tuple[str, ...]:
    """The drivers there are, without importing one."""
    from knoop_hw import sensors  # noqa: PLC0415 -- the folder, not a driver

    return tuple(sorted(module.name for module in pkgutil.iter_modules(sensors.__path__)))


def load(name: str) -> Driver:
    """Import one driver by its module name; raises KeyError when there is none."""
    if name not in names():
        raise KeyError(name)
    return importlib.import_module(f"knoop_hw.sensors.{name}")


async def poll(
    read: Callable[[], tuple[Sample, ...]], *, every_s: float, clock: Clock
) -> AsyncIterator[tuple[Sample, ...]]:
    """Run the blocking `read` every `every_s` seconds in a thread: a slow bus delays only itself.

    An exception of `read` ends the iteration; the board decides what it means for the channels. A `read` that
    hangs is left behind when the iteration is cancelled.
    """
    while True:
        started_ns = clock.boottime_ns()
        yield await in_a_thread(read, name="knoop-poll")
        await clock.sleep(every_s - (clock.boottime_ns() - started_ns) / 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """A Source that needs no class of its own: `read` gives field → value, every `every_s` seconds.

    It blocks in a thread, as in `poll`; a field that it leaves out is `missing`.
    """

    fields: tuple[Field, ...]
    read: Callable[[], Mapping[str, Value]]
    every_s: float
    clock: Clock

    def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """What `read` gives, stamped when it began; raises what it raises."""
        return poll(self._take, every_s=self.every_s, clock=self.clock)

    def _take(self) -> tuple[Sample, ...]:
        at_ns, values = self.clock.boottime_ns(), self.read()
        return tuple(_sample(field.name, values.get(field.name), at_ns) for field in self.fields)


def _sample(field: str, value: Value, at_ns: int) -> Sample:
    return Sample(field=field, value=value, quality="missing" if value is None else "ok", boottime_ns=at_ns)
