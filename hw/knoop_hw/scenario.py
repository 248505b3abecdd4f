"""What happens on a simulated board: the scenario file, and the weather its sensors stand in.

Everything here is a function of the scenario and of the time since the board opened, so a run repeats
exactly. docs/simulation.md explains the file to its users.
"""

from __future__ import annotations

import errno
import math
import os
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Document, Seconds, into
from knoop_hw.errors import Problem
from knoop_hw.locate import Place


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something a simulated sensor measures.

    Resolution, noise and range after Sensirion's SHT4x, BMP390 and SCD4x.
    """

    unit: str
    resolution: float
    noise: float  # one standard deviation
    low: float
    high: float
    start: float


QUANTITIES = {
    "temperature": Quantity("°C", 0.01, 0.04, -40, 125, 20.0),
    "humidity": Quantity("%", 0.1, 0.08, 0, 100, 50.0),
    "pressure": Quantity("hPa", 0.01, 0.02, 300, 1250, 1013.25),
    "co2": Quantity("ppm", 1, 8, 0, 40_000, 450.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambient:
    """The air around a sensor, as far as it is told: °C, %, hPa, ppm."""

    temperature: Annotated[float, Between(-40, 125)] | None = None
    humidity: Annotated[float, Between(0, 100)] | None = None
    pressure: Annotated[float, Between(300, 1250)] | None = None
    co2: Annotated[float, Between(0, 40_000)] | None = None

    def told(self) -> dict[str, float]:
        """Quantity → value, without those it says nothing of."""
        return {name: value for name in QUANTITIES if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """The mechanics of an input: how long it bounces before it rests."""

    bounce_s: Annotated[Seconds, Between(0, 1)] = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Air(Ambient):
    """A sensor: what it gives, where its air starts, and `lag_s`, the time constant of its response.

    `noise` scales the noise of the quantities; 0 makes readings exact.
    """

    lag_s: Seconds = 8.0
    noise: Annotated[float, Between(0, 100)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Ambient):
    """One thing that happens, `at_s` after the board opened: to a `line` or to a `sensor`.

    `press_s`: a hand holds the contact closed for so long, `times` in quick succession.
    """

    at_s: Seconds
    line: str | None = None
    value: bool | None = None
    pulses: Annotated[int, Between(1, 1_000_000)] | None = None
    every_s: Annotated[Seconds, Between(0.01)] = 1.0
    press_s: Annotated[Seconds, Between(0.01)] | None = None
    times: Annotated[int, Between(1, 100)] = 1
    sensor: str | None = None
    error: Literal["EIO", "ENODEV", "ETIMEDOUT"] | None = None
    for_s: Seconds | None = None

    def __post_init__(self) -> None:
        """Refuse a step that does nothing or two things (ValueError)."""
        if (self.line is None) == (self.sensor is None):
            raise ValueError("name either a 'line' or a 'sensor'")
        moves = sum(motion is not None for motion in (self.value, self.pulses, self.press_s))
        if self.line is not None and moves != 1:
            raise ValueError("a line needs one of 'value', 'pulses' and 'press'")
        if self.line is not None and (self.told() or self.error):
            raise ValueError("a line has no weather; give the quantities to a 'sensor'")
        if self.sensor is not None and moves:
            text = "a sensor has no 'value', 'pulses' or 'press'; give temperature, humidity, pressure, co2 or error"
            raise ValueError(text)
        if self.sensor is not None and not self.told() and self.error is None:
            raise ValueError("a sensor needs temperature, humidity, pressure, co2 or error")
        if (self.error is None) != (self.for_s is None):
            raise ValueError("'error' and 'for' belong together")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The whole file. `repeat_s` starts the steps again.

    `trace` receives every transition of an output line.
    """

    repeat_s: Annotated[Seconds, Between(0.1)] | None = None
    seed: int = 1
    trace: Path | None = None
    contact: dict[str, Contact] = field(default_factory=dict)
    sensor: dict[str, Air] = field(default_factory=dict)
    step: tuple[Step, ...] = ()

    def steps(self, *, after_s: float = -1.0) -> Iterator[tuple[float, Step]]:
        """(when, step) in order of time, endless when the scenario repeats."""
        ordered = sorted(self.step, key=lambda step: step.at_s)
        start = 0.0 if self.repeat_s is None else max(0.0, after_s // self.repeat_s * self.repeat_s)
        while ordered:
            yield from ((start + step.at_s, step) for step in ordered if start + step.at_s > after_s)
            if self.repeat_s is None:
                return
            start += self.repeat_s


def read(document: Document, problems: list[Problem], *, lines: frozenset[str], sensors: frozenset[str]) -> Scenario:
    """The scenario of this file.

    Problems are appended, those of names that the board does not have included.
    """
    scenario = into(Scenario, document.data, document=document, path=(), problems=problems)
    if scenario is None:
        return Scenario()
    named: list[tuple[Place, str, frozenset[str], str]] = []
    named += [(("contact", name), name, lines, "an input") for name in scenario.contact]
    named += [(("sensor", name), name, sensors, "a simulated sensor") for name in scenario.sensor]
    for index, step in enumerate(scenario.step):
        if step.line is not None:
            named.append((("step", index, "line"), step.line, lines, "an input"))
        if step.sensor is not None:
            named.append((("step", index, "sensor"), step.sensor, sensors, "a simulated sensor"))
        if scenario.repeat_s is not None and step.at_s >= scenario.repeat_s:
            problems.append(document.problem(("step", index, "at"), "never happens: it lies behind 'repeat'"))
    for place, name, known, what in named:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            problems.append(document.problem(place, f"'{name}' is not {what} of this board; there are: {there}"))
    return scenario


class World:
    """The weather of one board, shared by the board and its simulated sensors.

    Time starts when the board (or, alone, the first sensor) asks for it, and goes on while a sensor is
    closed.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._epoch_ns: int | None = None
        self._told: dict[str, list[tuple[float, Mapping[str, float]]]] = {}
        self._faults: dict[str, tuple[str, float]] = {}

    def __eq__(self, other: object) -> bool:
        """Whether the same happens there, whenever it began."""
        return isinstance(other, World) and self.scenario == other.scenario

    def __hash__(self) -> int:
        return hash(self.scenario.seed)

    @classmethod
    def empty(cls) -> World:
        """A board where nothing happens by itself."""
        return cls(Scenario())

    def begin(self, clock: Clock) -> None:
        """Time 0 is now, and nothing was told yet."""
        self._epoch_ns = clock.boottime_ns()
        self._told.clear()
        self._faults.clear()

    def elapsed_s(self, clock: Clock) -> float:
        """Seconds since the board opened."""
        if self._epoch_ns is None:
            self._epoch_ns = clock.boottime_ns()
        return (clock.boottime_ns() - self._epoch_ns) / 1e9

    def tell(self, sensor: str, ambient: Mapping[str, float], *, clock: Clock) -> None:
        """Change the air around `sensor` from now on, on top of what the scenario says."""
        self._told.setdefault(sensor, []).append((self.elapsed_s(clock), dict(ambient)))

    def fail(self, sensor: str, error: str, *, for_s: float, clock: Clock) -> None:
        """Let reading `sensor` fail with this errno name for a while."""
        self._faults[sensor] = (error, self.elapsed_s(clock) + for_s)

    def gives(self, sensor: str) -> tuple[str, ...]:
        """The quantities of `sensor`: those its table or its steps mention.

        Temperature and humidity without any.
        """
        told = dict(self.scenario.sensor.get(sensor, Air()).told())
        for step in self.scenario.step:
            if step.sensor == sensor:
                told |= step.told()
        return tuple(name for name in QUANTITIES if name in told) or ("temperature", "humidity")

    def measure(self, sensor: str, *, clock: Clock) -> dict[str, float]:
        """What `sensor` reads now, by quantity. Raises OSError while a fault lasts."""
        now = self.elapsed_s(clock)
        air = self.scenario.sensor.get(sensor, Air())
        changes: list[tuple[float, Mapping[str, float]]] = []
        fault = self._faults.get(sensor)
        for at, step in self.scenario.steps(after_s=now - self._memory_s(air)):
            if at > now:
                break
            if step.sensor != sensor:
                continue
            changes.append((at, step.told()))
            if step.error is not None and now < at + (step.for_s or 0):
                fault = (step.error, at + (step.for_s or 0))
        if fault is not None and now < fault[1]:
            number = int(getattr(errno, fault[0]))
            raise OSError(number, os.strerror(number))
        for change in self._told.get(sensor, ()):
            changes.insert(bisect_right(changes, change[0], key=lambda item: item[0]), change)
        start = {name: QUANTITIES[name].start for name in self.gives(sensor)} | air.told()
        return {name: self._read((sensor, name), value, changes, now) for name, value in start.items()}

    def _memory_s(self, air: Air) -> float:
        """How far back a reading can feel:

        Each quantity told once, the lag forgotten to one part in 10^17.
        """
        faults = max((step.for_s or 0 for step in self.scenario.step), default=0)
        return math.inf if self.scenario.repeat_s is None else 2 * self.scenario.repeat_s + 40 * air.lag_s + faults

    def _read(
        self,
        place: tuple[str, str],
        start: float,
        changes: list[tuple[float, Mapping[str, float]]],
        now: float,
    ) -> float:
        """First-order lag behind the ambient, then noise of this instant, then resolution and range."""
        sensor, name = place
        air = self.scenario.sensor.get(sensor, Air())
        value = target = start
        since = 0.0
        for at, told in [*changes, (now, {})]:
            value = target + (value - target) * (math.exp(-(at - since) / air.lag_s) if air.lag_s else 0.0)
            since, target = at, told.get(name, target)
        quantity = QUANTITIES[name]
        instant = random.Random(f"{self.scenario.seed}/{sensor}/{name}/{round(now * 1000)}")  # noqa: S311 -- weather
        value += instant.gauss(0, quantity.noise) * air.noise
        steps = round(value / quantity.resolution)
        return min(max(round(steps * quantity.resolution, 6), quantity.low), quantity.high)
