"""What keeps a node out of a room: how often it tries, and what its owners hear. And what its presence says."""

import itertools
from types import SimpleNamespace

import pytest

from knoop.errors import Refusal
from knoop.health import Health
from knoop.jid import Jid
from knoop.room.inroom import MOST_NICKS, PAUSE_S, QUICK_S, TOLD, InRoom, _status
from knoop.text import Voice
from knoop.xmpp.rooms import REFUSED
from knoop_hw.clock import FakeClock

FLEET = Jid("fleet", "rooms.example.org")


@pytest.fixture
def told():
    return []


@pytest.fixture
def inroom(told):
    table = SimpleNamespace(nick="", password="", classes=("alarm",), commands=False)
    house = SimpleNamespace(clock=FakeClock(), name="greenhouse", config=SimpleNamespace(rooms={FLEET: table}))
    return InRoom(FLEET, house=house, execution=None, tell_owners=told.append, uniform=lambda low, _high: low)


def out(inroom, why, *, steady=False, entered=True, alternate=""):
    stay = SimpleNamespace(why=why, entered=entered, nick="greenhouse", alternate=alternate)
    return inroom._out(stay, Refusal("gone", why), steady=steady)


def test_what_a_person_has_to_mend_is_tried_ever_more_seldom_and_said_once(inroom, told):
    pauses = [out(inroom, "kicked") for _ in range(20)]
    assert pauses[0] == 0.75 * PAUSE_S[0]
    assert all(earlier <= later for earlier, later in itertools.pairwise(pauses))
    assert pauses[-1] == 0.75 * PAUSE_S[1]
    assert [sentence.message for sentence in told] == [TOLD["kicked"]]


def test_after_a_good_stay_it_is_news_again(inroom, told):
    for steady in (False, False, True):
        pause_s = out(inroom, "kicked", steady=steady)
    assert pause_s == 0.75 * PAUSE_S[0]
    assert len(told) == 2


def test_another_reason_is_said_too(inroom, told):
    for why in ("kicked", "banned", "kicked", "banned"):
        out(inroom, why)
    assert [sentence.message for sentence in told] == [TOLD["kicked"], TOLD["banned"]]


def test_a_room_that_forgot_us_is_entered_again_soon_and_nobody_is_bothered(inroom, told):
    assert out(inroom, "out") == QUICK_S[0]
    assert out(inroom, "silent", entered=False) == 2 * QUICK_S[0]
    assert told == []


def test_a_taken_nick_is_tried_again_at_once_but_not_for_ever(inroom, told):
    pauses = [out(inroom, "conflict", entered=False) for _ in range(MOST_NICKS + 5)]
    assert set(pauses[: MOST_NICKS - 1]) == {QUICK_S[0]}
    assert pauses[-1] >= 0.75 * PAUSE_S[0]
    assert len(told) <= 1


def test_owners_hear_where_a_room_went(inroom, told):
    out(inroom, "destroyed", alternate="new@rooms.example.org")
    assert "points to new@rooms.example.org." in Voice(lang="en", now_ns=0).sentence(told[0])


def test_everything_that_keeps_us_out_has_a_sentence_for_the_owners():
    assert {why for why, _ in REFUSED.values()} <= TOLD.keys()


@pytest.mark.parametrize(
    ("uptime_s", "alarms", "status"),
    [
        (5, 0, "just started · 1.0"),
        (3600, 1, "1 alarm · 1 h up · 1.0"),
        (86399, 0, "23 h up · 1.0"),
        (3 * 86400 + 5000, 2, "2 alarms · 3 d up · 1.0"),
    ],
)
def test_the_status_line(uptime_s, alarms, status):
    health = Health(
        link_up=True, link_since_s=1, uptime_s=uptime_s, alarms=tuple(f"a{number}" for number in range(alarms)),
        version="1.0",
    )
    assert Voice(lang="en", now_ns=0).sentence(_status(health)) == status
