"""Addresses that look alike and are not: what somebody who borrows a name would write. Pure.

Rights never depend on this: they are on whole prepared addresses. It is for the eye of whoever names people.

Two addresses look alike when their skeletons are equal (UTS #39 §4): letters that look the same become one, marks go.
The table holds what survives the preparation of an address (RFC 6122), from Unicode's confusables.txt 14.0 and, for
letters that are only nearly the same, from Chromium's skeleton_generator.cc.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from knoop.jid import Jid

_LOOKS_LIKE = {
    "-": "‐‒–⁃", ".": "٠۰。", "a": "ɑαаᎪ", "b": "ƀƃƅɓвьѣҍᏏᏴ", "c": "сҫᏟ", "d": "đƌɖɗԁԃձᎠᏧ", "e": "еєҽҿᎬ", "f": "ƒғք",
    "g": "ƍǥɠɡԍցᏀᏳ", "h": "ħɦнћңҥһӈӊԋհᎻᏂᏲ", "i": "ıɨɩɪιіᎥ", "j": "ϳјᎫ", "k": "ĸƙκкқҝҟҡӄᏦ", "l": "1|łƚǀɫɭӀ١۱Ꮮ",
    "n": "ŋƞɳηпոռ", "o": "0øơɵθοσоѳөօ٥۵ᎤᎾᏫ〇", "p": "ƥρрҏᏢ", "q": "ʠգզ", "r": "ɼɽгґᎡᏒ", "s": "ƽʂѕᏕᏚ",
    "t": "ŧƭτтҭԏᎢ", "u": "ʋυսᏌ", "v": "νѵ٧۷Ꮩ", "w": "ɯωшщѡѽաᎳᏔ", "x": "χхҳ", "y": "ƴɣʏγуүұყᎩᎽ", "z": "ƶȥʐᏃ",
    "ae": "æӕ", "dz": "ʣ", "ll": "ǁ", "ls": "ʪ", "lz": "ʫ", "oe": "œ", "rn": "mмɱᎷ", "ts": "ʦ",
}  # fmt: skip
_SEEN_AS = str.maketrans({letter: seen for seen, letters in _LOOKS_LIKE.items() for letter in letters})
# What is written together (UTS #39 §5.2, “highly restrictive”); all else in one label is a mixture.
_TOGETHER = tuple(
    frozenset(scripts.split())
    for scripts in ("LATIN CJK IDEOGRAPHIC HIRAGANA KATAKANA", "LATIN CJK BOPOMOFO", "LATIN CJK HANGUL")
)

Kind = Literal["address", "domain", "mixed"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why an address may not be whose it seems: it, or its domain, looks like `other`, or mixes alphabets."""

    kind: Kind
    other: str = ""


def alike(one: Jid, other: Jid) -> bool:
    """Whether these are two bare addresses that people may take for one."""
    return one.bare != other.bare and _skeletons(one) == _skeletons(other)


def doubt(jid: Jid, others: Collection[Jid]) -> Doubt | None:
    """The gravest doubt about a bare address beside `others`; None for nearly all."""
    for other in others:
        if alike(jid, other):
            return Doubt("address", str(other.bare))
    _, domain = _skeletons(jid)
    for other in others:
        if jid.domain != other.domain and domain == _skeletons(other)[1]:
            return Doubt("domain", other.domain)
    return Doubt("mixed") if any(map(_mixed, _labels(jid))) else None


def doubts(people: Iterable[Jid], account: Jid) -> Iterator[tuple[Jid, str]]:
    """Of the named `people` those to look at twice, and why: beside who is named before them and our own account."""
    before = [account]
    for jid in people:
        found = doubt(jid, before)
        before.append(jid)
        if found is not None:
            yield jid, _SAID[found.kind].format(other=found.other) + _odd(jid)


_SAID = {
    "address": "looks like {other} but is another address, with rights of its own; if you mean that one, correct it",
    "domain": "its domain looks like {other} but is another one; if you mean that one, correct it",
    "mixed": "letters of several alphabets are in one name, as in forged addresses; make sure that it is theirs",
}


def skeleton(text: str) -> str:
    """What is left of a name when all that looks the same is written the same; for comparing only."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in {"Mn", "Cf"})
    return bare.translate(_SEEN_AS)


def _skeletons(jid: Jid) -> tuple[str, str]:
    return skeleton(jid.local), skeleton(".".join(_decoded(label) for label in jid.domain.split("."))).rstrip(".")


def _labels(jid: Jid) -> list[str]:
    return [jid.local, *(_decoded(label) for label in jid.domain.split("."))]


def _decoded(label: str) -> str:
    """An internationalised label as people see it (RFC 3490); what is none stays."""
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label


def _mixed(label: str) -> bool:
    letters = (unicodedata.name(c, "?") for c in label if unicodedata.category(c).startswith("L"))
    scripts = {name.replace("-", " ").split()[0] for name in letters}
    return len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER)


def _odd(jid: Jid) -> str:
    """Which letter it is that a person would not notice."""
    odd = next((c for label in _labels(jid) for c in label if not c.isascii()), "")
    return f" (“{odd}” is {unicodedata.name(odd, 'unnamed')})" if odd else ""
