"""A node in a room of a real server: who it hears, what keeps it out, and how it comes back."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.integration.inprocess import node
from tests.integration.running import Way, until, write

from knoop.room import gathering, inroom, pace
from knoop_bench.errors import Refused

pytestmark = pytest.mark.prosody

NICK = "greenhouse"
ADMIN = "http://jabber.org/protocol/muc#admin"
OWNER = "http://jabber.org/protocol/muc#owner"
FROST = '[alert.frost]\nwhen = "door == on"\nseverity = "critical"\n'
QUIET_S = 1.5  # how long silence is listened to

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The same life at a pace that a test can wait for; the real times are asserted by nobody."""
    monkeypatch.setattr(pace, "EVERY_S", 0.3)
    monkeypatch.setattr(gathering, "GATHER_S", 0.3)
    monkeypatch.setattr(inroom, "QUICK_S", (0.1, 0.2))
    monkeypatch.setattr(inroom, "PAUSE_S", (1.0, 2.0))
    monkeypatch.setattr(inroom, "SHOWN_SOONEST_S", 0.1)


class House:
    """A node, its owner Anna, who made the room, and Bram who only looks; both are in the room."""

    def __init__(self, folder: Path, server, room, **parts):
        self.folder, self.server, self.room = folder, server, room
        self._account, self._witness, self._stack = parts["account"], parts["witness"], parts["stack"]
        self.node = None

    async def people(self):
        self.account = self._account("node")
        self.anna = await self._witness(self._account("anna"), friends=[self.account.jid])
        self.bram = await self._witness(self._account("bram"), friends=[self.account.jid])
        self.mallory = await self._witness(self._account("mallory"))
        await self.anna.join(self.room, "anna")
        await self.bram.join(self.room, "bram")
        await self.mallory.join(self.room, "mallory")

    async def start(self, *, commands=True, more=FROST, joined=True, table=""):
        way = Way.to(self.server)
        more += f'\n[room."{self.room}"]\nclasses = ["alarm"]\ncommands = {str(commands).lower()}\n{table}'
        people = {self.anna.jid: '"owner"', self.bram.jid: '"viewer"'}
        folder = self.folder / f"node{next(_numbers)}"
        folder.mkdir()
        file = write(folder, way, jid=self.account.jid, password=self.account.password, people=people, more=more)
        self.node = await self._stack.enter_async_context(node(file, password=self.account.password))
        if joined:
            await self.inside()

    async def inside(self, nick=NICK, after=0):
        return await self.anna.wait(
            lambda s: s.kind == "presence" and s.sender == f"{self.room}/{nick}" and not s.type, 20, after=after
        )

    def ask(self, text, who=None):
        who = who or self.anna
        after = self.anna.mark
        who.say(self.room, text, type="groupchat")
        return after

    async def said(self, text, after=0, within_s=8, nick=NICK):
        return await self.anna.wait(
            lambda s: s.type == "groupchat" and s.sender == f"{self.room}/{nick}" and text in (s.body or ""),
            within_s, after=after,
        )  # fmt: skip

    async def silent(self, after, for_s=QUIET_S):
        await self.anna.none(
            lambda s: s.type == "groupchat" and s.sender.startswith(f"{self.room}/{NICK}") and bool(s.body), for_s,
            after=after,
        )

    async def told(self, text, after=0, within_s=10):
        """What the node says to its owner in a chat."""
        return await self.anna.wait(
            lambda s: s.type == "chat" and s.sender_bare == self.account.jid and text in (s.body or ""), within_s,
            after=after,
        )

    async def admin(self, **item):
        attributes = " ".join(f"{name}='{value}'" for name, value in item.items())
        await self.anna.iq("set", f"<query xmlns='{ADMIN}'><item {attributes}/></query>", to=self.room)

    async def configure(self, **values):
        fields = "".join(
            f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in values.items()
        )
        form = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>" + fields
        await self.anna.iq(
            "set", f"<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>", to=self.room
        )


