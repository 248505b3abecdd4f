"""What the other tests of this folder stand on: the rig sees what moves, what is audited, and who learned something."""

from __future__ import annotations

import pytest

from knoop_bench.errors import Refused

pytestmark = pytest.mark.prosody
PING = "<ping xmlns='urn:xmpp:ping'/>"


async def test_an_owner_moves_a_lamp_and_the_rig_sees_it(house, anna):
    await house.asks(anna, "lamp on", "Lamp is on.")
    assert house.moves == [("lamp", True)]
    with pytest.raises(AssertionError):
        await house.unmoved()
    await house.unmoved(since=1)
    assert [(line.action, line.result) for line in house.audited(anna.full_jid)] == [("lamp on", "done")]
    assert house.learned(anna)


async def test_a_stranger_moves_nothing_and_the_rig_sees_that_they_learned_nothing(house, mallory, anna):
    mallory.say(house.jid, "lamp on")
    with pytest.raises(Refused, match="service-unavailable"):
        await mallory.iq("get", PING, to=await house.device(anna))
    with pytest.raises(Refused, match="service-unavailable"):
        await mallory.iq("get", PING, to=house.jid + "/nobody")
    await house.unmoved()
    assert house.learned(mallory) == []
    assert [line.action for line in house.audited("mallory@localhost")] == ["lamp on"]


async def test_a_node_at_a_server_that_is_the_attacker_is_seen_too(captive):
    await captive.settled()
    await captive.asks("lamp on", rb"Lamp is on")
    assert captive.moves == [("lamp", True)]
    await captive.peer.say("</stream:stream>")
    await captive.again(2)
    await captive.unmoved(since=1)
    assert [line.action for line in captive.audited("anna@localhost")] == ["lamp on"]
