"""A message stanza → what somebody said or did, or why it is nothing to act on. Pure: XML in, dataclass out.

Only the outermost, live, type-checked message counts. What a carbon, an archive or a forward wraps is somebody's
quotation; a correction changes what was already acted on; a room's messages are not a person's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

CLIENT = "{jabber:client}"
MAX_TEXT = 4000  # a sentence to a house; longer text is answered, not read

Why = Literal[
    "error", "headline", "groupchat", "type", "delayed", "wrapped", "corrected", "encrypted", "empty", "ambiguous",
]

DELAY = ("{urn:xmpp:delay}delay", "{jabber:x:delay}x")
WRAPPERS = (
    "{urn:xmpp:forward:0}forwarded", "{urn:xmpp:carbons:2}sent", "{urn:xmpp:carbons:2}received",
    "{urn:xmpp:mam:0}result", "{urn:xmpp:mam:1}result", "{urn:xmpp:mam:2}result", "{urn:xmpp:fasten:0}apply-to",
)
ENCRYPTED = (
    "{eu.siacs.conversations.axolotl}encrypted", "{urn:xmpp:omemo:1}encrypted", "{urn:xmpp:omemo:2}encrypted",
    "{jabber:x:encrypted}x", "{urn:xmpp:openpgp:0}openpgp",
)
CORRECTION = "{urn:xmpp:message-correct:0}replace"
REPLY = "{urn:xmpp:reply:0}reply"
REACTIONS = "{urn:xmpp:reactions:0}reactions"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
RECEIPTS = "{urn:xmpp:receipts}"
MARKABLE = "{urn:xmpp:chat-markers:0}markable"
MAX_REACTIONS = 20  # one is usual
# What a person's client may show the sender as a reason to repeat; everything else is ignored in silence.
ANSWERABLE: frozenset[Why] = frozenset({"delayed", "corrected", "encrypted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A live chat message: `sender` as the server stamped it (text, full JID), `text` stripped, `lang` or ''.

    `reply_to` is the id of the message it answers (XEP-0461), or ''. `receipt` and `markable`: its client would like
    to hear that it arrived (XEP-0184) and was read (XEP-0333).
    """

    sender: str
    id: str
    text: str
    lang: str
    reply_to: str = ""
    receipt: bool = False
    markable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reacted:
    """Live reactions (XEP-0444) to the message `to`: the emoji that now stand there, none when taken back."""

    sender: str
    id: str
    to: str
    emoji: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A client's receipt (XEP-0184): the message `to` arrived there."""

    sender: str
    id: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message that never acts, and why."""

    sender: str
    id: str
    why: Why


def chat(message: ET.Element) -> Said | Reacted | Received | Ignored:
    """Judge one `<message/>` of the stream (RFC 6121 §5.2.2, XEP-0184, 0203, 0280, 0297, 0308, 0313, 0444, 0461)."""
    sender = message.get("from", "")
    stanza_id = message.get("id", "")

    def ignored(why: Why) -> Ignored:
        return Ignored(sender=sender, id=stanza_id, why=why)

    kind = message.get("type", "normal")
    if kind in {"error", "headline", "groupchat"}:
        return ignored(kind)  # type: ignore[arg-type] # narrowed by the line above
    if kind not in {"chat", "normal"}:
        return ignored("type")
    tags = {child.tag for child in message}
    if tags & set(WRAPPERS):
        return ignored("wrapped")
    if tags & set(ENCRYPTED):
        return ignored("encrypted")
    receipt = message.find(f"{RECEIPTS}received")
    if receipt is not None:  # also late: that it arrived stays true
        return Received(sender=sender, id=stanza_id, to=receipt.get("id", ""))
    reactions = message.find(REACTIONS)
    if reactions is not None:  # what a client adds as a body is for those that cannot show reactions
        if tags & set(DELAY):
            return ignored("delayed")
        emoji = tuple((one.text or "").strip() for one in list(reactions)[:MAX_REACTIONS])
        return Reacted(sender=sender, id=stanza_id, to=reactions.get("id", ""), emoji=emoji)
    bodies = message.findall(f"{CLIENT}body")
    if not bodies:
        return ignored("empty")
    if tags & set(DELAY):
        return ignored("delayed")
    if CORRECTION in tags:
        return ignored("corrected")
    if len(bodies) > 1:  # one per language (RFC 6121 §5.2.3): which of them is meant is the sender's secret
        return ignored("ambiguous")
    text = "".join(bodies[0].itertext()).strip()
    if not text:
        return ignored("empty")
    lang = message.get("{http://www.w3.org/XML/1998/namespace}lang", "")
    reply = message.find(REPLY)
    return Said(
        sender=sender, id=stanza_id, text=text[: MAX_TEXT + 1], lang=lang,
        reply_to=reply.get("id", "") if reply is not None else "",
        receipt=f"{RECEIPTS}request" in tags, markable=MARKABLE in tags,
    )


def condition(message: ET.Element) -> str:
    """Why a message came back (RFC 6120 §8.3.3), in the specification's word; '' for none that could be one."""
    tags = (child.tag for child in message.findall(f"{CLIENT}error/*"))
    name = next((tag.removeprefix(STANZAS) for tag in tags if tag.startswith(STANZAS)), "")
    return name if len(name) <= 30 and name.replace("-", "").isalpha() and name.isascii() else ""


def room(message: ET.Element, nick: str) -> tuple[str, Said] | None:
    """Who said what in a room where we are `nick`: the occupant's nick and the line; None for all that never acts.

    A line of the room itself, our own reflection, history (XEP-0203), a correction, something wrapped or encrypted
    is nothing, and nobody is told: in a room that would be noise.
    """
    sender = message.get("from", "")
    speaker = sender.partition("/")[2]
    if message.get("type") != "groupchat" or not speaker or speaker == nick:
        return None
    tags = {child.tag for child in message}
    bodies = message.findall(f"{CLIENT}body")
    if len(bodies) != 1 or tags & {*WRAPPERS, *ENCRYPTED, *DELAY, CORRECTION, REACTIONS}:
        return None
    text = "".join(bodies[0].itertext()).strip()
    lang = message.get("{http://www.w3.org/XML/1998/namespace}lang", "")
    said = Said(sender=sender, id=message.get("id", ""), text=text[: MAX_TEXT + 1], lang=lang)
    return (speaker, said) if text else None
