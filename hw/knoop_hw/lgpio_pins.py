"""Lines by lgpio: gpiozero's own factory, with the three corrections an output needs.

COMPAT(gpiozero 2.0.1, lgpio 0.2.2): `LGPIOPin` begins as an input, so an output that was on goes off for an instant;
it has no `output_with_state`, so the line is low before it gets its level (a relay that is active low clicks;
gpiozero pull request 1177); and its `close` makes the line an input, which undoes the safe level. Check all three
before removing this.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Any

from knoop_hw import chips
from knoop_hw.errors import DeviceError


def lgpio_factory(chip: str | None = None) -> Any:
    """A gpiozero pin factory on a chip, as `[board] chip` names it. Raises DeviceError that says what is missing."""
    try:
        lgpio = _lgpio()
        from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin  # noqa: PLC0415
        from gpiozero.pins.local import LocalPiPin  # noqa: PLC0415
    except ImportError:
        raise DeviceError(
            "board: lgpio is not installed; `pip install lgpio` (no wheels for Python 3.13), or use "
            '[board] driver = "gpiod"'
        ) from None
    number = int(chips.choose(chips.here(), chip).name.removeprefix("gpiochip"))

    class Pin(LGPIOPin):  # type: ignore[misc]  # gpiozero is untyped
        def __init__(self, factory: Any, info: Any) -> None:
            LocalPiPin.__init__(self, factory, info)  # LGPIOPin's own, without claiming the line as an input
            self._pwm = self._bounce = self._callback = None
            self._edges = lgpio.BOTH_EDGES

        def output_with_state(self, state: bool) -> None:
            lgpio.gpio_claim_output(self.factory._handle, self._number, bool(state))  # noqa: SLF001

        def close(self) -> None:
            if self.factory._handle is not None:  # noqa: SLF001
                self.frequency = None
                self.when_changed = None
                with suppress(lgpio.error):  # free already: the factory closes every pin it ever had
                    lgpio.gpio_free(self.factory._handle, self._number)  # noqa: SLF001

    try:
        factory = LGPIOFactory(chip=number)
    except Exception as error:  # noqa: BLE001 -- lgpio.error is a bare Exception
        raise DeviceError(f"board: lgpio does not open gpiochip{number} ({error})") from None
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
