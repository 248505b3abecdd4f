"""What is remembered of those who watch."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from xml.etree import ElementTree as ET

from tests.node.house import CLEO, PEOPLE, greenhouse

from knoop.access import Access
from knoop.jid import Jid
from knoop.text import Voice
from knoop.watches import PER_PERSON
from knoop.watching import Watching
from knoop.xmpp.outbound import CORRECT
from knoop_hw.clock import FakeClock


class Session:
    """Every client shows corrections."""

    async def iq(self, _kind, _child, **_more):
        answer = ET.Element("iq")
        ET.SubElement(answer, "{http://jabber.org/protocol/disco#info}feature", {"var": CORRECT})
        return answer


async def test_devices_that_come_and_go_leave_nothing_behind():
    watching = Watching(SimpleNamespace(clock=FakeClock(), access=Access(PEOPLE)), session=Session)
    for number in range(10 * PER_PERSON):
        watching.start(Jid("anna", "example.org", f"r{number}"), ["door"], for_s=60)
        await asyncio.gather(*watching._asking)
    assert len(watching._ids) == PER_PERSON


async def test_one_message_that_changes_says_when_a_button_was_pressed(tmp_path):
    """Hours later it still stands there, and the lamp that changed is why it is said again."""
    sent = []
    session = Session()
    session.send = sent.append
    session.last_message = lambda _watcher: ""
    async with greenhouse(tmp_path) as house:
        house.voice = lambda lang: Voice(lang=lang, channels=house.channels, now_ns=house.now_ns)
        watching = Watching(house, session=lambda: session)
        await house.report("button", "click")
        await house.clock.advance(7200)
        watching.start(CLEO, ["button", "lamp"], for_s=60)
        await asyncio.gather(*watching._asking)
        watching.feed(await house.report("lamp", True))
    [message] = sent
    body = message.findtext("{jabber:client}body")
    assert body.splitlines()[:2] == ["Button: pressed, 2 h ago.", "Lamp is on."]
