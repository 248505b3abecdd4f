"""`[alert.NAME]` → rules, with the alerts that every device has without being named. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from knoop.access import EVERYBODY, Person
from knoop.alerts import MISSING, Absence, Rule
from knoop.condition import Condition
from knoop.disk import ALERT, STORAGE
from knoop.jid import Jid
from knoop_hw import decode, tables
from knoop_hw.decode import Between, Seconds
from knoop_hw.model import Channel

Tell = Callable[[str, str, str], None]  # alert, key ('' for the table), what is wrong
_NOT_WELL = Condition(STORAGE, "!=", "ok")
OWN: Final = Rule(name=ALERT, when=_NOT_WELL, anew=True)  # there without a table


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTable:
    """`[alert.NAME]`: when to call for a person, as `CHANNEL OP LITERAL`; see `alerts.Rule`.

    `DEVICE_missing` is there without a table, and one has no `when`. `storage` is there without one, too: its `when` is
    `node.storage != ok` unless said otherwise. `for_s` None: at once, or `[node]` missing.
    """

    when: str = ""
    for_s: Seconds | None = None
    clear: str = ""
    severity: Literal["info", "warning", "critical"] = "warning"
    repeat_s: Seconds | None = None
    escalate: tuple[str, ...] = ()
    escalate_after_s: Annotated[Seconds, Between(1, 86400)] = 1800.0

    def __post_init__(self) -> None:
        if self.repeat_s is not None and 0 < self.repeat_s < 1:
            raise ValueError('\'repeat\' must be at least "1s", or "0s" for never')


def load(
    given: Mapping[str, AlertTable], hw: tables.Config, people: Sequence[Person], *, channels: Iterable[Channel],
    missing_s: float, jid: Callable[[str], Jid], problem: Tell,
) -> tuple[Rule, ...]:  # fmt: skip
    """The rules of these tables, and one for each device that may go missing; what is wrong goes to `problem`.

    `channels` are all that an alert may be about; of those that are no device's nothing goes missing.
    """
    there = {channel.name: channel for channel in channels}
    return tuple(_Loader(given, hw, people, there, missing_s, jid, problem).rules())


def absences(hw: tables.Config) -> Iterator[Absence]:
    """For each device what it is to be missing."""
    for line in hw.inputs:
        yield Absence(line.name, (line.name,), line.label)
    for output in hw.outputs:
        yield Absence(output.name, (output.name,), output.label)
    seen = {sensor.name for sensor in hw.sensors if sensor.fields}
    for remote in hw.remotes:  # of a device that is only written to; else its sensor's values are missing with it
        if remote.sensor not in seen and remote.initial_level is not None:  # nobody knows how one is that keeps its own
            yield Absence(remote.name, (remote.name,), remote.label)
    for sensor in hw.sensors:
        if names := tuple(item.channel.name for item in sensor.fields):
            label = sensor.fields[0].channel.label
            own = sensor.fields[0].field.label or sensor.fields[0].field.name.replace("_", " ")
            yield Absence(sensor.name, names, label.removesuffix(own).strip() if own != label else "")


@dataclass(frozen=True, slots=True)
class _Loader:
    given: Mapping[str, AlertTable]
    hw: tables.Config
    people: Sequence[Person]
    channels: Mapping[str, Channel]
    missing_s: float
    jid: Callable[[str], Jid]
    problem: Tell

    def rules(self) -> Iterator[Rule]:
        devices = {when.device + MISSING: when for when in absences(self.hw)}
        for name, table in self.given.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                self.problem(name, "", "an alert's name is a lower-case word like 'frost'")
            when = self._absence(name, table, devices[name]) if name in devices else self._when(name, table)
            clear = self._condition(name, "clear", table.clear) if table.clear else None
            for_s = table.for_s if table.for_s is not None else self.missing_s if name in devices else 0.0
            if name in devices and for_s == 0:
                text = "say with 'for' how long a device is without a value until it is missing; [node] says never"
                self.problem(name, "", text)
            if when is not None:
                try:
                    yield Rule(
                        name=name, when=when, for_s=for_s, clear=clear, severity=table.severity,
                        repeat_s=table.repeat_s, escalate=tuple(self._escalate(name, table.escalate, when)),
                        escalate_after_s=table.escalate_after_s, anew=when.channel == STORAGE,
                    )
                except ValueError as error:
                    self.problem(name, "", str(error))
        if self.missing_s > 0:
            for name, when in devices.items():
                if name not in self.given:
                    yield Rule(name=name, when=when, for_s=self.missing_s)
        if ALERT not in self.given:
            yield OWN

    def _absence(self, name: str, table: AlertTable, when: Absence) -> Absence | None:
        if not table.when and not table.clear:
            return when
        key = "when" if table.when else "clear"
        text = f"'{name}' is the alert for a missing {when.device}: leave '{key}' out, or choose another name"
        self.problem(name, key, text)
        return None

    def _when(self, name: str, table: AlertTable) -> Condition | None:
        if table.when:
            return self._condition(name, "when", table.when)
        if name == ALERT:
            return _NOT_WELL
        if name.endswith(MISSING):
            text = f"there is no device '{name.removesuffix(MISSING)}'; name one, or say 'when'"
        else:
            text = "missing key 'when': say what it is about, like \"air.temperature < 2\""
        self.problem(name, "", text)
        return None

    def _condition(self, alert: str, key: str, text: str) -> Condition | None:
        try:
            condition = Condition.parse(text)
            condition.check(self.channels)
        except ValueError as error:
            self.problem(alert, key, str(error))
            return None
        return condition

    def _escalate(self, alert: str, names: Sequence[str], when: Condition | Absence) -> Iterator[str]:
        known = {str(person.jid): person for person in self.people if person.jid.local != EVERYBODY}
        for name in dict.fromkeys(names):
            try:
                person = known.get(str(self.jid(name)))
            except ValueError as error:
                self.problem(alert, "escalate", str(error))
                continue
            if person is None:
                self.problem(alert, "escalate", f"{name} is nobody in [people]; {decode.suggest(name, sorted(known))}")
            elif not person.reads(when.channel):
                text = f"{name} may not read {when.channel}; add it to their 'only', or choose somebody else"
                self.problem(alert, "escalate", text)
            else:
                yield str(person.jid)
