"""From samples to readings: calibrate, refuse, smooth, clamp, and hold back what says nothing new.

Pure: time comes in with each sample. The order is fixed: stale (of the raw sample), offset and multiply, valid,
median, clamp, then delta, min_interval and heartbeat. docs/filters.md has a picture of each.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from knoop_hw.decode import Between, Scalar, Seconds, time_of
from knoop_hw.model import Class, Quality, Type, Value


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
    if isinstance(raw, str) and (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?%", raw.strip())):
        return Delta(float(match[1]), relative=True)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and 0 <= raw < float("inf"):
        return Delta(float(raw))
    raise ValueError(raw)


def _odd(raw: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and raw % 2 and 1 <= raw <= 99:
        return raw
    raise ValueError(raw)


Range = tuple[float, float]  # the lowest and the highest; either may be infinite


def _range(raw: Any) -> Range:
    low, high = raw
    if not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in raw) or not low < high:
        raise ValueError(raw)
    return float(low), float(high)


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
_RANGE = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_LOW_HIGH = Scalar("a low and a higher number such as [0, 100]", _range, schema=_RANGE)
_BEAT = 0.1  # seconds; a channel that says the same more often than that says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a configuration may say about any channel. None: as the driver or kind has it.

    `aliases` are other names that people say. `delta`, `min_interval_s` and `heartbeat_s` hold readings back; 0
    switches one off that the driver would have. `median` is a window of samples; the calibrated value is
    (raw + `offset`) x `multiply`: outside `valid` it is no reading, outside `clamp` it is the nearer end.
    `stale_s`: a raw sample that has been the same for so long is a `warning`.
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
    heartbeat_s: Seconds | None = None
    stale_s: Annotated[Seconds, Between(1)] | None = None
    median: Annotated[int, Scalar("an odd number of samples from 1 to 99", _odd, schema=_ODD)] | None = None
    offset: float | None = None
    multiply: float | None = None
    valid: Annotated[Range, _LOW_HIGH] | None = None
    clamp: Annotated[Range, _LOW_HIGH] | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense together (ValueError)."""
        if self.heartbeat_s and self.heartbeat_s < _BEAT:
            raise ValueError(f"heartbeat: expected at least {time_of(_BEAT)}, or 0 for none")
        if self.heartbeat_s and self.heartbeat_s < (self.min_interval_s or 0):
            least = f"min_interval ({time_of(self.min_interval_s or 0)})"
            raise ValueError(f"heartbeat: is shorter than {least}, so that one of them is not kept; change one")
        if self.valid and self.clamp and not _meet(self.valid, self.clamp):
            both = f"valid = {shown(self.valid)} and clamp = {shown(self.clamp)}"
            raise ValueError(f"clamp: {both} have nothing in common, so that no value would be one that was measured")

    @classmethod
    def of(cls, table: Options) -> Options:
        """What a table says about any channel, without the keys that are its own."""
        return Options(**{name: getattr(table, name) for name in Options.__slots__})

    def over(self, general: Options) -> Options:
        """These options where they say something, `general` elsewhere."""
        said = {name: value for name in Options.__slots__ if (value := getattr(self, name)) not in {None, "", ()}}
        return replace(general, **said)

    def over_defaults(self, defaults: Options) -> Options:
        """These options, and those of `defaults` that go with them: what a driver would rather have is no mistake."""
        options = self
        if self.heartbeat_s and defaults.min_interval_s:  # without any every sample would be told, and not each beat
            defaults = replace(defaults, min_interval_s=min(defaults.min_interval_s, self.heartbeat_s))
        for name in Options.__slots__:
            with suppress(ValueError):
                options = options.over(Options(**{name: getattr(defaults, name)}))
        return options

    def fitting(self, kind: Type) -> Options:
        """These options without those that a value of this type cannot have."""
        without: dict[str, Any] = dict.fromkeys(foreign(kind))
        return replace(self, **without)


def _meet(one: Range, other: Range) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def shown(limits: Range) -> str:
    """A range as node.toml has it."""
    return f"[{limits[0]:.15g}, {limits[1]:.15g}]"


# What only a number can have.
NUMERIC = ("delta", "median", "offset", "multiply", "valid", "clamp")
# What a filter is made of.
FILTERING = (*NUMERIC, "min_interval_s", "heartbeat_s", "stale_s")


def foreign(kind: Type) -> tuple[str, ...]:
    """The options that a value of this type cannot have: a door may rest for a year."""
    return {"number": (), "text": NUMERIC, "boolean": (*NUMERIC, "stale_s")}[kind]


Fault = Literal["", "invalid", "stale"]
Passed = tuple[Value, Quality, int]  # value, quality, boottime_ns: what a reading is made of


