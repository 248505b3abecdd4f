"""Sentences as people read them: in their language, with their decimal sign, units and clock. Pure.

gettext's catalogues are in `locale/`, English is the source. One sentence is one line of plain text without
markup, because that is what every client shows; nothing that came from outside can add a line to it.
"""

from __future__ import annotations

import gettext
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from knoop.alerts import PREFIX, Absence, Alerts, AlertState, Rule, Severity
from knoop.command import N_, Instant, Reply, Sentence, Span, reading, wording
from knoop.disk import STORAGE
from knoop.record import Record
from knoop.reminders import Hearing
from knoop_hw.model import Channel, Kind, Value

LOCALE = Path(__file__).parent / "locale"
LATE_S = 60  # a sentence this old is news of the past and says when it was
MOST_SECONDS = 3600  # a value of more seconds is said as a span: nobody thinks of 16297 s as half an afternoon
LONGEST_TEXT = 200  # characters of a text value or of somebody's words within a sentence
_JOINER = "\u200d"  # holds 👩‍🌾 together

_DECIMAL = {"nl": ","}
_STATES: Mapping[Kind, tuple[str, str]] = {
    "contact": (N_("closed"), N_("open")),
    "motion": (N_("no motion"), N_("motion")),
    "lock": (N_("locked"), N_("unlocked")),
    "button": (N_("released"), N_("pressed")),  # of readings from before a button said gestures
}
_GESTURES = {"click": N_("pressed"), "double": N_("pressed twice"), "long": N_("held")}
_ON_OFF = (N_("off"), N_("on"))
_QUALITY = {
    "missing": N_("missing"),
    "error": N_("error"),
    "estimate": N_("estimate"),
    "warning": N_("doubtful"),
    "lost": N_("some were lost"),
}
_SPANS = (
    (86400_000, N_("{count} d")),
    (3600_000, N_("{count} h")),
    (60_000, N_("{count} min")),
    (1000, N_("{count} s")),
    (1, N_("{count} ms")),
)
_HEADS: Mapping[Severity, str] = {
    "info": N_("Note {alert}"),
    "warning": N_("Alert {alert}"),
    "critical": N_("Critical alert {alert}"),
}
_PLAIN_HEADS: Mapping[Severity, str] = {
    "info": N_("Note"),
    "warning": N_("Alert"),
    "critical": N_("Critical alert"),
}
# Of `node.storage`: what is wrong, what that means, and what to do.
_STORAGE = {
    "full": N_(
        "{head}: my disk is full; make room there. Until then events are in my memory only, and "
        "measurements may be lost"
    ),
    "failing": N_(
        "{head}: my disk does not take what I write; the log says why, perhaps the card is dying. Until then events "
        "are in my memory only, and measurements may be lost"
    ),
    "replaced": N_(
        "{head}: a damaged file was set aside and begun anew; the log says which. Older readings are gone, or lines of "
        "the audit log"
    ),
    "rights_lost": N_(
        "{head}: rights given or taken in chat are lost; look at [people] in node.toml and ask “who”. The file that "
        "had them was damaged or cannot be read; the log says why"
    ),
}
AGAIN = Hearing()


