"""What may reach the XML parser, and what may reach a handler: decided on bytes and tags, before anything acts.

Nothing is handled before TLS and login are proven (RFC 6120 §13.8): an attacker on the path can speak first on a
STARTTLS port, and slixmpp would dispatch what it says. A stream carries restricted XML only (RFC 6120 §11.1): no
comment, no processing instruction, no document type. Sizes are bounded before the parser builds a tree.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from knoop.errors import Sign

MAX_STANZA = 256 * 1024  # XEP-0478 lets a server say its own limit; ours protects 512 MB of memory, and is ample
MAX_DEPTH = 64  # deepest legitimate stanza seen (a MAM result with a form inside) has 11 levels
# Once logged in, what is larger is left out instead: a stranger's message that ended the stream would be kept by our
# server and given to us again at every login. Servers let 256 to 512 KiB through and escape one byte as up to six.
MAX_LEFT_OUT = 4 * 1024 * 1024
MAX_LEFT_OUT_DEPTH = 75_000  # in 512 KiB; 22 MB meanwhile. Prosody 0.12 passes on 37,000 in its 256 KiB (measured)
SLICE = 8 * 1024  # fed to the parser at a time, so that the limits bite inside a large chunk

STREAM = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SM = "urn:xmpp:sm:3"

# Before TLS only its negotiation, before login only the login's own elements.
BEFORE_TLS = frozenset({f"{{{STREAM}}}features", f"{{{STREAM}}}error", f"{{{TLS}}}proceed", f"{{{TLS}}}failure"})
BEFORE_LOGIN = frozenset(
    {f"{{{STREAM}}}features", f"{{{STREAM}}}error", *(f"{{{SASL}}}{n}" for n in ("challenge", "success", "failure"))}
)
STANZAS = frozenset(f"{{jabber:client}}{name}" for name in ("message", "presence", "iq"))
# Behind it stanzas and what acknowledges them. COMPAT(slixmpp 1.17): it takes whatever only has the name of an element
# that it knows for that element, if the namespace is the stream's own: <success/> in jabber:client for a login's.
BEHIND_LOGIN = STANZAS | {f"{{{STREAM}}}features", f"{{{STREAM}}}error"} | {
    f"{{{SM}}}{name}" for name in ("enabled", "failed", "a", "r")
}  # fmt: skip

# `<!` opens a comment, a document type or CDATA; `<?` a processing instruction or the XML declaration.
_MARKUP = re.compile(rb"<(?:!(?!\[CDATA\[)|\?(?!xml[ \t\r\n]))")
_ENCODING = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']([^\"']*)", re.IGNORECASE)
_COUNT = re.compile(r"[0-9]{1,10}")  # XEP-0198 §4 has it as xs:unsignedInt
_TAIL = 8  # bytes of the last chunk that may hold the start of a forbidden construct


class GuardError(Exception):
    """The peer broke a rule; the connection ends and `str()` is for the log only. `sign`: what it may mean."""

    def __init__(self, text: str, sign: Sign = "stream") -> None:
        self.sign: Sign = sign
        super().__init__(text)


class ByteGuard:
    """Judges raw bytes of one stream. `admit` is called on every slice, `stanza_done` at the end of each stanza.

    A `lenient` one does not end the stream for a stanza that is too large or too deep: `excess` says what is wrong
    with it, and it is to be left out. That has bounds, too.
    """

    def __init__(self, *, max_stanza: int = MAX_STANZA, max_depth: int = MAX_DEPTH, lenient: bool = False) -> None:
        self.excess = ""
        self._max_stanza = max_stanza
        self._max_depth = max_depth
        self._lenient = lenient
        self.open_bytes = 0
        self._tail = b""

    def admit(self, data: bytes) -> None:
        """Raise GuardError when these bytes must not reach the parser."""
        self.open_bytes += len(data)
        if self.open_bytes > self._max_stanza:
            self._exceeds(f"a stanza exceeds {self._max_stanza} bytes", bearable=self.open_bytes <= MAX_LEFT_OUT)
        if b"\0" in data:
            raise GuardError("the stream is not UTF-8")
        joined = self._tail + data
        # A construct that touches the end is judged with the next slice, when the rest of it is there.
        complete = joined[:-_TAIL] if joined[-_TAIL:].find(b"<") >= 0 else joined
        for match in _MARKUP.finditer(joined):
            if match.start() < len(complete):
                raise GuardError("the stream carries a comment, an instruction or a document type")
        declared = _ENCODING.search(joined)
        if declared and declared[1].lower() not in {b"utf-8", b"utf8"}:
            raise GuardError("the stream is not UTF-8")
        self._tail = joined[len(complete):]

    def depth(self, levels: int) -> None:
        """Raise GuardError when elements nest deeper than a stanza ever does."""
        if levels > self._max_depth:
            text = f"a stanza nests deeper than {self._max_depth} elements"
            self._exceeds(text, bearable=levels <= MAX_LEFT_OUT_DEPTH)

    def stanza_done(self) -> str:
        """A stanza ended: the next one has the whole budget again. Returns why this one is to be left out, or ''."""
        excess, self.excess, self.open_bytes = self.excess, "", 0
        return excess

    def _exceeds(self, text: str, *, bearable: bool) -> None:
        if not (self._lenient and bearable):
            raise GuardError(text)
        self.excess = self.excess or text


def too_deep(xml: ET.Element) -> bool:
    """Whether a whole stanza nests deeper than MAX_DEPTH, its stream counted: a thousand levels fit into one slice.

    Copying such a tree recurses once a level and ends in RecursionError.
    """
    level = [xml]
    for _ in range(MAX_DEPTH - 1):
        level = [child for element in level for child in element]
        if not level:
            return False
    return True


def may_handle(tag: str, *, tls: bool, logged_in: bool, bound: bool = False) -> bool:
    """Whether a top-level element with this `{namespace}name` may reach a handler in this state of the stream.

    Behind a login nothing of TLS or login does any more, and once we have an address nothing is offered: all that is
    settled. Nothing is resumed either, because we never ask for it.
    """
    if not tls:
        return tag in BEFORE_TLS
    if not logged_in:
        return tag in BEFORE_LOGIN
    settled = tag.startswith((f"{{{TLS}}}", f"{{{SASL}}}")) or tag == f"{{{SM}}}resumed"
    return not (settled or (bound and tag == f"{{{STREAM}}}features"))


def counts(xml: ET.Element) -> bool:
    """Whether an acknowledgement has its number (XEP-0198 §4); true for anything else."""
    return xml.tag != f"{{{SM}}}a" or _COUNT.fullmatch(xml.get("h", "")) is not None
