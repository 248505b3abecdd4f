"""Who is heard at all, and how much of it: by sender and kind, before anybody looks at what it says."""

from xml.etree import ElementTree as ET

import pytest

from knoop.access import Access, Person, Role
from knoop.jid import Jid
from knoop.xmpp.admission import (
    ASKED,
    OF_A_DOMAIN,
    OF_A_DOMAIN_BEHIND,
    OF_A_STRANGER,
    OF_STRANGERS,
    REFUSED,
    SAID_BESIDE,
    TOLD_EVERY_S,
    WHILE_BEHIND,
    Admission,
)
from knoop_hw.clock import FakeClock

ANNA, MALLORY, ROOM = "anna@example.org/phone", "mallory@example.net/x", "fleet@rooms.example.org"
PEOPLE = [
    Person(jid=Jid("anna", "example.org"), role=Role.OWNER),
    Person(jid=Jid("vera", "example.org"), role=Role.VIEWER),
    Person(jid=Jid("*", "house.example"), role=Role.VIEWER),
    Person(jid=Jid("gone", "example.org"), role=Role.NONE),
]


class Door:
    """An Admission whose time stands still until `wait`."""

    def __init__(self):
        self.clock, self.access = FakeClock(), Access(PEOPLE)
        self.admission = Admission(
            own=Jid("node", "example.org", "knoop"), rooms=[Jid("fleet", "rooms.example.org")],
            service="pubsub.example.org", access=lambda: self.access, clock=self.clock,
        )

    def hears(self, sender, name="message", kind="chat", body="lamp on", *, behind=False):
        stanza = ET.Element(f"{{jabber:client}}{name}", {"type": kind} if kind else {})
        if sender is not None:
            stanza.set("from", sender)
        if body and name == "message":
            ET.SubElement(stanza, "{jabber:client}body").text = body
        return self.admission.hears(stanza, behind)

    def count(self, of, sender, *rest, **more):
        return sum(self.hears(sender, *rest, **more) for _ in range(of))

    async def wait(self, seconds):
        await self.clock.advance(seconds)


@pytest.fixture
def door():
    return Door()


@pytest.mark.parametrize(
    "sender", [None, "example.org", "node@example.org", "node@example.org/x", "pubsub.example.org"]
)
@pytest.mark.parametrize(("name", "kind"), [("message", "chat"), ("iq", "result"), ("iq", "set"), ("presence", "")])
def test_our_server_account_and_service_are_always_heard(door, sender, name, kind):
    assert door.count(5000, sender, name, kind) == 5000


@pytest.mark.parametrize(("name", "kind"), [("message", "groupchat"), ("presence", ""), ("presence", "unavailable")])
def test_a_room_is_heard_whole_or_it_would_be_wrong_who_is_behind_a_nick(door, name, kind):
    assert door.count(5000, f"{ROOM}/mallory", name, kind) == 5000


def test_requests_through_a_room_have_a_budget_of_their_own(door):
    assert door.count(1000, f"{ROOM}/mallory", "iq", "get") == REFUSED[0]
    assert door.count(1000, MALLORY, "iq", "get") == REFUSED[0]


@pytest.mark.parametrize(("name", "kind"), [("message", "chat"), ("message", ""), ("iq", "get"), ("iq", "set")])
async def test_a_person_may_ask_more_than_anybody_types_and_no_more(door, name, kind):
    assert door.count(10 * ASKED[0], ANNA, name, kind) == ASKED[0]
    await door.wait(1)
    assert door.count(10 * ASKED[0], ANNA, name, kind) == ASKED[1]


def test_receipts_of_a_day_are_heard_and_take_nothing_from_what_is_asked(door):
    assert door.count(10 * SAID_BESIDE[0], ANNA, "message", "chat", body="") == SAID_BESIDE[0]
    assert door.hears(ANNA)


def test_one_persons_devices_share_one_budget_and_others_have_their_own(door):
    door.access = door.access.with_grants([Person(jid=Jid("bram", "example.org"), role=Role.VIEWER)])
    assert sum(door.hears(f"anna@example.org/r{number}") for number in range(5 * ASKED[0])) == ASKED[0]
    assert door.hears("bram@example.org/x")


def test_a_domain_of_a_thousand_accounts_has_one_budget_together_and_takes_nobodys(door):
    assert sum(door.hears(f"u{number}@house.example/x") for number in range(5 * OF_A_DOMAIN[0])) == OF_A_DOMAIN[0]
    assert door.hears(ANNA)


