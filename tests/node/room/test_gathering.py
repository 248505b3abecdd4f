"""Many equal alarms in one room: few lines, and every alarm in some line, whatever is late or lost."""

import heapq
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knoop.room.gathering import GATHER_MORE_S, GATHER_S, LONGEST_TURN_S, MOST_NAMES, TURN_S, Gathering, Saying, Shown

FROST = ("frost", "raised")
DOOR = ("door_open", "raised")
S = 1_000_000_000


def gathering(nick="n05", *, frost=None):
    """One that shows frost and door to the room; `frost`: since when that waits."""
    made = Gathering(nick)
    made.mirrors({FROST: Shown(), DOOR: Shown()}, 0)
    if frost is not None:
        made.wants({FROST: (frost * S, None)})
    return made


def test_a_room_that_is_late_with_our_own_presence_is_waited_for():
    made = Gathering("n05")
    made.wants({FROST: (100 * S, None)})
    assert made.due(103 * S) == ()
    made.mirrors({FROST: Shown()}, 104 * S)
    assert made.due(104 * S) == ()
    assert made.due(105 * S) == (Saying(key=FROST),)


def test_a_room_that_never_shows_our_own_presence_hears_us_all_the_same():
    made = Gathering("n05")
    made.wants({FROST: (100 * S, None)})
    made.mirrors({FROST: Shown(said=True)}, 101 * S)
    assert made.next_ns() == round((100 + GATHER_MORE_S) * S)
    assert made.due(made.next_ns())


def test_alone_a_node_speaks_after_two_seconds():
    made = gathering(frost=100)
    assert made.due(100 * S) == ()
    assert made.next_ns() == round((100 + GATHER_S) * S)
    assert made.due(made.next_ns()) == (Saying(key=FROST),)


def test_the_least_nick_speaks_for_all_and_the_others_wait_for_their_turn():
    made = gathering(frost=100)
    for nick in ("n07", "n06"):
        made.shows(nick, {FROST: Shown()}, 101 * S)
    assert made.due(102 * S) == (Saying(key=FROST, others=("n06", "n07")),)
    made.shows("n04", {FROST: Shown()}, 101 * S)
    assert made.due(102 * S) == ()
    assert made.next_ns() == round((102 + TURN_S) * S)


def test_who_speaks_before_us_and_dies_is_waited_for_no_longer():
    made = gathering(frost=100)
    made.shows("n04", {FROST: Shown()}, 101 * S)
    made.gone("n04")
    assert made.due(102 * S) == (Saying(key=FROST),)


def test_what_came_after_our_gathering_takes_no_turn_before_us_but_is_named():
    made = gathering(frost=100)
    made.shows("n04", {FROST: Shown()}, 102 * S + 1)
    assert made.due(103 * S) == (Saying(key=FROST, others=("n04",)),)


@pytest.mark.parametrize(
    "shown",
    [{DOOR: Shown()}, {("frost", "cleared"): Shown()}, {FROST: Shown(said=True)}, {}],
    ids=["another alert", "over there", "said already", "nothing"],
)
def test_another_alert_is_not_ours(shown):
    made = gathering(frost=100)
    made.shows("n04", shown, 101 * S)
    assert made.due(102 * S) == (Saying(key=FROST),)


def test_an_old_alert_is_not_gathered_with_a_new_one():
    made = gathering()
    made.shows("n04", {FROST: Shown()}, 10 * S)
    made.wants({FROST: (100 * S, None)})
    assert made.due(102 * S) == (Saying(key=FROST),)


@pytest.mark.parametrize(("at_s", "others"), [(1000, ("n07",)), (1059, ("n07",)), (900, ()), (None, ())])
def test_what_was_there_before_us_is_judged_by_its_time(at_s, others):
    made = gathering()
    made.shows("n07", {FROST: Shown(at_ns=at_s and at_s * S)}, 99 * S, initial=True)
    made.mirrors({FROST: Shown(at_ns=1000 * S)}, 0)
    made.wants({FROST: (100 * S, 1000 * S)})
    assert made.due(102 * S) == (Saying(key=FROST, others=others),)


def test_an_alert_that_is_raised_again_is_gathered_again():
    made = gathering(frost=100)
    made.shows("n07", {FROST: Shown(said=True)}, 50 * S)
    made.shows("n07", {FROST: Shown()}, 101 * S)
    assert made.due(102 * S) == (Saying(key=FROST, others=("n07",)),)


