"""Pub-sub nodes: made and configured once per session, published to item by item (XEP-0060, XEP-0163).

`service` is the JID of a pub-sub service, or '' for our own account (PEP).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp.session import Session

log = logging.getLogger(__name__)

PUBSUB = "{http://jabber.org/protocol/pubsub}"
OWNER = "{http://jabber.org/protocol/pubsub#owner}"
FORM = "{jabber:x:data}"
CONFIG = "http://jabber.org/protocol/pubsub#node_config"
PUBLISH_OPTIONS = "http://jabber.org/protocol/pubsub#publish-options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and how it is configured."""

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
            "pubsub#notify_delete": "true",  # who subscribed learns that a node was made anew (see allow)
        }


READINGS = Node(name="urn:knoop:1:readings", max_items="1", send_last="never")
EVENTS = Node(name="urn:knoop:1:events", max_items="32", send_last="never")  # docs/adr/0032
STATE = Node(name="urn:knoop:1:state", max_items="16", send_last="on_sub_and_presence")
ABOUT = Node(name="urn:knoop:1:about", max_items="1", send_last="on_sub_and_presence")
NODES = (READINGS, EVENTS, STATE, ABOUT)

# What a service's refusal of a node means. Prosody 0.12 and ejabberd 23.01 say `forbidden` to who may not make one.
_NOT_ALLOWED = (
    "lets {jid} make no nodes: name it in the component's 'admins' (Prosody), or allow it in 'access_createnode' of"
    " mod_pubsub (ejabberd); see docs/servers.md"
)
_NO_SERVICE = "is no pub-sub service that answers: correct 'publish.pubsub', or set it up as docs/servers.md says"
_NOT_SO = (
    "does not take the options of {node}: it must know access_model 'whitelist' and keep 32 items or more"
    " ('pubsub_max_items' of Prosody, 'max_items_node' of ejabberd's mod_pubsub; see docs/servers.md)"
)
_REMEDIES = {
    "forbidden": _NOT_ALLOWED,
    "not-allowed": _NOT_ALLOWED,
    "item-not-found": _NO_SERVICE,
    "service-unavailable": _NO_SERVICE,
    "remote-server-not-found": _NO_SERVICE,
    "bad-request": _NOT_SO,
    "not-acceptable": _NOT_SO,
}


def form(options: Mapping[str, str], form_type: str = CONFIG) -> ET.Element:
    """A submitted form (XEP-0004), of the type node_config."""
    element = ET.Element(f"{FORM}x", {"type": "submit"})
    kind = ET.SubElement(element, f"{FORM}field", {"var": "FORM_TYPE", "type": "hidden"})
    ET.SubElement(kind, f"{FORM}value").text = form_type
    for name, value in options.items():
        field = ET.SubElement(element, f"{FORM}field", {"var": name})
        ET.SubElement(field, f"{FORM}value").text = value
    return element


def placed(node: Node, service: str, jid: Jid) -> Node:
    """`node` under its name there: a service is shared, so the name ends in the account that owns the node."""
    return replace(node, name=f"{node.name}/{jid.bare}") if service else node


async def configure(session: Session, node: Node, readers: Collection[Jid], *, service: str = "") -> None:
    """Make `node` exist with its options and let exactly `readers` read it. Raises Refusal or LinkError."""
    try:
        made = await _create(session, node.name, node.options(), service)
    except Refusal as error:
        if not service or error.condition not in _REMEDIES:
            raise
        remedy = _REMEDIES[error.condition].format(jid=session.jid.bare, node=node.name)
        raise Refusal(error.condition, f"{service} {remedy}") from None
    await allow(session, node, readers, service=service)
    if not made:  # somebody's rights may have gone without their subscription: see _unsubscribe
        await _unsubscribe(session, node.name, {str(reader) for reader in readers}, service)


async def _create(session: Session, name: str, options: Mapping[str, str], service: str) -> bool:
    """Whether the node is new; one that is there already is configured."""
    pubsub = ET.Element(f"{PUBSUB}pubsub")
    ET.SubElement(pubsub, f"{PUBSUB}create", {"node": name})
    ET.SubElement(pubsub, f"{PUBSUB}configure").append(form(options))
    try:
        await session.iq("set", pubsub, to=service)
    except Refusal as error:
        if error.condition != "conflict":
            raise
        await _reconfigure(session, name, options, service)
        return False
    return True


async def _reconfigure(session: Session, name: str, options: Mapping[str, str], service: str) -> None:
    owner = ET.Element(f"{OWNER}pubsub")
    ET.SubElement(owner, f"{OWNER}configure", {"node": name}).append(form(options))
    try:
        await session.iq("set", owner, to=service)
    except Refusal as error:
        if error.condition != "forbidden":
            raise
        text = f"{name} at {service or 'our account'} belongs to another account: have it deleted"
        raise Refusal("conflict", text) from None


