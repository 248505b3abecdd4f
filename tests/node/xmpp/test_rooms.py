"""A room that misbehaves costs its own deliveries and nobody else's."""

import asyncio
from xml.etree import ElementTree as ET

import pytest

from knoop.errors import LinkError, Refusal
from knoop.jid import Jid
from knoop.xmpp import rooms
from knoop.xmpp.rooms import Room

FLEET = Jid("fleet", "rooms.example.org")


class Session:
    """A session whose link never ends; what is sent is kept."""

    def __init__(self):
        self.sent = []

    def send(self, stanza):
        self.sent.append(stanza)

    async def or_lost(self, waited):
        return await waited


def presence(text):
    return ET.fromstring(f"<presence xmlns='jabber:client' from='{FLEET}/node' {text}</presence>")


def message(text):
    return ET.fromstring(f"<message xmlns='jabber:client' {text}</message>")


SELF = presence("><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x>")


@pytest.fixture
async def room():
    return Room(Session(), FLEET, "node")


async def joined(room):
    task = asyncio.create_task(room.join())
    await asyncio.sleep(0)
    room.handle(SELF)
    await task
    return room


async def test_a_room_that_does_not_answer_is_a_refusal_not_a_lost_link(room, monkeypatch):
    monkeypatch.setattr(rooms, "JOIN_TIMEOUT_S", 0.01)
    with pytest.raises(Refusal, match="did not answer"):
        await room.join()


async def test_a_room_that_reflects_nothing_is_left(room, monkeypatch):
    monkeypatch.setattr(rooms, "REFLECT_TIMEOUT_S", 0.01)
    await joined(room)
    with pytest.raises(Refusal, match="did not reflect"):
        await room.say("hello", "id1")
    with pytest.raises(Refusal, match="no longer in it"):
        await room.lost()


async def test_a_room_that_forgot_us_is_left_so_that_it_is_joined_again(room):
    await joined(room)
    task = asyncio.create_task(room.say("hello", "id1"))
    await asyncio.sleep(0)
    error = "<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    room.handle(message(f"from='{FLEET}' type='error' id='id1'>{error}"))
    with pytest.raises(Refusal):
        await task
    with pytest.raises(Refusal):
        await room.lost()


async def test_only_our_own_reflection_counts(room):
    await joined(room)
    task = asyncio.create_task(room.say("hello", "id1"))
    await asyncio.sleep(0)
    room.handle(message(f"from='{FLEET}/mallory' type='groupchat' id='id1'>"))
    await asyncio.sleep(0)
    assert not task.done()
    room.handle(message(f"from='{FLEET}/node' type='groupchat' id='id1'>"))
    await task


async def test_being_kicked_says_so(room):
    await joined(room)
    codes = "<status code='110'/><status code='307'/>"
    room.handle(presence(f"type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'>{codes}</x>"))
    with pytest.raises(Refusal, match="was kicked"):
        await room.lost()


async def test_nothing_is_shown_before_the_join_is_done(room):
    room.show("frost", "dnd")
    assert room._session.sent == []


async def test_a_refused_join_names_the_remedy(room):
    task = asyncio.create_task(room.join())
    await asyncio.sleep(0)
    conflict = "<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    room.handle(presence(f"type='error'>{conflict}"))
    with pytest.raises(Refusal, match="set another 'nick'") as refused:
        await task
    assert refused.value.condition == "conflict"


# Who is in it -------------------------------------------------------------------------------------------------------

USER = "http://jabber.org/protocol/muc#user"
SHOWN = presence(f"><x xmlns='{USER}'><status code='100'/><status code='110'/></x>")


def occupant(nick, inner="", *, kind="", jid="anna@example.org/phone", role="participant"):
    item = f"<item xmlns='{USER}' affiliation='none' role='{role}' jid='{jid}'/>" if jid else ""
    return ET.fromstring(
        f"<presence xmlns='jabber:client' from='{FLEET}/{nick}' {kind}>{inner}<x xmlns='{USER}'>{item}</x></presence>"
    )


@pytest.fixture
async def open_room():
    room = Room(Session(), FLEET, "node", keeps_jids=True)
    task = asyncio.create_task(room.join())
    await asyncio.sleep(0)
    room.handle(SHOWN)
    await task
    return room


def who(room, nick):
    known = room.occupants.get(nick)
    return str(known.jid) if known and known.jid else ""


async def test_a_non_anonymous_room_shows_who_is_behind_a_nick_until_they_leave(open_room):
    assert open_room.shows_jids
    open_room.handle(occupant("anna"))
    assert who(open_room, "anna") == "anna@example.org/phone"
    open_room.handle(occupant("anna", kind="type='unavailable'"))
    assert "anna" not in open_room.occupants


async def test_an_address_that_an_occupant_wrote_is_nobodys(open_room):
    """A service should take such an element out of a presence; one that does not must not make anybody an owner."""
    forged = f"<x xmlns='{USER}'><item jid='owner@example.org'/></x>"
    open_room.handle(occupant("mallory", forged, jid="mallory@example.net"))
    assert not who(open_room, "mallory")
    open_room.handle(occupant("mallory", forged, jid=""))
    assert who(open_room, "mallory") == "owner@example.org", "as the room itself would say it"


async def test_an_occupant_that_claims_to_be_us_is_not(open_room):
    forged = f"<x xmlns='{USER}'><status code='110'/><status code='307'/></x>"
    open_room.handle(occupant("mallory", forged))
    assert open_room.nick == "node"
    open_room.handle(occupant("mallory", forged, kind="type='unavailable'"))
    assert open_room.joined


