"""Mutual subscriptions with the people we know, and with nobody else (RFC 6121 §2–3).

Without them a person's client gets no PEP notification, and we do not see it. Entries of people carry our group, so
that one who lost every right is removed, also when that was while we were away; others in a roster that is kept by
hand are left alone.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.session import Session

ROSTER = "{jabber:iq:roster}"
GROUP = "Knoop"


class _Entry(NamedTuple):
    """Of somebody in the roster: the state of the subscription, the groups, what they are called there."""

    subscription: str = "none"
    groups: tuple[str, ...] = ()
    name: str = ""


def _presence(to: Jid, kind: str) -> ET.Element:
    return ET.Element(f"{CLIENT}presence", {"to": str(to.bare), "type": kind})


async def _set(session: Session, attributes: dict[str, str], groups: Collection[str] = ()) -> None:
    query = ET.Element(f"{ROSTER}query")
    item = ET.SubElement(query, f"{ROSTER}item", attributes)
    for group in groups:
        ET.SubElement(item, f"{ROSTER}group").text = group
    await session.iq("set", query)


async def ensure(session: Session, person: Jid) -> None:
    """Ask for and grant presence to one bare JID; the rest of the roster is its owner's. Raises as `follow`."""
    await _ensure(session, person, (await entries(session)).get(person))


async def follow(session: Session, people: Collection[Jid]) -> None:
    """Ask for and grant presence to exactly `people` (bare JIDs), those first who lose it.

    Of an entry that was there already name and groups stay. Raises LinkError, and the first Refusal when all that was
    not refused is done: one address that the server does not take keeps nobody else from losing or getting theirs.
    """
    known, refused = await entries(session), None
    for person in [person for person, entry in known.items() if GROUP in entry.groups and person not in people]:
        try:
            await remove(session, person)
        except Refusal as error:
            refused = refused or error
    for person in people:
        try:
            await _ensure(session, person, known.get(person), group=GROUP)
        except Refusal as error:
            refused = refused or error
    if refused:
        raise refused


async def remove(session: Session, person: Jid) -> None:
    """Out of the roster: the server ends both subscriptions and says that we are gone (RFC 6121 §2.5.2).

    Prosody 0.12 does not say so where only they saw us, but does for an approval that is taken back (§3.2).
    """
    session.send(_presence(person, "unsubscribed"))
    await _set(session, {"jid": str(person), "subscription": "remove"})


async def entries(session: Session) -> dict[Jid, _Entry]:
    """Everybody in the roster, whoever put them there. Raises Refusal or LinkError."""
    answer = await session.iq("get", ET.Element(f"{ROSTER}query"))
    known: dict[Jid, _Entry] = {}
    for item in answer.iter(f"{ROSTER}item"):
        groups = tuple(group.text or "" for group in item.findall(f"{ROSTER}group"))
        with suppress(ValueError):  # an entry that is no address is none of ours
            entry = _Entry(item.get("subscription", "none"), groups, item.get("name", ""))
            known[compat.jid(item.get("jid", ""))] = entry
    return known


async def _ensure(session: Session, person: Jid, known: _Entry | None, group: str = "") -> None:
    entry = known or _Entry()
    if known is None or (group and group not in entry.groups):
        name = {"name": entry.name} if entry.name else {}
        await _set(session, {"jid": str(person), **name}, (*entry.groups, *([group] if group else [])))
    if entry.subscription not in {"to", "both"}:
        session.send(_presence(person, "subscribe"))
    if entry.subscription not in {"from", "both"}:
        session.send(_presence(person, "subscribed"))  # approval ahead of the request (RFC 6121 §3.4)


def answer(session: Session, presence: ET.Element, people: Collection[Jid]) -> None:
    """Approve a subscription request of one of `people`; a stranger's gets no answer at all."""
    if presence.get("type") != "subscribe":
        return
    sender = compat.jid(presence.get("from", "")).bare
    if sender in people:
        session.send(_presence(sender, "subscribed"))
        session.send(_presence(sender, "subscribe"))
