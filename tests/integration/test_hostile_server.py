"""A server, or somebody on the way to it, that attacks: nothing it says before it is proven, and nothing too big, acts.

The real Session meets a scripted server. What must not happen is seen at the two
ends: `heard` is all that reached the node's handlers, `server.got` all that left the node.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import re
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from tests.integration.hostile import BIND, HEADER, PROCEED, SASL, STARTTLS, Hostile, Peer, Script, encoded, mechanisms

from knoop.errors import LinkError, LoginRefused, Sign, Untrusted
from knoop.xmpp import compat
from knoop.xmpp import session as session_module
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_bench.certificates import Certificate
from knoop_bench.ports import LOOPBACK
from knoop_hw.clock import SystemClock

MB = 1024 * 1024
LAMP_ON = "<message from='anna@localhost/phone' to='greenhouse@localhost' type='chat'><body>lamp on</body></message>"
COMMAND = (
    "<iq from='anna@localhost/phone' to='greenhouse@localhost/knoop' type='set' id='c1'>"
    "<command xmlns='http://jabber.org/protocol/commands' node='set' action='execute'/></iq>"
    "<iq from='anna@localhost/phone' type='get' id='c2'><query xmlns='jabber:iq:version'/></iq>"
    "<presence from='anna@localhost' type='subscribe'/>"
)
ANSWERS = re.compile(rb"<iq|<message|<presence")
LOGIN = re.compile(rb"<auth|<response")


@dataclass(slots=True)
class Ears:
    """What reached the node's own handlers."""

    account: Account
    heard: list[str] = field(default_factory=list)
    signs: list[Sign | None] = field(default_factory=list)

    async def open(self) -> Session:
        return await Session.open(
            self.account, clock=SystemClock(), context=tls_context(self.account),
            on_message=lambda message, _late: self.heard.append(message.tag),
            on_presence=lambda presence: self.heard.append(presence.tag), admits=self.admits,
            on_sign=lambda error: self.signs.append(error.sign),
        )

    def admits(self, sender: str) -> bool:
        """Anna is the owner: if her stanza were judged at all, it would be let in."""
        self.heard.append(f"asked for {sender}")
        return True


@pytest.fixture
def ears(authority) -> Callable[[Hostile], Ears]:
    def make(server: Hostile) -> Ears:
        account = Account(
            jid=compat.jid("greenhouse@localhost/knoop"), password="secret", host="127.0.0.1", port=server.port,
            ca_file=authority.ca_file,
        )
        return Ears(account)

    return make


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    """A login that is left hanging ends soon."""
    monkeypatch.setattr(session_module, "LOGIN_TIMEOUT_S", 1.5)


@pytest.fixture
def certificate(authority):
    return authority.issue()


async def refused(ears: Ears, error: type[LinkError] = LinkError, *, sign: Sign | None = None) -> str:
    """The login ends with this error, and `sign` is what is remembered of it; returns its sentence."""
    with pytest.raises(error) as caught:
        await ears.open()
    if sign:
        assert caught.value.sign == sign
        assert ears.signs == [sign]
    return str(caught.value)


# Before TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stanza", [LAMP_ON, COMMAND], ids=["message", "command"])
@pytest.mark.parametrize("where", ["before features", "after features", "after proceed", "one at a time"])
async def test_s1_stanzas_before_tls_reach_no_handler(certificate, ears, stanza, where):
    async def script(peer: Peer) -> None:
        await peer.hears(rb"<stream:stream[^>]*>")
        if where == "before features":
            await peer.say(HEADER + stanza + STARTTLS)
        elif where == "one at a time":
            for byte in HEADER + stanza:
                await peer.say(byte)
        else:
            await peer.say(HEADER + STARTTLS + (stanza if where == "after features" else ""))
            await peer.hears(rb"<starttls[^>]*>")
            await peer.say(PROCEED + stanza)

    async with Hostile(certificate, script, direct=False) as server:
        node = ears(server)
        await refused(node, Untrusted, sign="plaintext" if where == "after proceed" else "early")
        assert node.heard == []
        assert not LOGIN.search(server.got)
        assert not ANSWERS.search(server.got)


