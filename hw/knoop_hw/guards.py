"""When an output may move, and when it must: max_on, min_off, pulses, interlock, leases and the dead man.

Pure: every call is given the time (boottime nanoseconds). The board asks before it moves a line, tells what
the line then did, and moves it itself when `due` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from knoop_hw.errors import SetRefused

Cause = Literal["max_on", "pulse", "lease", "dead_man", "fault"]
Level = bool | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for one output; times in seconds, None: no limit.

    An output with a `span` has levels from the one to the other, in `unit`; without one it is a switch. An output with
    `pulse_s` is on for so long and never longer: asking again while it is on prolongs nothing, and nothing returns to
    on.
    """

    span: tuple[float, float] | None = None
    unit: str = ""
    safe: Literal["off", "on", "keep"] | float = "off"
    max_on_s: float | None = None
    pulse_s: float | None = None
    min_off_s: float = 0.0
    interlock_wait_s: float = 0.0
    dead_man_s: float | None = None

    def level(self, on: bool) -> Level:
        """On or off as this output's value: the ends of its span."""
        return on if self.span is None else self.span[on]

    @property
    def safe_level(self) -> Level | None:
        """The level that harms nobody; None: the one it has."""
        if isinstance(self.safe, str):
            return None if self.safe == "keep" else self.level(self.safe == "on")
        return self.safe


@dataclass(frozen=True, slots=True)
class Due:
    """A change that must happen at `at_ns`, and why."""

    at_ns: int
    value: Level
    cause: Cause


