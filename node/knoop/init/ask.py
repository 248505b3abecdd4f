"""Questions at a terminal: one a line, with its reason and its default; asked again until the answer is one."""

from __future__ import annotations

import getpass
import textwrap
from collections.abc import Callable
from typing import TypeVar

from knoop_hw.logs import printable

T = TypeVar("T")
WIDTH = 79  # of the narrowest terminal that is usual; what is longer would break within a word


class Terminal:
    """A person who answers. The end of input means the same as Ctrl-C: KeyboardInterrupt."""

    def __init__(
        self, read: Callable[[str], str] = input, secret: Callable[[str], str] = getpass.getpass,
        write: Callable[[str], None] = print,
    ) -> None:
        self._read, self._secret, self._write = read, secret, write

    def say(self, *lines: str) -> None:
        """Print lines, those that are too long as several; nothing in them can steer the terminal."""
        for line in map(printable, lines):
            indent = " " * (len(line) - len(line.lstrip()))
            self._write(textwrap.fill(
                line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
            ))  # fmt: skip

    def ask(self, question: str, why: str, check: Callable[[str], T], *, default: str = "") -> T:
        """What `check` makes of the answer; it raises ValueError with what is wrong. Enter takes the default."""
        self.say("", why)
        offered = f" [{printable(default)}]" if default else ""
        while True:
            text = self._line(self._read, f"{question}{offered}: ").strip() or default
            try:
                return check(text)
            except ValueError as error:
                self.say(f"  {error}")

    def yes(self, question: str, why: tuple[str, ...], *, default: bool | None = None) -> bool:
        """Yes or no; without a default there must be an answer."""
        self.say("", *why)
        offered = {None: "y/n", True: "Y/n", False: "y/N"}[default]
        while True:
            text = self._line(self._read, f"{question} [{offered}]: ").strip().lower()
            if not text and default is not None:
                return default
            if text in {"y", "yes", "j", "ja", "n", "no", "nee"}:
                return text[0] != "n"
            self.say("  Please answer y or n.")

    def secret(self, question: str) -> str:
        """Something that is not shown, not empty."""
        while not (text := self._line(self._secret, f"{question}: ")):
            self.say("  It is not empty; Ctrl-C ends.")
        return text

    def _line(self, read: Callable[[str], str], prompt: str) -> str:
        try:
            return read(prompt)
        except EOFError:
            raise KeyboardInterrupt from None
        except UnicodeDecodeError:
            return ""