async def test_s1_plaintext_behind_proceed_is_not_taken_for_the_encrypted_stream(certificate, ears):
    """The classic STARTTLS injection: the buffer of plaintext must not be read after the handshake."""

    async def script(peer: Peer) -> None:
        await peer.stream(STARTTLS)
        await peer.hears(rb"<starttls[^>]*>")
        stream = HEADER.partition("?>")[2]
        await peer.say(PROCEED + stream + mechanisms("SCRAM-SHA-1") + f"<success xmlns='{SASL}'/>" + LAMP_ON)
        await peer.handshake()
        await peer.hears(rb"<stream:stream[^>]*>")  # a new stream, which knows nothing of what was said in clear

    async with Hostile(certificate, script, direct=False) as server:
        node = ears(server)
        await refused(node)
        assert server.handshakes == 1
        assert server.got.count(b"<stream:stream") == 2
        assert node.heard == []
        assert not LOGIN.search(server.got)


@pytest.mark.parametrize("offer", ["SCRAM-SHA-1", "PLAIN", "ANONYMOUS", "EXTERNAL"])
async def test_s1_a_login_offered_in_clear_behind_proceed_is_not_taken(certificate, ears, offer):
    async def script(peer: Peer) -> None:
        await peer.stream(STARTTLS)
        await peer.hears(rb"<starttls[^>]*>")
        await peer.say(PROCEED + mechanisms(offer))

    async with Hostile(certificate, script, direct=False) as server:
        node = ears(server)
        assert "plaintext follows the promise of TLS" in await refused(node, Untrusted, sign="plaintext")
        assert not LOGIN.search(server.got)


@pytest.mark.parametrize("offer", ["EXTERNAL", "ANONYMOUS", "PLAIN", "SCRAM-SHA-1", "DIGEST-MD5"])
async def test_s2_a_server_without_starttls_gets_no_login(certificate, ears, offer):
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms(offer))
        await peer.say(f"<success xmlns='{SASL}'/>" + LAMP_ON)

    async with Hostile(certificate, script, direct=False) as server:
        node = ears(server)
        await refused(node, Untrusted)
        assert node.signs in (["plaintext"], ["early"])  # whichever was seen first
        assert node.heard == []
        assert not LOGIN.search(server.got)
        assert not ANSWERS.search(server.got)


STRIPPED = {
    "SCRAM in clear": mechanisms("SCRAM-SHA-256"), "no password needed": mechanisms("EXTERNAL", "ANONYMOUS"),
    "features without anything": "<stream:features/>",
    "features of another kind": "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>",
    "the old way to log in": "<stream:features><auth xmlns='http://jabber.org/features/iq-auth'/></stream:features>",
    "starttls of another namespace": "<stream:features><starttls xmlns='urn:x'/></stream:features>",
}


@pytest.mark.parametrize("offer", STRIPPED)
async def test_s2_whatever_is_offered_in_place_of_tls_ends_the_attempt_at_once(certificate, ears, offer):
    async def script(peer: Peer) -> None:
        await peer.stream(STRIPPED[offer])

    async with Hostile(certificate, script, direct=False) as server:
        sentence = await refused(ears(server), Untrusted, sign="plaintext")
        assert "no TLS is offered; nothing is sent in clear" in sentence
        assert re.sub(rb"<\?xml[^>]*>|</?stream:stream[^>]*>", b"", server.got).strip() == b""


async def test_s2_a_server_that_takes_its_offer_of_tls_back_gets_no_login(certificate, ears):
    async def script(peer: Peer) -> None:
        await peer.stream(STARTTLS)
        await peer.hears(rb"<starttls[^>]*>")
        await peer.say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + mechanisms("SCRAM-SHA-1") + LAMP_ON)

    async with Hostile(certificate, script, direct=False) as server:
        node = ears(server)
        assert "the server does not begin TLS" in await refused(node, Untrusted, sign="plaintext")
        assert node.heard == []
        assert not LOGIN.search(server.got)


class OldTls:
    """A server of one connection that speaks only this version of TLS, and tells so by an alert, as servers do.

    It is not asyncio's, which hangs up without one. `got` is what it could decrypt.
    """

    def __init__(self, certificate: Certificate, version: ssl.TLSVersion, *, direct: bool) -> None:
        self.got = b""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.file, certificate.key_file)
        self._context.set_ciphers("ALL:@SECLEVEL=0")
        self._context.minimum_version = self._context.maximum_version = version
        self._direct = direct
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]

    def serve(self) -> None:
        """Blocking, until both ways to begin were tried."""
        with self._listening:
            for _ in range(1 if self._direct else 2):
                peer, _ = self._listening.accept()
                peer.settimeout(5)
                with suppress(OSError), peer:
                    if not self._direct:
                        if peer.recv(1) != b"<":
                            continue  # a try with direct TLS
                        peer.recv(65536)
                        peer.sendall((HEADER + STARTTLS).encode())
                        peer.recv(65536)
                        peer.sendall(PROCEED.encode())
                    with self._context.wrap_socket(peer, server_side=True) as secret:
                        self.got = secret.recv(65536)


