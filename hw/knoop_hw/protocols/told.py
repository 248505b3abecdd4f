"""What a device that speaks text is told of an output's value, and what it answers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from knoop_hw.errors import BadReading
from knoop_hw.protocols.values import group_of, value_of

LONGEST = 1024  # characters
# Other braces are the device's own, as in JSON. What may stand behind the colon is part of Python's own, and short:
# it can reach into no object, and asks for no gigabyte of zeros.
_PLACE = re.compile(r"\{value(?::([^{}]*))?\}")
_NO_END = re.compile(r"\\[nr]")
_FORMAT = re.compile(r"[+ ]?0?\d{0,2}(?:[dxX]|(?:\.\d{1,2})?[efg]?)", re.ASCII)


def check_ends(key: str, text: str) -> None:
    """Refuse a line end that is none (ValueError): what is in single quotes means itself in TOML."""
    if end := _NO_END.search(text):
        raise ValueError(f"{key}: in single quotes {end[0]} is two characters and no line end; use double quotes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """`write` is what is sent: `{value}` in it is the number, or `on` or `off`; `{value:03.0f}` rounds and fills it.

    `answer` is a regular expression for the line in which the device confirms: its one group, or the one called
    `value`, is the value that it has now. Without one nobody knows whether it obeyed.
    """

    kind: Literal["switch", "number"] = "switch"
    write: str
    on: str = "1"
    off: str = "0"
    answer: str = ""

    def __post_init__(self) -> None:
        """Refuse what says nothing, or cannot be said (ValueError)."""
        places = [place[1] for place in _PLACE.finditer(self.write)]
        if len(self.write) > LONGEST or not places:
            raise ValueError('write: needs {value} where the value stands, such as "B{value}\\n"')
        check_ends("write", self.write)
        if self.kind == "number":
            for key, usual in (("on", "1"), ("off", "0")):
                if getattr(self, key) != usual:
                    raise ValueError(f"{key}: a number is neither on nor off; leave it out")
            for shape in places:
                if _FORMAT.fullmatch(shape or "") is None:
                    raise ValueError(f"write: '{shape}' is no format; write {{value}} or such as {{value:.1f}}")
        elif any(shape is not None for shape in places):
            raise ValueError("write: a switch has no digits; write {value}, and its words with 'on' and 'off'")
        elif self.on == self.off:
            raise ValueError("on: is the same as off; correct one of them")
        if self.answer:
            self._expression()

    def _expression(self) -> tuple[re.Pattern[str], int | str]:
        try:
            return group_of(self.answer)
        except ValueError as error:
            raise ValueError(f"answer{str(error).removeprefix('pattern')}") from None

    def of(self, value: bool | float) -> bytes:
        """The text for this value."""
        if self.kind == "switch":
            return _PLACE.sub(lambda _place: self.on if value else self.off, self.write).encode()
        return _PLACE.sub(lambda place: _number(float(value), place[1] or ""), self.write).encode()

    def confirmed(self, line: str) -> bool | float | None:
        """The value in a line that answers; None: it is no answer. Raises BadReading for one that holds no value."""
        expression, group = self._expression()
        match = expression.search(line)
        if match is None:
            return None
        said = match[group] or ""
        if self.kind == "switch" and said in {self.on, self.off}:
            return said == self.on
        value = value_of(said, "boolean" if self.kind == "switch" else "number")
        if isinstance(value, str):
            raise BadReading(f"{said} is no value")
        return value


def _number(number: float, shape: str) -> str:
    number += 0.0  # no minus before a zero
    match shape[-1:]:
        case "d" | "x" | "X":
            return format(round(number), shape)
        case "e" | "f" | "g":
            return format(number, shape)
        case _:  # as people write it: 7 is 007 and no 7.0, and without an exponent, which few devices read
            return format(Decimal(f"{number:.10g}"), f"{shape}f")
