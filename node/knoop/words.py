"""The words people use, in English and Dutch, and how text becomes words: pure, no grammar.

Adding a language means adding its words here, its aliases to the verbs and its catalogue to `locale/`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _pairs(text: str) -> list[list[str]]:
    return [pair.split("/") for pair in text.split()]


MAX_SPAN_S = 366 * 86400.0

SWITCH = {"on": True, "true": True, "aan": True, "off": False, "false": False, "uit": False, "af": False}
LOCK = {"unlocked": True, "ontgrendeld": True, "locked": False, "vergrendeld": False}  # behind the name of a lock only
SWITCHING = {  # a verb that holds its value: at the head of an order, or behind the name it is about
    **dict.fromkeys(_set("""
        start starten aanzetten aandoen aansteken inschakelen activate activeer activeren enable run
    """), True),
    **dict.fromkeys(_set("""
        stop stoppen uitzetten uitdoen afzetten uitschakelen deactivate deactiveer deactiveren disable
    """), False),
}
SETTING = _set("make shut flip flick maak steek knip leg draai doet schakelt")  # verbs that set, beside the table's
INFINITIVES = _set("zetten doen schakelen maken draaien leggen steken")  # behind the value: `lamp aan doen`
MODALS = _set("mag mogen moet moeten kan may should must can go gaan")  # `lamp mag aan`: allowed, or asked for?
BACK = _set("back terug")  # before a value: `lamp back on`; alone it may be a step down
SLIPS = {"of": "off"}  # words of their own that are meant as another when a sentence ends with them
ALL = _set("all everything alles alle")
# Words that change nothing about a command. The strict grammar lets each one pass: keep it short.
FILLERS = _set("""
    the a an my please pls plz kindly now de het een mijn alsjeblieft alstublieft aub a.u.b svp s.v.p gelieve graag
    even nu
""")
# Words that change nothing either, but may be part of a name (`weer` is the weather, too): names go first.
COURTESY = _set("""
    maar weer again eens gewoon just simply also too immediately asap hoor toch ook dan ff efkes eventjes meteen t
""")
AND = _set("and en & plus")
ONE = _set("a an een one")
HALVES = {"half": 0.5, "halve": 0.5, "anderhalf": 1.5, "anderhalve": 1.5}
_LOW = _pairs("""
    zero/nul one/een two/twee three/drie four/vier five/vijf six/zes seven/zeven eight/acht nine/negen ten/tien
    eleven/elf twelve/twaalf thirteen/dertien fourteen/veertien fifteen/vijftien sixteen/zestien seventeen/zeventien
    eighteen/achttien nineteen/negentien
""")
_TENS = _pairs("""
    twenty/twintig thirty/dertig forty/veertig fifty/vijftig sixty/zestig seventy/zeventig eighty/tachtig
    ninety/negentig
""")
_ENGLISH_TENS = frozenset(english for english, _ in _TENS)
HUNDRED = _set("hundred honderd")
COUNTS = {
    **{word: count for count, pair in enumerate(_LOW) for word in pair},
    **{word: 10 * ten for ten, pair in enumerate(_TENS, 2) for word in pair},
    **{f"{ten}-{_LOW[one][0]}": 10 * tens + one for tens, (ten, _) in enumerate(_TENS, 2) for one in range(1, 10)},
    **{f"{_LOW[one][1]}en{ten}": 10 * tens + one for tens, (_, ten) in enumerate(_TENS, 2) for one in range(1, 10)},
    **dict.fromkeys(HUNDRED, 100),
}
# Whole answers that say “I have seen it”, as a reply to an alert; in any other place they are not understood.
SEEN = _set("ack acknowledge acknowledged ok okay oke okee seen noted roger yes yep ja jep gezien bevestig prima")
THUMBS = frozenset("👍👌✅✔☑🆗")
# Answers to “which one?” and to “did you mean …?”, without politeness.
YES = frozenset(tuple(phrase.split()) for phrase in (
    "yes", "yes do", "yes do it", "do it", "yep", "yeah", "ok", "okay", "correct", "ja", "ja doe", "doe", "jep", "oke",
    "klopt", "ja klopt",
))  # fmt: skip
ORDINALS = {
    (*head, word, *tail): number
    for number, spoken in enumerate((
        "1 1st 1e first eerste", "2 2nd 2e second tweede", "3 3rd 3e third derde", "4 4th 4e fourth vierde",
        "5 5th 5e fifth vijfde", "6 6th 6e sixth zesde", "7 7th 7e seventh zevende", "8 8th 8e eighth achtste",
        "9 9th 9e ninth negende",
    ), 1)
    for word in spoken.split()
    for head in ((), ("number",), ("nummer",))
    for tail in ((), ("one",))
}  # fmt: skip
TOWARDS = _set("to at op naar =")
PLACING = _set("in at of inside van op bij binnen")  # between a thing and its place
STATE = _set("""
    value state status reading usage consumption speed waarde toestand stand meting verbruik snelheid
