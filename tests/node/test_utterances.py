"""Sentences of people who had not read the parser, and what they meant: judged as utterances.toml says.

Each entry is a case of its own, and a miss is a failure that is expected only as long as the share of what is
understood stays at `LEAST`; a wrong actuation is never expected. Of utterances_unseen.toml, which says how the parser
generalises, only the share is judged, and that nothing is acted on otherwise than meant.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from knoop.command import Reply, Sentence
from knoop.commands import table
from knoop.parse import Intent, parse
from knoop.text import Voice
from knoop.words import ALL, tokens
from knoop_hw.model import Channel

CORPUS = tomllib.loads(Path(__file__).with_name("utterances.toml").read_text(encoding="utf-8"))
LEAST = 0.95
UNSEEN: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("utterances_unseen.toml").read_text(encoding="utf-8")
)["say"]
LEAST_UNSEEN = 0.92  # a little below the 94.0 % that its header says was measured: it may not get worse
CHANNELS = {raw["name"]: Channel(**raw | {"aliases": tuple(raw["aliases"])}) for raw in CORPUS["channel"]}
ENTRIES: list[dict[str, Any]] = CORPUS["say"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of an entry: nothing to say about it, or what is wrong."""

    entry: Mapping[str, Any]
    wrong: str
    acted: bool

    def __str__(self) -> str:
        why = f" ({self.entry['why']})" if "why" in self.entry else ""
        return f"{self.entry['text']!r} means {self.entry['means']}{why}: {self.wrong}"


def judge(entry: Mapping[str, Any]) -> Judged:
    said = parse(entry["text"], channels=CHANNELS, verbs=table())
    sets = isinstance(said, Intent) and said.verb == "set"
    acted = sets and (entry["means"] != "set" or not _setting_as_meant(said, entry))
    return Judged(entry, _wrong(said, entry), acted)


def _wrong(said: Intent | Reply, entry: Mapping[str, Any]) -> str:
    means = entry["means"]
    if isinstance(said, Reply):
        if means not in {"ask", "read-or-ask", "unknown"}:
            return f"answered {_rendered(said)!r}"
        missing = [name for name in entry.get("channels", ()) if means == "ask" and not _mentions(said, name)]
        return f"answered {_rendered(said)!r}, which does not mention {missing}" if missing else ""
    match means:
        case "set":
            fits = said.verb == "set" and _setting_as_meant(said, entry)
        case "read" | "read-or-ask":
            fits = said.verb == "read" and set(said.channels) == set(entry["channels"])
        case "ask" | "unknown":
            fits = False
        case "watch" | "unwatch" | "history":
            fits = said.verb == means and said.channels == tuple(entry["channels"])
            fits = fits and said.for_s == entry.get("for_s")
        case _:
            fits = said.verb == means and said.for_s == entry.get("for_s")
            fits = fits and _argument(said) == entry.get("argument", "")
    return "" if fits else f"understood as {said}"


def _setting_as_meant(said: Intent, entry: Mapping[str, Any]) -> bool:
    same = type(said.value) is type(entry["value"]) and said.value == entry["value"]
    return same and said.channels == tuple(entry["channels"]) and said.for_s == entry.get("for_s")


def _argument(said: Intent) -> str:
    if said.verb == "quiet" and said.value is False:
        return "off"
    return "all" if tokens(said.argument) and {*tokens(said.argument)} <= ALL else said.argument


def _rendered(reply: Reply) -> str:
    """The answer without the person's own words in it: an echo mentions nothing."""
    lines = [Sentence(line.message, {**line.values, "text": "…"}, line.plural) for line in reply.lines]
    return Voice(lang="en", channels=CHANNELS, now_ns=0).render(replace(reply, lines=tuple(lines)))


def _mentions(reply: Reply, name: str) -> bool:
    channel = CHANNELS[name]
    said = " ".join(tokens(_rendered(reply)))
    called = (" ".join(tokens(c)) for c in (channel.name, channel.label, *channel.aliases))
    return any(f" {one} " in f" {said} " for one in called)


JUDGED = [judge(entry) for entry in ENTRIES]
MISSED = [judged for judged in JUDGED if judged.wrong]
JUDGED_UNSEEN = [judge(entry) for entry in UNSEEN]


def test_no_entry_is_acted_on_in_another_way_than_meant():
    assert not [str(judged) for judged in JUDGED if judged.acted]


def test_nearly_all_of_what_people_say_is_understood_as_they_mean_it():
    share = 1 - len(MISSED) / len(JUDGED)
    print(f"{len(JUDGED) - len(MISSED)} of {len(JUDGED)} utterances as meant ({share:.1%})", *MISSED, sep="\n  ")
    assert share >= LEAST, "\n".join(map(str, MISSED))


def test_no_unseen_entry_is_acted_on_in_another_way_than_meant():
    assert not [str(judged) for judged in JUDGED_UNSEEN if judged.acted]


def test_unseen_sentences_are_understood_no_worse_than_when_they_were_first_measured():
    missed = [str(judged) for judged in JUDGED_UNSEEN if judged.wrong]
    understood = len(UNSEEN) - len(missed)
    figure = f"{understood} of {len(UNSEEN)} unseen utterances as meant ({understood / len(UNSEEN):.1%})"
    print(figure, *missed, sep="\n  ")
    assert understood / len(UNSEEN) >= LEAST_UNSEEN, "\n".join((figure, *missed))


@pytest.mark.parametrize("judged", JUDGED, ids=lambda judged: judged.entry["text"])
def test_an_utterance(judged):
    assert not judged.wrong, str(judged)


def hostile(text: str) -> Iterator[str]:
    """The same words, said so that they are no order."""
    quoted = "\n".join(f"> {line}" for line in text.splitlines())
    yield quoted
    yield f"{quoted}\nwhat about this"
    yield f"{text}?"
    yield f"{text} ❓"
    yield f"¿{text}"
    for no in ("don't", "don’t", "never", "do not", "niet", "nooit"):
        yield f"{no} {text}"
        yield f"{text} {no}"
    for question in ("is", "should I", "why did you", "what if", "kun je", "waarom"):
        yield f"{question} {text}"


def conditional(text: str) -> Iterator[str]:
    for condition in ("if it rains", "when I am home", "als het regent", "wanneer ik thuis ben"):
        yield f"{text} {condition}"
        yield f"{condition} {text}"
    for later in ("tomorrow", "in 10 minutes", "at 8", "every day", "morgen", "over 10 minuten", "om 8 uur"):
        yield f"{text} {later}"
    yield f"Anna said {text}"
    yield f"Anna zei: {text}"
    yield f"{text} or not at all"
    yield f"{text} or pump on"
    yield f"lamp on, {text} and fan 40"


@pytest.mark.parametrize("entry", [*ENTRIES, *UNSEEN], ids=lambda entry: entry["text"])
def test_no_utterance_acts_when_it_is_quoted_denied_asked_or_conditional(entry):
    for text in hostile(entry["text"]):
        said = parse(text, channels=CHANNELS, verbs=table())
        assert isinstance(said, Reply) or not table()[said.verb].writes, text
    for text in conditional(entry["text"]):
        said = parse(text, channels=CHANNELS, verbs=table())
        assert isinstance(said, Reply) or said.verb != "set", text
