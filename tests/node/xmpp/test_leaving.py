"""Whom a server still lets read when one person is taken out, and what is said of a block list."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import blocking, leaving, nodes

ANNA, BRAM, CARL = (str(Jid(name, "example.org")) for name in ("anna", "bram", "carl"))


class Account:
    """One node with members and subscribers as Prosody has them, and a block list; the roster is empty."""

    jid = Jid("greenhouse", "example.org", "knoop")

    def __init__(self, *, members=(), subscribers=(), blocked=(), unblocks=True):
        self.kept = {"affiliation": {*members}, "subscription": {*subscribers}}
        self.blocked, self.unblocks = {*blocked}, unblocks

    async def iq(self, kind, child, *, to=""):
        answer = ET.Element("iq")
        if child.tag == f"{blocking.BLOCKING}blocklist":
            for jid in sorted(self.blocked):
                ET.SubElement(answer, f"{blocking.BLOCKING}item", {"jid": jid})
        elif child.tag == f"{blocking.BLOCKING}unblock":
            if not self.unblocks:
                raise Refusal("internal-server-error", "not now")
            self.blocked -= {one.get("jid") for one in child}
        elif child.tag == f"{nodes.PUBSUB}pubsub":
            raise Refusal("conflict", "it is there")
        elif child.tag == f"{nodes.OWNER}pubsub":
            self._node(kind, child[0], answer)
        return answer

    def _node(self, kind, table, answer):
        what = table.tag.removeprefix(nodes.OWNER).removesuffix("s")
        if what in self.kept and kind == "get":
            for jid in sorted(self.kept[what]):
                ET.SubElement(answer, f"{nodes.OWNER}{what}", {"jid": jid, what: "member"})
        elif what in self.kept:
            for one in table:
                change = self.kept[what].discard if one.get(what) == "none" else self.kept[what].add
                change(one.get("jid"))


async def forget(account, jid):
    return await leaving.forget_person(account, Jid(*jid.split("@")), [(nodes.STATE, "")])


async def test_a_subscription_that_outlived_a_right_gives_it_to_nobody_again():
    account = Account(members=[ANNA, BRAM], subscribers=[ANNA, BRAM, CARL])
    assert await forget(account, BRAM) == [nodes.STATE.name]
    assert account.kept == {"affiliation": {ANNA}, "subscription": {ANNA}}


async def test_who_only_has_a_subscription_left_loses_it():
    account = Account(members=[ANNA], subscribers=[ANNA, BRAM])
    assert await forget(account, BRAM) == [nodes.STATE.name]
    assert account.kept == {"affiliation": {ANNA}, "subscription": {ANNA}}
    assert await forget(account, BRAM) == []


async def test_who_could_not_be_unblocked_is_not_called_gone():
    with pytest.raises(Refusal):
        await forget(Account(blocked=[BRAM], unblocks=False), BRAM)
    with pytest.raises(Refusal):
        await leaving.take_off(Account(blocked=[BRAM], unblocks=False), [])
    account = Account(blocked=[BRAM, CARL])
    assert await forget(account, BRAM) == ["the block list"]
    assert await leaving.take_off(account, []) == [CARL]
    assert account.blocked == set()
