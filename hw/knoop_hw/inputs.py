"""All inputs of a board: their lines, what these mean, and the totals that outlive them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError
from knoop_hw.lines import Edge, InputLine
from knoop_hw.meanings import Button, Contact, Counter, Meaning
from knoop_hw.model import Report
from knoop_hw.tables import Input
from knoop_hw.timer import Timer
from knoop_hw.totals import Totals

log = logging.getLogger(__name__)

LOOK_NS = 10_000_000_000  # between looks at a line: a kernel before 6.6 does not tell that a chip is gone
KEEP_NS = 10_000_000_000  # between writes of the totals: the most that a power cut costs; see docs/adr/0014


class Inputs:
    """The open inputs. What they say is reported, the first time when they open; `error` while none can be read.

    `close` lets go of all of them and writes what was counted.
    """

    def __init__(self, *, clock: Clock, report: Report, state: Path | None) -> None:
        """`state`: the folder in which totals survive."""
        self._clock, self._report = clock, report
        self._open: dict[str, _Open] = {}
        self._kept = Totals(state)
        self._totals: dict[str, int] | None = None  # of all counters ever, also of those that are closed
        self._unwritten = False
        self._written_ns = clock.boottime_ns() - KEEP_NS
        self._writing = Timer(self._write, clock=clock)
        self._looking = Timer(self._look, clock=clock)
        self._gone = False  # the chip; all lines of a board are of one

    def open(self, configs: Iterable[Input], *, factory: Any) -> None:
        """Open those that are not; the others mean from now on what they are called here. Raises DeviceError."""
        for config in configs:
            if (there := self._open.get(config.name)) is not None:
                there.says.renew(config, self._clock.boottime_ns())
                there.timer.at(there.says.due_ns)
            else:
                self._open[config.name] = _Open(self._meaning(config), factory=factory, clock=self._clock)
        self._looking.at(self._clock.boottime_ns() + LOOK_NS if self._open else None)

    def _meaning(self, config: Input) -> Meaning:
        match config.kind:
            case "contact" | "motion":
                return Contact(config, self._report)
            case "button":
                return Button(config, self._report)
            case "counter":
                if self._totals is None:
                    self._totals = self._kept.recall()
                return Counter(config, self._report, self._totals, self._counted)

    def staying(self, configs: Iterable[Input]) -> set[str]:
        """Which of the open inputs these configurations leave as they are."""
        lines = {config.name: config.line for config in configs}
        return {name for name, there in self._open.items() if lines.get(name) == there.says.config.line}

    @property
    def names(self) -> frozenset[str]:
        """The open ones."""
        return frozenset(self._open)

    @property
    def lost(self) -> Mapping[str, int]:
        """Edges of each open input that were counted but could not be read, since it opened."""
        return {name: there.line.lost for name, there in self._open.items()}

    def release(self, names: Iterable[str]) -> None:
        """Let go of these, where they are open."""
        for name in list(names):
            if (there := self._open.pop(name, None)) is not None:
                there.close()

    def close(self) -> None:
        """Let go of all of them, and write the totals at once; closing twice is fine."""
        self.release(self._open)
        self._writing.close()
        self._looking.close()
        if self._totals is not None and (self._unwritten or not self._kept.settled):
            self._kept.keep(self._totals)
            self._unwritten = False

    def _counted(self) -> None:
        """Write soon; at once when nothing was written lately, so that slow pulses lose nothing."""
        if not self._unwritten:
            self._unwritten = True
            self._writing.at(max(self._clock.boottime_ns(), self._written_ns + KEEP_NS))

    def _write(self) -> None:
        """And look after the same time whether the disk has it."""
        if self._totals is None or (self._kept.settled and not self._unwritten):
            return
        now_ns = self._clock.boottime_ns()
        if self._kept.keep_soon(self._totals):
            self._unwritten, self._written_ns = False, now_ns
        self._writing.at(now_ns + KEEP_NS)

    def _look(self) -> None:
        """Whether the chip is there: one line speaks for all. While it is not, no edge comes and no kernel says why."""
        now_ns = self._clock.boottime_ns()
        self._looking.at(now_ns + LOOK_NS)
        name, one = next(iter(self._open.items()))
        try:
            one.line.look()
            if self._gone:
                for there in self._open.values():
                    there.resume()
                log.warning("input.%s: can be read again; all inputs are heard", name)
            self._gone = False
        except DeviceError as error:
            if self._gone:
                return
            self._gone = True
            log.error("%s; no input is heard meanwhile", error)
            for there in self._open.values():
                for channel, _ in there.says.config.channels():
                    self._report(channel.name, None, "error", now_ns)


class _Open:
    """An open line and what its edges mean; a timer for what time alone says."""

    def __init__(self, says: Meaning, *, factory: Any, clock: Clock) -> None:
        self.says, self._clock = says, clock
        self.line = InputLine(says.config, factory=factory, clock=clock, on_edges=self._edges)
        self.timer = Timer(self._elapse, clock=clock)
        says.begin(self.line.level, clock.boottime_ns())
        self.timer.at(says.due_ns)

    def _edges(self, edges: Sequence[Edge]) -> None:
        self.says.edges(edges, self._clock.boottime_ns())
        self.timer.at(self.says.due_ns)

    def _elapse(self) -> None:
        self.says.elapse(self._clock.boottime_ns())
        self.timer.at(self.says.due_ns)

    def resume(self) -> None:
        self.says.begin(self.line.resume(), self._clock.boottime_ns())
        self.timer.at(self.says.due_ns)

    def close(self) -> None:
        self.timer.close()
        self.line.close()
