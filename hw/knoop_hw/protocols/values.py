"""From text to values: what a line or a program's output says, by a pattern, a JSON path or a column."""

from __future__ import annotations

import csv
import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Literal

from knoop_hw import units
from knoop_hw.decode import Between
from knoop_hw.errors import BadReading
from knoop_hw.model import Type
from knoop_hw.source import Field

LONGEST_PATTERN = 200
LONGEST_TEXT = 256  # characters of a text value; it is read by people and goes over the network
SIMPLER = "let no + or * repeat what has a + or * in it, and write what stands between two values instead of .*"
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WORDS = {**dict.fromkeys(("1", "on", "true", "yes"), True), **dict.fromkeys(("0", "off", "false", "no"), False)}
_STEP = re.compile(r"(?:^|\.)([^.\[\]\s]+)|\[(\d{1,4})\]")
_ENDS = re.compile(r"[\r\n]+")  # str.splitlines ends a line at nine more, which may be separators (U+001C)
_SPACE = re.compile(r"[\x00-\x20\x7f-\x9f\s]+")  # control characters, too: a value is one line
_SWAPPED = str.maketrans(",.", ".,")
_ILLEGAL = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One of `[sensor.NAME.values]`: where it stands in the text (`pattern`, `json` or `column`), and what it is.

    `pattern` is a regular expression, searched anywhere in the text; its one group, or the one called `value`, is the
    value. `json` is a path: `bme.humidity`, `list[0].x`. `column` counts from 1, columns end at `separator`; a space
    stands for any white space. `decimal` is the decimal mark.
    """

    FORM: ClassVar[str] = "{ pattern = 'T=([0-9.]+)' }"

    pattern: str | None = None
    json: str | None = None
    column: Annotated[int, Between(1, 999)] | None = None
    separator: str = ","
    decimal: Literal[".", ","] = "."
    type: Literal["number", "text", "boolean"] = "number"
    unit: str = ""

    def __post_init__(self) -> None:
        """Refuse what finds nothing (ValueError)."""
        ways = [key for key in ("pattern", "json", "column") if getattr(self, key) is not None]
        if len(ways) != 1:
            found = f"{' and '.join(ways)} are two ways" if ways else "it does not say where the value stands"
            raise ValueError(f"{found}; set one of pattern, json or column")
        if self.pattern is not None:
            group_of(self.pattern)
        if self.json is not None:
            path_of(self.json)
        if len(self.separator) != 1 or self.separator in '"\r\n\0':
            raise ValueError('separator: is one character, such as ";" or "\\t"; " " stands for any white space')
        if self.column is not None and self.separator == self.decimal:
            raise ValueError("separator: is the decimal mark, too; numbers would fall apart: correct one of them")
        check_unit(self.type, self.unit)

    def of(self, said: Said) -> bool | float | str | None:
        """The value in it; None when it does not hold this one. Raises BadReading for one that is no such value."""
        if self.pattern is not None:
            expression, group = group_of(self.pattern)
            match = expression.search(said.text)
            found: Any = None if match is None else match[group]
        elif self.json is not None:
            return self._from_json(said)
        else:
            columns, index = said.columns(self.separator), (self.column or 1) - 1
            found = columns[index] if index < len(columns) else None
        return None if found is None else value_of(found, self.type, decimal=self.decimal)

    def _from_json(self, said: Said) -> bool | float | str | None:
        at = said.document
        for step in path_of(self.json or ""):
            if isinstance(step, str):
                there = isinstance(at, dict) and step in at
            else:
                there = isinstance(at, list) and step < len(at)
            if not there:
                return None
            at = at[step]
        return value_of(at, self.type, decimal=self.decimal)


def fields_of(values: Mapping[str, Value]) -> tuple[Field, ...]:
    """Their channels."""
    return tuple(Field(name=name, type=value.type, unit=value.unit) for name, value in values.items())


def read(values: Mapping[str, Value], said: Said) -> dict[str, bool | float | str | None]:
    """The values that it holds; None for one that is no reading."""
    found: dict[str, bool | float | str | None] = {}
    for name, value in values.items():
        try:
            there = value.of(said)
        except BadReading:
            found[name] = None
        else:
            if there is not None:
                found[name] = there
    return found


class Said:
    """One line, or a program's output, that several values are taken from."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._columns: dict[str, list[str]] = {}

    @cached_property
    def document(self) -> Any:
        """The text as JSON; an empty tuple, which no path leads into, when it is none."""
        try:
            return json.loads(self.text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return ()

    def columns(self, separator: str) -> list[str]:
        """Those of its first line that is not blank; in quotes a column may hold the separator."""
        if separator not in self._columns:
            line = next((line for line in _ENDS.split(self.text) if line.strip()), "")
            self._columns[separator] = _split(line, separator)
        return self._columns[separator]


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not JSON")  # RFC 8259 §6; Python would take it


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def value_of(found: Any, kind: Type, *, decimal: str = ".") -> bool | float | str:
    """A text, or what JSON has, as a value. Raises BadReading.

    Numbers are finite; a boolean is 1 on true yes, 0 off false no; a text is one line that XML can carry.
    """
    if isinstance(found, str):
        text = _ILLEGAL.sub("", _SPACE.sub(" ", found)).strip()
    elif isinstance(found, bool | int | float):
        number = _finite(found)
        if kind == "number" and not isinstance(found, bool):
            return number
        text = json.dumps(found)
    else:
        raise BadReading("null, a list or a table is no value")
    if kind == "boolean":
        if (value := _WORDS.get(text.casefold())) is None:
            raise BadReading(f"{excerpt(text)} is neither 1 on true yes nor 0 off false no")
        return value
    if kind == "number":
        # Where the comma is the decimal mark, a point is none: "1.234" may well mean 1234.
        plain = text.translate(_SWAPPED) if decimal == "," else text
        if _NUMBER.fullmatch(plain) is None:
            raise BadReading(f"{excerpt(text)} is not a number")
        return _finite(plain)
    if not text:
        raise BadReading("the text is empty")
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _finite(raw: float | str) -> float:
    try:
        number = float(raw)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadReading("the number is too large")
    return number


def excerpt(text: str, *, limit: int = 60) -> str:
    """What was heard, in quotes, for a log: nothing in it does anything."""
    shown = ascii(text[:limit])
    return shown if len(text) <= limit else f"{shown} …"


def check_unit(kind: Type, unit: str) -> None:
    """Refuse a unit that Knoop does not know, or of what is no number (ValueError)."""
    units.check(unit)
    if unit and kind != "number":
        raise ValueError(f"unit: a {kind} has none; leave it out")


@cache
def group_of(pattern: str) -> tuple[re.Pattern[str], int | str]:
    """The compiled expression and its group that is the value. `^` and `$` fit at every line's ends.

    Raises ValueError that says what is wrong with it, and where.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"pattern: has {len(pattern)} characters; {LONGEST_PATTERN} are enough")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what another Python will read differently
            expression = re.compile(pattern, re.MULTILINE)
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise ValueError(f"pattern: {error.msg}{where}; see docs.python.org/3/library/re.html") from None
    except (Warning, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern: {error}; write it more plainly") from None
    if "value" in expression.groupindex:
        return expression, "value"
    if expression.groups != 1:
        remedy = "put what is the value in ( )"
        if expression.groups:
            remedy = "call the one that is the value (?P<value>…), or begin the others with (?:"
        raise ValueError(f"pattern: has {expression.groups or 'no'} groups; {remedy}")
    return expression, 1


@cache
def path_of(path: str) -> tuple[str | int, ...]:
    """The steps of a JSON path. Raises ValueError that says where it is wrong."""
    steps: list[str | int] = []
    at = 0
    while at < len(path) and (step := _STEP.match(path, at)) is not None:
        steps.append(step[1] if step[1] is not None else int(step[2]))
        at = step.end()
    if at < len(path) or not steps:
        raise ValueError(f'json: is no path at character {at + 1}; a path is such as "bme.humidity" or "list[0].x"')
    return tuple(steps)
