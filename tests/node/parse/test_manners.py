"""What people say around an order or a question, and how they say it kindly; what is only wished for or allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.node.house import CHANNELS, narrowed
from tests.node.parse.test_parse import acts, refused, understood

from knoop.command import Intent, Reply
from knoop_hw.model import Channel

SETS = [
    ("Good morning! Lamp on please.", "lamp", True), ("goodnight, lamp off", "lamp", False),
    ("lamp off, good night", "lamp", False), ("Slaapwel! Lamp uit.", "lamp", False), ("ok lamp on", "lamp", True),
    ("hey there, just turn the lamp on again plz", "lamp", True), ("kindly switch the lamp off", "lamp", False),
    ("doe de lamp maar even aan hoor, merci", "lamp", True), ("lamp on, thanks a lot!", "lamp", True),
    ("gelieve de lamp aan te zetten", "lamp", True), ("doet u de lamp maar aan", "lamp", True),
    ("I would like the lamp on", "lamp", True), ("I'd like the lamp to be turned off please", "lamp", False),
    ("I want you to turn the heating off", "relay.two", False), ("ik wil graag de lamp uit", "lamp", False),
    ("ik zou graag de kachel aan hebben", "relay.two", True), ("I want the pump at 40%", "pump", 40),
    ("make the lamp on", "lamp", True), ("shut off the lamp", "lamp", False), ("deactivate the lamp", "lamp", False),
    ("run the pump at 40", "pump", 40), ("start the pump at 40%", "pump", 40), ("schakel de lamp in", "lamp", True),
    ("zet de kachel af", "relay.two", False), ("doe de lamp terug aan", "lamp", True), ("lamp af", "lamp", False),
    ("turn the lamp back on", "lamp", True), ("lamp aan doen", "lamp", True), ("doe 't lamp aan", "lamp", True),
    ("pump fifty percent", "pump", 50), ("pump to twenty five", "pump", 25), ("pump op dertig procent", "pump", 30),
    ("pump naar vijfentwintig", "pump", 25), ("pump a hundred percent", "pump", 100), ("put pump on 20", "pump", 20),
    ("turn the pump on 20%", "pump", 20),
]  # fmt: skip


@pytest.mark.parametrize(("text", "channel", "value"), SETS)
def test_a_kind_order_is_an_order(text, channel, value):
    intent = understood(text)
    assert isinstance(intent, Intent), intent
    assert (intent.verb, intent.channels, intent.value, intent.for_s) == ("set", (channel,), value, None)


@pytest.mark.parametrize("text", [text for text, *_ in SETS])
@pytest.mark.parametrize("around", [
    "{}?", "is {}", "why did you say {}", "kun je {}", "{} if it rains", "als het regent {}", "not {}", "{} niet",
    "{} tomorrow", "{} or pump off", "Anna said {}", "> {}", "I wonder whether {}", "tell me {}", "“{}”", "leave {}",
    "Is it cold? {}", "It is cold. {}", "{}. If it rains.", "Thanks. {}", "I need to {}", "I do want {}, Anna said",
])  # fmt: skip
def test_a_kind_order_that_is_asked_denied_or_conditional_moves_nothing(text, around):
    assert not acts(around.format(text))


ASKED = [
    ("doet u de lamp aan", "lamp aan"), ("zet u de lamp even aan", "lamp aan"), ("de lamp mag uit", "lamp uit"),
    ("de lamp moet aan", "lamp aan"), ("the lamp should go off", "lamp off"), ("pump fifty", "pump 50"),
    ("pump on 20", "pump 20"), ("Good evening. It is dark. Lamp on.", "lamp on"), ("café light s on", "relay.one on"),
    ("cafélights on for 10s", "relay.one on for 10s"), ("ver warming uit", "relay.two uit"),
    ("It is cold. Heating on for 10s. Brr.", "relay.two on for 10s"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "suggestion"), ASKED)
def test_what_is_perhaps_an_order_is_asked_about(text, suggestion):
    assert refused(text).values == {"suggestion": suggestion}
    (choice,) = understood(text).choices
    assert replace(understood(choice.argument), argument="") == replace(choice, argument="")


READS = [
    ("could you tell me if the lamp is on", ("lamp",)), ("I'd like to know if the door is open", ("door",)),
    ("kunt u mij zeggen of de voordeur open is", ("door",)), ("weet je of de lamp uit is?", ("lamp",)),
    ("ik zou graag weten hoe warm het is", ("air.temperature", "cpu.temperature")),
    ("ik zou graag de air.temperature weten", ("air.temperature",)), ("is the door open or closed", ("door",)),
    ("is de lamp aan of uit", ("lamp",)), ("lamp on or off", ("lamp",)), ("is de voordeur toe?", ("door",)),
    ("is the lamp perchance on?", ("lamp",)), ("is de voor deur open?", ("door",)), ("ver warming", ("relay.two",)),
    ("door open", ("door",)), ("I am home. Is the door open?", ("door",)), ("en de pump?", ("pump",)),
    ("give me the air temp", ("air.temperature",)), ("are the heatings on?", ("relay.two",)),
    ("alles", tuple(CHANNELS)), ("is everything off?", tuple(CHANNELS)), ("I would like to see the lamp on", ("lamp",)),
    ("Is the door open? Is the lamp on?", ("door", "lamp")), ("Good evening! How are you? Is the lamp on?", ("lamp",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "channels"), READS)
def test_a_kind_question_is_a_question(text, channels):
    assert understood(text) == Intent(verb="read", channels=channels)


@pytest.mark.parametrize("text", [
    "is the xyzzy plugh lamp on?", "was the door open yesterday?", "is the xyzzy on?", "lamp xyzzy", "gate open",
    "Lamp on when xyzzy plugh. Is the door open?", "is it on? is it off?",
])  # fmt: skip
def test_a_question_of_more_unknown_words_is_not_guessed_at(text):
    assert isinstance(understood(text), Reply)


VERBS = [
    ("please be quiet for an hour", Intent(verb="quiet", for_s=3600)),
    ("wees een uurtje stil", None),
    ("wees stil voor een uurtje", Intent(verb="quiet", for_s=3600)),
    ("ack all alerts", Intent(verb="ack", argument="all")),
    ("bevestig alle alarmen", Intent(verb="ack", argument="all")),
    ("ack all frost", Intent(verb="ack", argument="all frost")),
    ("ack frost please", Intent(verb="ack", argument="frost")),
    ("I want to ack frost", Intent(verb="ack", argument="frost")),
    ("tell me when the door opens", Intent(verb="watch", channels=("door",))),
    ("laat me weten als de voordeur opengaat", Intent(verb="watch", channels=("door",))),
    ("tell me if the door is open", Intent(verb="read", channels=("door",))),
    ("tell me when the door opens?", Intent(verb="read", channels=("door",))),
    ("tell me when the temperature is below 5", None),
    ("stop following the lamp", Intent(verb="unwatch", channels=("lamp",))),
    ("volg de lamp niet meer", Intent(verb="unwatch", channels=("lamp",))),
    ("volg de lamp niet", None),
    ("which version", Intent(verb="about")),
    ("what version are you running?", Intent(verb="about")),
    ("what is the status?", Intent(verb="status")),
    ("give me the status", Intent(verb="status")),
    ("show me the history of the lamp", Intent(verb="history", channels=("lamp",))),
    ("show me the history of the lamp for 2h", Intent(verb="history", channels=("lamp",), for_s=7200)),
    ("can you help me", Intent(verb="help")),
]


@pytest.mark.parametrize(("text", "intent"), VERBS)
def test_a_verb_may_be_said_kindly(text, intent):
    got = understood(text)
    assert isinstance(got, Reply) if intent is None else got == intent


HALL = CHANNELS | {
    name: Channel(name=name, kind="motion", type="boolean", label=label, aliases=aliases)
    for name, label, aliases in (("hall", "Hall", ("gang",)), ("garden", "Garden motion", ()))
}
BOTH = ("hall", "garden")


@pytest.mark.parametrize(("text", "intent"), [
    ("is there motion in the hall?", Intent(verb="read", channels=("hall",))),
    ("is there any movement in the hall", Intent(verb="read", channels=("hall",))),
    ("motion in the hall", Intent(verb="read", channels=("hall",))),
    ("is er beweging in de gang?", Intent(verb="read", channels=("hall",))),
    ("is there motion?", Intent(verb="read", channels=BOTH)),
    ("beweging?", Intent(verb="read", channels=BOTH)),
    ("garden motion", Intent(verb="read", channels=("garden",))),
    ("is there motion in the garden?", Intent(verb="read", channels=("garden",))),
    ("tell me when there is motion in the hall", Intent(verb="watch", channels=("hall",))),
    ("let me know if there is motion in the hall", Intent(verb="watch", channels=("hall",))),
    ("laat me weten als er beweging in de gang is", Intent(verb="watch", channels=("hall",))),
    ("tell me when garden motion changes", Intent(verb="watch", channels=("garden",))),
    ("tell me if there is motion in the hall?", Intent(verb="read", channels=("hall",))),
    ("history hall motion 24h", Intent(verb="history", channels=("hall",), for_s=86400)),
])  # fmt: skip
def test_motion_is_asked_for_by_that_word(text, intent):
    assert understood(text, HALL) == intent


def test_where_only_a_name_speaks_of_motion_it_is_found():
    channels = narrowed(["lamp"]) | {"mmwave.motion": Channel(name="mmwave.motion", kind="sensor", type="boolean")}
    assert understood("motion?", channels) == Intent(verb="read", channels=("mmwave.motion",))


def test_to_be_told_of_a_state_is_asked_about():
    assert refused("tell me when the air is humid").values == {"suggestion": "watch air.humidity"}
    (choice,) = understood("tell me when the air is humid").choices
    assert replace(understood(choice.argument), argument="") == replace(choice, argument="")


def test_a_name_written_apart_is_not_moved_and_one_that_is_another_goes_first():
    channels = narrowed(["lamp"]) | {"relay.one": replace(CHANNELS["relay.one"], label="Ganglamp")}
    assert refused("gang lamp aan", channels).values == {"suggestion": "relay.one aan"}
    assert understood("is gang lamp aan", channels) == Intent(verb="read", channels=("relay.one",))
    assert acts("lamp aan", channels)


@pytest.mark.parametrize(
    ("text", "examples"),
    [
        ("lamp off xyzzy", ("lamp off",)), ("lamp uit xyzzy", ("lamp uit",)), ("pump 30 xyzzy", ("pump 30",)),
        ("lamp on off", ("lamp on", "lamp off")), ("pump 140 xyzzy", ("pump 100", "pump 0")),
        ("xyzzy the lamp off or whatever", ("lamp off",)), ("deactivate the lamp xyzzy", ("lamp off",)),
    ],
)  # fmt: skip
def test_a_hint_says_what_was_said_and_never_the_opposite(text, examples):
    assert refused(text).values["examples"] == examples
    assert all(acts(example) for example in examples)


def test_a_span_that_is_not_understood_is_asked_for_with_the_value_that_was_said():
    assert refused("lamp off for ever").values == {"example": "lamp off for 10s"}
    assert refused("pump 30 for ever").values == {"example": "pump 30 for 10s"}


@pytest.mark.parametrize("text", ["can you do something odd with the lamp off", "why oh why is lamp off so bright"])
def test_a_question_gets_no_hint_to_set(text):
    assert refused(text).values.keys() == {"text"}
