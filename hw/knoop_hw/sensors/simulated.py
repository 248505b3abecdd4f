"""A sensor in the weather of a simulated board: lag, resolution, noise and faults; see docs/simulation.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.scenario import QUANTITIES, World
from knoop_hw.source import Field, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`every_s`: how often it is read. `name` and `world` come from the board."""

    name: str
    world: World
    every_s: Annotated[Seconds, Between(0.05, 86400)] = 10.0


def fields(config: Config) -> tuple[Field, ...]:
    """The quantities its scenario mentions; temperature and humidity without any."""
    return tuple(Field(name=name, unit=QUANTITIES[name].unit) for name in config.world.gives(config.name))


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Simulated]:  # noqa: A001 -- the contract's name
    """Begin to measure; always succeeds."""
    yield Simulated(config, clock)


class Simulated:
    """The open sensor. No worker: there is no bus to wait for, and fake time stays exact."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """One measurement every `every_s`; raises OSError while the scenario lets it fail."""
        while True:
            measured = self._config.world.measure(self._config.name, clock=self._clock)
            now_ns = self._clock.boottime_ns()
            yield tuple(Sample(field=name, value=value, boottime_ns=now_ns) for name, value in measured.items())
            await self._clock.sleep(self._config.every_s)
