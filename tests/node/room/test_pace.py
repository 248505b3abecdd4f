"""One thing in five seconds, ten waiting, and what was left out is said."""

from knoop.room.pace import EVERY_S, MOST, Pace

S = 1_000_000_000


def said(pace, until_s):
    """What is said when, in whole seconds."""
    taken = ((second, pace.take(second * S)) for second in range(until_s))
    return [(second, *one) for second, one in taken if one is not None]


def test_the_first_is_said_at_once_and_the_next_after_five_seconds():
    pace = Pace()
    for text in "abc":
        assert pace.add(text)
    assert said(pace, 30) == [(0, "a", 0), (5, "b", 0), (10, "c", 0)]


def test_what_is_too_much_is_counted_and_told_by_the_last():
    pace = Pace()
    taken = [pace.add(str(number)) for number in range(MOST + 3)]
    assert taken.count(False) == 3
    found = said(pace, 200)
    assert len(found) == MOST
    assert [dropped for *_, dropped in found] == [0] * (MOST - 1) + [3]
    pace.add("again")
    assert said(pace, 300)[0][2] == 0, "it is told once"


def test_something_said_otherwise_counts_too():
    pace = Pace()
    pace.said(10 * S)
    pace.add("a")
    assert pace.take(12 * S) is None
    assert pace.take(round((10 + EVERY_S) * S)) == ("a", 0)
