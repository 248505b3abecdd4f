"""Edges that come fast: none uncounted, and the loop is not woken for each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.kernel_edges import Ahead, Numbers, Pace

S = 1_000_000_000


class TestNumbers:
    def test_the_first_number_is_one(self):
        assert Numbers().lost(1) == 0
        assert Numbers().lost(5) == 4

    def test_numbers_wrap_at_32_bits(self):
        numbers = Numbers()
        numbers.lost(2**32 - 2)
        assert [numbers.lost(number) for number in (2**32 - 1, 0, 1, 4)] == [0, 0, 0, 2]

    @given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(0, 2**32 - 1))
    def test_what_is_kept_and_what_is_lost_is_all_there_was(self, kept, begin):
        numbers = Numbers()
        numbers.lost(begin)
        told = [numbers.lost((begin + index) % 2**32) for index, there in enumerate(kept, 1) if there]
        last = max((index for index, there in enumerate(kept, 1) if there), default=0)
        assert len(told) + sum(told) == last


class TestPace:
    def test_a_bouncing_contact_is_never_made_to_wait(self):
        pace = Pace()
        assert [pace.rest_s(3 * S + index * 100_000) for index in range(Pace.BURST - 1)] == [0] * (Pace.BURST - 1)

    def test_a_few_edges_a_second_never_wait(self):
        pace = Pace()
        assert not any(pace.rest_s(index * S // 40) for index in range(10_000))

    def test_in_a_storm_it_wakes_fifty_times_a_second(self):
        pace, now, wakes = Pace(), 7 * S, 0
        while now < 17 * S:  # there is always something to read
            wakes += 1
            now += int(pace.rest_s(now) * 1e9) + 10_000
        assert Pace.BURST + 9 * Pace.PER_S <= wakes <= Pace.BURST + 10 * Pace.PER_S + 1

    def test_after_a_calm_second_it_is_as_before(self):
        pace = Pace()
        while not pace.rest_s(S):
            pass
        assert pace.rest_s(3 * S) == 0


def test_a_program_that_had_to_wait_between_two_clocks_stamps_no_edge_too_early():
    ahead = Ahead()
    assert ahead.seen(5_000, 2_000) == 3_000
    assert ahead.seen(6_000, 9_000) == 3_000, "it waited for 6 µs"
    assert ahead.seen(20_000, 10_000) == 10_000, "it slept"