@pytest.fixture
async def house(tmp_path, prosody, account, witness, room):
    async with AsyncExitStack() as stack:
        made = House(tmp_path, prosody, room, account=account, witness=witness, stack=stack)
        await made.people()
        yield made


async def test_who_has_the_right_is_heard_by_name_and_nobody_else(house):
    await house.start()
    after = house.ask("greenhouse: lamp on")
    await house.said("Lamp is on.", after)
    assert house.node.level
    after = house.ask("greenhouse: lamp off", house.bram)
    await house.said("You may not set here", after)
    after = house.ask("Greenhouse, door?", house.bram)
    await house.said("Front door", after)
    after = house.ask("greenhouse: history door")
    await house.said("in a chat of your own", after)
    after = house.ask("greenhouse: lamp off", house.mallory)
    await house.silent(after)
    assert house.node.level
    lines = await house.node.agent.house.state.audit_tail(20)
    assert any(line.who.startswith(house.mallory.jid) and line.via == f"room {house.room}" for line in lines)


async def test_who_claims_to_be_somebody_else_is_not(house):
    await house.start()
    after = house.anna.mark
    house.mallory.send_raw(
        f"<presence to='{house.room}/mallory'><x xmlns='http://jabber.org/protocol/muc#user'>"
        f"<item affiliation='owner' role='moderator' jid='{house.anna.full_jid}'/><status code='110'/></x></presence>"
    )
    await house.anna.wait(lambda s: s.kind == "presence" and s.sender == f"{house.room}/mallory", 5, after=after)
    after = house.ask("greenhouse: lamp on", house.mallory)
    await house.silent(after)
    assert not house.node.level


async def test_what_is_said_to_all_or_about_a_node_moves_nothing(house):
    await house.start()
    after = house.anna.mark
    for line in ("all: lamp on", "@all lamp on", "greenhouse lamp on", "x greenhouse: on", "> greenhouse: lamp on"):
        house.ask(line)
    house.anna.send_raw(
        f"<message to='{house.room}/{NICK}' type='chat'><body>lamp on</body></message>"
        f"<message to='{house.room}' type='groupchat'><body>greenhouse: lamp on</body>"
        "<replace xmlns='urn:xmpp:message-correct:0' id='x'/></message>"
    )
    await house.silent(after)
    after = house.ask("greenhouse: lamp?")
    await house.said("Lamp is off.", after)
    after = house.ask("all: status")
    assert "\n" not in (await house.said("greenhouse: all is well", after)).body


async def test_history_and_stamped_lines_never_act(house):
    house.ask("greenhouse: lamp on")
    await house.start()
    after = house.anna.mark
    house.anna.send_raw(
        f"<message to='{house.room}' type='groupchat' id='old'><body>greenhouse: lamp on</body>"
        "<delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>"
    )
    house.anna.say(house.room, "greenhouse: lamp?", type="groupchat", id="again")
    await house.said("Lamp is off.", after)
    after = house.anna.mark
    house.anna.say(house.room, "greenhouse: lamp on", type="groupchat", id="again")
    await house.silent(after)
    assert not house.node.level


async def test_without_commands_it_says_its_alarms_and_hears_nothing(house):
    await house.start(commands=False)
    after = house.ask("greenhouse: lamp on")
    house.node.reads("door", True)
    await house.said("Critical alert frost", after)
    shown = await house.inside(after=after)
    assert shown.xml.findtext("{jabber:client}show") == "dnd"
    assert not house.node.level


async def test_who_wants_an_alarm_unsaid_has_to_say_it(house, monkeypatch):
    for pause in ("GATHER_S", "GATHER_MORE_S"):
        monkeypatch.setattr(gathering, pause, 1.5)
    await house.start()
    alerts = "<alerts xmlns='urn:knoop:1:room'><alert name='frost'/></alerts>"
    after = house.anna.mark
    house.mallory.send_raw(f"<presence to='{house.room}/mallory'>{alerts}</presence>")
    await house.anna.wait(lambda s: s.kind == "presence" and s.sender == f"{house.room}/mallory", after=after)
    after = house.anna.mark
    house.node.reads("door", True)
    await house.inside(after=after)  # its presence shows the alarm
    for line in ("No frost tonight: greenhouse", "No frost tonight: mallory, greenhouse"):
        house.mallory.send_raw(
            f"<message to='{house.room}' type='groupchat'><body>{line}</body>{alerts}</message>"
        )
    await house.said("Critical alert frost", after)


