"""Bytes of a proven stream, however the network cuts them."""

import asyncio
import ssl

import pytest

from knoop.xmpp import compat
from knoop.xmpp.guard import SASL, STREAM, TLS
from knoop.xmpp.stream import BEHIND, FAILURES_TOLD, UNTAKEN, Stream

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


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_stream_is_utf_8_whatever_its_declaration_says_and_however_that_is_cut(stream, size):
    """In pieces no guard sees it; then a parser that believes it reads every letter wrongly."""
    stream.init_parser()
    header = HEADER.replace(b"?>", b" encoding='iso-8859-1'?>", 1)
    for start in range(0, len(header), size):
        stream.data_received(header[start : start + size])
    stream.data_received(MESSAGE)
    heard = [message.findtext("{jabber:client}body") for message in stream.heard]
    assert heard == (["lamp on ½"] if not stream.breaches else [])
    assert bool(stream.breaches) is (size == 1000)


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


@pytest.mark.parametrize("sender", ["", "node@example.org", "example.org", "anna@example.org/phone"])
async def test_cve_2015_8688_and_cve_2016_9928_only_our_own_account_says_who_is_in_its_roster(stream, sender):
    """The library answered a person's roster push with silence; no person's request gets as far as its roster now."""
    sent = []
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    item = "<query xmlns='jabber:iq:roster'><item jid='mallory@example.net' subscription='both'/></query>"
    address = f" from='{sender}'" if sender else ""
    stream.data_received(f"<iq{address} id='push' type='set'>{item}</iq>".encode())
    await asyncio.sleep(0)
    ours = sender in {"", "node@example.org"}
    assert ("mallory@example.net" in stream.client_roster) is ours
    if not ours:
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


# What only our server, or somebody on the path to it, can send -----------------------------------------------------


@pytest.mark.parametrize("odd", [
    "<a xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h=''/>", "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
    "<a xmlns='urn:xmpp:sm:3' h='99999999999'/>", "<resumed xmlns='urn:xmpp:sm:3' h='1'/>",
    f"<success xmlns='{SASL}'/>", f"<proceed xmlns='{TLS}'/>", f"<features xmlns='{STREAM}'/>",
])  # fmt: skip
async def test_what_is_settled_or_counts_nothing_ends_the_stream_before_a_handler_has_it(stream, caplog, odd):
    stream.session_bind_event.set()
    stream.data_received(odd.encode() + MESSAGE)
    assert len(stream.breaches) == 1
    assert not stream.heard
    assert not caplog.records


async def test_an_acknowledgement_is_taken_and_the_stream_goes_on(stream):
    stream.data_received(b"<a xmlns='urn:xmpp:sm:3' h='0'/><r xmlns='urn:xmpp:sm:3'/><new xmlns='urn:x'/>" + MESSAGE)
    assert not stream.breaches
    assert len(stream.heard) == 1


@pytest.mark.parametrize("name", ["success", "failure", "challenge", "proceed", "features", "a", "resumed"])
async def test_what_only_has_the_name_of_an_element_is_none(stream, caplog, name):
    """The library takes `<success/>` in the stream's own namespace for a login's."""
    stream.data_received(f"<{name} h='x'/>".encode() + MESSAGE)
    assert not stream.breaches
    assert not caplog.records
    assert len(stream.heard) == 1


async def test_a_refusal_of_a_login_that_nobody_tried_ends_the_stream(stream, caplog):
    stream.authenticated = False
    stream.data_received(f"<failure xmlns='{SASL}'><not-authorized/></failure>".encode())
    assert [breach.sign for breach in stream.breaches] == ["early"]
    assert not caplog.records


async def test_a_handler_that_fails_at_once_ends_the_stream_and_raises_nothing_into_the_transport(stream, caplog):
    """asyncio would close the connection, with a traceback in the log, and nobody would know why."""

    def fails(_ack):
        raise KeyError("what the server wrote")

    stream.plugin["xep_0198"].send_ack = lambda: fails(None)
    stream.data_received(b"<r xmlns='urn:xmpp:sm:3'/>" + MESSAGE)
    assert len(stream.breaches) == 1
    assert not stream.heard
    assert [record.getMessage() for record in caplog.records] == ["a stanza handler failed: KeyError"]


@pytest.mark.parametrize("sender", ["", "example.org", "anna@example.org/phone"])
async def test_a_request_to_an_address_that_is_none_is_refused_by_us(stream, sender, caplog):
    sent = []
    stream.send = lambda stanza, *_args, **_more: sent.append(stanza.xml)
    address = f" from='{sender}'" if sender else ""
    info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    stream.data_received(f"<iq{address} to='/' id='q' type='get'>{info}</iq>".encode())
    await asyncio.sleep(0)
    assert [answer.get("type") for answer in sent] == ["error"]
    assert not caplog.records


async def test_it_is_known_that_the_server_has_not_taken_what_we_said(stream):
    told = []
    stream._hears = lambda _stanza, behind: told.append(behind) or True
    management = stream.plugin["xep_0198"]
    for count in (0, BEHIND - 1, BEHIND):
        management.unacked_queue.clear()
        management.unacked_queue.extend((number, None) for number in range(count))
        stream.data_received(MESSAGE)
    assert told == [False, False, True]
    management.unacked_queue.clear()
    told.clear()
    stream.data_received(MESSAGE * (BEHIND + 2))
    assert told == [False] * BEHIND + [True] * 2, "what came at once is not answered yet"


async def test_a_server_that_never_acknowledges_fills_no_memory(stream):
    management = stream.plugin["xep_0198"]
    management.enabled_out = True
    for _ in range(UNTAKEN + 50):
        management._handle_outgoing(stream.make_presence())
    assert len(management.unacked_queue) == UNTAKEN
