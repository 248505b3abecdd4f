"""Ways out: each takes readings and returns only when the other side has them. The folder is the table.

A sink's name says its publisher and its target: `pubsub`, `chat:anna@example.org`, `room:fleet@rooms.example.org`.
A publisher is one module with `open(target, *, session, voice)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from knoop.record import Record
from knoop.xmpp.session import Session


class Publisher(Protocol):
    """One open sink. `at_once` records are sent together, few enough that a slow link (1 kB/s) answers in time."""

    at_once: int

    async def send(self, records: Sequence[Record]) -> None:
        """Return when the other side has all of them, in order. LinkError or Refusal: none may be taken as sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How this node speaks to people: the sentence for a record, in the language of `lang` ('' is the node's).

    `may_hear` says whether a bare JID may read a record now: rights may have narrowed while it waited.
    """

    sentence: Callable[[Record, str], str]
    may_hear: Callable[[str, Record], bool]


def open_sink(sink: str, *, session: Session, voice: Voice, settings: object) -> AbstractAsyncContextManager[Publisher]:
    """The publisher of a sink by its name; `settings` is that publisher's own configuration or None."""
    kind, _, target = sink.partition(":")
    module = importlib.import_module(f"{__name__}.{kind}")
    return module.open(target, session=session, voice=voice, settings=settings)  # type: ignore[no-any-return]
