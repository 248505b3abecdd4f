"""Bytes of a proven stream, however the network cuts them."""

import asyncio
import ssl

import pytest

from knoop.xmpp import compat
from knoop.xmpp.stream import FAILURES_TOLD, Stream

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1' from='example.org'>"
)
MESSAGE = (
    "<message from='anna@example.org/phone' to='node@example.org/knoop' type='chat' id='abcdefgh'>"
    "<body>lamp on ½</body><origin-id xmlns='urn:xmpp:sid:0' id='abcdefgh'/></message>"
).encode()


class Wire:
    """The transport of an encrypted connection; what is written to it goes nowhere."""

    def get_extra_info(self, name, default=None):
        return object() if name == "ssl_object" else default

    def write(self, data):
        pass

    def close(self):
        pass

    abort = close


@pytest.fixture
async def stream():
    heard, breaches = [], []
    made = Stream(
        "node@example.org/knoop", "secret", ssl_context=ssl.create_default_context(), on_message=heard.append,
        on_presence=heard.append, on_breach=breaches.append, admits=lambda _sender: True,
    )
    made.transport = Wire()
    made.authenticated = True
    made.init_parser()
    made.data_received(HEADER)
    made.heard, made.breaches = heard, breaches
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 60, 1000])
async def test_a_message_is_heard_with_its_last_byte(stream, size):
    """Since expat 2.6 a tag that comes in three pieces waits for more than the rest of it (CVE-2023-52425)."""
    for count in range(1, 4):
        for start in range(0, len(MESSAGE), size):
            stream.data_received(MESSAGE[start : start + size])
        assert len(stream.heard) == count
    assert not stream.breaches


async def test_a_message_behind_a_large_one_is_heard_soon(stream):
    large = MESSAGE.replace(b"abcdefgh", b"a" * 100_000)
    for start in range(0, len(large), 4096):
        stream.data_received(large[start : start + 4096])
    stream.data_received(MESSAGE)
    async with asyncio.timeout(20):
        while len(stream.heard) < 2:
            await asyncio.sleep(0.01)
    assert not stream.breaches


async def test_one_byte_a_read_of_a_large_tag_costs_no_quadratic_time(stream):
    """Counted in flushes, not in seconds: small stanzas at once, a large one by the clock."""
    flushes = 0
    parser = stream.parser

    class Counting:
        def __getattr__(self, name):
            return getattr(parser, name)

        def flush(self):
            nonlocal flushes
            flushes += 1

    stream.parser = Counting()
    attribute = b"<message from='" + b"a" * 20_000
    for start in range(0, len(attribute), 10):
        stream.data_received(attribute[start : start + 10])
    assert flushes <= 16 * 1024 / 10 + 2
    before = flushes
    for _ in range(2000):
        stream.data_received(b"a")
    assert flushes == before, "the rest waits for the timer"


async def test_a_request_goes_to_who_takes_it_first_and_a_strangers_to_nobody(stream):
    asked, sent = [], []
    stream._on_request = lambda iq: asked.append(iq.get("from")) or True
    stream._admits = lambda sender: sender.startswith("anna@")
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    for sender in ("anna@example.org/phone", "mallory@example.net/x"):
        command = "<command xmlns='http://jabber.org/protocol/commands' node='set'/>"
        stream.data_received(f"<iq from='{sender}' id='q1' type='set'>{command}</iq>".encode())
    assert asked == ["anna@example.org/phone"]
    [refused] = sent
    assert refused.get("to") == "mallory@example.net/x"
    assert refused.find("{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable") is not None


@pytest.mark.parametrize("sender", ["", "node@example.org", "anna@example.org/phone"])
async def test_cve_2015_8688_and_cve_2016_9928_only_our_own_account_says_who_is_in_its_roster(stream, sender):
    """The library answered a person's roster push with silence; no person's request gets as far as its roster now."""
    sent = []
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    item = "<query xmlns='jabber:iq:roster'><item jid='mallory@example.net' subscription='both'/></query>"
    address = f" from='{sender}'" if sender else ""
    stream.data_received(f"<iq{address} id='push' type='set'>{item}</iq>".encode())
    await asyncio.sleep(0)
    assert ("mallory@example.net" in stream.client_roster) is (sender != "anna@example.org/phone")
    if sender == "anna@example.org/phone":
        [refused] = sent
        assert refused.find("{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable") is not None


async def test_a_phone_whose_name_slixmpp_does_not_know_is_answered_by_us_or_refused(stream, caplog):
    sent = []
    stream._on_request = lambda iq: iq.get("id") == "ours"
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    for name in ("ours", "theirs"):
        stream.data_received(f"<iq from='anna@example.org/📱' id='{name}' type='get'>{info}</iq>".encode())
    await asyncio.sleep(0)
    [refused] = sent
    assert (refused.get("to"), refused.get("id"), refused.get("type")) == ("anna@example.org/📱", "theirs", "error")
    assert not caplog.records


@pytest.mark.parametrize("sender", ["mallory@example.net/📱", "mallory@a@example.net/x", "@example.net"])
async def test_a_stranger_whose_address_slixmpp_does_not_know_does_not_end_the_stream(stream, sender):
    """One request from a phone called 📱 did: the answer to it could not be addressed once the login was bound."""
    sent = []
    stream.session_bind_event.set()
    stream._admits = lambda _sender: False
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    stream.data_received(f"<iq from='{sender}' id='q1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>".encode())
    assert all(answer.get("type") == "error" for answer in sent)
    stream.data_received(MESSAGE)
    assert not stream.breaches
    assert len(stream.heard) == 1


async def test_a_stranger_whose_stanzas_make_a_handler_fail_does_not_fill_the_log(stream, caplog):
    stream._on_presence = lambda _stanza: compat.jid("anna@@example.org")
    for _ in range(1000):
        stream.data_received("<presence from='mallory@example.net/\u0600'/>".encode())
    assert len(caplog.records) == FAILURES_TOLD
    assert not stream.breaches
    stream.data_received(MESSAGE)
    assert len(stream.heard) == 1


async def test_who_cannot_even_be_judged_is_a_stranger(stream):
    sent = []
    stream._admits = lambda sender: bool(compat.jid(sender))
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    stream.data_received("<iq from='mallory@example.net/\u0600' id='q' type='get'><x xmlns='y'/></iq>".encode())
    [refused] = sent
    assert refused.find("{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable") is not None
