"""Where the keys of a TOML text stand: tomllib reads values and forgets their lines.

It runs on text that tomllib has accepted, so it looks only at what moves the position: strings, comments,
brackets, dots and equals signs (TOML 1.0.0).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

Place = tuple[str | int, ...]  # keys; an int is the index of a list element, from 0

_TOKEN = re.compile(
    r'''
    (?P<space>[ \t\r]+|\#[^\n]*)
  | (?P<newline>\n)
  | (?P<string>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|'[^']*')
  | (?P<mark>[\[\]{}=.,])
  | (?P<bare>[^\s\[\]{}=.,"'\#]+)
    ''',
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A header, or a key with its value, and where it stands in the text: from `start` up to `end`."""

    place: Place
    start: int
    end: int
    header: bool


def lines_of(text: str) -> dict[Place, int]:
    """The line (from 1) of every table, key and list element of a valid TOML text."""
    return _Locator(text).run().found


def spans_of(text: str) -> tuple[list[Statement], dict[Place, tuple[int, int]]]:
    """What stands where in a valid TOML text: every statement, in order, and each value's start and end."""
    located = _Locator(text).run()
    return located.statements, located.values


class _Locator:
    def __init__(self, text: str) -> None:
        self._tokens = list(_scan(text))
        self._at = 0
        self.found: dict[Place, int] = {}
        self.statements: list[Statement] = []
        self.values: dict[Place, tuple[int, int]] = {}
        self._counts: dict[Place, int] = {}  # tables in each list of tables

    def run(self) -> _Locator:
        base: Place = ()
        while (token := self._peek())[0]:
            if token[0] == "newline":
                self._at += 1
                continue
            if header := token[1] == "[":
                place = base = self._header()
            else:
                place = self._pair(base)
            self.statements.append(Statement(place, token[3], self._end(), header))
        return self

    def _end(self) -> int:
        _, text, _, start = self._tokens[self._at - 1]
        return start + len(text)

    def _peek(self) -> tuple[str, str, int, int]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "", 0, 0)

    def _next(self) -> tuple[str, str, int, int]:
        token = self._peek()
        self._at += 1
        return token

    def _header(self) -> Place:
        line, depth = self._peek()[2], 0
        while self._peek()[1] == "[" and self._peek()[0] == "mark":
            self._at, depth = self._at + 1, depth + 1
        place = self._resolve((), self._key())
        self._at += depth
        if depth == 2:  # [[step]]: one more element of a list
            count = self._counts[place] = self._counts.get(place, 0) + 1
            self.found.setdefault(place, line)
            place = (*place, count - 1)
        self.found.setdefault(place, line)
        return place

    def _resolve(self, base: Place, parts: list[str]) -> Place:
        """The place of a dotted key; a list of tables on the way stands for its last element."""
        place = base
        for part in parts:
            if count := self._counts.get(place):
                place = (*place, count - 1)
            place = (*place, part)
        return place

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            kind, text, _, _ = self._next()
            parts.append(tomllib.loads(f"key = {text}")["key"] if kind == "string" else text)
            if self._peek()[1] != ".":
                return parts
            self._at += 1

    def _pair(self, base: Place) -> Place:
        line, parts = self._peek()[2], self._key()
        for end in range(1, len(parts)):
            self.found.setdefault(self._resolve(base, parts[:end]), line)
        place = self._resolve(base, parts)
        self.found.setdefault(place, line)
        self._at += 1  # the equals sign
        self._value(place)
        return place

    def _value(self, place: Place) -> None:
        kind, text, line, start = self._next()
        if kind == "mark" and text == "[":
            index = 0
            while self._skip_newlines()[1] != "]":
                self.found.setdefault((*place, index), self._peek()[2])
                self._value((*place, index))
                index += 1
                if self._skip_newlines()[1] == ",":
                    self._at += 1
            self._at += 1
        elif kind == "mark" and text == "{":
            while self._skip_newlines()[1] != "}":
                self._pair(place)
                if self._skip_newlines()[1] == ",":
                    self._at += 1
            self._at += 1
        else:  # a number or date may hold dots, a date a space: it ends with the line, a comma or a bracket
            while self._peek()[0] == "bare" or self._peek()[1] == ".":
                self._at += 1
        self.found.setdefault(place, line)
        self.values[place] = (start, self._end())

    def _skip_newlines(self) -> tuple[str, str, int, int]:
        while self._peek()[0] == "newline":
            self._at += 1
        return self._peek()


def _scan(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Kind, text, line and start of each token."""
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "space":
            yield kind, match[0], line, match.start()
        line += match[0].count("\n")
