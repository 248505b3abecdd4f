"""What a person typed, as an intent: pure, and never raises.

Reading is generous: part of a name will do, and every channel it fits is read. Acting is strict: an output
moves only when each word is understood, the words name exactly one output whole, and nothing about them is a
question, a negation or a quotation. Doubt is answered with a sentence, never with an action.

The caller passes only the channels this person may read: then no answer can speak of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from knoop.command import N_, Command, Reply, Request, Via, refuse
from knoop.jid import Jid
from knoop.words import (
    ALL,
    DURING,
    FILLERS,
    PAST,
    QUESTION_WORDS,
    SPANS,
    SWITCH,
    TOWARDS,
    asks,
    closest,
    duration,
    fold,
    negates,
    number,
    tokens,
    without_quotations,
    words,
)  # fmt: skip
from knoop_hw.model import Channel

MAX_CHARACTERS = 1000  # people do not type more to a lamp; the longest grant we can think of has 200
ECHO = 60  # characters of the person's own text in an answer
SUGGEST_WORDS = 8  # a longer sentence is not a command with a slip in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What was asked, before it is known who asked; the fields are those of `Request`."""

    verb: str
    argument: str = ""
    channels: tuple[str, ...] = ()
    value: bool | float | None = None
    for_s: float | None = None

    def request(self, sender: Jid, *, lang: str = "en", via: Via = "chat", encrypted: bool = False) -> Request:
        """The request that this person makes with it."""
        return Request(
            sender=sender, verb=self.verb, argument=self.argument, channels=self.channels, value=self.value,
            for_s=self.for_s, lang=lang, via=via, encrypted=encrypted,
        )  # fmt: skip


def parse(text: str, *, channels: Mapping[str, Channel], verbs: Mapping[str, Command]) -> Intent | Reply:
    """The intent behind `text`, or the sentence that says why there is none. Never raises."""
    if len(text) > MAX_CHARACTERS:
        return refuse(
            N_("That is too long for me: {count} characters, and I read at most {limit}."),
            count=len(text), limit=MAX_CHARACTERS,
        )  # fmt: skip
    return _Utterance(without_quotations(text), channels, verbs).intent()


@dataclass(frozen=True, slots=True)
class _Setting:
    """The words before a value, the value, the unit behind it, and the value as it was typed."""

    phrase: Sequence[str]
    value: bool | float
    unit: str
    typed: str


