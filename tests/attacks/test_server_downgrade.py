"""A server, or somebody on the way to it, that wants less care than there was: no try succeeds, the owner hears of it.

The node was let in before, honestly. Then every connection meets the attack, until the server is honest again: the node
is back by itself, says to its owner what it met, has it in its audit log, and has told the attacker nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.attacks import rig
from tests.attacks.rig import PASSWORD, PEOPLE
from tests.integration import inprocess
from tests.integration.hostile import PROCEED, SASL, STARTTLS, Hostile, Peer, Script, mechanisms
from tests.integration.running import BOUND_S, SCENARIO, Way, until, write

from knoop.errors import Sign
from knoop.state_tables import AuditLine
from knoop.xmpp import link
from knoop.xmpp import session as session_module
from knoop_bench.certificates import Authority, Certificate

LAMP_ON = "<message from='anna@localhost/phone' type='chat' id='now'><body>lamp on</body></message>"
COMMAND = (
    "<iq from='anna@localhost/phone' type='set' id='c1'>"
    "<command xmlns='http://jabber.org/protocol/commands' node='set' action='execute'/></iq>"
)
LOGIN = re.compile(rb"<auth|<response")
STANZA = re.compile(rb"<iq|<message|<presence")
TRIES = 3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and patience of a test; what is decided is the same."""
    for name in ("BASE_S", "REFUSED_BASE_S"):
        monkeypatch.setattr(link, name, 0.05)
    for name in ("CAP_S", "REFUSED_CAP_S"):
        monkeypatch.setattr(link, name, 0.2)
    monkeypatch.setattr(session_module, "LOGIN_TIMEOUT_S", 3.0)
    monkeypatch.setattr(session_module, "GOODBYE_S", 0.1)


@dataclass
class Server:
    """What it does with the connections from now on; `None` is to be honest."""

    attack: Script | None = None
    direct: bool = True
    tries: int = 0
    logins: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, peer: Peer) -> None:
        if self.attack is not None:
            await self.attack(peer)
            self.tries += 1
            return
        if not self.direct:
            await peer.secure()
        await peer.log_in()
        self.logins += 1
        serving = asyncio.create_task(rig.serve(peer))
        ended = asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            ended.cancel()
            await asyncio.wait({serving, ended})
        raise EOFError


class Attacked:
    """A node that was let in, and what the server does next."""

    def __init__(self, node: inprocess.Node, hostile: Hostile, server: Server, folder: Path) -> None:
        self.node, self.hostile, self.server, self._folder = node, hostile, server, folder

    @property
    def count(self) -> int:
        return self.node.agent.vigil.count

    async def by(self, attack: Script | None, certificate: Certificate | None = None) -> bytes:
        """Be attacked TRIES times; returns what the node said meanwhile."""
        before = len(self.hostile.peers)

        async def nothing(peer: Peer) -> None:
            raise AssertionError("it spoke to a server that it cannot trust")

        self.server.attack = attack or nothing
        if certificate is not None:
            self.hostile.context.load_cert_chain(certificate.file, certificate.key_file)
        self.server.ended.set()  # the link that was
        await until(lambda: self.count >= TRIES, lambda: f"{self.count} tries: {self.hostile.got!r}")
        said = b"".join(peer.got for peer in self.hostile.peers[before:])
        self.server.attack = None
        self.server.ended.clear()
        return re.sub(rb"</stream:stream>", b"", said)

    async def told(self, honest: Certificate | None = None) -> str:
        """The server is honest again: what the owner hears."""
        if honest is not None:
            self.hostile.context.load_cert_chain(honest.file, honest.key_file)
        before, logins = len(self.hostile.got), self.server.logins
        told = re.compile(rb"<message[^>]*\bto=[\"']anna@localhost.*?<body>(Careful [^<]*)</body>")
        await until(
            lambda: self.server.logins > logins and told.search(self.hostile.got, before),
            lambda: f"{self.hostile.got[before:]!r}",
        )
        found = told.findall(self.hostile.got, before)
        assert len(found) == 1
        return found[0].decode()

    async def audited(self) -> list[AuditLine]:
        """What the audit log says of logins, when it has the second line: that one comes behind the sentence."""
        async with asyncio.timeout(BOUND_S):
            while len(lines := await self.node.agent.house.state.audit_tail(100)) < 2:
                await asyncio.sleep(0.02)
        assert {line.via for line in lines} == {"login"}, "nobody's command was even judged"
        return lines

    def unmoved(self) -> None:
        """No output moved, as the board says."""
        trace = self._folder / "board.jsonl"
        assert not trace.exists() or not trace.read_text("utf-8")


