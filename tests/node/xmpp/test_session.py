"""What can be asked of a session, without a server."""

from __future__ import annotations

import ssl
from xml.etree import ElementTree as ET

import pytest

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp.account import Account
from knoop.xmpp.session import Session
from knoop_hw.clock import FakeClock


async def test_a_phone_whose_name_slixmpp_does_not_know_is_not_asked():
    session = Session(
        Account(jid=Jid("greenhouse", "example.org", "knoop"), password="secret"), clock=FakeClock(),
        context=ssl.create_default_context(), on_message=lambda _stanza, _late: None,
        on_presence=lambda _stanza: None, admits=lambda _sender: False,
    )  # fmt: skip
    session._stream.session_bind_event.set()
    try:
        with pytest.raises(Refusal, match="📱 has a name that slixmpp") as caught:
            await session.iq("get", ET.Element("{urn:xmpp:ping}ping"), to="anna@example.org/📱")
        assert caught.value.condition == "jid-malformed"
    finally:
        await session.close()
