"""What a person typed, as an intent: pure, and never raises.

Reading is generous: part of a name will do, and every channel it fits is read. Acting is strict: an output
moves only when each word and each sign is understood, the words name exactly one output whole, and nothing about them
is a question, a negation or a quotation. Doubt is answered with a sentence, never with an action.

The caller passes only the channels this person may read: then no answer can speak of another.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from knoop.command import N_, Command, Intent, Reply, beyond, refuse
from knoop.parse import manners
from knoop.parse.hints import echo, examples, mended, no_duration, not_for
from knoop.parse.manners import POLITE
from knoop.parse.naming import Names
from knoop.parse.sentences import among
from knoop.parse.signs import doubtful
from knoop.parse.wish import PLAIN, Setting, Wish, wish
from knoop.words import (
    ALL,
    ASKING,
    DURING,
    INTERROGATIVES,
    NEGATIONS,
    PAST,
    PLACING,
    QUESTION_WORDS,
    SPANS,
    STATE,
    SWITCH,
    asks,
    duration,
    negates,
    span_at,
    spelled,
    tokens,
    without_quotations,
    words,
)  # fmt: skip
from knoop_hw.model import Channel

MAX_CHARACTERS = 1000  # people do not type more to a lamp; the longest grant we can think of has 200
MOST_CHOICES = 9  # more than that nobody reads on a telephone, and one key chooses
READING = POLITE | STATE | PLACING | ALL


def parse(text: str, *, channels: Mapping[str, Channel], verbs: Mapping[str, Command]) -> Intent | Reply:
    """The intent behind `text`, or the sentence that says why there is none. Never raises.

    A reply may hold `choices`: intents that were perhaps meant, for the caller to offer.
    """
    if len(text) > MAX_CHARACTERS:
        return refuse(
            N_("That is too long for me: {count} characters, and I read at most {limit}."),
            count=len(text), limit=MAX_CHARACTERS,
        )  # fmt: skip
    utterance = _Utterance(without_quotations(text), Names(channels), verbs)
    meant = utterance.intent()
    return meant if isinstance(meant, Intent) or meant.choices else utterance.sentences() or meant


@dataclass(frozen=True, slots=True)
class _Utterance:
    """One text and what it may speak of."""

    text: str
    names: Names
    verbs: Mapping[str, Command]
    hint: bool = True
    wishes: dict[tuple[str, ...], Wish] = field(default_factory=dict)  # of the same words, made once

    def intent(self) -> Intent | Reply:
        said = manners.without_greetings(words(self.text), self.names.at)
        if not said:
            return Intent(verb="help") if "?" in self.text and not words(self.text) else self._unknown()
        asking = asks(self.text, said)
        said = said if asking else manners.wished(said) or said
        command, rest = self._command(said)
        if negates(self.text, rest):
            return refuse(N_("I did nothing: that reads like “don’t”. Say what you do want, or “help”."))
        if tuple(said) in manners.HELP:
            return Intent(verb="help")
        told = manners.watched(said) if "watch" in self.verbs and not ASKING & {*self.text} else None
        if told is not None:
            return self._watch(*told)
        if asking and (command is None or command.takes == "value"):
            return self._read(rest, QUESTION_WORDS | READING | self._setting_words(), spare=True)
        if command is None or command.takes == "value":
            return self._set(said) or self._read(said)
        if asking and command.writes:
            return Intent(verb="help", argument=command.verb)
        if command.writes and doubtful(manners.unaddressed(self.text) if command.takes == "text" else self.text):
            return self._unknown()
        return self._obey(command, rest, said[0])

    def sentences(self) -> Intent | Reply | None:
        """What one sentence of several means: a question is answered, an order is asked about; None for neither."""
        said = words(self.text)
        meant = among(
            self.text,
            mean=lambda part: replace(self, text=part, hint=False).intent(),
            moves=lambda part: any(self._output(name) for name in self._wish(words(part)).named),
            writes=lambda verb: self.verbs[verb].writes,
        )
        if meant is None or meant.verb != "set":
            return meant
        return None if asks(self.text, said) or negates(self.text, said) else self._perhaps((self._typed(meant),))

    def _command(self, said: Sequence[str]) -> tuple[Command | None, Sequence[str]]:
        """The verb these words begin with, and what is behind it; an alias gives way to a channel called so."""
        for head, tail, verb in manners.PHRASES:
            end = len(said) - len(tail)
            if tuple(said[: len(head)]) == head and tuple(said[end:]) == tail and verb in self.verbs:
                return self.verbs[verb], said[len(head) : end]
        typed = self.text.split()
        if said[0] in NEGATIONS and len(typed) > 1 and (len(typed) > 2 or "@" not in typed[1]):
            return None, said  # `never lamp on` is no answer about a stranger, `never eve@example.org` is one
        if said[0] in self.verbs:
            return self.verbs[said[0]], said[1:]
        if self.names.whole(said):
            return None, said
        command = next((command for command in self.verbs.values() if said[0] in command.aliases), None)
        return command, said[command is not None :]

    def _output(self, name: str) -> Channel | None:
        channel = self.names.channels[name]
        return channel if channel.writable else None

    def _wish(self, said: Sequence[str]) -> Wish:
        """The pieces of these words, as far as they are about setting something."""
        key = tuple(said)
        if key not in self.wishes:
            self.wishes[key] = wish(said, self.names, self._setting_words())
        return self.wishes[key]

    def _setting_words(self) -> frozenset[str]:
        """The words for setting something."""
        setting = [command for command in self.verbs.values() if command.takes == "value"]
        return frozenset(word for command in setting for word in (command.verb, *command.aliases))

    def _obey(self, command: Command, rest: Sequence[str], verb: str) -> Intent | Reply:
        match command.takes:
            case "channels":
                return self._about(command, rest)
            case "span":
                return self._span(command, rest)
            case "text":
                return Intent(verb=command.verb, argument=manners.argument(self.text, verb, rest))
        bare = not rest or {*rest} <= QUESTION_WORDS - STATE
        return Intent(verb=command.verb) if bare else self._read(rest)

    def _span(self, command: Command, rest: Sequence[str]) -> Intent | Reply:
        rest = [word for word in rest if word not in DURING]
        if len(rest) == 1 and rest[0] in SWITCH:
            return Intent(verb=command.verb, value=SWITCH[rest[0]])
        seconds = duration(rest)
        return no_duration(rest) if rest and seconds is None else Intent(verb=command.verb, for_s=seconds)

    def _about(self, command: Command, rest: Sequence[str]) -> Intent | Reply:
        """Channels, and perhaps a span behind them."""
        phrase, for_s = rest, None
        if len(rest) > 1 and rest[-1] in SPANS and rest[-2] in PAST - DURING:
            rest = [*rest[:-1], "one", rest[-1]]  # `last week` is one week long
        for at in range(len(rest)):
            span = span_at(rest, at)
            if span is not None and span[1] == len(rest):
                phrase, for_s = rest[:at], span[0]
                break
        while phrase and (phrase[-1] in PAST or phrase[-1] in POLITE):
            phrase = phrase[:-1]
        if not tokens(phrase):
            return Intent(verb=command.verb, for_s=for_s)
        if {*phrase} <= ALL:
            return Intent(verb=command.verb, channels=tuple(self.names.channels), for_s=for_s)
        names = self.names.read(phrase, READING | PAST | (frozenset() if command.writes else QUESTION_WORDS))
        if names:
            return Intent(verb=command.verb, channels=names, for_s=for_s)
        inner = manners.without_greetings(phrase, self.names.at)
        of, behind = self._command(inner) if inner and command.verb == "read" else (None, ())
        if of is not None and of.takes == "channels" and of is not command and not of.writes:
            return self._about(of, rest[len(phrase) - len(behind) :])  # `show me the history of the lamp`
        return self._topic(phrase) if not command.writes else self._unknown()

    def _watch(self, said: Sequence[str], changes: bool) -> Intent | Reply:
        names = self.names.read(said, POLITE | INTERROGATIVES | PLACING | {"it", "there", "er"})
        intent = Intent(verb="watch", channels=names, argument=" ".join(("watch", *names)))
        if not names:
            return self._unknown()
        return replace(intent, argument="") if changes and not doubtful(self.text) else self._perhaps((intent,))

    def _read(self, said: Sequence[str], neutral: frozenset[str] = READING, *, spare: bool = False) -> Intent | Reply:
        every = ALL & {*said} and {*said} <= neutral | ALL
        names = tuple(self.names.channels) if every else self.names.read(said, neutral, spare=spare)
        if not names and not spare:  # `door open` says how it is, or asks; `gate open` may be an order
            named = self._wish(said).named
            reports = named and not any(map(self._output, named))
            names = self.names.read(said, READING | QUESTION_WORDS) if reports else ()
        return Intent(verb="read", channels=names) if names else self._topic(said)

    def _topic(self, said: Sequence[str]) -> Intent | Reply:
        """What a sentence without a channel asks about, if it is a verb."""
        command = manners.topic(said, self.verbs)
        return Intent(verb=command.verb) if command is not None else self._unknown()

    def _set(self, said: Sequence[str]) -> Intent | Reply | None:
        """`[the] lamp [to] on [for 10s]`; None when these words do not ask to set anything."""
        made = self._wish(said)
        if not made.wants or (made.core == "xs" and said[-1].isdigit() and self.names.matching(said)):
            return None  # `phase 2` is a name, not a value for `phase`
        named = made.named
        if made.core not in PLAIN or len(named) != 1 or made.endless is not None or made.order.count("t") > 1:
            return self._doubt(made)
        channel, setting = self.names.channels[named[0]], made.settings[0]
        if not channel.writable:
            ending = made.core == "dn" and not setting.value and "unwatch" in self.verbs
            return Intent(verb="unwatch", channels=named) if ending else not_for(channel)
        intent = self._setting(channel, setting, made.for_s, "gedurende" if made.clock else "for")
        if isinstance(intent, Reply):
            return intent
        sign = doubtful(self.text, (channel.name, channel.label, *channel.aliases, channel.unit))
        if sign == "!" or unicodedata.category(sign or " ") in {"Sm", "Sc", "Mn", "Me"}:
            return self._unknown()  # `!lamp on`, `fan >40`, `fan €3`: it may be the opposite, or another number
        bare = bool(made.spans) and made.spans[0][1].split()[0] not in DURING
        if sign or made.unsure or made.clock or (bare and not isinstance(setting.value, bool)):
            return self._perhaps((intent,))
        return replace(intent, argument=self.text)

    def _setting(self, channel: Channel, setting: Setting, for_s: float | None, during: str = "for") -> Intent | Reply:
        """The intent to set this output so, if it can be; how to type that is its argument."""
        value = setting.fits(channel)
        if value is None:
            return not_for(channel)
        typed = f"{channel.name} {setting.typed}" + (f" {during} {spelled(for_s)}" if for_s is not None else "")
        return beyond(channel, value) or Intent(
            verb="set", channels=(channel.name,), value=value, for_s=for_s, argument=typed
        )

    def _typed(self, intent: Intent) -> Intent:
        """The same intent to set something, with how to type it."""
        made = self._wish(words(intent.argument))
        typed = self._setting(self.names.channels[intent.channels[0]], made.settings[0], intent.for_s)
        return typed if isinstance(typed, Intent) else intent

    def _doubt(self, made: Wish) -> Reply:
        """What a sentence gets that would set something and is no plain order."""
        named = [self.names.channels[name] for name in made.named]
        complete = made.order.rstrip("x").replace("t", "") in PLAIN
        if len(named) == 1 and made.core in {"n", "vn"}:
            return not_for(named[0])
        if len(named) == 1 and complete and made.endless is not None:
            return no_duration(made.endless, named[0], made.settings)
        if len(made.settings) != 1 or len(made.names) > 1 or (made.endless is not None and not made.names):
            return self._unknown()
        if made.core in {"s", "vs"} and not isinstance(made.settings[0].value, bool):
            return self._unknown()
        near = self.names.near(made.loose) if "x" in made.order else made.named
        if not made.loose:
            near = tuple(self.names.channels)
        outputs = [output for name in near if (output := self._output(name))]
        meant = [self._setting(output, made.settings[0], made.for_s) for output in outputs]
        intents = tuple(intent for intent in meant if isinstance(intent, Intent))
        return self._perhaps(intents) if intents else self._unknown()

    def _perhaps(self, intents: tuple[Intent, ...]) -> Reply:
        """Ask which one of these was meant."""
        if len(intents) == 1:
            sentence = N_("I did nothing, to be sure: did you mean “{suggestion}”?")
            return replace(refuse(sentence, suggestion=intents[0].argument), choices=intents)
        outputs = tuple(self.names.channels[intent.channels[0]] for intent in intents)
        apart = len({tokens(output.label or output.name) for output in outputs}) == len(outputs)
        reply = refuse(
            N_("I did nothing: which one do you mean, {choices}?"),
            choices=outputs if apart else tuple(output.name for output in outputs),
        )
        return replace(reply, choices=intents) if len(intents) <= MOST_CHOICES else reply

    def _unknown(self) -> Reply:
        said = words(self.text)
        asking = asks(self.text, said or ("",))
        better = self._better(said) if self.hint and not asking else None
        if better is not None:
            suggestion, intent = better
            sentence = N_("I do not understand “{text}”. Did you mean “{suggestion}”?")
            # The words behind such a verb are taken as they are typed, so mended ones are only shown.
            offered = () if self.verbs[intent.verb].takes == "text" else (intent,)
            return replace(refuse(sentence, text=echo(self.text), suggestion=suggestion), choices=offered)
        made = self._wish(said)
        outputs = [output for name in made.named if (output := self._output(name))]
        if outputs and not asking:
            sentence = N_("I did nothing, because I do not understand all of “{text}”. Say it like this: {examples}.")
            settings = () if doubtful(self.text) else made.settings  # with such a sign it may be the opposite
            shown = tuple(text for output in outputs[:MOST_CHOICES] for text in examples(output, settings))
            return refuse(sentence, text=echo(self.text), examples=shown)
        return refuse(N_("I do not understand “{text}”. Say “help” to see what I know."), text=echo(self.text))

    def _better(self, said: Sequence[str]) -> tuple[str, Intent] | None:
        """The same words with their slips mended, if that would be understood; else nothing."""
        suggestion = mended(said, self.names, self.verbs)
        if not suggestion:
            return None
        understood = replace(self, text=suggestion, hint=False).intent()
        return (suggestion, understood) if isinstance(understood, Intent) else None
