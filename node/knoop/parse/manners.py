"""What people say around what they mean, and in what phrases: greetings, thanks, `I would like`, `tell me when`. Pure.

Each table is understood whole. A phrase that is in none of them is left in the sentence, where it is a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from knoop.command import Command
from knoop.words import ALL, COURTESY, FILLERS, INTERROGATIVES, MOTION, QUESTION_WORDS, words

Phrase = tuple[str, ...]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[Phrase]:
    return frozenset(tuple(phrase.split()) for phrase in re.split(r"[,\n]", text) if phrase.strip())


POLITE = FILLERS | COURTESY | _set("hey hi hello hoi hallo")
# In front only.
GREETINGS = _phrases("""
    hey, hi, hello, hiya, yo, hoi, hallo, dag, ok, okay, oke, hey there, hi there, hello there, hi everyone, excuse me
    good morning, good afternoon, good evening, good night, goodmorning, goodevening, goodnight
    goedemorgen, goeiemorgen, goedemiddag, goeiemiddag, goedenavond, goeienavond, goedenacht, goeienacht
    goede morgen, goede middag, goede avond, goede nacht, slaapwel, welterusten
""")
# Behind only: “thanks, lamp on” tells rather than asks.
THANKS = _phrases("""
    thanks, many thanks, thanks a lot, thanks so much, thanks in advance, thank you, thank you so much
    thank you very much, thx, thnx, tnx, cheers, right now, right away, good night, goodnight, bye, pretty
    dank je, dank je wel, dank u, dank u wel, dankje, dankjewel, dankuwel, dank, bedankt, alvast bedankt
    and thanks, and thank you, en bedankt, en dank je, bedankt alvast, merci, slaapwel, slaap lekker, welterusten
    goeienacht, goedenacht, doei, groetjes
""")
MOST_ABOUT = 12  # words of a question that is about a verb
LONGEST = max(map(len, GREETINGS | THANKS))
# A wish is an order said kindly; `I would like to know` is a question, and comes before.
WISHES = _phrases("""
    i would like, i'd like, id like, i would love, i'd love, i want, we would like, we'd like, we want
    be so kind as to, be so kind to, wees zo vriendelijk om, wees zo vriendelijk
    ik wil, ik wil graag, ik wou graag, ik zou graag, ik had graag, we willen, we willen graag, wij willen graag
""")
WISHED = _phrases("you to, to have, to, graag")  # what may follow a wish
WISH_ENDS = _set("hebben willen gehad")
PASSIVE = _set("be turned switched")  # `I would like the lamp to be turned off`
HELP = _phrases("""
    what can you do, what can i say, what can i do, i need help, commands
    wat kun je, wat kun je doen, wat kun je allemaal, wat kan je, wat kan je doen, wat kan je allemaal
    wat kan jij, wat kan ik, wat kan ik zeggen, wat kan ik doen
""")
# Verbs of more than one word, with what may stand between their parts: head … tail → verb.
PHRASES = tuple(
    (tuple(head.split()), tuple(tail.split()), verb)
    for verb, spoken in (
        ("watch", "start watching, keep watching, start following, follow, keep me posted on, hou me op de hoogte van"),
        ("unwatch", """stop watching, stop following, unfollow, stop telling me about, stop met volgen van
            stop met het volgen van, stop met volgen, stop volgen, stop met … volgen, volg … niet meer"""),
        ("read", "show me, toon me, toon mij, laat … zien, laat me … zien, laat mij … zien, laat eens … zien"),
        ("quiet", "be quiet, keep quiet, stay quiet, wees stil, blijf stil, hou je stil, hou u stil, zwijg"),
    )
    for phrase in re.split(r"[,\n]", spoken)
    for head, _, tail in [phrase.partition("…")]
)  # fmt: skip
# To be told of what happens is a watch.
WATCHES = frozenset(
    (*told.split(), *when.split())
    for told in """tell me, let me know, warn me, notify me, alert me, message me, laat me weten, laat mij weten
        laat het me weten, laat het weten, zeg me, zeg het, zeg het me, waarschuw me, waarschuw mij, verwittig me
        verwittig mij, meld me, meld het, meld""".replace("\n", ",").split(",")
    for when in ("when", "whenever", "once", "as soon as", "wanneer", "zodra", "if", "als")
)  # fmt: skip
CHANGING = _set("""
    opens closes opened closed changes goes turns switches starts stops on off open running
    opengaat dichtgaat verandert wijzigt aangaat uitgaat aanspringt gaat wordt open dicht toe aan uit
