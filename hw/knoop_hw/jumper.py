"""Two lines and the wire between them: real ones by gpiod, and simulated ones for trying out the self-test itself.

The lines are asked for one by one and nothing is cached, so that what is measured is the kernel and the board.
Source: the kernel's Documentation/userspace-api/gpio/gpio-v2-line-request-ioctl.rst.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

from knoop_hw import chips
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError

Pull = Literal["up", "down", "none"]
CONSUMER = "knoop probe"
START_S = 20  # a Zero takes 2 s to start Python with gpiod; an emulated one under load took 9
# Takes the line as an output, says so, and waits to be killed. In argv: the chip, the line, the level.
_CHILD = """
import sys, gpiod
from gpiod.line import Direction, Value
settings = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value(int(sys.argv[3])))
with gpiod.request_lines(sys.argv[1], consumer="knoop probe child", config={int(sys.argv[2]): settings}):
    print("there", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """An edge at the listening line: its number as the kernel counts, from 1, those that were lost included."""

    level: bool
    number: int


class Wire(Protocol):
    """What the self-test needs of two lines. Every method raises DeviceError."""

    simulated: bool
    names: tuple[str, str]

    def drive(self, level: bool) -> None:
        """Make the first line an output that has this level, direction and level together; or change its level."""
        ...

    def rest(self, pull: Pull) -> None:
        """Make the first line an input with this pull."""
        ...

    def release(self) -> None:
        """Let go of the first line as it is."""
        ...

    def kill_child(self, level: bool) -> None:
        """Let another process have the first line as an output of this level, and end it by SIGKILL."""
        ...

    def listen(self, pull: Pull, *, debounce_s: float = 0.0, keep: int = 1024) -> None:
        """Ask anew for the second line, as an input with both edges; the kernel keeps the last `keep` of them."""
        ...

    def level(self) -> bool:
        """What the second line shows."""
        ...

    def edges(self, within_s: float) -> list[Seen]:
        """Edges that came since they were last asked for; waits for the first one."""
        ...

    def close(self) -> None:
        """Make the first line an input without a pull, and let go of both; closing twice is fine."""
        ...


class GpiodWire:
    """Two lines of a real chip."""

    simulated = False

    def __init__(self, chip: str, out: tuple[str, int], into: tuple[str, int]) -> None:
        """`chip`: its device. The lines: their names and numbers."""
        self.names = (out[0], into[0])
        self._gpiod = chips.gpiod()
        self._chip, self._out, self._in = chip, out[1], into[1]
        self._driver: Any = None
        self._listener: Any = None
        self._driving = self._touched = False

    def drive(self, level: bool) -> None:
        line = self._gpiod.line
        value = line.Value(int(level))
        if self._driving:
            self._driver.set_value(self._out, value)
            return
        self.release()
        self._driver = self._asked(self.names[0], self._out, direction=line.Direction.OUTPUT, output_value=value)
        self._driving = self._touched = True

    def rest(self, pull: Pull) -> None:
        self.release()
        line = self._gpiod.line
        self._driver = self._asked(self.names[0], self._out, direction=line.Direction.INPUT, bias=self._bias(pull))

    def release(self) -> None:
        if self._driver is not None:
            self._driver.release()
            self._driver = None
        self._driving = False

    def kill_child(self, level: bool) -> None:
        self.release()
        self._touched = True
        command = [sys.executable, "-I", "-c", _CHILD, self._chip, str(self._out), str(int(level))]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 -- our own words
        try:
            assert child.stdout is not None
            if child.stdout.readline() != b"there\n":
                raise DeviceError(f"{self.names[0]}: a second process could not have it")
        finally:
            child.kill()
            child.communicate()

    def listen(self, pull: Pull, *, debounce_s: float = 0.0, keep: int = 1024) -> None:
        if self._listener is not None:
            self._listener.release()
            self._listener = None
        line = self._gpiod.line
        self._listener = self._asked(
            self.names[1], self._in, buffer=keep, direction=line.Direction.INPUT, bias=self._bias(pull),
            edge_detection=line.Edge.BOTH, debounce_period=timedelta(seconds=debounce_s),
        )  # fmt: skip

    def level(self) -> bool:
        return bool(self._listener.get_value(self._in) == self._gpiod.line.Value.ACTIVE)

    def edges(self, within_s: float) -> list[Seen]:
        if not self._listener.wait_edge_events(within_s):
            return []
        rising = self._gpiod.EdgeEvent.Type.RISING_EDGE
        return [Seen(event.event_type == rising, event.line_seqno) for event in self._listener.read_edge_events()]

    def close(self) -> None:
        try:
            if self._touched:
                self.rest("none")
        finally:
            self._touched = False
            self.release()
            if self._listener is not None:
                self._listener.release()
                self._listener = None

    def _bias(self, pull: Pull) -> Any:
        bias = self._gpiod.line.Bias
        return {"up": bias.PULL_UP, "down": bias.PULL_DOWN, "none": bias.DISABLED}[pull]

    def _asked(self, name: str, number: int, *, buffer: int | None = None, **settings: Any) -> Any:
        try:
            return self._gpiod.request_lines(
                self._chip, consumer=CONSUMER, event_buffer_size=buffer,
                config={number: self._gpiod.LineSettings(**settings)},
            )  # fmt: skip
        except OSError as error:
            raise DeviceError(f"{name}: it cannot be had ({error.strerror or error}); see `knoop probe`") from None


class SimulatedWire:
    """Two lines of no board, joined. It shows what the self-test says; of a real board it says nothing.

    `wire`: whether there is one. `keeps`: an output keeps its level when it is released, as on Raspberry Pi's kernels.
    `pulls`: whether the chip has pulls. `deaf`: every edge of this number is not noticed at all, 0 for none.
    """

    simulated = True

    def __init__(
        self, names: tuple[str, str], *, clock: Clock, wire: bool = True, keeps: bool = True, pulls: bool = True,
        deaf: int = 0,
    ) -> None:  # fmt: skip
        self.names = names
        self._clock, self._wire, self._keeps, self._pulls, self._deaf = clock, wire, keeps, pulls, deaf
        self._driven: bool | None = None
        self._out_pull: Pull = "none"
        self._in_pull: Pull = "none"
        self._shown = False
        self._count = self._happened = 0
        self._kept: deque[Seen] = deque()
        self._debounce_ns = 0
        self._unsettled: tuple[bool, int] | None = None

    def drive(self, level: bool) -> None:
        self._driven = level
        self._settle()

    def rest(self, pull: Pull) -> None:
        self._driven, self._out_pull = None, pull
        self._settle()

    def release(self) -> None:
        if not self._keeps and self._driven is not None:
            self.rest("none")

    def kill_child(self, level: bool) -> None:
        self.drive(level)
        self.release()

    def listen(self, pull: Pull, *, debounce_s: float = 0.0, keep: int = 1024) -> None:
        self._in_pull = pull
        self._settle()
        self._kept = deque(maxlen=keep)
        self._count, self._debounce_ns, self._unsettled = 0, int(debounce_s * 1e9), None

    def level(self) -> bool:
        return self._shown

    def edges(self, within_s: float) -> list[Seen]:  # noqa: ARG002 -- here all is there at once
        self._believe()
        seen = [*self._kept]
        self._kept.clear()
        return seen

    def close(self) -> None:
        self.rest("none")

    def _settle(self) -> None:
        pulls: tuple[Pull, ...] = (self._in_pull, self._out_pull if self._wire else "none") if self._pulls else ()
        if self._wire and self._driven is not None:
            level = self._driven
        else:  # nothing holds it: a pull does, or it stays where it was
            level = "up" in pulls if {*pulls} - {"none"} else self._shown
        if level == self._shown:
            return
        self._shown = level
        self._happened += 1
        if self._deaf and self._happened % self._deaf == 0:
            return
        self._believe()
        if self._debounce_ns:
            self._unsettled = (level, self._clock.boottime_ns())
        else:
            self._note(level)

    def _believe(self) -> None:
        """A level that has rested long enough is an edge, as the kernel's debouncing has it."""
        if self._unsettled is not None and self._clock.boottime_ns() - self._unsettled[1] >= self._debounce_ns:
            self._note(self._unsettled[0])
            self._unsettled = None

    def _note(self, level: bool) -> None:
        self._count += 1
        self._kept.append(Seen(level, self._count))