async def test_an_alarm_is_acknowledged_from_the_room(house):
    await house.start()
    after = house.anna.mark
    house.node.reads("door", True)
    await house.said("Critical alert frost: Front door is open.", after)
    after = house.ask("ack * frost", house.bram)
    await house.silent(after)
    after = house.ask("ack greenhouse frost")
    await house.said("frost: acknowledged by", after)
    await house.anna.wait(
        lambda s: s.kind == "presence" and s.sender == f"{house.room}/{NICK}"
        and (s.xml.findtext("{jabber:client}status") or "").startswith("1 alarm · ")
        and s.xml.find("{jabber:client}show") is None, 5, after=after,
    )


async def test_a_room_that_hides_addresses_is_met_with_silence_also_from_now_on(house):
    await house.configure(whois="moderators")
    await house.start()
    await house.told("hides real addresses")
    after = house.ask("greenhouse: lamp on")
    await house.silent(after)
    await house.configure(whois="anyone")
    await house.anna.join(house.room, "anna")  # so that the room shows the node who that is
    after = house.ask("greenhouse: lamp?")
    await house.said("Lamp is off.", after)
    await house.configure(whois="moderators")
    after = house.ask("greenhouse: lamp on")
    await house.silent(after)
    assert not house.node.level


async def test_answers_come_at_a_pace_and_alarms_pass_by(house, monkeypatch):
    monkeypatch.setattr(pace, "EVERY_S", 3.0)
    await house.start()
    after = house.anna.mark
    for _ in range(3):
        house.ask("greenhouse: lamp?")
    house.node.reads("door", True)
    await house.said("Critical alert frost", after)
    answers = []
    while len(answers) < 3:
        seen = await house.said("Lamp is off.", after)
        answers.append(seen.at_s)
        after = seen.number + 1
    assert all(later - earlier > 2.7 for earlier, later in itertools.pairwise(answers))


async def test_kicked_it_says_so_and_comes_back(house):
    await house.start()
    after = house.anna.mark
    await house.admin(nick=NICK, role="none")
    await house.told("I was kicked out of the room")
    await house.anna.wait(lambda s: "307" in s.statuses, 5, after=after)
    await house.inside(after=house.anna.mark)


async def test_banned_it_says_so_once_and_comes_back_when_it_may(house):
    await house.start()
    after = house.anna.mark
    await house.admin(jid=house.account.jid, affiliation="outcast")
    said = await house.told("I am banned from the room", after)
    await house.anna.none(lambda s: s.type == "chat" and "banned" in (s.body or ""), 3, after=said.number + 1)
    after = house.anna.mark
    await house.admin(jid=house.account.jid, affiliation="none")
    await house.inside(after=after)


async def test_muted_it_says_so_and_its_alarm_waits_for_a_voice(house):
    await house.start()
    await house.admin(nick=NICK, role="visitor")
    after = house.anna.mark
    house.node.reads("door", True)
    await house.told("I may not speak in the room", after)
    await house.told("Critical alert frost", 0)
    await house.silent(after, 0.5)
    await house.admin(nick=NICK, role="participant")
    await house.said("Critical alert frost", after)


async def test_a_taken_nick_gets_a_number(house):
    await house.mallory.join(house.room, NICK)
    await house.start(joined=False)
    await house.inside(f"{NICK}_2")
    await house.told(f"so I am {NICK}_2 there")
    after = house.ask("greenhouse: lamp on")
    await house.silent(after)
    after = house.ask("greenhouse_2: lamp on")
    await house.said("Lamp is on.", after, nick=f"{NICK}_2")


