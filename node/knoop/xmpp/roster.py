"""Mutual subscriptions with the people we know, and with nobody else (RFC 6121 §2–3).

Without them a person's client gets no PEP notification, and we do not see it. Entries that we made carry our group,
so that a person who lost every right is removed while a roster kept by hand is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.session import Session

ROSTER = "{jabber:iq:roster}"
GROUP = "Knoop"


def _presence(to: Jid, kind: str) -> ET.Element:
    return ET.Element(f"{CLIENT}presence", {"to": str(to.bare), "type": kind})


async def _set(session: Session, attributes: dict[str, str], group: str = "") -> None:
    query = ET.Element(f"{ROSTER}query")
    item = ET.SubElement(query, f"{ROSTER}item", attributes)
    if group:
        ET.SubElement(item, f"{ROSTER}group").text = group
    await session.iq("set", query)


async def ensure(session: Session, person: Jid) -> None:
    """Ask for and grant presence to one bare JID; the rest of the roster is its owner's. Raises as `follow`."""
    await _ensure(session, person, await _entries(session))


async def follow(session: Session, people: Collection[Jid]) -> None:
    """Ask for and grant presence to exactly `people` (bare JIDs). Raises Refusal or LinkError."""
    known = await _entries(session)
    for person in people:
        await _ensure(session, person, known, group=GROUP)
    for person, (_, ours) in known.items():
        if ours and person not in people:
            await _set(session, {"jid": str(person), "subscription": "remove"})


async def _entries(session: Session) -> dict[Jid, tuple[str, bool]]:
    """The state of the subscription with everybody in the roster, and whether the entry carries our group."""
    answer = await session.iq("get", ET.Element(f"{ROSTER}query"))
    known: dict[Jid, tuple[str, bool]] = {}
    for item in answer.iter(f"{ROSTER}item"):
        ours = GROUP in {group.text for group in item.findall(f"{ROSTER}group")}
        with suppress(ValueError):  # an entry that is no address is none of ours
            known[compat.jid(item.get("jid", ""))] = (item.get("subscription", "none"), ours)
    return known


async def _ensure(session: Session, person: Jid, known: Mapping[Jid, tuple[str, bool]], group: str = "") -> None:
    subscription, _ = known.get(person, ("none", False))
    if person not in known:
        await _set(session, {"jid": str(person)}, group)
    if subscription not in {"to", "both"}:
        session.send(_presence(person, "subscribe"))
    if subscription not in {"from", "both"}:
        session.send(_presence(person, "subscribed"))  # approval ahead of the request (RFC 6121 §3.4)


def answer(session: Session, presence: ET.Element, people: Collection[Jid]) -> None:
    """Approve a subscription request of one of `people`; a stranger's gets no answer at all."""
    if presence.get("type") != "subscribe":
        return
    sender = compat.jid(presence.get("from", "")).bare
    if sender in people:
        session.send(_presence(sender, "subscribed"))
        session.send(_presence(sender, "subscribe"))
