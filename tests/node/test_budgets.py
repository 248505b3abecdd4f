"""How much somebody may still ask: bursts, rates, what is told of a flood, and how many people are known."""

from knoop.budgets import MOST, Budgets
from knoop.jid import Jid

ANNA, BRAM = Jid("anna", "example.org"), Jid("bram", "example.org")
S = 10**9


def spent(budgets, count, now_ns, who=ANNA):
    return [budgets.spend(who, now_ns) for _ in range(count)]


def test_a_burst_at_once_and_then_so_many_a_second_and_never_more_than_a_burst():
    budgets = Budgets(burst=4, per_s=2)
    assert [enough for enough, _ in spent(budgets, 6, 0)] == [True] * 4 + [False] * 2
    assert [enough for enough, _ in spent(budgets, 3, S)] == [True, True, False]
    assert sum(enough for enough, _ in spent(budgets, 9, 3600 * S)) == 4
    assert budgets.spend(BRAM, 0) == (True, False), "somebody else's is their own"


def test_what_there_is_left_is_not_spent_by_asking():
    budgets = Budgets(burst=2, per_s=1)
    assert [budgets.left(ANNA, 0) for _ in range(5)] == [2] * 5
    budgets.spend(ANNA, 0)
    assert (budgets.left(ANNA, 0), budgets.left(ANNA, S // 2), budgets.left(ANNA, 9 * S)) == (1, 1.5, 2)


def test_of_a_flood_is_told_once_and_of_the_next_one_again():
    budgets = Budgets(burst=4, per_s=1)
    assert [tell for _, tell in spent(budgets, 9, 0)] == [False] * 4 + [True] + [False] * 4
    assert [tell for _, tell in spent(budgets, 3, S)] == [False] * 3, "it goes on"
    assert [tell for _, tell in spent(budgets, 6, 3 * S)] == [False] * 2 + [True] + [False] * 3, "half of it was back"


def test_of_more_people_than_are_known_the_one_who_was_silent_longest_begins_anew():
    budgets = Budgets(burst=2, per_s=0)
    for who in (ANNA, BRAM, ANNA):
        budgets.spend(who, 0)
    for number in range(MOST - 1):
        budgets.spend(Jid(f"u{number}", "example.org"), 0)
    assert budgets.left(BRAM, 0) == 2, "forgotten"
    assert budgets.left(ANNA, 0) == 0, "who asked again after Bram is not"
    assert len(budgets._left) == MOST