@pytest.mark.parametrize(
    ("setting", "table", "text"),
    [
        ({"membersonly": "1"}, "", "is for members"),
        ({"roomsecret": "sesame", "passwordprotectedroom": "1"}, "", "wants another password"),
        ({"roomsecret": "sesame", "passwordprotectedroom": "1"}, 'password = "sesame"', ""),
    ],
)
async def test_a_door_that_is_closed_says_what_opens_it(house, setting, table, text):
    await house.configure(**setting)
    await house.start(joined=not text, table=table)
    if text:
        await house.told(text)


async def test_a_destroyed_room_is_entered_again_when_somebody_else_has_made_it(house, monkeypatch):
    monkeypatch.setattr(inroom, "PAUSE_S", (0.2, 1.0))
    monkeypatch.setattr(inroom, "GONE_S", 0.2)
    await house.start()
    after = house.anna.mark
    await house.anna.iq("set", f"<query xmlns='{OWNER}'><destroy/></query>", to=house.room)
    await house.told("does not exist any more", after)
    asked: list[str] = []
    exists = inroom.exists

    async def looking(session, room):
        asked.append(str(room))
        return await exists(session, room)

    monkeypatch.setattr(inroom, "exists", looking)
    await until(lambda: len(asked) > 2, lambda: "the node does not look for the room")
    with pytest.raises(Refused):  # looking makes none
        await house.anna.disco(house.room)
    after = house.anna.mark
    await house.anna.join(house.room, "anna")
    await house.inside(after=after)


async def test_a_room_that_forgot_us_silently_is_found_out_by_asking(house, monkeypatch):
    monkeypatch.setattr(inroom, "QUIET_S", 0.4)
    await house.start()
    room = house.node.agent.presence._rooms[next(iter(house.node.agent.house.config.rooms))]._room
    await until(lambda: room.joined, lambda: "the node does not know that it is in the room")
    monkeypatch.setattr(room, "handle", lambda _stanza: None)  # what the room says now is lost on the way
    after = house.anna.mark
    room._session.send(
        ET.fromstring(f"<presence xmlns='jabber:client' to='{house.room}/{NICK}' type='unavailable'/>")
    )
    await house.anna.wait(lambda s: s.type == "unavailable" and s.sender == f"{house.room}/{NICK}", 5, after=after)
    await house.inside(after=house.anna.mark)


async def test_asking_whether_it_is_in_does_not_throw_it_out(house, monkeypatch):
    monkeypatch.setattr(inroom, "QUIET_S", 0.2)
    await house.start()
    await house.anna.none(
        lambda s: s.type == "unavailable" and s.sender == f"{house.room}/{NICK}", 1.5, after=house.anna.mark
    )


async def test_a_server_that_starts_again_finds_it_in_the_room_again(tmp_path, serve, monkeypatch):
    monkeypatch.setattr("knoop.xmpp.link.BASE_S", 0.2)
    monkeypatch.setattr("knoop.xmpp.link.CAP_S", 1.0)
    server = await serve()
    jid = server.add_account("node", "secret")
    room = server.room("fleet")
    file = write(tmp_path, Way.to(server), jid=jid, more=f'[room."{room}"]\n')
    async with node(file, password="secret") as made:
        inside = made.agent.presence._rooms[next(iter(made.agent.house.config.rooms))]
        await until(lambda: inside._room and inside._room.joined, lambda: "not in the room")
        await server.stop()
        await until(lambda: inside._room is None, lambda: "still in the room of a server that stopped")
        await server.start()
        await until(lambda: inside._room and inside._room.joined, lambda: "not in the room again", 30)


async def test_a_flood_of_lines_costs_little(house):
    await house.start()
    after = house.anna.mark
    for _ in range(600):
        house.ask("greenhouse: lamp on", house.mallory)
    async with asyncio.timeout(30):
        house.ask("greenhouse: lamp?")
        await house.said("Lamp is off.", after, within_s=25)
