"""The words people use, in English and Dutch, and how text becomes words: pure, no grammar.

Adding a language means adding its words here, its aliases to the verbs and its catalogue to `locale/`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_SPAN_S = 366 * 86400.0

SWITCH = {"on": True, "true": True, "aan": True, "off": False, "false": False, "uit": False}
ALL = _set("all everything alles alle")
# Words that change nothing about a command. The strict grammar lets each one pass: keep it short.
FILLERS = _set("the a an my please pls now de het een mijn alsjeblieft alstublieft aub svp graag even nu")
ONE = _set("a an een one")
TOWARDS = _set("to at op naar =")
DURING = _set("for during voor gedurende")
PAST = _set("last past of since laatste afgelopen van") | DURING
NEGATIONS = _set("""
    no not never none nor without dont doesnt didnt isnt arent wasnt wont cant cannot couldnt shouldnt wouldnt
    mustnt niet geen nooit nee noch zonder niks
""")
NEGATING = frozenset("❌🚫⛔🛑👎✋~")
ASKING = frozenset("?？؟¿❓❔⁉‽")
INTERROGATIVES = _set("""
    is are was were am do does did has have had can could will would shall should may might must if whether
    what whats which when where wheres who whos whom why how hows
    zijn staat staan stond brandt heeft hebben had kan kun kunt kunnen zal zult wil wilt mag moet moeten als of
    wat welke wanneer waar wie waarom hoe hoeveel doet
""")
QUESTION_WORDS = (
    INTERROGATIVES
    | FILLERS
    | SWITCH.keys()
    | _set("""
    it its there in of at value state open closed het er in van op waarde open dicht nog still already al
""")
)
SPANS = {
    word: seconds
    for words, seconds in (
        ("ms millisecond milliseconds milliseconde milliseconden", 0.001),
        ("s sec secs second seconds seconde seconden", 1.0),
        ("m min mins minute minutes minuut minuten", 60.0),
        ("h hr hrs hour hours u uur uren", 3600.0),
        ("d day days dag dagen", 86400.0),
        ("w week weeks weken", 604800.0),
    )
    for word in words.split()
}
_NUMBER = re.compile(r"([+-]?[0-9]{1,9}(?:[.,][0-9]{1,9})?)([^0-9.,]*)")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")  # 1,000: a thousand or one? Doubt never acts.
_SPAN = re.compile(r"([0-9]{1,9}(?:[.,][0-9]{1,9})?)([a-z]+)")
_CORE = re.compile(r"(?:(?<!\w)[+-](?=[0-9]))?[^\W_](?:.*[^\W_])?%?|[%°]\w*")  # a word inside its punctuation


def fold(text: str) -> str:
    """Text as it is compared: without case and accents. Compatibility forms (², ½, １) stay what they are."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def tokens(phrase: str | Iterable[str]) -> tuple[str, ...]:
    """The words of a name, label or phrase as compared: `Air.Temperature` is `air`, `temperature`."""
    joined = phrase if isinstance(phrase, str) else " ".join(phrase)
    return tuple(t for t in re.split(r"[\W_]+", fold(joined)) if t and t not in FILLERS)


def duration(said: Sequence[str]) -> float | None:
    """Seconds in `10s`, `10 s`, `5 minutes`, `1h 30min`, `an hour`; None for anything else."""
    text = "".join("1" if word in ONE else word for word in said if word in ONE or word not in FILLERS)
    parts = _SPAN.findall(text)
    if not parts or "".join(count + unit for count, unit in parts) != text:
        return None
    if any(unit not in SPANS for _, unit in parts):
        return None
    seconds = sum(float(count.replace(",", ".")) * SPANS[unit] for count, unit in parts)
    return seconds if 0 < seconds <= MAX_SPAN_S else None


def words(text: str) -> list[str]:
    """The words of a text, folded, without the punctuation and emoji around them."""
    plain = fold(text).translate({ord(c): "'" for c in "’ʼ`´"} | {ord(c): "-" for c in "−–"})
    plain = re.sub(r":?=", " = ", plain)
    plain = re.sub(r"[,;!]+(?![0-9])|(?<![0-9])[,;!]+", " ", plain)
    cores = (raw if raw == "=" else match[0] if (match := _CORE.search(raw)) else "" for raw in plain.split())
    return [core for core in cores if core]


def without_quotations(text: str) -> str:
    """What the person wrote themselves: lines that quote somebody (XEP-0393 §5.1.3) left out."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(">")).strip()


def asks(text: str, said: Sequence[str]) -> bool:
    """Whether it carries a question mark of any kind, or begins like a question."""
    return bool(ASKING & set(text)) or said[0].replace("'", "") in INTERROGATIVES


def negates(text: str, said: Iterable[str]) -> bool:
    """Whether a word or a sign says no."""
    return bool(NEGATING & set(text)) or any(word in NEGATIONS or word.endswith("n't") for word in said)


def number(word: str) -> tuple[float, str] | None:
    """The number in `40`, `21,5` or `40%` and the unit written to it; None where there is none, or doubt."""
    match = _NUMBER.fullmatch(word)
    if match is None or _THOUSANDS.fullmatch(match[1]):
        return None
    return float(match[1].replace(",", ".")), match[2]


def closest(word: str, *known: Iterable[str]) -> str:
    """The word that this one is a slip of, from the first set that has one; itself where no slip is likely."""
    if not 3 <= len(word) <= 40 or any(c.isdigit() for c in word):
        return word
    near = (get_close_matches(word, sorted(some), n=1, cutoff=0.7) for some in known)
    return next((match[0] for match in near if match), word)
