"""A code's letters, what people send of it, its link, and the file that names an owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop import claims, qr
from knoop.jid import Jid
from knoop.xmpp import compat

CODE = "k3dh-9wza-7mpb-t2xf"


@given(st.binary(min_size=claims.BYTES, max_size=claims.BYTES))
def test_ten_bytes_become_sixteen_letters_and_every_bit_counts(chance):
    code = claims.spell(chance)
    assert claims.find(f"claim {code}") == claims.find(code) == code
    back = 0
    for letter in code.replace("-", ""):
        back = back << 5 | claims.LETTERS.index(letter)
    assert back.to_bytes(claims.BYTES, "big") == chance


def test_no_letter_is_read_as_another():
    assert len(set(claims.LETTERS)) == 32
    assert not {*"lo01"} & {*claims.LETTERS}


def test_a_code_of_another_length_is_none():
    with pytest.raises(ValueError, match="10"):
        claims.spell(b"short")


@pytest.mark.parametrize(
    "text",
    [
        f"claim {CODE}", CODE, f" Claim: {CODE.upper()}.", f"claim {CODE.replace('-', ' ')}",
        f"claim {CODE.replace('-', '')}", f"claim {CODE.replace('-', '–')}", f"“claim {CODE}”", f"claim\n{CODE}\n",
        f"`{CODE}`", f"claim {CODE.replace('-', ' - ')}", "ｃlaim " + CODE,
        f"xmpp:node@example.org?message;body=claim%20{CODE}", f"xmpp:n@e.org?message;type=chat;body=claim%20{CODE}",
        f"XMPP:node@example.org?message;body=claim%20{CODE}".replace("XMPP", "xmpp"),
    ],
)  # fmt: skip
def test_what_people_send_of_it_is_understood(text):
    assert claims.find(text) == CODE


@pytest.mark.parametrize(
    "text",
    [
        "", "claim", "help", "claim it", CODE[:-1], CODE + "a", CODE.replace("-", ""), CODE.replace("-", " "),
        f"claim {CODE} please", f"I claim {CODE}", f"claim {CODE} {CODE}", "claim k3dh-9wza-7mpb-t2x0",
        "claim кзdh-9wza-7mpb-t2xf", f"claim {CODE}\nlamp on", "have heat fans dims",
        f"> claim {CODE}", f"xmpp:n@e.org?roster;body=claim%20{CODE}", "xmpp:n@e.org?message;body=claim%20%ff%fe",
        f"claim {CODE}" + " " * 500, "a" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_not(text):
    assert claims.find(text) == ""


@given(st.text(max_size=600))
def test_nothing_that_anybody_sends_breaks_it(text):
    found = claims.find(text)
    assert found == "" or claims.find(found) == found


@pytest.mark.parametrize(
    "text", [f"please claim {CODE}", f"> {CODE.upper()}!", f"is claim {CODE.replace('-', ' ')} right", CODE + CODE,
             f"see xmpp:n@e.org?message;body=claim%20{CODE.replace('-', ' – ')}"]
)  # fmt: skip
def test_no_log_gets_a_code_that_stands_within_other_words(text):
    assert not {"k3dh", "9wza", "7mpb", "t2xf"} & {*claims.veiled(text).lower().replace("-", " ").split()}


def test_other_words_stay_as_they_are():
    assert claims.veiled("lamp on; have heat fans dims, well-kept") == "lamp on; have heat fans dims, well-kept"


def test_the_link_opens_a_message_to_the_node():
    assert claims.link(Jid("greenhouse", "example.org"), CODE) == (
        f"xmpp:greenhouse@example.org?message;body=claim%20{CODE}"
    )
    odd = claims.link(Jid("a/b?c;d&é", "müsli.example"), CODE)
    assert odd == f"xmpp:a%2Fb%3Fc%3Bd%26%C3%A9@m%C3%BCsli.example?message;body=claim%20{CODE}"
    assert claims.find(odd) == CODE


def test_the_picture_holds_the_link():
    link = claims.link(Jid("greenhouse", "example.org"), CODE)
    assert qr.png(link).startswith(b"\x89PNG")
    drawing = qr.drawn(link).splitlines()
    assert len(drawing) > 15
    assert len({len(line) for line in drawing}) == 1
    assert len({len(line) for line in qr.drawn(link, coloured=True).splitlines()}) == 1


def test_a_digest_says_nothing_of_its_code():
    assert len(claims.digest(CODE)) == 32
    assert claims.digest(CODE) != claims.digest(CODE[:-1] + "g")
    assert CODE.encode() not in claims.digest(CODE)


@pytest.mark.parametrize(
    "text",
    [
        "anna@example.org", "\ufeffanna@example.org\r\n", "# the new owner\n\nanna@example.org\n# 2026\n",
        "xmpp:anna@example.org", "  ANNA@Example.org/phone  ",
    ],
)
def test_a_file_names_one_address(text):
    assert claims.named_in(text, compat.jid) == Jid("anna", "example.org")


@pytest.mark.parametrize(
    "text", ["", "# nobody", "anna@example.org\nbram@example.org", "example.org", "*@example.org", "anna", "@", "a@b@c"]
)
def test_a_file_that_names_nobody_or_several_makes_no_owner(text):
    with pytest.raises(ValueError, match=r"address"):
        claims.named_in(text, compat.jid)
