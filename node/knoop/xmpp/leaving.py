"""What a server keeps of an account, taken off it: nodes with their items, the roster, the block list, or the account.

What it has delivered or archived (XEP-0313) no client can take back; where the account goes, servers drop its archive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import blocking, compat, nodes
from knoop.xmpp.roster import ROSTER
from knoop.xmpp.session import Session

REGISTER = "{jabber:iq:register}"
# A server without pub-sub, or without this node, has nothing of ours.
NOTHING_THERE = frozenset({"item-not-found", "service-unavailable", "feature-not-implemented"})


async def take_off(session: Session, places: Iterable[tuple[nodes.Node, str]]) -> list[str]:
    """Delete these nodes (each with its service's JID, '' for PEP), empty roster and block list.

    Returns what was there and is gone, for people. Raises Refusal or LinkError.
    """
    gone = [node.name for node, service in places if await _deleted(session, node.name, service)]
    people = sorted(map(str, await in_roster(session)))
    for person in people:
        await forget(session, person)
    for jid in sorted(await _blocked(session)):
        await blocking.unblock(session, jid)
        people += [str(jid)] if str(jid) not in people else []
    return [*gone, *people]


async def forget_person(session: Session, person: Jid, places: Iterable[tuple[nodes.Node, str]]) -> list[str]:
    """Take one bare JID off the roster, the block list and those who may read these nodes; returns from what."""
    gone = []
    if person in await in_roster(session):
        await forget(session, str(person))
        gone.append("the roster")
    if person in await _blocked(session):
        await blocking.unblock(session, person)
        gone.append("the block list")
    for node, service in places:
        try:
            readers = await nodes.readers(session, node.name, service=service)
        except Refusal as error:
            if error.condition not in NOTHING_THERE:
                raise
            continue
        if str(person) in readers:
            # Not by `readers`: a subscription that outlived somebody's right would let them in again.
            members = _addresses(await nodes.members(session, node.name, service=service))
            await nodes.configure(session, node, members - {person}, service=service)
            gone.append(node.name)
    return gone


async def in_roster(session: Session) -> Collection[Jid]:
    """Everybody in the roster, whoever put them there."""
    answer = await session.iq("get", ET.Element(f"{ROSTER}query"))
    return _addresses(item.get("jid", "") for item in answer.iter(f"{ROSTER}item"))


def _addresses(texts: Iterable[str]) -> set[Jid]:
    """Those of them that are addresses."""
    found = set()
    for text in texts:
        with suppress(ValueError):
            found.add(compat.jid(text))
    return found


async def _blocked(session: Session) -> Collection[Jid]:
    """Whom the account has blocked: nobody at a server that has no such list."""
    with suppress(Refusal):
        return await blocking.blocked(session)
    return ()


async def forget(session: Session, jid: str) -> None:
    """Take an entry off the roster, with both subscriptions (RFC 6121 §2.5)."""
    query = ET.Element(f"{ROSTER}query")
    ET.SubElement(query, f"{ROSTER}item", {"jid": jid, "subscription": "remove"})
    await session.iq("set", query)


async def cancel(session: Session) -> None:
    """Delete the account itself (XEP-0077 §3.2). Raises Refusal where the server lets nobody do so, or LinkError.

    The stream ends together with the account, on some servers before the answer is there: then another login tells.
    """
    query = ET.Element(f"{REGISTER}query")
    ET.SubElement(query, f"{REGISTER}remove")
    await session.iq("set", query)


async def _deleted(session: Session, name: str, service: str) -> bool:
    try:
        await nodes.delete(session, name, service=service)
    except Refusal as error:
        if error.condition not in NOTHING_THERE:
            raise
        return False
    return True
