"""What a person typed, as an intent: pure, and never raises.

Reading is generous: part of a name will do, and every channel it fits is read. Acting is strict: an output
moves only when each word is understood, the words name exactly one output whole, and nothing about them is a
question, a negation or a quotation. Doubt is answered with a sentence, never with an action.

The caller passes only the channels this person may read: then no answer can speak of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from knoop.command import N_, Command, Intent, Reply, beyond, refuse
from knoop.parse.naming import Names
from knoop.parse.wish import PLAIN, Setting, Wish, wish
from knoop.slips import closest
from knoop.words import (
    ALL,
    AND,
    COUNTS,
    COURTESY,
    DURING,
    FILLERS,
    GREETINGS,
    HALVES,
    HELP,
    PAST,
    PHRASES,
    PLACING,
    QUANTITY,
    QUESTION_WORDS,
    SLIPS,
    SPANS,
    STATE,
    SWITCH,
    SWITCHING,
    THANKS,
    TOWARDS,
    UNITS,
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
ECHO = 60  # characters of the person's own text in an answer
SUGGEST_WORDS = 8  # a longer sentence is not a command with a slip in it
MOST_CHOICES = 9  # more than that nobody reads on a telephone, and one key chooses
POLITE = FILLERS | COURTESY | GREETINGS
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
    return _Utterance(without_quotations(text), Names(channels), verbs).intent()


@dataclass(frozen=True, slots=True)
class _Utterance:
    """One text and what it may speak of."""

    text: str
    names: Names
    verbs: Mapping[str, Command]
    hint: bool = True

    def intent(self) -> Intent | Reply:
        said = self._plain(words(self.text))
        if not said:
            return Intent(verb="help") if "?" in self.text and not words(self.text) else self._unknown()
        if negates(self.text, said):
            return refuse(N_("I did nothing: that reads like “don’t”. Say what you do want, or “help”."))
        if tuple(said) in HELP:
            return Intent(verb="help")
        command, rest = self._command(said)
        asking = asks(self.text, said)
        if asking and (command is None or command.takes == "value"):
            return self._read(rest, QUESTION_WORDS | POLITE | self._setting_words())
        if command is None or command.takes == "value":
            return self._set(said) or self._read(said)
        if asking and command.writes:
            return Intent(verb="help", argument=command.verb)
        return self._obey(command, rest)

    def _plain(self, said: list[str]) -> list[str]:
        """These words without what politeness put before and behind them."""
        while said and said[0] in POLITE and self.names.at(said, 0) is None:
            said = said[1:]
        for length in (3, 2, 1):
            if tuple(said[-length:]) in THANKS:
                said = said[:-length]
        while said and said[-1] in FILLERS:
            said = said[:-1]
        return said

    def _command(self, said: Sequence[str]) -> tuple[Command | None, Sequence[str]]:
        """The verb these words begin with, and what is behind it; an alias gives way to a channel called so."""
        for head, tail, verb in PHRASES:
            end = len(said) - len(tail)
            if tuple(said[: len(head)]) == head and tuple(said[end:]) == tail and verb in self.verbs:
                return self.verbs[verb], said[len(head) : end]
        if said[0] in self.verbs:
            return self.verbs[said[0]], said[1:]
        if self.names.whole(said):
            return None, said
        command = next((command for command in self.verbs.values() if said[0] in command.aliases), None)
        return command, said[command is not None :]

    def _setting_words(self) -> frozenset[str]:
        """The words for setting something."""
        setting = [command for command in self.verbs.values() if command.takes == "value"]
        return frozenset(word for command in setting for word in (command.verb, *command.aliases))

    def _obey(self, command: Command, rest: Sequence[str]) -> Intent | Reply:
        match command.takes:
            case "channels":
                return self._about(command, rest)
            case "span":
                return self._span(command, rest)
            case "text":
                return Intent(verb=command.verb, argument=self._argument())
        return self._read(rest) if rest else Intent(verb=command.verb)

    def _argument(self) -> str:
        """The text behind the verb, as it was typed."""
        raw = self.text.split()
        while raw and set(words(raw[0])) <= POLITE:
            raw.pop(0)
        return " ".join(raw[1:])

    def _span(self, command: Command, rest: Sequence[str]) -> Intent | Reply:
        rest = [word for word in rest if word not in DURING]
        if len(rest) == 1 and rest[0] in SWITCH:
            return Intent(verb=command.verb, value=SWITCH[rest[0]])
        seconds = duration(rest)
        return _no_duration(rest) if rest and seconds is None else Intent(verb=command.verb, for_s=seconds)

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
        names = tuple(self.names.channels) if {*phrase} <= ALL else self.names.read(phrase, READING | PAST)
        return Intent(verb=command.verb, channels=names, for_s=for_s) if names else self._unknown()

    def _read(self, said: Sequence[str], neutral: frozenset[str] = READING) -> Intent | Reply:
        names = self.names.read(said, neutral)
        return Intent(verb="read", channels=names) if names else self._unknown()

    def _set(self, said: Sequence[str]) -> Intent | Reply | None:
        """`[the] lamp [to] on [for 10s]`; None when these words do not ask to set anything."""
        made = wish(said, self.names, self._setting_words())
        if not made.wants or (made.core == "xs" and said[-1].isdigit() and self.names.matching(said)):
            return None  # `phase 2` is a name, not a value for `phase`
        named = made.named
        if made.core not in PLAIN or len(named) != 1 or made.endless is not None or made.order.count("t") > 1:
            return self._doubt(made)
        channel, setting = self.names.channels[named[0]], made.settings[0]
        if not channel.writable:
            ending = made.core == "dn" and not setting.value and "unwatch" in self.verbs
            return Intent(verb="unwatch", channels=named) if ending else _not_for(channel)
        intent = self._setting(channel, setting, made.for_s, "gedurende" if made.clock else "for")
        if isinstance(intent, Reply):
            return intent
        bare = bool(made.spans) and made.spans[0][1].split()[0] not in DURING
        if made.clock or (bare and not isinstance(setting.value, bool)):
            return self._perhaps((intent,))
        return replace(intent, argument=self.text)

    def _setting(self, channel: Channel, setting: Setting, for_s: float | None, during: str = "for") -> Intent | Reply:
        """The intent to set this output so, if it can be; how to type that is its argument."""
        value = setting.fits(channel)
        if value is None:
            return _not_for(channel)
        typed = f"{channel.name} {setting.typed}" + (f" {during} {spelled(for_s)}" if for_s is not None else "")
        return beyond(channel, value) or Intent(
            verb="set", channels=(channel.name,), value=value, for_s=for_s, argument=typed
        )

    def _doubt(self, made: Wish) -> Reply:
        """What a sentence gets that would set something and is no plain order."""
        named = [self.names.channels[name] for name in made.named]
        complete = made.order.rstrip("x").replace("t", "") in PLAIN
        if len(named) == 1 and made.core in {"n", "vn"}:
            return _not_for(named[0])
        if len(named) == 1 and complete and made.endless is not None:
            return _no_duration(made.endless, named[0])
        if len(made.settings) != 1 or len(made.names) > 1 or (made.endless is not None and not made.names):
            return self._unknown()
        if made.core in {"s", "vs"} and not isinstance(made.settings[0].value, bool):
            return self._unknown()
        near = self.names.near(made.loose) if "x" in made.order else made.named
        if not made.loose:
            near = tuple(self.names.channels)
        outputs = [self.names.channels[name] for name in near if self.names.channels[name].writable]
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
        echo = self.text if len(self.text) <= ECHO else self.text[: ECHO - 1] + "…"
        better = self._better(said) if self.hint else None
        if better is not None:
            suggestion, intent = better
            sentence = N_("I do not understand “{text}”. Did you mean “{suggestion}”?")
            # The words behind such a verb are taken as they are typed, so mended ones are only shown.
            offered = () if self.verbs[intent.verb].takes == "text" else (intent,)
            return replace(refuse(sentence, text=echo, suggestion=suggestion), choices=offered)
        outputs = [c for name in wish(said, self.names, frozenset()).named if (c := self.names.channels[name]).writable]
        if outputs:
            sentence = N_("I did nothing, because I do not understand all of “{text}”. Say it like this: {examples}.")
            return refuse(sentence, text=echo, examples=tuple(_example(output) for output in outputs[:MOST_CHOICES]))
        return refuse(N_("I do not understand “{text}”. Say “help” to see what I know."), text=echo)

    def _better(self, said: Sequence[str]) -> tuple[str, Intent] | None:
        """The same words with their slips mended, if that would be understood; else nothing."""
        if len(said) > SUGGEST_WORDS or asks(self.text, said or ("",)):
            return None
        aliases = {alias for command in self.verbs.values() for alias in command.aliases}
        ours = {*self.verbs, *SWITCH, *QUANTITY, *self.names.words()}
        fine = {*ours, *aliases, *SPANS, *SWITCHING, *UNITS, *COUNTS, *HALVES, *READING, *DURING, *TOWARDS, *PAST,
                *AND, *(word for phrase in THANKS for word in phrase)}  # fmt: skip
        mended = [word if word in fine else closest(word, ours, aliases) for word in said]
        mended[-1:] = [SLIPS.get(word, word) for word in mended[-1:]]
        if mended == said:
            return None
        suggestion = " ".join(mended)
        understood = replace(self, text=suggestion, hint=False).intent()
        return (suggestion, understood) if isinstance(understood, Intent) else None


def _example(channel: Channel) -> str:
    return f"{channel.name} {'on' if channel.type == 'boolean' else '40'}"


def _not_for(channel: Channel) -> Reply:
    if not channel.writable:
        return refuse(N_("{channel} cannot be set: it only reports."), channel=channel)
    if channel.type == "boolean":
        return refuse(N_("{channel} takes on or off, like “{example} on”."), channel=channel, example=channel.name)
    return refuse(N_("{channel} takes a number, like “{example} 40”."), channel=channel, example=channel.name)


def _no_duration(said: Sequence[str], channel: Channel | None = None) -> Reply:
    example = f"{_example(channel)} for 10s" if channel is not None else "lamp on for 10s"
    if not said or channel is not None:
        return refuse(N_("Say for how long, for example: {example}"), example=example)
    spoken = " ".join(said)[:ECHO]
    return refuse(N_("I do not understand how long “{text}” is; say it like 10s, 5min, 2h or 1d."), text=spoken)
