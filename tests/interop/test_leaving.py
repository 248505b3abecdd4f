"""`knoop purge` takes the same off both servers: nodes, readers, roster."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.integration.running import BOUND_S, POLL_S, knoop

from knoop_bench.errors import Refused
from knoop_bench.witness import NODES, STATE, Witness

ROSTER = "jabber:iq:roster"


async def test_a_person_goes_and_then_everything(house, server, tmp_path):
    home = await house(server, {"anna": "owner", "vera": "viewer"})
    anna, vera = await home.visit("anna"), await home.visit("vera")
    async with asyncio.timeout(BOUND_S):
        while not await readable(vera, home.jid):
            await asyncio.sleep(POLL_S)
    await home.node.stop()
    flags = ("--yes", "--json", "--server", "--config", "node.toml")
    person = home.people["vera"].jid
    one = json.loads((await knoop("purge", *flags, "--person", person, folder=tmp_path)).out)
    assert f"{person} in the roster" in one["gone"]
    assert sum(" in urn:knoop:1:" in gone for gone in one["gone"]) == len(NODES)
    for name in NODES:
        with pytest.raises(Refused):
            await vera.pep_items(home.jid, name)
    async with itself(home) as account:
        assert await roster(account) == {home.people["anna"].jid}
    whole = await knoop("purge", *flags, folder=tmp_path)
    assert (whole.code, json.loads(whole.out)["ok"]) == (0, True), whole.said
    for name in NODES:
        with pytest.raises(Refused):
            await anna.pep_items(home.jid, name)
    async with itself(home) as account:
        assert await roster(account) == set()
        for name in NODES:
            with pytest.raises(Refused, match="item-not-found"):
                await account.pep_items(home.jid, name)


async def test_nothing_is_left_at_a_pubsub_service(house, server, tmp_path):
    home = await house(server, {"anna": "owner"}, more=f'[publish]\npubsub = "{server.pubsub}"\n')
    await home.node.says("connected as")
    anna = await home.visit("anna")
    own = f"{STATE}/{home.jid}"
    async with asyncio.timeout(BOUND_S):  # its nodes are made one after another, behind the login
        while own not in {node for _, node in await anna.disco_items(server.pubsub)}:
            await asyncio.sleep(POLL_S)
    await home.node.stop()
    done = await knoop("purge", "--yes", "--server", "--config", "node.toml", folder=tmp_path)
    done.plainly(0, f"Gone: {own} at ")
    async with itself(home) as account:
        assert own not in {node for _, node in await account.disco_items(server.pubsub)}


async def readable(person: Witness, jid: str) -> bool:
    """Whether they find the node's last values."""
    try:
        return bool(await person.pep_items(jid, STATE))
    except Refused:
        return False


def itself(home) -> Witness:
    """A client that logs in as the node."""
    own = home.account
    return Witness(own.jid, own.password, port=home.server.tls_port, ca_file=home.server.ca_file)


async def roster(witness: Witness) -> set[str]:
    answer = await witness.iq("get", f"<query xmlns='{ROSTER}'/>")
    return {item.get("jid", "") for item in answer.iter(f"{{{ROSTER}}}item")}
