"""What travels between the halves: channels and their readings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Value = bool | float | str | None
Kind = Literal["contact", "motion", "button", "counter", "switch", "lock", "pwm", "number", "sensor"]
Type = Literal["number", "boolean", "text"]
Class = Literal["alarm", "event", "telemetry"]
Quality = Literal["ok", "missing", "error", "estimate", "warning", "lost"]
Gesture = Literal["click", "double", "long"]
Report = Callable[[str, Value, Quality, int], None]  # channel, value, quality, boottime_ns

GESTURES: tuple[Gesture, ...] = ("click", "double", "long")  # the values of a button
NAME = r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One thing that has a value: `door`, `lamp`, `air.temperature`.

    `name` matches NAME and is unique on a board. `unit` is a display symbol of `units`, empty for booleans and
    text. `label` and `aliases` are what people call it besides its name. `digits` are decimals shown to people,
    None for as many as the value has. `minimum` and `maximum` bound a writable number. `confirm` asks
    people for a one-time code before the channel is set. `pulse_s`: on is on for so long, then off.
    """

    name: str
    kind: Kind
    type: Type
    unit: str = ""
    cls: Class = "telemetry"
    label: str = ""
    aliases: tuple[str, ...] = ()
    digits: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    writable: bool = False
    confirm: bool = False
    pulse_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value of one channel at one instant.

    `seq` counts per channel and run from 1, after the filters, so a gap means loss. `value` is None exactly when
    `quality` is `missing` or `error`. `boottime_ns` is CLOCK_BOOTTIME: it knows no time zone and never jumps.
    """

    channel: str
    seq: int
    value: Value
    quality: Quality = "ok"
    boottime_ns: int

    def __post_init__(self) -> None:
        """Refuse a reading that contradicts itself (ValueError)."""
        if (self.value is None) != (self.quality in {"missing", "error"}):
            raise ValueError(f"{self.channel}: value {self.value!r} does not fit quality {self.quality!r}")
        if self.seq < 1:
            raise ValueError(f"{self.channel}: seq {self.seq} is below 1")
