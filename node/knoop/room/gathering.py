"""Many equal alarms, one voice: who says an alert in a room, for whom, and when. Pure; see docs/adr/0011.

What is equal is a key: an alert's name and what happened to it (raised, acknowledged, cleared). Each node shows its
keys in its presence, and which of them are still to be said. After a while of gathering the node with the least nick
says a key for all; if it does not, the next one does in its turn. Whatever goes wrong, a node says its own alarm in
the end: disagreement makes more lines, never fewer. Times are nanoseconds of boottime.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from knoop.text import humane
from knoop.words import fold

GATHER_S = 2.0
SETTLE_S = 1.0  # after our own presence came back: a room that is late with ours is late with the others'
GATHER_MORE_S = 10.0  # within SAME_S of a line on the same key: a cold night reaches the slower sensors, too
SAME_S = 60.0
TURN_S = 1.5  # a line is reflected in 0.1 s, on a busy server with 50 nodes in 0.8 s
SLOW_TURNS = 4  # that many silent nodes of the least nicks are bad luck; the others follow quicker
QUICK_TURN_S = 0.25
LONGEST_TURN_S = 15.0  # occupants that show alerts and never speak must not keep ours from being said
MOST_ALERTS = 20  # in one presence
MOST_NODES = 2000
MOST_NAMES = 200  # that one node speaks for
NICK = re.compile(r"[\w.-]{1,40}")  # others could not be told apart in a list of names

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A key as a presence shows it: when it came about (UTC nanoseconds, None: not known), and whether it was said."""

    at_ns: int | None = None
    said: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """A key to be said now, and the other nodes to name with it, by nick."""

    key: Key
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    since_ns: int
    at_ns: int | None


@dataclass(slots=True)
class _Other:
    seen_ns: int
    initial: bool
    shown: Shown
    heard: bool = False


