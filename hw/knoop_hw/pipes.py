"""From samples to kept readings: each channel's filter, its sequence number, and who waits for new ones."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from knoop_hw.clock import Clock
from knoop_hw.decode import time_of
from knoop_hw.filters import FILTERING, Filter, Options, shown
from knoop_hw.kept import Kept
from knoop_hw.model import Channel, Quality, Reading, Value
from knoop_hw.tables import Config
from knoop_hw.timer import Timer
from knoop_hw.trouble import Trouble

log = logging.getLogger(__name__)


class Pipes:
    """One pipe a channel. `keep`: how many readings are held until they are stored."""

    def __init__(self, config: Config, *, clock: Clock, keep: int) -> None:
        self._clock = clock
        self.channels: tuple[Channel, ...] = ()
        self.kept = Kept(limit=keep)
        self.latest: dict[str, Reading] = {}
        self._by_name: dict[str, Channel] = {}
        self._seqs: dict[str, int] = {}  # of channels that are gone as well: no number is used twice in a run
        self._options: dict[str, Options] = {}
        self._filters: dict[str, Filter] = {}
        self._timers: dict[str, Timer] = {}
        self._troubles: dict[str, Trouble] = {}
        self._arrived = asyncio.Event()
        self.follow(config)

    def follow(self, config: Config) -> None:
        """Have the channels of `config` from now on. One that stays goes on counting, and says nothing anew."""
        former, self._by_name = self._by_name, {channel.name: channel for channel in config.channels()}
        self.channels = tuple(self._by_name.values())
        options = {name: Options.of(given) for name, given in _options_of(config).items()}
        for name in former.keys() - self._by_name.keys():
            self._timers.pop(name).close()
            self._forget(name)
        for name, channel in self._by_name.items():
            made_of = _made_of(channel, options[name])
            if name in former and former[name].type != channel.type:
                self._forget(name)  # what it was says nothing of what it is
                self.kept.drop({name})
            before = self._filters.get(name)
            if before is None or made_of != _made_of(former[name], self._options[name]):
                self._filters[name] = Filter(
                    options[name], minimum=channel.minimum, maximum=channel.maximum, repeats=channel.kind == "button"
                )
                self._troubles.pop(name, None)
                if before is not None:
                    self._filters[name].follow(before)
            if name not in self._timers:
                self._timers[name] = Timer(partial(self._elapse, name), clock=self._clock)
            self._timers[name].at(self._filters[name].due_ns)
        self._options = options

    def settle(self) -> None:
        """Forget what channels that are gone have not told: nobody knows them any more."""
        self.kept.drop(self._seqs.keys() - self._by_name.keys())

    def _forget(self, name: str) -> None:
        del self._filters[name]
        self._troubles.pop(name, None)
        self.latest.pop(name, None)

    def put(self, name: str, value: Value, quality: Quality, at_ns: int) -> None:
        """One sample of a channel; what passes its filter becomes a reading."""
        passed = self._filters[name].feed(value, quality, at_ns)
        self._number(name, passed)
        if self._filters[name].fault:
            self._object(name, value, at_ns)
        elif name in self._troubles and passed is not None and passed[0] is not None:
            self._troubles[name].over()

    def _object(self, name: str, value: Value, at_ns: int) -> None:
        """One line when a filter begins to object to what is sampled; one follows when it no longer does."""
        trouble = self._troubles.setdefault(name, Trouble(name, log=log))
        options = self._options[name]
        if self._filters[name].fault == "stale":
            reason = f"{value!r:.60} for {time_of(options.stale_s or 0)} without any change; a warning until it moves"
            trouble.is_(reason, at_ns, end="moves again")
        else:
            limits = f" ({shown(options.valid)} is)" if options.valid else ""
            trouble.is_(f"{value!r:.60} is not valid{limits}; an error until it is", at_ns, end="is valid again")

    def _elapse(self, name: str) -> None:
        self._number(name, self._filters[name].elapse(self._clock.boottime_ns()))

    def _number(self, name: str, passed: tuple[Value, Quality, int] | None) -> None:
        if passed is not None:
            value, quality, at_ns = passed
            seq = self._seqs[name] = self._seqs.get(name, 0) + 1
            reading = Reading(channel=name, seq=seq, value=value, quality=quality, boottime_ns=at_ns)
            self.latest[name] = reading
            self.kept.add(reading, self._by_name[name].cls)
            self._arrived.set()
        self._timers[name].at(self._filters[name].due_ns)

    async def wait_beyond(self, number: int) -> None:
        """Return when there is a reading with a greater number."""
        while self.kept.newest <= number:
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """Report no more; closing twice is fine."""
        for timer in self._timers.values():
            timer.close()


def _options_of(config: Config) -> dict[str, Options]:
    options: dict[str, Options] = {ch.name: given for line in config.inputs for ch, given in line.channels()}
    options |= {line.name: line for line in config.outputs} | {remote.name: remote for remote in config.remotes}
    return options | {item.channel.name: item.options for sensor in config.sensors for item in sensor.fields}


def _made_of(channel: Channel, options: Options) -> tuple[object, ...]:
    """What a filter is made of: a new label is no reason for a new one."""
    return (channel.minimum, channel.maximum, *(getattr(options, name) for name in FILTERING))
