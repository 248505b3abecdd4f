"""Who is told of a raised alert, who hears of it again, and who is next: boottime in, decisions out. Pure.

A `Call` is what one raising of an alert has come to with people. It begins with the reading `raised`, ends with
`cleared`; in between `due` says which alerts are to be said again, and `hear` who hears each reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from knoop.alerts import Rule, Severity
from knoop.record import Record

DAY_S = 86400.0
REPEAT_S: Mapping[Severity, float] = {"critical": 900.0, "warning": 7200.0, "info": 0.0}
MOST_RUNS = 20  # starts of the node that an alert may outlive with its older messages still answerable
_ABOUT = re.compile(r"([a-z0-9]{8})-alert\.([a-z][a-z0-9_]*)-([1-9][0-9]{0,17})")


class People(Protocol):
    """Whom alerts are told, by bare JID."""

    def usual(self, alert: str) -> Iterable[str]:
        """Who is told of this alert without anything more."""
        ...

    def may(self, who: str, alert: str) -> bool:
        """Whether they may hear of it at all."""
        ...

    def held(self, who: str, alert: str) -> bool:
        """Whether quiet hours or a silence keep it from them at this time."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """What the id of a message about an alert says: `run-alert.NAME-seq`."""

    run: str
    alert: str
    seq: int

    @classmethod
    def parse(cls, identity: str) -> Message | None:
        """None for an id of anything else."""
        match = _ABOUT.fullmatch(identity)
        return cls(match[1], match[2], int(match[3])) if match else None


@dataclass(frozen=True, slots=True)
class Hearing:
    """How somebody hears a message: `first` for them about this raising, after nobody acknowledged it for so long."""

    first: bool = False
    unanswered_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How far one raising has got. All but `remind_ns` and `escalate_ns`, which are boottime, outlive a restart.

    `told`: who was told, with the id of the first message to them. `owed`: from whom something was held back.
    `escalated`: who was told because nobody acknowledged it, in order. `step`: reminders so far. `runs`: the first
    and the last number of its messages in each run. `over`: acknowledged. `bounced`: to whom a message about it came
    back. `remind_ns` and `escalate_ns`: when, None for never.
    """

    told: Mapping[str, str] = field(default_factory=dict)
    owed: frozenset[str] = frozenset()
    escalated: tuple[str, ...] = ()
    step: int = 0
    runs: tuple[tuple[str, int, int], ...] = ()
    over: bool = False
    bounced: frozenset[str] = frozenset()
    remind_ns: int | None = None
    escalate_ns: int | None = None


