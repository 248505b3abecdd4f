"""How to say it: examples for what was not understood. Pure.

An example says what the person said, or leaves the value open: never the opposite of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from knoop.command import N_, Command, Reply, refuse
from knoop.parse.manners import POLITE, THANKS
from knoop.parse.naming import Names
from knoop.parse.wish import Setting
from knoop.slips import closest
from knoop.words import (
    AND,
    COUNTS,
    DURING,
    HALVES,
    INFINITIVES,
    MODALS,
    PAST,
    PLACING,
    QUANTITY,
    QUESTION_WORDS,
    SETTING,
    SLIPS,
    SPANS,
    SWITCH,
    SWITCHING,
    TOWARDS,
    UNITS,
)  # fmt: skip
from knoop_hw.model import Channel

ECHO = 60  # characters of the person's own text in an answer
SUGGEST_WORDS = 8  # a longer sentence is not a command with a slip in it
GRAMMAR = frozenset().union(
    POLITE, QUESTION_WORDS, PLACING, SPANS, SWITCHING, SETTING, INFINITIVES, MODALS, UNITS, COUNTS, HALVES, DURING,
    TOWARDS, PAST, AND, (word for phrase in THANKS for word in phrase),
)  # fmt: skip


def echo(text: str) -> str:
    """As much of the person's own text as an answer has room for."""
    return text if len(text) <= ECHO else text[: ECHO - 1] + "…"


def examples(channel: Channel, settings: Sequence[Setting] = ()) -> tuple[str, ...]:
    """How to type the one value that was said of this output; else its two ends, so that neither is urged."""
    value = settings[0].fits(channel) if len(settings) == 1 else None
    if value is not None and (channel.minimum or 0) <= value <= (1 if channel.maximum is None else channel.maximum):
        return (f"{channel.name} {settings[0].typed}",)
    low, high = ("locked", "unlocked") if channel.kind == "lock" else ("off", "on")
    if channel.type != "boolean":
        low, high = f"{channel.minimum or 0:g}", f"{40 if channel.maximum is None else channel.maximum:g}"
    return f"{channel.name} {high}", f"{channel.name} {low}"


def not_for(channel: Channel) -> Reply:
    """What somebody hears who gives this channel a value that it does not take."""
    if not channel.writable:
        return refuse(N_("{channel} cannot be set: it only reports."), channel=channel)
    if channel.type == "boolean":
        return refuse(
            N_("{channel} takes on or off, like “{example} on” or “{example} off”."),
            channel=channel, example=channel.name,
        )  # fmt: skip
    if channel.minimum is None or channel.maximum is None:
        return refuse(N_("{channel} takes a number, like “{example} 40”."), channel=channel, example=channel.name)
    example = 40 if channel.minimum <= 40 <= channel.maximum else (channel.minimum + channel.maximum) / 2
    return refuse(
        N_("{channel} takes a number from {least} to {most}, like “{example}”."),
        channel=channel, least=channel.minimum, most=channel.maximum, example=f"{channel.name} {example:g}",
    )  # fmt: skip


def no_duration(said: Sequence[str], channel: Channel | None = None, settings: Sequence[Setting] = ()) -> Reply:
    """What somebody hears of whose span nothing is understood."""
    if not said or channel is not None:
        example = examples(channel, settings)[0] if channel is not None else "lamp on"
        return refuse(N_("Say for how long, for example: {example}"), example=f"{example} for 10s")
    spoken = " ".join(said)[:ECHO]
    return refuse(N_("I do not understand how long “{text}” is; say it like 10s, 5min, 2h or 1d."), text=spoken)


def mended(said: Sequence[str], names: Names, verbs: Mapping[str, Command]) -> str:
    """The same words with their slips mended; nothing where none is likely."""
    if not said or len(said) > SUGGEST_WORDS:
        return ""
    aliases = {alias for command in verbs.values() for alias in command.aliases}
    ours: Collection[str] = {*verbs, *SWITCH, *QUANTITY, *names.words()}
    fine = GRAMMAR.union(ours, aliases)
    better = [word if word in fine else closest(word, ours, aliases) for word in said]
    better[-1:] = [SLIPS.get(word, word) for word in better[-1:]]
    return " ".join(better) if better != said else ""