@asynccontextmanager
async def let_in(
    folder: Path, authority: Authority, *, direct: bool = True, pin: bool = False
) -> AsyncIterator[Attacked]:
    server = Server(direct=direct)
    good = authority.issue()
    async with Hostile(good, server.play, direct=direct, password=PASSWORD) as hostile:
        file = write(folder, Way(hostile.port, authority.ca_file), jid="greenhouse@localhost/knoop", password=PASSWORD,
                     people=PEOPLE, board=rig.BOARD, scenario=SCENARIO + rig.AIR)
        if pin:
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(good.file.read_text("ascii"))).hexdigest()
            text = file.read_text("utf-8").replace("[people]", f'fingerprint = "{digest}"\n\n[people]')
            file.write_text(text, "utf-8")
        os.chdir(folder)  # the scenario's trace lies beside it
        async with inprocess.node(file, password=PASSWORD) as node:
            await until(lambda: node.agent.presence.up, lambda: f"{hostile.got!r}")
            attacked = Attacked(node, hostile, server, folder)
            yield attacked
            attacked.unmoved()
            assert PASSWORD.encode() not in hostile.got


@pytest.fixture(autouse=True)
def back() -> AsyncIterator[None]:
    """The folder that the tests run in."""
    here = Path.cwd()
    yield
    os.chdir(here)


async def check(attacked: Attacked, sign: Sign, sentence: str, honest: Certificate | None = None) -> None:
    """The owner hears it once, with the count, and the audit log has it."""
    told = await attacked.told(honest)
    assert sentence in told
    assert f"{attacked.count} times" in told
    first, last = await attacked.audited()
    assert first.result.startswith(f"broken off ({sign}): 127.0.0.1:")
    assert last.result == f"broken off ({sign}): {attacked.count} times, and now the owners are told"
    assert first.who == "greenhouse@localhost"


# Before TLS -----------------------------------------------------------------------------------------------------------


async def strips(peer: Peer) -> None:
    await peer.stream(mechanisms("SCRAM-SHA-1", "PLAIN"))


async def takes_back(peer: Peer) -> None:
    await peer.stream(STARTTLS)
    await peer.hears(rb"<starttls[^>]*>")
    await peer.say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")


async def offers_a_login_behind_proceed(peer: Peer) -> None:
    await peer.stream(STARTTLS)
    await peer.hears(rb"<starttls[^>]*>")
    await peer.say(PROCEED + mechanisms("ANONYMOUS", "EXTERNAL", "PLAIN"))


async def speaks_first(peer: Peer) -> None:
    await peer.stream(LAMP_ON + COMMAND + STARTTLS)


BEFORE_TLS: dict[str, tuple[Script, Sign, str]] = {
    "STARTTLS is stripped": (strips, "plaintext", "wanted to talk without good encryption"),
    "STARTTLS is taken back": (takes_back, "plaintext", "wanted to talk without good encryption"),
    "a login in clear behind proceed": (offers_a_login_behind_proceed, "plaintext", "without good encryption"),
    "commands before TLS": (speaks_first, "early", "somebody spoke on the way to localhost before anything was proven"),
}


@pytest.mark.parametrize("attack", BEFORE_TLS)
async def test_less_than_tls_gets_no_byte_of_a_login_and_the_owner_hears_of_it(tmp_path, authority, attack):
    script, sign, sentence = BEFORE_TLS[attack]
    async with let_in(tmp_path, authority, direct=False) as attacked:
        said = await attacked.by(script)
        assert not LOGIN.search(said)
        assert not STANZA.search(said)
        await check(attacked, sign, sentence)


# The certificate ------------------------------------------------------------------------------------------------------


