"""What is left of somebody who lost their rights, and what block lists do (XEP-0191), on both servers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.interop.conftest import House, asks

from knoop.jid import Jid
from knoop.xmpp import blocking, compat
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_bench.errors import Refused
from knoop_bench.witness import NODES, Witness
from knoop_hw.clock import SystemClock

ROSTER, OWN = "{jabber:iq:roster}", "http://jabber.org/protocol/pubsub#owner"
SOON_S = 30.0


@asynccontextmanager
async def account(home: House) -> AsyncIterator[Witness]:
    """Another client of the node's own account."""
    own, server = home.account, home.server
    async with Witness(own.jid, own.password, port=server.tls_port, ca_file=server.ca_file, notify=()) as client:
        yield client


async def traces(owner: Witness, jid: str) -> list[str]:
    """Where the node's account still knows this person."""
    answer = await owner.iq("get", "<query xmlns='jabber:iq:roster'/>")
    found = ["roster" for item in answer.iter(f"{ROSTER}item") if item.get("jid") == jid]
    for node in NODES:
        try:
            answer = await owner.iq("get", f"<pubsub xmlns='{OWN}'><affiliations node='{node}'/></pubsub>")
        except Refused:
            found.append(f"{node} is being made anew")
            continue
        members = {one.get("jid"): one.get("affiliation") for one in answer.iter(f"{{{OWN}}}affiliation")}
        found += [node] if members.get(jid, "none") != "none" else []
    return found


async def forgotten(owner: Witness, jid: str) -> None:
    left: list[str] = []
    try:
        async with asyncio.timeout(SOON_S):
            while left := await traces(owner, jid):
                await owner.ping()
    except TimeoutError:
        raise AssertionError(f"{jid} is still in {left}") from None


async def told(person: Witness, home: House, kind: str, *, after: int) -> None:
    await person.wait(lambda seen: seen.type == kind and seen.sender_bare == home.jid, SOON_S, after=after)


async def test_who_lost_the_rights_is_out_of_roster_and_nodes_and_is_told_that_the_node_is_gone(house, server):
    home = await house(server, {"anna": "owner", "bram": ""})
    anna, bram = await home.visit("anna"), home.people["bram"].jid
    async with account(home) as owner:
        await asks(anna, home.jid, f"allow {bram} viewer", lambda text: text.startswith(f"{bram}: viewer"))
        client = await home.visit("bram")
        async with asyncio.timeout(SOON_S):
            while len(await traces(owner, bram)) < 1 + len(NODES):
                await owner.ping()
        after = client.mark
        await asks(anna, home.jid, f"revoke {bram}", f"{bram} has no rights here any more.")
        await told(client, home, "unsubscribed", after=after)
        await told(client, home, "unavailable", after=after)
        await forgotten(owner, bram)


async def test_who_only_saw_the_node_is_told_that_it_is_gone(house, server):
    """They never let the node see them: Prosody 0.12 says nothing to these by itself."""
    home = await house(server, {"anna": "owner", "bram": ""})
    anna, bram = await home.visit("anna"), home.people["bram"].jid
    client = await home.visit("bram", friends=[])
    await asks(anna, home.jid, f"allow {bram} viewer", lambda text: text.startswith(f"{bram}: viewer"))
    client.send_raw(f"<presence to='{home.jid}' type='subscribe'/>")
    await client.wait(home.present, SOON_S)
    after = client.mark
    await asks(anna, home.jid, f"revoke {bram}", f"{bram} has no rights here any more.")
    await told(client, home, "unavailable", after=after)
    async with account(home) as owner:
        await forgotten(owner, bram)


@pytest.mark.parametrize("how", ["reload", "start"])
async def test_who_was_taken_out_of_node_toml_is_forgotten(house, server, how):
    home = await house(server, {"anna": "owner", "vera": "viewer"})
    await home.visit("vera")
    file, vera = home.node.folder / "node.toml", home.people["vera"].jid
    without = file.read_text("utf-8").replace(f'"{vera}" = "viewer"', "")
    assert vera not in without
    if how == "start":
        await home.node.stop()
    file.write_text(without, "utf-8")
    if how == "start":
        home.node.start()
        await home.node.online(times=2)
    else:
        home.node.tell(signal.SIGHUP)
    async with account(home) as owner:
        await forgotten(owner, vera)


async def test_who_is_blocked_by_the_account_or_blocks_it_hurts_nothing(house, server):
    home = await house(server, {"anna": "owner", "vera": "viewer", "bert": "owner"})
    anna, vera, bert = await home.visit("anna"), await home.visit("vera"), await home.visit("bert")
    shown = next(seen for seen in anna.seen if home.present(seen))
    change = "<{} xmlns='urn:xmpp:blocking'><item jid='{}'/></{}>"
    async with account(home) as owner:
        await owner.iq("set", change.format("block", vera.jid, "block"))
    await bert.iq("set", change.format("block", home.jid, "block"))
    marks = {person: person.mark for person in (vera, bert)}
    vera.say(home.jid, "help")
    with pytest.raises(Refused):
        await vera.iq("get", "<query xmlns='jabber:iq:version'/>", to=shown.sender)
    for _ in range(2):
        await anna.wait(lambda seen: seen.body.startswith("Front door is "), SOON_S, after=anna.mark)
    await asks(anna, home.jid, "lamp on", "Lamp is on.")
    for person, mark in marks.items():
        await person.ping()
        heard = [seen for seen in person.seen[mark:] if seen.sender_bare == home.jid and seen.body]
        assert not [seen for seen in heard if seen.type != "error"]
    async with account(home) as owner:
        await owner.iq("set", change.format("unblock", vera.jid, "unblock"))
    await bert.iq("set", change.format("unblock", home.jid, "unblock"))
    await asks(vera, home.jid, "lamp?", "Lamp is on.")
    await asks(bert, home.jid, "lamp off", "Lamp is off.")


async def test_the_accounts_block_list_is_kept_by_the_server(house, server):
    home = await house(server, {"anna": "owner", "mallory": "", "eve": ""})
    mallory, eve = (compat.jid(home.people[name].jid) for name in ("mallory", "eve"))
    person, heard = home.people["anna"], []
    login = Account(
        jid=Jid(*str(person.jid).split("@"), "blocks"), password=person.password, host="127.0.0.1",
        port=server.tls_port, ca_file=server.ca_file,
    )
    session = await Session.open(
        login, clock=SystemClock(), context=tls_context(login), on_presence=lambda _stanza: None,
        on_message=lambda stanza, _late: heard.append(stanza.get("id")), admits=lambda _sender: True,
    )
    try:
        attacker = await home.visit("mallory", friends=[])
        assert await blocking.blocked(session) == frozenset()
        for jid in (mallory, mallory, eve):
            await blocking.block(session, jid)
        assert await blocking.blocked(session) == {mallory, eve}
        attacker.say(str(session.jid), "lamp on", id="blocked")
        await attacker.ping()
        await blocking.unblock(session, mallory)
        await blocking.unblock(session, mallory)
        assert await blocking.blocked(session) == {eve}
        attacker.say(str(session.jid), "lamp on", id="heard")
        async with asyncio.timeout(SOON_S):
            while "heard" not in heard:
                await session.ping()
        assert "blocked" not in heard
    finally:
        await session.close()
