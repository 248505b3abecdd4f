"""The subscriber that judges nodes, against a server that dies and an account that publishes what the test says."""

from __future__ import annotations

import pytest

from knoop_bench.errors import LoginFailed, NotSeen
from knoop_bench.ports import free_ports
from knoop_bench.prosody import Prosody
from knoop_bench.seen import PUBSUB
from knoop_bench.subscriber import Subscriber
from knoop_bench.witness import EVENTS, Witness

OPEN = (
    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
    "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='pubsub#access_model'><value>open</value></field>"
    "<field var='pubsub#send_last_published_item'><value>never</value></field></x>"
)


def event(seq: int, channel: str = "door") -> str:
    return (
        f"<pubsub xmlns='{PUBSUB}'><publish node='{EVENTS}'><item id='{seq}'>"
        "<readings xmlns='urn:knoop:1:readings' run='k3v9q2xa' at='2026-11-22T10:15:03Z'>"
        f"<boolean channel='{channel}' seq='{seq}' class='event'>true</boolean></readings></item></publish>"
        f"<publish-options>{OPEN}</publish-options></pubsub>"
    )


async def test_nobody_there_is_said(authority):
    [port] = free_ports(1)
    with pytest.raises(LoginFailed, match="no login within"):
        async with Subscriber(
            lambda: Witness("anna@localhost", "secret", port=port, ca_file=authority.ca_file, login_s=0.1),
            "greenhouse@localhost", login_s=0.1,
        ):
            pass


@pytest.mark.prosody
async def test_it_comes_back_after_a_server_that_died_and_knows_what_it_missed(tmp_path, authority):
    accounts = dict.fromkeys(("greenhouse", "anna"), "secret")
    async with Prosody(tmp_path / "server", accounts, authority=authority) as server:
        def client(user):
            return Witness(server.jid(user), "secret", port=server.tls_port, ca_file=server.ca_file, notify=())

        node_jid = server.jid("greenhouse")
        async with Subscriber(lambda: client("anna"), node_jid, node_full=f"{node_jid}/x", nodes=(EVENTS,)) as sub:
            async with client("greenhouse") as node:
                with pytest.raises(NotSeen, match=r"no subscription within .*forbidden"):
                    await sub.ready(within_s=0.1)
                await node.iq("set", event(1))
                await sub.ready()
                await node.iq("set", event(2))
                await sub.until(lambda verdict: verdict.readings == 1, within_s=10)
                await server.kill()
            await server.start()
            async with client("greenhouse") as node:
                await sub.ready()
                assert sub.logins == 2
                await node.iq("set", event(4))
                await node.iq("set", event(4))
                await node.iq("set", event(3, channel="lamp"))
                verdict = await sub.until(lambda verdict: verdict.readings == 3, within_s=10)
                assert verdict.lost == tuple(f"k3v9q2xa-{which}" for which in ("door-1", "door-3", "lamp-1", "lamp-2"))
                assert (verdict.arrivals, verdict.repeats) == (4, 1)
                with pytest.raises(NotSeen, match=r"gaps not closed within .*service-unavailable"):
                    await sub.close_gaps(within_s=0.5)