@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_tls_before_1_2_gets_no_byte(certificate, ears, version, direct):
    server = OldTls(certificate, ssl.TLSVersion[version], direct=direct)
    served = asyncio.create_task(asyncio.to_thread(server.serve))
    sentence = await refused(ears(server), Untrusted, sign="plaintext")
    assert "only TLS before 1.2 is spoken there" in sentence
    await served
    assert server.got == b""


# After TLS, before the login ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
@pytest.mark.parametrize("stanza", [LAMP_ON, COMMAND], ids=["message", "command"])
async def test_s1b_stanzas_between_tls_and_login_reach_no_handler(certificate, ears, stanza, direct):
    async def script(peer: Peer) -> None:
        if not direct:
            await peer.secure()
        await peer.stream(stanza + mechanisms("SCRAM-SHA-1"))

    async with Hostile(certificate, script, direct=direct) as server:
        node = ears(server)
        await refused(node, Untrusted, sign="early")
        assert server.handshakes == 1
        assert node.heard == []
        assert not ANSWERS.search(server.got)


@pytest.mark.parametrize("offer", [("PLAIN",), ("EXTERNAL",), ("ANONYMOUS",), ("DIGEST-MD5", "CRAM-MD5"), ()])
async def test_nothing_weaker_than_scram_is_used_inside_tls_either(certificate, ears, offer):
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms(*offer))

    async with Hostile(certificate, script, direct=True) as server:
        sentence = await refused(ears(server), LoginRefused, sign="mechanism")
        assert "offers no SCRAM login over TLS" in sentence
        assert not LOGIN.search(server.got)


async def test_a_wrong_password_is_tried_once_whatever_else_is_offered(certificate, ears):
    """Who counts failures would lock the account three times as soon."""
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"))
        while True:
            await peer.hears(rb"<auth[^>]*>([^<]*)</auth>")
            await peer.say(f"<failure xmlns='{SASL}'><not-authorized/></failure>")

    async with Hostile(certificate, script, direct=True) as server:
        node = ears(server)
        assert "wrong password for greenhouse@localhost" in await refused(node, LoginRefused)
        assert server.got.count(b"<auth") == 1
        assert node.signs == [None], "it is counted, but is nobody's attack"


async def test_a_mechanism_that_is_offered_and_not_there_is_no_wrong_password(certificate, ears):
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"))
        while b"SCRAM-SHA-1<" not in (auth := await peer.hears(rb"<auth[^>]*mechanism=[\"']([^\"']*)"))[1] + b"<":
            await peer.say(f"<failure xmlns='{SASL}'><invalid-mechanism/></failure>")
        assert auth[1] == b"SCRAM-SHA-1"
        peer.back(auth)
        await peer.scram()
        await peer.bind()

    async with Hostile(certificate, script, direct=True) as server:
        session = await ears(server).open()
        await session.close()
        assert server.got.count(b"<auth") == 3


@pytest.mark.parametrize("iterations", [100_001, 10**9, 4095, 1, 0, -1])
async def test_a_server_cannot_freeze_the_login_with_an_iteration_count(certificate, ears, iterations):
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1"))
        await peer.scram(iterations=iterations)

    async with Hostile(certificate, script, direct=True) as server:
        began_s = time.process_time()
        sentence = await refused(ears(server), LoginRefused, sign="mechanism")
        assert "SCRAM iterations" in sentence
        assert time.process_time() - began_s < 1.0
        assert b"<response" not in server.got
        assert b"<abort" in server.got


def first(client: bytes, *, iterations: int = 4096) -> bytes:
    """A server-first-message that fits what the client said."""
    nonce = re.search(rb"r=([^,]+)", client)
    assert nonce
    return b"r=" + nonce[1] + b"evil,s=c2FsdA==,i=%d" % iterations


@pytest.mark.parametrize("proof", ["nothing", "a challenge", "garbage", "an error", "wrong signature", "no signature"])
async def test_success_without_proof_of_the_password_is_no_login(certificate, ears, proof):
    """A server that does not know the password cannot make us believe that it does (RFC 5802 §5, mutual login)."""
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1"))
        if proof == "wrong signature":
            await peer.scram(forged=True)
        else:
            auth = await peer.hears(rb"<auth[^>]*>([^<]*)</auth>")
            challenge = first(base64.b64decode(auth[1]))
            if proof == "no signature":
                await peer.say(f"<challenge xmlns='{SASL}'>{encoded(challenge)}</challenge>")
                await peer.hears(rb"<response")
            said = {"a challenge": encoded(challenge), "garbage": "!!", "an error": encoded(b"e=other-error")}
            await peer.say(f"<success xmlns='{SASL}'>{said.get(proof, '')}</success>")
        await peer.stream(BIND + LAMP_ON + COMMAND)

    async with Hostile(certificate, script, direct=True) as server:
        node = ears(server)
        await refused(node, Untrusted, sign="proof")
        assert node.heard == []
        assert not ANSWERS.search(server.got)


