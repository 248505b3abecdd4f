"""Alarms that nobody's client has confirmed: when they are sent again, and what ends that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.unreceived import AT_ONCE, MOST_BOUNCES, MOST_MISSED, MOST_NOTES, MOST_SENT, Note, Unreceived

ANNA, BRAM = "anna@example.org", "bram@example.org"
S = 10**9


class Told:
    """Notes in the test's hand: `wait` lets time pass by seconds and says when what was sent again."""

    def __init__(self, *, receipts=True):
        self.notes, self.now_s, self.fate = Unreceived(), 0, "send"
        if receipts:
            self.tell("first-smoke-1", to=ANNA)
            assert self.notes.received(ANNA, "first-smoke-1")

    def tell(self, identity, *, to=ANNA, channel="smoke", change=""):
        self.notes.note(Note(to, identity, channel, change, f"{identity}!"), self.now_s * S)

    def wait(self, seconds, step_s=1):
        sent = []
        for _ in range(0, seconds, step_s):
            self.now_s += step_s
            sent += [(self.now_s, note.identity) for note in self.notes.due(self.now_s * S, lambda _note: self.fate)]
        return sent

    def login(self):
        self.notes.login(self.now_s * S)

    def bounced(self, identity, by=ANNA):
        return self.notes.bounced(by, identity, self.now_s * S)

    def left(self):
        return list(self.notes._notes)


def test_it_is_sent_again_after_1_5_and_30_minutes_and_no_more():
    told = Told()
    told.tell("a-smoke-1")
    assert told.wait(7200) == [(60, "a-smoke-1"), (300, "a-smoke-1"), (1800, "a-smoke-1")]
    assert told.left() == []


def test_it_is_what_was_sent_and_counts_how_often():
    told = Told()
    told.tell("a-smoke-1")
    told.wait(59)
    [note] = told.notes.due(60 * S, lambda _note: "send")
    assert note == Note(ANNA, "a-smoke-1", "smoke", "", "a-smoke-1!", step=1, sent=2)


def test_a_receipt_ends_it():
    told = Told()
    told.tell("a-smoke-1")
    assert told.wait(61) == [(60, "a-smoke-1")]
    assert told.notes.received(ANNA, "a-smoke-1")
    assert told.wait(7200) == []
    assert not told.notes.received(ANNA, "a-smoke-1"), "once"


def test_who_never_gave_a_receipt_gets_it_once_and_the_note_goes():
    told = Told(receipts=False)
    told.tell("a-smoke-1")
    told.login()
    assert told.wait(7200) == []
    assert told.left() == []


def test_a_login_of_ours_sends_it_once_more_when_late_receipts_have_had_their_time():
    told = Told()
    told.tell("a-smoke-1")
    told.wait(20)
    told.login()
    assert told.wait(600) == [(30, "a-smoke-1"), (90, "a-smoke-1"), (330, "a-smoke-1")]
    told.login()
    assert told.notes.received(ANNA, "a-smoke-1"), "which the server had kept for us"
    assert told.wait(7200) == []


def test_a_link_that_comes_and_goes_sends_it_a_few_times_at_most():
    told, sent = Told(), []
    told.tell("a-smoke-1")
    for _ in range(200):
        told.login()
        sent += told.wait(30)
    assert len(sent) == MOST_SENT - 1


def test_what_the_outbox_repeats_is_the_same_note():
    told = Told()
    told.tell("a-smoke-1")
    assert told.wait(100) == [(60, "a-smoke-1")]
    told.tell("a-smoke-1")
    assert told.wait(7200, step_s=10) == [(340, "a-smoke-1"), (1840, "a-smoke-1")]


@pytest.mark.parametrize(("by", "identity"), [(BRAM, "a-smoke-1"), (ANNA, "a-smoke-2"), (ANNA, ""), ("", "a-smoke-1")])
def test_nobody_confirms_or_sends_back_what_was_not_told_to_them(by, identity):
    told = Told()
    told.tell("a-smoke-1")
    assert not told.notes.received(by, identity)
    assert told.bounced(identity, by=by) is None
    assert not told.notes.gives_receipts(BRAM)
    assert told.wait(61) == [(60, "a-smoke-1")]


def test_news_of_an_alert_takes_the_place_of_what_was_told_before_to_the_same_person():
    told = Told()
    told.tell("a-alert.frost-1", channel="alert.frost", change="raised")
    told.tell("a-alert.frost-1", channel="alert.frost", change="raised", to=BRAM)
    told.tell("a-alert.heat-1", channel="alert.heat", change="raised")
    told.tell("a-alert.frost-2", channel="alert.frost", change="reminded")
    assert told.left() == [(BRAM, "a-alert.frost-1"), (ANNA, "a-alert.heat-1"), (ANNA, "a-alert.frost-2")]


def test_each_value_of_an_alarm_channel_is_told_in_order():
    told = Told()
    for number in range(1, 4):
        told.tell(f"a-smoke-{number}")
    assert [identity for _, identity in told.wait(70)] == [f"a-smoke-{number}" for number in range(1, 4)]


