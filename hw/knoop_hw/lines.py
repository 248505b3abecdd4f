"""Inputs and outputs: one gpiozero device each, whatever the pin factory.

On gpiod the kernel debounces, stamps and numbers edges. Elsewhere gpiozero may call from a thread of its own: the
callback does nothing but stamp the edge and put it where the loop takes it from, and debouncing happens here
(gpiozero's mock has none, lgpio's delays the stamp).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.debounce import Debounce
from knoop_hw.errors import DeviceError
from knoop_hw.tables import Input, Output
from knoop_hw.timer import Timer

PWM_HZ = 100  # gpiozero's default: above flicker, and far below what software pulses can do
WAITING = 4096  # edges that wait for the loop, half a megabyte: 2 min of a meter that gives 30 ms on, 30 ms off


@dataclass(frozen=True, slots=True)
class Edge:
    """A change of a line after debouncing: `level` true is active.

    `at_ns` is boottime; with debounce that of the edge that began the rest. `lost`: edges that the kernel counted but
    could not keep, just before this one.
    """

    level: bool
    at_ns: int
    lost: int = 0


OnEdges = Callable[[Sequence[Edge]], None]


class InputLine:
    """An open input: `level` now, and `on_edges` hears of each change after debouncing, a counter's of pulses only.

    `lost` counts, since it opened, the edges that the kernel could not keep. `on_edges` is called in the event loop,
    never from here. Raises DeviceError that names the input. Close it in the loop's thread; closing twice is fine.
    """

    def __init__(self, config: Input, *, factory: Any, clock: Clock, on_edges: OnEdges) -> None:
        import gpiozero  # noqa: PLC0415 -- 2.3 MB that importing knoop_hw must not cost

        pull: dict[str, Any] = {"up": {"pull_up": True}, "down": {"pull_up": False}}
        bias = pull.get(config.bias, {"pull_up": None, "active_state": True})
        place = f"input.{config.name}"
        self._place = f"{place}: {config.pin}"
        _call(config, factory)
        self._device = _open(place, config.pin, lambda: gpiozero.InputDevice(config.pin, pin_factory=factory, **bias))
        pin = self._device.pin
        self._listening: _Kernel | _Ours
        try:
            if hasattr(pin, "listen"):
                self._listening = _Kernel(config, pin, on_edges)
            else:
                self._listening = _Ours(config, pin, on_edges, clock)
        except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
            self._device.close()
            raise DeviceError(f"{place}: {config.pin} tells of no edges ({error}); take another line") from None

    @property
    def level(self) -> bool:
        """Whether the line is active, after debouncing."""
        return self._listening.level

    @property
    def lost(self) -> int:
        """Edges that were counted but not kept, since the line opened."""
        return self._listening.lost

    def look(self) -> bool:
        """What the line shows, asked anew. Raises DeviceError when it cannot be read."""
        try:
            return self._listening.shown()
        except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
            reason = getattr(error, "strerror", None) or error
            text = f"{self._place} cannot be read ({reason}); look at its chip and that one's cable"
            raise DeviceError(f"{text}; a chip that was unplugged needs a new start of Knoop") from None

    def resume(self) -> bool:
        """What the line shows is its level, whatever was told before. Raises DeviceError when it cannot be read."""
        self._listening.resume(level := self.look())
        return level

    def close(self) -> None:
        """Let go of the line."""
        self._listening.close()
        self._device.close()


class _Kernel:
    """The kernel debounces, stamps and numbers (`gpiod_pins`). A counter asks it only for edges to active.

    The level is looked at after listening began: an edge from then on is told, and one before it is in the level.
    """

    def __init__(self, config: Input, pin: Any, on_edges: OnEdges) -> None:
        self._pin, self._on_edges = pin, on_edges
        self._inverted, self._counts = config.inverted, config.kind == "counter"
        self.lost = 0
        active = "falling" if config.inverted else "rising"
        pin.listen(self._told, edges=active if self._counts else "both", debounce_s=config.debounce_s)
        self._level = self.shown()

    def shown(self) -> bool:
        return bool(self._pin.state) != self._inverted

    @property
    def level(self) -> bool:
        return self.shown() if self._counts else self._level

    def resume(self, level: bool) -> None:
        self._level = level

    def _told(self, changes: Sequence[Any]) -> None:
        edges = []
        for change in changes:
            level = change.high != self._inverted
            self.lost += change.lost
            # One that changes nothing was in the level already, or is half of a pulse shorter than an interrupt.
            if self._counts or change.lost or level != self._level:
                edges.append(Edge(level=level, at_ns=change.at_ns, lost=change.lost))
            self._level = level
        if edges:
            self._on_edges(edges)

    def close(self) -> None:
        """Nothing: the line that is closed tells no more."""


class _Ours:
    """For pins without all that: debounced here. Of the edges that wait for a loop that hangs the last are kept."""

    def __init__(self, config: Input, pin: Any, on_edges: OnEdges, clock: Clock) -> None:
        self._config, self._pin, self._clock, self._on_edges = config, pin, clock, on_edges
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(self._settle, clock=clock)
        self._debounce = Debounce(self.shown(), rest_ns=int(config.debounce_s * 1e9))
        self._waiting: deque[tuple[bool, int]] = deque(maxlen=WAITING)
        self._came = self._taken = 0  # the first is written by the callback only, the second by the loop only
        self.lost = self._untold = 0
        self._woken = self._closed = False
        pin.edges = "both"
        pin.when_changed = self._on_edge

    @property
    def level(self) -> bool:
        return self._debounce.level

    def shown(self) -> bool:
        return bool(self._pin.state) != self._config.inverted

    def resume(self, level: bool) -> None:
        self._take()
        self._debounce = Debounce(level, rest_ns=int(self._config.debounce_s * 1e9))
        self._timer.at(None)

    def _on_edge(self, ticks: float, state: float) -> None:
        """May run on any thread."""
        factory = self._pin.factory
        age_s = max(0.0, factory.ticks_diff(factory.ticks(), ticks))
        at_ns = self._clock.boottime_ns() - int(age_s * 1e9)
        self._waiting.append((bool(state) != self._config.inverted, at_ns))
        self._came += 1
        if not self._woken and not self._closed:
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._closed:
            self._take()
            self._timer.at(self._debounce.due_ns)

    def _take(self) -> None:
        """Let the edges that wait count, in order."""
        self._woken = False  # first: one that comes from now on wakes anew
        came = self._came
        edges = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._taken += len(edges)
        gone = max(0, came - self._taken - self.lost)  # one that came just now is counted the next time
        self.lost += gone
        if self._config.kind != "counter":
            self._untold += gone
        elif not self._config.debounce_s:  # with it nobody knows how many of them were pulses
            self._untold += gone // 2
        for level, at_ns in edges:
            self._accept(self._debounce.edge(level, at_ns))
            if not self._config.debounce_s:
                self._accept(self._debounce.settle(at_ns, actual=level))

    def _settle(self) -> None:
        self._take()
        self._accept(self._debounce.settle(self._clock.boottime_ns(), actual=self.shown()))
        self._timer.at(self._debounce.due_ns)

    def _accept(self, at_ns: int | None) -> None:
        if at_ns is not None and (self.level or self._config.kind != "counter"):
            lost, self._untold = self._untold, 0
            self._on_edges((Edge(level=self.level, at_ns=at_ns, lost=lost),))

    def close(self) -> None:
        self._closed = True
        self._timer.close()
        self._pin.when_changed = None


class OutputLine:
    """An open output: `value` is read back from the line; true or false, or 0 to 100 %.

    It opens with `initial`, direction and level together. Raises DeviceError that names the output.
    """

    def __init__(self, config: Output, *, factory: Any, initial: bool) -> None:
        import gpiozero  # noqa: PLC0415 -- 2.3 MB that importing knoop_hw must not cost

        self._config = config
        self._place = f"output.{config.name}"
        _call(config, factory)
        options: dict[str, Any] = {"active_high": not config.active_low, "pin_factory": factory}
        if config.kind == "pwm" and hasattr(factory, "pwm"):
            self._device = _pulses(self._place, config, factory.pwm, float(initial))
        elif config.kind == "pwm":
            options |= {"initial_value": float(initial), "frequency": PWM_HZ}
            self._device = _open(self._place, config.pin, lambda: gpiozero.PWMOutputDevice(config.pin, **options))
        else:
            options["initial_value"] = initial
            self._device = _open(self._place, config.pin, lambda: gpiozero.DigitalOutputDevice(config.pin, **options))

    @property
    def value(self) -> bool | float:
        """The level of the line now. Raises DeviceError."""
        try:
            level = self._device.value
        except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
            raise DeviceError(f"{self._place}: {self._config.pin} cannot be read ({error})") from None
        return round(level * 100, 2) if self._config.kind == "pwm" else bool(level)

    def set(self, value: bool | float) -> bool | float:
        """Set the level and return the one read back. Raises DeviceError."""
        try:
            self._device.value = value / 100 if self._config.kind == "pwm" else bool(value)
        except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
            raise DeviceError(f"{self._place}: {self._config.pin} cannot be set ({error})") from None
        return self.value

    def close(self) -> None:
        """Let go of the line as it is; what the kernel then does is in docs/outputs.md.

        Closing twice is fine.
        """
        self._device.close()


def _pulses(place: str, config: Output, pwm: Any, initial: float) -> Any:
    """The kernel's own: `value` and `close`, as gpiozero's device has them. The line itself must not be asked for."""
    try:
        return pwm.open(config.pin, active_low=config.active_low, initial=initial, hz=PWM_HZ)
    except DeviceError as error:
        raise DeviceError(f"{place}: {error}") from None


def _call(config: Input | Output, factory: Any) -> None:
    """Let `gpioinfo` name whose line it is, where the factory can tell the kernel."""
    if hasattr(factory, "consumers"):
        factory.consumers[config.pin] = f"knoop {config.name}"


def _open(place: str, pin: str, make: Callable[[], Any]) -> Any:
    """What `make` opens. gpiozero and lgpio raise many kinds; each becomes a sentence with the remedy."""
    import gpiozero  # noqa: PLC0415

    try:
        return make()
    except gpiozero.PinInvalidPin:
        raise DeviceError(f"{place}: this board has no line {pin}; see `pinout`") from None
    except gpiozero.GPIOPinInUse as error:
        user = getattr(error, "consumer", None)
        text = f"is in use by '{user}'; end that, or take another line" if user else "is already open in this process"
        raise DeviceError(f"{place}: {pin} {text}") from None
    except gpiozero.PinFixedPull:
        raise DeviceError(f'{place}: {pin} has a resistor that pulls it up; set pull = "up"') from None
    except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
        if "busy" in str(error):
            text = f"{place}: {pin} is in use by another program; `gpioinfo` names it"
        else:
            text = f"{place}: {pin} does not open ({error})"
        raise DeviceError(text) from None