""")  # what is asked of a thing anyway
DURING = _set("for during voor gedurende")
PAST = _set("last past of since laatste afgelopen van") | DURING
ELSEWHEN = _set("yesterday tomorrow tonight later soon earlier ago gisteren morgen vannacht vanavond straks zonet")
NEGATIONS = _set("""
    no not never none nor without dont doesnt didnt isnt arent wasnt wont cant cannot couldnt shouldnt wouldnt
    mustnt niet geen nooit nee noch zonder niks
""")
NEGATING = frozenset("❌🚫⛔🛑👎✋~")
ASKING = frozenset("?\u037e？؟¿❓❔⁉‽")
INTERROGATIVES = _set("""
    is are was were am do does did has have had can could will would shall should may might must if whether
    what whats which when where wheres who whos whom why how hows
    zijn staat staan stond brandt brand draait loopt werkt heeft heb hebt hebben had kan kun kunt kon kunnen zal zult
    zou zouden wil wilt mag moet moeten als of wat welk welke wanneer waar wie waarom hoe hoelang hoeveel doet
""")
# In any place these make a sentence a question, as these do in front: “I would like to know …”, “tell me …”.
KNOWING = _set("know see wonder wondering curious weten weet zien benieuwd")
TELLING = _set("tell check vertel zeg give geef")
CONTRARY = _set("open closed dicht toe") | SWITCH.keys()  # `on or off`, `open of dicht`: a choice is a question
QUESTION_WORDS = (
    INTERROGATIVES
    | FILLERS
    | SWITCH.keys()
    | _set("""
    it its there open opened closed shut running working using used use set to much many i id im we you me still
    already currently right exactly really actually maybe perhaps or ok okay here this that moment today like see hear
    need know say please look been get anything
    het er open dicht toe gesloten nog al hard draaien gebruik gebruiken verbruiken zit zitten ik je jij u ons me mij
    ingesteld eigenlijk misschien echt wel hier momenteel vandaag dit dat die zeggen vertellen laten vraag af willen
    horen kijk kijken zegt says left doing met with