def test_within_a_minute_of_a_line_more_is_gathered():
    made = gathering()
    made.shows("n01", {FROST: Shown()}, 90 * S)
    assert not made.hears("n01", [FROST], "Alert frost at 2 nodes: n01, n02", 95 * S)
    made.wants({FROST: (100 * S, None)})
    assert made.next_ns() == round((100 + GATHER_MORE_S) * S)
    made.wants({FROST: (160 * S, None)})
    assert made.next_ns() == round((160 + GATHER_S) * S)


LINE = "Alert frost at 3 nodes: n01, n05, n09"


@pytest.mark.parametrize("line", [LINE, "Alarm frost bij 3 nodes: n01, n05, n09"])
def test_a_line_that_names_us_and_the_alert_says_ours(line):
    made = gathering(frost=100)
    made.shows("n01", {FROST: Shown()}, 100 * S)
    made.shows("n09", {FROST: Shown()}, 100 * S)
    assert made.hears("n01", [FROST], line, 101 * S) == {FROST}
    assert made.due(200 * S)[0].others == (), "who was named is not named again"


@pytest.mark.parametrize(
    ("speaker", "keys", "line"),
    [
        ("anna", [FROST], LINE),
        ("n01", [], LINE),
        ("n01", [DOOR], LINE),
        ("n01", [("frost", "cleared")], LINE),
        ("n01", [FROST], "Alert frost at 3 nodes: n01, n06, n09"),
        ("n01", [FROST], "Alert frost at 3 nodes: n01, n055, n09"),
        ("n01", [FROST], "Alert at 3 nodes: n01, n05, n09"),
        ("n01", [FROST], "n05 frost"),
        ("n01", [FROST], "Critical alert frost: Air temperature is 0.5 °C."),
        ("n01", [FROST, DOOR], "2 alerts: frost, n05"),
        ("n01", [FROST], ""),
    ],
    ids=[
        "somebody who shows no such alert", "a line about nothing", "a line about another alert", "what is over",
        "without our name", "a longer name", "without the alert's name", "without a list", "its own line",
        "a list of alerts", "nothing",
    ],
)  # fmt: skip
def test_no_other_line_keeps_ours_from_being_said(speaker, keys, line):
    made = gathering(frost=100)
    made.shows("n01", {FROST: Shown()}, 100 * S)
    assert not made.hears(speaker, keys, line, 101 * S)


@pytest.mark.parametrize("nick", ["n01, n05", "n01: n05", "a b", "x" * 41, "", "n05\n"])
def test_a_nick_that_could_not_be_told_apart_in_a_list_is_not_gathered(nick):
    made = gathering(frost=100)
    made.shows(nick, {FROST: Shown()}, 101 * S)
    assert made.due(102 * S) == (Saying(key=FROST),)


def test_occupants_that_show_alerts_and_never_speak_hold_ours_up_for_a_bounded_time():
    made = gathering("zoo", frost=100)
    for number in range(2500):
        made.shows(f"a{number}", {FROST: Shown()}, 101 * S)
    assert made.next_ns() <= round((100 + GATHER_S + LONGEST_TURN_S) * S)
    (saying,) = made.due(made.next_ns())
    assert len(saying.others) == MOST_NAMES


def test_what_waits_and_nobody_else_has_goes_with_what_is_due():
    made = gathering()
    made.wants({FROST: (100 * S, None), DOOR: (101 * S, None)})
    assert made.due(102 * S) == (Saying(key=FROST), Saying(key=DOOR))


# ── a whole room ─────────────────────────────────────────────────────────────────────────────────────────────────────


