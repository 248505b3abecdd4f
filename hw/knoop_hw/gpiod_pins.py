"""A gpiozero pin factory on the kernel's GPIO character device (libgpiod 2): no thread, no polling.

Edges are debounced, stamped and numbered by the kernel and arrive in the event loop. gpiozero has none on gpiod
(its issue 840). Source: the kernel's Documentation/userspace-api/gpio/chardev.rst and drivers/gpio/gpiolib-cdev.c.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal

from gpiozero.exc import (
    GPIOPinInUse,
    PinEdgeDetectUnsupported,
    PinFixedPull,
    PinInvalidEdges,
    PinInvalidFunction,
    PinInvalidPin,
    PinInvalidPull,
    PinPWMUnsupported,
    PinSetInput,
    PinUnknownPi,
)
from gpiozero.pins import BoardInfo, HeaderInfo, PinInfo
from gpiozero.pins.local import LocalPiFactory, LocalPiPin
from gpiozero.pins.pi import PiBoardInfo

from knoop_hw import chips
from knoop_hw.clock import Clock, SystemClock, monotonic_ns
from knoop_hw.kernel_edges import KEPT, Ahead, Change, Numbers, Pace
from knoop_hw.pwm import KernelPwm
from knoop_hw.timer import Timer

log = logging.getLogger(__name__)

Edges = Literal["both", "rising", "falling"]
NAME_BYTES = 31  # of a consumer (GPIO_MAX_NAME_SIZE, with its zero)


class Busy(GPIOPinInUse):  # type: ignore[misc]  # gpiozero is untyped
    """Another program has the line; `consumer` is what it calls itself."""

    def __init__(self, line: str, consumer: str) -> None:
        self.consumer = consumer
        super().__init__(f"{line} is in use by '{consumer}'")


class GpiodFactory(LocalPiFactory):  # type: ignore[misc]  # gpiozero is untyped
    """`Device.pin_factory = GpiodFactory()`. `consumers`: what a line's user is called in `gpioinfo`, by `GPIO17`.

    `chip` as `[board] chip`. On a board that is no Raspberry Pi, GPIOn is the line of that name, else line n. `pwm`
    makes the pulses that gpiod cannot. Edges need a running event loop, in whose thread everything here must happen.
    Raises DeviceError.
    """

    def __init__(self, chip: str | None = None, *, clock: Clock | None = None) -> None:
        super().__init__()
        self._info: Any = None  # gpiozero's name for what board it is
        self.chip = chips.choose(chips.here(), chip)
        self.lines = chips.lines(self.chip)
        self.consumers: dict[str, str] = {}
        self.pwm = KernelPwm()
        self.clock = SystemClock() if clock is None else clock
        self.ahead = Ahead()
        for _ in range(3):  # one of them without an interruption
            self.ahead.seen(self.clock.boottime_ns(), monotonic_ns())
        self.library = chips.gpiod()
        self.device = self.library.Chip(self.chip.path)
        self.pin_class = GpiodPin

    def _get_board_info(self) -> Any:
        if self._info is None:
            try:
                self._info = PiBoardInfo.from_revision(self._get_revision())
            except (PinUnknownPi, OSError):  # a unit may hide /proc
                self._info = _plain(self.chip)
        return self._info

    def close(self) -> None:
        """Let go of all lines; closing twice is fine."""
        super().close()
        self.device.close()


def _plain(chip: chips.Chip) -> BoardInfo:
    """A board of which nothing is known but its lines; those of a Raspberry Pi without a revision pull two up."""
    pins = {
        n: PinInfo(
            number=n, name=f"GPIO{n}", names=frozenset({n, str(n), f"GPIO{n}"}), row=n + 1, col=1,
            pull="up" if n in {2, 3} and chip.label in chips.HEADERS else "", interfaces=frozenset({"gpio"}),
        )
        for n in range(chip.size)
    }  # fmt: skip
    nothing = dict.fromkeys(BoardInfo._fields)
    header = HeaderInfo(name=chip.name, rows=chip.size, columns=1, pins=pins)
    return BoardInfo(**{**nothing, "revision": "", "model": chip.label, "headers": {chip.name: header}})


class GpiodPin(LocalPiPin):  # type: ignore[misc]  # gpiozero is untyped
    """A line: one request while it is in use. `close` lets go of it as it is; what it does then is the kernel's."""

    def __init__(self, factory: GpiodFactory, info: Any) -> None:
        super().__init__(factory, info)
        line = chips.line_of(info.name, factory.lines)
        if line is None:
            raise PinInvalidPin(f"{factory.chip} has no line {info.name}")
        self._line = line.number
        self._request: Any = None
        self._rest()

    def _rest(self) -> None:
        """What holds for a line that nobody has asked for."""
        self._kind: Literal["input", "output"] | None = None
        self._bias = "floating"
        self._edges: Edges = "both"
        self._bounce_s = 0.0
        self._numbers, self._pace = Numbers(), Pace()
        self._told: Callable[[Sequence[Change]], None] | None = None
        self._since_ns = 0  # of CLOCK_MONOTONIC
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: Timer | None = None

    # The line itself

    def _settle(self, *, high: bool | None = None) -> None:
        """Have the line as it is wanted now, in one step; `high` is the level of an output that begins."""
        line = self.factory.library.line
        biases = {"floating": line.Bias.DISABLED, "up": line.Bias.PULL_UP, "down": line.Bias.PULL_DOWN}
        edges = {"both": line.Edge.BOTH, "rising": line.Edge.RISING, "falling": line.Edge.FALLING}
        settings = self.factory.library.LineSettings(event_clock=line.Clock.MONOTONIC)
        if self._kind == "output":
            settings.direction = line.Direction.OUTPUT
            settings.output_value = line.Value.ACTIVE if high else line.Value.INACTIVE
        elif self._kind == "input":
            settings.direction = line.Direction.INPUT
            settings.bias = biases[self._bias]
            if self._told is not None:
                settings.edge_detection = edges[self._edges]
                settings.debounce_period = timedelta(seconds=self._bounce_s)
        if self._request is not None:
            self._request.reconfigure_lines({self._line: settings})
            return
        consumer = self.factory.consumers.get(self.info.name, "gpiozero")
        try:
            self._request = self.factory.device.request_lines(
                {self._line: settings}, consumer=_short(consumer), event_buffer_size=KEPT
            )
        except OSError as error:
            self._kind = None
            if error.errno != errno.EBUSY:
                raise
            user = self.factory.device.get_line_info(self._line).consumer
            raise Busy(self.info.name, user or "another driver") from None

    def output_with_state(self, state: bool) -> None:
        """Direction and level in one step."""
        self._stop()
        self._kind = "output"
        self._settle(high=bool(state))

    def _get_function(self) -> str:
        if self._kind is not None:
            return self._kind
        direction = self.factory.device.get_line_info(self._line).direction
        return "output" if direction == self.factory.library.line.Direction.OUTPUT else "input"

    def _set_function(self, value: str) -> None:
        if value == "output":
            self.output_with_state(self.state)  # it begins with the level that it has
        elif value == "input":
            self._kind = "input"
            self._settle()
        else:
            raise PinInvalidFunction(f"invalid function '{value}' for {self!r}")

    def _get_state(self) -> bool:
        if self._request is None:
            self._settle()  # as it is
        return bool(self._request.get_value(self._line).value)

    def _set_state(self, value: bool) -> None:
        if self._kind != "output":
            raise PinSetInput(f"cannot set the state of {self!r}, an input")
        line = self.factory.library.line
        self._request.set_value(self._line, line.Value.ACTIVE if value else line.Value.INACTIVE)

    def _get_pull(self) -> str:
        return self._bias

    def _set_pull(self, value: str) -> None:
        if self._kind != "input":
            raise PinFixedPull(f"cannot pull {self!r}, which is no input")
        if self.info.pull not in {value, ""}:
            raise PinFixedPull(f"{self!r} has a physical pull-{self.info.pull} resistor")
        if value not in {"up", "down", "floating"}:
            raise PinInvalidPull(f"invalid pull '{value}' for {self!r}")
        self._bias = value
        self._settle()

    def _get_frequency(self) -> None:
        return None

    def _set_frequency(self, value: float | None) -> None:
        if value is not None:
            raise PinPWMUnsupported(
                f"{self!r}: gpiod makes no pulses; take the kernel's (dtoverlay=pwm: GPIO12, 13, 18, 19) or lgpio's"
            )

    # Edges

    def _get_bounce(self) -> float | None:
        return self._bounce_s or None

    def _set_bounce(self, value: float | None) -> None:
        self._bounce_s = value or 0.0

    def _get_edges(self) -> str:
        return self._edges

    def _set_edges(self, value: Edges) -> None:
        if value not in {"both", "rising", "falling"}:
            raise PinInvalidEdges(f"invalid edges '{value}' for {self!r}")
        self._edges = value

    def _enable_event_detect(self) -> None:
        self.listen(self._call_for_each, edges=self._edges, debounce_s=self._bounce_s)

    def _disable_event_detect(self) -> None:
        self._stop()

    def _call_for_each(self, changes: Sequence[Change]) -> None:
        """For gpiozero's `when_changed`; its ticks are seconds of CLOCK_MONOTONIC."""
        for change in changes:
            ago_s = (self.factory.clock.boottime_ns() - change.at_ns) / 1e9
            self._call_when_changed(self.factory.ticks() - ago_s, change.high)

    def listen(self, told: Callable[[Sequence[Change]], None], *, edges: Edges, debounce_s: float) -> None:
        """Tell of these edges from now on, in the event loop, several at a time when they come fast.

        What the kernel tells of before this returns is left out: the level that is looked at next has it, and a
        controller may hand over an edge that it saw while nobody listened (PL061).
        """
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise PinEdgeDetectUnsupported(f"{self!r}: edges arrive in an event loop; none is running here") from None
        self._told, self._edges, self._bounce_s = told, edges, debounce_s
        self._kind = "input"
        self._timer = Timer(self._watch, clock=self.factory.clock)
        self._settle()
        self._since_ns = monotonic_ns()
        self._watch()

    def _watch(self) -> None:
        if self._loop is not None and self._request is not None:
            self._loop.add_reader(self._request.fd, self._read)

    def _read(self) -> None:
        now_ns = self.factory.clock.boottime_ns()
        # The kernel stamps with CLOCK_MONOTONIC, after debouncing: when the line had rested, not when it changed.
        ahead_ns = self.factory.ahead.seen(now_ns, monotonic_ns()) - int(self._bounce_s * 1e9)
        try:
            events = self._request.read_edge_events(KEPT)
        except OSError as error:
            log.error("%r tells of no more edges: %s", self, error)  # its chip is gone: asking again would not help
            self._unwatch()
            return
        if self._timer is not None and (rest_s := self._pace.rest_s(now_ns)):
            self._unwatch()
            self._timer.at(now_ns + int(rest_s * 1e9))
        rising = self.factory.library.EdgeEvent.Type.RISING_EDGE
        changes = [
            Change(event.event_type is rising, event.timestamp_ns + ahead_ns, self._numbers.lost(event.line_seqno))
            for event in events
        ]
        if self._told is not None:
            self._told([change for change, event in zip(changes, events, strict=True)
                        if event.timestamp_ns >= self._since_ns])  # fmt: skip

    def _unwatch(self) -> None:
        if self._loop is not None and not self._loop.is_closed() and self._request is not None:
            self._loop.remove_reader(self._request.fd)

    def _stop(self) -> None:
        """Listen no more; the line stays ours."""
        if self._told is None:
            return
        self._unwatch()
        if self._timer is not None:
            self._timer.close()
        self._told = self._loop = self._timer = None
        self._settle()
        while self._request.wait_edge_events(0):
            self._numbers.lost(self._request.read_edge_events(KEPT)[-1].line_seqno)

    def close(self) -> None:
        """Let go of the line, without another level or direction; closing twice is fine."""
        if self._timer is not None:
            self._timer.close()
        self._unwatch()
        request, self._request = self._request, None
        self._when_changed = None
        self._rest()
        if request is not None:
            request.release()


def _short(name: str) -> str:
    return name.encode()[:NAME_BYTES].decode(errors="ignore")
