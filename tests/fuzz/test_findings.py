"""What fuzzing found, made small: each input of `corpus/`, named `TARGET-what`; and that the judge judges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fuzz.inbound import HOW, Finding, Inbound
from tests.fuzz.material import ANNA, DELAYED, MALLORY, NICK, ROOM, chat, command, field
from tests.fuzz.targets import CORPUS, TARGETS

from knoop.access import Access, Person, Role
from knoop.xmpp import inbound
from knoop.xmpp.fresh import Freshness

KEPT = sorted(CORPUS.glob("*-*"))


@pytest.fixture
def target() -> Iterator[Inbound]:
    with Inbound() as opened:
        yield opened


def fed(target: Inbound, how: str, text: str) -> None:
    target.feed(bytes((HOW.index(how), 0)) + text.encode())


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_what_was_found_stays_mended(kept: Path):
    with ExitStack() as stack:
        TARGETS[kept.name.partition("-")[0]].open(stack)(kept.read_bytes())


# ── the judge ─────────────────────────────────────────────────────────────────────────────────────────────────────────

FORM = (
    command("set") + command("set", session="s1", fields=field("output", "lamp"), action="next")
    + command("set", session="s1", fields=field("value", "true"), action="complete")
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        chat("lamp on"), chat("light on") + chat("1", number="m2"), chat("pump 40"), FORM,
        chat(f"{NICK}: lamp on", who=f"{ROOM}/anna", kind="groupchat"),
    ],
    ids=["chat", "choice", "number", "form", "room"],
)  # fmt: skip
def test_orders_of_the_owner_reach_the_board_here(target, text):
    """Else all the other inputs would prove nothing."""
    fed(target, "known", text)
    assert len(target.wishes) == 1


@pytest.mark.parametrize("how", ["stranger", "late", "plain", "login"])
@pytest.mark.parametrize("text", [chat("lamp on"), FORM], ids=["chat", "form"])
def test_the_same_orders_reach_it_on_no_other_way(target, how, text):
    fed(target, how, text)
    assert not target.wishes


def test_it_sees_a_late_order_that_acts(target, monkeypatch):
    monkeypatch.setattr(Freshness, "late", lambda _self, _now_ns: False)
    with pytest.raises(Finding, match="late, and yet"):
        fed(target, "late", chat("lamp on"))


def test_it_sees_a_delayed_order_that_acts(target, monkeypatch):
    monkeypatch.setattr(inbound, "DELAY", ())
    with pytest.raises(Finding, match="no live stanza"):
        fed(target, "known", chat("lamp on", more=DELAYED))


def test_it_sees_a_stranger_who_is_heard(target, monkeypatch):
    monkeypatch.setattr(Access, "person", lambda _self, who: Person(jid=who.bare, role=Role.OWNER))
    with pytest.raises(Finding, match="has no rights"):
        fed(target, "known", chat("lamp on", who=MALLORY))
    with pytest.raises(Finding, match="a stranger heard"):
        fed(target, "stranger", chat("status"))


def test_it_sees_a_handler_that_fails(target, monkeypatch):
    monkeypatch.setattr(inbound, "chat", lambda message: message.nothing)
    with pytest.raises(Finding, match="a stanza handler failed: AttributeError"):
        fed(target, "known", chat("lamp on"))


def test_it_sees_a_message_before_the_login(target, monkeypatch):
    monkeypatch.setattr("knoop.xmpp.guard.may_handle", lambda *_args, **_more: True)
    with pytest.raises(Finding, match="before the login was proven"):
        fed(target, "login", chat("lamp on"))


def test_it_is_not_blind_after_the_server_ended_the_login(target, monkeypatch):
    """Then nothing more can be written, so nothing would be seen."""
    login = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
    fed(target, "stranger", f"<stream:features>{login}</stream:features>")
    monkeypatch.setattr(Access, "person", lambda _self, who: Person(jid=who.bare, role=Role.OWNER))
    with pytest.raises(Finding, match="a stranger heard"):
        fed(target, "stranger", chat("status"))


# ── the server's own ──────────────────────────────────────────────────────────────────────────────────────────────────


# Only our own server, or somebody on the path to it, can send these. slixmpp's handlers fail at them; a handler that
# fails is a Finding.
ODD = {
    "ack of no number": ("known", "<a xmlns='urn:xmpp:sm:3' h='x'/>"),
    "ack of nothing": ("known", "<a xmlns='urn:xmpp:sm:3'/>"),
    "ack of more than an int": ("known", f"<a xmlns='urn:xmpp:sm:3' h='{'9' * 5000}'/>"),
    "resumed at no number": ("known", "<resumed xmlns='urn:xmpp:sm:3' h='x'/>"),
    "refused before we asked": (
        "login", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_element_of_the_server_ends_the_stream_before_a_handler_has_it(target, odd):
    how, text = ODD[odd]
    fed(target, how, text + chat("lamp on"))
    assert not target.wishes


@pytest.mark.parametrize("sender", ["", "from='example.org' ", f"from='{ANNA}' "])
def test_a_request_to_no_address_is_refused_by_us(target, sender):
    info = f"<iq {sender}to='/' type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    fed(target, "known", info + chat("lamp on"))
    assert len(target.wishes) == 1, "the stream went on"


@pytest.mark.parametrize("sender", ["example.org", ANNA, MALLORY])
def test_a_roster_push_of_anybody_is_refused_in_words_that_can_be_written(target, sender):
    push = "<query xmlns='jabber:iq:roster'><item jid='mallory@example.net' subscription='both'/></query>"
    fed(target, "known", f"<iq from='{sender}' type='set' id='push'>{push}</iq>")
    [said] = target.said
    assert b"service-unavailable" in said