@cache
def languages() -> frozenset[str]:
    """The languages there are sentences in."""
    return frozenset({"en", *(path.parts[-3] for path in LOCALE.glob("*/LC_MESSAGES/knoop.mo"))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How to speak to one reader at one instant.

    `lang` is any language tag; one without a catalogue is spoken to in English. `channels` are what records
    belong to, `now_ns` is UTC nanoseconds and `boottime_ns` the same in this `boot`, `zone` the reader's time zone,
    None for this machine's.
    """

    lang: str
    channels: Mapping[str, Channel] = field(default_factory=dict)
    now_ns: int
    zone: tzinfo | None = None
    boot: str = ""
    boottime_ns: int = 0

    def render(self, reply: Reply) -> str:
        """A whole reply, one sentence a line."""
        return "\n".join(self.sentence(line) for line in reply.lines)

    def sentence(self, sentence: Sentence) -> str:
        """One sentence, one line; a capital first where it begins with a channel."""
        spoken = self._spoken(sentence)
        first = sentence.values.get(spoken[1:].partition("}")[0]) if spoken.startswith("{") else None
        line = self._filled(spoken, sentence.values)
        return line[:1].upper() + line[1:] if isinstance(first, Channel) else line

    def event(self, record: Record, alerts: Alerts, hearing: Hearing = AGAIN) -> str:
        """What the node says by itself about one reading; with the time when that is past.

        How long ago is judged by boottime where it can be, since the clock may have been set since. A reminder says
        how things are now, whenever it was due; `hearing` is how this reader is reminded.
        """
        line = self.sentence(self._event(record, alerts, hearing))
        here, at_ns = record.boot == self.boot, record.at_ns
        age_ns = self.boottime_ns - record.boottime_ns if here else None if at_ns is None else abs(self.now_ns - at_ns)
        if record.value == "reminded" or (age_ns is not None and age_ns <= LATE_S * 1_000_000_000):
            return line
        values = {"sentence": line, "time": Instant(at_ns)}
        if at_ns is not None:
            return self.sentence(Sentence(N_("{sentence} (at {time})"), values))
        if age_ns is None:
            return self.sentence(Sentence(N_("{sentence} ({time})"), values))
        ago = {"sentence": line, "span": Span(round(age_ns / 1e9))}
        return self.sentence(Sentence(N_("{sentence} ({span} ago)"), ago))

    def _event(self, record: Record, alerts: Alerts, hearing: Hearing) -> Sentence:
        channel = self.channels.get(record.channel)
        if channel is not None:
            return reading(channel, record)
        name = record.channel.removeprefix(PREFIX)
        values: dict[str, Any] = {"alert": humane(name), "value": record}
        rule = alerts.rules.get(name)
        state = alerts.state(name) if rule else None
        recent = state is not None and (
            state.changed_ns == record.boottime_ns or (record.at_ns is not None and state.at_ns == record.at_ns)
        )
        match record.value:
            case "raised":
                what = self._raised(name, rule, state if recent else None, state.value if state and recent else None)
                return Sentence(N_("{what}."), {"what": what})
            case "reminded":
                newest = None if state is None else state.value if state.last is None else state.last
                return self._reminded(self._raised(name, rule, state, newest), rule, state, hearing)
            case "acknowledged" if state is not None and recent and state.by:
                return Sentence(N_("{alert}: acknowledged by {person}."), values | {"person": state.by})
            case "acknowledged":
                return Sentence(N_("{alert}: acknowledged."), values)
            case "cleared" if rule and state and isinstance(rule.when, Absence):
                device = {"device": _device(rule.when)}
                channel = self.channels.get(rule.when.channel)
                if channel is None or not recent or state.last is None:
                    return Sentence(N_("{device} is back."), device)
                return Sentence(N_("{device} is back: {value}."), device | {"value": self.value(channel, state.last)})
            case "cleared" if rule and rule.when.channel == STORAGE:
                return Sentence(N_("{alert} is over: my disk takes everything again."), values)
            case "cleared":
                return Sentence(N_("{alert} is over."), values)
        return Sentence(N_("{alert} is {value}."), values)

    def _raised(self, name: str, rule: Rule | None, state: AlertState | None, value: Value) -> Sentence:
        """What is raised, without a full stop: `Alert frost: air temperature is −0.4 °C`."""
        severity = rule.severity if rule else "warning"
        if rule and isinstance(rule.when, Absence):
            values = {"device": _device(rule.when), "head": Sentence(_PLAIN_HEADS[severity])}
            if state is None or state.since_at_ns is None:
                return Sentence(N_("{head}: {device} has no value (it is missing)"), values)
            values["time"] = Instant(state.since_at_ns)
            if "." in rule.when.channel:
                return Sentence(N_("{head}: {device} has no value since {time} (the sensor is missing)"), values)
            return Sentence(N_("{head}: {device} has no value since {time} (it is missing)"), values)
        head = Sentence(_HEADS[severity], {"alert": humane(name)})
        watched = self.channels.get(rule.when.channel) if rule else None
        if watched is None or value is None:
            return head
        if rule and rule.when.channel == STORAGE and value in _STORAGE:
            return Sentence(_STORAGE[str(value)], {"head": head})
        what = {"channel": watched, "value": self.value(watched, value)}
        return Sentence(wording(watched).alert, {"head": head, **what})

    def _reminded(self, what: Sentence, rule: Rule | None, state: AlertState | None, hearing: Hearing) -> Sentence:
        missing = rule is not None and isinstance(rule.when, Absence)  # which has said since when
        since_ns = state.since_at_ns if state and not missing else None
        values = {"what": what, "time": Instant(since_ns), "span": Span(hearing.unanswered_s)}
        if hearing.unanswered_s and since_ns is not None:
            return Sentence(N_("{what} (since {time}; nobody acknowledged it for {span})."), values)
        if hearing.unanswered_s:
            return Sentence(N_("{what}; nobody acknowledged it for {span}."), values)
        if hearing.first:
            return Sentence(N_("{what} (since {time}).") if since_ns is not None else N_("{what}."), values)
        return Sentence(N_("Still: {what} (since {time}).") if since_ns is not None else N_("Still: {what}."), values)

    def value(self, channel: Channel, value: Value) -> str:
        """A value of this channel with its unit: `21.4 °C`, `open`, `on`."""
        match value:
            case bool():
                return self._translated(state(channel, value))
            case int() | float() if channel.unit == "s" and MOST_SECONDS <= value < float("inf"):
                return self._span(value)
            case int() | float():
                return f"{self.number(value, channel.digits)} {channel.unit}".rstrip()
            case str() if channel.kind == "button" and value in _GESTURES:
                return self._translated(_GESTURES[value])
            case str():
                return _one_line(value)
            case None:
                return self._translated(_QUALITY["missing"])

    def number(self, value: float, digits: int | None = None) -> str:
        """With this many decimals (None: as many as it has), a real minus and the reader's decimal sign."""
        if digits is not None and abs(value) < 1e15:
            text = f"{value:.{digits}f}"
        elif abs(value) < 1e15 and value == int(value):
            text = f"{value:.0f}"
        elif isfinite(value):
            text = f"{Decimal(f'{value:.10g}'):f}"
        else:
            text = str(value)
        if not text.strip("-0."):
            text = text.removeprefix("-")
        return text.replace("-", "−").replace(".", _DECIMAL.get(self._language, "."))

    @property
    def _language(self) -> str:
        short = self.lang.replace("_", "-").partition("-")[0].lower()
        return short if short in languages() else "en"

    def _translated(self, message: str) -> str:
        return _catalogue(self._language).gettext(message)

    def _spoken(self, sentence: Sentence) -> str:
        if sentence.plural:
            count = sentence.values["count"]
            return _catalogue(self._language).ngettext(sentence.message, sentence.plural, count)
        return self._translated(sentence.message)

    def _filled(self, spoken: str, values: Mapping[str, Any]) -> str:
        return spoken.format_map({name: self._said(value) for name, value in values.items()})

    def _said(self, value: Any) -> str:
        match value:
            case Sentence():
                return self._filled(self._spoken(value), value.values)
            case Channel():
                return _one_line(value.label) or humane(value.name)
            case Record():
                return self._record(value)
            case Span():
                return self._span(value.seconds)
            case Instant():
                return self._instant(value.at_ns)
            case tuple():
                said = [self._said(item) for item in value]
                if any(isinstance(item, Channel) and item.label[:1].isupper() for item in value):
                    said = [text[:1].upper() + text[1:] for text in said]  # `Air, Dimmer`: names that look alike
                return ", ".join(said)
            case bool():
                return self._translated(_ON_OFF[value])
            case int() | float():
                return self.number(value)
        return _one_line(str(value))

    def _record(self, record: Record) -> str:
        quality = _QUALITY.get(record.quality)
        if record.value is None:
            return self._translated(quality or _QUALITY["missing"])
        plain = Channel(name=record.channel, kind="sensor", type=record.type, unit=record.unit)
        value = self.value(self.channels.get(record.channel, plain), record.value)
        return f"{value} ({self._translated(quality)})" if quality else value

    def _span(self, seconds: float) -> str:
        """The two largest units that count: `3 d 4 h`, `1 min 30 s`, `50 ms`."""
        left = max(0, round(seconds * 1000))
        if left >= 10_000:
            left = round(left, -3)
        parts: list[str] = []
        for size, message in _SPANS:
            count, left = divmod(left, size)
            if count:
                parts.append(self._translated(message).format(count=count))
            if parts and (not count or len(parts) == 2):
                break
        return " ".join(parts) or self._translated(N_("{count} s")).format(count=0)

    def _instant(self, at_ns: int | None) -> str:
        if at_ns is None:
            return self._translated(N_("time unknown"))
        at, now = (
            datetime.fromtimestamp(ns // 1_000_000_000, UTC).astimezone(self.zone) for ns in (at_ns, self.now_ns)
        )
        return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def _device(when: Absence) -> str:
    """How people call a device at the begin of a sentence."""
    name = _one_line(when.label) or humane(when.device)
    return name[:1].upper() + name[1:]


def state(channel: Channel, value: bool) -> str:
    """How a boolean of this channel is called, as a message: `open`, `on`."""
    return _STATES.get(channel.kind, _ON_OFF)[value]


def humane(name: str) -> str:
    """A name as it is said: `air.temperature` is air temperature."""
    return name.replace(".", " ").replace("_", " ")


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("knoop", LOCALE, [language], fallback=True)


def _one_line(text: str) -> str:
    """Text from outside, bounded and without line breaks, control characters or changes of direction."""
    harmful = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    clean = "".join(" " if unicodedata.category(c) in harmful and c != _JOINER else c for c in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= LONGEST_TEXT else clean[: LONGEST_TEXT - 1] + "…"
