"""A message of several sentences, of which some mean something here: `I am home. Is the lamp on?`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from knoop.command import Intent, Reply
from knoop.words import words

MOST = 6  # a message of more is a letter


def among(
    text: str, *, mean: Callable[[str], Intent | Reply], moves: Callable[[str], bool], writes: Callable[[str], bool]
) -> Intent | None:
    """What one sentence means, or all that read, beside others that mean nothing here; None when there is no such one.

    `mean` says what a sentence means by itself, `moves` whether it speaks of an output, `writes` whether a verb changes
    something. Who is given an intent to set something asks about it: who knows what the other sentences say of it?
    """
    parts = [part for part in re.split(r"(?<=[.!?\n])\s+|\n", text) if words(part)]
    if not 1 < len(parts) <= MOST:
        return None
    meant = [(part, mean(part)) for part in parts]
    intents = [intent for _, intent in meant if isinstance(intent, Intent)]
    if not intents or any(isinstance(reply, Reply) and moves(part) for part, reply in meant):
        return None
    if all(intent.verb == "read" and intent.channels for intent in intents):
        return Intent(verb="read", channels=tuple(dict.fromkeys(n for intent in intents for n in intent.channels)))
    if len(intents) > 1 or (intents[0].verb != "set" and writes(intents[0].verb)):
        return None
    return intents[0]