""")
    | KNOWING
    | TELLING
    | COURTESY
    | PLACING
    | STATE
    | SWITCHING.keys()
)
SPANS = {
    word: seconds
    for words, seconds in (
        ("ms millisecond milliseconds milliseconde milliseconden", 0.001),
        ("s sec secs second seconds seconde secondje secondjes seconden", 1.0),
        ("m min mins minute minutes minuut minuutje minuutjes minuten", 60.0),
        ("h hr hrs hour hours u uur uurtje uurtjes uren", 3600.0),
        ("kwartier kwartiertje kwartiertjes", 900.0),
        ("halfuur halfuurtje", 1800.0),
        ("d day days dag dagje dagen", 86400.0),
        ("w week weeks weken", 604800.0),
    )
    for word in words.split()
}
UNITS = {  # as people say a unit → as `Channel.unit` has it, folded
    **dict.fromkeys(["%", "percent", "procent", "pct"], "%"),
    **dict.fromkeys(["°", "°c", "degrees", "degree", "graden", "graad", "celsius"], "°c"),
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """What can be measured: as people ask for it, and how a channel that measures it is known.

    `units` are those of `Channel.unit`, `kinds` of what has none. `sure`: nothing else has these. `stems` are in a word
    of such a channel's names where the unit alone does not tell.
    """

    said: frozenset[str]
    units: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    sure: bool = False
    stems: frozenset[str] = frozenset()


MOTION = _set("motion movement beweging bewegingen")
QUANTITIES = (
    Quantity(_set("""
        temp temps temperature temperatures warm hot cold heat degrees temperatuur temperaturen heet koud warmte graden
    """), _set("°C °F K"), sure=True),
    Quantity(_set("power watt watts electricity vermogen stroom elektriciteit"), _set("W kW VA"), sure=True),
    Quantity(_set("energy energie"), _set("Wh kWh MJ GJ"), sure=True),
    Quantity(_set("voltage spanning"), _set("V mV"), sure=True),
    Quantity(_set("pressure luchtdruk"), _set("hPa mbar Pa kPa"), sure=True),
    Quantity(MOTION, kinds=_set("motion"), sure=True),
    Quantity(_set("humid humidity moist moisture wet damp dry vochtig vochtigheid vocht nat droog"), _set("%"),
             stems=_set("humid moist vocht")),
    Quantity(_set("level full empty water niveau peil vol leeg"), _set("l m³ % cm m mm")),
)  # fmt: skip
QUANTITY = {word: quantity for quantity in QUANTITIES for word in quantity.said}
# Words for one sort of thing: used to ask which one is meant, never to act.
SORTS = (
    _set("lamp lamps lampen lampje light lights licht lichten verlichting"), _set("pump pumps pomp pompen"),
    _set("heater heaters heating verwarming kachel"), _set("fan fans ventilator ventilatoren"),
    _set("gate poort hek"), _set("socket plug stekker stopcontact"),
)  # fmt: skip
SORT = {word: number for number, sort in enumerate(SORTS) for word in sort}
_NUMBER = re.compile(r"([+-]?[0-9]{1,9}(?:[.,][0-9]{1,9})?)([^0-9.,]*)")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")  # 1,000: a thousand or one? Doubt never acts.
_SPAN = re.compile(r"([0-9]{1,9}(?:[.,][0-9]{1,9})?)([a-z]+)")
_CORE = re.compile(r"(?:(?<!\w)[+-](?=[0-9]))?[^\W_](?:.*[^\W_])?[%°]?|[%°]\w*")  # a word inside its punctuation


def fold(text: str) -> str:
    """Text as it is compared: without case and accents. Compatibility forms (², ½, １) stay what they are."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def tokens(phrase: str | Iterable[str]) -> tuple[str, ...]:
    """The words of a name, label or phrase as compared: `Air.Temperature` is `air`, `temperature`."""
    joined = phrase if isinstance(phrase, str) else " ".join(phrase)
    return tuple(t for t in re.split(r"[\W_]+", fold(joined)) if t and t not in FILLERS)


def duration(said: Sequence[str]) -> float | None:
    """Seconds in `10s`, `10 s`, `5 minutes`, `1h 30min`, `half an hour`, `anderhalf uur`; None for anything else."""
    kept = [word for word in said if word in ONE or word not in FILLERS]
    found = span_at(kept, 0)
    return found[0] if found is not None and found[1] == len(kept) else None


def spelled(seconds: float) -> str:
    """A span as `duration` reads it: `8h`, `1h30min`, `10s`."""
    text = ""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        count, seconds = divmod(seconds, size)
        text += f"{count:.0f}{unit}" if count else ""
    return text + (f"{seconds:g}s" if seconds or not text else "")


def span_at(said: Sequence[str], at: int) -> tuple[float, int] | None:
    """The seconds that begin at this word, and where they end; each part is of a smaller unit than the one before."""
    total, end, least = 0.0, at, math.inf
    while end < len(said):
        part = _part(said, end + (end > at and said[end] in AND))
        if part is None or part[1] >= least:
            break
        seconds, least, end = part
        total += seconds
    return (total, end) if 0 < total <= MAX_SPAN_S else None


def _part(said: Sequence[str], at: int) -> tuple[float, float, int] | None:
    """`5 minutes` or `1h30min` at this word: the seconds, the least unit in it, and where it ends."""
    if at >= len(said):
        return None
    written = _SPAN.findall(said[at])
    if written and "".join(count + unit for count, unit in written) == said[at]:
        known = [(number(count), SPANS.get(unit)) for count, unit in written]
        parts = [(count[0] * seconds, seconds) for count, seconds in known if count and seconds]
        if len(parts) < len(written):
            return None
        return sum(seconds for seconds, _ in parts), min(unit for _, unit in parts), at + 1
    amount, end = _amount(said, at)
    if not amount or end >= len(said) or said[end] not in SPANS:
        return None
    return amount * SPANS[said[end]], SPANS[said[end]], end + 1