@dataclass(frozen=True, slots=True)
class _Utterance:
    """One text and what it may speak of."""

    text: str
    channels: Mapping[str, Channel]
    verbs: Mapping[str, Command]
    hint: bool = True

    def intent(self) -> Intent | Reply:
        said = words(self.text)
        while said and said[0] in FILLERS:
            said.pop(0)
        if not said:
            return Intent(verb="help") if "?" in self.text else self._unknown()
        if negates(self.text, said):
            return refuse(N_("I did nothing: that reads like “don’t”. Say what you do want, or “help”."))
        command = self._command(said)
        asking = asks(self.text, said)
        if asking and (command is None or command.takes == "value"):
            return self._read(said[command is not None :], dropping=QUESTION_WORDS)
        if command is None:
            return self._write(said, verb=False) or self._read(said)
        if asking and command.writes:
            return Intent(verb="help", argument=command.verb)
        return self._obey(command, said[1:])

    def _command(self, said: Sequence[str]) -> Command | None:
        """The verb these words begin with; an alias gives way to a channel that is called so."""
        if said[0] in self.verbs or self._exactly(tokens(said)):
            return self.verbs.get(said[0])
        return next((command for command in self.verbs.values() if said[0] in command.aliases), None)

    def _obey(self, command: Command, rest: Sequence[str]) -> Intent | Reply:
        match command.takes:
            case "value":
                return self._write(rest, verb=True) or self._unknown()
            case "channels":
                return self._about(command, rest)
            case "span":
                return self._span(command, rest)
            case "text":
                return Intent(verb=command.verb, argument=self._argument())
            case "nothing":
                return self._read(rest) if rest else Intent(verb=command.verb)

    def _argument(self) -> str:
        """The text behind the verb, as it was typed."""
        raw = self.text.split()
        while raw and set(words(raw[0])) <= FILLERS:
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
        for i in range(len(rest)):
            if (for_s := duration(rest[i:])) is not None:
                phrase = rest[:i]
                break
        while phrase and (phrase[-1] in PAST or phrase[-1] in FILLERS):
            phrase = phrase[:-1]
        if not tokens(phrase):
            return Intent(verb=command.verb, for_s=for_s)
        names = tuple(self.channels) if {*phrase} <= ALL else self._matching(tokens(phrase))
        return Intent(verb=command.verb, channels=names, for_s=for_s) if names else self._unknown()

    def _read(self, said: Sequence[str], dropping: frozenset[str] = FILLERS) -> Intent | Reply:
        kept = [word for word in said if word.replace("'", "") not in dropping]
        names = self._matching(tokens(said)) or self._matching(tokens(kept))
        return Intent(verb="read", channels=names) if names else self._unknown()

    def _write(self, said: Sequence[str], *, verb: bool) -> Intent | Reply | None:
        """`[the] lamp [to] on [for 10s]`; None when these words do not ask to set anything."""
        split = max((i for i, word in enumerate(said) if word in DURING), default=len(said))
        during, plain = said[split + 1 :], [word for word in said if word not in FILLERS]
        wish = [word for word in said[:split] if word not in FILLERS]
        timed = split < len(said) and _setting(wish, verb=verb) is not None
        wish = wish if timed else plain  # `lamp voor aan` is the front lamp, not a duration
        setting = _setting(wish, verb=verb)
        if setting is None:
            named = self._exactly(tokens(wish)) if verb else ()
            return _not_for(self.channels[named[0]]) if len(named) == 1 else None
        if not verb and (self._exactly(tokens(wish)) or self._numbered(setting, wish)):
            return None  # `phase 2` is a name, not a value for `phase`
        for_s = duration(during) if timed else None
        if timed and for_s is None:
            return _no_duration(during)
        output = self._output(setting, during if timed else ())
        if isinstance(output, Reply):
            return output
        value = _fit(output, setting)
        if value is None:
            return _not_for(output)
        return Intent(verb="set", channels=(output.name,), value=value, for_s=for_s, argument=self.text)

    def _output(self, setting: _Setting, during: Sequence[str]) -> Channel | Reply:
        """The one output that these words name whole, or why there is none."""
        wanted = tokens(setting.phrase)
        exact = self._exactly(wanted)
        if len(exact) == 1:
            channel = self.channels[exact[0]]
            return channel if channel.writable else _not_for(channel)
        near = exact or self._matching(wanted) if wanted else tuple(self.channels)
        outputs = tuple(name for name in near if self.channels[name].writable)
        if len(outputs) == 1 and wanted:
            whole = " ".join((outputs[0], setting.typed, *(("for", *during) if during else ())))
            return refuse(N_("I did nothing, to be sure: did you mean “{suggestion}”?"), suggestion=whole)
        if outputs:
            return refuse(N_("I did nothing: which one do you mean, {choices}?"), choices=outputs)
        return self._unknown()

    def _numbered(self, setting: _Setting, said: Sequence[str]) -> bool:
        """Whether the number belongs to a name: the words before it name nothing, all together do."""
        if isinstance(setting.value, bool) or self._exactly(tokens(setting.phrase)):
            return False
        return bool(self._matching(tokens(said)))

    def _exactly(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The channels whose whole name or label this is."""
        if not wanted:
            return ()
        return tuple(n for n, c in self.channels.items() if wanted in (tokens(n), tokens(c.label)))

    def _matching(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The channels this names; else those where each word begins a word of the name or label."""
        if exact := self._exactly(wanted):
            return exact
        if not wanted or any(len(token) < 2 and not token.isdigit() for token in wanted):
            return ()
        return tuple(
            name
            for name, channel in self.channels.items()
            if all(any(part.startswith(w) for part in tokens((name, channel.label))) for w in wanted)
        )

    def _unknown(self) -> Reply:
        echo = self.text if len(self.text) <= ECHO else self.text[: ECHO - 1] + "…"
        if self.hint and (better := self._better(words(self.text))):
            return refuse(
                N_("I do not understand “{text}”. Did you mean “{suggestion}”?"), text=echo, suggestion=better
            )
        return refuse(N_("I do not understand “{text}”. Say “help” to see what I know."), text=echo)

    def _better(self, said: Sequence[str]) -> str:
        """The same words with their slips mended, if that would be understood; else nothing."""
        if len(said) > SUGGEST_WORDS or asks(self.text, said or ("",)):
            return ""
        aliases = {alias for command in self.verbs.values() for alias in command.aliases}
        ours = {*self.verbs, *SWITCH}
        for name, channel in self.channels.items():
            ours |= {name, *tokens((name, channel.label))}
        fine = {*ours, *aliases, *SPANS, *DURING, *FILLERS, *TOWARDS, *PAST, *ALL}
        mended = " ".join(word if word in fine else closest(word, ours, aliases) for word in said)
        if mended == " ".join(said):
            return ""
        understood = replace(self, text=mended, hint=False).intent()
        return mended if isinstance(understood, Intent) else ""


def _setting(said: Sequence[str], *, verb: bool) -> _Setting | None:
    """`lamp on`, `pump 40%`, `pump to 40 %`; behind a verb also `on lamp`."""
    if not said:
        return None
    last, found = said[-1], number(said[-1])
    if last in SWITCH:
        setting = _Setting(said[:-1], SWITCH[last], "", last)
    elif found is not None:
        setting = _Setting(said[:-1], *found, last)
    elif len(said) > 1 and (found := number(said[-2])) is not None and not found[1]:
        setting = _Setting(said[:-2], found[0], last, f"{said[-2]} {last}")
    elif verb and said[0] in SWITCH:
        setting = _Setting(said[1:], SWITCH[said[0]], "", said[0])
    else:
        return None
    phrase = setting.phrase
    while phrase and phrase[-1] in TOWARDS:
        phrase = phrase[:-1]
    return replace(setting, phrase=phrase)


def _fit(channel: Channel, setting: _Setting) -> bool | float | None:
    """The value as this channel takes it; None when it does not."""
    value, unit = setting.value, setting.unit
    if unit and unit not in {fold(channel.unit), fold(channel.unit).removeprefix("°")}:
        return None
    if channel.type == "boolean":
        return bool(value) if isinstance(value, bool) or value in {0, 1} else None
    if channel.type == "number" and not isinstance(value, bool):
        return value
    if channel.type == "number" and channel.minimum == 0 and channel.maximum is not None:
        return channel.maximum if value else 0.0  # a dimmer: off is nothing, on is all
    return None


def _not_for(channel: Channel) -> Reply:
    if not channel.writable:
        return refuse(N_("{channel} cannot be set: it only reports."), channel=channel)
    if channel.type == "boolean":
        return refuse(N_("{channel} takes on or off, like “{example} on”."), channel=channel, example=channel.name)
    return refuse(N_("{channel} takes a number, like “{example} 40”."), channel=channel, example=channel.name)


def _no_duration(said: Sequence[str]) -> Reply:
    if not said:
        return refuse(N_("Say for how long, for example: {example}"), example="lamp on for 10s")
    spoken = " ".join(said)[:ECHO]
    return refuse(N_("I do not understand how long “{text}” is; say it like 10s, 5min, 2h or 1d."), text=spoken)