class Gathering:
    """One stay in a room. `nick` is ours there."""

    def __init__(self, nick: str) -> None:
        self.nick = nick
        self._own: dict[Key, _Own] = {}
        self._others: dict[str, dict[Key, _Other]] = {}
        self._lines: dict[Key, int] = {}
        self._mirrored: dict[Key, tuple[int | None, int]] = {}  # (when it came about, when the room showed it)

    def wants(self, keys: Mapping[Key, tuple[int, int | None]]) -> None:
        """These of ours are to be said; each with when it came about (boottime, UTC or None)."""
        self._own = {key: _Own(since_ns=since, at_ns=at) for key, (since, at) in keys.items()}

    def shows(self, nick: str, keys: Mapping[Key, Shown], now_ns: int, *, initial: bool = False) -> None:
        """The presence of another occupant; `initial` when it was there before us."""
        if nick == self.nick:
            return
        before = self._others.pop(nick, {})
        if not keys or not NICK.fullmatch(nick) or len(self._others) >= MOST_NODES:
            return
        after: dict[Key, _Other] = {}
        for key, shown in list(keys.items())[:MOST_ALERTS]:
            known = before.get(key)
            if known is None or known.shown.at_ns != shown.at_ns or (known.shown.said and not shown.said):
                after[key] = _Other(seen_ns=now_ns, initial=initial, shown=shown)
            else:
                known.shown = shown
                after[key] = known
        self._others[nick] = after

    def mirrors(self, keys: Mapping[Key, Shown], now_ns: int) -> None:
        """The room reflected our own presence: what it shows everybody has, or will have in a moment."""
        before, self._mirrored = self._mirrored, {}
        for key, shown in keys.items():
            if not shown.said:
                known = before.get(key)
                self._mirrored[key] = known if known and known[0] == shown.at_ns else (shown.at_ns, now_ns)

    def gone(self, nick: str) -> None:
        """An occupant left."""
        self._others.pop(nick, None)

    def hears(self, nick: str, keys: Iterable[Key], text: str, now_ns: int) -> frozenset[Key]:
        """A line of another occupant about `keys`; returns which of ours it says.

        It must be from a node that shows the same key, and name us and the alert in its text: who wants to keep an
        alarm from being said by that has to announce it to everybody.
        """
        shown = self._others.get(nick, {})
        about = [key for key in list(keys)[:MOST_ALERTS] if key in shown]
        head, _, listed = text.partition(": ")
        named = {nick, *(listed.split(", ") if len(about) == 1 else ())}
        ours = set()
        for key in about:
            if fold(humane(key[0])) not in fold(head):
                continue
            self._said(key, now_ns)
            for name in named:
                if (other := self._others.get(name, {}).get(key)) is not None:
                    other.heard = True
            if self.nick in named and key in self._own:
                ours.add(key)
        return frozenset(ours)

    def spoke(self, saying: Saying, now_ns: int) -> None:
        """Our own line was reflected."""
        self._said(saying.key, now_ns)
        for nick in saying.others:
            if (other := self._others.get(nick, {}).get(saying.key)) is not None:
                other.heard = True

    def due(self, now_ns: int) -> tuple[Saying, ...]:
        """What to say now: nothing before its time; with it what waits and nobody else has."""
        times = {key: self._time(key) for key in self._own}
        if not any(at <= now_ns for at in times.values()):
            return ()
        sayings = (Saying(key=key, others=self._candidates(key, now_ns)) for key in self._own)
        return tuple(saying for saying in sayings if times[saying.key] <= now_ns or not saying.others)

    def next_ns(self) -> int | None:
        """When to ask `due` next, if nothing happens before; None while nothing of ours waits."""
        return min(map(self._time, self._own), default=None)

    def _time(self, key: Key) -> int:
        """When our turn for a key comes: the gathering, then a while for each node before us."""
        own, line_ns = self._own[key], self._lines.get(key)
        at_ns, mirrored_ns = self._mirrored.get(key, (None, None))
        if _second(at_ns) != _second(own.at_ns):
            mirrored_ns = None  # of an earlier time that it came about
        busy = mirrored_ns is None or (line_ns is not None and own.since_ns - line_ns < SAME_S * 1e9)
        closes_ns = own.since_ns + round((GATHER_MORE_S if busy else GATHER_S) * 1e9)
        closes_ns = max(closes_ns, (mirrored_ns or 0) + round(SETTLE_S * 1e9))
        rank = sum(nick < self.nick for nick in self._candidates(key, closes_ns))
        turns_s = TURN_S * min(rank, SLOW_TURNS) + QUICK_TURN_S * max(rank - SLOW_TURNS, 0)
        return closes_ns + round(min(turns_s, LONGEST_TURN_S) * 1e9)

    def _candidates(self, key: Key, until_ns: int) -> tuple[str, ...]:
        """The other nodes for whom a key is still to be said, of those seen until then; sorted, bounded."""
        own = self._own[key]
        found = (nick for nick, keys in self._others.items() if _same(keys.get(key), own, until_ns))
        return tuple(sorted(found)[:MOST_NAMES])

    def _said(self, key: Key, now_ns: int) -> None:
        self._lines.pop(key, None)
        self._lines[key] = now_ns
        if len(self._lines) > 10 * MOST_ALERTS:
            del self._lines[next(iter(self._lines))]


def _same(other: _Other | None, own: _Own, until_ns: int) -> bool:
    """Whether another's key came about with ours, within a minute: what was there before us is judged by its time."""
    if other is None or other.heard or other.shown.said or other.seen_ns > until_ns:
        return False
    if not other.initial:
        return own.since_ns - other.seen_ns < SAME_S * 1e9
    at_ns = other.shown.at_ns
    return at_ns is not None and own.at_ns is not None and abs(at_ns - own.at_ns) < SAME_S * 1e9


def _second(at_ns: int | None) -> int | None:
    """What a presence says of an instant."""
    return None if at_ns is None else at_ns // 1_000_000_000
