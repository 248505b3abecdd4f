"""What is late, and what acted already."""

import pytest

from knoop.xmpp.fresh import LATE_AFTER_S, PING_EVERY_S, TICK_EVERY_S, Freshness, Seen, digest

S = 1_000_000_000


def running(fresh, start_s, end_s):
    for second in range(start_s, end_s + 1):
        fresh.tick(second * S)


def test_a_quiet_link_is_fresh():
    fresh = Freshness(0)
    running(fresh, 1, 14)
    assert not fresh.late(14 * S)


def test_late_while_a_ping_waits_for_more_than_five_seconds_and_until_a_prompt_pong():
    fresh = Freshness(0)
    running(fresh, 1, 15)
    fresh.ping("a", 15 * S)
    running(fresh, 16, 20)
    assert not fresh.late(20 * S)
    running(fresh, 21, 21)
    assert fresh.late(20 * S + 1)
    assert fresh.late(21 * S)
    assert fresh.pong("a", 21 * S), "a late pong asks for another ping: what stands behind it is as old"
    assert fresh.late(21 * S)
    fresh.ping("b", 21 * S)
    assert not fresh.pong("b", 22 * S)
    assert not fresh.late(22 * S)


def test_what_stands_behind_a_late_pong_is_late():
    """A downlink that stalled for 10 s gave a ten seconds old command right behind the pong that ended its lateness."""
    fresh = Freshness(0)
    fresh.ping("a", 0)
    running(fresh, 1, 10)
    fresh.pong("a", 10 * S)
    assert fresh.late(10 * S + 30_000_000)


def test_the_pong_of_a_later_ping_answers_for_the_earlier_one():
    fresh = Freshness(0)
    fresh.ping("a", 0)
    fresh.ping("b", 1 * S)
    fresh.pong("b", 2 * S)
    assert fresh.waiting_s(2 * S) == 0


def test_the_pong_of_an_earlier_ping_says_nothing_of_a_later_one():
    fresh = Freshness(0)
    fresh.ping("a", 0)
    fresh.ping("b", 1 * S)
    fresh.pong("a", 2 * S)
    assert fresh.waiting_s(7 * S) == 6
    running(fresh, 1, 7)
    assert fresh.late(7 * S)


def test_a_pong_of_no_known_ping_says_nothing():
    fresh = Freshness(0)
    fresh.ping("a", 0)
    assert not fresh.pong("x", 1 * S)
    assert fresh.waiting_s(2 * S) == 2


def test_a_process_that_was_stopped_finds_everything_late_until_a_new_pong():
    fresh = Freshness(0)
    running(fresh, 1, 3)
    assert fresh.late(63 * S), "the first stanza after SIGCONT may be handled before any timer"
    assert fresh.tick(63 * S), "a stall asks for a ping at once"
    assert fresh.late(63 * S)
    fresh.ping("a", 63 * S)
    assert fresh.late(63 * S + 1)
    fresh.pong("a", 64 * S)
    assert not fresh.late(64 * S)


@pytest.mark.parametrize("drift_ms", [0, 7, 400])
def test_the_longest_delay_that_acts(drift_ms):
    """A command leaves the server as the connection stalls, and arrives as it goes on: nothing has a stamp.

    Every moment between two pings, every length of the stall, in tenths of a second; `drift_ms` is how late each tick
    is. The promise is 20 s and a round trip (docs/adr/0036).
    """
    tick_ms = round(TICK_EVERY_S * 1000) + drift_ms
    ticks = range(tick_ms, 60_000, tick_ms)
    pings, last = [], 0
    for tick in ticks:
        if tick - last >= PING_EVERY_S * 1000:
            pings.append(tick)
            last = tick
    longest = 0
    for stalls in range(pings[0] + 1, pings[1] + 1, 100):
        for arrives in range(stalls, stalls + 25_000, 100):
            fresh = Freshness(0)
            for tick in range(tick_ms, arrives, tick_ms):
                fresh.tick(tick * S // 1000)
                if tick in pings:
                    fresh.ping(f"p{tick}", tick * S // 1000)
                    if tick < stalls:  # whose answer came before the stall
                        fresh.pong(f"p{tick}", tick * S // 1000)
            if not fresh.late(arrives * S // 1000):
                longest = max(longest, arrives - stalls)
    assert 16 <= longest / 1000 <= PING_EVERY_S + TICK_EVERY_S + 2 * drift_ms / 1000 + LATE_AFTER_S < 20


def test_pings_do_not_multiply_on_a_link_that_is_always_slow():
    """With a round trip of 6 s every pong is late and asks for a ping: there must not be ever more of them."""
    fresh, under_way, most = Freshness(0), {}, 0
    for second in range(1, 601):
        fresh.tick(second * S)
        if second % 15 == 0:
            under_way[f"p{second}"] = second
            fresh.ping(f"p{second}", second * S)
        for ping_id, sent in list(under_way.items()):
            if second - sent >= 6:
                del under_way[ping_id]
                if fresh.pong(ping_id, second * S):
                    under_way[f"a{second}"] = second
                    fresh.ping(f"a{second}", second * S)
        most = max(most, len(under_way))
    assert most <= 2


def test_an_id_acts_once_per_sender_and_memory_is_bounded():
    seen = Seen()
    assert seen.first_time("anna@example.org", "1")
    assert not seen.first_time("anna@example.org", "1")
    assert seen.first_time("bram@example.org", "1")
    assert seen.first_time("anna@example.org", "") and seen.first_time("anna@example.org", "")
    for number in range(2000):
        seen.first_time("anna@example.org", f"n{number}")
    assert len(seen._seen) == 1000
    seen.first_time("anna@example.org", "x" * 200_000)
    assert not seen.first_time("anna@example.org", "x" * 200_000)
    assert max(len(key) for key in seen._seen) == 16, "a long id takes no more memory than a short one"


def test_what_is_remembered_from_before_is_no_first_time():
    seen = Seen()
    seen.remember(digest("anna@example.org", "1"))
    assert not seen.first_time("anna@example.org", "1")
    assert seen.first_time("bram@example.org", "1")
    assert digest("anna@example.org", "") is None
