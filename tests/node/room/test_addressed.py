"""Which lines of a room are for a node: by name, for all, or for nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.room.addressed import MAX_LINE, Addressed, addressed

NAMES = ("greenhouse", "kas-1", "Café kas")
NAMING = ("ack", "gezien", "silence")
CALLING = ("roll", "presentie")


def heard(line):
    found = addressed(line, names=NAMES, naming=NAMING, calling=CALLING)
    return found and (found.whom, found.text, found.name)


@pytest.mark.parametrize(
    ("line", "text", "name"),
    [
        ("greenhouse: temp?", "temp?", "greenhouse"),
        ("greenhouse:temp?", "temp?", "greenhouse"),
        ("greenhouse : temp?", "temp?", "greenhouse"),
        ("Greenhouse, lamp on", "lamp on", "greenhouse"),
        ("GREENHOUSE: Lamp AAN", "Lamp AAN", "greenhouse"),
        ("@greenhouse temp", "temp", "greenhouse"),
        ("@greenhouse: temp", "temp", "greenhouse"),
        ("@greenhouse, doe de lamp aan", "doe de lamp aan", "greenhouse"),
        ("kas-1: status", "status", "kas-1"),
        ("cafe kas, wat is de temperatuur?", "wat is de temperatuur?", "cafe kas"),
        ("CAFÉ  KAS: lamp uit", "lamp uit", "cafe kas"),
        ("  greenhouse: status  ", "status", "greenhouse"),
        ("greenhouse: lamp on\nthanks", "lamp on\nthanks", "greenhouse"),
        ("> what is it?\ngreenhouse: temp", "temp", "greenhouse"),
        ("ack greenhouse frost", "ack frost", "greenhouse"),
        ("Ack Greenhouse frost", "Ack frost", "greenhouse"),
        ("gezien cafe kas vorst", "gezien vorst", "cafe kas"),
        ("silence greenhouse frost 1h", "silence frost 1h", "greenhouse"),
        ("ack greenhouse", "ack", "greenhouse"),
    ],
)
def test_called_by_name(line, text, name):
    assert heard(line) == ("me", text, name)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("all: status", "status"),
        ("ALL: status", "status"),
        ("@all status", "status"),
        ("@all: temp?", "temp?"),
        ("iedereen: stand", "stand"),
        ("alle: temperatuur", "temperatuur"),
        ("roll", "roll"),
        ("Roll!", "Roll!"),
        ("presentie", "presentie"),
        ("ack * frost", "ack frost"),
        ("ack all frost", "ack frost"),
        ("ack all", "ack all"),
        ("silence all 1h", "silence all 1h"),
        ("silence all frost 1h", "silence frost 1h"),
        ("gezien * vorst", "gezien vorst"),
        ("silence * frost 1h", "silence frost 1h"),
    ],
)
def test_everybody(line, text):
    assert heard(line) == ("all", text, "")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "greenhouse",
        "greenhouse?",
        "greenhouse temp?",
        "the greenhouse: temp?",
        "is the greenhouse: warm",
        "greenhouse_2: temp?",
        "greenhouse-2, lamp on",
        "my-greenhouse: temp?",
        "greenhouses: temp?",
        "@greenhouse",
        "@greenhouse_2 temp",
        "@greenhouse-2: temp",
        "greenhouse:",
        "> greenhouse: lamp on",
        "anna: tell greenhouse: lamp on",
        "all, status please",
        "all of you: status",
        "call all: status",
        "roll the dice",
        "rollback",
        "ack frost",
        "ack",
        "ack *frost",
        "ack greenhouse_2 frost",
        "ack greenhouse-2 frost",
        "acknowledge",
        "please ack greenhouse frost",
        "lamp on * now",
        "kas: status",
        "greenhouse; status",
        "greenhouse: " + "x" * MAX_LINE,
    ],
)
def test_a_mention_is_nothing(line):
    assert heard(line) is None


def test_a_node_without_a_label_is_not_called_by_nothing():
    assert addressed(": lamp on", names=("",)) is None
    assert addressed("@ lamp on", names=("",)) is None
    assert addressed("lamp on", names=()) is None


def test_a_name_is_no_pattern():
    assert addressed("kxs: status", names=("k.s",)) is None
    assert addressed("k.s: status", names=("k.s",)) == Addressed(whom="me", text="status", name="k.s")


@given(st.text(max_size=80))
def test_whatever_is_said_it_never_fails_and_strictly_holds(line):
    found = addressed(line, names=NAMES, naming=NAMING, calling=CALLING)
    assert found is None or found.text


@given(st.text("abc ?é.,:@*", min_size=1, max_size=40), st.sampled_from(NAMES))
def test_what_follows_the_name_comes_through_as_it_is(text, name):
    found = addressed(f"{name}: {text}", names=NAMES)
    assert (found.text if found else "") == text.strip()