def test_what_is_over_is_dropped_and_what_is_held_waits_without_losing_a_turn():
    told = Told()
    told.tell("a-smoke-1")
    told.fate = "hold"
    assert told.wait(3600) == []
    told.fate = "send"
    assert len(told.wait(7200)) == 3
    told.tell("a-smoke-2")
    told.fate = "drop"
    assert told.wait(3600) == []
    assert told.left() == []


def test_a_bounce_is_news_once_and_tried_again_three_times_also_for_those_who_give_no_receipts():
    told = Told(receipts=False)
    told.tell("a-smoke-1")
    sent = []
    for bounce in range(1, MOST_BOUNCES + 1):
        told.wait(2)
        assert told.bounced("a-smoke-1").bounces == bounce
        assert told.bounced("a-smoke-1") is None, "sent back twice, sent once"
        sent += told.wait(301)
    assert sent == [(302, "a-smoke-1"), (605, "a-smoke-1"), (908, "a-smoke-1")]
    assert told.bounced("a-smoke-1").bounces == MOST_BOUNCES + 1
    assert told.wait(7200) == []
    assert told.left() == []


def test_a_bounce_never_answers_at_once():
    told = Told()
    told.tell("a-smoke-1")
    for _ in range(100):
        told.bounced("a-smoke-1")
        told.login()
        assert told.wait(3) == []


def test_after_a_bounce_that_was_mended_it_goes_on_as_before():
    told = Told()
    told.tell("a-smoke-1")
    told.bounced("a-smoke-1")
    assert told.wait(400) == [(300, "a-smoke-1"), (360, "a-smoke-1")]


def test_who_missed_some_in_a_row_is_not_waited_for_until_the_next_receipt():
    told = Told()
    for number in range(MOST_MISSED):
        told.tell(f"a-smoke-{number}")
        assert len(told.wait(3600, step_s=10)) == 3
    told.tell("a-smoke-9")
    assert told.wait(600) == []
    assert told.notes.received(ANNA, "a-smoke-9")
    told.tell("a-smoke-10")
    assert told.wait(61) != []


def test_reminders_take_the_place_of_messages_that_were_missed_all_the_same():
    told, sent = Told(), 0
    for number in range(1, 8):
        told.tell(f"a-alert.frost-{number}", channel="alert.frost", change="reminded")
        sent += len(told.wait(900))
    assert sent == MOST_MISSED * 2


def test_what_is_over_before_anybody_could_have_missed_it_was_not_missed():
    told = Told()
    for number in range(1, 8):
        told.tell(f"a-alert.frost-{number}", channel="alert.frost", change="raised")
        told.wait(30)
    assert told.wait(61) != []


def test_after_a_night_without_a_link_they_do_not_all_come_at_once():
    told = Told()
    for number in range(50):
        told.tell(f"a-smoke-{number}")
    told.login()
    assert told.wait(9) == []
    sent = told.wait(60)
    assert len({identity for _, identity in sent}) == 50
    assert max([at_s for at_s, _ in sent].count(second) for second in range(70)) == AT_ONCE


def test_there_are_never_more_than_somebody_reads():
    told = Told()
    for number in range(MOST_NOTES + 7):
        told.tell(f"a-smoke-{number}")
    assert len(told.left()) == MOST_NOTES
    assert told.left()[0] == (ANNA, "a-smoke-7")


def test_a_disk_that_takes_nothing_for_days_makes_no_list_of_what_came_and_went():
    told = Told()
    for number in range(5 * MOST_NOTES):
        told.tell(f"a-smoke-{number}")
        told.notes.received(ANNA, f"a-smoke-{number - 1}")
    assert len(told.notes._unsaved) == 1


def test_what_went_while_it_was_written_is_taken_from_the_disk_next():
    told = Told()
    told.tell("a-smoke-1")
    notes, gone, _ = told.notes.unsaved()
    told.notes.received(ANNA, "a-smoke-1")
    told.notes.saved(notes, gone)
    assert told.notes.unsaved()[:2] == ([], [(ANNA, "a-smoke-1")])


steps = st.lists(
    st.tuples(st.sampled_from(["tell", "received", "bounced", "login", "wait", "save"]), st.integers(0, 5)), max_size=80
)


@given(steps)
def test_what_is_on_the_disk_is_what_there_is_and_nothing_is_sent_for_ever(steps):
    told, disk = Told(), {}
    for what, number in steps:
        identity = f"a-smoke-{number}"
        if what == "tell":
            told.tell(identity)
        elif what == "received":
            told.notes.received(ANNA, identity)
        elif what == "bounced":
            told.bounced(identity)
        elif what == "login":
            told.login()
        elif what == "wait":
            told.wait(number * 120, step_s=10)
        else:
            notes, gone, _ = told.notes.unsaved()
            disk = {key: note for key, note in disk.items() if key not in gone}
            disk |= {(note.jid, note.identity): note for note in notes}
            told.notes.saved(notes, gone)
            assert disk == told.notes._notes
            assert told.notes.unsaved()[:2] == ([], [])
    assert len(told.wait(86_400, step_s=60)) <= 6 * 3
    assert told.left() == []