CHALLENGES = {
    "nothing": b"", "no base64": "!!", "no pairs": b"abc", "no nonce": b"s=c2FsdA==,i=4096",
    "no salt": b"r={r}x,i=4096", "a salt that is none": b"r={r}x,s=?,i=4096", "no count": b"r={r}x,s=c2FsdA==",
    "a count in words": b"r={r}x,s=c2FsdA==,i=many", "an endless count": b"r={r}x,s=c2FsdA==,i=" + b"9" * 10_000,
    "another login's nonce": b"r=abcdef,s=c2FsdA==,i=4096", "our nonce alone": b"r={r},s=c2FsdA==,i=4096",
    "an extension that we must know": b"m=x,r={r}x,s=c2FsdA==,i=4096", "a proof": b"v=c2FsdA==",
}


@pytest.mark.parametrize("said", CHALLENGES)
async def test_a_challenge_that_is_none_ends_the_attempt_at_once(certificate, ears, said):
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1"))
        auth = await peer.hears(rb"<auth[^>]*>([^<]*)</auth>")
        nonce = base64.b64decode(auth[1]).partition(b"r=")[2]
        text = CHALLENGES[said]
        text = text if isinstance(text, str) else encoded(text.replace(b"{r}", nonce))
        await peer.say(f"<challenge xmlns='{SASL}'>{text}</challenge>")

    async with Hostile(certificate, script, direct=True) as server:
        await refused(ears(server), Untrusted, sign="proof")
        assert b"<response" not in server.got


async def test_a_challenge_and_success_in_one_breath_are_no_login(certificate, ears):
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1"))
        auth = await peer.hears(rb"<auth[^>]*>([^<]*)</auth>")
        challenge = encoded(first(base64.b64decode(auth[1])))
        await peer.say(
            f"<challenge xmlns='{SASL}'>{challenge}</challenge><challenge xmlns='{SASL}'>{challenge}</challenge>"
            f"<success xmlns='{SASL}'>{challenge}</success>"
        )
        await peer.stream(BIND + LAMP_ON)

    async with Hostile(certificate, script, direct=True) as server:
        node = ears(server)
        await refused(node, Untrusted, sign="proof")
        assert node.heard == []
        assert not ANSWERS.search(server.got)


# After the login ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def logged_in(certificate, ears, then: Script) -> AsyncIterator[tuple[Session, Ears]]:
    """A session with a server that logged us in honestly and then does `then`."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await go.wait()
        await then(peer)

    async with Hostile(certificate, script, direct=True) as server:
        node = ears(server)
        session = await node.open()
        try:
            node.heard.clear()
            go.set()
            yield session, node
        finally:
            await session.close()


async def lost(session: Session) -> LinkError:
    with pytest.raises(LinkError) as caught:
        async with asyncio.timeout(10):
            await session.lost()
    return caught.value


async def test_an_honest_login_works_and_what_comes_then_is_heard(certificate, ears):
    """Without this, the tests around it would prove nothing."""

    async def then(peer: Peer) -> None:
        await peer.say(LAMP_ON)

    async with logged_in(certificate, ears, then) as (session, node):
        async with asyncio.timeout(20):
            while not node.heard:
                await asyncio.sleep(0.01)
        assert node.heard == ["{jabber:client}message"]
        assert str(session.jid) == "greenhouse@localhost/knoop"


BOMB = (
    "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ) + "]><message><body>&i;</body></message>"
)
LEFT_OUT = {
    "1 MB body": ("<message type='chat'><body>" + "x" * MB + "</body></message>", "exceeds 262144 bytes"),
    "1 MB attribute": (f"<message type='chat' id='{'x' * MB}'><body>lamp on</body></message>", "exceeds 262144 bytes"),
    "1 MB of children": ("<message>" + "<a/>" * (MB // 4) + "</message>", "exceeds 262144 bytes"),
    "1 MB of an unknown element": ("<lamp>" + "on" * (MB // 2) + "</lamp>", "exceeds 262144 bytes"),
    "1k nesting": ("<iq type='get' id='1'>" + "<a>" * 1000 + "</a>" * 1000 + "</iq>", "nests deeper than 64"),
    "20k nesting": ("<message><body>" + "<a>" * 20_000 + "</a>" * 20_000 + "</body></message>", "nests deeper than 64"),
    "1 MB iq": (f"<iq type='get' id='{'x' * MB}'><ping xmlns='urn:xmpp:ping'/></iq>", "exceeds 262144 bytes"),
}
FATAL = {
    "5 MB body": ("<message type='chat'><body>" + "x" * 5 * MB + "</body></message>", "exceeds 262144 bytes"),
    "an endless stanza": ("<message>" + f"<a>{'x' * 100}</a>" * (5 * MB // 107), "exceeds 262144 bytes"),
    "an endless tag": ("<" + "x" * 5 * MB, "exceeds 262144 bytes"),
    "200k nesting": ("<a>" * 200_000, "nests deeper than 64"),
    "a document type": ("<!DOCTYPE html><message><body>x</body></message>", "document type"),
    "an entity bomb": (BOMB, "document type"),
    "a comment": ("<message><!-- x --><body>lamp on</body></message>", "comment"),
}


@asynccontextmanager
async def within(memory: int) -> AsyncIterator[None]:
    """What is allocated meanwhile never exceeds so many bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < memory, f"{peak / MB:.1f} MB"


