"""What is remembered of those who watch."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from xml.etree import ElementTree as ET

from knoop.jid import Jid
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
    watching = Watching(SimpleNamespace(clock=FakeClock()), session=Session)
    for number in range(10 * PER_PERSON):
        watching.start(Jid("anna", "example.org", f"r{number}"), ["door"], for_s=60)
        await asyncio.gather(*watching._asking)
    assert len(watching._ids) == PER_PERSON
