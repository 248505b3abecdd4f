"""What a server keeps of an account, taken off it: nodes with their items, the roster, the block list, or the account.

What it has delivered or archived (XEP-0313) no client can take back; where the account goes, servers drop its archive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import blocking, compat, nodes, roster
from knoop.xmpp.session import Session

REGISTER = "{jabber:iq:register}"
# A server without pub-sub, or without this node, has nothing of ours.
NOTHING_THERE = frozenset({"item-not-found", "service-unavailable", "feature-not-implemented"})


async def take_off(session: Session, places: Iterable[tuple[nodes.Node, str]]) -> list[str]:
    """Delete these nodes (each with its service's JID, '' for PEP), empty roster and block list.

    Returns what was there and is gone, for people. Raises Refusal or LinkError.
    """
    gone = [node.name for node, service in places if await _deleted(session, node.name, service)]
    known, blocked = await roster.entries(session), await _blocked(session)
    for person in sorted(known):
        await roster.remove(session, person)
    for person in sorted(blocked):
        await blocking.unblock(session, person)
    return [*gone, *sorted(map(str, {*known, *blocked}))]


async def forget_person(session: Session, person: Jid, places: Iterable[tuple[nodes.Node, str]]) -> list[str]:
    """Take one bare JID off the roster, the block list and those who may read these nodes; returns from what."""
    gone = []
    if person in await roster.entries(session):
        await roster.remove(session, person)
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
            members = compat.addresses(await nodes.members(session, node.name, service=service))
            await nodes.configure(session, node, members - {person}, service=service)
            gone.append(node.name)
    return gone


async def _blocked(session: Session) -> Collection[Jid]:
    """Whom the account has blocked: nobody at a server that has no such list."""
    with suppress(Refusal):
        return await blocking.blocked(session)
    return ()


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
