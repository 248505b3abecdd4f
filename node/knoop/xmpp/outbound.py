"""What we say, as stanzas: pure, dataclass or text in, XML out."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from knoop.xmpp.inbound import CLIENT, DELAY, RECEIPTS, STANZAS

HINTS = "{urn:xmpp:hints}"
ERRORS = {  # what the sender can do about it; about all others: send something else
    "item-not-found": "cancel", "not-allowed": "cancel", "internal-server-error": "cancel",
    "resource-constraint": "wait",
}  # fmt: skip
CORRECT = "urn:xmpp:message-correct:0"  # the feature of a client that shows corrections


def message(to: str, body: str, stanza_id: str, *, replaces: str = "", receipt: bool = False, passing: bool = False,
            said: str = "") -> ET.Element:  # fmt: skip
    """A chat message with a stable id: `id` and XEP-0359 origin-id are the same.

    `replaces` is the id of the message that this one corrects (XEP-0308). `receipt` asks the client to say that it
    arrived (XEP-0184). A `passing` one is for the addressed device now: neither copied to others (XEP-0280 §9) nor
    kept (XEP-0334). `said` is when it was sent first (XEP-0203), of one that is sent again.
    """
    element = ET.Element(f"{CLIENT}message", {"to": to, "type": "chat", "id": stanza_id})
    ET.SubElement(element, f"{CLIENT}body").text = body
    ET.SubElement(element, "{urn:xmpp:sid:0}origin-id", {"id": stanza_id})
    if replaces:
        ET.SubElement(element, f"{{{CORRECT}}}replace", {"id": replaces})
    if receipt:
        ET.SubElement(element, f"{RECEIPTS}request")
    if passing:
        ET.SubElement(element, "{urn:xmpp:carbons:2}private")
        for hint in ("no-copy", "no-store"):
            ET.SubElement(element, f"{HINTS}{hint}")
    if said:
        ET.SubElement(element, DELAY[0], {"stamp": said})
    return element


def received(to: str, stanza_id: str) -> ET.Element:
    """The receipt for the message `stanza_id` of the full JID `to` (XEP-0184 §5): it reached the node."""
    element = ET.Element(f"{CLIENT}message", {"to": to, "type": "chat"})
    ET.SubElement(element, f"{RECEIPTS}received", {"id": stanza_id})
    ET.SubElement(element, f"{HINTS}store")
    return element


def displayed(to: str, stanza_id: str) -> ET.Element:
    """The marker that the message `stanza_id` of the full JID `to` was read and answered (XEP-0333 §4.1)."""
    element = ET.Element(f"{CLIENT}message", {"to": to, "type": "chat"})
    ET.SubElement(element, "{urn:xmpp:chat-markers:0}displayed", {"id": stanza_id})
    ET.SubElement(element, f"{HINTS}store")
    return element


def composing(to: str) -> ET.Element:
    """That the answer takes a while (XEP-0085); the answer itself ends it."""
    element = ET.Element(f"{CLIENT}message", {"to": to, "type": "chat"})
    ET.SubElement(element, "{http://jabber.org/protocol/chatstates}composing")
    ET.SubElement(element, f"{HINTS}no-store")
    return element


def result(iq: ET.Element, payload: ET.Element) -> ET.Element:
    """The answer to the request `iq` (RFC 6120 §8.2.3)."""
    answer = ET.Element(f"{CLIENT}iq", {"type": "result", "id": iq.get("id", ""), "to": iq.get("from", "")})
    answer.append(payload)
    return answer


def failure(iq: ET.Element, condition: str, specific: str = "") -> ET.Element:
    """The error that answers `iq` (RFC 6120 §8.3); `specific` is the tag of a condition of the extension's own."""
    error = ET.Element(f"{CLIENT}error", {"type": ERRORS.get(condition, "modify")})
    ET.SubElement(error, f"{STANZAS}{condition}")
    if specific:
        ET.SubElement(error, specific)
    answer = result(iq, error)
    answer.set("type", "error")
    return answer
