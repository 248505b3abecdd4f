"""What the edges of a line mean, by the kind of its input: told no faster than anybody needs, counted all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from knoop_hw import units
from knoop_hw.cap import Cap, Passed, Storm
from knoop_hw.counting import Measured, Rate
from knoop_hw.gestures import Gesture, Gestures
from knoop_hw.lines import Edge
from knoop_hw.model import Quality, Report
from knoop_hw.tables import Input

log = logging.getLogger(__name__)

SLACK_NS = 5_000_000  # an edge at the end of its debounce is heard of before what waits for it to stay away

T = TypeVar("T")


class _Told(Generic[T]):
    """The way out of a channel on which each change counts: no faster than `Cap`, and gaps are said and logged."""

    def __init__(self, name: str, tell: Callable[[T, Quality], None]) -> None:
        self._name, self._tell = name, tell
        self._cap: Cap[T] = Cap()
        self._storm = Storm()
        self._edges = self._lost = 0

    def heard(self, edge: Edge) -> None:
        self._edges += 1 + edge.lost
        self._lost += edge.lost

    def offer(self, item: T, now_ns: int, *, gap: bool) -> None:
        self._pass(self._cap.offer(item, now_ns, gap=gap))

    def judge(self, now_ns: int) -> None:
        """After some edges: is this a storm?"""
        if self._storm.begins(now_ns, edges=self._edges, lost=self._lost, left_out=self._cap.left_out):
            log.warning("input.%s: changes faster than can be told; look at its wiring and its debounce", self._name)

    def elapse(self, now_ns: int) -> None:
        self._pass(self._cap.elapse(now_ns))
        storm = self._storm
        if storm.is_over(now_ns):
            log.warning(
                "input.%s: calm again; in %.1f s there were %d changes: %d lost before they were read, %d not told",
                self._name, storm.lasted_s, storm.edges, storm.lost, storm.left_out,
            )  # fmt: skip

    @property
    def due_ns(self) -> int | None:
        return _first(self._cap.due_ns, self._storm.due_ns)

    def _pass(self, told: Passed[T] | None) -> None:
        if told is not None:
            self._tell(told.item, "lost" if told.gap else "ok")


class Contact:
    """True and false. After changes that were not told the next one is `lost`."""

    def __init__(self, config: Input, report: Report) -> None:
        self.config, self._report = config, report
        self._told: _Told[Edge] = _Told(config.name, self._tell)

    def begin(self, level: bool, now_ns: int) -> None:
        self._report(self.config.name, level, "ok", now_ns)

    def renew(self, config: Input, _now_ns: int) -> None:
        self.config = config

    def edges(self, edges: Sequence[Edge], now_ns: int) -> None:
        for edge in edges:
            self._told.heard(edge)
            self._told.offer(edge, now_ns, gap=edge.lost > 0)
        self._told.judge(now_ns)

    def elapse(self, now_ns: int) -> None:
        self._told.elapse(now_ns)

    @property
    def due_ns(self) -> int | None:
        return self._told.due_ns

    def _tell(self, edge: Edge, quality: Quality) -> None:
        self._report(self.config.name, edge.level, quality, edge.at_ns)


class Button:
    """Gestures; nothing before the first one."""

    def __init__(self, config: Input, report: Report) -> None:
        self.config, self._report = config, report
        self._told: _Told[Gesture] = _Told(config.name, self._tell)
        self._gestures = self._made(pressed=False)

    def begin(self, level: bool, _now_ns: int) -> None:
        self._gestures = self._made(pressed=level)

    def _made(self, *, pressed: bool) -> Gestures:
        double_s, long_s, debounce_s = self.config.double_s, self.config.long_s, self.config.debounce_s
        return Gestures(
            double_ns=int(double_s * 1e9), long_ns=int(long_s * 1e9), settle_ns=int(debounce_s * 1e9) + SLACK_NS,
            pressed=pressed,
        )  # fmt: skip

    def renew(self, config: Input, _now_ns: int) -> None:
        self.config = config

    def edges(self, edges: Sequence[Edge], now_ns: int) -> None:
        for edge in edges:
            self._told.heard(edge)
            self._offer(self._gestures.edge(edge.level, edge.at_ns, lost=edge.lost), now_ns)
        self._told.judge(now_ns)

    def elapse(self, now_ns: int) -> None:
        self._offer(self._gestures.elapse(now_ns), now_ns)
        self._told.elapse(now_ns)

    @property
    def due_ns(self) -> int | None:
        return _first(self._gestures.due_ns, self._told.due_ns)

    def _offer(self, gestures: Iterable[Gesture], now_ns: int) -> None:
        for gesture in gestures:
            self._told.offer(gesture, now_ns, gap=gesture.gap)

    def _tell(self, gesture: Gesture, quality: Quality) -> None:
        self._report(self.config.name, gesture.value, quality, gesture.at_ns)


class Counter:
    """How many pulses ever and, where the configuration asks for it, how fast they come.

    A total says all that those which were not told said, so none is `lost`.
    """

    def __init__(self, config: Input, report: Report, totals: dict[str, int], counted: Callable[[], None]) -> None:
        self.config, self._report = config, report
        self._totals, self._counted = totals, counted
        self._cap: Cap[tuple[int, int]] = Cap()  # total and when
        self._rate: Rate | None = None
        self._storm = Storm()
        self._edges = self._lost = 0

    def begin(self, _level: bool, now_ns: int) -> None:
        self._tell(self._totals.setdefault(self.config.name, 0), now_ns)
        self._rate = None
        self.renew(self.config, now_ns)

    def renew(self, config: Input, now_ns: int) -> None:
        former, self.config = self.config, config
        other = (former.unit, former.multiply, former.offset) != (config.unit, config.multiply, config.offset)
        if other:  # the same pulses are another value now
            self._tell(self._totals[config.name], now_ns)
        if config.rate is None:
            self._rate = None
        elif self._rate is None:
            self._rate = Rate(now_ns)
            self._tell_rate(self._rate.measured, now_ns)
        elif other or former.rate is None or former.rate.unit != config.rate.unit:
            self._tell_rate(self._rate.measured, now_ns)

    def edges(self, edges: Sequence[Edge], now_ns: int) -> None:
        name = self.config.name
        for edge in edges:
            pulses = 1 + edge.lost
            self._totals[name] += pulses
            self._edges += pulses
            self._lost += edge.lost
            if self._rate is not None:
                self._tell_rate(self._rate.pulse(pulses, edge.at_ns), now_ns)
        if edges:
            self._counted()
            self._pass(self._cap.offer((self._totals[name], edges[-1].at_ns), now_ns))
        if self._storm.begins(now_ns, edges=self._edges, lost=self._lost, left_out=0):
            log.warning("input.%s: pulses come faster than they can be read; they are counted all the same", name)

    def elapse(self, now_ns: int) -> None:
        self._pass(self._cap.elapse(now_ns))
        if self._rate is not None:
            self._tell_rate(self._rate.elapse(now_ns), now_ns)
        storm = self._storm
        if storm.is_over(now_ns):
            log.warning("input.%s: calm again; in %.1f s there were %d pulses: %d counted without being read",
                        self.config.name, storm.lasted_s, storm.edges, storm.lost)  # fmt: skip

    @property
    def due_ns(self) -> int | None:
        rate_ns = None if self._rate is None else self._rate.due_ns
        return _first(self._cap.due_ns, self._storm.due_ns, rate_ns)

    def _pass(self, told: Passed[tuple[int, int]] | None) -> None:
        if told is not None:
            self._tell(*told.item)

    def _tell(self, total: int, at_ns: int) -> None:
        self._report(self.config.name, float(total), "ok", at_ns)

    def _tell_rate(self, measured: Measured | None, now_ns: int) -> None:
        if measured is not None and (rate := self.config.rate) is not None:
            multiply = 1 if self.config.multiply is None else self.config.multiply
            value = measured.per_s * multiply * units.per_second(self.config.unit, rate.unit)
            self._report(self.config.rate_name, value, "ok" if measured.known else "estimate", now_ns)


# Each has `begin` (the level at the opening), `edges`, `elapse` when `due_ns` has come, and `renew`: what it is called
# and what its numbers mean changed, its line did not.
Meaning = Contact | Button | Counter


def _first(*due_ns: int | None) -> int | None:
    return min((at_ns for at_ns in due_ns if at_ns is not None), default=None)
