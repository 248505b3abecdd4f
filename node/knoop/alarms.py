"""Alerts among people: what is raised becomes readings, readings find their people, and a restart forgets nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from knoop.alerts import ON, PREFIX, AlertState, Transition
from knoop.errors import StoreError
from knoop.jid import Jid
from knoop.record import Record
from knoop.reminders import Call, Calls, Message
from knoop.state import AlertRow, Silence, State

if TYPE_CHECKING:
    from knoop.household import Household

log = logging.getLogger(__name__)


class Alarms:
    """The alerts of a house, whom they are told, and who silenced them; it is the `People` of its `calls`."""

    def __init__(self, house: Household) -> None:
        self.calls = Calls(lambda: house.alerts.rules, self)
        self._house = house
        self._silences: Mapping[str, Silence] = {}
        self._seq: dict[str, int] = {}
        self._changed = asyncio.Event()

    # Whom an alert is told (knoop.reminders.People) ------------------------------------------------------------------

    def usual(self, alert: str) -> Iterable[str]:
        """Those who are told of alarms anyway and may read what it is about."""
        watched = self._house.alerts.watched(PREFIX + alert)
        return [str(person.jid) for person in self._house.access.told("alarm", watched)]

    def may(self, who: str, alert: str) -> bool:
        """Whether they may read what it is about, now."""
        person = self._house.access.person(self._house.jid(who))
        return person is not None and person.reads(self._house.alerts.watched(PREFIX + alert))

    def held(self, who: str, alert: str) -> bool:
        """Silence holds everything back, quiet hours all that is not critical."""
        if self.silenced(alert) is not None:
            return True
        rule = self._house.alerts.rules[alert]
        return rule.severity != "critical" and self._house.telling.is_quiet(who)

    def answers(self, identity: str) -> tuple[str, bool] | None:
        """The alert that the message with this id was about, and whether about its present raising."""
        message = Message.parse(identity)
        if message is None or message.alert not in self._house.alerts.rules:
            return None
        return message.alert, self.calls.current(message)

    def received(self, who: Jid, identity: str) -> None:
        """The message with this id has reached a client of theirs."""
        self.calls.arrived(str(who.bare), identity, self._house.now_ns)

    # Silence ----------------------------------------------------------------------------------------------------------

    def silenced(self, alert: str) -> Silence | None:
        """The silence about this alert, None when there is none; one needs a clock that was set."""
        silence = self._silences.get(alert)
        there = silence is not None and self._house.synced() and self._house.clock.time_ns() < silence.until_ns
        return silence if there else None

    async def silence(self, alert: str, until_ns: int, *, by: Jid) -> None:
        """Tell nobody of this alert until then (UTC nanoseconds); 0 ends it. Raises StoreError."""
        await self._house.state.silence(alert, until_ns, self._house.access.title(by))
        self._silences = await self._house.state.silences()

    # Life -------------------------------------------------------------------------------------------------------------

    def due(self) -> tuple[Transition, ...]:
        """What time brings: alerts that held long enough, and those to say again; `say` each of them."""
        house, now_ns, before = self._house, self._house.clock.boottime_ns(), self.calls.snapshot()
        raised = house.alerts.due(now_ns, at_ns=house.now_ns)
        again = self.calls.due(now_ns, muted=lambda alert: not house.link[0] or self.silenced(alert) is not None)
        if self.calls.snapshot() != before:
            self._changed.set()
        return (*raised, *(_again(alert, now_ns, house.now_ns) for alert in again))

    def say(self, transition: Transition) -> None:
        """Make a reading of it and let it go its way."""
        house, channel = self._house, transition.channel
        seq = self._seq[channel] = self._seq.get(channel, 0) + 1
        record = Record(
            run=house.run, channel=channel, seq=seq, cls="alarm", type="text", value=transition.change,
            boot=house.clock.boot_id, boottime_ns=transition.boottime_ns, at_ns=transition.at_ns,
        )
        self.calls.hear(transition.alert, record, house.clock.boottime_ns())
        self._changed.set()
        if house.router:
            house.router.put(record)

    async def restore(self, state: State) -> None:
        """Go on where the last start ended. Raises StoreError."""
        now_ns, rows = self._house.clock.boottime_ns(), [row for row in await state.load_alerts() if row.status in ON]
        alerts = self._house.alerts
        alerts.restore(_state(row) for row in rows)
        alerts.begin(now_ns)
        self.calls.restore({row.name: self._call(row) for row in rows if row.name in alerts.rules}, now_ns)
        self._silences = await state.silences()

    def follow(self, former: Alarms) -> None:
        """Go on where the alarms of another configuration ended."""
        now_ns = self._house.clock.boottime_ns()
        self._house.alerts.begin(now_ns)
        self.calls.restore(former.calls.snapshot(), now_ns)
        self._silences = former._silences
        self._changed.set()

    async def save(self, state: State) -> None:
        """Keep what changes, until cancelled; then also what changed last."""
        try:
            while True:
                await self._changed.wait()
                await self._save(state)
        finally:
            if self._changed.is_set():
                await self._save(state)

    async def _save(self, state: State) -> None:
        self._changed.clear()
        calls = self.calls.snapshot()
        try:
            await state.save_alerts(_row(one, calls.get(one.name)) for one in self._house.alerts.raised())
        except StoreError as error:
            log.error("alerts are not remembered over a restart: %s", error)

    def _call(self, row: AlertRow) -> Call:
        told = dict.fromkeys(self.usual(row.name), "") if row.told is None else row.told
        return Call(
            told=told, owed=frozenset(row.owed), escalated=row.escalated, step=row.step, runs=row.runs,
            over=row.status == "acknowledged",
        )


def _again(alert: str, now_ns: int, at_ns: int | None) -> Transition:
    return Transition(alert=alert, change="reminded", boottime_ns=now_ns, at_ns=at_ns)


def _state(row: AlertRow) -> AlertState:
    return AlertState(
        name=row.name, phase="acknowledged" if row.status == "acknowledged" else "raised", at_ns=row.since_ns or None,
        since_at_ns=row.met_ns or row.since_ns or None, value=row.value, by=row.by,
    )


def _row(state: AlertState, call: Call | None) -> AlertRow:
    call = call or Call()
    return AlertRow(
        name=state.name, status=state.phase, since_ns=state.at_ns or 0, by=state.by, met_ns=state.since_at_ns or 0,
        value=state.value, step=call.step, told=call.told, owed=tuple(sorted(call.owed)), escalated=call.escalated,
        runs=call.runs,
    )
