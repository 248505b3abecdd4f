"""Questions that wait for an answer: what chooses, what does not, and how long a question waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.node.house import ANNA, BRAM, CHANNELS, PEOPLE

from knoop.access import Role
from knoop.command import Intent, Reply
from knoop.commands import table
from knoop.parse.choices import KEPT_S, MOST_PENDING, Choices, chosen

OWNER = PEOPLE[0]
WHICH = "relay on for 10s"
FIRST, SECOND = (
    Intent(verb="set", channels=(name,), value=True, for_s=10, argument=f"{name} on for 10s")
    for name in ("relay.one", "relay.two")
)
SLIP = "lmp on"
LAMP = Intent(verb="set", channels=("lamp",), value=True, argument="lamp on")


class Chat:
    """One node's questions, and a clock that is moved by hand."""

    def __init__(self):
        self.choices = Choices(verbs=table())
        self.now_ns = 10**15

    def say(self, text, sender=ANNA, person=OWNER, channels=CHANNELS, heard_s=0.0):
        return self.choices.understand(
            text, sender=sender, person=person, channels=channels, heard_ns=self.now_ns + round(heard_s * 1e9),
            now_ns=self.now_ns,
        )[0]  # fmt: skip

    def wait(self, seconds):
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def chat():
    return Chat()


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("1", FIRST), ("2", SECOND), ("2.", SECOND), ("2 please", SECOND), ("the second", SECOND),
        ("De tweede", SECOND),
        ("the first one", FIRST), ("de eerste graag", FIRST), ("nummer 2", SECOND), ("2e", SECOND),
        ("Heating", SECOND), ("café lights", FIRST), ("relay.two", SECOND), ("> which one?\n2", SECOND),
        ("3", None), ("0", None), ("-1", None), ("1.0", None), ("1,5", None), ("12", None), ("1 2", None), ("2?", None),
        ("not 2", None), ("niet de eerste", None), ("yes", None), ("ja", None), ("relay", None), ("lamp", None),
        ("1 on", None), ("", None), ("?", None), ("👍", None), ("both", None), ("all", None), ("> 2", None),
        ("²", None), ("１", None), ("2 if it rains", None), ("heating off", None),
        ("#2", SECOND), ("2)", SECOND), ("2\ufe0f\u20e3", SECOND), ("2 🙏", SECOND), ("2!", SECOND),
        ("“2”", None), ("2 ⏰", None), ("<2", None), ("+2", None), ("2 🙃", None), ("2+", None),
    ],
)  # fmt: skip
def test_one_of_several_is_chosen_by_number_or_whole_name(answer, choice):
    assert chosen(answer, (FIRST, SECOND), CHANNELS) == choice


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("yes", True), ("Yes!", True), ("ja", True), ("ja graag", True), ("ja, doe maar", True), ("1", True),
        ("yes please", True), ("ok", True), ("the first", True), ("no", False), ("nee", False), ("yes?", False),
        ("yes and no", False), ("yes but later", False), ("2", False), ("lamp", False), ("maybe", False),
        ("don't", False), ("ja morgen", False), ("yes on", False),
    ],
)  # fmt: skip
def test_what_was_perhaps_meant_is_done_when_it_was(answer, meant):
    assert chosen(answer, (LAMP,), CHANNELS) == (LAMP if meant else None)


def test_a_question_and_its_answer(chat):
    asked = chat.say(WHICH)
    assert isinstance(asked, Reply)
    assert [str(choice.values["number"]) for choice in asked.lines[0].values["choices"]] == ["1", "2"]
    assert chat.say("2") == SECOND
    assert isinstance(chat.say("2"), Reply), "a question is answered once"


def test_the_audit_log_says_what_was_chosen(chat):
    chat.say(WHICH)
    times = {"heard_ns": chat.now_ns, "now_ns": chat.now_ns}
    _, words = chat.choices.understand("2", sender=ANNA, person=OWNER, channels=CHANNELS, **times)
    assert words == "2 (relay.two on for 10s)"


def test_a_bare_answer_without_a_question_means_nothing(chat):
    for text in ("2", "1", "yes", "ja", "the second", "ja doe maar", "ok"):
        assert isinstance(chat.say(text), Reply), text


@pytest.mark.parametrize("between", ["lamp?", "status", "3", "hello", "lamp on", "?", "x" * 2000])
def test_any_other_message_drops_the_question(chat, between):
    chat.say(WHICH)
    chat.say(between)
    assert isinstance(chat.say("2"), Reply)


def test_another_question_replaces_the_one_before(chat):
    chat.say(WHICH)
    chat.say(SLIP)
    assert chat.say("yes") == LAMP


def test_a_question_is_bound_to_the_chat_it_was_asked_in(chat):
    chat.say(WHICH)
    assert isinstance(chat.say("2", sender=replace(ANNA, resource="tablet")), Reply)
    assert isinstance(chat.say("2", sender=BRAM, person=PEOPLE[1]), Reply)
    assert chat.say("2") == SECOND


def test_a_question_is_forgotten_after_two_minutes(chat):
    chat.say(WHICH)
    chat.wait(KEPT_S)
    assert chat.say("2") == SECOND
    chat.say(WHICH)
    chat.wait(KEPT_S + 0.1)
    assert isinstance(chat.say("2"), Reply)


def test_what_was_said_before_the_question_was_asked_is_no_answer_to_it(chat):
    chat.say(WHICH)
    assert isinstance(chat.say("2", heard_s=-0.1), Reply)


def test_a_question_ends_with_the_rights_it_was_asked_under(chat):
    for changed in (replace(OWNER, role=Role.VIEWER), replace(OWNER, only=("lamp",))):
        chat.say(WHICH)
        assert isinstance(chat.say("2", person=changed), Reply)


def test_a_message_that_is_not_said_forgets_the_question(chat):
    chat.say(WHICH)
    chat.choices.forget(ANNA)
    chat.choices.forget(BRAM)
    assert isinstance(chat.say("2"), Reply)


def test_many_who_are_asked_take_no_more_than_a_bounded_place(chat):
    for number in range(MOST_PENDING + 1):
        chat.say(WHICH, sender=replace(ANNA, resource=f"r{number}"))
    assert isinstance(chat.say("2", sender=replace(ANNA, resource="r0")), Reply), "the oldest question is forgotten"
    assert chat.say("2", sender=replace(ANNA, resource="r1")) == SECOND


def test_mended_words_of_a_verb_that_takes_text_are_shown_and_not_done(chat):
    asked = chat.say("allwo bram@example.org owner")
    assert asked.lines[0].values["suggestion"] == "allow bram@example.org owner"
    assert isinstance(chat.say("yes"), Reply)
