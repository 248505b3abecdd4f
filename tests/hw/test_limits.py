"""Whatever is asked, whenever, however long the process hangs and however often it restarts: the limits hold.

Judged by what probes on the pins saw, not by what the guards believe.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.hw.stopping import Stopping

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.errors import SetRefused
from knoop_hw.outputs import Outputs
from knoop_hw.restore import Memory
from knoop_hw.simulated import Simulated

S = 1_000_000_000
SECONDS = st.sampled_from([0.1, 0.4, 0.5, 1.0, 1.9, 2.0, 2.1, 5.0, 9.0, 30.0])
LIMIT = st.sampled_from([0.0, 1.0, 4.0])
NAMES = ("up", "down", "light", "gate", "fan")


def table(name, pin, **keys):
    lines = [f"[output.{name}]", f'pin = "{pin}"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(lines) + "\n"


class Limits(RuleBasedStateMachine):
    """A shutter's two interlocked motors, a light that fails on, a gate's pulse, a fan."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Stopping()
        self.folder = tempfile.TemporaryDirectory(prefix="knoop-limits-")
        self.moves = []  # (ns, name, level), as on the wire but for active_low
        self.reports = []
        self.hangs, self.starts = [], []
        self.asked = False  # whether the moves of now are those that somebody asked for
        self.answered = self.forced = 0
        self.beat_ns = 0

    def _run(self, work):
        return self.loop.run_until_complete(work)

    @initialize(
        keys=st.fixed_dictionaries({
            "max_on": st.sampled_from([None, 2, 5]), "min_off": LIMIT, "wait": LIMIT,
            "dead_man": st.sampled_from([None, 2]), "initial": st.sampled_from(["off", "on", "restore"]),
            "pulse": st.sampled_from([0.5, 3]), "low": st.booleans(),
        })
    )  # fmt: skip
    def lay(self, keys):
        self.max_on, self.min_off, self.wait = keys["max_on"], keys["min_off"], keys["wait"]
        self.dead_man, self.pulse = keys["dead_man"], keys["pulse"]
        initial = "restore" if self.max_on is not None and keys["initial"] == "on" else keys["initial"]
        limits = {"max_on": self.max_on, "min_off": self.min_off}
        text = table("up", "GPIO5", initial=initial, **limits, interlock=["down"], interlock_wait=self.wait,
                     dead_man=self.dead_man and f"{self.dead_man}s", active_low=keys["low"])  # fmt: skip
        text += table("down", "GPIO6", initial="off" if initial == "on" else initial, **limits)
        text += table("light", "GPIO13", safe="on", initial="on", dead_man="2s", active_low=keys["low"])
        text += table("gate", "GPIO19", pulse=self.pulse, min_off=self.min_off)
        text += table("fan", "GPIO18", kind="pwm", dead_man="5s", max_on=self.max_on)
        problems = []
        document = decode.parse('[board]\ndriver = "simulated"\n' + text, "node.toml")
        self.config = hw_config.load(document, problems)
        assert problems == []
        self.lows = {line.name for line in self.config.outputs if line.active_low}
        self.board = Simulated(self.config, clock=self.clock)
        self.board.factory.note = self._note
        self._run(self._start())

    def _note(self, line, level):
        [name] = [output.name for output in self.config.outputs if output.pin == line]
        self.moves.append((self.clock.boottime_ns(), name, (1 - level) if name in self.lows else float(level)))
        self.forced += not self.asked

    def _hear(self, name, value, quality, at_ns):
        assert quality == "ok"
        assert at_ns == self.clock.boottime_ns()
        self.reports.append((name, value / 100 if name == "fan" else float(value)))

    async def _start(self):
        self.beat_ns = self.clock.boottime_ns()
        self.starts.append(self.beat_ns)
        self.asked = True
        self.outputs = Outputs(
            self.config.outputs, factory=self.board.factory, clock=self.clock, report=self._hear,
            memory=Memory(Path(self.folder.name)),
        )  # fmt: skip
        self.asked = False
        self.answered += len(NAMES)
        await self.clock.advance(0)

    def set(self, name, value, for_s):
        async def ask():
            before = len(self.reports)
            with suppress(SetRefused):
                self.outputs._catch_up()  # so that what follows is only what was asked for
                before, self.asked = len(self.reports), True
                self.outputs.set(name, value, for_s=for_s)
                self.answered += 1
                assert len(self.reports) == before + 1
                assert self.reports[-1] == (name, float(value))
            self.asked = False
            await self.clock.advance(0)

        self._run(ask())

    @rule(name=st.sampled_from(NAMES), value=st.booleans(), for_s=st.none() | SECONDS)
    def ask(self, name, value, for_s):
        self.set(name, value, for_s)

    @rule(name=st.sampled_from(["up", "down"]))
    def drive(self, name):
        """What matters most often: one on, then the other."""
        self.set(name, True, None)

    @rule(level=st.integers(0, 100))
    def dim(self, level):
        async def ask():
            self.outputs._catch_up()
            self.asked = True
            self.outputs.set("fan", level)
            self.asked = False
            self.answered += 1
            await self.clock.advance(0)

        self._run(ask())

    @rule()
    def beat(self):
        async def say():
            self.outputs.beat()
            self.beat_ns = self.clock.boottime_ns()
            await self.clock.advance(0)

        self._run(say())

    @rule(for_s=SECONDS)
    def time_passes(self, for_s):
        self._run(self.clock.advance(for_s))

    @rule(for_s=SECONDS, beats=st.booleans())
    def hang(self, for_s, beats):
        """With `beats` what waited in the socket has its turn before the timers."""

        async def hang():
            began = self.clock.boottime_ns()
            self.clock.skip(for_s)
            self.hangs.append((began, self.clock.boottime_ns()))
            overdue = self._overdue(self.clock.boottime_ns())
            if beats:
                self.outputs.beat()
                self.beat_ns = self.clock.boottime_ns()
            else:
                await self.clock.advance(0)
            assert all(self._level(name) == safe for name, safe in overdue.items())
            await self.clock.advance(0)

        self._run(hang())

    @precondition(lambda self: len(self.starts) < 4)
    @rule()
    def restart(self):
        async def again():
            self.outputs.close()
            assert [self._level(name) for name in NAMES] == [0, 0, 1, 0, 0]
            await self._start()

        self._run(again())

    def _level(self, name):
        return next((level for _, who, level in reversed(self.moves) if who == name), 0.0)

    def _overdue(self, now_ns):
        """What must be at its safe level, as the agent has been silent for too long."""
        limits = {"up": (self.dead_man, 0.0), "light": (2, 1.0), "fan": (5, 0.0)}
        silent_s = (now_ns - self.beat_ns) / S
        return {name: safe for name, (limit, safe) in limits.items() if limit is not None and silent_s > limit}

    @invariant()
    def the_dead_man_lets_go_in_time(self):
        assert all(self._level(name) == safe for name, safe in self._overdue(self.clock.boottime_ns()).items())

    @invariant()
    def never_both(self):
        on = {"up": 0.0, "down": 0.0}
        for _, name, level in self.moves:
            on |= {name: level} if name in on else {}
            assert not (on["up"] and on["down"])

    def _stretches(self, name):
        """(from, to, on) of one output, from the first start on; the last one until now."""
        changes = [(at, bool(level)) for at, who, level in self.moves if who == name]
        changes = [(self.starts[0], False), *changes] if self.starts else []
        merged = [change for index, change in enumerate(changes) if not index or change[1] != changes[index - 1][1]]
        ends = itertools.pairwise([*merged, (self.clock.boottime_ns(), None)])
        return [(start, end, on) for (start, on), (end, _) in ends]

    @invariant()
    def never_on_for_longer(self):
        for name, limit in (("up", self.max_on), ("down", self.max_on), ("fan", self.max_on), ("gate", self.pulse)):
            for start, end, on in self._stretches(name):
                if on and limit is not None and end > start + limit * S:
                    assert any(began <= start + limit * S <= woke == end for began, woke in self.hangs)

    @invariant()
    def never_off_for_less(self):
        for name in ("up", "down", "gate"):
            stretches = self._stretches(name)
            assert all(end - start >= self.min_off * S for start, end, on in stretches[:-1] if not on)

    @invariant()
    def never_sooner_after_the_other(self):
        for name, other in (("up", "down"), ("down", "up")):
            offs = [start for start, _, on in self._stretches(other) if not on]
            for start, _, on in self._stretches(name):
                assert not on or all(not 0 <= start - off < self.wait * S for off in offs)

    @invariant()
    def every_transition_is_reported_exactly_once(self):
        for name in NAMES:
            told = [value for who, value in self.reports if who == name]
            changed = [value for before, value in itertools.pairwise([0.0, *told]) if value != before]
            assert changed == [level for _, who, level in self.moves if who == name]
        assert len(self.reports) == self.answered + self.forced

    def teardown(self):
        async def end():
            self.outputs.close()
            self.board.close()

        if self.starts:
            self._run(end())
        self.loop.close()
        self.folder.cleanup()


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
