"""Pub-sub nodes: made and configured once per session, published to item by item (XEP-0060, XEP-0163)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp.session import Session

log = logging.getLogger(__name__)

PUBSUB = "{http://jabber.org/protocol/pubsub}"
OWNER = "{http://jabber.org/protocol/pubsub#owner}"
FORM = "{jabber:x:data}"
CONFIG = "http://jabber.org/protocol/pubsub#node_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and what DESIGN.md's table says of it. `max_items` is a number or `max`."""

    name: str
    max_items: str
    send_last: str

    def options(self) -> Mapping[str, str]:
        """The fields of XEP-0060 §16.4.4 that differ from servers' defaults."""
        return {
            "pubsub#access_model": "whitelist",
            "pubsub#max_items": self.max_items,
            "pubsub#send_last_published_item": self.send_last,
            "pubsub#persist_items": "true",
            "pubsub#deliver_payloads": "true",
        }


READINGS = Node(name="urn:knoop:1:readings", max_items="1", send_last="never")
EVENTS = Node(name="urn:knoop:1:events", max_items="max", send_last="never")
STATE = Node(name="urn:knoop:1:state", max_items="16", send_last="on_sub_and_presence")
ABOUT = Node(name="urn:knoop:1:about", max_items="1", send_last="on_sub_and_presence")
NODES = (READINGS, EVENTS, STATE, ABOUT)
EVENTS_KEPT = "256"  # where 'max' is refused: the most that Prosody keeps by default (measured, 0.12)


def form(options: Mapping[str, str]) -> ET.Element:
    """A submitted node_config form (XEP-0004)."""
    element = ET.Element(f"{FORM}x", {"type": "submit"})
    kind = ET.SubElement(element, f"{FORM}field", {"var": "FORM_TYPE", "type": "hidden"})
    ET.SubElement(kind, f"{FORM}value").text = CONFIG
    for name, value in options.items():
        field = ET.SubElement(element, f"{FORM}field", {"var": name})
        ET.SubElement(field, f"{FORM}value").text = value
    return element


async def configure(session: Session, node: Node, readers: Collection[Jid], *, service: str = "") -> None:
    """Make `node` exist with its options and let exactly `readers` read it. Raises Refusal or LinkError."""
    options = dict(node.options())
    try:
        await _create(session, node.name, options, service)
    except Refusal as error:
        if options["pubsub#max_items"] != "max" or error.condition == "forbidden":
            raise
        log.info("%s: the server takes no 'max' for max_items; %s are kept", node.name, EVENTS_KEPT)
        await _create(session, node.name, {**options, "pubsub#max_items": EVENTS_KEPT}, service)
    await allow(session, node.name, readers, service=service)


async def _create(session: Session, name: str, options: Mapping[str, str], service: str) -> None:
    pubsub = ET.Element(f"{PUBSUB}pubsub")
    ET.SubElement(pubsub, f"{PUBSUB}create", {"node": name})
    ET.SubElement(pubsub, f"{PUBSUB}configure").append(form(options))
    try:
        await session.iq("set", pubsub, to=service)
    except Refusal as error:
        if error.condition != "conflict":
            raise
        owner = ET.Element(f"{OWNER}pubsub")
        ET.SubElement(owner, f"{OWNER}configure", {"node": name}).append(form(options))
        await session.iq("set", owner, to=service)


async def allow(session: Session, name: str, readers: Collection[Jid], *, service: str = "") -> None:
    """Let exactly `readers` (bare JIDs) read the node, ourselves apart; others lose it at once (§8.9)."""
    ask = ET.Element(f"{OWNER}pubsub")
    ET.SubElement(ask, f"{OWNER}affiliations", {"node": name})
    answer = await session.iq("get", ask, to=service)
    members = {
        item.get("jid", "")
        for item in answer.iter(f"{OWNER}affiliation")
        if item.get("affiliation") not in {"owner", "none"}
    }
    wanted = {str(reader) for reader in readers} - {str(session.jid.bare)}
    changes = dict.fromkeys(wanted - members, "member") | dict.fromkeys(members - wanted, "none")
    if not changes:
        return
    tell = ET.Element(f"{OWNER}pubsub")
    table = ET.SubElement(tell, f"{OWNER}affiliations", {"node": name})
    for jid, affiliation in sorted(changes.items()):
        ET.SubElement(table, f"{OWNER}affiliation", {"jid": jid, "affiliation": affiliation})
    await session.iq("set", tell, to=service)


async def publish(session: Session, name: str, item_id: str, payload: ET.Element, *, service: str = "") -> None:
    """Publish one item; returns when the server has it (§7.1.2). Raises Refusal or LinkError."""
    pubsub = ET.Element(f"{PUBSUB}pubsub")
    table = ET.SubElement(pubsub, f"{PUBSUB}publish", {"node": name})
    ET.SubElement(table, f"{PUBSUB}item", {"id": item_id}).append(payload)
    await session.iq("set", pubsub, to=service)


async def delete(session: Session, name: str, *, service: str = "") -> None:
    """Delete a node and its items (§8.4). Raises Refusal or LinkError."""
    owner = ET.Element(f"{OWNER}pubsub")
    ET.SubElement(owner, f"{OWNER}delete", {"node": name})
    await session.iq("set", owner, to=service)
