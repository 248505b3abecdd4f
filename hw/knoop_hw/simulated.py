"""A board with physics: gpiozero's mock lines in our time, contacts that bounce, a script, a trace.

It plays the scenario (`scenario`), and a test or a demo in the same process may drive it as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import IO, Any

from gpiozero.exc import PinFixedPull
from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin, PinState

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError
from knoop_hw.scenario import Contact, Step, World
from knoop_hw.tables import Config, Input, Output

REVISION = "a02082"  # a Raspberry Pi 3B: 40 pins, pull-ups on GPIO2 and GPIO3
PAUSE_S = 0.15  # between two presses of a hand that means a double click (0.1 to 0.25 s when one tries)
PULSE_S = 0.1  # how long a tipping bucket's reed stays closed (a common gauge: about 100 ms)


class _InTime:
    """What all simulated pins share: time from the factory, levels held by contacts, outputs traced.

    COMPAT(gpiozero 2.0.1): MockPin stamps with time.monotonic(), in `_change_state` and `clear_states`.
    """

    factory: SimulatedFactory
    info: Any
    states: list[PinState]
    _state: bool | float
    _function: str
    _pull: str
    _last_change: float

    def clear_states(self) -> None:
        self._last_change = self.factory.ticks()
        self.states = [PinState(0.0, self._state)]

    def _change_state(self, value: bool | float) -> bool:
        if self._state == value:
            return False
        now = self.factory.ticks()
        self.states.append(PinState(now - self._last_change, value))
        self._state, self._last_change = value, now
        if self._function == "output":
            self.factory.note(self.info.name, value)
        return True

    def output_with_state(self, state: bool | float) -> None:
        """Direction and level in one step, as the kernel does it."""
        self._function = "output"
        self._change_state(state)

    def _set_pull(self, value: str) -> None:
        """A bias does not move a line that a contact holds.

        The fixed ones of GPIO2 and GPIO3 cannot be changed.
        """
        if self.info.pull and value != self.info.pull:
            raise PinFixedPull(f"{self.info.name} has a fixed pull-{self.info.pull} resistor")
        self._pull = value

    def idle(self, level: bool) -> None:
        """What the line shows while nobody drives it."""
        self._state = level
        self.clear_states()


class SimulatedPin(_InTime, MockPin):  # type: ignore[misc]  # gpiozero is untyped
    """A line that keeps its level when it is released, as Raspberry Pi's kernel does."""

    def close(self) -> None:
        self.when_changed = None


class SimulatedPWMPin(_InTime, MockPWMPin):  # type: ignore[misc]  # gpiozero is untyped
    """A line with pulses; its level is the share of time it is high. Pulses end when it is released."""

    def close(self) -> None:
        self.when_changed = None
        self._set_frequency(None)
        self._function = "input"

    def _set_frequency(self, value: float | None) -> None:
        self._frequency: float | None = value  # the level stays until it is set: the safe one is already there


class SimulatedFactory(MockFactory):  # type: ignore[misc]  # gpiozero is untyped
    """Pins that live in our clock. `note` hears of every transition of an output line."""

    def __init__(
        self, *, clock: Clock, trace: IO[str] | None, held: Mapping[str, bool | float] = MappingProxyType({})
    ) -> None:
        """`held`: the levels of lines that an earlier process drove."""
        super().__init__(revision=REVISION, pin_class=SimulatedPin)
        self._clock, self._trace, self._held = clock, trace, held
        self._outputs: dict[str, Output] = {}

    def follow(self, outputs: Iterable[Output]) -> set[str]:
        """Drive these outputs from now on; returns the lines that were looked at before."""
        self._outputs = {line.pin: line for line in outputs}
        for info, pin in list(self.pins.items()):
            output = self._outputs.get(info.name)
            if (output is not None and output.kind == "pwm") != isinstance(pin, SimulatedPWMPin):
                del self.pins[info]
                self.pin(info.name).idle(pin.state)
        return {info.name for info in self.pins}

    def ticks(self) -> float:
        """Seconds of boottime."""
        return self._clock.boottime_ns() / 1e9

    def pin(self, name: str, pin_class: type[Any] | None = None, **options: Any) -> Any:
        """The pin; one with pulses where the configuration says so.

        What it drives is off until it is driven, or as an earlier process left it.
        """
        output = self._outputs.get(name)
        known = {info.name for info in self.pins}
        if pin_class is None and output is not None and output.kind == "pwm":
            pin_class = SimulatedPWMPin
        pin = super().pin(name, pin_class=pin_class, **options)
        if output is not None and name not in known:
            pin.idle(self._held.get(name, output.active_low))
        return pin

    def note(self, line: str, level: bool | float) -> None:
        """One transition of an output line, written and flushed before the program goes on."""
        if self._trace is None or line not in self._outputs:
            return
        entry = {
            "t_ns": self._clock.boottime_ns(),
            "channel": self._outputs[line].name,
            "line": line,
            "level": level,
        }
        self._trace.write(json.dumps(entry) + "\n")
        self._trace.flush()


