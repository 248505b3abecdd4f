"""What an observer reads out of a stanza."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from knoop_bench.seen import Seen


def seen(xml: str) -> Seen:
    return Seen(0, 0.0, ET.fromstring(xml))


def test_a_message_without_a_type_is_normal_and_says_who_and_what():
    message = seen("<message xmlns='jabber:client' from='a@b/c' id='1'><body>hi</body></message>")
    assert (message.kind, message.type, message.body) == ("message", "normal", "hi")
    assert (message.sender, message.sender_bare) == ("a@b/c", "a@b")
    assert not message.delayed
    assert message.items == ()


def test_a_pubsub_event_gives_its_items_in_order_retractions_left_out():
    event = seen(
        "<message xmlns='jabber:client' from='n@b'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
        "<items node='urn:x'><item id='1' publisher='p@b'><p xmlns='urn:p'/></item><retract id='0'/>"
        "<item id='2'/></items></event><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T00:00:00Z'/></message>"
    )
    first, second = event.items
    assert (first.node, first.id, first.publisher, first.payload.tag) == ("urn:x", "1", "p@b", "{urn:p}p")
    assert second.payload is None
    assert event.delayed
    assert "urn:x#1" in str(event)
