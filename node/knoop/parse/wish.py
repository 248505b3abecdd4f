"""What a sentence would set: its names, values and spans in their order, and whether that is a plain order. Pure.

The grammar is strict because it moves things: each word counts, and there is exactly one name, one value and at most
one span. What is between a plain order and no order at all is kept for asking back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from knoop.parse.naming import Names
from knoop.words import (
    ALL,
    BACK,
    COUNTS,
    COURTESY,
    DURING,
    FILLERS,
    HUNDRED,
    INFINITIVES,
    LOCK,
    MODALS,
    ONE,
    SETTING,
    SWITCH,
    SWITCHING,
    TOWARDS,
    UNITS,
    count_at,
    fold,
    number,
    span_at,
)  # fmt: skip
from knoop_hw.model import Channel

# Orders, a letter a piece: n a name, s a value, v a verb, d a verb that holds its value. A span may be anywhere.
PLAIN = frozenset({"ns", "vns", "vsn", "dn", "nd"})


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, the unit said with it, and both as they were typed."""

    value: bool | float
    unit: str
    typed: str

    def fits(self, channel: Channel) -> bool | float | None:
        """The value as this channel takes it; None when it does not."""
        value = self.value
        if self.unit and self.unit not in {fold(channel.unit), fold(channel.unit).removeprefix("°")}:
            return None
        if channel.type == "boolean":
            return bool(value) if isinstance(value, bool) or value in {0, 1} else None
        if channel.type == "number" and not isinstance(value, bool):
            return value
        if channel.type == "number" and channel.minimum == 0 and channel.maximum is not None:
            return channel.maximum if value else 0.0  # a dimmer: off is nothing, on is all
        return None


@dataclass(slots=True)
class Wish:
    """The pieces of a sentence; `order` has a letter for each, t for a span and x for a word that is none of them."""

    order: str = ""
    names: list[tuple[str, ...]] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    spans: list[tuple[float, str]] = field(default_factory=list)  # seconds, and the words with their preposition
    loose: list[str] = field(default_factory=list)  # the words that name something or are not understood
    endless: Sequence[str] | None = None  # what stands behind a “for” and is no span
    unsure: bool = False  # all is understood, but it may be meant otherwise: ask

    @property
    def core(self) -> str:
        """The order without its first span."""
        return self.order.replace("t", "", 1)

    @property
    def wants(self) -> bool:
        """Whether it wants to set something, however badly it says so."""
        return bool({*"svdt"} & {*self.order})

    @property
    def named(self) -> tuple[str, ...]:
        """Every channel that is named whole."""
        return tuple(dict.fromkeys(name for names in self.names for name in names))

    @property
    def for_s(self) -> float | None:
        """The span in seconds."""
        return self.spans[0][0] if self.spans else None

    @property
    def clock(self) -> bool:
        """Whether the span may as well be a time of day: `aan 20 u`, or `voor 8 uur`, which is before it, too."""
        match = re.fullmatch("(?:voor )?([a-z]+|[0-9]{1,2}) ?(u|uur)", self.spans[0][1]) if self.spans else None
        return match is not None and match[1] not in ONE and (match[1] in COUNTS or match[1].isdigit())


def wish(said: Sequence[str], names: Names, verbs: AbstractSet[str]) -> Wish:
    """The pieces of these words. `verbs` are the words for setting something."""
    units = UNITS | {fold(c.unit): fold(c.unit) for c in names.channels.values() if c.unit}
    scan = _Scan(said, names, verbs, units)
    at = 0
    while at < len(said):
        at = scan.piece(at)
    return scan.made


