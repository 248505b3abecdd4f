"""Where real lines come from: gpiozero's lgpio factory, with the two corrections an output needs.

COMPAT(gpiozero 2.0.1, lgpio 0.2.2): `LGPIOPin` has no `output_with_state`, so the line is low for an instant
before it gets its level (a relay that is active low clicks; gpiozero pull request 1177), and its `close`
makes the line an input, which undoes the safe level. Check both before removing this.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from knoop_hw.errors import DeviceError


def lgpio_factory() -> Any:
    """A gpiozero pin factory on /dev/gpiochip*. Raises DeviceError that says what is missing."""
    try:
        lgpio = _lgpio()
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
            f"board: no GPIO lines here ({error}); on a Raspberry Pi this user must be in the group gpio "
            '(`ls -l /dev/gpiochip*`), elsewhere set [board] driver = "simulated"'
        ) from None
    factory.pin_class = Pin
    return factory


def _lgpio() -> Any:
    """lgpio, imported without its traces. Raises ImportError.

    COMPAT(lgpio 0.2.2): on import it makes a pipe `.lgd-nfy0` in the working directory, which a unit may not
    write and a person does not want; told another folder (LG_WD) it makes that the working directory. It keeps
    the pipe open, so the folder may go at once.
    """
    here, former = os.open(".", os.O_RDONLY), os.environ.get("LG_WD")
    try:
        with tempfile.TemporaryDirectory(prefix="knoop-lgpio-") as folder:
            os.environ["LG_WD"] = folder
            import lgpio  # noqa: PLC0415 -- the library of one driver

    finally:
        os.fchdir(here)
        os.close(here)
        if former is None:
            os.environ.pop("LG_WD", None)
        else:
            os.environ["LG_WD"] = former
    return lgpio
