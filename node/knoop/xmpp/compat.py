"""Every workaround for slixmpp, each tagged with what to check before it is removed; and JIDs from text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree as ET

from slixmpp import JID
from slixmpp.jid import InvalidJID
from slixmpp.util.sasl.client import MECHANISMS, SASLCancelled
from slixmpp.util.sasl.mechanisms import SCRAM

from knoop.jid import Jid
from knoop.xmpp.guard import GuardError

# The least is what RFC 5802 §5.1 asks of servers: our answer to fewer would tell a guesser more. For the most OWASP's
# figure for a login is 210,000 of SHA-512 at rest; servers send 4,096–10,000.
SCRAM_ITERATIONS = (4096, 100_000)

MAX_RESOURCE = 1023  # bytes (RFC 6122 §2.1)
_JOINER = "\u200d"  # holds 👩‍🌾 together
MALFORMED = "the stream is not well-formed XML in UTF-8"


class Parser(ET.XMLPullParser):
    """Reads UTF-8, whatever the declaration says: an encoding that comes in pieces is not seen by the guard.

    COMPAT(slixmpp 1.17): it answers XML that is none with what it was sent, and reads on. This one ends the stream.
    Use ElementTree's own when its data_received raises.
    """

    def __init__(self) -> None:
        super().__init__(("start", "end"), _parser=ET.XMLParser(encoding="utf-8"))  # noqa: S314 -- behind the guard

    def read_events(self) -> Iterator[Any]:
        """The events so far. Raises GuardError."""
        try:
            yield from super().read_events()
        except (ET.ParseError, ValueError):
            raise GuardError(MALFORMED) from None


@lru_cache(maxsize=512)
def jid(text: str) -> Jid:
    """The prepared address in `text` (RFC 6122). Raises ValueError that names the text."""
    bare, slash, resource = text.partition("/")
    try:
        prepared = JID(bare)
        if not prepared.domain:
            raise InvalidJID("no domain")  # noqa: TRY301 -- one sentence for whatever is wrong with it
        return Jid(prepared.user, prepared.domain, _resource(resource) if slash else "")
    except InvalidJID:
        raise ValueError(f"{text!r} is not an XMPP address like name@example.org") from None


def addresses(texts: Iterable[str]) -> frozenset[Jid]:
    """Those of them that are addresses, prepared."""
    found = set()
    for text in texts:
        with suppress(ValueError):
            found.add(jid(text))
    return frozenset(found)


def known(address: str) -> bool:
    """Whether slixmpp takes this for an address, or for none; its handlers fail at all others (see _resource)."""
    try:
        JID(address)
    except InvalidJID:
        return False
    return True


def _resource(text: str) -> str:
    """A resource, prepared where that is possible. Raises InvalidJID.

    COMPAT(slixmpp 1.17): its resourceprep knows Unicode 3.2, of 2002, so it refuses a phone called 📱, whose owner
    would be a stranger. Rights never depend on a resource: what is only unknown there is kept as the server stamped it.
    Remove when JID("a/📱") is accepted (RFC 7622's OpaqueString).
    """
    try:
        return str(JID(f"x/{text}").resource)
    except InvalidJID:
        harmful = any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c != _JOINER for c in text)
        if harmful or not 0 < len(text.encode("utf-8", "replace")) <= MAX_RESOURCE:
            raise
        return text


class _Scram(SCRAM):
    """COMPAT(slixmpp 1.17): see `harden`."""

    def process_1(self, challenge: bytes = b"") -> bytes:
        first = super().process_1(challenge)
        weak, self.cnonce = self.cnonce, secrets.token_hex(16).encode()
        self.client_first_message_bare = self.client_first_message_bare.replace(b"r=" + weak, b"r=" + self.cnonce)
        assert first.endswith(b"r=" + weak)
        return self.gs2_header + self.client_first_message_bare

    def Hi(self, text: Any, salt: bytes, iterations: int) -> bytes:  # noqa: N802 -- RFC 5802's name
        if not SCRAM_ITERATIONS[0] <= iterations <= SCRAM_ITERATIONS[1]:
            raise SASLCancelled(f"the server asks for {iterations} iterations")
        # `self.hash_name` is `SHA-256` of `SCRAM-SHA-256`; `text` is UTF-8 already.
        return hashlib.pbkdf2_hmac(self.hash_name.replace("-", ""), bytes(text), salt, iterations)


def judge_challenge(scram: Any, text: str) -> None:
    """Raise GuardError where a server's first message is none (RFC 5802 §7), or its nonce does not go on from ours.

    COMPAT(slixmpp 1.17): its SCRAM raises whatever a malformed one makes it raise, which ends nothing: the login hangs.
    Remove these two when _handle_challenge and _handle_success fail for every error of a mechanism.
    """
    try:
        said = _attributes(text)
        nonce, _, _ = said[b"r"], base64.b64decode(said[b"s"], validate=True), int(said[b"i"])
    except (ValueError, KeyError):
        raise GuardError("the server's challenge is none of SCRAM's", "proof") from None
    if scram is None or scram.step != 1 or b"m" in said:
        raise GuardError("the server's challenge is none of SCRAM's", "proof")
    if not nonce.startswith(scram.cnonce) or nonce == scram.cnonce:
        raise GuardError("the server's challenge belongs to another login", "proof")


def judge_success(scram: Any, text: str) -> None:
    """Raise GuardError where a server says that we are logged in and does not prove that it knows the password.

    COMPAT(slixmpp 1.17): SCRAM takes a challenge inside `success` and calls that a login without any proof. Only after
    our response (step 2) does it compare the server's signature (RFC 5802 §3).
    """
    if scram is None or scram.step != 2:
        text = "the server says that we are logged in before it proved that it knows the password"
        raise GuardError(text, "proof")
    try:
        signature = base64.b64decode(_attributes(text)[b"v"], validate=True)
    except (ValueError, KeyError):
        signature = b""
    if not hmac.compare_digest(signature, scram.server_signature):
        raise GuardError("the server does not prove that it knows the password", "proof")


def _attributes(text: str) -> dict[bytes, bytes]:
    """SCRAM's `a=1,b=2` out of base64. Raises ValueError."""
    decoded = base64.b64decode(text, validate=True)
    return {name: value for name, _, value in (part.partition(b"=") for part in decoded.split(b","))}


def harden() -> None:
    """Make slixmpp's SCRAM safe and quick, and its log silent; calling it twice is fine.

    COMPAT(slixmpp 1.17): the client nonce comes from `random.random()` (RFC 5802 §5.1 asks for an unguessable one);
    the server alone chooses the iteration count, so a hostile one freezes the login; and Hi() is a Python loop
    (25 ms instead of 7 ms of CPU). Remove when SCRAM uses `secrets` and `hashlib.pbkdf2_hmac` and has a cap.
    """
    MECHANISMS.update({name: _Scram for name, mechanism in MECHANISMS.items() if mechanism is SCRAM})
    # slixmpp logs whole SASL exchanges and stanzas at DEBUG, and echoes what a peer sent at ERROR.
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
