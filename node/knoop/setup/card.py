"""The card's `knoop.toml`: out of its text the node's `node.toml`, line for line, and where its secrets stand. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from knoop.setup import moved, tables
from knoop.setup.tables import Own
from knoop_hw import decode
from knoop_hw.decode import Document
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.locate import Place, spans_of
from knoop_hw.toml_text import quoted

NAME = moved.NAME
BOM = "\ufeff"
SECRETS: tuple[tuple[str, ...], ...] = (  # `*`: any name or number
    ("wifi", "password"), ("wifi", "network", "*", "password"), ("account", "password"), ("account", "invite"),
    ("room", "*", "password"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A file as it was read. `text` is without a byte order mark, which counts in `secrets` all the same: those are
    the bytes that hold secrets, from and to, between their quotes.
    """

    text: str = field(repr=False)
    document: Document = field(repr=False)
    own: Own
    secrets: tuple[moved.Span, ...]
    problems: tuple[Problem, ...]

    @property
    def names_a_node(self) -> bool:
        """Whether it says more than how to reach the machine: who only flashed the card has not named any yet."""
        return bool(self.document.data.keys() - {"wifi", "time", "ssh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A `node.toml` to be. `added`: lines of it that the card does not have, each with the place that it is about."""

    text: str = field(repr=False)
    added: Mapping[int, Place]


def read(content: bytes) -> Card:
    """Take it apart. Raises ConfigError for what is no TOML; what its own tables have wrong is in `problems`."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        said = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8 (an editor's “Save as…”)"
        raise ConfigError([Problem(NAME, line, "", said)]) from None
    mark = len(BOM.encode()) if text.startswith(BOM) else 0
    text = text.removeprefix(BOM)
    document = decode.parse(text, NAME)
    problems: list[Problem] = []
    own = tables.decoded(document, problems)
    _, values = spans_of(text)
    secrets = []
    for place in _secrets(document.data):
        start, end = values[place]
        if moved.was(_at(document.data, place)):
            continue
        if text[start : start + 3] in {'"""', "'''"} or not text[start + 1 : end - 1].isprintable():
            problems.append(document.problem(place, "a secret is one line between two quotes"))
        else:
            secrets.append((mark + _bytes(text[: start + 1]), mark + _bytes(text[: end - 1])))
    return Card(
        text=text, document=document, own=own, secrets=tuple(secrets), problems=tuple(problems),
    )  # fmt: skip


def node_toml(card: Card, former: Mapping[str, Any], *, jid: str, name: str) -> Draft:
    """The node's file: without the card's own tables, with the account's address, and `name` where it names none.

    Where a secret was taken from the card before, the former file's stands. Raises ConfigError.
    """
    statements, values = spans_of(card.text)
    changes = [(one.start, one.end, "") for one in statements if one.place[0] in tables.TABLES]
    problems = []
    for place in _secrets(card.document.data):
        if place[0] in tables.TABLES or not moved.was(_at(card.document.data, place)):
            continue
        kept = _at(former, place)
        if isinstance(kept, str) and kept:
            changes.append((*values[place], quoted(kept)))
        else:
            problems.append(card.document.problem(place, "the node does not know it any more; write it here again"))
    if problems:
        raise ConfigError(problems)
    wanted = [("xmpp", "jid", jid)] if jid else []
    node = card.document.data.get("node", {})
    if name and isinstance(node, Mapping) and "name" not in node:
        wanted.append(("node", "name", name))
    lines_more: list[tuple[int, str, Place]] = []  # behind so many lines of the card's
    tables_more: list[tuple[str, str]] = []
    headers = {one.place: card.document.lines[one.place] for one in statements if one.header}
    before = min((one.start for one in statements if one.header), default=len(card.text))
    for table, key, value in wanted:
        line, there = f"{key} = {quoted(value)}", card.document.data.get(table, {})
        first = next((one for one in statements if one.start < before and one.place[0] == table), None)
        if not isinstance(there, Mapping):
            continue  # which the node's own file is told for
        if at := headers.get((table,)):
            lines_more.append((at, line, (table, key)))
        elif first is None:
            tables_more.append((table, line))
        elif first.place == (table,):  # xmpp = { … }
            inside = values[first.place][0] + 1
            changes.append((inside, inside, f" {line}{',' if there else ''}"))
        else:  # xmpp.host = …
            lines_more.append((card.text.count("\n", 0, first.start), f"{table}.{line}", (table, key)))
    lines = _replaced(card.text, changes).replace("\r\n", "\n").split("\n")
    added: dict[int, Place] = {}
    for at, line, place in sorted(lines_more, reverse=True):
        lines.insert(at, line)
        added = {number + (number > at): of for number, of in added.items()} | {at + 1: place}
    for table, line in tables_more:
        lines = [*lines, f"[{table}]", line]
        added |= {len(lines) - 1: (table,), len(lines): (table, line.partition(" ")[0])}
    return Draft(text="\n".join(lines).rstrip("\n") + "\n", added=added)


def as_of_the_card(problem: Problem, draft: Draft, card: Card) -> Problem:
    """A problem of the draft as one of the card's file."""
    if (place := draft.added.get(problem.line)) is not None or problem.path == "xmpp.jid":
        path: Place = ("account", "jid") if (place or ("xmpp",))[0] == "xmpp" else place or ()
        if path == ("account", "jid") and "jid" in (card.document.data.get("xmpp") or {}):
            path = ("xmpp", "jid")
        return card.document.problem(path, problem.text)
    before = sum(number < problem.line for number in draft.added)
    return replace(problem, file=NAME, line=problem.line - before if problem.line else 0)


def _secrets(data: Mapping[str, Any]) -> Iterator[Place]:
    for pattern in SECRETS:
        yield from _matching(data, pattern, ())


def _matching(here: Any, pattern: tuple[str, ...], place: Place) -> Iterator[Place]:
    if not pattern:
        if isinstance(here, str) and here:
            yield place
        return
    parts: Mapping[Any, Any] = {}
    if isinstance(here, Mapping):
        parts = here
    elif isinstance(here, list):
        parts = dict(enumerate(here))
    for key, value in parts.items():
        if pattern[0] in {"*", key}:
            yield from _matching(value, pattern[1:], (*place, key))


def _at(data: Any, place: Place) -> Any:
    for part in place:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _replaced(text: str, changes: list[tuple[int, int, str]]) -> str:
    """Each piece by another one; line ends in a piece stay, and nothing is left behind one that goes."""
    for start, end, new in sorted(changes, reverse=True):
        ends = "\n" * (text.count("\n", start, end) - new.count("\n"))
        rest = text[end:]
        if not new:
            rest = re.sub(r"\A[ \t]*(#[^\n]*)?", "", rest)
        text = f"{text[:start]}{new}{ends}{rest}"
    return text


def _bytes(text: str) -> int:
    return len(text.encode())
