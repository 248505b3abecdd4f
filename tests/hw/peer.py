"""A driver for tests: a device that obeys, refuses, rounds, is silent, hangs, goes and comes back, as it is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from knoop_hw.errors import DeviceError
from knoop_hw.source import Field, Sample

DEVICES: dict[str, Peer] = {}


class Peer:
    """What a device is like, and what was written to it: (seconds, key, value)."""

    def __init__(self, clock):
        self.clock = clock
        self.there, self.shows, self.tells, self.refuses, self.takes_s = True, True, False, False, 0.0
        self.lost_answers = 0
        self.level: dict[str, Any] = {}
        self.rounds = lambda value: value
        self.writes: list[tuple[float, str, Any]] = []
        self.began = 0
        self.gone = asyncio.Event()

    def told(self, since=0):
        """The values alone, from this one on."""
        return [value for _, _, value in self.writes[since:]]

    def away(self):
        self.there = False
        self.gone.set()

    def back(self):
        self.there = True
        self.gone = asyncio.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    name: str
    device: str = ""
    hangs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    key: str
    kind: Literal["switch", "number"] = "switch"
    more: str = ""

    def __post_init__(self) -> None:
        if self.more == "wrong":
            raise ValueError("more: is wrong; write something else")


@dataclass(frozen=True, slots=True)
class Open:
    peer: Peer
    config: Config
    fields: tuple[Field, ...] = field(default=(Field(name=""),))

    async def samples(self):
        at_ns = self.peer.clock.boottime_ns()
        if not self.config.hangs:
            yield (Sample(field="", value=1.0, boottime_ns=at_ns),)
        await self.peer.gone.wait()
        raise DeviceError(f"sensor.{self.config.name}: was unplugged; plug it in again")

    async def write(self, to, value):
        peer = self.peer
        peer.began += 1
        await peer.clock.sleep(peer.takes_s)
        if peer.gone.is_set() or peer.refuses:
            raise DeviceError(f"sensor.{self.config.name}: takes nothing; look at it")
        shown = peer.level[to.key] = peer.rounds(value)
        peer.writes.append((peer.clock.boottime_ns() / 1e9, to.key, value))
        return shown if peer.shows else None


@dataclass(frozen=True, slots=True)
class Telling(Open):
    """One that can be asked how it is."""

    async def shown(self, to):
        await self.peer.clock.sleep(self.peer.takes_s)
        if self.peer.refuses or self.peer.lost_answers or self.peer.gone.is_set():
            self.peer.lost_answers = max(self.peer.lost_answers - 1, 0)
            raise DeviceError(f"sensor.{self.config.name}: says nothing; look at it")
        return self.peer.level.get(to.key)


def fields(_config):
    return (Field(name=""),)


@asynccontextmanager
async def open(config, *, clock):  # noqa: A001 -- the contract's name
    peer = DEVICES[config.name]
    if not peer.there:
        raise DeviceError(f"sensor.{config.name}: is not there; plug it in")
    yield (Telling if peer.tells else Open)(peer, config)
