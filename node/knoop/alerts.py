"""Alert conditions and their life: idle, pending, raised, acknowledged, and idle again. Pure.

Fed with records and with the passing of time; what changes comes back as transitions, which the agent turns
into readings of the channel `alert.NAME`. Not knowing is not an answer: a channel that is missing or in error
neither satisfies a condition nor clears an alert, and time that passes unseen raises nothing. That a whole device
has no value is an alert of its own, an `Absence`. Whom alerts are told is decided in `reminders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from knoop.condition import Condition
from knoop.record import Record
from knoop_hw.model import Value

Severity = Literal["info", "warning", "critical"]
Phase = Literal["idle", "pending", "raised", "acknowledged"]
Change = Literal["raised", "reminded", "acknowledged", "cleared"]

PREFIX = "alert."
MISSING = "_missing"  # what the name of a device's own alert ends with
ON: frozenset[Phase] = frozenset({"raised", "acknowledged"})


@dataclass(frozen=True, slots=True)
class Absence:
    """No channel of a device has a value. `label` is how people call the device, '' for its name."""

    device: str
    channels: tuple[str, ...]
    label: str = ""

    @property
    def channel(self) -> str:
        """The channel whose rights count: the device's first."""
        return self.channels[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One `[alert.NAME]`: raised when `when` held for `for_s`, over when it does not and `clear` does.

    `repeat_s` is the first pause between reminders, 0 for none, None for what the severity asks for. `escalate` are
    the bare JIDs to tell one after the other, each when nobody acknowledged it for another `escalate_after_s`. `anew`:
    each other value for which `when` holds raises it again, whoever has seen the one before.
    """

    name: str
    when: Condition | Absence
    for_s: float = 0.0
    clear: Condition | None = None
    severity: Severity = "warning"
    repeat_s: float | None = None
    escalate: tuple[str, ...] = ()
    escalate_after_s: float = 1800.0
    anew: bool = False

    def __post_init__(self) -> None:
        """Refuse a rule that cannot work (ValueError)."""
        if self.for_s < 0:
            raise ValueError("'for' must not be negative")
        if self.clear is not None and self.clear.channel != self.when.channel:
            raise ValueError(f"'clear' must be about {self.when.channel}, as 'when' is")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """Where one alert stands, to keep over restarts.

    `boot` and `since_ns` (boottime) say when the condition was first met, `changed_ns` when the last transition
    was; `since_at_ns` and `at_ns` are the same in UTC nanoseconds, None while unknown. `value` raised it, `last` is
    the newest since then, None where there is no newer one; `by` acknowledged it. `seen` is False while the channel
    has no value.
    """

    name: str
    phase: Phase = "idle"
    boot: str = ""
    since_ns: int = 0
    since_at_ns: int | None = None
    changed_ns: int = 0
    at_ns: int | None = None
    value: Value = None
    last: Value = None
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
        self._valued: dict[str, set[str]] = {name: set() for name in self._rules}  # an absence's channels with values

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Every rule, by name."""
        return self._rules

    def state(self, name: str) -> AlertState:
        """Where an alert stands; raises KeyError."""
        return self._states[name]

    def raised(self) -> tuple[AlertState, ...]:
        """The alerts that are on, acknowledged or not."""
        return tuple(s for s in self._states.values() if s.phase in ON)

    def watched(self, channel: str) -> str:
        """The channel whose rights count for `channel`: for `alert.NAME` the one it watches."""
        rule = self._rules.get(channel.removeprefix(PREFIX)) if channel.startswith(PREFIX) else None
        return channel if rule is None else rule.when.channel

    def feed(self, record: Record) -> tuple[Transition, ...]:
        """Judge one reading, in the order of readings."""
        changes: list[Transition] = []
        for rule in self._rules.values():
            if isinstance(rule.when, Absence):
                if record.channel in rule.when.channels:
                    changes += self._attend(rule, rule.when, record)
            elif rule.when.channel == record.channel:
                changes += self._judge(rule, rule.when, record)
        return tuple(changes)

    def begin(self, now_ns: int) -> None:
        """From boottime `now_ns` on, devices that have no value are on their way to being missing."""
        for state in self._states.values():
            unknown = isinstance(self._rules[state.name].when, Absence) and not self._valued[state.name]
            if unknown and state.phase == "idle":
                self._states[state.name] = AlertState(name=state.name, phase="pending", since_ns=now_ns)

    def due(self, now_ns: int, *, at_ns: int | None) -> tuple[Transition, ...]:
        """Raise what has been pending long enough at boottime `now_ns` (UTC `at_ns`)."""
        if at_ns is not None:
            self._date(now_ns, at_ns)
        return tuple(
            self._raise(state, now_ns, at_ns)
            for state, rule in self._waiting()
            if now_ns >= state.since_ns + _ns(rule.for_s)
        )

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

    def _date(self, now_ns: int, at_ns: int) -> None:
        """Say when it was of what was raised before the clock was set; not what an earlier run raised."""
        for state in self.raised():
            if state.at_ns is None and state.changed_ns:
                since_ns, changed_ns = (at_ns - (now_ns - ns) for ns in (state.since_ns, state.changed_ns))
                self._states[state.name] = replace(state, since_at_ns=since_ns, at_ns=changed_ns)

    def _attend(self, rule: Rule, when: Absence, record: Record) -> Iterable[Transition]:
        """A device that has any value is there; one that has lost its last is on its way to being missing."""
        state, valued = self._states[rule.name], self._valued[rule.name]
        if record.value is None:
            valued.discard(record.channel)
            if not valued and state.phase == "idle":
                since = AlertState(name=rule.name, phase="pending", boot=record.boot, since_ns=record.boottime_ns)
                self._states[rule.name] = since
            return
        valued.add(record.channel)
        if state.phase in ON:
            first = record.value if record.channel == when.channel else None
            state = replace(state, phase="idle", last=first)
            yield self._change(state, "cleared", record.boottime_ns, record.at_ns)
        elif state.phase == "pending":
            self._states[rule.name] = AlertState(name=rule.name)

    def _judge(self, rule: Rule, when: Condition, record: Record) -> Iterable[Transition]:
        state = self._states[rule.name]
        met = when.holds(record.value)
        now_ns = record.boottime_ns
        if state.phase in ON:
            over = met is False and (rule.clear is None or rule.clear.holds(record.value) is True)
            other = record.value != (state.value if state.last is None else state.last)
            if record.value is not None:
                state = self._states[rule.name] = replace(state, last=record.value)
            if over:
                yield self._change(replace(state, phase="idle"), "cleared", now_ns, record.at_ns)
            elif rule.anew and met and other:
                state = AlertState(name=rule.name, boot=record.boot, since_ns=now_ns, value=record.value)
                yield self._raise(state, now_ns, record.at_ns)
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
        since_at_ns = None if at_ns is None else at_ns - (now_ns - state.since_ns)
        return self._change(replace(state, phase="raised", since_at_ns=since_at_ns), "raised", now_ns, at_ns)

    def _change(self, state: AlertState, change: Change, now_ns: int, at_ns: int | None) -> Transition:
        self._states[state.name] = replace(state, changed_ns=now_ns, at_ns=at_ns)
        return Transition(alert=state.name, change=change, boottime_ns=now_ns, at_ns=at_ns)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
