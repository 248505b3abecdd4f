"""Where real lines come from: gpiozero's lgpio factory, with the two corrections an output needs.

COMPAT(gpiozero 2.0.1, lgpio 0.2.2): `LGPIOPin` has no `output_with_state`, so the line is low for an instant
before it gets its level (a relay that is active low clicks; gpiozero pull request 1177), and its `close`
makes the line an input, which undoes the safe level. Check both before removing this.
"""

from __future__ import annotations

from typing import Any

from knoop_hw.errors import DeviceError


def lgpio_factory() -> Any:
    """A gpiozero pin factory on /dev/gpiochip*. Raises DeviceError that says what is missing."""
    try:
        import lgpio  # noqa: PLC0415 -- the library of one driver
        from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin  # noqa: PLC0415
    except ImportError:
        raise DeviceError(
            "board: lgpio is not installed; `pip install 'knoop[gpio]'`, or try without lines: "
            '[board] driver = "simulated"'
        ) from None

    class Pin(LGPIOPin):  # type: ignore[misc]  # gpiozero is untyped
        def output_with_state(self, state: bool) -> None:
            lgpio.gpio_claim_output(self.factory._handle, self._number, bool(state))  # noqa: SLF001

        def close(self) -> None:
            if self.factory._handle is not None:  # noqa: SLF001
                self.frequency = None
                self.when_changed = None
                lgpio.gpio_free(self.factory._handle, self._number)  # noqa: SLF001

    try:
        factory = LGPIOFactory()
    except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
        raise DeviceError(
            f"board: the GPIO chip does not open ({error}); is this user in the group gpio, and is there a "
            "/dev/gpiochip0 (`ls -l /dev/gpiochip*`)?"
        ) from None
    factory.pin_class = Pin
    return factory
