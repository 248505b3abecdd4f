"""Ways out: each takes readings and returns only when the other side has them. The folder is the table.

A sink's name says its publisher and its target: `pubsub` (our account), `pubsub:pubsub.example.org`,
`chat:anna@example.org`, `room:fleet@rooms.example.org`.
A publisher is one module with `open(target, *, session, voice)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from knoop.record import Record
from knoop.xmpp.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Partly:
    """These went; what waits then, these or others, is to be sent in `wait_s`, or as soon as something new waits."""

    records: Sequence[Record] = ()
    wait_s: float = 0.0


class Publisher(Protocol):
    """One open sink. At most `at_once` records are sent together: a link of 1 kB/s answers in time even so.

    How many there are follows from how long the answers take (knoop.pace), but for one that chooses among them.
    """

    at_once: int

    async def send(self, records: Sequence[Record]) -> Partly | None:
        """Return when the other side has all of them, in order. LinkError or Refusal: none may be taken as sent.

        A publisher that has to wait for its turn does not do so here, but says which ones went: `Partly`.
        """
        ...


async def _at_once() -> None:
    """There is nothing to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How this node speaks to people: the sentence for a record, in the language of `lang` ('' is the node's).

    `personal` is that for a bare JID, who may hear of an alert for the first time or again. `may_hear` says whether
    a bare JID is still to hear a record: rights may have narrowed while it waited, a reminder may be overtaken.
    `note` is told of an alarm and its text before that is sent to a bare JID; `kept` returns when the notes are safe.
    """

    sentence: Callable[[Record, str], str]
    personal: Callable[[str, Record, str], str]
    may_hear: Callable[[str, Record], bool]
    note: Callable[[str, Record, str], None] = lambda _who, _record, _text: None
    kept: Callable[[], Awaitable[None]] = _at_once


def open_sink(sink: str, *, session: Session, voice: Voice, settings: object) -> AbstractAsyncContextManager[Publisher]:
    """The publisher of a sink by its name; `settings` is that publisher's own configuration or None."""
    kind, _, target = sink.partition(":")
    module = importlib.import_module(f"{__name__}.{kind}")
    return module.open(target, session=session, voice=voice, settings=settings)  # type: ignore[no-any-return]
