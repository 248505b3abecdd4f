"""A code that makes whoever sends it somebody here: its letters, what people paste of it, its digest, its link. Pure.

It stands in a claim (the owner's, shown by the node itself) and in an invite (an owner's, for somebody of the house).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace

from knoop.access import Person
from knoop.jid import Jid

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 that nobody reads as another: no l, o, 0 and 1
BYTES = 10  # 80 bits: at two tries a second for ten years somebody finds one of 10¹⁵ nodes
INVITE_S = 2 * 86400.0
CONSOLE_S = 3600.0  # whoever makes one at the console is about to use it
CONSOLE = "console"  # as `by`: made by `knoop claim --again`; '' is the node itself, else an owner's bare address
MOST = 20  # open invites; a household has fewer people
WORD = "claim"
_LONGEST = 500  # characters worth reading: a link with a long address has 300

_GROUP = f"[{LETTERS}]{{4}}"
_JOINED = re.compile(rf"{_GROUP}(?:-{_GROUP}){{3}}")
_SPOKEN = re.compile(rf"{WORD}[\s:]+({_GROUP}(?:[\s-]*{_GROUP}){{3}})")
_LINK = re.compile(r"xmpp:[^?]*\?message;(?:.*;)?body=([^;&]*)")
_WITHIN = re.compile(
    rf"{_GROUP}(?:\s*[‐‑‒–—−-]\s*{_GROUP}){{3}}|(?<={WORD} ){_GROUP}(?:[\s-]*{_GROUP}){{3}}", re.IGNORECASE
)
_DASHES = re.compile(r"\s*[‐‑‒–—−-]\s*")
_AROUND = " \t\r\n\"'`“”‘’„«»()[].,;:!*_"
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a code gives. `name` is who it is for ('' for an owner's claim), `by` who made it: see `CONSOLE`.

    `until_ns`: when it ends (UTC nanoseconds since 1970), 0: when it is used.
    """

    role: str
    only: tuple[str, ...] = ()
    name: str = ""
    by: str = ""
    until_ns: int = 0

    def open(self, now_ns: int | None) -> bool:
        """Whether it still counts; one with an end does not while nobody knows what time it is."""
        return not self.until_ns or (now_ns is not None and now_ns < self.until_ns)


def theirs(me: Person, offer: Offer) -> bool:
    """Whether this is an invite that an owner may see and take back: one within what is theirs."""
    return bool(offer.name) and me.covers(replace(me, only=offer.only))


def spell(chance: bytes) -> str:
    """Ten unguessable bytes as `abcd-efgh-jkmn-pqrs`."""
    if len(chance) != BYTES:
        raise ValueError(f"{len(chance)} bytes; a code has {BYTES}")
    number = int.from_bytes(chance, "big")
    letters = "".join(LETTERS[number >> shift & 31] for shift in range(BYTES * 8 - 5, -1, -5))
    return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def find(text: str) -> str:
    """The code that somebody sends: `claim CODE`, the code alone or the whole link; '' for what is none.

    Capitals, spaces for dashes and a telephone's typographic dashes and quotes are forgiven. Alone it needs its
    dashes: four words of four letters are a sentence to the house.
    """
    if len(text) > _LONGEST:
        return ""
    text = text.strip(_AROUND)
    if link := _LINK.fullmatch(text):
        text = _decoded(link[1])
    plain = _DASHES.sub("-", unicodedata.normalize("NFKC", text)).strip(_AROUND).lower()
    if _JOINED.fullmatch(plain):
        return plain
    spoken = _SPOKEN.fullmatch(plain)
    letters = re.sub(r"[\s-]", "", spoken[1]) if spoken else ""
    return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def veiled(text: str) -> str:
    """The same text without any code that may stand in it: for a log, and for others' eyes."""
    return _WITHIN.sub("…", text)


def digest(code: str) -> bytes:
    """What is kept of a code. No salt and no slow hash: nobody tries 2⁸⁰ of them."""
    return hashlib.blake2b(code.encode(), digest_size=32, person=b"knoop claim").digest()


def link(node: Jid, code: str) -> str:
    """What a chat app opens: a message to the node with the code in it (XEP-0147 §3.1, RFC 5122 §2.2)."""
    address = f"{_encoded(node.local)}@{_encoded(node.domain)}"
    return f"xmpp:{address}?message;body={_encoded(f'{WORD} {code}')}"


def named_in(text: str, jid: Callable[[str], Jid]) -> Jid:
    """The one bare address in a file that names an owner; lines that begin with # are remarks. Raises ValueError."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    if len(wanted) != 1:
        raise ValueError(f"one address is meant, on a line of its own; there are {len(wanted)}")
    address = jid(wanted[0].removeprefix("xmpp:")).bare
    if not address.local or address.local == "*":
        raise ValueError(f"{wanted[0]!r} is nobody's address; write it like name@example.org")
    return address


def _encoded(text: str) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _decoded(text: str) -> str:
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")
