"""Which words name which channels: pure, over the channels that the asking person may read.

A whole name is a channel's name, its label or one of its aliases. Only a whole name may act. Asking and reading are
content with less: the beginnings of words, a quantity (`how warm`), another word for the same sort of thing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from knoop.words import (
    ALL,
    AND,
    COURTESY,
    DURING,
    ELSEWHEN,
    PAST,
    PLACING,
    QUANTITY,
    SORT,
    SPANS,
    SWITCH,
    SWITCHING,
    TOWARDS,
    Quantity,
    tokens,
)  # fmt: skip
from knoop_hw.model import Channel

MOST_JOINED = 4  # words that may be one name written apart
MOST_WORDS = 12  # of a phrase that names something in part; a longer one is no name, and would take long to compare

# Words of the grammar: as a whole name they would change what other sentences mean.
WORDS = frozenset({*ALL, *AND, *COURTESY, *DURING, *PAST, *PLACING, *SPANS, *SWITCH, *SWITCHING, *TOWARDS})
Whole = tuple[tuple[str, ...], int]  # the channels with one whole name, and the index behind its last word


class Names:
    """The names of these channels, and what can be found with them."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self.channels = channels
        self._whole: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._begun: set[tuple[str, ...]] = set()
        self._joined: dict[str, tuple[str, ...]] = {}
        self._spelt: set[str] = set()  # every beginning of these
        self._words: dict[str, frozenset[str]] = {}
        for name, channel in channels.items():
            called = {tokens(text) for text in (name, channel.label, *channel.aliases)} - {()}
            for phrase in called:
                self._whole[phrase] = (*self._whole.get(phrase, ()), name)
                self._begun.update(phrase[:end] for end in range(1, len(phrase)))
                spelt = "".join(phrase)
                self._joined[spelt] = (*self._joined.get(spelt, ()), name)
                self._spelt.update(spelt[:end] for end in range(1, len(spelt) + 1))
            self._words[name] = frozenset(word for phrase in called for word in phrase)

    def words(self) -> set[str]:
        """Every word of every name, and the names as they are typed in one word."""
        return {*self.channels}.union(*self._words.values())

    def whole(self, phrase: Iterable[str]) -> tuple[str, ...]:
        """The channels whose whole name this is."""
        return self._whole.get(tokens(phrase), ())

    def at(self, said: Sequence[str], at: int) -> Whole | None:
        """The longest whole name that begins at this word."""
        found: Whole | None = None
        phrase: tuple[str, ...] = ()
        for end in range(at, len(said)):
            more = tokens(said[end]) if _nameable(said[end]) else ()
            if not more and (end == at or not _nameable(said[end])):
                break
            phrase += more
            if more and phrase in self._whole:
                found = self._whole[phrase], end + 1
            if phrase not in self._begun:
                break
        return found

    def joined(self, said: Sequence[str], at: int) -> Whole | None:
        """The longest name that begins at this word, written apart or together otherwise: `gang lamp`, `halllight`."""
        found: Whole | None = None
        spelt = ""
        for end in range(at, min(at + MOST_JOINED, len(said))):
            spelt += _letters(said[end])
            if spelt not in self._spelt or not _nameable(said[end]):
                break
            if spelt in self._joined:
                found = self._joined[spelt], end + 1
        return found

    def matching(self, phrase: Iterable[str]) -> tuple[str, ...]:
        """The channels this names whole; else those where each word begins a word of their names."""
        wanted = tokens(phrase)
        if exact := self._whole.get(wanted):
            return exact
        if not 0 < len(wanted) <= MOST_WORDS or any(len(token) < 2 and not token.isdigit() for token in wanted):
            return ()
        return tuple(
            name
            for name, words in self._words.items()
            if all(any(word.startswith(token) for word in words) for token in wanted)
        )

    def near(self, phrase: Iterable[str]) -> tuple[str, ...]:
        """The channels that may be meant: as `matching`, also by another word for the same sort of thing."""
        wanted = tuple(token for token in tokens(phrase) if token not in PLACING)
        if not 0 < len(wanted) <= MOST_WORDS:
            return ()
        sorts = {name: {SORT[word] for word in words if word in SORT} for name, words in self._words.items()}
        return tuple(
            name
            for name, words in self._words.items()
            if all(
                SORT.get(token, -1) in sorts[name]
                or (len(token) > 1 and any(word.startswith((token, _one_of(token))) for word in words))
                for token in wanted
            )
        )

    def read(self, said: Sequence[str], neutral: frozenset[str], *, spare: bool = False) -> tuple[str, ...]:
        """All channels that these words ask for, in their order; none unless every word counts or is `neutral`.

        Things may be strung together: `lamp and heater`, `door, window`. `spare` allows one word in each that means
        nothing here, beside a whole name: `is the lamp perchance on`.
        """
        found: list[str] = []
        for part in filter(None, self._parts(said)):
            names = self._asked(part, neutral, spare=spare)
            if not names:
                return ()
            found += names
        return tuple(dict.fromkeys(found))

    def _parts(self, said: Sequence[str]) -> Iterator[list[tuple[str, ...] | str]]:
        """What stands between each `and`: channels where they are named whole, words elsewhere."""
        part: list[tuple[str, ...] | str] = []
        at = 0
        while at < len(said):
            whole = self.at(said, at) or self.joined(said, at)
            if whole is None and said[at] in AND:
                yield part
                part = []
            else:
                part.append(whole[0] if whole else said[at])
            at = whole[1] if whole else at + 1
        yield part

    def _asked(
        self, part: Sequence[tuple[str, ...] | str], neutral: frozenset[str], *, spare: bool
    ) -> tuple[str, ...]:
        named = tuple(name for item in part if isinstance(item, tuple) for name in item)
        dangling = {item for item in part[-1:] if isinstance(item, str) and item in PLACING}
        words = [item for item in part if isinstance(item, str)]
        rest = [word for word in words if word.replace("'", "") not in neutral or word in dangling]
        strange = [word for word in rest if self._strange(word)] if spare and named else []
        if len(strange) == 1:
            rest.remove(strange[0])
        if not rest:
            return named
        place = [word for word in rest if word not in QUANTITY]
        quantities = {QUANTITY[word] for word in rest if word in QUANTITY}
        if len(quantities) > 1:
            return ()
        if not quantities and not named:
            return self.matching(place) or self.near(place)
        if named and place:  # where it is may be said as well, if it is there
            there = {name.partition(".")[0] for name in self.matching(place)}
            return named if all(name.partition(".")[0] in there for name in named) else ()
        (quantity,) = quantities
        if named or place:
            return self._measuring(quantity, named or self.matching(place)) or (() if named else self.matching(rest))
        if quantity.sure:
            return self._measuring(quantity, tuple(self.channels)) or self.matching(rest)
        return self.matching(rest) or (self._measuring(quantity, tuple(self.channels)) if quantity.stems else ())

    def _strange(self, word: str) -> bool:
        """Whether this is a plain word that says nothing about which thing, or when."""
        if not word.isalpha() or word in QUANTITY or word in SORT or word in ELSEWHEN:
            return False
        return not any(other.startswith(word) for words in self._words.values() for other in words)

    def _measuring(self, quantity: Quantity, near: Sequence[str]) -> tuple[str, ...]:
        """The channels that measure it, of the devices that these channels belong to."""
        devices = {name.partition(".")[0] for name in near}
        return tuple(
            name
            for name, channel in self.channels.items()
            if name.partition(".")[0] in devices and not channel.writable
            and (channel.unit in quantity.units or channel.kind in quantity.kinds)
            and (not quantity.stems or any(stem in word for word in self._words[name] for stem in quantity.stems))
        )  # fmt: skip


