"""What we say, as stanzas: pure, dataclass or text in, XML out."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from knoop.xmpp.inbound import CLIENT, RECEIPTS

HINTS = "{urn:xmpp:hints}"


def message(to: str, body: str, stanza_id: str, *, replaces: str = "", receipt: bool = False, passing: bool = False
            ) -> ET.Element:  # fmt: skip
    """A chat message with a stable id: `id` and XEP-0359 origin-id are the same.

    `replaces` is the id of the message that this one corrects (XEP-0308). `receipt` asks the client to say that it
    arrived (XEP-0184). A `passing` one is for the addressed device now: neither copied to others (XEP-0280 §9) nor
    kept (XEP-0334).
    """
    element = ET.Element(f"{CLIENT}message", {"to": to, "type": "chat", "id": stanza_id})
    ET.SubElement(element, f"{CLIENT}body").text = body
    ET.SubElement(element, "{urn:xmpp:sid:0}origin-id", {"id": stanza_id})
    if replaces:
        ET.SubElement(element, "{urn:xmpp:message-correct:0}replace", {"id": replaces})
    if receipt:
        ET.SubElement(element, f"{RECEIPTS}request")
    if passing:
        ET.SubElement(element, "{urn:xmpp:carbons:2}private")
        for hint in ("no-copy", "no-store"):
            ET.SubElement(element, f"{HINTS}{hint}")
    return element


def received(to: str, stanza_id: str) -> ET.Element:
    """The receipt for the message `stanza_id` of the full JID `to` (XEP-0184 §5): it reached the node."""
    element = ET.Element(f"{CLIENT}message", {"to": to, "type": "chat"})
    ET.SubElement(element, f"{RECEIPTS}received", {"id": stanza_id})
    ET.SubElement(element, f"{HINTS}store")
    return element
