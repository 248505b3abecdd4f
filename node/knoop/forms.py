"""A verb as a data form (XEP-0004), and a filled-in form as a request: pure, and never raises on what was filled in.

A form is made anew when it comes back, so that what may be chosen is judged by the rights and channels of that moment.
As in chat, doubt never acts: what is missing, unknown or not one of the choices is told, field by field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from knoop.codes import typed
from knoop.command import (
    N_,
    Ask,
    Choice,
    Command,
    House,
    Reply,
    Request,
    Sentence,
    Takes,
    beyond,
    readable,
    refuse,
)  # fmt: skip
from knoop.text import Voice
from knoop.words import SWITCH, duration, fold, number, words
from knoop_hw.model import Channel

MAX_TEXT = 1000  # characters of one value; as much as a sentence in chat may have
MOST_CHOICES = 300  # about 100 KiB in a stanza at worst; servers take 256, and nobody scrolls further

Kind = Literal["text-single", "jid-single", "list-single", "list-multi", "boolean"]
Stage = Literal["only", "first", "second", "code"]
Values = Mapping[str, Sequence[str]]

OUTPUT, VALUE, FOR, CODE = "output", "value", "for", "code"
CHANNELS = Ask(name="channels", kind="channels", label=N_("Channels"), needed=True)
SPAN = Ask(name=FOR, kind="span", label=N_("How long, like 2h or 1d"))
BY_TAKES: Mapping[Takes, tuple[Ask, ...]] = {
    "nothing": (),
    "text": (Ask(name="text", label=N_("Text")),),
    "channels": (CHANNELS, SPAN),
    "span": (SPAN,),
    "value": (),  # made from the outputs that there are
}
_TRUE, _FALSE = ("true", "1"), ("false", "0")  # XEP-0004 §3.3


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a list, as shown."""

    value: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field, in the reader's language. `datatype`, `least` and `most` are what XEP-0122 says of its value."""

    var: str
    kind: Kind
    label: str
    values: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    needed: bool = False
    datatype: Literal["", "xs:decimal", "xs:integer"] = ""
    least: float | None = None
    most: float | None = None

    def filled(self, values: Sequence[str]) -> Field:
        """The same with these values, as far as it can have them."""
        known = {option.value for option in self.options}
        kept = tuple(value[:MAX_TEXT] for value in values[:MOST_CHOICES] if not known or value in known)
        return replace(self, values=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form to fill in: the `only` one of its verb, or of several stages. `output` is the channel that it is about."""

    title: str
    fields: tuple[Field, ...]
    stage: Stage = "only"
    output: str = ""

    def filled(self, values: Values) -> Form:
        """The same with what somebody filled in, so that they need to mend it only."""
        return replace(self, fields=tuple(f.filled(values[f.var]) if f.var in values else f for f in self.fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where one person fills in the form of one verb. `request` says who, of what verb, in which language."""

    command: Command
    request: Request
    house: House
    voice: Voice

    def form(self, output: str = "") -> Form | Request | Reply:
        """The first form, or the one about an `output`; the request itself where nothing is to be asked."""
        return self._setting(output) if self._sets else self._asking()

    def coding(self) -> Form:
        """The form that a one-time code is typed into."""
        field = Field(var=CODE, kind="text-single", label=self._said(N_("Code")), needed=True)
        return self._form(field, stage="code")

    def submitted(self, values: Values, *, output: str = "", stage: Stage = "only") -> Form | Request | Reply:
        """The request that the filled-in form makes, the form of the next stage, or what is wrong with which field."""
        if stage == "code":
            return replace(self.request, code=typed(" ".join(values.get(CODE, ()))))
        form = self.form(output)
        if not isinstance(form, Form):
            return form
        answers, problems = _Answers(channels=(form.output,) if form.output else ()), []
        asks = {ask.name: ask for ask in _asks(self.command)}
        for field in form.fields:
            given = values.get(field.var, ())
            problem = self._checked(field, given) or self._taken(field, asks.get(field.var, SPAN), given, answers)
            if problem is not None:
                problems.append(replace(problem, values={"field": field.label, **problem.values}))
        if problems:
            return Reply(tuple(problems), ok=False)
        return self.form(answers.channels[0]) if form.stage == "first" else answers.request(self.request)

    @property
    def _sets(self) -> bool:
        return self.command.takes == "value" and self.command.form is None

    # Making forms -----------------------------------------------------------------------------------------------------

    def _asking(self) -> Form | Request | Reply:
        fields = []
        for ask in _asks(self.command):
            field = self._field(ask)
            if field.kind not in {"list-single", "list-multi"} or field.options:
                fields.append(field)
            elif ask.needed:
                return refuse(ask.without)
        return self._form(*fields) if fields else self.request

    def _form(self, *fields: Field, stage: Stage = "only", output: str = "") -> Form:
        values = {"node": self.house.label or self.house.name, "summary": Sentence(self.command.summary)}
        title = self.voice.sentence(Sentence("{node}: {summary}", values))
        return Form(title=title, fields=fields, stage=stage, output=output)

    def _field(self, ask: Ask) -> Field:
        usual = (ask.usual,) if ask.usual else ()
        plain = Field(var=ask.name, kind="text-single", label=self._said(ask.label), values=usual, needed=ask.needed)
        if ask.kind == "channels":
            channels = readable(self.request.sender, self.house).values()
            choices = [Choice(c.name, Sentence("{channel}", {"channel": c})) for c in channels]
            return self._list(plain, "list-multi", choices)
        if ask.choices:
            choices = [*ask.choices(self.request, self.house)]
            return self._list(plain, "list-multi" if ask.kind == "many" else "list-single", choices)
        if ask.kind == "count":
            return replace(plain, datatype="xs:integer", least=1, most=ask.most)
        return replace(plain, kind="jid-single") if ask.kind == "jid" else plain

    def _list(self, plain: Field, kind: Literal["list-single", "list-multi"], choices: Sequence[Choice]) -> Field:
        options = self._options(choices)
        only = (options[0].value,) if plain.needed and len(options) == 1 else ()
        return replace(plain, kind=kind, options=options, values=plain.values or only)

    def _options(self, choices: Sequence[Choice]) -> tuple[Option, ...]:
        """Choices as read; those that would read alike say which they are."""
        said = [(choice.value, self.voice.sentence(choice.label)) for choice in choices[:MOST_CHOICES]]
        count = Counter(label for _, label in said)
        return tuple(Option(value, f"{label} ({value})" if count[label] > 1 else label) for value, label in said)

    def _setting(self, output: str) -> Form | Reply:
        """The output and its value at once where all outputs are of one kind, else one after the other."""
        outputs = {
            name: c for name, c in readable(self.request.sender, self.house).items() if c.writable and c.type != "text"
        }
        channels = list(outputs.values())
        if not channels or (output and output not in outputs):
            return refuse(N_("There is nothing here that you may set."))
        span = Field(
            var=FOR, kind="text-single",
            label=self._said(N_("For how long, like 10s (empty: until it is set again)")),
        )
        if not output and len(channels) == 1:
            output = channels[0].name
        if output:
            stage: Stage = "second" if len(channels) > 1 else "only"
            return self._form(self._value(outputs[output], alone=True), span, stage=stage, output=output)
        options = self._options([self._now(channel) for channel in channels])
        which = Field(
            var=OUTPUT, kind="list-single", label=self._said(N_("What")), values=(channels[0].name,),
            options=options, needed=True,
        )
        if len({(c.type, c.unit, c.minimum, c.maximum) for c in channels}) == 1:
            return self._form(which, self._value(channels[0], alone=False), span)
        return self._form(which, stage="first")

    def _now(self, channel: Channel) -> Choice:
        """An output, with what it is now."""
        record = self.house.latest.get(channel.name)
        values = {"channel": channel, "value": record}
        return Choice(channel.name, Sentence("{channel}: {value}" if record else "{channel}", values))

    def _value(self, channel: Channel, *, alone: bool) -> Field:
        record = self.house.latest.get(channel.name)
        now = record.value if record else None
        if channel.type == "boolean":
            label = Sentence(N_("{channel} on"), {"channel": channel}) if alone else Sentence(N_("On"))
            return Field(
                var=VALUE, kind="boolean", label=self.voice.sentence(label),
                values=(_TRUE if now else _FALSE)[:1], needed=True,
            )
        ends = [self.voice.number(end) for end in (channel.minimum, channel.maximum) if end is not None]
        detail = " ".join(part for part in ("–".join(ends) if len(ends) == 2 else "", channel.unit) if part)
        name = "{channel}" if alone else N_("Value")
        label = Sentence("{name} ({detail})" if detail else "{name}",
                         {"name": self.voice.sentence(Sentence(name, {"channel": channel})), "detail": detail})
        return Field(
            var=VALUE, kind="text-single", label=self.voice.sentence(label), needed=True, datatype="xs:decimal",
            values=() if now is None or isinstance(now, str) else (f"{Decimal(f'{now:.10g}'):f}",),
            least=channel.minimum, most=channel.maximum,
        )

    def _said(self, message: str) -> str:
        return self.voice.sentence(Sentence(message))

    # Reading them -----------------------------------------------------------------------------------------------------

    def _checked(self, field: Field, given: Sequence[str]) -> Sentence | None:
        """What is wrong with these values, whatever the verb."""
        if any(len(value) > MAX_TEXT for value in given):
            return Sentence(N_("{field}: that is too long."))
        values = _plain(given)
        if field.kind != "list-multi" and len(given) > 1:
            return Sentence(N_("{field}: only one, please."))
        known = {option.value for option in field.options}
        if field.options and any(value not in known for value in values):
            return Sentence(N_("{field}: that is none of the choices."))
        return Sentence(N_("{field}: please fill this in.")) if field.needed and not values else None

    def _taken(self, field: Field, ask: Ask, given: Sequence[str], answers: _Answers) -> Sentence | None:
        """Take what is filled in, if anything, or say what is wrong with it."""
        values = _plain(given)
        if not values:
            return None
        text = values[0]
        if self._sets and field.var == OUTPUT:
            answers.channels = values
            return None
        if self._sets and field.var == VALUE:
            return self._set_to(field, text, answers)
        match ask.kind:
            case "channels":
                answers.channels = values
            case "span":
                return answers.span(text, off=ask.choices is not None)
            case "count" if not (text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= ask.most):
                return Sentence(N_("{field}: a whole number from 1 to {most}, please."), {"most": ask.most})
            case "jid":
                try:
                    values = (str(self.house.jid("" if " " in text else text).bare),)
                except ValueError:
                    return Sentence(N_("{field}: “{text}” is no address like name@example.org."), {"text": text})
                answers.say(ask.word, values)
            case _:
                answers.say(ask.word, values)
        return None

    def _set_to(self, field: Field, text: str, answers: _Answers) -> Sentence | None:
        if field.kind == "boolean":
            if text not in {*_TRUE, *_FALSE}:
                return Sentence(N_("{field}: either on or off, please."))
            answers.value = text in _TRUE
            return None
        found = number(fold(text).replace("−", "-").replace(" ", ""))
        channel = self.house.channels.get(answers.channels[0]) if answers.channels else None
        unit = fold(channel.unit) if channel else ""
        if found is None or found[1] not in {"", unit, unit.removeprefix("°")}:
            return Sentence(N_("{field}: that is no number that I understand."))
        if channel and (limits := beyond(channel, found[0])):
            return limits.lines[0]
        answers.value = found[0]
        return None


@dataclass(slots=True)
class _Answers:
    """The parts of a request while a form is read."""

    argument: str = ""
    channels: tuple[str, ...] = ()
    value: bool | float | None = None
    for_s: float | None = None
    off: bool = False

    def say(self, word: str, values: Sequence[str]) -> None:
        self.argument = " ".join(part for part in (self.argument, word, *values) if part)

    def span(self, text: str, *, off: bool) -> Sentence | None:
        """Take a time, or a word for none at all where that is a choice."""
        said = words(text)
        self.for_s, self.off = duration(said), off and len(said) == 1 and SWITCH.get(said[0]) is False
        if self.for_s is None and not self.off:
            return Sentence(N_("{field}: a time like 10s, 5min, 2h or 1d, please."))
        return None

    def request(self, asked: Request) -> Request:
        value = False if self.off else self.value
        return replace(asked, argument=self.argument, channels=self.channels, value=value, for_s=self.for_s)


def spoken(request: Request) -> str:
    """The request as somebody could have typed it, for the audit log."""
    match request.value:
        case bool():
            value = "on" if request.value else "off"
        case None:
            value = ""
        case _:
            value = f"{request.value:.10g}"
    span = f"for {request.for_s:.10g}s" if request.for_s is not None else ""
    return " ".join(part for part in (request.verb, request.argument, *request.channels, value, span) if part)


def _asks(command: Command) -> tuple[Ask, ...]:
    return BY_TAKES[command.takes] if command.form is None else command.form


def _plain(given: Sequence[str]) -> tuple[str, ...]:
    """The values that say something, each once, on one line."""
    return tuple(value for value in dict.fromkeys(" ".join(value.split()) for value in given) if value)

