"""Rooms (XEP-0045): who speaks there is who the room says it is, and the room is one of the node's own server.

The room is non-anonymous and takes commands, which is the most that a node ever allows one.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.rig import GROWTH_MB, House, besieged
from tests.integration.running import until

from knoop_bench.errors import NotSeen, Refused
from knoop_bench.witness import Witness

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

ROOM = "hall@rooms.localhost"
NODE = f"{ROOM}/greenhouse"
TABLE = f'[room."{ROOM}"]\nclasses = ["alarm"]\ncommands = true\n'
USER = "xmlns='http://jabber.org/protocol/muc#user'"
SOON_S = 15.0
LINE = "greenhouse: lamp on"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory, authority) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("rooms")
    async with besieged(folder, authority, more=TABLE, users=("аnna",), growth_mb=GROWTH_MB + 50) as made:
        await made.node.says(f"room {ROOM} did not exist")
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def anna(house) -> AsyncIterator[Witness]:
    """The owner, in the room as anna."""
    async with house.visit("anna") as witness:
        await witness.join(ROOM, "anna")
        yield witness


@pytest_asyncio.fixture(loop_scope="module")
async def mallory(house) -> AsyncIterator[Witness]:
    """A stranger who is in the room as well."""
    async with house.visit("mallory") as witness:
        await witness.join(ROOM, "mallory")
        yield witness


async def taken(house: House, who: str, lines: int) -> None:
    """Return when the audit log has more than so many lines of somebody."""
    await until(lambda: len(house.audited(who)) > lines, lambda: f"nothing of {who} in the audit log", SOON_S)


async def off(house: House, anna: Witness) -> int:
    """The lamp is off, as its owner says in a chat of her own; how often anything has moved so far."""
    await house.asks(anna, "lamp off", "Lamp is off.")
    return len(house.moves)


async def test_the_owner_is_heard_by_name(house, anna):
    before = await off(house, anna)
    anna.say(ROOM, LINE, type="groupchat")
    await until(lambda: house.moves[before:] == [("lamp", True)], lambda: house.node.log, SOON_S)


@pytest.mark.parametrize("line", [
    LINE, "greenhouse lamp on", "@greenhouse lamp on", "all: lamp on", "lamp on", "greenhouse: status",
    "greenhouse: allow mallory@localhost owner", "greenhouse: lock on", "anna: greenhouse: lamp on",
    "> greenhouse: lamp on",
])  # fmt: skip
async def test_a_stranger_in_the_room_is_met_with_silence(house, anna, mallory, line):
    before = await off(house, anna)
    after = mallory.mark
    mallory.say(ROOM, line, type="groupchat")
    await house.unmoved(since=before)
    assert not [seen for seen in mallory.seen[after:] if seen.sender == NODE and seen.body]
    assert {line.result for line in house.audited(mallory.full_jid)} <= {"refused: stranger"}
    assert house.learned(mallory) == []


async def test_nick_takeover_gives_nobody_the_owners_rights(house, anna, mallory):
    before = await off(house, anna)
    mallory.send_raw(f"<presence to='{ROOM}/anna'/>")  # while she is there it is hers
    await mallory.wait(lambda seen: seen.sender == f"{ROOM}/anna" and seen.type == "error")
    after = mallory.mark
    anna.send_raw(f"<presence to='{ROOM}/anna' type='unavailable'/>")
    await mallory.wait(lambda seen: seen.sender == f"{ROOM}/anna" and seen.type == "unavailable", after=after)
    mallory.send_raw(f"<presence to='{ROOM}/anna'/>")
    await mallory.wait(lambda seen: seen.sender == f"{ROOM}/anna" and "110" in seen.statuses, after=after)
    lines = len(house.audited(mallory.full_jid))
    mallory.say(ROOM, LINE, type="groupchat")
    await taken(house, mallory.full_jid, lines)
    last = house.audited(mallory.full_jid)[-1]
    assert (last.action, last.result) == (LINE, "refused: stranger")
    assert last.via.startswith("room")
    await house.unmoved(since=before)


@pytest.mark.parametrize("forged", [
    f"<x {USER}><item jid='anna@localhost/phone' affiliation='owner' role='moderator'/></x>",
    f"<x {USER}><item jid='anna@localhost/phone' affiliation='owner' role='moderator'/><status code='110'/></x>",
    f"<x {USER}><item jid='anna@localhost'/></x><x {USER}><item jid='anna@localhost'/></x>",
    "<nick xmlns='http://jabber.org/protocol/nick'>anna</nick>",
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='anna'/>",
])  # fmt: skip
async def test_an_address_that_an_occupant_writes_into_its_presence_is_nobodys(house, anna, mallory, forged):
    """Through the room, and straight to the node."""
    before = await off(house, anna)
    for to in (f"{ROOM}/mallory", house.jid, await house.device(anna)):
        mallory.send_raw(f"<presence to='{to}'>{forged}</presence>")
    lines = len(house.audited(mallory.full_jid))
    mallory.send_raw(
        f"<message to='{ROOM}' type='groupchat' id='forged'><body>{LINE}</body>{forged}</message>"
    )
    await taken(house, mallory.full_jid, lines)
    await house.unmoved(since=before)
    mallory.send_raw(f"<presence to='{house.jid}' type='unavailable'/>")


async def test_who_comes_in_with_a_forged_address_is_who_they_are(house, anna):
    before = await off(house, anna)
    async with house.visit("mallory2") as other:
        other.send_raw(
            f"<presence to='{ROOM}/annа'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>"
            f"<x {USER}><item jid='anna@localhost/phone' role='moderator'/></x></presence>"
        )
        await other.wait(lambda seen: seen.sender_bare == ROOM and "110" in seen.statuses)
        lines = len(house.audited(other.full_jid))
        other.say(ROOM, LINE, type="groupchat")
        await taken(house, other.full_jid, lines)
        await house.unmoved(since=before)


@pytest.mark.parametrize("sender", ["", f"{ROOM}/anna", ROOM, "anna@localhost/phone"])
async def test_a_line_that_did_not_come_through_the_room_is_no_line(house, anna, mallory, sender):
    """Fake groupchat straight from a user; Prosody stamps who it was, or throws them out."""
    before = await off(house, anna)
    device = await house.device(anna)
    forged = f" from='{sender}'" if sender else ""
    async with house.visit("mallory2") as other:
        for to in (house.jid, device):
            other.send_raw(f"<message{forged} to='{to}' type='groupchat' id='fake'><body>{LINE}</body></message>")
        try:
            await other.ping(timeout_s=2)
        except (NotSeen, Refused, ConnectionError):
            pass
        await house.unmoved(since=before)
        assert house.learned(other) == []


async def test_a_private_message_or_request_through_the_room_is_heard_from_nobody(house, anna, mallory):
    """An occupant's address is no identity, the owner's neither: they have a chat of their own."""
    before = await off(house, anna)
    for person in (mallory, anna):
        after = person.mark
        for kind in ("chat", "normal"):
            person.send_raw(
                f"<message to='{NODE}' type='{kind}' id='private'><body>lamp on</body><x {USER}/></message>"
            )
        for kind, what in (("set", "<command xmlns='http://jabber.org/protocol/commands' node='set'/>"),
                           ("get", "<query xmlns='jabber:iq:version'/>")):
            with pytest.raises((Refused, NotSeen)):  # of many requests some get no answer at all
                await person.iq(kind, what, to=NODE, timeout_s=0.5)
        await house.unmoved(since=before)
        assert not [seen for seen in person.seen[after:] if seen.sender == NODE and seen.type == "chat"]


@pytest.mark.parametrize("inside", [
    f"<body>{LINE}</body><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>",
    f"<body>{LINE}</body><replace xmlns='urn:xmpp:message-correct:0' id='earlier'/>",
    f"<subject>{LINE}</subject>",
    f"<body>{LINE}</body><subject>x</subject><thread>y</thread><apply-to xmlns='urn:xmpp:fasten:0' id='1'/>"
    "<moderated xmlns='urn:xmpp:message-moderate:0'/><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>",
    "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='hall@rooms.localhost/anna' "
    f"type='groupchat'><body>{LINE}</body></message></forwarded>",
])  # fmt: skip
async def test_the_owners_own_line_counts_only_live_and_as_it_was_said(house, anna, inside):
    before = await off(house, anna)
    anna.send_raw(f"<message to='{ROOM}' type='groupchat' id='late'>{inside}</message>")
    await house.unmoved(since=before)


async def test_an_anonymous_room_gives_nobody_rights_not_even_its_owner(house, anna, mallory):
    """From the moment when the room hides addresses; and when it shows them again it is the room that says so."""
    before = await off(house, anna)

    async def whois(owner: Witness, who: str) -> None:
        fields = (
            "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
            f"<field var='muc#roomconfig_whois'><value>{who}</value></field>"
        )
        after = anna.mark
        await owner.iq(
            "set", "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"
            f"{fields}</x></query>", to=ROOM,
        )
        told = {"172", "173", "174"}
        await anna.wait(lambda seen: seen.sender == ROOM and not told.isdisjoint(seen.statuses), after=after)

    async with house.account() as owner:
        await whois(owner, "moderators")
        for person in (anna, mallory):
            person.say(ROOM, LINE, type="groupchat")
        await house.unmoved(since=before)
        await whois(owner, "anyone")
    mallory.say(ROOM, LINE, type="groupchat")
    await house.unmoved(since=before)


async def test_what_a_room_remembers_does_not_act_again(house, anna):
    """The node comes back into a room whose history ends with the owner's command."""
    before = await off(house, anna)
    anna.say(ROOM, "greenhouse: pump on", type="groupchat")
    await until(lambda: house.moves[before:] == [("pump", True)], lambda: house.node.log, SOON_S)
    logins = house.node.log.count("connected as")
    await house.node.stop(signal.SIGTERM)
    before, after = len(house.moves), anna.mark
    house.node.start()
    await house.node.online(times=logins + 1)
    await anna.wait(lambda seen: seen.kind == "presence" and seen.sender == NODE and not seen.type, SOON_S, after=after)
    await house.settled()
    assert ("pump", True) not in house.moves[before:]


async def test_who_took_the_nodes_nick_is_called_by_it_and_nothing_else_moves(house, anna, mallory):
    """Somebody sits on the node's nick when it comes back: what is said to that nick is said to them."""
    logins = house.node.log.count("connected as")
    after = mallory.mark
    await house.node.stop(signal.SIGTERM)
    await mallory.wait(lambda seen: seen.sender == NODE and seen.type == "unavailable", SOON_S, after=after)
    mallory.send_raw(f"<presence to='{NODE}'/>")
    await mallory.wait(lambda seen: seen.sender == NODE and "110" in seen.statuses, SOON_S, after=after)
    after = anna.mark
    house.node.start()
    await house.node.online(times=logins + 1)
    await anna.wait(
        lambda seen: seen.kind == "presence" and seen.sender.startswith(NODE) and seen.sender != NODE and not seen.type,
        SOON_S, after=after,
    )
    before = len(house.moves)
    anna.say(ROOM, LINE, type="groupchat")
    mallory.say(ROOM, "Lamp is on.", type="groupchat")
    await house.unmoved(since=before)
