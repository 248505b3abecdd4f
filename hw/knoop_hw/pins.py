"""What people call a line of the 40-pin header, and which line that is."""

from __future__ import annotations

import re
from typing import Annotated, Any

from knoop_hw.decode import Scalar

# Physical position → BCM line, the same on every board with 40 pins (raspberrypi.com, "GPIO and the 40-pin
# header"; equals gpiozero's own table, which a test compares). The other positions are power, ground or the
# ID EEPROM.
BOARD: dict[int, int] = {
    3: 2, 5: 3, 7: 4, 8: 14, 10: 15, 11: 17, 12: 18, 13: 27, 15: 22, 16: 23, 18: 24, 19: 10, 21: 9, 22: 25,
    23: 11, 24: 8, 26: 7, 27: 0, 28: 1, 29: 5, 31: 6, 32: 12, 33: 13, 35: 19, 36: 16, 37: 26, 38: 20, 40: 21,
}  # fmt: skip


def line_of(name: str) -> str:
    """`GPIO17` for "GPIO17" or "BOARD11". Raises ValueError for what is not a line of the header."""
    match = re.fullmatch(r"(GPIO|BOARD)(\d{1,2})", name)
    if match is None:
        raise ValueError(name)
    number = int(match[2])
    number = number if match[1] == "GPIO" else BOARD.get(number, -1)
    if not 0 <= number <= 27:
        raise ValueError(name)
    return f"GPIO{number}"


def _parse(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(raw)  # noqa: TRY004 -- the decoder's one way to say no
    return line_of(raw)


_SHAPE = rf"^(GPIO(0?[0-9]|1[0-9]|2[0-7])|BOARD({'|'.join(f'0?{at}' if at < 10 else str(at) for at in BOARD)}))$"
Pin = Annotated[
    str,
    Scalar(
        'a line of the header such as "GPIO17" or "BOARD11"', _parse, schema={"type": "string", "pattern": _SHAPE}
    ),
]  # fmt: skip