async def test_where_no_commands_are_taken_nobodys_address_is_kept():
    room = Room(Session(), FLEET, "node")
    room.handle(occupant("anna"))
    assert who(room, "anna") == ""
    assert "anna" in room.occupants


async def test_occupants_are_bounded(open_room, monkeypatch):
    monkeypatch.setattr(rooms, "MOST_OCCUPANTS", 3)
    for number in range(10):
        open_room.handle(occupant(f"n{number}"))
    assert len(open_room.occupants) == 3
    open_room.handle(occupant("n1", jid="bram@example.org"))
    assert who(open_room, "n1") == "bram@example.org"


def config_change(code, sender=FLEET):
    return message(f"from='{sender}' type='groupchat'><x xmlns='{USER}'><status code='{code}'/></x>")


@pytest.mark.parametrize("code", ["173", "174"])
async def test_a_room_that_hides_addresses_from_now_on_forgets_them(open_room, code):
    open_room.handle(occupant("anna"))
    open_room.handle(config_change(code))
    assert not open_room.shows_jids
    assert who(open_room, "anna") == ""
    open_room.handle(config_change("172"))
    assert open_room.shows_jids
    assert who(open_room, "anna") == "", "who that is says the next presence"


async def test_only_the_room_itself_says_what_it_shows(room):
    await joined(room)
    assert not room.shows_jids
    room.handle(config_change("172", f"{FLEET}/mallory"))
    room.handle(occupant("mallory", f"<x xmlns='{USER}'><status code='172'/><status code='100'/></x>"))
    assert not room.shows_jids


async def test_a_presence_that_shows_how_we_are_changes_nothing_about_who_is_shown(open_room):
    open_room.handle(SELF)
    assert open_room.shows_jids


# Out and mute -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "why"), [("301", "banned"), ("307", "kicked"), ("321", "members"), ("322", "members"), ("332", "out"),
                       ("0", "out")],
)  # fmt: skip
async def test_why_we_are_out_is_known(open_room, codes, why):
    inner = f"<x xmlns='{USER}'><status code='110'/><status code='{codes}'/></x>"
    open_room.handle(presence(f"type='unavailable'>{inner}"))
    assert (open_room.why, open_room.joined, open_room.entered) == (why, False, True)


async def test_a_destroyed_room_says_where_it_went(open_room):
    inner = f"<x xmlns='{USER}'><item role='none'/><destroy jid='new@rooms.example.org'/></x>"
    open_room.handle(presence(f"type='unavailable'>{inner}"))
    assert (open_room.why, open_room.alternate) == ("destroyed", "new@rooms.example.org")


class Answering(Session):
    """A session whose requests are answered as told."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    async def iq(self, _kind, _child, *, to):
        assert to == f"{FLEET}/node"
        if isinstance(self.answer, Exception):
            raise self.answer


@pytest.mark.parametrize(
    ("answer", "inside"),
    [
        (None, True),
        (Refusal("service-unavailable", ""), True),
        (Refusal("feature-not-implemented", ""), True),
        (Refusal("item-not-found", ""), True),
        (Refusal("remote-server-not-found", ""), True),
        (Refusal("remote-server-timeout", ""), True),
        (LinkError("no answer"), True),
        (Refusal("not-acceptable", ""), False),
        (Refusal("not-allowed", ""), False),
        (Refusal("forbidden", ""), False),
    ],
)
async def test_what_the_answer_to_our_own_ping_proves(answer, inside):
    """XEP-0410 §3.2."""
    room = await joined(Room(Answering(answer), FLEET, "node"))
    await room.ping()
    assert room.joined is inside


async def test_an_occupant_who_says_that_it_is_us_is_not(room):
    """While we join, the room tells which presence is ours; what an occupant writes stands beside that."""
    task = asyncio.create_task(room.join())
    await asyncio.sleep(0)
    forged = f"<x xmlns='{USER}'><status code='110'/><status code='100'/></x>"
    forged += f"<x xmlns='{USER}'><item role='visitor'/></x>"
    room.handle(ET.fromstring(f"<presence xmlns='jabber:client' from='{FLEET}/mallory'>{forged}</presence>"))
    await asyncio.sleep(0)
    assert not room.entered
    room.handle(SELF)
    await task
    assert (room.nick, room.shows_jids) == ("node", False)


async def test_a_nick_that_slixmpp_cannot_send_is_refused_at_once_and_says_so():
    """It would drop the presence and say nothing; Prosody 0.12 refuses these nicks, too (measured)."""
    session = Session()
    room = Room(session, FLEET, "🌱 Kas")
    with pytest.raises(Refusal, match="set another 'nick'"):
        await room.join()
    assert room.why == "refused"
    assert not session.sent


async def test_a_refused_line_mutes_us_until_we_are_given_voice(open_room):
    task = asyncio.create_task(open_room.say("hello", "id1"))
    await asyncio.sleep(0)
    error = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    open_room.handle(message(f"from='{FLEET}' type='error' id='id1'>{error}"))
    with pytest.raises(Refusal):
        await task
    assert open_room.muted
    assert open_room.joined
    visitor = f"<x xmlns='{USER}'><item role='visitor'/><status code='110'/></x>"
    open_room.handle(presence(f">{visitor}"))
    assert open_room.muted
    open_room.handle(presence(f">{visitor.replace('visitor', 'participant')}"))
    assert not open_room.muted


async def test_an_error_of_an_occupant_says_nothing_about_the_room(open_room):
    error = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    open_room.handle(message(f"from='{FLEET}/mallory' type='error' id='x'>{error}"))
    open_room.handle(message(f"from='{FLEET}/mallory' type='error' id='x'>{error.replace('forbidden', 'gone')}"))
    assert not open_room.muted
    assert open_room.joined