@dataclass(frozen=True, slots=True)
class _Scan:
    said: Sequence[str]
    names: Names
    verbs: AbstractSet[str]
    units: dict[str, str]
    made: Wish = field(default_factory=Wish)

    def piece(self, at: int) -> int:
        """Add the piece that begins at this word; returns where it ends."""
        made, said, word = self.made, self.said, self.said[at]
        if whole := self.names.at(said, at):
            made.order += "n"
            made.names.append(whole[0])
            made.loose += said[at : whole[1]]
            return whole[1]
        if apart := self.names.joined(said, at):
            made.order += "n"
            made.names.append(apart[0])
            made.loose += said[at : apart[1]]
            made.unsure = True
            return apart[1]
        if span := span_at(said, at + (word in DURING)):
            made.order += "t"
            made.spans.append((span[0], " ".join(said[at : span[1]])))
            return span[1]
        if word in COURTESY or word in FILLERS or self.around(at):
            return at + 1
        if setting := self.setting(at):
            self.set(at, setting[0])
            return setting[1]
        if word in SWITCHING:
            made.order += "d"
            made.settings.append(Setting(SWITCHING[word], "", _switch(word)))
        elif word in self.verbs or word in SETTING:
            made.order += "v"
        elif not self.towards(at):
            self.unknown(at)
        return at + 1

    def set(self, at: int, setting: Setting) -> None:
        """Add the value at this word. `start the fan at 40`: then the verb holds none."""
        made = self.made
        number = not isinstance(setting.value, bool)
        if number and made.core == "dn" and made.settings[0].value:
            made.order = made.order.replace("d", "v")
            made.settings.clear()
        if number and not setting.unit and self.said[at].isalpha() and self.said[at - 1] not in TOWARDS:
            made.unsure = True  # `fan two` may be the second one
        made.order += "s"
        made.settings.append(setting)

    def around(self, at: int) -> bool:
        """Whether this word is understood and is no piece of its own; it may make the whole unsure."""
        made, word, behind = self.made, self.said[at], self.said[at + 1] if at + 1 < len(self.said) else ""
        if word in MODALS:
            made.unsure |= bool(made.names)
            return bool(made.names)
        if word == "u" and made.core == "v":  # `zet u de lamp maar aan` is an order; without `maar` perhaps a question
            made.unsure |= "maar" not in self.said
            return True
        if word in INFINITIVES:
            return made.order.endswith("s")
        return (word in BACK and (behind in SWITCH or behind in TOWARDS)) or (
            (word == "te" and behind in INFINITIVES) or (word == "on" and self.on(at))
        )

    def on(self, at: int) -> bool:
        """Whether this `on` leads to a number: `put fan on 20`."""
        made, said = self.made, self.said
        numbers = bool(made.names) and all(self.names.channels[name].type == "number" for name in made.names[-1])
        if not numbers or at + 1 >= len(said) or span_at(said, at + 1) or self.names.at(said, at + 1):
            return False
        found = self.setting(at + 1)
        if found is None or isinstance(found[0].value, bool):
            return False
        made.unsure |= not found[0].unit and not {"put", "set"} & {*said[:at]}
        return True

    def setting(self, at: int) -> tuple[Setting, int] | None:
        """`on`, `40`, `40%`, `40 percent` at this word, and where it ends."""
        word, behind = self.said[at], self.said[at + 1] if at + 1 < len(self.said) else ""
        if word in SWITCH:
            return Setting(SWITCH[word], "", word), at + 1
        named = self.made.named
        if word in LOCK and named and all(self.names.channels[name].kind == "lock" for name in named):
            return Setting(LOCK[word], "", word), at + 1
        if word == "in" and behind in {"", *DURING} and any(said.startswith("schakel") for said in self.said[:at]):
            return Setting(True, "", "aan"), at + 1  # schakel … in
        if (counted := None if word in ONE and behind not in HUNDRED else count_at(self.said, at)) is not None:
            value, end = counted
            unit = self.said[end] if end < len(self.said) and self.said[end] in self.units else ""
            return Setting(float(value), self.units.get(unit, ""), f"{value} {unit}".strip()), end + bool(unit)
        found = number(word)
        if found is None:
            return None
        amount, unit = found
        if not unit and behind in self.units:
            return Setting(amount, self.units[behind], f"{word} {behind}"), at + 2
        return Setting(amount, self.units.get(unit, unit), word), at + 1

    def towards(self, at: int) -> bool:
        """Whether this word leads to a value: `to 40`."""
        after = at + 1
        while after < len(self.said) and self.said[after] in FILLERS:
            after += 1
        if self.said[at] not in TOWARDS or after >= len(self.said):
            return False
        found = self.setting(after)
        if found is None or self.names.at(self.said, after) or span_at(self.said, after):
            return False
        value, unit = found[0].value, found[0].unit
        hour = self.said[at] == "at" and not isinstance(value, bool) and not unit and value <= 24
        return not hour  # `fan at 8` may be a time of day

    def unknown(self, at: int) -> None:
        """Add a word that is no piece of an order."""
        made, word = self.made, self.said[at]
        if word in DURING and made.endless is None:
            made.endless = self.said[at + 1 :]
        if word not in ALL:
            made.loose.append(word)
        made.order += "x"


def _switch(verb: str) -> str:
    """The value in a verb, in its language."""
    return ("uit", "aan")[SWITCHING[verb]] if verb.endswith(("en", "eer")) else ("off", "on")[SWITCHING[verb]]