async def allow(session: Session, node: Node, readers: Collection[Jid], *, service: str = "") -> bool:
    """Let exactly `readers` (bare JIDs) read the node, ourselves apart; others lose it at once (§8.9).

    Returns whether that took a node made anew, which is empty. Raises Refusal or LinkError.
    """
    known = await _owned(session, node.name, "affiliation", service)
    members = {item.get("jid", "") for item in known if item.get("affiliation") not in {"owner", "none"}}
    wanted = {str(reader) for reader in readers} - {str(session.jid.bare)}
    gone = members - wanted
    if gone and not await _unsubscribe(session, node.name, wanted, service):
        # Written together: an item between the two would have the server make a node with its own, open options.
        await asyncio.gather(
            delete(session, node.name, service=service), configure(session, node, readers, service=service)
        )
        return True
    if gone:  # first, and by itself: an address that the server does not take must not keep them in
        await _affiliate(session, node.name, gone, "none", service)
        await _unsubscribe(session, node.name, wanted, service)  # whoever was quick enough to subscribe again
    if wanted - members:
        await _affiliate(session, node.name, wanted - members, "member", service)
    return False


async def _affiliate(session: Session, name: str, who: Collection[str], affiliation: str, service: str) -> None:
    tell = ET.Element(f"{OWNER}pubsub")
    table = ET.SubElement(tell, f"{OWNER}affiliations", {"node": name})
    for jid in sorted(who):
        ET.SubElement(table, f"{OWNER}affiliation", {"jid": jid, "affiliation": affiliation})
    await session.iq("set", tell, to=service)


async def readers(session: Session, name: str, *, service: str = "") -> set[str]:
    """The bare JIDs that were let in, and those whose subscription may have outlived that. Raises as `allow`."""
    found = await members(session, name, service=service)
    known = await _subscriptions(session, name, service) or []
    return found | {_bare(item.get("jid", "")) for item in known if item.get("subscription") != "none"} - {""}


async def members(session: Session, name: str, *, service: str = "") -> set[str]:
    """The bare JIDs that were let in. Raises as `allow`."""
    let_in = await _owned(session, name, "affiliation", service)
    return {item.get("jid", "") for item in let_in if item.get("affiliation") not in {"none", "outcast"}}


async def _owned(session: Session, name: str, what: str, service: str) -> list[ET.Element]:
    """Every `affiliation` or `subscription` of our node, as its owner sees them (§8.8.1, §8.9.1)."""
    ask = ET.Element(f"{OWNER}pubsub")
    ET.SubElement(ask, f"{OWNER}{what}s", {"node": name})
    answer = await session.iq("get", ask, to=service)
    return [*answer.iter(f"{OWNER}{what}")]


async def _subscriptions(session: Session, name: str, service: str) -> list[ET.Element] | None:
    """The subscriptions; None where the server does not tell us, as ejabberd does not for PEP."""
    try:
        return await _owned(session, name, "subscription", service)
    except Refusal as error:
        if error.condition != "feature-not-implemented":
            raise
        return None


async def _unsubscribe(session: Session, name: str, wanted: Collection[str], service: str) -> bool:
    """End every subscription of others than `wanted`; False where the server does not tell us whose there are.

    A subscription outlives the affiliation it needed: Prosody 0.12 and ejabberd 23.01 go on to deliver to it, and
    ejabberd lets it fetch items, too; Prosody takes the affiliation away and answers `forbidden` (measured). ejabberd
    names the subscriptions of a service, not those of PEP (`feature-not-implemented`).
    """
    known = await _subscriptions(session, name, service)
    if known is None:
        return False
    kept = {*wanted, str(session.jid.bare)}
    others = [entry for entry in known if _bare(entry.get("jid", "")) not in kept]
    if others:
        tell = ET.Element(f"{OWNER}pubsub")
        table = ET.SubElement(tell, f"{OWNER}subscriptions", {"node": name})
        for entry in others:
            which = {key: value for key in ("jid", "subid") if (value := entry.get(key))}
            ET.SubElement(table, f"{OWNER}subscription", {**which, "subscription": "none"})
        await session.iq("set", tell, to=service)
    return True


def _bare(jid: str) -> str:
    try:
        return str(compat.jid(jid).bare)
    except ValueError:
        return ""


async def publish(
    session: Session, name: str, item_id: str, payload: ET.Element, *, service: str = "",
    only_if: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Publish one item; returns when the server has it (§7.1.2). Raises Refusal or LinkError.

    `only_if`: the node must be configured so, or be made so (§7.1.5).
    """
    pubsub = ET.Element(f"{PUBSUB}pubsub")
    table = ET.SubElement(pubsub, f"{PUBSUB}publish", {"node": name})
    ET.SubElement(table, f"{PUBSUB}item", {"id": item_id}).append(payload)
    if only_if:
        ET.SubElement(pubsub, f"{PUBSUB}publish-options").append(form(only_if, PUBLISH_OPTIONS))
    await session.iq("set", pubsub, to=service)


async def has(session: Session, name: str, item_id: str, *, service: str = "") -> bool:
    """Whether our node has this item (§6.5). Raises Refusal (`item-not-found`: there is no node) or LinkError."""
    ask = ET.Element(f"{PUBSUB}pubsub")
    table = ET.SubElement(ask, f"{PUBSUB}items", {"node": name})
    ET.SubElement(table, f"{PUBSUB}item", {"id": item_id})
    answer = await session.iq("get", ask, to=service)
    return any(item.get("id") == item_id for item in answer.iter(f"{PUBSUB}item"))


async def delete(session: Session, name: str, *, service: str = "") -> None:
    """Delete a node and its items (§8.4). Raises Refusal or LinkError."""
    owner = ET.Element(f"{OWNER}pubsub")
    ET.SubElement(owner, f"{OWNER}delete", {"node": name})
    await session.iq("set", owner, to=service)
