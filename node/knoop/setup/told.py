"""What is said to whoever holds the card, where something has to be corrected. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from knoop.setup import card, moved
from knoop_hw.errors import Problem

_SECRET = re.compile(r"(.*\b(?:password|invite|psk)\b\"?\s*=\s*)(.+)", re.DOTALL)
_HOLD = {pattern[0] for pattern in card.SECRETS}  # tables in which what was written may be one
_WRITTEN = re.compile(r"(expected .*?), not (?!a table\Z|a list\Z).*", re.DOTALL)
CORRECT = """\
What to do: power off, put the card into a computer, open knoop.toml with a text
editor (Notepad will do) and correct it; save it, put the card back and power on.
This file goes away by itself when all is well.
"""


def mistakes(problems: Iterable[Problem], content: bytes, *, running: bool) -> str:
    """All that is wrong with the card's file, of which `content` is what it says."""
    text = content.decode("utf-8", "replace").removeprefix(card.BOM)
    now = "The node goes on as it was before." if running else "There is no node yet."
    listed = "\n".join(str(_without_secret(one, text)) for one in problems)
    return f"knoop.toml cannot be used as it is, so nothing was changed. {now}\n\n{listed}\n\n{CORRECT}"


def nothing(*, hostname: str) -> str:
    """The file names no node."""
    named = "" if hostname else " a name and"
    return f"knoop.toml names no node yet: it needs{named} an account.\nThe examples in it say how.\n\n{CORRECT}"


def missing() -> str:
    """The card has no such file."""
    return f"""\
There is no file knoop.toml on this card, and no node yet. A computer that hides
the ends of names may have made knoop.toml.txt of it.

{CORRECT}"""


def unswept(reason: str) -> str:
    """What was deleted from the card is still on it."""
    return f"""\
The passwords are in the node now, but the free space of this card could not be
written over: {reason}.
Whoever has the card may find them there. The node tries again at its next start.
"""


def refused(reason: str) -> str:
    """A server makes no account for an invite."""
    return f"The node's account could not be made: {reason}.\n\n{CORRECT}"


def unkept(reason: str) -> str:
    """An account was made that the disk does not take."""
    return f"The node's account cannot be kept: {reason}.\nThe node tries again at its next start.\n"


def _without_secret(problem: Problem, text: str) -> Problem:
    """The same, not repeating a secret that was written without its quotes: a screen shows this, and a log keeps it."""
    if problem.path.partition(".")[0] in _HOLD:
        problem = Problem(problem.file, problem.line, problem.path, _WRITTEN.sub(r"\1", problem.text))
    lines = text.splitlines()
    if problem.file != card.NAME or not 0 < problem.line <= len(lines):
        return problem
    if not (found := _SECRET.match(lines[problem.line - 1])):
        return problem
    said = problem.text
    whole = found[2].strip()
    if moved.was(whole.partition("#")[0].strip().strip("\"'")):
        return problem
    shown = {whole, whole.strip("\"'"), *re.findall(r"[^\s\"',;}\]]{3,}", whole)}
    shown |= {text[:36] for text in shown}  # which is what is told of a long one
    for secret in sorted(shown, key=len, reverse=True):
        said = said.replace(secret, "…") if len(secret) > 2 else said
    return Problem(problem.file, problem.line, problem.path, said)
