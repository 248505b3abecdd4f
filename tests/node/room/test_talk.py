"""What is said in a room: who may, what is open there, and who answers."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.node.house import ANNA, BRAM, CLEO, DIRK, STRANGER, greenhouse

from knoop.commands import table
from knoop.execution import BURST, STRANGERS_AUDITED, Execution
from knoop.jid import Jid
from knoop.room.talk import MOST_JITTER_S, MOST_WAITING, RoomTalk
from knoop.xmpp.inbound import Said
from knoop.xmpp.rooms import Occupant

NICKS = {"anna": ANNA, "bram": BRAM, "cleo": CLEO, "dirk": DIRK, "mallory": STRANGER}


class Room:
    """A non-anonymous room with everybody in it."""

    jid = Jid("fleet", "rooms.example.org")
    nick = "greenhouse"
    shows_jids = True

    def __init__(self):
        self.occupants = {nick: Occupant(jid, "participant") for nick, jid in NICKS.items()}

    def occupant(self, nick):
        return Jid("fleet", "rooms.example.org", nick)


class Talk:
    """`say(nick, line)` and `answers`."""

    def __init__(self, house, *, tells_alarms=True):
        self.house = house
        self.room = Room()
        self.answers = []
        self.spread = []
        self.execution = Execution(house, verbs=table())
        self.talk = RoomTalk(
            house, execution=self.execution, answer=self.answers.append, tells_alarms=tells_alarms,
            uniform=self.uniform,
        )
        self._ids = 0

    def uniform(self, low, high):
        self.spread.append((low, high))
        return high / 2

    def hear(self, nick, line, *, late=False, id=None):  # noqa: A002 -- XMPP's word
        self._ids += 1
        said = Said(sender=f"{self.room.jid}/{nick}", id=id or f"id{self._ids}", text=line, lang="")
        self.talk.hear(self.room, nick, said, late=late)

    async def say(self, nick, line, **more):
        """What is answered to this line within a minute."""
        before = len(self.answers)
        self.hear(nick, line, **more)
        if self.talk._task is not None:
            await asyncio.wait({self.talk._task}, timeout=20)
        await self.house.clock.advance(60)
        return self.answers[before:]

    async def audit(self):
        await self.execution.close()
        return [(line.who, line.action, line.result, line.via) for line in await self.house.state.audit_tail(100)]


@asynccontextmanager
async def talking(tmp_path, **more):
    async with greenhouse(tmp_path) as house:
        talk = Talk(house, **more)
        yield talk
        await talk.talk.close()
        await talk.execution.close()


@pytest.fixture
async def talk(tmp_path):
    async with talking(tmp_path) as made:
        yield made


async def test_an_operator_is_heard_by_name(talk):
    assert await talk.say("bram", "greenhouse: lamp on") == ["Lamp is on."]
    assert talk.house.board.moves == [("lamp", True, None)]
    assert (str(BRAM), "greenhouse: lamp on", "done", f"room {talk.room.jid}") in await talk.audit()


@pytest.mark.parametrize("nick", ["cleo", "dirk"])
async def test_who_may_not_is_told_and_nothing_moves(talk, nick):
    (answer,) = await talk.say(nick, "greenhouse: set lamp on")
    assert "may not" in answer or "do not understand" in answer
    assert not talk.house.board.moves


async def test_a_channel_that_somebody_may_not_read_does_not_exist_for_them(talk):
    assert await talk.say("dirk", "greenhouse: door") == ["Front door is closed."]
    (answer,) = await talk.say("dirk", "greenhouse: temperature?")
    assert "do not understand" in answer


async def test_a_stranger_is_met_with_silence_and_noted_a_few_times_a_minute(talk):
    for _ in range(3 * STRANGERS_AUDITED):
        talk.hear("mallory", "greenhouse: lamp on")
    talk.hear("mallory", "good morning")
    assert await talk.say("mallory", "all: status") == []
    lines = await talk.audit()
    assert len(lines) == STRANGERS_AUDITED
    assert set(lines) == {(str(STRANGER), "greenhouse: lamp on", "refused: stranger", f"room {talk.room.jid}")}
    assert not talk.house.board.moves


async def test_what_strangers_say_to_each_other_is_nobodys_business(talk):
    assert await talk.say("mallory", "my lamp is on, greenhouse!") == []
    assert await talk.audit() == []


async def test_whose_address_is_not_shown_is_a_stranger(talk):
    talk.room.occupants["anna"] = Occupant(None, "moderator")
    assert await talk.say("anna", "greenhouse: lamp on") == []
    assert await talk.say("somebody we never saw", "greenhouse: lamp on") == []
    assert not talk.house.board.moves


async def test_a_room_that_hides_addresses_is_not_heard_at_all(talk):
    talk.room.shows_jids = False
    assert await talk.say("anna", "greenhouse: lamp on") == []
    assert await talk.audit() == []


@pytest.mark.parametrize(
    "line",
    ["all: lamp on", "@all set lamp on", "all: pump 40", "all: help", "all: history door", "all: never", "all: about"],
)
async def test_what_is_asked_of_all_moves_nothing_and_is_not_talked_about(talk, line):
    assert await talk.say("anna", line) == []
    assert not talk.house.board.moves


@pytest.mark.parametrize("line", ["greenhouse: history door", "greenhouse: watch door", "greenhouse: log",
                                  "greenhouse: who", "greenhouse: allow bram@example.org viewer",
                                  "greenhouse: revoke bram@example.org", "greenhouse: quiet 1h"])  # fmt: skip
async def test_what_is_one_persons_is_said_in_their_own_chat(talk, line):
    (answer,) = await talk.say("anna", line)
    assert "in a chat of your own" in answer
    assert (await talk.house.state.grants()) == []


async def test_every_verb_says_whether_it_is_open_in_rooms():
    open_there = {verb for verb, command in table().items() if command.rooms}
    assert open_there == {"status", "read", "ack", "silence", "help", "set", "roll", "about"}
    assert table()["set"].rooms == "name"


async def test_a_label_reads_but_moves_nothing(talk):
    talk.room.nick = "n17"
    assert await talk.say("anna", "Greenhouse, lamp?") == ["Lamp is off."]
    (answer,) = await talk.say("anna", "Greenhouse, lamp on")
    assert "n17: lamp on" in answer
    assert not talk.house.board.moves
    assert await talk.say("anna", "n17: lamp on") == ["Lamp is on."]


async def test_a_name_that_is_anothers_nick_is_theirs(talk):
    talk.room.nick = "greenhouse_2"
    talk.room.occupants["Greenhouse"] = Occupant(Jid("other", "example.org"), "participant")
    assert await talk.say("anna", "greenhouse: lamp?") == []
    assert await talk.say("anna", "greenhouse_2: lamp?") == ["Lamp is off."]


async def test_what_wants_a_code_is_never_set_from_a_room(talk):
    (answer,) = await talk.say("anna", "greenhouse: gate on")
    assert "never set from a room" in answer
    assert not talk.house.board.moves


async def test_a_line_that_comes_twice_acts_once(talk):
    assert await talk.say("anna", "greenhouse: lamp on", id="same") == ["Lamp is on."]
    assert await talk.say("anna", "greenhouse: lamp on", id="same") == []
    assert len(talk.house.board.moves) == 1


async def test_a_late_line_does_nothing_and_only_who_was_called_says_so(talk):
    (answer,) = await talk.say("anna", "greenhouse: lamp on", late=True)
    assert "arrived late" in answer
    assert await talk.say("anna", "all: status", late=True) == []
    assert not talk.house.board.moves


async def test_one_line_a_node_later_for_all_and_one_round_at_a_time(talk):
    talk.hear("anna", "all: status")
    talk.hear("bram", "roll")
    (answer,) = await talk.say("cleo", "all: door")
    assert "\n" not in answer
    assert answer.startswith("🟢 Greenhouse")
    assert talk.spread == [(0, 3.0)]
    (answer,) = await talk.say("cleo", "roll")
    assert answer == "Greenhouse: all is well, up 3 d 4 h, Knoop 0.1.0."


async def test_the_answers_of_many_take_longer_but_not_for_ever(talk):
    talk.room.occupants |= {f"n{number}": Occupant(None, "participant") for number in range(54)}
    await talk.say("anna", "roll")
    talk.room.occupants |= {f"n{number}": Occupant(None, "participant") for number in range(1900)}
    await talk.say("anna", "roll")
    assert talk.spread == [(0, 0.25 * 60), (0, MOST_JITTER_S)]


async def test_an_alarm_is_acknowledged_for_all_and_the_alarms_line_says_so(talk):
    await talk.house.report("air.temperature", -1.0)
    assert await talk.say("anna", "ack * frost") == []
    assert talk.house.alerts.state("frost").phase == "acknowledged"
    assert await talk.say("anna", "ack * frost") == [], "where there is nothing to acknowledge"
    (answer,) = await talk.say("anna", "ack greenhouse frost")
    assert "already acknowledged" in answer


async def test_a_room_that_is_not_told_of_alarms_hears_that_one_was_acknowledged(tmp_path):
    async with talking(tmp_path, tells_alarms=False) as talk:
        await talk.house.report("air.temperature", -1.0)
        assert await talk.say("anna", "ack greenhouse frost") == ["Acknowledged: frost."]


async def test_who_may_only_look_acknowledges_nothing(talk):
    await talk.house.report("air.temperature", -1.0)
    assert await talk.say("cleo", "ack * frost") == []
    (answer,) = await talk.say("cleo", "ack greenhouse frost")
    assert "may not" in answer
    assert talk.house.alerts.state("frost").phase == "raised"


async def test_more_than_can_be_answered_is_left_out(talk):
    for _ in range(MOST_WAITING + 20):
        talk.hear("anna", "greenhouse: lamp?")
    assert len(talk.talk._waiting) == MOST_WAITING
    await talk.say("anna", "greenhouse: lamp?")
    assert len(talk.answers) == MOST_WAITING


async def test_one_person_of_the_room_does_not_fill_the_audit_log(talk):
    for _ in range(3 * BURST):
        talk.hear("cleo", "greenhouse: lamp on")
        await asyncio.sleep(0)
        if talk.talk._task is not None:
            await asyncio.wait({talk.talk._task}, timeout=20)
    await talk.say("bram", "greenhouse: lamp on")
    lines = await talk.house.state.audit_tail(4 * BURST)
    assert len(lines) == BURST + 1
    assert lines[-1].result == "done"


async def test_who_leaves_the_room_in_the_instant_of_a_line_is_not_deaf_afterwards(talk):
    talk.hear("anna", "greenhouse: lamp on")
    await talk.talk.close()  # before the answering has begun
    assert await talk.say("anna", "greenhouse: lamp?") == ["Lamp is off."]
