"""Whether a line in a room is meant for this node, and what is said to it. Pure, and strict: a mention is nothing.

`greenhouse: temp?`, `greenhouse, lamp on`, `@greenhouse status` and `ack greenhouse frost` call one node by name,
`all: status`, `roll` and `ack * frost` all of them. Names are compared without case and accents.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from knoop.words import fold, without_quotations

EVERYBODY = ("all", "everybody", "alle", "allemaal", "iedereen")
STAR = "*"
MAX_LINE = 1000  # longer is no command to anybody; compared before anything is folded

Whom = Literal["me", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressed:
    """What is asked of us: `name` is what we were called, folded, '' when `whom` is "all"."""

    whom: Whom
    text: str
    name: str = ""


def addressed(
    line: str, *, names: Collection[str], naming: Collection[str] = (), calling: Collection[str] = ()
) -> Addressed | None:
    """What `line` asks of the node called one of `names`; None when it is not for us.

    `naming` are the verbs that a node's name or * may follow (`ack greenhouse frost`), `calling` those that call all
    nodes by themselves (`roll`).
    """
    if len(line) > MAX_LINE:
        return None
    text = without_quotations(line)
    if not text:
        return None
    folded = fold(text)
    if len(folded) != len(text):  # a letter that folds to two would shift where the rest begins
        text = folded
    ours, everybody, verbs, calls = (_pattern(tuple(sorted(some))) for some in (names, EVERYBODY, naming, calling))
    if match := re.match(rf"(?:@({ours})(?:\s*[:,]|(?=\s))|({ours})\s*[:,])\s*(?P<rest>.*)", folded, re.DOTALL):
        return _for("me", text, match, " ".join((match[1] or match[2]).split()))
    if match := re.match(rf"(?:@(?:{everybody})(?:\s*[:,]|(?=\s))|(?:{everybody})\s*:)\s*(?P<rest>.*)", folded,
                         re.DOTALL):  # fmt: skip
        return _for("all", text, match, "")
    if match := re.match(rf"(?P<verb>{verbs})\s+(?:({ours})|\{STAR}|(?P<all>{everybody}))(?P<rest>\s.*|)$", folded,
                         re.DOTALL):  # fmt: skip
        rest = f"{text[: match.end('verb')]} {text[match.start('rest') :].strip()}".strip()
        if match["all"] and not re.match(r"\s+\D", match["rest"]):
            rest = text  # `ack all`, `silence all 1h`: every alert of every node
        return Addressed(whom="me" if match[2] else "all", text=rest, name=" ".join((match[2] or "").split()))
    if re.fullmatch(rf"(?:{calls})\s*[!.?]*", folded):
        return Addressed(whom="all", text=text)
    return None


def _for(whom: Whom, text: str, match: re.Match[str], name: str) -> Addressed | None:
    rest = text[match.start("rest") :].strip()
    return Addressed(whom=whom, text=rest, name=name) if rest else None


@lru_cache(maxsize=16)
def _pattern(words: tuple[str, ...]) -> str:
    """Any of these words, folded, the longest first; nothing where there are none."""
    known = sorted({" ".join(fold(word).split()) for word in words} - {""}, key=len, reverse=True)
    return "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in known) or r"(?!)"
