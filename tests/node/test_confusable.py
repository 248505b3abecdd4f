"""Which addresses are taken for one another, which are not, and what is said of them."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.confusable import _LOOKS_LIKE, Doubt, alike, doubt, doubts, skeleton
from knoop.jid import Jid
from knoop.xmpp import compat

ANNA, MARK, GREENHOUSE = (Jid(name, "example.org") for name in ("anna", "mark", "greenhouse"))
PEOPLE = (ANNA, MARK)


@pytest.mark.parametrize(("text", "other"), [
    ("аnna@example.org", "anna"),  # Cyrillic
    ("αnna@example.org", "anna"),  # Greek
    ("ánna@example.org", "anna"),
    ("ạnna@example.org", "anna"),  # a dot below
    ("anna@examp1e.org", "anna"),
    ("anna@exarnple.org", "anna"),
    ("anna@еxample.org", "anna"),
    ("anna@xn--xample-2of.org", "anna"),  # the same, as it travels
    ("anna@example。org", "anna"),  # an ideographic full stop
    ("anna@example.org.", "anna"),
    ("rnark@example.org", "mark"),
    ("marк@example.org", "mark"),
    ("мark@example.org", "mark"),
])  # fmt: skip
def test_an_address_that_looks_like_somebodys_is_found(text, other):
    jid = compat.jid(text)
    assert jid not in PEOPLE
    assert doubt(jid, PEOPLE) == Doubt("address", f"{other}@example.org")


@pytest.mark.parametrize("text", [
    "anne@example.org", "bram@example.org", "anna@example.net", "anna2@example.org", "anna@sub.example.org",
    "иван@example.org", "田中たろう@example.org", "カー@example.org", "김민수@example.org", "anna-maria@example.org",
    "j.k.rowling@xmpp.example.com", "*@example.org",
])  # fmt: skip
def test_whom_nobody_takes_for_another_is_left_alone(text):
    assert doubt(compat.jid(text), PEOPLE) is None


@pytest.mark.parametrize(
    "text", ["ANNA@example.org", "ａｎｎａ@example.org", "an\u00adna@example.org", "𝐚nna@EXAMPLE.org"]
)
def test_what_is_one_address_once_prepared_is_in_no_doubt(text):
    """Rights are theirs: it is the same account."""
    assert compat.jid(text) == ANNA
    assert not alike(compat.jid(text), ANNA)
    assert doubt(compat.jid(text), PEOPLE) is None


def test_a_domain_that_looks_like_a_known_one_is_found():
    assert doubt(Jid("bram", "examp1e.org"), PEOPLE) == Doubt("domain", "example.org")
    assert doubt(Jid("*", "examp1e.org"), PEOPLE) == Doubt("domain", "example.org")


@pytest.mark.parametrize("text", ["cаrla@example.org", "carla@ехample.net", "carla@ex.раypal.org"])
def test_a_name_of_several_alphabets_is_found_beside_nobody_it_looks_like(text):
    assert doubt(compat.jid(text), PEOPLE) == Doubt("mixed")


def test_what_the_check_says_names_the_other_and_the_letter():
    (who, text), = doubts([ANNA, compat.jid("аnna@example.org")], GREENHOUSE)
    assert who.local == "аnna"
    assert text.startswith("looks like anna@example.org but is another address")
    assert text.endswith("(“а” is CYRILLIC SMALL LETTER A)")


def test_the_nodes_own_account_and_server_are_compared_as_well():
    assert [who for who, _ in doubts([Jid("greenh0use", "example.org")], GREENHOUSE)]
    assert [who for who, _ in doubts([Jid("bram", "exampIe.org".replace("I", "1"))], GREENHOUSE)]
    assert not [*doubts([Jid("bram", "example.org"), Jid("bram", "example.net")], GREENHOUSE)]


def test_each_letter_of_the_table_survives_preparation_somewhere():
    """One that does not would never be seen here; and none is there twice."""
    letters = "".join(_LOOKS_LIKE.values())
    assert [letter for letter, times in Counter(letters).items() if times > 1] == []
    for letter in letters:
        kept = False
        for text in (f"x{letter}x@example.org", f"x@x{letter}x.org"):
            try:
                kept |= letter in str(compat.jid(text))
            except ValueError:
                continue
        assert kept, unicodedata.name(letter)


@given(st.text(max_size=40))
def test_any_text_has_a_skeleton_which_is_its_own(text):
    assert skeleton(skeleton(text)) == skeleton(text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_address_can_be_doubted(local, domain):
    found = [*doubts([ANNA, Jid(local, domain), Jid(local[::-1], domain)], GREENHOUSE)]
    assert len(found) <= 3
