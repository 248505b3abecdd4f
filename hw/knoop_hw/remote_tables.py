"""What `[output.N]` may say of an output that lives in a device: `sensor` names it, its driver has further keys."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from knoop_hw import units
from knoop_hw.decode import SECONDS, Between, Scalar, Seconds, seconds_of
from knoop_hw.filters import Options
from knoop_hw.guards import Level, Limits
from knoop_hw.model import Channel


def _dead_man(raw: Any) -> float | None:
    if isinstance(raw, bool):
        return 2.0 if raw else None
    seconds = seconds_of(raw)
    if not 1 <= seconds <= 3600:  # the agent beats every 0.5 s: one lost beat must not move an output
        raise ValueError(raw)
    return seconds


DeadMan = Annotated[
    float | None,
    Scalar('true, false or a time from "1s" to "1h"', _dead_man, "_s",
           {"anyOf": [{"type": "boolean"}, *SECONDS.schema["anyOf"]]}),
]  # fmt: skip


def _at_end(raw: Any) -> str | float:
    if isinstance(raw, str) and raw in {"off", "on", "keep"}:
        return raw
    if isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) < float("inf"):
        return float(raw)
    raise ValueError(raw)


AtEnds = Annotated[
    Literal["off", "on", "keep"] | float,
    Scalar('"off", "on" or "keep", for a number "keep" or a number', _at_end,
           schema={"anyOf": [{"enum": ["off", "on", "keep"]}, {"type": "number"}]}),
]  # fmt: skip
# What an option of other channels is called that makes sense for an output; everything else would hide a change.
_SAID = frozenset({"label", "aliases", "cls", "digits", "heartbeat_s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote(Options):
    """`[output.N]` with `sensor`: an output of the device that `[sensor.…]` of that name opens.

    `to` is the driver's `Write`: what its own keys say. A number has a `minimum` and a `maximum` in its `unit`.
    `initial` is written when the device is there (at the start, and when it is back and may have lost what it had),
    `safe` at the end and when the dead man lets go; without them a switch begins and ends off, and a number keeps what
    it has.
    """

    name: str
    sensor: str
    to: Any
    kind: Literal["switch", "lock", "number"] = "switch"
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    initial: AtEnds | None = None
    safe: AtEnds | None = None
    max_on_s: Annotated[Seconds, Between(0.1)] | None = None
    min_off_s: Seconds = 0.0
    dead_man_s: DeadMan = None
    confirm: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what its kind cannot have, and limits that contradict each other (ValueError)."""
        for option in fields(Options):
            if option.name not in _SAID and getattr(self, option.name) is not None:
                name = option.name.removesuffix("_s")
                raise ValueError(f"{name}: every change of an output is a reading; leave it out")
        if self.kind == "number":
            self._as_number()
        else:
            self._as_switch()
        if self.dead_man_s is not None and self.safe_level is None:
            other = "set safe to a number" if self.kind == "number" else 'set safe to "off" or "on"'
            raise ValueError(f"dead_man: needs a safe value; {other}")

    def _as_switch(self) -> None:
        for name in ("minimum", "maximum", "unit", "digits"):
            if getattr(self, name) not in {None, ""}:
                raise ValueError(f'{name}: a {self.kind} is on or off; leave it out, or set kind = "number"')
        for name in ("initial", "safe"):
            if (level := getattr(self, name)) not in {None, "off", "on", "keep"}:
                raise ValueError(f'{name}: {level:g} is no level of a {self.kind}; say "off", "on" or "keep"')
        if self.max_on_s is not None and "on" in {self.safe, self.initial}:
            raise ValueError('max_on: contradicts initial or safe = "on", which has no end; leave one out')
        if self.min_off_s and self.safe == "on":
            raise ValueError('min_off: contradicts safe = "on", which does not wait; leave one out')

    def _as_number(self) -> None:
        for name in ("minimum", "maximum"):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: a number needs a least and a greatest value; add it")
        low, high = self.span or (0.0, 0.0)
        if low >= high:
            raise ValueError("maximum: is not above minimum; correct one of them")
        units.check(self.unit)
        for name in ("max_on", "min_off"):
            if getattr(self, f"{name}_s"):
                raise ValueError(f"{name}: only a switch is on or off; leave it out")
        for name in ("initial", "safe"):
            level = getattr(self, name)
            if level in {"off", "on"}:
                raise ValueError(f'{name}: a number is not on or off; say "keep" or a number')
            if isinstance(level, float) and not low <= level <= high:
                raise ValueError(f"{name}: {level:g} is not from {low:g} to {high:g}; say one that is")

    @property
    def span(self) -> tuple[float, float] | None:
        """The least and the greatest value of a number; None: a switch."""
        if self.kind != "number" or self.minimum is None or self.maximum is None:
            return None
        return self.minimum, self.maximum

    @property
    def initial_level(self) -> Level | None:
        """What is written when the device is there, unless it shows that it need not be; None: nothing."""
        return self._level(self.initial)

    @property
    def safe_level(self) -> Level | None:
        """What is written at the end; None: nothing."""
        return self._level(self.safe)

    def _level(self, said: AtEnds | None) -> Level | None:
        said = self._or_usual(said)
        if isinstance(said, float):
            return said
        return None if said == "keep" else said == "on"

    def _or_usual(self, said: AtEnds | None) -> AtEnds:
        if said is not None:
            return said
        return "keep" if self.kind == "number" else "off"

    @property
    def limits(self) -> Limits:
        """For its guard."""
        return Limits(
            span=self.span, unit=self.unit, safe=self._or_usual(self.safe), max_on_s=self.max_on_s,
            min_off_s=self.min_off_s, dead_man_s=self.dead_man_s,
        )  # fmt: skip

    @property
    def line(self) -> Remote:
        """What is written and when: where this and its sensor are the same, a reload does not touch the output."""
        words: dict[str, Any] = {option.name: option.default for option in fields(Options)}
        initial, safe = self._or_usual(self.initial), self._or_usual(self.safe)
        return replace(self, **words, initial=initial, safe=safe, confirm=None)

    def channel(self) -> Channel:
        """As the agent sees it."""
        number = self.kind == "number"
        digits = self.digits if self.digits is not None or not self.unit else units.digits(self.unit)
        return Channel(
            name=self.name, kind=self.kind, type="number" if number else "boolean", unit=self.unit,
            cls=self.cls or "event", label=self.label, aliases=self.aliases, digits=digits if number else None,
            minimum=self.minimum, maximum=self.maximum, writable=True,
            confirm=self.kind == "lock" if self.confirm is None else self.confirm,
        )  # fmt: skip