class Calls:
    """The calls of all raised alerts. `rules` are asked anew each time, so that they may be replaced."""

    def __init__(self, rules: Callable[[], Mapping[str, Rule]], people: People) -> None:
        self._rules = rules
        self._people = people
        self._calls: dict[str, Call] = {}
        self._due: dict[str, frozenset[str]] = {}
        self._heard: tuple[str, frozenset[str]] = ("", frozenset())
        self._arrived: dict[str, dict[str, int | None]] = {}

    def snapshot(self) -> Mapping[str, Call]:
        """Every call there is, by alert."""
        return dict(self._calls)

    def restore(self, calls: Mapping[str, Call], now_ns: int) -> None:
        """Go on from a snapshot; pauses that are not in it begin anew, with the step they had."""
        for name, call in calls.items():
            if name in self._rules():
                waits = call.remind_ns is not None or call.escalate_ns is not None
                self._calls[name] = call if call.over or waits else self._paced(name, call, now_ns)

    def hear(self, alert: str, record: Record, now_ns: int) -> None:
        """A reading of `alert.NAME`, perhaps of something longer ago, is about to go out: decide who hears it."""
        people = self._people
        if record.value == "raised":
            self._calls[alert] = self._paced(alert, Call(), now_ns)
            self._arrived.pop(alert, None)
            wanted = frozenset(people.usual(alert))
        elif record.value == "reminded":
            wanted = self._due.pop(alert, frozenset())
        else:
            wanted = frozenset(self._calls.get(alert, Call()).told)
        hearing = frozenset(who for who in wanted if people.may(who, alert) and not people.held(who, alert))
        self._heard = (record.identity, hearing)
        call = self._calls.get(alert)
        if call is None or record.value == "cleared":
            self._calls.pop(alert, None)
        elif record.value == "acknowledged":
            call = replace(call, over=True, owed=frozenset(), remind_ns=None, escalate_ns=None)
            self._calls[alert] = _numbered(call, record)
        else:
            told = dict.fromkeys(sorted(hearing), record.identity) | dict(call.told)
            self._calls[alert] = _numbered(replace(call, told=told, owed=call.owed | (wanted - hearing)), record)

    def hears(self, who: str, record: Record) -> bool:
        """Whether they are among those that the reading heard last is for."""
        return self._heard[0] == record.identity and who in self._heard[1]

    def due(self, now_ns: int, *, muted: Callable[[str], bool]) -> tuple[str, ...]:
        """The alerts to say again now, each as `reminded`; a muted one waits for another pause.

        Several reasons at one instant are one reminder: its time has come, somebody is next, somebody's quiet ended.
        """
        due = []
        for name, call in list(self._calls.items()):
            if call.over or name not in self._rules():
                continue
            if muted(name):
                self._calls[name] = self._pushed(name, call, now_ns)
            elif (hearing := self._next(name, call, now_ns)) is not None:
                self._due[name] = hearing
                due.append(name)
        return tuple(due)

    def stale(self, who: str, record: Record) -> bool:
        """Whether this reminder has been overtaken: by a later one, by an acknowledgement, by the end."""
        message = Message.parse(record.identity)
        if message is None or record.value != "reminded":
            return False
        call = self._calls.get(message.alert, Call(over=True))
        if call.over or not self.current(message):
            return True
        newest = (message.run, message.seq) == (call.runs[-1][0], call.runs[-1][2])
        return not newest and call.told.get(who) != record.identity

    def current(self, message: Message) -> bool:
        """Whether this is about the present raising of its alert."""
        call = self._calls.get(message.alert, Call())
        return any(run == message.run and first <= message.seq <= last for run, first, last in call.runs)

    def hearing(self, who: str, record: Record) -> Hearing:
        """How they are to be told of this reading."""
        message = Message.parse(record.identity)
        call = self._calls.get(message.alert) if message else None
        if message is None or call is None or call.told.get(who) != record.identity:
            return Hearing()
        if who not in call.escalated or call.bounced:  # a bounce passes it on before anybody was asked for so long
            return Hearing(first=True)
        after_s = self._rules()[message.alert].escalate_after_s
        return Hearing(first=True, unanswered_s=after_s * (call.escalated.index(who) + 1))

    def arrived(self, who: str, identity: str, at_ns: int | None) -> None:
        """A client of theirs says that this message is there (XEP-0184)."""
        message = Message.parse(identity)
        if message and self.current(message) and who in self._calls[message.alert].told:
            self._arrived.setdefault(message.alert, {}).setdefault(who, at_ns)

    def bounced(self, who: str, identity: str, now_ns: int) -> bool:
        """What they were told came back, so whoever is next hears it at once; False where that is no news."""
        message = Message.parse(identity)
        if message is None or not self.current(message):
            return False
        call = self._calls[message.alert]
        if call.over or who not in call.told or who in call.bounced:
            return False
        next_ns = None if call.escalate_ns is None else now_ns
        self._calls[message.alert] = replace(call, bounced=call.bounced | {who}, escalate_ns=next_ns)
        return True

    def stands(self, message: Message, change: str) -> bool:
        """Whether a message that told of this change still says how things are."""
        call = self._calls.get(message.alert)
        if change == "cleared":
            return call is None
        return call is not None and self.current(message) and call.over == (change == "acknowledged")

    def told(self, alert: str) -> Mapping[str, int | None]:
        """Who was told, and when it reached them (UTC), as far as their clients say and since the start."""
        arrived = self._arrived.get(alert, {})
        return {who: arrived.get(who) for who in self._calls.get(alert, Call()).told}

    def _next(self, name: str, call: Call, now_ns: int) -> frozenset[str] | None:
        """Who is to hear of it now; None: not now."""
        rule, people = self._rules()[name], self._people
        wanted = set(call.owed)
        if call.escalate_ns is not None and now_ns >= call.escalate_ns:
            known = {*call.told, *call.owed}
            new = next((who for who in rule.escalate if who not in known and people.may(who, name)), None)
            wanted |= {new} if new else set()
            escalated = (*call.escalated, new) if new else call.escalated
            call = replace(call, escalated=escalated, escalate_ns=now_ns + _ns(rule.escalate_after_s) if new else None)
        reminding = call.remind_ns is not None and now_ns >= call.remind_ns
        if reminding:
            wanted |= {*call.told}
        wanted = {who for who in wanted if people.may(who, name)}
        hearing = frozenset(who for who in wanted if not people.held(who, name))
        nobody = not call.told and not call.owed  # only machines listen
        if reminding:
            call = replace(call, step=call.step + 1) if hearing or nobody else call
            call = replace(call, remind_ns=now_ns + _ns(pause_s(rule, call.step)))
        self._calls[name] = replace(call, owed=frozenset(wanted - hearing))
        return hearing if hearing or (reminding and nobody) else None

    def _paced(self, name: str, call: Call, now_ns: int) -> Call:
        """With both pauses beginning now."""
        rule = self._rules()[name]
        left = [who for who in rule.escalate if who not in call.told]
        return replace(
            call, remind_ns=now_ns + _ns(pause_s(rule, call.step)) if pause_s(rule) else None,
            escalate_ns=now_ns + _ns(rule.escalate_after_s) if left else None,
        )  # fmt: skip

    def _pushed(self, name: str, call: Call, now_ns: int) -> Call:
        """With the pauses that are over beginning again."""
        paced = self._paced(name, call, now_ns)
        if call.remind_ns is None or now_ns < call.remind_ns:
            paced = replace(paced, remind_ns=call.remind_ns)
        if call.escalate_ns is None or now_ns < call.escalate_ns:
            paced = replace(paced, escalate_ns=call.escalate_ns)
        return paced


def pause_s(rule: Rule, step: int = 0) -> float:
    """How long to wait for the next reminder after so many; twice as long each time, up to a day; 0 for never."""
    first_s = REPEAT_S[rule.severity] if rule.repeat_s is None else rule.repeat_s
    return min(first_s * 2.0 ** min(step, 64), max(DAY_S, first_s))


def _numbered(call: Call, record: Record) -> Call:
    """With this record among its messages."""
    if call.runs and call.runs[-1][0] == record.run:
        run, first, _ = call.runs[-1]
        return replace(call, runs=(*call.runs[:-1], (run, first, record.seq)))
    return replace(call, runs=(*call.runs, (record.run, record.seq, record.seq))[-MOST_RUNS:])


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
