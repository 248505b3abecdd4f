"""All outputs of a board: what was asked, what the guards allow, what the lines then show."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.guards import Guard, Level, Limits
from knoop_hw.lines import OutputLine
from knoop_hw.model import Report
from knoop_hw.restore import Memory
from knoop_hw.tables import Output
from knoop_hw.timer import Timer

log = logging.getLogger(__name__)

RETRY_NS = 1_000_000_000  # a line that refuses a forced change is asked again every second


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
        self, configs: Iterable[Output], *, factory: Any, clock: Clock, report: Report, memory: Memory
    ) -> None:
        """Open all lines, or none: raises DeviceError.

        `memory` is for those with `initial = "restore"`.
        """
        self._clock, self._report, self._memory = clock, report, memory
        self._open: dict[str, _Open] = {}
        self._retry_ns: dict[str, int] = {}  # lines that fail, and when they are asked again
        self._timer = Timer(self._enforce, clock=clock)
        self.open(configs, factory=factory)

    def open(self, configs: Iterable[Output], *, factory: Any) -> None:
        """Open these as well, or none of them: raises DeviceError."""
        configs = tuple(configs)
        already = {name for name, output in self._open.items() if output.guard.off_since_ns is None}
        on = _on_at_start(configs, self._memory.recall(), already)
        try:
            # What begins off goes first: a former process may have left an interlocked partner on.
            for config in sorted(configs, key=lambda config: config.name in on):
                self._add(config, factory, config.name in on and not _rest_s(config))
            for config in configs:
                if config.name in on and (rest_s := _rest_s(config)):
                    guard = self._open[config.name].guard
                    guard.follow(guard.limits.level(on=True), at_ns=self._clock.boottime_ns() + int(rest_s * 1e9))
                self._look(self._open[config.name])
        except DeviceError:
            self.release(config.name for config in configs)
            raise
        self._timer.at(self._due_ns())

    def _look(self, output: _Open) -> None:
        """Report what a line shows that was just opened. Raises DeviceError when it cannot be read."""
        name, guard, now_ns = output.config.name, output.guard, self._clock.boottime_ns()
        shown, level = output.line.value, guard.value
        self._report(name, shown, "ok", now_ns)
        if not _same(shown, level):
            guard.failed(level, now_ns=now_ns)
            log.error("%s; trying again every second", _contradicts(output.config, shown, level))
            self._retry_ns[name] = now_ns

    @property
    def names(self) -> frozenset[str]:
        """The open ones."""
        return frozenset(self._open)

    def staying(self, configs: Iterable[Output]) -> set[str]:
        """Which of the open outputs these configurations do not touch.

        Of two that are on and become interlocked only one stays.
        """
        stay: set[str] = set()
        for config in configs:
            output = self._open.get(config.name)
            if output is None or output.config.line != config.line:
                continue
            partners = [self._open[name].guard for name in stay.intersection(config.interlock)]
            if output.guard.on and any(partner.off_since_ns is None for partner in partners):
                continue
            stay.add(config.name)
        return stay

    def renew(self, configs: Iterable[Output]) -> None:
        """Let words and interlocks of open outputs hold from now on; nothing moves."""
        for config in configs:
            output = self._open[config.name]
            output.guard.limits = replace(output.guard.limits, interlock_wait_s=config.interlock_wait_s)
            self._open[config.name] = replace(output, config=config)

    def _add(self, config: Output, factory: Any, initial: bool) -> None:
        line = OutputLine(config, factory=factory, initial=initial)
        limits = Limits(
            span=(0.0, 100.0) if config.kind == "pwm" else None, unit="%", safe=config.safe,
            max_on_s=config.max_on_s, pulse_s=config.pulse_s, min_off_s=config.min_off_s,
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
        self._catch_up()
        now_ns = self._clock.boottime_ns()
        level = output.guard.request(value, now_ns=now_ns, others=self._partners(output), for_s=for_s)
        try:
            return self._apply(output, level, for_s=for_s)
        except DeviceError as error:
            raise SetRefused("device", str(error)) from None

    def beat(self) -> None:
        """The agent lives. A silence that was too long ends at the safe level first, also when we hung ourselves."""
        self._catch_up()
        now_ns = self._clock.boottime_ns()
        for output in self._open.values():
            output.guard.beat(now_ns)

    def moved_by_a_restart(self) -> list[str]:
        """The outputs that closing and opening again would move, or whose lease it would forget: an upgrade waits."""
        moved = []
        for name, output in self._open.items():
            guard, initial = output.guard, output.config.initial
            start = guard.limits.level(initial == "on") if initial != "restore" else guard.lasting
            safe = guard.limits.safe_level
            if guard.lasting != guard.value or start != guard.value or safe not in {None, guard.value}:
                moved.append(name)
        return moved

    def close(self) -> None:
        """Take every output to its safe level, then let go of the lines, whatever fails; closing twice is fine."""
        self._timer.close()
        self.release(list(self._open))

    def release(self, names: Iterable[str]) -> None:
        """Take these outputs, where they are open, to their safe levels and let go of their lines, whatever fails."""
        going = [(name, self._open[name]) for name in names if name in self._open]
        # What goes off goes first: an interlocked partner must not meet it.
        order = sorted(going, key=lambda item: bool(item[1].guard.limits.safe_level))
        leaving = {name for name, _ in going}
        for step in (lambda output: self._make_safe(output, leaving), lambda output: output.line.close()):
            for name, output in order:
                try:
                    step(output)
                except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception; the next has its turn
                    log.error("output.%s: %s (on closing)", name, str(error).removeprefix(f"output.{name}: "))
        for name, _ in going:
            del self._open[name]
            self._retry_ns.pop(name, None)
        self._timer.at(self._due_ns())

    def _make_safe(self, output: _Open, leaving: AbstractSet[str]) -> None:
        safe = output.guard.limits.safe_level
        if safe is None:
            return
        with suppress(DeviceError):  # a line that cannot be read may still be set
            if output.line.value == safe:
                return
        if safe:
            self._partners_off(output, but=leaving)
        self._move(output, safe)

    def _partners(self, output: _Open) -> list[Guard]:
        return [self._open[name].guard for name in output.config.interlock if name in self._open]

    def _partners_off(self, output: _Open, *, but: AbstractSet[str] = frozenset()) -> None:
        """Before an output is forced on: what is interlocked with it goes off. Raises DeviceError when it does not."""
        for name in output.config.interlock:
            partner = self._open.get(name)
            if partner is not None and name not in but and partner.guard.off_since_ns is None:
                self._apply(partner, partner.guard.limits.level(on=False), forced=True)
                log.warning("%s: off, because %s is forced on", name, output.config.name)

    def _apply(self, output: _Open, level: Level, *, for_s: float | None = None, forced: bool = False) -> Level:
        name, now_ns = output.config.name, self._clock.boottime_ns()
        try:
            shown = self._move(output, level)
            output.guard.applied(shown, now_ns=now_ns, for_s=for_s, forced=forced)
        except DeviceError:
            output.guard.failed(level, now_ns=now_ns, for_s=for_s)
            raise
        finally:
            self._timer.at(self._due_ns())
        self._remember()
        if self._retry_ns.pop(name, None) is not None:
            log.warning("output.%s: is back", name)
        return shown

    def _move(self, output: _Open, level: Level) -> Level:
        """Set the line and report what it then shows. Raises DeviceError, also when that is another level."""
        name = output.config.name
        try:
            shown = output.line.set(level)
        except DeviceError:
            self._report(name, None, "error", self._clock.boottime_ns())
            raise
        self._report(name, shown, "ok", self._clock.boottime_ns())
        if not _same(shown, level):
            raise DeviceError(_contradicts(output.config, shown, level))
        return shown

    def _remember(self) -> None:
        """Not on closing: what is restored is the level that people wanted to last, not the safe one."""
        kept = [output for output in self._open.values() if output.config.initial == "restore"]
        self._memory.remember({output.config.name: bool(output.guard.lasting) for output in kept})

    def _due_ns(self) -> int | None:
        """When the first guard wants something.

        A beat only moves this later, so it need not be asked again then.
        """
        coming = ((name, output.guard.due()) for name, output in self._open.items())
        return min((max(due.at_ns, self._retry_ns.get(name, 0)) for name, due in coming if due), default=None)

    def _catch_up(self) -> None:
        """Do what was due before anything else: after a hang the timer may have its turn only later."""
        due_ns = self._due_ns()
        if due_ns is not None and due_ns < self._clock.boottime_ns():
            self._enforce()

    def _enforce(self) -> None:
        now_ns, refused_one = self._clock.boottime_ns(), False
        for name, output in self._open.items():
            due = output.guard.due()
            if due is None or max(due.at_ns, self._retry_ns.get(name, 0)) > now_ns:
                continue
            try:
                if due.cause == "lease":
                    output.guard.returning(due.value, now_ns=now_ns, others=self._partners(output))
                elif due.value:
                    self._partners_off(output)
                self._apply(output, due.value, forced=True)
                log.info("%s: set to %s by %s", name, due.value, due.cause)
            except SetRefused as refused:
                refused_one = True
                output.guard.let_go()
                self._remember()
                log.warning("%s: does not return to %s after its lease: %s", name, due.value, refused)
            except DeviceError as error:
                if name not in self._retry_ns:
                    log.error("%s; trying again every second", error)
                self._retry_ns[name] = now_ns + RETRY_NS
        if refused_one:  # what is due after it must not wait: the next beat would take the dead man back
            self._enforce()
        self._timer.at(self._due_ns())


def to_safe(configs: Iterable[Output], *, factory: Any) -> list[DeviceError]:
    """Take every output of a configuration to its safe level, after a process that could not do it itself.

    Direction and level are set together, so a line that is safe already does not move; `safe = "keep"` is not touched.
    What goes off goes first. A line that fails stops no other: returns what failed.
    """
    failed = []
    for config in sorted((config for config in configs if config.safe != "keep"), key=lambda config: config.safe):
        level_only = config
        if config.kind == "pwm" and not hasattr(factory, "pwm"):  # pulses in software are gone, the line is not
            level_only = replace(config, kind="switch", digits=None)
        try:
            OutputLine(level_only, factory=factory, initial=config.safe == "on").close()
            log.debug("output.%s: %s, which is safe", config.name, config.safe)
        except DeviceError as error:
            failed.append(error)
    return failed


def _rest_s(config: Output) -> float:
    """How long after a start an output that begins on stays off first: until then it may have been on.

    None that a former process did not switch off.
    """
    return max(config.min_off_s, config.interlock_wait_s) if config.safe == "off" else 0.0


def _on_at_start(configs: tuple[Output, ...], restored: Mapping[str, bool], already: set[str]) -> set[str]:
    """The outputs that start on; none that is interlocked with one that is on `already`, none restored beside another.

    `initial = "on"` comes first: the configuration keeps those apart.
    """
    wanted = [config for config in configs if config.initial == "on"]
    wanted += [config for config in configs if config.initial == "restore" and restored.get(config.name)]
    on: set[str] = set()
    for config in wanted:
        if there := (on | already).intersection(config.interlock):
            log.warning("output.%s: starts off: it is interlocked with %s", config.name, min(there))
        else:
            on.add(config.name)
    return on


def _contradicts(config: Output, shown: Level, level: Level) -> str:
    return f"output.{config.name}: {config.pin} reads {shown} after it was set to {level}; check its wiring"


def _same(shown: Level, wanted: Level) -> bool:
    """Whether a level read back is the one wanted; software pulses have whole percents, but off is off."""
    return abs(float(shown) - float(wanted)) <= (0 if isinstance(wanted, bool) or not wanted else 1)
