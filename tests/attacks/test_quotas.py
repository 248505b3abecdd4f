"""Using up what there is a bounded number of: whoever was named keeps their place, whoever else comes by the dozen.

The house gives every account of its server a viewer's rights: that is the most that an attacker can have who is nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from tests.attacks.rig import ANYBODYS, PEOPLE, House, besieged

from knoop.xmpp.openforms import IN_ALL
from knoop_bench.errors import Refused
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

CROWD = tuple(f"crowd{number}" for number in range(30))
EVERYBODY = {"anna@localhost": PEOPLE["anna@localhost"], "*@localhost": '"viewer"'}
COMMANDS = "http://jabber.org/protocol/commands"
HISTORY = "<history xmlns='urn:knoop:1:history'/>"
ROOM = "fleet@rooms.localhost"
IN_A_ROOM = f'[room."{ROOM}"]\ncommands = true\n'
HEARD_S = 20.0  # whoever had to wait for all others would wait for ever: they are refused, or ask again


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory, authority) -> AsyncIterator[House]:
    """One house for all of it, and a room."""
    folder = tmp_path_factory.mktemp("quotas")
    async with besieged(folder, authority, people=EVERYBODY, users=CROWD, more=IN_A_ROOM) as made:
        yield made


@pytest.fixture
async def anna(home: House) -> AsyncIterator[Witness]:
    async with home.visit("anna") as owner:
        yield owner


@pytest.fixture
async def crowd(home: House) -> AsyncIterator[list[Witness]]:
    """Thirty accounts, each with its domain's rights."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Witness(home.server.jid(name), ANYBODYS, port=home.server.tls_port, ca_file=home.server.ca_file)
            ) for name in CROWD
        ]  # fmt: skip


def form(verb: str = "watch", *, session: str = "", action: str = "execute") -> str:
    session = f" sessionid='{session}'" if session else ""
    return f"<command xmlns='{COMMANDS}' node='{verb}' action='{action}'{session}/>"


async def tries(person: Witness, kind: str, child: str, to: str) -> str:
    """'' when it was answered with a result, else the condition."""
    try:
        await person.iq(kind, child, to=to)
    except Refused as refusal:
        return refusal.condition
    return ""


async def test_open_forms(home, anna, crowd):
    """A form that the owner has open stays open, and another one opens."""
    device, moved = await home.device(anna), len(home.moves)
    opened = (await anna.iq("set", form("set"), to=device))[0]
    assert opened.get("status") == "executing"
    ends = []
    for one in crowd:
        ends += await asyncio.gather(*(tries(one, "set", form(), device) for _ in range(4)))
    assert ends.count("") >= IN_ALL - 1
    assert ends.count("resource-constraint") > 0, "their places are used up"
    assert (await anna.iq("set", form("set"), to=device))[0].get("status") == "executing"
    ended = await anna.iq("set", form("set", session=opened.get("sessionid", ""), action="cancel"), to=device)
    assert ended[0].get("status") == "canceled"
    await home.unmoved(since=moved)


async def test_a_form_by_a_stranger_does_not_exist(tmp_path, authority):
    async with besieged(tmp_path, authority) as house, house.visit("anna") as anna, house.visit("mallory") as mallory:
        device = await house.device(anna)
        ends = [await tries(mallory, "set", form("set"), device) for _ in range(15)]
        assert set(ends) == {"service-unavailable"}
        assert house.learned(mallory) == []
        await house.unmoved()


async def test_watches(home, crowd):
    """The owner began first and is told last of all, and told."""
    async with home.visit("anna", resource="watching") as watching, home.visit("anna", resource="desk") as desk:
        await home.asks(watching, "watch lamp for 1h", "I tell you what changes")
        for one in crowd:
            one.say(home.jid, "watch lamp for 24h")
        for one in crowd:
            await one.wait(lambda seen: seen.sender_bare == home.jid and "I tell you" in seen.body, 20)
        before, moved = watching.mark, len(home.moves)
        await home.asks(desk, "lamp on", "Lamp is on.")
        await watching.wait(lambda seen: _told(seen, home.jid, "Lamp is on."), 15, after=before)
        assert home.moves[moved:] == [("lamp", True)]
        await home.asks(desk, "lamp off", "Lamp is off.")
        for one in crowd:
            one.say(home.jid, "unwatch")


def _told(seen: Seen, jid: str, text: str) -> bool:
    return seen.sender_bare == jid and seen.body.startswith(text)


async def test_history_requests(home, anna, crowd):
    """Half of the line belongs to those who were named: their pages come while the others wait or are refused."""
    device = await home.device(anna)
    asking = [asyncio.create_task(tries(one, "get", HISTORY, device)) for one in crowd for _ in range(10)]
    try:
        async with asyncio.timeout(HEARD_S):
            for _ in range(5):
                assert await tries(anna, "get", HISTORY, device) == ""
        done, _ = await asyncio.wait(asking, timeout=2.0)  # nobody else is promised an answer
    finally:
        for task in asking:
            task.cancel()
    ends = [task.result() for task in done if task.exception() is None]
    assert ends.count("") < len(asking), "some are refused, or left out"
    assert set(ends) <= {"", "resource-constraint"}


async def test_what_waits_for_an_answer(home, anna, crowd):
    """Each says twenty things at once; the owner, who speaks last, is not behind them."""
    moved = len(home.moves)
    for one in crowd:
        for _ in range(20):
            one.say(home.jid, "status")
    async with asyncio.timeout(HEARD_S):
        await home.asks(anna, "door?", "Front door is ")
    await home.unmoved(since=moved)


async def test_rooms_whose_presences_never_end_do_not_confuse_who_is_who(home, anna, crowd):
    """A thousand changes of nick; then somebody sits on the owner's nick, which the node saw the owner leave."""
    mallory = crowd[0]
    await anna.join(ROOM, "anna")
    await mallory.join(ROOM, "mallory")
    moved = len(home.moves)
    before = anna.mark
    anna.say(ROOM, "greenhouse: lamp on", type="groupchat")
    await anna.wait(lambda seen: seen.type == "groupchat" and seen.body.endswith("Lamp is on."), 15, after=before)
    mallory.send_raw("".join(f"<presence to='{ROOM}/mallory{number}'/>" for number in range(1000)))
    anna.send_raw(f"<presence to='{ROOM}/anna' type='unavailable'/>")
    await anna.ping()
    await mallory.ping(timeout_s=30)
    mallory.send_raw(f"<presence to='{ROOM}/anna'/>")
    mallory.say(ROOM, "greenhouse: lamp off", type="groupchat")
    await mallory.ping(timeout_s=30)
    await home.settled()
    assert home.moves[moved:] == [("lamp", True)], "whoever has the nick is still a viewer"
    await home.asks(anna, "lamp off", "Lamp is off.")
