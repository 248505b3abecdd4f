"""The block lists of servers (XEP-0191): whom the node's account blocked, who blocked the node, and our own use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from tests.attacks.rig import ANYBODYS, House, besieged, visitor

from knoop.jid import Jid
from knoop.xmpp import blocking
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_bench.errors import Refused
from knoop_bench.witness import Witness
from knoop_hw.clock import SystemClock

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

LIST = "xmlns='urn:xmpp:blocking'"
SOON_S = 15.0
ALERT = '[alert.burglar]\nwhen = "door == on"\n[room."{room}"]\nclasses = ["alarm"]\n'
OPENING = 'trace = "board.jsonl"\nrepeat = "2s"\n[[step]]\nat = "500ms"\nline = "door"\nvalue = true\n'
OPENING += '[[step]]\nat = "1500ms"\nline = "door"\nvalue = false\n[sensor.air]\ntemperature = 12\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory, authority) -> AsyncIterator[House]:
    """The door opens every two seconds, which is an alarm to everybody."""
    folder = tmp_path_factory.mktemp("blocking")
    async with besieged(
        folder, authority, scenario=OPENING, more=ALERT.format(room="hall@rooms.localhost")
    ) as made:
        yield made


anna = visitor("anna")


@asynccontextmanager
async def session(house: House, user: str, heard: list[str | None]) -> AsyncIterator[Session]:
    """A login by the node's own code, as another account; `heard` are the ids of the messages that come."""
    login = Account(
        jid=Jid(user, "localhost", "blocks"), password=ANYBODYS, host="127.0.0.1", port=house.server.tls_port,
        ca_file=house.server.ca_file,
    )
    opened = await Session.open(
        login, clock=SystemClock(), context=tls_context(login), on_presence=lambda _stanza: None,
        on_message=lambda stanza, _late: heard.append(stanza.get("id")), admits=lambda _sender: True,
    )
    try:
        yield opened
    finally:
        await opened.close()


async def alarm(person: Witness, house: House) -> None:
    """Wait for the next alarm about the door."""
    await person.wait(
        lambda seen: seen.type == "chat" and seen.sender_bare == house.jid and "Front door" in seen.body, SOON_S,
        after=person.mark,
    )


async def test_whom_the_account_blocked_hurts_nothing(house, anna):
    """A person with rights whom another client of the account blocked: ours to them come back, theirs never come."""
    before = len(house.moves)
    async with house.account() as owner, house.visit("bram") as bram:
        await owner.iq("set", f"<block {LIST}><item jid='bram@localhost'/></block>")
        try:
            after, lines = bram.mark, len(house.audited("bram@localhost"))
            bram.say(house.jid, "lamp on")
            with pytest.raises(Refused):
                await bram.iq("get", "<query xmlns='jabber:iq:version'/>", to=await house.device(anna))
            await alarm(anna, house)
            await alarm(anna, house)
            await house.asks(anna, "allow bram@localhost operator only lamp", "bram@localhost: operator")
            await house.unmoved(since=before)
            assert len(house.audited("bram@localhost")) == lines
            said = [seen for seen in bram.seen[after:] if seen.sender_bare == house.jid and seen.body]
            assert not [seen for seen in said if seen.type != "error"]
        finally:
            await owner.iq("set", f"<unblock {LIST}><item jid='bram@localhost'/></unblock>")
        await house.asks(bram, "lamp on", "Lamp is on.")
        await house.asks(bram, "lamp off", "Lamp is off.")


async def test_somebody_who_blocks_the_node_is_nobodys_trouble(house, anna):
    """Every message and request to them comes back; others go on to hear everything, and so do they afterwards."""
    async with house.visit("vera", resource="away") as vera:
        await house.asks(vera, "watch door for 1h", "I tell you")
        await vera.iq("set", f"<block {LIST}><item jid='{house.jid}'/></block>")
        after = vera.mark
        for _ in range(3):
            await alarm(anna, house)
        await house.asks(anna, "status", "")
        await vera.ping()
        assert not [seen for seen in vera.seen[after:] if seen.sender_bare == house.jid and seen.body]
        log = house.node.log.count("vera@localhost")
        assert log <= 3, "a bounce each time is not a line each time"
        await vera.iq("set", f"<unblock {LIST}><item jid='{house.jid}'/></unblock>")
        await house.asks(vera, "door?", "")
        await house.asks(vera, "unwatch", "")


async def test_the_accounts_whole_list_may_be_emptied_or_filled_under_way(house, anna):
    """Pushes of the list come to every client of the account; the node needs none of them."""
    async with house.account() as owner:
        await owner.iq("get", f"<blocklist {LIST}/>")
        for number in range(20):
            await owner.iq("set", f"<block {LIST}><item jid='spam{number}@localhost'/></block>")
        await owner.iq("set", f"<unblock {LIST}/>")
        await house.asks(anna, "about", "Knoop ")


async def test_blocked_by_us_their_stanzas_never_come_and_they_learn_that_nobody_is_there(house):
    """`blocking` at a real server: twice is fine, one of several goes, and nobody else is touched."""
    mallory, other = Jid("mallory", "localhost", "x"), Jid("mallory2", "localhost")
    heard: list[str | None] = []
    async with session(house, "vera", heard) as ours, house.visit("mallory") as attacker:
        await blocking.block(ours, mallory)
        await blocking.block(ours, mallory)
        await blocking.block(ours, other)
        assert await blocking.blocked(ours) == {mallory.bare, other}
        attacker.say(str(ours.jid), "lamp on", id="blocked")
        await attacker.ping()
        with pytest.raises(Refused) as refused:
            await attacker.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=str(ours.jid))
        assert refused.value.condition == "service-unavailable"
        await blocking.unblock(ours, mallory)
        assert await blocking.blocked(ours) == {other}
        attacker.say(str(ours.jid), "lamp on", id="heard")
        async with asyncio.timeout(SOON_S):
            while not heard:
                await ours.ping()
        assert heard == ["heard"]
        await blocking.unblock(ours, mallory)
        assert await blocking.blocked(ours) == {other}, "who is not on it is not taken off: that would be everybody"
        await blocking.unblock(ours, other)


async def test_a_list_of_somebody_else_is_not_ours_to_change(house, anna):
    """A person with rights sends the node a push of a list (§3.3 asks who it is from)."""
    before = len(house.moves)
    device = await house.device(anna)
    for what in (f"<block {LIST}><item jid='anna@localhost'/></block>", f"<unblock {LIST}/>"):
        async with house.visit("vera", resource="pusher") as vera:
            try:
                async with asyncio.timeout(SOON_S):
                    await vera.iq("set", what, to=device)
            except Refused:
                pass
    async with house.account() as owner:
        answer = await owner.iq("get", f"<blocklist {LIST}/>")
        assert not [item.get("jid") for item in answer.iter("{urn:xmpp:blocking}item")]
    await house.unmoved(since=before)
    await house.asks(anna, "about", "Knoop ")
