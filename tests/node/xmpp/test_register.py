"""What a server wants to know of a new account, and what a node answers."""

from xml.etree import ElementTree as ET

import pytest

from knoop.errors import RegistrationRefused
from knoop.xmpp.register import FORM, IBR, fill, new_password

KNOWN = {"username": "greenhouse", "password": "s<&cret"}


def query(inner):
    return ET.fromstring(f"<query xmlns='jabber:iq:register'>{inner}</query>")


def form(*fields):
    return f"<x xmlns='jabber:x:data' type='form'>{''.join(fields)}</x>"


def field(name, *values, required=False, kind="text-single", label=""):
    text = "".join(f"<value>{value}</value>" for value in values)
    required = "<required/>" if required else ""
    return f"<field var='{name}' type='{kind}' label='{label}'>{required}{text}</field>"


USERNAME, PASSWORD = field("username", required=True), field("password", required=True, kind="text-private")
TYPE = field("FORM_TYPE", "jabber:iq:register", kind="hidden")
OCR = field("ocr", required=True)


def submitted(answer):
    (x,) = answer.findall(f"{FORM}x")
    assert x.get("type") == "submit"
    return {f.get("var"): [value.text for value in f] for f in x}


def test_plain_fields():
    answer = fill(query("<instructions>Choose.</instructions><username/><password/>"), KNOWN, "example.org")
    assert {child.tag: child.text for child in answer} == {f"{IBR}{name}": value for name, value in KNOWN.items()}


def test_a_ticket_is_handed_back():
    assert fill(query("<username/><password/><key>abc</key>"), KNOWN, "x").findtext(f"{IBR}key") == "abc"


def test_a_form_wins_over_the_fields_beside_it():
    """Prosody lists what its form leaves to one's choice as plain fields, too."""
    answer = fill(query(f"<username/><password/><email/>{form(TYPE, USERNAME, PASSWORD, field('email'))}"), KNOWN, "x")
    assert submitted(answer) == {
        "FORM_TYPE": ["jabber:iq:register"], "username": ["greenhouse"], "password": ["s<&cret"],
    }  # fmt: skip
    assert [child.tag for child in answer] == [f"{FORM}x"]


def test_what_a_form_holds_already_is_sent_back():
    extra = field("sid", "77", kind="hidden"), field("terms", "1", required=True, kind="boolean")
    answer = submitted(fill(query(form(TYPE, USERNAME, PASSWORD, *extra)), KNOWN, "x"))
    assert (answer["sid"], answer["terms"]) == (["77"], ["1"])


@pytest.mark.parametrize(
    ("inner", "sentence"),
    [
        ("<username/><password/><email/><name/>", "example.org also wants “email”, “name”, which"),
        (form(TYPE, USERNAME, PASSWORD, field("ocr", required=True, label="Enter the text you see")),
         "also wants “Enter the text you see”, which"),
        (f"<instructions>Visit https://example.org/new</instructions>{form(USERNAME, PASSWORD, OCR)}",
         r"also wants “ocr”, .* \(it says: Visit https://example.org/new\)"),
        (form("<instructions>Solve it</instructions>", USERNAME, PASSWORD, OCR), "it says: Solve it"),
        ("<x xmlns='jabber:x:oob'><url>https://example.org/new</url></x>", "registration on its web page"),
        ("<instructions>Go away</instructions>", r"registration on its web page, .* \(it says: Go away\)"),
        ("", "registration on its web page"),
        (form(TYPE, USERNAME), "registration on its web page"),
    ],
)  # fmt: skip
def test_what_a_node_cannot_give_is_said_with_the_servers_words(inner, sentence):
    with pytest.raises(RegistrationRefused, match=sentence):
        fill(query(inner), KNOWN, "example.org")


def test_an_empty_answer_asks_for_nothing_we_know():
    with pytest.raises(RegistrationRefused):
        fill(None, KNOWN, "example.org")


def test_a_page_on_the_web_is_named():
    url = "<x xmlns='jabber:x:oob'><url>https://example.org/new</url></x>"
    with pytest.raises(RegistrationRefused, match=r"\(it names https://example.org/new\)"):
        fill(query(url), KNOWN, "example.org")


def test_a_server_cannot_flood_the_terminal():
    with pytest.raises(RegistrationRefused) as caught:
        fill(query(f"<instructions>{'x' * 100_000}</instructions>"), KNOWN, "example.org")
    assert len(str(caught.value)) < 600


def test_a_password_has_128_bits_and_is_never_the_same():
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) >= 22 and password.isascii() and password.isprintable() for password in made)
