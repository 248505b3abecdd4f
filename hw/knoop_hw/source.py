"""The contract of a sensor driver, and the loader that finds it.

A driver is one module in `sensors/` with a frozen dataclass `Config` (its keys in `[sensor.NAME]`),
`fields(config)` and `open(config, *, clock)`, an async context manager that yields a `Source`. The folder is
the table: only the modules a configuration names are imported, and a driver imports its libraries inside
`open`.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from knoop_hw.clock import Clock
from knoop_hw.decode import suggest
from knoop_hw.errors import DeviceError
from knoop_hw.filters import Options
from knoop_hw.life import in_a_thread
from knoop_hw.model import Class, Quality, Type, Value

T = TypeVar("T")
NOTHING_SAID = Options()
# What people call a thing → the driver that reads it; of chips `kernel.overlays` knows.
_READ_BY = {
    **dict.fromkeys(("ds18b20", "ds18s20", "ds1822", "ds1825", "w1", "1wire", "1-wire"), "onewire"),
    **dict.fromkeys(("gps", "gnss", "gpsd"), "nmea"), **dict.fromkeys(("dsmr", "smartmeter", "smart_meter"), "p1"),
    **dict.fromkeys(("serial", "uart", "text", "arduino", "pico", "esp32"), "lines"),
    **dict.fromkeys(("rtu", "modbus_rtu", "modbus-rtu", "rs485"), "modbus"),
    **dict.fromkeys(("script", "exec", "shell", "program"), "command"), **dict.fromkeys(("cpu", "pi"), "system"),
}  # fmt: skip
PATIENCE_S = 10.0  # the kernel gives up on an I²C transfer after 1 s and on a USB request after 5 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value a driver gives. `name` is empty when the channel carries the sensor's own name.

    `defaults` are what the driver would rather have of `filters.Options`: each gives way to what node.toml says.
    """

    name: str
    type: Type = "number"
    unit: str = ""
    cls: Class = "telemetry"
    digits: int | None = None
    label: str = ""
    defaults: Options = NOTHING_SAID


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


class Writable(Source, Protocol):
    """An open sensor with outputs in it.

    Its driver has a frozen dataclass `Write`: the keys of `[output.NAME]` that are its own. It may have two functions
    that are asked when the configuration is read: `moves(config, to) -> frozenset[object]`, what such an output moves,
    which no second may, and `check(to, level)`, which raises ValueError for an end of its range that it cannot have.
    """

    async def write(self, to: Any, value: bool | float) -> bool | float | None:
        """Set what `to`, a `Write` of this driver, names; returns what the device then shows.

        None where it cannot tell. Bounded in time; raises DeviceError.
        """
        ...


@runtime_checkable
class Shows(Writable, Protocol):
    """One that can be asked how an output is, without writing: after a start, for those that keep their level."""

    async def shown(self, to: Any) -> bool | float | None:
        """What the device shows of what `to` names; None where it cannot tell. Bounded in time; raises DeviceError."""
        ...


class Driver(Protocol):
    """A module of `sensors/`.

    It may have two functions for `knoop check`, which open nothing and give sentences that begin with their key:
    `lacks(config)`, what is not there on this machine, and `doubts(config)`, what can be meant and seldom is.
    """

    Config: type[Any]

    def fields(self, config: Any) -> tuple[Field, ...]:
        """The values a sensor with this configuration gives, without touching it:

        Its channels exist while it is away.
        """
        ...

    def open(self, config: Any, *, clock: Clock) -> AbstractAsyncContextManager[Source]:
        """Open the sensor; raises DeviceError that names the device and the remedy."""
        ...


def check_names(key: str, names: Iterable[str]) -> None:
    """Refuse names of values that no channel can have (ValueError); they stand at `key`."""
    for name in names:
        if not re.fullmatch(r"[a-z0-9_]+", name):  # the second part of model.NAME
            raise ValueError(f"{key}: '{name}' is no name; take lower-case letters, digits and _")


