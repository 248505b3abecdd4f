"""Mutual subscriptions with the people we know, and with nobody else (RFC 6121 §2–3).

Without them a person's client gets no PEP notification, and we do not see it. Entries of people carry our group, so
that one who lost every right is removed, also when that was while we were away; others in a roster that is kept by
hand are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
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


async def follow(
    session: Session, people: Collection[Jid], entered: Callable[[Jid], None] = lambda _person: None
) -> None:
    """Ask for and grant presence to exactly `people` (bare JIDs), those first who lose it; `entered` hears of each.

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
            entered(person)
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


class Requests:
    """Requests to see us on one session: approved when `follow` has given who asks an entry in our group.

    An approval before that has the server make an entry without it, which would look like one of the roster's owner,
    and stay when they lose their rights.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._entered: set[Jid] = set()
        self._waiting: set[Jid] = set()

    def stanza(self, presence: ET.Element, people: Collection[Jid]) -> None:
        """Answer one of `people` who asks, at once or as soon as may be; a stranger gets no answer at all."""
        sender = asking(presence)
        if sender is None or sender not in people:
            return
        if sender in self._entered:
            approve(self._session, sender)
        else:
            self._waiting.add(sender)

    async def follow(self, people: Collection[Jid]) -> None:
        """Let the roster follow `people`, as the function `follow` does."""
        self._entered &= {*people}
        self._waiting &= {*people}
        await follow(self._session, people, self._has_entered)

    def _has_entered(self, person: Jid) -> None:
        self._entered.add(person)
        if person in self._waiting:
            self._waiting.remove(person)
            approve(self._session, person)


def asking(presence: ET.Element) -> Jid | None:
    """Who asks to see us with it: a bare JID, or None when it asks for nothing."""
    return compat.jid(presence.get("from", "")).bare if presence.get("type") == "subscribe" else None


def approve(session: Session, person: Jid) -> None:
    """Let them see us, and ask to see them. Raises LinkError."""
    session.send(_presence(person, "subscribed"))
    session.send(_presence(person, "subscribe"))
