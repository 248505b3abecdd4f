"""A pub-sub service beside PEP. tests/interop has the same on two servers, and more of it."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.running import NODE, SCENARIO, Way, running, write

from knoop_bench.errors import Refused
from knoop_bench.prosody_config import Options
from knoop_bench.seen import PUBSUB
from knoop_bench.witness import EVENTS, Witness

pytestmark = pytest.mark.prosody
MOVING = f"""{SCENARIO}
repeat = "400ms"
[[step]]
at = "100ms"
line = "door"
value = true
[[step]]
at = "200ms"
line = "door"
value = false
"""


async def test_a_reader_of_a_service_is_served_until_the_rights_are_revoked(tmp_path, serve):
    accounts = dict.fromkeys((NODE, "anna", "bram"), "secret")
    server = await serve(accounts=accounts, options=Options(pubsub_owners=(NODE,)))
    node_jid, events = server.jid(NODE), f"{EVENTS}/{server.jid(NODE)}"
    write(tmp_path, Way.to(server), jid=node_jid, scenario=MOVING, more=f'[publish]\npubsub = "{server.pubsub}"')

    def client(user, **more):
        return Witness(server.jid(user), "secret", port=server.tls_port, ca_file=server.ca_file, notify=(), **more)

    async def subscribed(reader):
        request = f"<subscribe node='{events}' jid='{reader.jid}'/>"
        await reader.iq("set", f"<pubsub xmlns='{PUBSUB}'>{request}</pubsub>", to=server.pubsub)

    async with running(tmp_path) as node, client("anna", friends=[node_jid]) as anna, client("bram") as bram:
        await node.online()
        await anna.wait(lambda seen: seen.kind == "presence" and seen.sender == f"{node_jid}/knoop")
        with pytest.raises(Refused):
            await subscribed(bram)
        after = anna.mark
        anna.say(node_jid, f"allow {bram.jid} viewer")
        await anna.wait(lambda seen: seen.body.startswith(f"{bram.jid}: viewer"), after=after)
        await until(lambda: subscribed(bram), refused=False)
        # First comes the last item there was, and that is the lamp's until the door has moved.
        seen = await bram.wait(lambda seen: [item.payload[0].get("channel") for item in seen.items] == ["door"])
        assert seen.items[0].node == events
        anna.say(node_jid, f"revoke {bram.jid}")
        await until(lambda: bram.pep_items(server.pubsub, events), refused=True)
        with pytest.raises(Refused):
            await subscribed(bram)
        await bram.ping()
        after = bram.mark
        await until(lambda: subscribed(anna), refused=False)
        first = await anna.wait(lambda seen: bool(seen.items))
        await anna.wait(lambda seen: bool(seen.items), after=first.number + 1)
        await bram.ping()
        assert not [seen for seen in bram.seen[after:] if seen.items]


async def until(wish, *, refused: bool) -> None:
    """Ask until the answer is a refusal, or until it is none."""
    async with asyncio.timeout(10):
        while True:
            try:
                await wish()
            except Refused:
                if refused:
                    return
            else:
                if not refused:
                    return
            await asyncio.sleep(0.02)