class Simulated:
    """The board itself. Open it, give its `factory` to the lines, then `start` the scenario."""

    def __init__(self, config: Config, *, clock: Clock) -> None:
        self._clock = clock
        self._world: World = config.world if config.world is not None else World.empty()
        self._scenario = self._world.scenario
        self._random = random.Random(self._scenario.seed)  # noqa: S311 -- bounce
        held = self._left_behind()
        self._trace = self._open_trace()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moves: dict[str, asyncio.Task[None]] = {}
        self.factory = SimulatedFactory(clock=clock, trace=self._trace, held=held)
        self.follow(config)

    def follow(self, config: Config) -> None:
        """Have these lines from now on; what a line shows stays. No line that goes or changes may be open."""
        self._inputs = {line.name: line for line in config.inputs}
        self._outputs = {line.name: line for line in config.outputs}
        known = self.factory.follow(config.outputs)
        for line in config.inputs:  # contacts rest at false before anybody looks
            if line.pin not in known:
                self.factory.pin(line.pin).idle(line.inverted)

    def _left_behind(self) -> dict[str, bool | float]:
        """The levels that lines had when the last process with this trace ended, however it ended.

        A kernel that keeps a line's level (Raspberry Pi's) does as much. The trace of an earlier boot says nothing.
        """
        held: dict[str, bool | float] = {}
        path, now_ns = self._scenario.trace, self._clock.boottime_ns()
        if path is None or not path.is_file() or not os.access(path, os.R_OK):  # opening it for writing will say why
            return held
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                with suppress(ValueError, TypeError, KeyError):  # a line that a power cut left half written
                    entry = json.loads(text)
                    if entry["t_ns"] > now_ns:
                        held.clear()
                    else:
                        held[entry["line"]] = entry["level"]
        return held

    def _open_trace(self) -> IO[str] | None:
        if (path := self._scenario.trace) is None:
            return None
        try:
            return path.open("a", encoding="utf-8")
        except OSError as error:
            raise DeviceError(f"board: the trace {path} cannot be written: {error.strerror}") from None

    def start(self) -> None:
        """Begin the scenario; its time 0 is now."""
        self._world.begin(self._clock)
        self._spawn(self._play())

    def drive(self, name: str, value: bool) -> None:
        """Move the contact of an input, as its channel will show it after the bounce.

        Raises KeyError for no input.
        """
        self._move(name, self._bounce(self._inputs[name], value))

    def pulse(self, name: str, count: int = 1, *, every_s: float = 1.0) -> None:
        """Let an input close and open `count` times. Raises KeyError for no input."""
        closed_s = min(PULSE_S, every_s / 2)
        self._move(name, self._closings(self._inputs[name], count, closed_s=closed_s, open_s=every_s - closed_s))

    def press(self, name: str, for_s: float = PULSE_S, *, times: int = 1) -> None:
        """Hold an input closed for a while, several times in quick succession. Raises KeyError for no input."""
        self._move(name, self._closings(self._inputs[name], times, closed_s=for_s, open_s=PAUSE_S))

    def tell(self, sensor: str, **ambient: float) -> None:
        """Change the air around a simulated sensor: temperature °C, humidity %, pressure hPa, co2 ppm."""
        self._world.tell(sensor, ambient, clock=self._clock)

    def fail(self, sensor: str, error: str = "EIO", *, for_s: float) -> None:
        """Let a simulated sensor fail with this errno for a while."""
        self._world.fail(sensor, error, for_s=for_s, clock=self._clock)

    def level(self, name: str) -> bool | float:
        """The electrical level of an input's or output's line, as a meter on the pin would show it."""
        line: Input | Output = self._inputs.get(name) or self._outputs[name]
        level: bool | float = self.factory.pin(line.pin).state
        return level

    def close(self) -> None:
        """End the scenario and the trace; closing twice is fine."""
        for task in (*self._tasks, *self._moves.values()):
            task.cancel()
        self._tasks.clear()
        self._moves.clear()
        if self._trace is not None:
            self._trace.close()

    def _move(self, name: str, motion: Coroutine[Any, Any, None]) -> None:
        """Start a motion of a contact; it ends one that is under way."""
        if (running := self._moves.pop(name, None)) is not None:
            running.cancel()
        self._moves[name] = asyncio.create_task(motion)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self) -> None:
        for at_s, step in self._scenario.steps():
            await self._clock.sleep(at_s - self._world.elapsed_s(self._clock))
            self._do(step)

    def _do(self, step: Step) -> None:
        if step.line is None:
            return  # the weather is a function of time: the sensors see it by themselves
        if step.pulses is not None:
            self.pulse(step.line, step.pulses, every_s=step.every_s)
        elif step.press_s is not None:
            self.press(step.line, step.press_s, times=step.times)
        elif step.value is not None:
            self.drive(step.line, step.value)

    async def _bounce(self, line: Input, value: bool) -> None:
        """Contacts touch and part a few times, ever sooner at rest, before they stay."""
        bounce_s = self._scenario.contact.get(line.name, Contact()).bounce_s
        touches = 2 * self._random.randint(1, 4) if bounce_s else 0
        instants = sorted(self._random.uniform(0, bounce_s) for _ in range(touches))
        passed = 0.0
        self._show(line, value)
        shown = value
        for instant in instants:
            await self._clock.sleep(instant - passed)
            passed, shown = instant, not shown
            self._show(line, shown)

    async def _closings(self, line: Input, count: int, *, closed_s: float, open_s: float) -> None:
        for index in range(count):
            if index:
                await self._clock.sleep(open_s)
            await self._bounce(line, True)
            await self._clock.sleep(closed_s)
            await self._bounce(line, False)

    def _show(self, line: Input, value: bool) -> None:
        pin = self.factory.pin(line.pin)
        if pin.function != "input":
            return
        if value != line.inverted:
            pin.drive_high()
        else:
            pin.drive_low()