class Filter:
    """The chain of one channel: `feed` it samples in order of time, and `elapse` when `due_ns` has come.

    A change of quality always passes. Booleans and text pass when they change (`repeats`: always, for what has no
    duration). Numbers pass when they changed by `delta` (without one: always), but not within `min_interval` of the
    last; the newest one held back passes when that has elapsed. After `heartbeat` without a reading the last value
    passes again. `lost` is news as a change is, no state: it waits for `min_interval`, stays with what then passes,
    and is not said again. What is no finite number, or not `valid`, is an `error`; what is `stale` a `warning`.
    """

    def __init__(
        self, options: Options, *, minimum: float | None = None, maximum: float | None = None, repeats: bool = False
    ) -> None:
        self._options, self._repeats = options, repeats
        self._limits = [limits for limits in (options.clamp, (minimum, maximum)) if limits is not None]
        self._window: deque[float] = deque(maxlen=options.median or 1)
        self._last: Passed | None = None
        self._passed_ns = 0  # when it did, which is later than its sample where that was held back
        self._held: Passed | None = None
        self._min_interval_ns = int((options.min_interval_s or 0) * 1e9)
        self._heartbeat_ns = int((options.heartbeat_s or 0) * 1e9)
        self._still = None if options.stale_s is None else Still(options.stale_s)
        self.fault: Fault = ""  # what is wrong with the last sample in the eyes of this filter

    def feed(self, value: Value, quality: Quality, boottime_ns: int) -> Passed | None:
        """The sample as it passes, or None when it is held back."""
        value, quality = self._judged(value, quality, boottime_ns)
        if quality == "ok" and self._held is not None and self._held[1] == "lost":
            quality = "lost"  # what was missing before the one held back is missing before this one
        sample = (value, quality, boottime_ns)
        last = self._last
        if last is None or _lasting(quality) != _lasting(last[1]):
            return self._pass(sample, boottime_ns)
        if self._heartbeat_ns and boottime_ns - self._passed_ns >= self._heartbeat_ns:
            return self._pass(sample, boottime_ns)
        if quality != "lost" and not self._changed(last[0], value):
            self._held = None
            return None
        if self._min_interval_ns and boottime_ns - self._passed_ns < self._min_interval_ns:
            self._held = sample
            return None
        return self._pass(sample, boottime_ns)

    def follow(self, former: Filter) -> None:
        """Go on where another filter of this channel ended: what it let pass last is not said again."""
        self._last, self._passed_ns, self._held = former._last, former._passed_ns, former._held
        if self._still is not None and former._still is not None:
            self._still.follow(former._still)

    @property
    def due_ns(self) -> int | None:
        """When `elapse` has something to say even if no sample comes."""
        if self._last is None:
            return None
        if self._held is not None:
            return self._passed_ns + self._min_interval_ns
        return self._passed_ns + self._heartbeat_ns if self._heartbeat_ns else None

    def elapse(self, boottime_ns: int) -> Passed | None:
        """What passes because time did: the value held back, or the last one as a heartbeat."""
        if self.due_ns is None or boottime_ns < self.due_ns or self._last is None:
            return None
        if self._held is not None:
            return self._pass(self._held, boottime_ns)
        return self._pass((self._last[0], _lasting(self._last[1]), boottime_ns), boottime_ns)

    def _judged(self, value: Value, quality: Quality, boottime_ns: int) -> tuple[Value, Quality]:
        """A sample as this channel has it: calibrated, and of the quality that it deserves."""
        self.fault = ""
        stale = self._still is not None and self._still.feed(value, boottime_ns)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = self._calibrated(value)
            if value is None:
                self.fault, quality = "invalid", "error"
        if value is None:
            self._window.clear()
        elif stale and quality in {"ok", "estimate"}:
            self.fault, quality = "stale", "warning"
        return value, quality

    def _calibrated(self, value: float) -> float | None:
        multiply = self._options.multiply
        try:
            value = (value + (self._options.offset or 0)) * (1 if multiply is None else multiply)
            if multiply is not None:
                value = float(f"{value:.15g}")  # 5 × 0.2794 is 1.397, not 1.3969999999999998
            low, high = self._options.valid or (-math.inf, math.inf)
            if not math.isfinite(value) or not low <= value <= high:
                return None
        except OverflowError:  # a whole number beyond all floats
            return None
        self._window.append(value)
        if len(self._window) > 1:
            value = statistics.median(self._window)
        for lowest, highest in self._limits:
            value = value if lowest is None else max(value, lowest)
            value = value if highest is None else min(value, highest)
        return value

    def _changed(self, last: Value, value: Value) -> bool:
        if isinstance(value, bool | str | None) or isinstance(last, bool | str | None):
            return self._repeats or value != last
        return self._options.delta is None or self._options.delta.reached(last, value)

    def _pass(self, sample: Passed, now_ns: int) -> Passed:
        self._last, self._passed_ns, self._held = sample, now_ns, None
        return sample


class Still:
    """Whether what is sampled has stopped moving. Time in which there were no samples does not count."""

    def __init__(self, longest_s: float) -> None:
        self._longest_ns = int(longest_s * 1e9)
        self._value: Value = None
        self._seen_ns: int | None = None  # None: the last sample had no value
        self._same_ns = 0

    def feed(self, value: Value, boottime_ns: int) -> bool:
        """Whether samples have been equal to this one for so long."""
        if value is None:
            self._seen_ns = None
            return False
        if value != self._value:
            self._value, self._same_ns = value, 0
        elif self._seen_ns is not None:
            self._same_ns += max(boottime_ns - self._seen_ns, 0)
        self._seen_ns = boottime_ns
        return self._same_ns >= self._longest_ns

    def follow(self, former: Still) -> None:
        """Go on where another ended."""
        self._value, self._seen_ns, self._same_ns = former._value, former._seen_ns, former._same_ns


def _lasting(quality: Quality) -> Quality:
    """The quality as a state of the channel."""
    return "ok" if quality == "lost" else quality