class Guard:
    """The limits of one output and what happened to it so far.

    An output that starts off counts as just switched off, by `min_off_s` and by those interlocked with it: a board
    that restarts again and again wears out no compressor, and what a former process had on may still turn. One of
    which nobody knows how it is (`value` None) counts as on where it may be too long, and as off where it must rest.
    """

    def __init__(self, name: str, limits: Limits, *, value: Level | None, now_ns: int) -> None:
        self.name, self.limits = name, limits
        self._unknown_ns = now_ns if value is None else None  # since when nobody knows how it is
        self._value = limits.level(on=True) if value is None else value
        self._since_ns = now_ns  # of being on or off, whatever the level
        self._beat_ns = now_ns
        self._lease: tuple[int, Level] | None = None  # until when, and what then
        self._unsure_ns: int | None = None  # since when the line may have another level than the one here

    @property
    def on(self) -> bool:
        """Whether the output does something."""
        return bool(self._value)

    @property
    def known(self) -> bool:
        """Whether anybody knows how it is."""
        return self._unknown_ns is None

    @property
    def sure(self) -> bool:
        """Whether it is known, and showed it when it was told."""
        return self.known and self._unsure_ns is None

    @property
    def value(self) -> Level:
        """The level it has, as far as is known."""
        return self._value

    def lost(self, now_ns: int) -> None:
        """Its device was away and keeps its level: nobody knows any more which one that is.

        What was on may not be on for longer because of that, and a lease still ends.
        """
        if not self.on:
            self._value, self._since_ns = self.limits.level(on=True), now_ns
        self._unknown_ns = now_ns

    @property
    def lasting(self) -> Level:
        """The level it has once its lease, if there is one, is over."""
        if self.limits.pulse_s is not None:
            return self.limits.level(False)
        return self._value if self._lease is None else self._lease[1]

    @property
    def off_since_ns(self) -> int | None:
        """Since when it has been off; None while it is on, or may be."""
        return None if self.on or self._unsure_ns is not None else self._since_ns

    def found(self, value: Level, *, now_ns: int) -> None:
        """It was looked at, and nobody knew: a lease still ends, and what is off rests from now on."""
        if not value:
            self._since_ns = now_ns
        self._value, self._unknown_ns = value, None

    def request(self, value: object, *, now_ns: int, others: Iterable[Guard] = (), for_s: float | None = None) -> Level:
        """The level to apply, when it may be applied now. `others` are the outputs it is interlocked with.

        Raises SetRefused (`range`, `min-off`, `interlock`) with a sentence that says what to do instead.
        """
        level = self._valid(value)
        if for_s is not None and for_s <= 0:
            raise SetRefused("range", f"{self.name}: a time must be longer than {_time(for_s)}")
        if for_s is not None and not self.known:
            text = "nobody knows to what it would return; set it without a time first"
            raise SetRefused("range", f"{self.name}: {text}")
        if not level:
            return level
        limits = self.limits
        if limits.max_on_s is not None and for_s is not None and for_s > limits.max_on_s:
            text = f"{self.name}: may be on for {_time(limits.max_on_s)} at most (max_on); ask for no more"
            raise SetRefused("range", text)
        if limits.pulse_s is not None and for_s is not None and for_s > limits.pulse_s:
            text = f"{self.name}: gives pulses of {_time(limits.pulse_s)} (pulse); ask for no more"
            raise SetRefused("range", text)
        if not self.on or not self.known:
            since_ns = self._since_ns if self._unknown_ns is None else self._unknown_ns
            left_s = limits.min_off_s - (now_ns - since_ns) / 1e9
            if left_s > 0:
                rest = f"rests for another {_time(left_s)} (min_off {_time(limits.min_off_s)})"
                raise SetRefused("min-off", f"{self.name}: {rest}; try again then")
        for other in others:
            self._apart(other, now_ns)
        return level

    def _valid(self, value: object) -> Level:
        span = self.limits.span
        if isinstance(value, bool):
            if span is None or not span[0]:  # a dimmer: off is nothing, on is all
                return self.limits.level(value)
        elif span is None:
            raise SetRefused("range", f"{self.name}: is on or off; {value} is neither")
        elif isinstance(value, int | float) and math.isfinite(value) and span[0] <= value <= span[1]:
            return float(value)
        takes = f"{span[0]:g} to {span[1]:g} {self.limits.unit}".rstrip()
        raise SetRefused("range", f"{self.name}: takes {takes}, not {value}")

    def _apart(self, other: Guard, now_ns: int) -> None:
        if other.off_since_ns is None:
            text = f"{self.name}: may not be on together with {other.name}; switch {other.name} off first"
            raise SetRefused("interlock", text)
        left_s = self.limits.interlock_wait_s - (now_ns - other.off_since_ns) / 1e9
        if left_s > 0:
            text = f"{self.name}: waits another {_time(left_s)} after {other.name}; try again then"
            raise SetRefused("interlock", text)

    def applied(self, value: Level, *, now_ns: int, for_s: float | None = None, forced: bool = False) -> None:
        """The line has this level now: by request, for `for_s` if that is given, or `forced` by `due`."""
        former = self.lasting
        if bool(value) != self.on or (self._unsure_ns is not None and not value):  # only now it is known to be off
            self._since_ns = now_ns
        self._value, self._unknown_ns = value, None
        self._lease = self._unsure_ns = None
        if for_s is not None and not forced and former != value:
            self._lease = (now_ns + int(for_s * 1e9), former)

    def failed(self, value: Level, *, now_ns: int, for_s: float | None = None) -> None:
        """The line was told this level and did not show it.

        To its partners it is on until it shows off, and it is due to go to its safe level at once.
        """
        if value:
            self.applied(value, now_ns=now_ns, for_s=for_s)
        self._unsure_ns = now_ns

    def returning(self, value: Level, *, now_ns: int, others: Iterable[Guard] = ()) -> Level:
        """The level to apply when a lease is over, as `request` allows it.

        Raises SetRefused also when the beat is overdue and the level is not the safe one (`dead-man`, never sent).
        """
        if value != self.limits.safe_level and self.deserted(now_ns):
            silent = _time((now_ns - self._beat_ns) / 1e9)
            raise SetRefused("dead-man", f"{self.name}: the agent has been silent for {silent} (dead_man)")
        return self.request(value, now_ns=now_ns, others=others)

    def follow(self, value: Level, *, at_ns: int) -> None:
        """Be due to have this level then, as after a lease."""
        self._lease = (at_ns, value)

    def deserted(self, now_ns: int) -> bool:
        """Whether the agent has been silent for too long."""
        dead_man_s = self.limits.dead_man_s
        return dead_man_s is not None and now_ns - self._beat_ns >= int(dead_man_s * 1e9)

    def beat(self, now_ns: int) -> None:
        """The agent lives."""
        self._beat_ns = now_ns

    def let_go(self) -> None:
        """Forget the lease: what should have followed may not."""
        self._lease = None

    def due(self) -> Due | None:
        """The next change that must happen if nobody says anything; None when nothing is due.

        A lease ends with what `returning` allows.
        """
        limits, safe = self.limits, self.limits.safe_level
        coming: list[Due] = []
        if self._lease is not None:
            until_ns, value = self._lease
            if value and not self.on:  # back on only when it has rested
                until_ns = max(until_ns, self._since_ns + int(limits.min_off_s * 1e9))
            coming.append(Due(until_ns, value, "lease"))
        if limits.max_on_s is not None and self.on:
            coming.append(Due(self._since_ns + int(limits.max_on_s * 1e9), limits.level(False), "max_on"))
        if limits.pulse_s is not None and self.on:
            coming.append(Due(self._since_ns + int(limits.pulse_s * 1e9), limits.level(False), "pulse"))
        if limits.dead_man_s is not None and safe is not None and (self._value != safe or not self.known):
            coming.append(Due(self._beat_ns + int(limits.dead_man_s * 1e9), safe, "dead_man"))
        if self._unsure_ns is not None and safe is not None:
            coming.append(Due(self._unsure_ns, safe, "fault"))
        return min(coming, key=lambda due: due.at_ns, default=None)


def _time(seconds: float) -> str:
    """A duration as people write it in node.toml, rounded up so that waiting that long is enough."""
    if seconds >= 120:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds)} s" if seconds >= 1 else f"{math.ceil(seconds * 1000)} ms"