def clashes(channels: Iterable[Channel], words: Collection[str]) -> Iterator[tuple[Channel, str]]:
    """The channels with an alias that cannot be one, and why: a word for something else, or another's name.

    `words` are those that people say to the node. Two channels may have one label: then the node asks which is meant.
    """
    listed = [*channels]
    taken: dict[tuple[str, ...], dict[str, str]] = {}
    for channel in listed:
        for text in (channel.name, channel.label, *channel.aliases):
            taken.setdefault(tokens(text), {}).setdefault(channel.name, text)
    for channel in listed:
        for alias in channel.aliases:
            said = tokens(alias)
            others = [(name, text) for name, text in taken[said].items() if name != channel.name]
            if not any(word.isalpha() for word in said):
                yield channel, f"'{alias}' has no word in it; choose another"
            elif len(said) == 1 and (said[0] in words or said[0] in WORDS):
                yield channel, f"'{alias}' is a word people say to the node; choose another"
            elif others:
                name, text = others[0]
                yield channel, f"'{alias}' is also what {name} is called ('{text}'); each alias names one channel"


def _one_of(many: str) -> str:
    """The same word for one of them: `windows`, `deuren`."""
    if len(many) <= 4:
        return many
    return many.removesuffix("en") if many.endswith("en") else many.removesuffix("s")


def _letters(word: str) -> str:
    """The letters and digits of a word that is folded already."""
    return "".join(c for c in word if c.isalnum())


def _nameable(word: str) -> bool:
    """Whether a word may be part of a name: a value with a sign, a fraction or a unit is none."""
    return re.search("[%°=]|^[+-]|^[0-9]+[.,][0-9]", word) is None
