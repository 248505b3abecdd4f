"""All outputs of a board: what was asked, what the guards allow, what the lines then show."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.guards import Guard, Level, Limits
from knoop_hw.lines import OutputLine
from knoop_hw.model import Quality, Value
from knoop_hw.restore import Memory
from knoop_hw.tables import Output
from knoop_hw.timer import Timer

log = logging.getLogger(__name__)

RETRY_NS = 1_000_000_000  # a line that refuses a forced change is asked again every second

Report = Callable[[str, Value, Quality, int], None]  # channel, value, quality, boottime_ns


@dataclass(frozen=True, slots=True)
class _Open:
    config: Output
    line: OutputLine
    guard: Guard


class Outputs:
    """The open outputs. Every change, whoever wanted it, is reported.

    `close` takes each to its safe level.
    """

    def __init__(
        self,
        configs: Iterable[Output],
        *,
        factory: Any,
        clock: Clock,
        report: Report,
        memory: Memory,
    ) -> None:
        """Open all lines, or none: raises DeviceError.

        `memory` is for those with `initial = "restore"`.
        """
        self._clock, self._report, self._memory = clock, report, memory
        restored = memory.recall()
        self._open: dict[str, _Open] = {}
        self._timer = Timer(self._enforce, clock=clock)
        try:
            for config in configs:
                self._add(config, factory, restored.get(config.name, False))
        except DeviceError:
            self.close()
            raise
        for output in self._open.values():
            report(output.config.name, output.line.value, "ok", clock.boottime_ns())
        self._timer.at(self._due_ns())

    def _add(self, config: Output, factory: Any, restored: bool) -> None:
        initial = restored if config.initial == "restore" else config.initial == "on"
        line = OutputLine(config, factory=factory, initial=initial)
        limits = Limits(
            pwm=config.kind == "pwm", safe=config.safe, max_on_s=config.max_on_s, min_off_s=config.min_off_s,
            interlock_wait_s=config.interlock_wait_s, dead_man_s=config.dead_man_s,
        )  # fmt: skip
        guard = Guard(config.name, limits, value=limits.level(initial), now_ns=self._clock.boottime_ns())
        self._open[config.name] = _Open(config, line, guard)

    def set(self, name: str, value: bool | float, *, for_s: float | None = None) -> Level:
        """Move an output; returns the level read back.

        Raises SetRefused with the protocol's word and a sentence.
        """
        output = self._open.get(name)
        if output is None:
            there = ", ".join(self._open) or "none"
            raise SetRefused("unknown", f"{name}: is not an output of this board; outputs: {there}")
        now_ns = self._clock.boottime_ns()
        level = output.guard.request(value, now_ns=now_ns, others=self._partners(output), for_s=for_s)
        try:
            return self._apply(output, level, for_s=for_s)
        except DeviceError as error:
            raise SetRefused("device", str(error)) from None

    def beat(self) -> None:
        """The agent lives."""
        now_ns = self._clock.boottime_ns()
        for output in self._open.values():
            output.guard.beat(now_ns)

    def levels(self) -> dict[str, bool]:
        """Which outputs are on, for `initial = "restore"`."""
        return {name: output.guard.on for name, output in self._open.items() if output.config.initial == "restore"}

    def close(self) -> None:
        """Take every output to its safe level, then let go of the lines; closing twice is fine."""
        self._timer.close()
        for output in self._open.values():
            safe = output.guard.limits.safe_level
            try:
                if safe is not None and not _same(output.line.value, safe):
                    self._move(output, safe)
            except DeviceError as error:
                log.error("%s (on closing)", error)
            output.line.close()
        self._open.clear()

    def _partners(self, output: _Open) -> list[Guard]:
        return [self._open[name].guard for name in output.config.interlock if name in self._open]

    def _apply(self, output: _Open, level: Level, *, for_s: float | None = None, forced: bool = False) -> Level:
        shown = self._move(output, level)
        output.guard.applied(shown, now_ns=self._clock.boottime_ns(), for_s=for_s, forced=forced)
        self._timer.at(self._due_ns())
        self._remember()
        if not _same(shown, level):
            name, pin = output.config.name, output.config.pin
            raise DeviceError(f"output.{name}: {pin} reads {shown} after it was set to {level}; check its wiring")
        return shown

    def _move(self, output: _Open, level: Level) -> Level:
        """Set the line and report what it then shows."""
        name = output.config.name
        try:
            shown = output.line.set(level)
        except DeviceError:
            self._report(name, None, "error", self._clock.boottime_ns())
            raise
        self._report(name, shown, "ok", self._clock.boottime_ns())
        return shown

    def _remember(self) -> None:
        """Not on closing: what is restored is the level that people wanted, not the safe one."""
        kept = [output for output in self._open.values() if output.config.initial == "restore"]
        self._memory.remember({output.config.name: output.guard.on for output in kept})

    def _due_ns(self) -> int | None:
        """When the first guard wants something.

        A beat only moves this later, so it need not be asked again then.
        """
        return min((due.at_ns for output in self._open.values() if (due := output.guard.due())), default=None)

    def _enforce(self) -> None:
        now_ns = self._clock.boottime_ns()
        retry_ns: int | None = None
        for output in self._open.values():
            due = output.guard.due()
            if due is None or due.at_ns > now_ns:
                continue
            name = output.config.name
            try:
                if due.cause == "lease":
                    output.guard.request(due.value, now_ns=now_ns, others=self._partners(output))
                self._apply(output, due.value, forced=True)
                log.info("%s: set to %s by %s", name, due.value, due.cause)
            except SetRefused as refused:
                output.guard.let_go()
                log.warning("%s: does not return to %s after its lease: %s", name, due.value, refused)
            except DeviceError as error:
                retry_ns = now_ns + RETRY_NS
                log.error("%s; trying again every second", error)
        due_ns = self._due_ns()
        self._timer.at(due_ns if retry_ns is None else retry_ns)


def _same(shown: Level, wanted: Level) -> bool:
    """Whether a level read back is the one wanted; software pulses have whole percents."""
    return abs(float(shown) - float(wanted)) <= (0 if isinstance(wanted, bool) else 1)
