"""Questions that wait for an answer: `which one, 1 lamp, 2 hall light?`, and then `2`. Pure: times come in.

An answer is a fresh, explicit command: what was asked for, of what was chosen. It is taken from the chat that was
asked (the full address), once, soon, while the rights are the same, and only as the very next message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from knoop.access import Person
from knoop.command import Command, Intent, Reply, Sentence
from knoop.jid import Jid
from knoop.parse import parse
from knoop.parse.manners import POLITE
from knoop.parse.naming import Names
from knoop.parse.signs import doubtful
from knoop.words import ORDINALS, YES, asks, negates, without_quotations, words
from knoop_hw.model import Channel

_NUMBER_SIGNS = re.compile("[#(]?([0-9])(?:[)]|\ufe0f?\u20e3)?")  # 2) or #2 or (2) is a number of a list, as is 2️⃣
KEPT_S = 120.0  # somebody who looks at the telephone again after that has forgotten the question
MOST_PENDING = 64  # more people are not asked at once; the oldest question is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    choices: tuple[Intent, ...]
    person: Person
    asked_ns: int


class Choices:
    """What people are being asked. Lives in memory: a restart forgets every question."""

    def __init__(self, *, verbs: Mapping[str, Command]) -> None:
        self._verbs = verbs
        self._pending: dict[Jid, _Pending] = {}

    def understand(
        self, text: str, *, sender: Jid, person: Person, channels: Mapping[str, Channel], heard_ns: int, now_ns: int
    ) -> tuple[Intent | Reply, str]:
        """What this fresh message means, also as an answer; and the words for the audit log.

        `heard_ns` and `now_ns` are boottimes: when it came in, and now. Whatever it is, it ends the question before.
        """
        pending = self._pending.pop(sender, None)
        if pending is not None and pending.person == person and 0 <= heard_ns - pending.asked_ns <= KEPT_S * 1e9:
            answer = chosen(text, pending.choices, channels)
            if answer is not None:
                return answer, f"{text} ({answer.argument or answer.verb})"
        meant = parse(text, channels=channels, verbs=self._verbs)
        if isinstance(meant, Reply) and meant.choices:
            while len(self._pending) >= MOST_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[sender] = _Pending(choices=meant.choices, person=person, asked_ns=now_ns)
            return numbered(meant), text
        return meant, text

    def forget(self, sender: Jid) -> None:
        """Ask this chat no more: something came that is no answer."""
        self._pending.pop(sender, None)


def chosen(text: str, choices: tuple[Intent, ...], channels: Mapping[str, Channel]) -> Intent | None:
    """The choice that this text makes and nothing else: a number, an ordinal, a name, or yes to the only one."""
    own = without_quotations(text)
    said = words(own)
    if not said or asks(own, said) or negates(own, said) or doubtful(_NUMBER_SIGNS.sub(r"\1", own)):
        return None
    kept = tuple(word for word in said if word not in POLITE)
    if kept in YES:
        return choices[0] if len(choices) == 1 else None
    number = ORDINALS.get(kept)
    if number is not None:
        return choices[number - 1] if number <= len(choices) else None
    if len(choices) == 1:
        return None
    named = Names(channels).whole(said)
    fitting = [choice for choice in choices if len(named) == 1 and choice.channels == named]
    return fitting[0] if len(fitting) == 1 else None


def numbered(reply: Reply) -> Reply:
    """The question with a number before each of several choices."""
    return replace(reply, lines=tuple(_numbered(line) for line in reply.lines))


def _numbered(line: Sentence) -> Sentence:
    if "choices" not in line.values:
        return line
    counted = enumerate(line.values["choices"], 1)
    choices = tuple(Sentence("{number} {choice}", {"number": number, "choice": what}) for number, what in counted)
    return replace(line, values={**line.values, "choices": choices})
