"""What an alert is about: `CHANNEL OP LITERAL`, read from text and judged on values. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from knoop_hw.model import GESTURES, NAME, Channel, Value

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt,
}  # fmt: skip
_CONDITION = re.compile(rf"\s*(?P<channel>{NAME})\s*(?P<op><=|>=|==|!=|<|>)\s*(?P<literal>\S.*?)\s*")
_WORDS = {"true": True, "on": True, "false": False, "off": False}
_EXPECTED = "expected CHANNEL OP LITERAL, like 'air.temperature < 0' or 'door == on'"


@dataclass(frozen=True, slots=True)
class Condition:
    """`CHANNEL OP LITERAL`: something a value of one channel either satisfies or not."""

    channel: str
    op: str
    literal: bool | float | str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `air.temperature < 0`, `door == on`, `mode != "away"`; ValueError says what is expected."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no condition; {_EXPECTED}")
        op, literal = match["op"], _literal(match["literal"])
        if not isinstance(literal, float) and op not in {"==", "!="}:
            raise ValueError(f"{text!r}: {op} compares numbers; {match['literal']!r} goes with == or != only")
        return cls(match["channel"], op, literal)

    def holds(self, value: Value) -> bool | None:
        """Whether `value` satisfies it; None when that cannot be said: no value, or one of another type."""
        if value is None or _type(value) is not _type(self.literal):
            return None
        return _OPERATORS[self.op](value, self.literal)

    def check(self, channels: Mapping[str, Channel]) -> None:
        """Raise ValueError when the channel does not exist or has values of another type."""
        channel = channels.get(self.channel)
        if channel is None:
            raise ValueError(f"{self}: there is no channel {self.channel}")
        if channel.kind == "button" and self.literal not in GESTURES:
            raise ValueError(f"{self}: {self.channel} is a button; compare it with {', '.join(GESTURES)}")
        types: dict[type, str] = {float: "number", bool: "boolean", str: "text"}
        if types[_type(self.literal)] != channel.type:
            raise ValueError(f"{self}: {self.channel} is a {channel.type}")

    def __str__(self) -> str:
        literal = self.literal
        if isinstance(literal, bool):
            literal = "on" if literal else "off"
        return f"{self.channel} {self.op} {literal:g}" if isinstance(literal, float) else \
            f"{self.channel} {self.op} {literal}"  # fmt: skip


def _literal(text: str) -> bool | float | str:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    try:
        number = float(text)
    except ValueError:
        if re.search(r"[<>=!&|]", text):
            raise ValueError(f"{text!r} is no literal; {_EXPECTED}") from None
        return text
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that a channel can have; {_EXPECTED}")
    return number


def _type(value: bool | float | str) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
