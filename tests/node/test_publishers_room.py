"""What a node says in a room, when, and when a row leaves the outbox."""

import pytest

from knoop.command import Sentence
from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.publishers import Voice
from knoop.publishers.room import ALARMS_EVERY_S, LONGEST_LINE, SENTENCES, Place, RoomSink, announced
from knoop.record import Record
from knoop.room.gathering import Gathering, Shown
from knoop.room.pace import Pace
from knoop.text import Voice as Speech
from knoop_hw.clock import FakeClock

S = 1_000_000_000
FROST = ("frost", "raised")


class Room:
    """A room that reflects every line, or refuses."""

    jid = Jid("fleet", "rooms.example.org")
    nick = "n05"

    def __init__(self):
        self.lines = []
        self.ids = []
        self.about = []
        self.muted = False
        self.refuses = None

    async def say(self, text, stanza_id, about=None):
        if self.refuses:
            self.muted = self.refuses == "forbidden"
            raise Refusal(self.refuses, "no")
        self.lines.append(text)
        self.ids.append(stanza_id)
        self.about.append(tuple(about or ()))


class Stay:
    """A sink in a room, with its clock in our hand."""

    def __init__(self, lang="en"):
        self.clock = FakeClock()
        self.room = Room()
        self.gathering = Gathering("n05")
        self.shown = {}
        speech = Speech(lang=lang, now_ns=self.clock.time_ns())
        self.place = Place(
            room=self.room, gathering=self.gathering, pace=Pace(), clock=self.clock, phrase=speech.sentence,
            severity=lambda _alert: "critical", waiting=self.waiting, joined_ns=self.clock.boottime_ns(),
        )
        self.sink = RoomSink(self.place, Voice(
            sentence=lambda record, _lang: f"{record.channel} {record.value}.", personal=lambda *_: "",
            may_hear=lambda *_: True,
        ))  # fmt: skip
        self._seq = 0

    def waiting(self, keys):
        self.shown = dict(keys)
        self.gathering.mirrors(keys, self.clock.boottime_ns())

    def record(self, channel, value="raised", cls="alarm"):
        self._seq += 1
        return Record(
            run="aaaaaaaa", channel=channel, seq=self._seq, cls=cls, type="text", value=value,
            boot=self.clock.boot_id, boottime_ns=self.clock.boottime_ns(), at_ns=self.clock.time_ns(),
        )

    async def say(self, records):
        """Send as `delivery` does until nothing waits; returns the seconds that took."""
        began_ns, left = self.clock.boottime_ns(), list(records)
        for _ in range(100):
            if not left:
                return round((self.clock.boottime_ns() - began_ns) / S, 1)
            done = await self.sink.send(left)
            left = [record for record in left if record not in done.records]
            await self.clock.advance(done.wait_s if left else 0)
        raise AssertionError("it never says it")


@pytest.fixture
async def stay():
    return Stay()


async def test_alone_an_alert_is_said_after_two_seconds_and_shown_meanwhile(stay):
    frost = stay.record("alert.frost")
    done = await stay.sink.send([frost])
    assert not done.records
    assert stay.shown == {FROST: Shown(at_ns=frost.at_ns)}
    assert await stay.say([frost]) == 2.0
    assert stay.room.lines == ["alert.frost raised."]
    assert stay.room.ids == [frost.identity]
    assert stay.room.about == [(FROST,)]
    assert stay.shown == {}


@pytest.mark.parametrize(
    ("lang", "change", "line"),
    [
        ("en", "raised", "Critical alert frost at 3 nodes: n05, n06, n07"),
        ("en", "cleared", "frost is over at 3 nodes: n05, n06, n07"),
        ("en", "acknowledged", "frost acknowledged at 3 nodes: n05, n06, n07"),
        ("en", "reminded", "Still alert frost at 3 nodes: n05, n06, n07"),
        ("en", "whatever comes", "frost at 3 nodes: n05, n06, n07"),
        ("nl", "raised", "Kritiek alarm frost bij 3 nodes: n05, n06, n07"),
        ("nl", "cleared", "frost is voorbij bij 3 nodes: n05, n06, n07"),
        ("nl", "acknowledged", "frost gezien bij 3 nodes: n05, n06, n07"),
    ],
)
async def test_one_speaks_for_all_and_the_others_understand_it(lang, change, line):
    stay, key = Stay(lang), ("frost", change)
    for nick in ("n06", "n07"):
        stay.gathering.shows(nick, {key: Shown()}, stay.clock.boottime_ns())
    await stay.say([stay.record("alert.frost", change)])
    assert stay.room.lines == [line]
    other = Gathering("n07")
    other.shows("n05", {key: Shown()}, 0)
    other.wants({key: (0, None)})
    assert other.hears("n05", [key], line, S) == {key}


async def test_what_another_nodes_line_said_leaves_without_a_word(stay):
    frost, door = stay.record("alert.frost"), stay.record("alert.door_open")
    stay.place.taken.add(FROST)
    done = await stay.sink.send([frost, door])
    assert done.records == [frost]
    assert stay.room.lines == []


async def test_many_names_are_several_lines_and_every_name_is_in_one(stay):
    names = [f"greenhouse-number-{number:03}" for number in range(150)]
    for nick in names:
        stay.gathering.shows(nick, {FROST: Shown()}, stay.clock.boottime_ns())
    stay.room.nick = stay.gathering.nick = "a"
    await stay.say([stay.record("alert.frost")])
    assert len(stay.room.lines) == 2
    assert all(len(line) <= LONGEST_LINE for line in stay.room.lines)
    assert len(set(stay.room.ids)) == 2
    listed = [name for line in stay.room.lines for name in line.partition(": ")[2].split(", ")]
    assert listed == ["a", *names]


