"""Whom our account wants to hear nothing of, kept by our server (XEP-0191): it takes their stanzas before we see them.

The list is the account's, so what another client of it blocked counts as well, and lasts when the node is gone.
"""

from __future__ import annotations

from typing import Literal
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp.session import Session

BLOCKING = "{urn:xmpp:blocking}"


async def block(session: Session, jid: Jid) -> None:
    """Let nothing of this bare JID through any more, nor anything to it (§3.3). Blocking twice is fine.

    Raises LinkError, and Refusal where the server has no such list, or for our own account or server: whoever blocks
    these is cut off.
    """
    own = session.jid
    if jid.bare == own.bare or jid.bare == Jid("", own.domain):
        raise Refusal("not-allowed", f"{jid.bare} is our own: it is not blocked")
    await _change(session, "block", jid)


async def unblock(session: Session, jid: Jid) -> None:
    """Let this bare JID through again (§3.4); one that is not blocked stays so. Raises Refusal or LinkError."""
    await _change(session, "unblock", jid)  # with an item always: without one it would be everybody (§3.5)


async def blocked(session: Session) -> frozenset[Jid]:
    """Who is on the list (§3.2); what is no address there is left out. Raises Refusal or LinkError."""
    answer = await session.iq("get", ET.Element(f"{BLOCKING}blocklist"))
    return compat.addresses(item.get("jid", "") for item in answer.iter(f"{BLOCKING}item"))


async def _change(session: Session, how: Literal["block", "unblock"], jid: Jid) -> None:
    change = ET.Element(f"{BLOCKING}{how}")
    ET.SubElement(change, f"{BLOCKING}item", {"jid": str(jid.bare)})
    await session.iq("set", change)
