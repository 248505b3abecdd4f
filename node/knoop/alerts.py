"""Alert conditions and their life: idle, pending, raised, acknowledged, and idle again. Pure.

Fed with records and with the passing of time; what changes comes back as transitions, which the agent turns
into readings of the channel `alert.NAME`. Not knowing is not an answer: a channel that is missing or in error
neither satisfies a condition nor clears an alert, and time that passes unseen raises nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Literal

from knoop.record import Record
from knoop_hw.model import NAME, Channel, Value

Severity = Literal["info", "warning", "critical"]
Phase = Literal["idle", "pending", "raised", "acknowledged"]
Change = Literal["raised", "acknowledged", "cleared"]

PREFIX = "alert."
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt,
}  # fmt: skip
_CONDITION = re.compile(rf"\s*(?P<channel>{NAME})\s*(?P<op><=|>=|==|!=|<|>)\s*(?P<literal>\S.*?)\s*")
_WORDS = {"true": True, "on": True, "false": False, "off": False}
_EXPECTED = "expected CHANNEL OP LITERAL, like 'air.temperature < 0' or 'door == on'"


@dataclass(frozen=True, slots=True)
class Condition:
    """`CHANNEL OP LITERAL`: something a value of one channel either satisfies or not."""

    channel: str
    op: str
    literal: bool | float | str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `air.temperature < 0`, `door == on`, `mode != "away"`; ValueError says what is expected."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no condition; {_EXPECTED}")
        op, literal = match["op"], _literal(match["literal"])
        if not isinstance(literal, float) and op not in {"==", "!="}:
            raise ValueError(f"{text!r}: {op} compares numbers; {match['literal']!r} goes with == or != only")
        return cls(match["channel"], op, literal)

    def holds(self, value: Value) -> bool | None:
        """Whether `value` satisfies it; None when that cannot be said: no value, or one of another type."""
        if value is None or _type(value) is not _type(self.literal):
            return None
        return _OPERATORS[self.op](value, self.literal)

    def check(self, channels: Mapping[str, Channel]) -> None:
        """Raise ValueError when the channel does not exist or has values of another type."""
        channel = channels.get(self.channel)
        if channel is None:
            raise ValueError(f"{self}: there is no channel {self.channel}")
        types: dict[type, str] = {float: "number", bool: "boolean", str: "text"}
        if types[_type(self.literal)] != channel.type:
            raise ValueError(f"{self}: {self.channel} is a {channel.type}")

    def __str__(self) -> str:
        literal = self.literal
        if isinstance(literal, bool):
            literal = "on" if literal else "off"
        return f"{self.channel} {self.op} {literal:g}" if isinstance(literal, float) else \
            f"{self.channel} {self.op} {literal}"  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One `[alert.NAME]`: raised when `when` held for `for_s`, over when it does not and `clear` does."""

    name: str
    when: Condition
    for_s: float = 0.0
    clear: Condition | None = None
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        """Refuse a rule that cannot work (ValueError)."""
        if self.for_s < 0:
            raise ValueError("'for' must not be negative")
        if self.clear is not None and self.clear.channel != self.when.channel:
            raise ValueError(f"'clear' must be about {self.when.channel}, as 'when' is")

    def over(self, value: Value) -> bool:
        """Whether this value ends the alert: `when` does not hold and `clear`, if there is one, does."""
        return self.when.holds(value) is False and (self.clear is None or self.clear.holds(value) is True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """Where one alert stands, to keep over restarts.

    `boot` and `since_ns` (boottime) say when the condition was first met, `changed_ns` when the last
    transition was, `at_ns` the same in UTC nanoseconds, None while unknown. `value` raised it; `by`
    acknowledged it. `seen` is False while the channel has no value.
    """

    name: str
    phase: Phase = "idle"
    boot: str = ""
    since_ns: int = 0
    changed_ns: int = 0
    at_ns: int | None = None
    value: Value = None
    by: str = ""
    seen: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """Something happened to an alert: what the agent says and stores, as a reading of `alert.NAME`."""

    alert: str
    change: Change
    boottime_ns: int
    at_ns: int | None

    @property
    def channel(self) -> str:
        """The channel that carries it."""
        return PREFIX + self.alert


class Alerts:
    """All alerts of a node. Raises ValueError when two rules have one name."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules: dict[str, Rule] = {}
        for rule in rules:
            if rule.name in self._rules:
                raise ValueError(f"alert {rule.name} is defined twice")
            self._rules[rule.name] = rule
        self._states = {name: AlertState(name=name) for name in self._rules}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Every rule, by name."""
        return self._rules

    def state(self, name: str) -> AlertState:
        """Where an alert stands; raises KeyError."""
        return self._states[name]

    def raised(self) -> tuple[AlertState, ...]:
        """The alerts that are on, acknowledged or not."""
        return tuple(s for s in self._states.values() if s.phase in {"raised", "acknowledged"})

    def watched(self, channel: str) -> str:
        """The channel whose rights count for `channel`: for `alert.NAME` the one it watches."""
        rule = self._rules.get(channel.removeprefix(PREFIX)) if channel.startswith(PREFIX) else None
        return channel if rule is None else rule.when.channel

    def feed(self, record: Record) -> tuple[Transition, ...]:
        """Judge one reading, in the order of readings."""
        watching = [rule for rule in self._rules.values() if rule.when.channel == record.channel]
        return tuple(change for rule in watching for change in self._judge(rule, record))

    def due(self, now_ns: int, *, at_ns: int | None) -> tuple[Transition, ...]:
        """Raise what has been pending long enough at boottime `now_ns` (UTC `at_ns`)."""
        return tuple(
            self._raise(state, now_ns, at_ns)
            for state, rule in self._waiting()
            if now_ns >= state.since_ns + _ns(rule.for_s)
        )

    def next_due(self) -> int | None:
        """The boottime at which `due` should be asked next; None when nothing is pending."""
        return min((state.since_ns + _ns(rule.for_s) for state, rule in self._waiting()), default=None)

    def acknowledge(self, name: str, *, by: str, now_ns: int, at_ns: int | None) -> Transition:
        """A person has seen it; raises KeyError for an unknown alert, ValueError when it is not raised."""
        state = self._states[name]
        if state.phase != "raised":
            raise ValueError(f"alert {name} is {state.phase}, not raised")
        return self._change(replace(state, phase="acknowledged", by=by), "acknowledged", now_ns, at_ns)

    def snapshot(self) -> tuple[AlertState, ...]:
        """Everything `restore` needs."""
        return tuple(self._states.values())

    def restore(self, states: Iterable[AlertState]) -> None:
        """Go on from a snapshot. What was pending starts anew: nobody watched in between."""
        for state in states:
            if state.name in self._rules:
                pending = state.phase == "pending"
                self._states[state.name] = replace(state, phase="idle") if pending else state

    def _waiting(self) -> list[tuple[AlertState, Rule]]:
        return [(s, self._rules[s.name]) for s in self._states.values() if s.phase == "pending" and s.seen]

    def _judge(self, rule: Rule, record: Record) -> Iterable[Transition]:
        state = self._states[rule.name]
        met = rule.when.holds(record.value)
        now_ns = record.boottime_ns
        if state.phase in {"raised", "acknowledged"}:
            if rule.over(record.value):
                yield self._change(replace(state, phase="idle"), "cleared", now_ns, record.at_ns)
        elif met is None:
            self._states[rule.name] = replace(state, seen=False)
        elif not met:
            self._states[rule.name] = replace(state, phase="idle", seen=True)
        else:
            fresh = state.phase == "idle" or state.boot != record.boot
            since_ns = now_ns if fresh else state.since_ns
            state = AlertState(name=rule.name, phase="pending", boot=record.boot, since_ns=since_ns, value=record.value)
            self._states[rule.name] = state
            if now_ns >= since_ns + _ns(rule.for_s):
                yield self._raise(state, now_ns, record.at_ns)

    def _raise(self, state: AlertState, now_ns: int, at_ns: int | None) -> Transition:
        return self._change(replace(state, phase="raised"), "raised", now_ns, at_ns)

    def _change(self, state: AlertState, change: Change, now_ns: int, at_ns: int | None) -> Transition:
        self._states[state.name] = replace(state, changed_ns=now_ns, at_ns=at_ns)
        return Transition(alert=state.name, change=change, boottime_ns=now_ns, at_ns=at_ns)


def _literal(text: str) -> bool | float | str:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    try:
        number = float(text)
    except ValueError:
        if re.search(r"[<>=!&|]", text):
            raise ValueError(f"{text!r} is no literal; {_EXPECTED}") from None
        return text
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that a channel can have; {_EXPECTED}")
    return number


def _type(value: bool | float | str) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