def _amount(said: Sequence[str], at: int) -> tuple[float, int]:
    """How many: `5`, `ten`, `an`, `half an`, `een half`, `anderhalf`; 0 for none."""
    word, behind = said[at], said[at + 1] if at + 1 < len(said) else ""
    if word in HALVES:
        return HALVES[word], at + 1 + (behind in ONE)
    if word in ONE and behind not in HUNDRED:
        return (HALVES[behind], at + 2) if behind in HALVES else (1, at + 1)
    if counted := count_at(said, at):
        return counted
    found = number(word)
    return (found[0], at + 1) if found is not None and not found[1] and word[0].isdigit() else (0, at + 1)


def count_at(said: Sequence[str], at: int) -> tuple[int, int] | None:
    """The whole number in letters at this word, and where it ends: `fifty`, `twenty five`, `a hundred`, `dertig`."""
    word, behind = said[at], said[at + 1] if at + 1 < len(said) else ""
    if word in ONE and behind in HUNDRED:
        return 100, at + 2
    if word not in COUNTS:
        return None
    if word in _ENGLISH_TENS and 1 <= COUNTS.get(behind, 0) <= 9:
        return COUNTS[word] + COUNTS[behind], at + 2
    return COUNTS[word], at + 1


def words(text: str) -> list[str]:
    """The words of a text, folded, without the punctuation and emoji around them."""
    plain = fold(text).translate({ord(c): "'" for c in "’ʼ`´"} | {ord(c): "-" for c in "−–"})
    plain = re.sub(r"(?<![\w'])'t\b", "het", plain)
    plain = re.sub(r":?=", " = ", plain)
    plain = re.sub(r"[,;!]+(?![0-9])|(?<![0-9])[,;!]+", " ", plain)
    cores = (raw if raw == "=" else match[0] if (match := _CORE.search(raw)) else "" for raw in plain.split())
    return [core for core in cores if core]


def without_quotations(text: str) -> str:
    """What the person wrote themselves: lines that quote somebody (XEP-0393 §5.1.3) left out."""
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(">")).strip(" \t\r\n")


def asks(text: str, said: Sequence[str]) -> bool:
    """Whether it carries a question mark of any kind, begins like a question, or wants to know or have chosen."""
    if ASKING & set(text) or KNOWING & {*said} or said[0] in TELLING:
        return True
    choice = any(b in {"or", "of"} and {a, c} <= CONTRARY for a, b, c in zip(said, said[1:], said[2:], strict=False))
    begins = said[0].replace("'", "") in INTERROGATIVES and tuple(said[:2]) != ("doet", "u")  # “doet u de lamp aan”
    return choice or begins


def negates(text: str, said: Iterable[str]) -> bool:
    """Whether a word or a sign says no."""
    return bool(NEGATING & set(text)) or any(word in NEGATIONS or word.endswith("n't") for word in said)


def has_seen(text: str) -> bool:
    """Whether a reply says that somebody has seen what it answers, and nothing else."""
    own = without_quotations(text)
    said = [word for word in words(own) if word not in FILLERS]
    if not own or ASKING & set(own) or negates(own, said):
        return False
    return {*said} <= SEEN if said else thumbs_up(own)


def thumbs_up(emoji: str) -> bool:
    """Whether this is nothing but 👍 or one of its kind, in whatever skin or style (UTS #51: U+1F3FB to U+1F3FF)."""
    plain = [c for c in emoji if not 0x1F3FB <= ord(c) <= 0x1F3FF and c not in "\ufe0f\ufe0e" and not c.isspace()]
    return bool(plain) and set(plain) <= THUMBS


def number(word: str) -> tuple[float, str] | None:
    """The number in `40`, `21,5` or `40%` and the unit written to it; None where there is none, or doubt."""
    match = _NUMBER.fullmatch(word)
    if match is None or _THOUSANDS.fullmatch(match[1]):
        return None
    return float(match[1].replace(",", ".")), match[2]
