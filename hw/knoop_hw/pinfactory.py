"""Where real lines come from: the gpiozero pin factory of `[board] driver`."""

from __future__ import annotations

from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.tables import BoardTable


def pin_factory(board: BoardTable, *, clock: Clock) -> Any:
    """Open the chip of a board that is not simulated. Raises DeviceError that says what is missing."""
    if board.driver == "lgpio":
        from knoop_hw.lgpio_pins import lgpio_factory  # noqa: PLC0415 -- the library of one driver

        return lgpio_factory(board.chip)
    from knoop_hw.gpiod_pins import GpiodFactory  # noqa: PLC0415 -- gpiozero and gpiod only where there are lines

    return GpiodFactory(board.chip, clock=clock)
