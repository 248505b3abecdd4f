"""Who is told to a node first, and what one address that is refused does to the others."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import nodes

ANNA, BRAM, CARL, ODD = (Jid(name, "example.org") for name in ("anna", "bram", "carl", "odd"))


class Account:
    """PEP as Prosody does it: affiliations are kept, a stanza with an address that is none is refused whole."""

    jid = Jid("greenhouse", "example.org", "knoop")

    def __init__(self, *members):
        self.members = {str(jid) for jid in members}

    async def iq(self, kind, child, *, to=""):
        (table,) = child
        answer = ET.Element("iq")
        if table.tag == f"{nodes.OWNER}affiliations" and kind == "get":
            for jid in sorted(self.members):
                ET.SubElement(answer, f"{nodes.OWNER}affiliation", {"jid": jid, "affiliation": "member"})
        elif table.tag == f"{nodes.OWNER}affiliations":
            if any(one.get("jid") == str(ODD) for one in table):
                raise Refusal("bad-request", f"{ODD} is not taken")
            for one in table:
                change = self.members.add if one.get("affiliation") == "member" else self.members.discard
                change(one.get("jid"))
        return answer


async def test_exactly_the_readers_are_members():
    account = Account(ANNA, BRAM)
    assert not await nodes.allow(account, nodes.STATE, {BRAM, CARL})
    assert account.members == {str(BRAM), str(CARL)}


async def test_who_goes_goes_also_when_somebody_who_comes_is_refused():
    account = Account(ANNA, BRAM)
    with pytest.raises(Refusal):
        await nodes.allow(account, nodes.STATE, {ANNA, ODD})
    assert account.members == {str(ANNA)}
