"""A room that misbehaves costs its own deliveries and nobody else's."""

import asyncio
from xml.etree import ElementTree as ET

import pytest

from knoop.errors import Refusal
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