def check_chosen(chosen: tuple[str, ...], there: Iterable[str], *, of: str) -> None:
    """Refuse values that no device of this driver has, one twice, and none at all (ValueError); `of`: "a meter"."""
    there = list(there)
    for name in chosen:
        if name not in there:
            raise ValueError(f"fields: '{name}' is not a value of {of}; {suggest(name, there)}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError("fields: name each value once, and at least one")


def names() -> tuple[str, ...]:
    """The drivers there are, without importing one."""
    from knoop_hw import sensors  # noqa: PLC0415 -- the folder, not a driver

    return tuple(sorted(module.name for module in pkgutil.iter_modules(sensors.__path__)))


def unknown(name: object) -> str:
    """What to say of a driver that there is not."""
    from knoop_hw.kernel.overlays import called, read_by  # noqa: PLC0415 -- 4 kB of names, for a mistake

    word, text = str(name).lower(), f"there is no driver '{name}'"
    if driver := read_by(word):
        return f'{text}; it is read by driver = "{driver}", device = "{called(word)}"'
    if word in _READ_BY:
        return f'{text}; it is read by driver = "{_READ_BY[word]}"'
    return f"{text}; {suggest(str(name), names())}"


def load(name: str) -> Driver:
    """Import one driver by its module name; raises KeyError when there is none."""
    if name not in names():
        raise KeyError(name)
    return importlib.import_module(f"knoop_hw.sensors.{name}")


class Stuck(DeviceError):
    """A blocking call has not returned in time, and cannot be stopped: its thread is left to it.

    `returned` is done when it has after all, however; nobody must call again before.
    """

    def __init__(self, text: str, *, returned: asyncio.Future[Any]) -> None:
        self.returned = returned
        super().__init__(text)


async def answer(
    work: Callable[[], T], *, clock: Clock, limit_s: float = PATIENCE_S, step_ns: Callable[[], int] | None = None
) -> T:
    """What the blocking `work` returns or raises, in a thread of its own. Raises Stuck after `limit_s`.

    `step_ns`: when the step began that `work` is at, where each of several has so long.
    """
    began_ns = clock.boottime_ns()
    working = in_a_thread(work, name="knoop-poll")
    left_s = limit_s
    while left_s > 0:
        patience = asyncio.ensure_future(clock.sleep(left_s))
        either: set[asyncio.Future[Any]] = {working, patience}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            working.cancel()  # it is left behind
            raise
        finally:
            patience.cancel()
        if working.done():
            return working.result()
        since_ns = max(began_ns, step_ns()) if step_ns else began_ns
        left_s = limit_s - (clock.boottime_ns() - since_ns) / 1e9
    working.add_done_callback(_heard)
    raise Stuck(f"it has not answered for {limit_s:g} s", returned=working)


def _heard(late: asyncio.Future[Any]) -> None:
    """What came too late, or went wrong too late, is nobody's."""
    if not late.cancelled():
        late.exception()


async def poll(
    read: Callable[[], tuple[Sample, ...]], *, every_s: float, clock: Clock, limit_s: float = PATIENCE_S,
    step_ns: Callable[[], int] | None = None,
) -> AsyncIterator[tuple[Sample, ...]]:  # fmt: skip
    """Run the blocking `read` every `every_s` seconds in a thread: a slow bus delays only itself.

    An exception of `read` ends the iteration; `sense` decides what it means for the channels. A `read` that has not
    returned after `limit_s` raises Stuck, as `answer` does; one that hangs is left behind when the iteration is
    cancelled.
    """
    while True:
        started_ns = clock.boottime_ns()
        yield await answer(read, clock=clock, limit_s=limit_s, step_ns=step_ns)
        await clock.sleep(every_s - (clock.boottime_ns() - started_ns) / 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """A Source that needs no class of its own: `read` gives field → value, every `every_s` seconds.

    It blocks in a thread for at most `limit_s`, as in `poll`; a field that it leaves out is `missing`.
    """

    fields: tuple[Field, ...]
    read: Callable[[], Mapping[str, Value]]
    every_s: float
    clock: Clock
    limit_s: float = PATIENCE_S

    def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """What `read` gives, stamped when it began; raises what it raises, and Stuck."""
        return poll(self._take, every_s=self.every_s, clock=self.clock, limit_s=self.limit_s)

    def _take(self) -> tuple[Sample, ...]:
        at_ns, values = self.clock.boottime_ns(), self.read()
        return tuple(_sample(field.name, values.get(field.name), at_ns) for field in self.fields)


def _sample(field: str, value: Value, at_ns: int) -> Sample:
    return Sample(field=field, value=value, quality="missing" if value is None else "ok", boottime_ns=at_ns)
