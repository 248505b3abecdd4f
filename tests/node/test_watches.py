"""Watches end by themselves, do not chatter, and say the newest value."""

from knoop.jid import Jid
from knoop.record import Record
from knoop.watches import MAX_WATCHES, OF_DOMAINS, PER_PERSON, Due, Watches

S = 1_000_000_000
PHONE = Jid("anna", "example.org", "phone")
DESK = Jid("anna", "example.org", "desk")
BRAM = Jid("bram", "example.org", "laptop")
AIR = ("air.temperature",)


def record(seq, channel="air.temperature"):
    return Record(
        run="aaaaaaaa", channel=channel, seq=seq, cls="telemetry", type="number", value=float(seq), boot="b",
        boottime_ns=seq * S, at_ns=None,
    )


def test_only_the_device_that_asked_is_told_and_only_of_its_channels():
    watches = Watches()
    watches.start(PHONE, ["air.temperature"], until_ns=100 * S)
    assert watches.feed(record(1), 0) == [Due(PHONE, AIR, (record(1),))]
    assert watches.feed(record(1, "door"), 0) == []
    assert watches.stop(DESK) == 0
    assert watches.stop(PHONE) == 1
    assert watches.feed(record(2), 10 * S) == []


def test_quick_changes_are_held_and_the_newest_is_said():
    watches = Watches()
    watches.start(PHONE, ["air.temperature"], until_ns=100 * S)
    assert watches.feed(record(1), 0)
    assert not watches.feed(record(2), 1 * S)
    assert not watches.feed(record(3), 2 * S)
    assert watches.due(4 * S) == []
    assert watches.due(5 * S) == [Due(PHONE, AIR, (record(3),))]
    assert watches.due(11 * S) == []


def test_a_watch_ends_by_itself():
    watches = Watches()
    watches.start(PHONE, ["air.temperature"], until_ns=10 * S)
    assert watches.feed(record(1), 11 * S) == []
    assert watches.due(11 * S) == [Due(PHONE, AIR, (), ended=True)], "and says so"
    assert watches.due(12 * S) == []
    assert watches.stop(PHONE) == 0


def test_several_channels_are_due_together_and_one_message_has_one_pace():
    watches = Watches()
    watches.start(PHONE, ["air.temperature", "door"], until_ns=100 * S)
    watches.as_one(PHONE)
    assert watches.channels(PHONE) == ("air.temperature", "door")
    assert watches.feed(record(1), 0) == [Due(PHONE, ("air.temperature", "door"), (record(1),))]
    assert watches.feed(record(1, "door"), 1 * S) == [], "the message changed a second ago"
    assert watches.feed(record(2), 2 * S) == []
    [due] = watches.due(5 * S)
    assert set(due.records) == {record(1, "door"), record(2)}
    assert watches.due(6 * S) == []


def test_who_lost_every_right_is_told_no_more():
    watches = Watches()
    watches.start(PHONE, ["air.temperature"], until_ns=100 * S)
    watches.start(BRAM, ["air.temperature"], until_ns=100 * S)
    watches.keep(lambda watcher: watcher == BRAM)
    assert watches.feed(record(1), 0) == [Due(BRAM, AIR, (record(1),))]


def test_a_device_that_went_offline_is_told_no_more():
    watches = Watches()
    for watcher in (PHONE, DESK):
        watches.start(watcher, ["air.temperature"], until_ns=100 * S)
    watches.gone(PHONE)
    watches.gone(BRAM)
    assert watches.feed(record(1), 0) == [Due(DESK, AIR, (record(1),))]


def test_their_number_is_bounded_and_nobody_takes_anothers_place():
    watches = Watches()
    watches.start(BRAM, ["air.temperature"], until_ns=100 * S)
    for number in range(MAX_WATCHES + 5):
        watches.start(Jid("anna", "example.org", f"r{number}"), ["air.temperature"], until_ns=100 * S)
    told = [due.watcher for due in watches.feed(record(1), 0)]
    assert (told[0], len(told)) == (BRAM, 1 + PER_PERSON)
    assert told[-1].resource == f"r{MAX_WATCHES + 4}", "hers that she began last"
    for number in range(MAX_WATCHES):
        watches.start(Jid(f"c{number % 12}", "house.example", f"r{number}"), ["air.temperature"], until_ns=100 * S)
    told = [due.watcher for due in watches.feed(record(2), 10 * S)]
    assert len(told) == MAX_WATCHES
    assert BRAM in told, "who watches most makes room"


def test_accounts_by_the_hundred_of_a_domain_end_nobodys_watch_who_was_named():
    watches = Watches()
    watches.start(BRAM, ["air.temperature"], until_ns=100 * S)
    for number in range(300):
        guest = Jid(f"guest{number}", "house.example", "x")
        watches.start(guest, ["air.temperature"], until_ns=100 * S, individual=False)
    told = [due.watcher for due in watches.feed(record(1), 0)]
    assert told[0] == BRAM
    assert len(told) == 1 + OF_DOMAINS