@pytest.mark.parametrize("attack", LEFT_OUT)
async def test_a_stanza_that_is_too_big_is_left_out_and_the_stream_lives(certificate, ears, caplog, attack):
    """Ending the stream for it would let any stranger keep the node away: its server gives it again at each login."""
    text, reason = LEFT_OUT[attack]

    async def then(peer: Peer) -> None:
        await peer.say(text)
        await peer.say(LAMP_ON)

    async with logged_in(certificate, ears, then) as (_, node):
        async with within(3 * len(text) + 6 * MB):  # the sending side shares our process and copies the text
            async with asyncio.timeout(10):
                while not node.heard:
                    await asyncio.sleep(0.01)
        assert node.heard == ["{jabber:client}message"]
        assert f"left out, from the server: a stanza {reason}" in caplog.text


@pytest.mark.parametrize("attack", FATAL)
async def test_what_is_endless_or_no_stream_xml_ends_the_session_within_bounds(certificate, ears, attack):
    text, reason = FATAL[attack]

    async def then(peer: Peer) -> None:
        await peer.say(text)
        await peer.say(LAMP_ON)

    async with logged_in(certificate, ears, then) as (session, node):
        async with within(3 * len(text) + 32 * MB):  # 200k elements within each other are 26 MB
            error = await lost(session)
        assert isinstance(error, Untrusted)
        assert reason in str(error)
        assert node.signs == ["stream"]
        assert node.heard == []


async def test_before_the_login_nothing_big_is_borne(certificate, ears):
    async def script(peer: Peer) -> None:
        await peer.stream("<stream:features>" + "<x/>" * 100_000)

    async with Hostile(certificate, script, direct=True) as server:
        assert "exceeds 262144 bytes" in await refused(ears(server), Untrusted, sign="stream")


GARBAGE = {
    "tags that cross": b"<message><body>lamp on</message></body>",
    "a byte that is no UTF-8": b"<message><body>lamp \xff on</body></message>",
    "a character cut short": b"<message><body>lamp on\xc3</body></message>",
    "an overlong slash": b"<message from='anna@localhost\xc0\xafphone'><body>lamp on</body></message>",
    "half a pair of surrogates": b"<message><body>lamp \xed\xa0\x80</body></message>",
    "a character of no XML": b"<message><body>lamp on\x1b[2J</body></message>",
    "the same attribute twice": b"<message from='mallory@localhost' from='anna@localhost'/>",
    "an entity that nobody declared": b"<message><body>&lamp;</body></message>",
    "a prefix that nobody declared": b"<message><x:body>lamp on</x:body></message>",
}


@pytest.mark.parametrize("attack", GARBAGE)
async def test_garbage_ends_the_session_and_is_not_sent_back(certificate, ears, attack):
    async def then(peer: Peer) -> None:
        await peer.say(GARBAGE[attack])
        await peer.say(LAMP_ON)

    async with logged_in(certificate, ears, then) as (session, node):
        assert isinstance(await lost(session), Untrusted)
        assert node.signs == ["stream"]
        assert node.heard == []


async def test_what_follows_a_breach_in_the_same_chunk_is_not_heard(certificate, ears):
    async def then(peer: Peer) -> None:
        await peer.say("<!-- --><presence/>" + LAMP_ON * 50)

    async with logged_in(certificate, ears, then) as (session, node):
        assert isinstance(await lost(session), Untrusted)
        assert node.heard == []
