"""The account's block list: what is asked of the server, and what never is."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp.blocking import BLOCKING, block, blocked, unblock

MALLORY = Jid("mallory", "example.org")


class Server:
    """A block list (XEP-0191 §3): items are added and removed; `unblock` without one empties it."""

    jid = Jid("greenhouse", "example.org", "knoop")

    def __init__(self, *items):
        self.items = [*items]

    async def iq(self, kind, child):
        answer = ET.Element("iq")
        named = [item.get("jid") for item in child]
        if kind == "get":
            table = ET.SubElement(answer, f"{BLOCKING}blocklist")
            for jid in self.items:
                ET.SubElement(table, f"{BLOCKING}item", {"jid": jid})
        elif child.tag == f"{BLOCKING}block":
            self.items += [jid for jid in named if jid not in self.items]
        else:
            self.items = [jid for jid in self.items if named and jid not in named]
        return answer


async def test_somebody_is_blocked_by_their_bare_address_and_unblocked():
    server = Server("spam.example.net")
    await block(server, Jid("mallory", "example.org", "phone"))
    await block(server, MALLORY)
    assert server.items == ["spam.example.net", "mallory@example.org"]
    assert await blocked(server) == {MALLORY, Jid("", "spam.example.net")}
    await unblock(server, Jid("mallory", "example.org", "laptop"))
    assert server.items == ["spam.example.net"]


@pytest.mark.parametrize("own", [Jid("greenhouse", "example.org"), Jid("", "example.org"), Server.jid])
async def test_nobody_makes_the_node_block_itself_or_its_server(own):
    server = Server()
    with pytest.raises(Refusal, match="is our own"):
        await block(server, own)
    assert server.items == []


async def test_an_entry_that_is_no_address_is_left_out():
    assert await blocked(Server("mallory@example.org", "a@b@c", "")) == {MALLORY}
