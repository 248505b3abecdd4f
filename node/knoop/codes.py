"""One-time codes as values: what is typed, what is kept, and that one fits only what it was given for. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from knoop.command import Request
from knoop.words import without_quotations

if TYPE_CHECKING:
    from knoop.jid import Jid

DIGITS = 6
_BETWEEN = re.compile("[ \u00a0\u2009\u202f-]")  # what people put between digits, or what their telephones do


def typed(text: str) -> str:
    """The digits of a text that is a code and nothing else, like `482160`, `482 160` and `4 8 2 1 6 0`; else ''.

    What it quotes does not count: clients that answer a message put it in front.
    """
    digits = _BETWEEN.sub("", without_quotations(text).strip())
    return digits if re.fullmatch(f"[0-9]{{{DIGITS}}}", digits) else ""


def spaced(code: str) -> str:
    """A code as people keep it in mind: in two halves."""
    return f"{code[: DIGITS // 2]} {code[DIGITS // 2 :]}"


def digest(code: str, *, sender: Jid, wish: str, until_ns: int) -> bytes:
    """What is kept of a code: with the full address, the whole wish and its end in it, so that it fits nothing else."""
    return hashlib.blake2b(f"{code}\n{sender}\n{until_ns}\n{wish}".encode(), digest_size=32).digest()


def packed(request: Request) -> str:
    """What is asked, as text."""
    wish = (request.verb, request.argument, request.channels, request.value, request.for_s)
    return json.dumps(wish, ensure_ascii=False)


def unpacked(wish: str, redeemed: Request) -> Request:
    """What was asked, as asked now by who brought its code back."""
    verb, argument, channels, value, for_s = json.loads(wish)
    return replace(
        redeemed, verb=verb, argument=argument, channels=tuple(channels), value=value, for_s=for_s, code=None,
        confirmed=True,
    )