class World:
    """Nodes in one room: presences and lines arrive after `delay()`, a line is lost to everybody when `loses()`."""

    def __init__(self, raised_s, delay, loses, dies=()):
        self.nodes = {nick: Gathering(nick) for nick in raised_s}
        self.lines = []
        self.told = {}
        self.waiting = set(raised_s)
        self.speaking = set()
        self.dead = set()
        self._delay, self._loses = delay, loses
        self._events, self._count = [], itertools.count()
        for nick, at_s in raised_s.items():
            self.at(round(at_s * S), self.raise_, nick)
        for nick, at_s in dies:
            self.at(round(at_s * S), self.die, nick)

    def at(self, when_ns, what, *arguments):
        heapq.heappush(self._events, (when_ns, next(self._count), what, arguments))

    def run(self, most=100_000):
        for _ in range(most):
            if not self._events:
                return self
            self.now, _, what, arguments = heapq.heappop(self._events)
            what(*arguments)
        raise AssertionError("it never ends")

    def raise_(self, nick):
        if nick in self.dead:
            return
        self.nodes[nick].wants({FROST: (self.now, None)})
        for other in sorted(self.nodes.keys() - {nick}):
            self.at(self.now + self.delay(), self.show, other, nick)
        self.at(self.now + self.delay(), self.mirror, nick)
        self.look(nick)

    def mirror(self, nick):
        self.nodes[nick].mirrors({FROST: Shown()}, self.now)
        self.look(nick)

    def show(self, other, nick):
        if nick not in self.dead:
            self.nodes[other].shows(nick, {FROST: Shown()}, self.now)

    def die(self, nick):
        self.dead.add(nick)
        self.waiting.discard(nick)
        for other in sorted(self.nodes.keys() - {nick}):
            self.at(self.now + self.delay(), self.nodes[other].gone, nick)

    def delay(self):
        return round(self._delay() * S)

    def look(self, nick):
        node = self.nodes[nick]
        if nick not in self.waiting or nick in self.dead | self.speaking:
            return
        sayings = node.due(self.now)
        if not sayings:
            self.at(max(node.next_ns(), self.now + 1), self.look, nick)
            return
        names = sorted({nick, *sayings[0].others})
        line = f"Alert frost at {len(names)} nodes: {', '.join(names)}" if len(names) > 1 else "Alert frost: 0 °C."
        self.lines.append(line)
        self.speaking.add(nick)
        if self._loses():
            self.at(self.now + 20 * S, self.again, nick)  # not reflected: it is tried again
            return
        after = self.now + self.delay()
        self.at(after, self.reflected, nick, sayings[0], line, frozenset(names))
        for other in sorted(self.nodes.keys() - {nick}):
            self.at(after + self.delay(), self.hear, other, nick, line)

    def again(self, nick):
        self.speaking.discard(nick)
        self.look(nick)

    def reflected(self, nick, saying, line, names):
        self.nodes[nick].spoke(saying, self.now)
        self.take(nick, names)

    def hear(self, other, nick, line):
        if other not in self.dead and self.nodes[other].hears(nick, [FROST], line, self.now) and other in self.waiting:
            self.take(other, frozenset(line.partition(": ")[2].split(", ")))

    def take(self, nick, names):
        assert nick in names, "a node takes its alarm as said only by a line with its name"
        self.waiting.discard(nick)
        self.told[nick] = self.now


def storm(count, spread_s, *, delay_s=0.2, loss=0.0, seed=1, dies=()):
    rng = random.Random(seed)
    raised = {f"n{number:02}": 100 + rng.uniform(0, spread_s) for number in range(count)}
    return World(raised, lambda: rng.uniform(0, delay_s), lambda: rng.random() < loss, dies).run()


@pytest.mark.parametrize("seed", range(20))
def test_fifty_at_once_are_one_line(seed):
    world = storm(50, 0.1, seed=seed)
    assert len(world.lines) == 1
    assert not world.waiting


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_server_makes_a_few_more(seed):
    world = storm(50, 0.1, delay_s=1.2, seed=seed)
    assert len(world.lines) <= 3
    assert not world.waiting


@pytest.mark.parametrize("seed", range(20))
def test_a_lost_line_is_said_by_the_next_node(seed):
    world = storm(50, 0.1, loss=0.3, seed=seed)
    assert not world.waiting
    assert len(world.lines) <= 6


@pytest.mark.parametrize("seed", range(20))
def test_half_a_minute_of_frost_is_a_handful_of_lines(seed):
    world = storm(50, 30.0, seed=seed)
    assert len(world.lines) <= 7
    assert not world.waiting


def test_the_elected_node_dies_before_it_speaks():
    worlds = [storm(50, 0.1, seed=seed, dies=[("n00", 101.5), ("n01", 101.9)]) for seed in range(20)]
    assert not any(world.waiting for world in worlds)
    counts = sorted(len(world.lines) for world in worlds)
    assert counts[-2] <= 2
    assert counts[-1] <= 3, "and that is rare"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 30), spread_s=st.floats(0, 90), delay_s=st.floats(0, 5),
    loss=st.floats(0, 0.5),
)  # fmt: skip
def test_every_alarm_appears_in_some_line(seed, count, spread_s, delay_s, loss):
    world = storm(count, spread_s, delay_s=delay_s, loss=loss, seed=seed)
    assert not world.waiting
    everything = " ".join(world.lines)
    assert all(nick in everything or "0 °C" in everything for nick in world.nodes)
