"""Whether what just arrived was said just now. Pure: times come in as arguments (nanoseconds of CLOCK_BOOTTIME).

A stamp (XEP-0203) admits lateness; its absence proves nothing: a server's stream management, a stalled link or a
stopped process deliver late stanzas unstamped (measured with Prosody 0.12: up to 12.7 s). So a ping goes out every
12 s, and while one is unanswered for more than 5 s, or after the process itself did not run for 5 s, everything is
late until a prompt pong has come behind it on the same, ordered stream (RFC 6120 §10.1).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

PING_EVERY_S = 12.0
LATE_AFTER_S = 5.0
DEAD_AFTER_S = 15.0  # a half-open link is found within PING_EVERY_S + TICK_EVERY_S + this: 28 s (docs/adr/0028)
TICK_EVERY_S = 1.0
REMEMBERED_IDS = 1000


class Freshness:
    """The punctuality of one link."""

    def __init__(self, now_ns: int) -> None:
        self._ticked_ns = now_ns
        self._pings: OrderedDict[str, int] = OrderedDict()
        self._stalled = False

    def tick(self, now_ns: int) -> bool:
        """The process runs; call every TICK_EVERY_S. True when it had stopped: ping at once."""
        gap_ns, self._ticked_ns = now_ns - self._ticked_ns, now_ns
        if gap_ns > LATE_AFTER_S * 1e9:
            self._stalled = True
            return True
        return False

    def ping(self, ping_id: str, now_ns: int) -> None:
        """A ping with this id was written to the stream."""
        self._pings[ping_id] = now_ns

    def pong(self, ping_id: str, now_ns: int) -> bool:
        """The answer came: everything sent before that ping has arrived, too. True when it came late: ping at once.

        What stands behind a late pong waited as long as it did, so only a prompt one ends the lateness.
        """
        sent_ns = self._pings.get(ping_id)
        if sent_ns is None:
            return False
        while self._pings.popitem(last=False)[0] != ping_id:
            pass
        self._stalled = now_ns - sent_ns > LATE_AFTER_S * 1e9
        return self._stalled and not self._pings  # one that is under way will do

    def waiting_s(self, now_ns: int) -> float:
        """How long the oldest unanswered ping waits, 0.0 when none does."""
        return (now_ns - next(iter(self._pings.values()))) / 1e9 if self._pings else 0.0

    def late(self, now_ns: int) -> bool:
        """Whether what arrives now may have been said long ago."""
        if now_ns - self._ticked_ns > LATE_AFTER_S * 1e9:
            self._stalled = True
        return self._stalled or self.waiting_s(now_ns) > LATE_AFTER_S


class Seen:
    """Which stanza ids have acted already; outlives a session, because a repeat may come with the next one.

    The audit log keeps the `digest` of those that a person was answered, for the next start.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def first_time(self, sender: str, stanza_id: str) -> bool:
        """Whether this stanza id of this bare JID is new; a stanza without an id cannot be recognised."""
        key = digest(sender, stanza_id)
        if key is None:
            return True
        if key in self._seen:
            return False
        self.remember(key)
        return True

    def remember(self, key: bytes) -> None:
        """The stanza of this `digest` has acted."""
        self._seen[key] = None
        if len(self._seen) > REMEMBERED_IDS:
            self._seen.popitem(last=False)


def digest(sender: str, stanza_id: str) -> bytes | None:
    """What tells a repeat of a stanza of this bare JID; None without an id."""
    if not stanza_id:
        return None
    return hashlib.blake2b(f"{sender} {stanza_id}".encode("utf-8", "replace"), digest_size=16).digest()