async def test_up_to_three_alerts_of_one_node_are_a_line_each(stay):
    await stay.say([stay.record(f"alert.a{number}") for number in range(3)])
    assert stay.room.lines == [f"alert.a{number} raised." for number in range(3)]


async def test_more_are_one_line_that_lists_them(stay):
    records = [*(stay.record(f"alert.a{number}") for number in range(4)), stay.record("alert.z", "cleared")]
    await stay.say(records)
    assert stay.room.lines == ["4 alerts: a0, a1, a2, a3", "alert.z cleared."]
    assert stay.room.about[0] == tuple((f"a{number}", "raised") for number in range(4))


async def test_an_alert_that_came_and_went_is_said_once(stay):
    records = [stay.record("alert.frost", change) for change in ("raised", "cleared", "raised", "cleared")]
    await stay.say(records)
    assert stay.room.lines == ["alert.frost cleared."]


async def test_a_reminder_of_what_was_not_said_yet_is_the_news(stay):
    await stay.say([stay.record("alert.frost"), stay.record("alert.frost", "reminded")])
    assert stay.room.about == [(FROST,)]


async def test_events_are_said_together_at_the_pace_of_the_room(stay):
    first = [stay.record("door", "open", "event") for _ in range(SENTENCES + 2)]
    assert await stay.say(first) == 5.0
    assert [line.count("\n") + 1 for line in stay.room.lines] == [SENTENCES, 2]


async def test_an_answer_goes_before_an_event(stay):
    stay.place.pace.add("an answer")
    done = await stay.sink.send([stay.record("door", "open", "event")])
    assert not done.records
    assert done.wait_s > 0


async def test_an_alert_waits_for_no_event(stay):
    await stay.say([stay.record("door", "open", "event")])
    assert await stay.say([stay.record("alert.frost")]) == 2.0


async def test_readings_of_class_alarm_are_said_at_once_but_not_a_hundred_times_a_second(stay):
    assert await stay.say([stay.record("smoke", "on")]) == 0.0
    assert await stay.say([stay.record("smoke", "off") for _ in range(5)]) == ALARMS_EVERY_S
    assert len(stay.room.lines) == 2


async def test_without_voice_the_rows_wait_and_nothing_is_hammered(stay):
    stay.room.refuses = "forbidden"
    door = stay.record("smoke", "on")
    done = await stay.sink.send([door])
    assert (done.records, done.wait_s) == ((), 300.0)
    stay.room.refuses = None
    done = await stay.sink.send([door])
    assert not done.records
    stay.room.muted = False  # somebody gave us voice
    await stay.clock.advance(ALARMS_EVERY_S)
    assert (await stay.sink.send([door])).records == [door]


async def test_another_refusal_is_for_the_delivery(stay):
    stay.room.refuses = "policy-violation"
    with pytest.raises(Refusal):
        await stay.sink.send([stay.record("smoke", "on")])


async def test_what_waited_over_a_lost_link_is_gathered_anew(stay):
    frost = stay.record("alert.frost")
    await stay.clock.advance(3600)
    stay.place.joined_ns = stay.clock.boottime_ns()
    assert await stay.say([frost]) == 2.0


def test_the_sentences_of_many_have_one_colon_before_the_names():
    """Other nodes read the names behind the first colon, in whatever language they are said."""
    from knoop.publishers import room

    for lang in ("en", "nl"):
        for message in (*room.MANY.values(), room.OTHER):
            spoken = Speech(lang=lang, now_ns=0).sentence(
                Sentence(message, {"alert": "frost", "count": 2, "names": "a, b"})
            )
            assert spoken.partition(": ")[2] == "a, b"
            assert "frost" in spoken.partition(": ")[0]


async def test_nothing_is_lost_when_the_line_is(stay):
    stay.room.refuses = "remote-server-timeout"
    frost = stay.record("alert.frost")
    await stay.sink.send([frost])
    await stay.clock.advance(2)
    with pytest.raises(Refusal):
        await stay.sink.send([frost])
    stay.room.refuses = None
    await stay.say([frost])
    assert len(stay.room.lines) == 1


PHRASES = [Speech(lang=lang, now_ns=0).sentence for lang in ("en", "nl")]


@pytest.mark.parametrize("lang", ["en", "nl"])
@pytest.mark.parametrize("change", ["raised", "acknowledged", "cleared", "of tomorrow"])
async def test_what_a_node_says_for_others_is_known_as_that_in_every_language(lang, change):
    stay, key = Stay(lang), ("heat_1", change)
    for number in range(300):
        stay.gathering.shows(f"greenhouse-node-{number:03}", {key: Shown()}, stay.clock.boottime_ns())
    await stay.clock.advance(30)
    record = stay.record("alert.heat_1", change)
    await stay.sink.send([record])
    await stay.clock.advance(30)
    await stay.sink.send([record])
    assert len(stay.room.lines) > 1, "so many names take more than one line"
    assert all(announced(key, line, PHRASES) for line in stay.room.lines)
    assert not announced(("heat_2", change), stay.room.lines[0], PHRASES)


@pytest.mark.parametrize("line", [
    "No frost tonight: n05", "frost: n05", "Alert frost at your 2 nodes: n05", "Test of alert frost at 2 nodes: n05",
    "Alert frost at 2 nodes, never mind: n05", "frost is over at 2 nodes: n05", "frost at 2 nodes: n05", "", ": n05",
    "Alert frost at 99999999999999999999 nodes: n05", "Alert frost at \u0662 nodes: n05",
])  # fmt: skip
def test_other_words_take_nobodys_alarm_as_said(line):
    assert not announced(FROST, line, PHRASES)
    assert announced(FROST, "Alert frost at 2 nodes: n01, n05", PHRASES)