def self_signed(folder: Path) -> Certificate:
    """For the right host, by nobody but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = Certificate(folder / "self.crt", folder / "self.key")
    file.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, raw, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.key_file.write_bytes(key.private_bytes(pem, raw, plain))
    return file


WRONG: dict[str, Callable[[Authority, Path], Certificate]] = {
    "expired": lambda authority, _: authority.issue("expired"),
    "of another authority": lambda authority, _: authority.issue("other-ca"),
    "of its own": lambda _, folder: self_signed(folder),
}


@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
@pytest.mark.parametrize("wrong", WRONG)
async def test_another_certificate_gets_no_byte_and_the_owner_hears_of_it(tmp_path, authority, wrong, direct):
    await _certificate(tmp_path, authority, WRONG[wrong](authority, tmp_path), direct=direct)


@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
async def test_cve_2022_45197_a_certificate_for_another_host_is_not_ours(tmp_path, authority, direct):
    """slixmpp before 1.8.3 looked at the chain and at no host: any certificate of any site would do."""
    await _certificate(tmp_path, authority, authority.issue("wrong-host"), direct=direct)


async def _certificate(tmp_path: Path, authority: Authority, wrong: Certificate, *, direct: bool) -> None:
    async with let_in(tmp_path, authority, direct=direct) as attacked:
        async def up_to_tls(peer: Peer) -> None:
            await peer.secure()

        handshakes = attacked.hostile.handshakes
        said = await attacked.by(None if direct else up_to_tls, wrong)
        assert attacked.hostile.handshakes == handshakes
        assert not LOGIN.search(said)
        assert not STANZA.search(said)
        await check(attacked, "certificate", "had a certificate that proves nothing", authority.issue())


@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
async def test_a_certificate_that_is_valid_but_not_the_pinned_one_is_refused(tmp_path, authority, direct):
    """Also one of the right authority for the right host: that is what the pin is for."""
    async with let_in(tmp_path, authority, direct=direct, pin=True) as attacked:
        async def whatever(peer: Peer) -> None:
            if not direct:
                await peer.secure()
            await peer.stream(mechanisms("SCRAM-SHA-1"))

        first = attacked.hostile.context
        kept = {file: file.read_bytes() for file in authority.folder.glob("good.*")}
        said = await attacked.by(whatever, authority.issue())
        assert not LOGIN.search(said)
        assert first is attacked.hostile.context
        for file, content in kept.items():
            file.write_bytes(content)
        honest = Certificate(authority.folder / "good.crt", authority.folder / "good.key")
        await check(attacked, "pin", "had another certificate than the one you named", honest)


# The login ------------------------------------------------------------------------------------------------------------


def offers(*names: str) -> Script:
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms(*names))

    return script


def counts(iterations: int) -> Script:
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1"))
        await peer.scram(iterations=iterations)

    return script


async def forges(peer: Peer) -> None:
    await peer.stream(mechanisms("SCRAM-SHA-1"))
    await peer.scram(forged=True)
    await peer.stream(LAMP_ON + COMMAND)


async def simply_says_success(peer: Peer) -> None:
    await peer.stream(mechanisms("SCRAM-SHA-1"))
    await peer.hears(rb"<auth[^>]*>")
    await peer.say(f"<success xmlns='{SASL}'/>")
    await peer.stream(LAMP_ON + COMMAND)


async def speaks_before_the_login(peer: Peer) -> None:
    await peer.stream(LAMP_ON + COMMAND + mechanisms("SCRAM-SHA-1"))


async def breaks_the_stream(peer: Peer) -> None:
    await peer.log_in()
    await peer.say("<!DOCTYPE x [<!ENTITY a 'lamp on'>]>" + LAMP_ON)


PASSWORD_AWAY = "localhost wanted a login that would have given my password away"
NOT_KNOWN = "a server that said it was localhost did not know my password"
LOGINS: dict[str, tuple[Script, Sign, str]] = {
    "PLAIN only": (offers("PLAIN"), "mechanism", PASSWORD_AWAY),
    "EXTERNAL and ANONYMOUS": (offers("EXTERNAL", "ANONYMOUS", "X-OAUTH2"), "mechanism", PASSWORD_AWAY),
    "a login that is cheap to guess from": (counts(1), "mechanism", PASSWORD_AWAY),
    "a login without end": (counts(10**9), "mechanism", PASSWORD_AWAY),
    "success without a proof": (simply_says_success, "proof", NOT_KNOWN),
    "somebody else's proof": (forges, "proof", NOT_KNOWN),
    "commands between TLS and login": (speaks_before_the_login, "early", "before anything was proven"),
    "no stream of XMPP's": (breaks_the_stream, "stream", "localhost sent what no XMPP server sends"),
}


@pytest.mark.parametrize("attack", LOGINS)
async def test_less_than_a_proven_login_moves_nothing_and_the_owner_hears_of_it(tmp_path, authority, attack):
    script, sign, sentence = LOGINS[attack]
    async with let_in(tmp_path, authority) as attacked:
        said = await attacked.by(script)
        if script is not breaks_the_stream:  # that one comes behind a login
            assert not STANZA.search(said)
            assert script is forges or b"<response" not in said
        await check(attacked, sign, sentence)
