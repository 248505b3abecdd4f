"""Inputs and outputs: one gpiozero device each, whatever the pin factory.

gpiozero may call from a thread of its own: the callback does nothing but stamp the edge and hand it to the
loop. Debouncing happens here, the same for every factory (gpiozero's mock has none, lgpio's delays the
stamp).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError
from knoop_hw.model import Value
from knoop_hw.tables import Input, Output
from knoop_hw.timer import Timer

PWM_HZ = 100  # gpiozero's default: above flicker, and far below what software pulses can do

Report = Callable[[Value, int], None]  # value, boottime_ns of the edge


class Debounce:
    """A level that counts once it has rested for `rest_ns`. Pure.

    The accepted level carries the time of the edge that began its rest, not of the moment it was believed.
    """

    def __init__(self, level: bool, *, rest_ns: int) -> None:
        self.level = level
        self._rest_ns = rest_ns
        self._edge: tuple[bool, int] | None = None

    def edge(self, level: bool, at_ns: int) -> None:
        """The line changed to `level`."""
        if self._edge is not None and self._edge[0] == level:
            return  # the edge between was lost: the level may have rested since the first
        self._edge = None if self._edge is None and level == self.level else (level, at_ns)

    @property
    def due_ns(self) -> int | None:
        """When `settle` may be asked."""
        return None if self._edge is None else self._edge[1] + self._rest_ns

    def settle(self, now_ns: int, *, actual: bool) -> int | None:
        """When the new level began, if it has rested by now and the line (`actual`) still has it.

        Else None.
        """
        if self._edge is None or self.due_ns is None or now_ns < self.due_ns:
            return None
        level, at_ns = self._edge
        if actual != level:  # an edge was lost: what the line shows counts, from now
            self._edge = (actual, now_ns)
            return None
        self._edge = None
        if level == self.level:
            return None
        self.level = level
        return at_ns


class InputLine:
    """An open input: reports its value when it opens and at each change, a counter at each pulse.

    Raises DeviceError that names the input. Close it in the loop's thread; closing twice is fine.
    """

    def __init__(self, config: Input, *, factory: Any, clock: Clock, report: Report) -> None:
        import gpiozero  # noqa: PLC0415 -- 2.3 MB that importing knoop_hw must not cost

        self._config, self._clock, self._report = config, clock, report
        self._loop = asyncio.get_running_loop()
        pull: dict[str, Any] = {"up": {"pull_up": True}, "down": {"pull_up": False}}
        bias = pull.get(config.pull, {"pull_up": None, "active_state": True})
        place = f"input.{config.name}"
        self._device = _open(place, config.pin, lambda: gpiozero.InputDevice(config.pin, pin_factory=factory, **bias))
        self._factory = self._device.pin.factory
        self._timer = Timer(self._settle, clock=clock)
        self._debounce = Debounce(self._level(), rest_ns=int(config.debounce_s * 1e9))
        self._count = 0
        try:
            self._device.pin.edges = "both"
            self._device.pin.when_changed = self._on_edge
        except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
            self._device.close()
            raise DeviceError(f"{place}: {config.pin} reports no edges ({error}); is the line shared?") from None
        self._report(self.value, clock.boottime_ns())

    @property
    def value(self) -> Value:
        """What the input says after debouncing: true, false, or pulses since it opened."""
        if self._config.kind == "counter":
            return float(self._count)
        return self._debounce.level

    def _level(self) -> bool:
        return bool(self._device.pin.state) != self._config.inverted

    def _on_edge(self, ticks: float, state: float) -> None:
        """May run on any thread."""
        age_s = max(0.0, self._factory.ticks_diff(self._factory.ticks(), ticks))
        at_ns = self._clock.boottime_ns() - int(age_s * 1e9)
        self._loop.call_soon_threadsafe(self._edge, bool(state) != self._config.inverted, at_ns)

    def _edge(self, level: bool, at_ns: int) -> None:
        if self._device.closed:
            return
        self._debounce.edge(level, at_ns)
        if self._config.debounce_s:
            self._timer.at(self._debounce.due_ns)
        else:
            self._accept(self._debounce.settle(at_ns, actual=level))

    def _settle(self) -> None:
        self._accept(self._debounce.settle(self._clock.boottime_ns(), actual=self._level()))
        self._timer.at(self._debounce.due_ns)

    def _accept(self, at_ns: int | None) -> None:
        if at_ns is None:
            return
        if self._config.kind == "counter":
            if not self._debounce.level:
                return
            self._count += 1
        self._report(self.value, at_ns)

    def close(self) -> None:
        """Let go of the line."""
        self._timer.close()
        if not self._device.closed:
            self._device.pin.when_changed = None
            self._device.close()


class OutputLine:
    """An open output: `value` is read back from the line; true or false, or 0 to 100 %.

    It opens with `initial`, direction and level together. Raises DeviceError that names the output.
    """

    def __init__(self, config: Output, *, factory: Any, initial: bool) -> None:
        import gpiozero  # noqa: PLC0415 -- 2.3 MB that importing knoop_hw must not cost

        self._config = config
        self._place = f"output.{config.name}"
        options: dict[str, Any] = {"active_high": not config.active_low, "pin_factory": factory}
        if config.kind == "pwm":
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
        """Let go of the line as it is; what the kernel then does is in docs/drivers.md.

        Closing twice is fine.
        """
        self._device.close()


def attempt(place: str, pin: str, *, factory: Any) -> None:
    """Take a line for an instant, as an input: raises DeviceError that names `place` when it cannot be had."""

    def claim() -> Any:
        line = factory.pin(pin)
        line.function = "input"
        return line

    _open(place, pin, claim).close()


def _open(place: str, pin: str, make: Callable[[], Any]) -> Any:
    """What `make` opens. gpiozero and lgpio raise many kinds; each becomes a sentence with the remedy."""
    import gpiozero  # noqa: PLC0415

    try:
        return make()
    except gpiozero.PinInvalidPin:
        raise DeviceError(f"{place}: this board has no line {pin}; see `pinout`") from None
    except gpiozero.GPIOPinInUse:
        raise DeviceError(f"{place}: {pin} is already open in this process") from None
    except gpiozero.PinFixedPull:
        raise DeviceError(f'{place}: {pin} has a resistor that pulls it up; set pull = "up"') from None
    except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
        if "busy" in str(error):
            text = f"{place}: {pin} is in use by another program; `gpioinfo` names it"
        else:
            text = f"{place}: {pin} does not open ({error})"
        raise DeviceError(text) from None
