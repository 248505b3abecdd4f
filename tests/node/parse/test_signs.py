"""Every sign in an order is understood, or nothing moves: quotes, comparisons, emoji, and what cannot be seen."""

from __future__ import annotations

import string
import sys
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.node.house import CHANNELS, narrowed
from tests.node.parse.test_parse import SETS, acts, refused, understood

from knoop.parse.signs import HARMLESS, doubtful

KIND = [
    "Lamp on.", "lamp on!", "lamp on !", "hey! lamp on", "lamp on, thanks", "lamp , on", "zet aan: lamp", "pump 21,5%",
    "pump 40 %, please", "pump 30 %.", "lamp = on", "lamp:=on", "relay.one on 🙏🏽", "lamp on ❤️", "lamp on :)",
    "’t lampje aan", "pump −5", "lamp a\u0301an", "a.u.b. lamp aan", "lamp on 💡!", "21 °C", "30°", "lamp\u00a0on",
]  # fmt: skip
DOUBTFUL = [
    "pump <40", "pump >40", "pump ≥ 40", "pump ~40", "pump +10", "pump 10+", "pump - 40", "pump 10-", "pump .5",
    "pump ,5", "pump (40)", "pump €30", "pump 30€", "pump $30", "pump #3", "pump 30°", "pump 30%°", "pump *40",
    "pump 40^2", "pump 40‰", "lamp == on", "lamp != on", "lamp ≠ on", "lamp → on", "!lamp on", "! lamp on", "¬lamp on",
    "// lamp on", "# lamp on", "-- lamp on", "- lamp on", "* lamp on", "; lamp on;#", "/lamp on", "lamp on /s",
    '"lamp on"', "“lamp on”", "«lamp on»", "„lamp aan”", "‚lamp aan‘", "'lamp on'", "ʼlamp onʼ", "`lamp on`",
    "```\nlamp on\n```", "*lamp on*", "_lamp on_", "(lamp on)", "[lamp on]", "{lamp on}", "<lamp on>", "lamp on…",
    "lamp on...", "lamp on ⏰", "lamp on 🙃", "lamp on 😉", "lamp on ❗", "lamp on 🔚", "📴 lamp on", "lamp on ⏳",
    "l\u0336a\u0336m\u0336p\u0336 on", "lamp o\u0338n\u0338", "lamp on\u20e0", "lamp on\u202e", "\u2066lamp on\u2069",
    "la\u00admp on", "lamp\u200bon", "lamp\u200b on", "lamp on\x0b", "lamp on\u2028", "lamp\u3000on", "lamp on ㏂",
    "lamp on \ue000", "lamp on \U000e0061", "lamp on 🏻", "lamp on |", "lamp on @home", "lamp on ⁉︎",
    "lamp on\u037e",
]  # fmt: skip


@pytest.mark.parametrize("text", KIND)
def test_a_sign_in_its_place_is_understood(text):
    assert doubtful(text) == ""


@pytest.mark.parametrize("text", DOUBTFUL)
def test_a_sign_that_may_change_the_meaning_never_acts(text):
    assert not acts(text), understood(text)


@pytest.mark.parametrize("text", ["quiet 2h", "watch door", "ack frost", "silence frost 1h", "revoke bram@example.org"])
@pytest.mark.parametrize("sign", ["⏰", "🙃", '"', "`", "#", "(", "\u202e", "~", "/"])
def test_nor_does_any_other_verb_that_changes_something(text, sign):
    assert acts(text)
    assert not acts(f"{sign}{text}")
    assert not acts(f"{text} {sign}")


def test_an_address_may_hold_signs():
    assert acts("allow anna+lamp@example.org viewer")
    assert not acts("allow (anna@example.org) viewer ⏰")


def test_what_was_perhaps_meant_is_asked_where_it_cannot_be_the_opposite():
    assert [choice.argument for choice in understood('"lamp off"').choices] == ["lamp off"]
    assert refused("lamp off ⏰").values == {"suggestion": "lamp off"}
    for text in ("!lamp on", "lamp ≠ on", "l\u0336a\u0336mp on"):
        assert refused(text).values["examples"] == ("lamp on", "lamp off"), text
    for text in ("pump >40", "pump +10", "pump €30"):
        assert refused(text).values["examples"] == ("pump 100", "pump 0"), text


def test_a_name_may_hold_signs_and_only_its_own():
    channels = narrowed(["lamp"]) | {
        "relay.one": replace(CHANNELS["relay.one"], label="Light (hall)", aliases=("Licht #1",)),
        "pump": replace(CHANNELS["pump"], unit="l/min"),
    }
    for text in ("light (hall) on", "LIGHT (HALL) off", "licht #1 aan", "light hall on", "pump 5 l/min"):
        assert acts(text, channels), text
    for text in ("light (hall) (on)", "licht #1 #aan", "lamp (hall) on", "(light hall) on", "pump 5 /min"):
        assert not acts(text, channels), text


def odd(c: str) -> bool:
    """Whether this is a sign, and neither punctuation nor an emoji nor an accent that may be harmless."""
    harmless = "?.,;:!'’=%°-−–_\n\r\t \u00a0\u2009\u202f" + HARMLESS
    if c.isalnum() or c in harmless:
        return False
    # What joins a letter to one sign has a combining class; to ask this first makes a million signs a matter of 0.2 s.
    joins = unicodedata.combining(c) != 0
    return not (joins and any(len(unicodedata.normalize("NFC", each + c)) == 1 for each in string.ascii_letters))


def signs() -> list[str]:
    return [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) != "Cn" and odd(c)]


SIGNS = st.deferred(lambda: st.sampled_from(signs()))  # not by every worker that only collects
ORDERS = [text for text, *_ in SETS if "\n" not in text]


@settings(max_examples=500)
@given(st.sampled_from(ORDERS), SIGNS, st.floats(0, 1))
@example("lamp on", "\ufe0f", 1)
@example("lamp on", "\u200d", 0.5)
@example("lamp on", "\ud800", 1)
@example("lamp on", ">", 0)
@example("lamp on", "\x1f", 0.5)
def test_any_sign_anywhere_in_any_order_moves_nothing(order, sign, where):
    at = round(where * len(order))
    assert not acts(f"{order[:at]}{sign}{order[at:]}")
    assert not acts(f"{order[:at]} {sign} {order[at:]}")


ACCENTS = [c for c in map(chr, range(0x300, 0x370)) if odd(c)]


KEYS = "\"'`´“”„«»‹›<>+*#/\\|~^@$€£()[]{}…·•→←≠≤≥±×÷§¶©®™⏰⏳🙃😉🤔🔚🔜📴🚮🚷💤"


@pytest.mark.parametrize("sign", [*KEYS, *ACCENTS])
def test_a_sign_of_any_keyboard_anywhere_moves_nothing(sign):
    for order in ("set the lamp off", "pump 40 %", "lamp aan, voor 10s!"):
        for at in range(len(order) + 1):
            assert not acts(f"{order[:at]}{sign}{order[at:]}"), (order, at)
