"""Whether the node is online is for its people: a stranger gets the same answers while it is and while it is not."""

from __future__ import annotations

import itertools

import pytest
from tests.attacks.rig import House, besieged

from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

_numbers = itertools.count(1)
MESSAGES = ("chat", "normal", "headline", "groupchat", "error")
PRESENCES = ("subscribe", "subscribed", "unsubscribe", "probe", "unavailable")
QUESTIONS = (
    "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:last'/>", "<query xmlns='jabber:iq:version'/>",
    "<vCard xmlns='vcard-temp'/>", "<time xmlns='urn:xmpp:time'/>", "<history xmlns='urn:knoop:1:history'/>",
    "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    "<command xmlns='http://jabber.org/protocol/commands' node='status' action='execute'/>",
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:knoop:1:about'/></pubsub>",
)  # fmt: skip


def attempts(to: str) -> list[str]:
    """Everything that a stranger may try, without an id."""
    return [
        *(f"<message to='{to}' type='{kind}'><body>lamp on</body></message>" for kind in MESSAGES),
        f"<message to='{to}' type='chat'><body>hi</body><request xmlns='urn:xmpp:receipts'/></message>",
        *(f"<presence to='{to}' type='{kind}'/>" for kind in PRESENCES), f"<presence to='{to}'/>",
        *(f"<iq to='{to}' type='{kind}'>{question}</iq>" for kind in ("get", "set") for question in QUESTIONS),
    ]


async def answers(house: House, stranger: Witness) -> dict[str, list[str]]:
    """What comes back for each attempt at the node's address and at full ones that somebody may guess."""
    got = {}
    for to in (house.jid, f"{house.jid}/knoop", f"{house.jid}/knoop-aaaaaaaaaaaaaaaa"):
        for attempt in attempts(to):
            before = stranger.mark
            stranger.send_raw(attempt.replace(" to=", f" id='try{next(_numbers)}' to=", 1))
            for _ in range(3):  # the node, if it were to answer, is as near to the server as this client
                await stranger.ping()
            came = [seen for seen in stranger.seen[before:] if seen.sender_bare == house.jid]
            got[attempt] = [
                f"{seen} {[error.tag for error in seen.xml.iterfind('{jabber:client}error/*')]}" for seen in came
            ]
    return got


async def test_a_stranger_gets_the_same_answers_while_the_node_is_online_and_while_it_is_not(tmp_path, authority):
    async with besieged(tmp_path, authority, growth_mb=100) as house:  # the process is another one at the end
        async with house.visit("mallory") as mallory:
            online = await answers(house, mallory)
        await house.unmoved()
        await house.node.stop()
        async with house.visit("mallory2") as mallory:
            offline = await answers(house, mallory)
        assert {attempt: got for attempt, got in online.items() if got != offline[attempt]} == {}
        assert any(online.values()), "its server answers some of it"
        house.node.start()
        await house.node.online(times=2)
