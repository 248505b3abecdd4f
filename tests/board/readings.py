"""What tests of sensors wait for (Seam.wait)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.board.conftest import Half
from tests.board.seam import Told


def about(value: float, by: float = 0.1) -> Callable[[Sequence[Told]], bool]:
    """The last reading is this, as far as such chips resolve."""
    return lambda told: bool(told) and told[-1].quality == "ok" and abs(told[-1].value - value) <= by


def away(told: Sequence[Told]) -> bool:
    """There is no value now."""
    return bool(told) and told[-1].quality in {"error", "missing"} and told[-1].value is None


def once_down_once_up(half: Half, *sensors: str) -> None:
    """The log has two warnings of each; what becomes known of a trouble while it lasts is no warning."""
    for sensor in sensors:
        half.program.says(f" sensor.{sensor}: is back")  # a reading may come before the line that says so
        of_it = (line for line in half.program.log.splitlines() if f" sensor.{sensor}: " in line)
        lines = [line for line in of_it if " WARNING " in line]
        assert len(lines) == 2, lines
        assert "; it is tried again" in lines[0] or "; the others go on" in lines[0]
        assert lines[1].endswith(": is back")
