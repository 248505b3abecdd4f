"""From samples to readings: calibrate, smooth, clamp, and hold back what says nothing new.

Pure: time comes in with each sample. The order is fixed: offset and multiply, median, clamp, then delta,
min_interval and heartbeat.
"""

from __future__ import annotations

import re
import statistics
from collections import deque
from dataclasses import dataclass, replace
from typing import Annotated, Any

from knoop_hw.decode import Between, Scalar, Seconds
from knoop_hw.model import Class, Quality, Value


@dataclass(frozen=True, slots=True)
class Delta:
    """The least change worth reporting:

    `amount` in the channel's unit or, when `relative`, in % of the last value.
    """

    amount: float
    relative: bool = False

    def reached(self, last: float, value: float) -> bool:
        """Whether the change from `last` to `value` is large enough.

        The tolerance is that of binary fractions.
        """
        least = abs(last) * self.amount / 100 if self.relative else self.amount
        return value != last and abs(value - last) >= least * (1 - 1e-9)


def _delta(raw: Any) -> Delta:
    if isinstance(raw, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?) ?%", raw.strip())):
        return Delta(float(match[1]), relative=True)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and 0 <= raw < float("inf"):
        return Delta(float(raw))
    raise ValueError(raw)


def _odd(raw: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and raw % 2 and 1 <= raw <= 99:
        return raw
    raise ValueError(raw)


MOST_ALIASES = 10  # more names than that for one thing are more than a house remembers
LONGEST_ALIAS = 40  # characters; what people type to a lamp is shorter


def _aliases(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MOST_ALIASES:
        raise ValueError(raw)
    for name in raw:
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_ALIAS:
            raise ValueError(raw)
    return tuple(name.strip() for name in raw)


_DELTA = {
    "anyOf": [{"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)? ?%\s*$"}, {"type": "number", "minimum": 0}]
}
_ODD = {"type": "integer", "minimum": 1, "maximum": 99, "not": {"multipleOf": 2}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a configuration may say about any channel. None: as the driver or kind has it.

    `aliases` are other names that people say. `delta`, `min_interval_s` and `heartbeat_s` hold readings back;
    `median` is a window of samples; the calibrated value is (raw + `offset`) x `multiply`.
    """

    label: str = ""
    aliases: Annotated[
        tuple[str, ...],
        Scalar(f"a list of 1 to {MOST_ALIASES} names in quotes, each of at most {LONGEST_ALIAS} characters", _aliases,
               schema={"type": "array", "items": {"type": "string", "minLength": 1}}),
    ] = ()
    cls: Class | None = None
    digits: Annotated[int, Between(0, 9)] | None = None
    delta: (
        Annotated[Delta, Scalar('a number, or a share of the last value such as "2 %"', _delta, schema=_DELTA)] | None
    ) = None
    min_interval_s: Seconds | None = None
    heartbeat_s: Annotated[Seconds, Between(0.1)] | None = None
    median: Annotated[int, Scalar("an odd number of samples from 1 to 99", _odd, schema=_ODD)] | None = None
    offset: float | None = None
    multiply: float | None = None

    @classmethod
    def of(cls, table: Options) -> Options:
        """What a table says about any channel, without the keys that are its own."""
        return Options(**{name: getattr(table, name) for name in Options.__slots__})

    def over(self, general: Options) -> Options:
        """These options where they say something, `general` elsewhere."""
        said = {name: value for name in Options.__slots__ if (value := getattr(self, name)) not in {None, "", ()}}
        return replace(general, **said)


# What only a number can have.
NUMERIC = ("delta", "median", "offset", "multiply")

Passed = tuple[Value, Quality, int]  # value, quality, boottime_ns: what a reading is made of


class Filter:
    """The chain of one channel: `feed` it samples in order of time, and `elapse` when `due_ns` has come.

    A change of quality always passes. Booleans and text pass when they change (`repeats`: always, for what has no
    duration). Numbers pass when they changed by `delta` (without one: always), but not within `min_interval` of the
    last; the newest one held back passes when that has elapsed. After `heartbeat` without a reading the last value
    passes again. `lost` is news as a change is, no state: it waits for `min_interval`, stays with what then passes,
    and is not said again.
    """

    def __init__(
        self, options: Options, *, minimum: float | None = None, maximum: float | None = None, repeats: bool = False
    ) -> None:
        self._options, self._repeats = options, repeats
        self._minimum, self._maximum = minimum, maximum
        self._window: deque[float] = deque(maxlen=options.median or 1)
        self._last: Passed | None = None
        self._held: Passed | None = None
        self._min_interval_ns = int((options.min_interval_s or 0) * 1e9)
        self._heartbeat_ns = int((options.heartbeat_s or 0) * 1e9)

    def feed(self, value: Value, quality: Quality, boottime_ns: int) -> Passed | None:
        """The sample as it passes, or None when it is held back."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = self._calibrated(value)
        elif value is None:
            self._window.clear()
        if quality == "ok" and self._held is not None and self._held[1] == "lost":
            quality = "lost"  # what was missing before the one held back is missing before this one
        sample = (value, quality, boottime_ns)
        last = self._last
        if last is None or _lasting(quality) != _lasting(last[1]):
            return self._pass(sample)
        if self._heartbeat_ns and boottime_ns - last[2] >= self._heartbeat_ns:
            return self._pass(sample)
        if quality != "lost" and not self._changed(last[0], value):
            self._held = None
            return None
        if self._min_interval_ns and boottime_ns - last[2] < self._min_interval_ns:
            self._held = sample
            return None
        return self._pass(sample)

    def follow(self, former: Filter) -> None:
        """Go on where another filter of this channel ended: what it let pass last is not said again."""
        self._last, self._held = former._last, former._held

    @property
    def due_ns(self) -> int | None:
        """When `elapse` has something to say even if no sample comes."""
        if self._last is None:
            return None
        if self._held is not None:
            return self._last[2] + self._min_interval_ns
        return self._last[2] + self._heartbeat_ns if self._heartbeat_ns else None

    def elapse(self, boottime_ns: int) -> Passed | None:
        """What passes because time did: the value held back, or the last one as a heartbeat."""
        if self.due_ns is None or boottime_ns < self.due_ns or self._last is None:
            return None
        if self._held is not None:
            return self._pass(self._held)
        return self._pass((self._last[0], _lasting(self._last[1]), boottime_ns))

    def _calibrated(self, value: float) -> float:
        multiply = self._options.multiply
        value = (value + (self._options.offset or 0)) * (1 if multiply is None else multiply)
        self._window.append(value)
        if len(self._window) > 1:
            value = statistics.median(self._window)
        if self._minimum is not None:
            value = max(value, self._minimum)
        return value if self._maximum is None else min(value, self._maximum)

    def _changed(self, last: Value, value: Value) -> bool:
        if isinstance(value, bool | str | None) or isinstance(last, bool | str | None):
            return self._repeats or value != last
        return self._options.delta is None or self._options.delta.reached(last, value)

    def _pass(self, sample: Passed) -> Passed:
        self._last, self._held = sample, None
        return sample


def _lasting(quality: Quality) -> Quality:
    """The quality as a state of the channel."""
    return "ok" if quality == "lost" else quality
