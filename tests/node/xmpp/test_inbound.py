"""Only the outermost, live, type-checked message counts."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.xmpp.inbound import MAX_REACTIONS, MAX_TEXT, Ignored, Reacted, Received, Said, chat, room


def message(inner, **attributes):
    given_attributes = {"from": "anna@example.org/phone", "type": "chat", "id": "m1", **attributes}
    text = " ".join(f"{key}='{value}'" for key, value in given_attributes.items() if value is not None)
    return ET.fromstring(f"<message xmlns='jabber:client' {text}>{inner}</message>")


BODY = "<body>lamp on</body>"
QUOTED = f"<message xmlns='jabber:client' from='anna@example.org'>{BODY}</message>"
INNER = f"<forwarded xmlns='urn:xmpp:forward:0'>{QUOTED}</forwarded>"


def test_a_live_chat_message_is_heard():
    assert chat(message(BODY)) == Said(sender="anna@example.org/phone", id="m1", text="lamp on", lang="")
    assert isinstance(chat(message(BODY, type="normal")), Said)
    assert isinstance(chat(message(BODY, type=None)), Said), "no type is 'normal' (RFC 6121 §5.2.2)"


THUMB = "<reactions xmlns='urn:xmpp:reactions:0' id='k3v9q2xa-alert.frost-3'><reaction>👍</reaction></reactions>"


def test_a_reply_and_a_reaction_say_to_what():
    heard = chat(message(f"{BODY}<reply xmlns='urn:xmpp:reply:0' to='x@y' id='k3v9q2xa-alert.frost-3'/>"))
    assert isinstance(heard, Said)
    assert heard.reply_to == "k3v9q2xa-alert.frost-3"
    reacted = chat(message(THUMB))
    assert reacted == Reacted(sender="anna@example.org/phone", id="m1", to="k3v9q2xa-alert.frost-3", emoji=("👍",))
    thumbs = "<reaction>👍</reaction>" * 999
    many = chat(message(f"<reactions xmlns='urn:xmpp:reactions:0' id='a'>{thumbs}</reactions>"))
    assert isinstance(many, Reacted)
    assert len(many.emoji) == MAX_REACTIONS


@pytest.mark.parametrize(
    "wrapped",
    [
        f"<sent xmlns='urn:xmpp:carbons:2'>{THUMB}</sent>",
        THUMB + INNER,
        THUMB + "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>",
        THUMB + "<encrypted xmlns='urn:xmpp:omemo:2'/>",
    ],
)
def test_a_reaction_that_is_not_live_and_outermost_is_none(wrapped):
    assert isinstance(chat(message(wrapped)), Ignored)


def test_receipts_are_asked_for_and_given():
    asking = chat(message(f"{BODY}<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"))
    assert isinstance(asking, Said)
    assert asking.receipt
    assert asking.markable
    given_one = chat(message("<received xmlns='urn:xmpp:receipts' id='k3v9q2xa-alert.frost-3'/>"))
    assert given_one == Received(sender="anna@example.org/phone", id="m1", to="k3v9q2xa-alert.frost-3")


@pytest.mark.parametrize(
    ("inner", "attributes", "why"),
    [
        (BODY, {"type": "error"}, "error"),
        (BODY, {"type": "headline"}, "headline"),
        (BODY, {"type": "groupchat"}, "groupchat"),
        (BODY, {"type": "command"}, "type"),
        (BODY + "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>", {}, "delayed"),
        (BODY + "<x xmlns='jabber:x:delay' stamp='20261122T10:00:00'/>", {}, "delayed"),
        (BODY + "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>", {}, "corrected"),
        (BODY + INNER, {}, "wrapped"),
        (INNER, {}, "wrapped"),
        (f"<received xmlns='urn:xmpp:carbons:2'>{INNER}</received>", {}, "wrapped"),
        (f"<sent xmlns='urn:xmpp:carbons:2'>{INNER}</sent>", {}, "wrapped"),
        (f"<result xmlns='urn:xmpp:mam:2' id='1'>{INNER}</result>", {}, "wrapped"),
        (BODY + "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", {}, "encrypted"),
        (BODY + "<encrypted xmlns='urn:xmpp:omemo:2'/>", {}, "encrypted"),
        ("<active xmlns='http://jabber.org/protocol/chatstates'/>", {}, "empty"),
        ("<body>  </body>", {}, "empty"),
        (BODY + "<body xml:lang='nl'>lamp uit</body>", {}, "ambiguous"),
    ],
)
def test_what_never_acts(inner, attributes, why):
    heard = chat(message(inner, **attributes))
    assert isinstance(heard, Ignored)
    assert heard.why == why


def test_cve_2017_5589_a_carbon_from_somebody_else_is_no_message_of_ours():
    """The family of CVE-2017-5589 (and 5591 in slixmpp): a wrapped message must not speak for whom it names."""
    carbon = f"<received xmlns='urn:xmpp:carbons:2'>{INNER}</received>"
    assert isinstance(chat(message(carbon, **{"from": "mallory@example.org/x"})), Ignored)


def test_a_megabyte_of_text_is_cut_before_it_is_read():
    said = chat(message(f"<body>{'a' * 1_000_000}</body>"))
    assert isinstance(said, Said)
    assert len(said.text) == MAX_TEXT + 1


@given(st.recursive(
    st.sampled_from(["<body>lamp on</body>", "<x xmlns='jabber:x:oob'/>", "text", ""]),
    lambda inner: (
        st.builds("<thing xmlns='urn:example'>{}</thing>".format, inner) | st.builds("{}{}".format, inner, inner)
    ),
    max_leaves=8,
))
def test_a_body_counts_only_where_it_belongs(inner):
    heard = chat(message(inner))
    direct = [child for child in message(inner) if child.tag == "{jabber:client}body"]
    assert isinstance(heard, Said) == (len(direct) == 1)


# ── rooms ────────────────────────────────────────────────────────────────────────────────────────────────────────────

FLEET = "fleet@rooms.example.org"


def in_room(inner, sender=f"{FLEET}/anna", kind="groupchat"):
    return room(message(inner, **{"from": sender, "type": kind, "id": "r1"}), "greenhouse")


def test_a_line_of_an_occupant_is_heard_with_its_nick():
    nick, said = in_room("<body> greenhouse: temp? </body>", f"{FLEET}/anna/of the house")
    assert nick == "anna/of the house"
    assert (said.text, said.id) == ("greenhouse: temp?", "r1")


@pytest.mark.parametrize(
    "heard",
    [
        in_room("<body>lamp on</body>", FLEET),
        in_room("<body>lamp on</body>", f"{FLEET}/greenhouse"),
        in_room("<body>lamp on</body>", kind="chat"),
        in_room("<body>lamp on</body>", kind="error"),
        in_room("<body>lamp on</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/>"),
        in_room("<body>lamp on</body><x xmlns='jabber:x:delay' stamp='20200101T00:00:00'/>"),
        in_room("<body>lamp on</body><replace xmlns='urn:xmpp:message-correct:0' id='x'/>"),
        in_room("<body>lamp on</body><encrypted xmlns='eu.siacs.conversations.axolotl'/>"),
        in_room("<body>lamp on</body><reactions xmlns='urn:xmpp:reactions:0' id='x'/>"),
        in_room("<body xml:lang='en'>lamp on</body><body xml:lang='nl'>lamp uit</body>"),
        in_room("<forwarded xmlns='urn:xmpp:forward:0'/><body>lamp on</body>"),
        in_room("<subject>lamp on</subject>"),
        in_room("<body>  </body>"),
    ],
)
def test_what_never_acts_in_a_room(heard):
    assert heard is None