""")
HAPPENS = MOTION | CHANGING - _set("on off open closed running dicht toe aan uit")  # else `if` asks
NODE = _set("your yours knoop node software firmware current draai jouw je uw huidige")
ALARMS = _set("alert alerts alarm alarms alarmen melding meldingen waarschuwing waarschuwingen of them")


def without_greetings(said: Sequence[str], named: Callable[[Sequence[str], int], object]) -> list[str]:
    """These words without what politeness put before and behind them; a name (`named` at an index) is none."""
    said = [*said]
    while said and named(said, 0) is None:
        length = next((n for n in range(LONGEST, 0, -1) if tuple(said[:n]) in GREETINGS), int(said[0] in POLITE))
        if not length:
            break
        said = said[length:]
    while said:
        length = next((n for n in range(LONGEST, 0, -1) if tuple(said[-n:]) in THANKS), int(said[-1] in FILLERS))
        if not length:
            break
        said = said[:-length]
    return said


def wished(said: Sequence[str]) -> list[str]:
    """The order in a wish: `lamp on` of `I would like the lamp to be on`; the same words where it is none."""
    head = _longest(said, WISHES)
    if not head:
        return [*said]
    rest = said[head:]
    rest = [word for word in rest[_longest(rest, WISHED) :] if word not in PASSIVE]
    while rest and (rest[-1] in WISH_ENDS or rest[-1] in FILLERS):
        rest = rest[:-1]
    return rest


def watched(said: Sequence[str]) -> tuple[Sequence[str], bool] | None:
    """What somebody wants to be told of, and whether of any change of it; None where that is not what they say."""
    head = _longest(said, WATCHES)
    rest = said[head:]
    if not head or (said[head - 1] in {"if", "als"} and not HAPPENS & {*rest}):
        return None
    return [word for word in rest if word not in CHANGING], bool((CHANGING | MOTION) & {*rest})


def topic(said: Sequence[str], verbs: Mapping[str, Command]) -> Command | None:
    """The verb that a sentence is about when it is about nothing else: `what is your version`, `give me the status`."""
    if len(said) > MOST_ABOUT:
        return None
    found = {
        command.verb: command
        for word in said
        if word not in INTERROGATIVES
        for command in verbs.values()
        if word in {command.verb, *command.aliases} and command.takes in {"nothing", "text"} and not command.writes
    }
    known = {word for command in found.values() for word in (command.verb, *command.aliases)}
    rest = (word for word in said if word not in known)
    return next(iter(found.values())) if len(found) == 1 and {*rest} <= QUESTION_WORDS | POLITE | NODE else None


def every_alarm(said: Iterable[str]) -> bool:
    """Whether these words mean all alerts: `all`, `all alerts`, `alle alarmen`."""
    kept = {word for word in said if word not in POLITE}
    return bool(kept & ALL) and kept <= ALL | ALARMS


def argument(text: str, verb: str, rest: Sequence[str]) -> str:
    """The text behind the verb, as it was typed; `rest` are the words of it that are no politeness."""
    if every_alarm(rest):
        return "all"
    raw = text.split()
    while raw and verb not in words(raw[0]):
        raw.pop(0)
    while len(raw) > 1 and not {*words(raw[-1])} & {*rest[-1:]}:
        raw.pop()
    return " ".join(raw[1:]).rstrip(",;")


def unaddressed(text: str) -> str:
    """A text without the addresses in it, which hold signs of their own."""
    return " ".join(word for word in text.split() if "@" not in word)


def _longest(said: Sequence[str], phrases: frozenset[Phrase]) -> int:
    """The words of the longest of these phrases that `said` begins with; 0 for none."""
    return next((n for n in range(min(6, len(said)), 0, -1) if tuple(said[:n]) in phrases), 0)