async def test_a_stranger_is_heard_a_few_times_and_strangers_together_not_much_more(door):
    assert door.count(1000, MALLORY) == OF_A_STRANGER[0]
    heard = OF_A_STRANGER[0] + sum(door.hears(f"m{number}@example.net/x") for number in range(5000))
    assert heard == OF_STRANGERS[0]
    await door.wait(10)
    assert sum(door.hears(f"n{number}@example.net/x") for number in range(5000)) == 10 * OF_STRANGERS[1]


def test_one_stranger_alone_does_not_use_up_what_strangers_may_say(door):
    """Or whoever has the right code could not be heard while somebody else talks."""
    door.count(10_000, MALLORY)
    assert door.hears("newcomer@example.org/phone")


async def test_few_requests_of_strangers_are_answered_at_all(door):
    assert sum(door.hears(f"m{number}@example.net/x", "iq", "get") for number in range(1000)) == REFUSED[0]
    await door.wait(60)
    assert door.count(1000, MALLORY, "iq", "set") == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [("presence", ""), ("presence", "subscribe"), ("presence", "unavailable"), ("presence", "probe"), ("iq", "result"),
     ("iq", "error"), ("iq", ""), ("message", "error"), ("message", "headline"), ("message", "groupchat")],
)
@pytest.mark.parametrize("sender", [MALLORY, "gone@example.org/x", "rooms.example.org", "other@rooms.example.org/nick"])
def test_of_a_stranger_nothing_but_chat_and_requests_goes_anywhere(door, sender, name, kind):
    assert not door.hears(sender, name, kind)
    assert door.admission.left_out == 0, "that is no flood, just nobody's business"


@pytest.mark.parametrize("sender", ["@", "mallory@@example.net", "mallory@example.net/\u0600", "a" * 2000 + "@b"])
def test_an_address_that_is_none_says_nothing(door, sender):
    assert not door.hears(sender)
    assert door.hears(sender, "iq", "get"), "it is refused like anybody"


def test_rights_that_were_given_or_taken_count_at_once(door):
    assert not door.hears("bram@example.org/x", "presence", "")
    door.access = door.access.with_grants([Person(jid=Jid("bram", "example.org"), role=Role.VIEWER)])
    assert door.hears("bram@example.org/x", "presence", "")
    door.access = door.access.with_grants([])
    assert not door.hears("bram@example.org/x", "presence", "")


async def test_a_flood_is_one_line_a_minute_in_the_log(door, caplog):
    door.count(1000, MALLORY)
    assert [record.getMessage() for record in caplog.records] == [
        "mallory@example.net sends faster than it may: 1 left out"
    ]
    await door.wait(TOLD_EVERY_S)
    door.count(1000, MALLORY)
    left_out = 1000 - OF_A_STRANGER[0]
    assert [record.getMessage() for record in caplog.records[1:]] == [
        f"mallory@example.net sends faster than it may: {left_out} left out"  # since it was told
    ]
    assert door.admission.left_out == 2 * left_out


def test_another_configuration_gives_nobody_a_new_budget(door):
    door.count(1000, MALLORY)
    after = Door()
    after.admission.follow(door.admission)
    assert not after.hears(MALLORY)
    assert after.admission.left_out == door.admission.left_out + 1


@pytest.mark.parametrize(("name", "kind"), [("message", "chat"), ("iq", "get"), ("presence", "subscribe")])
async def test_while_our_server_is_behind_a_person_asks_a_few_things_and_an_owner_is_spared(door, name, kind):
    """Or the answers to one viewer, 2 kB each, keep the owner's waiting for 19 s at Debian's limit of 10 kB/s."""
    assert door.count(50, "vera@example.org/x", name, kind, behind=True) == WHILE_BEHIND[0]
    assert door.count(50, ANNA, name, kind, behind=True) == 50
    assert door.count(50, "vera@example.org/x", name, kind) == 50, "it took all that we said"
    await door.wait(2 / WHILE_BEHIND[1])
    assert door.count(50, "vera@example.org/x", name, kind, behind=True) == 2
    accounts = [f"one{number}@house.example/x" for number in range(2 * OF_A_DOMAIN_BEHIND[0])]
    assert sum(door.hears(one, name, kind, behind=True) for one in accounts) == OF_A_DOMAIN_BEHIND[0], "together"


def test_while_our_server_is_behind_what_is_not_answered_is_heard(door):
    assert door.count(100, "vera@example.org/x", "message", "chat", "", behind=True) == 100
    assert door.count(100, "vera@example.org/x", "presence", "unavailable", behind=True) == 100


def test_who_asks_for_a_subscription_asks_something(door):
    """Each request is answered with two presences."""
    assert door.count(10 * ASKED[0], "vera@example.org/x", "presence", "subscribe") == ASKED[0]
