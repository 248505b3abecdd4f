"""Who looks over our shoulder: a chat that wants a channel's changes for a while. Pure: times come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from knoop.jid import Jid
from knoop.record import Record

QUIET_BETWEEN_S = 5.0  # a person reads a line in about that time; the value that ends a pause is the newest
PER_PERSON = 5  # devices of one bare address
MAX_WATCHES = 50
OF_DOMAINS = 25  # and of those who have only their domain's rights: a server may have any number of accounts


@dataclass(frozen=True, slots=True)
class Due:
    """What to tell `watcher` (full JID) of its `channels` now: the newest record of each that changed.

    `ended`: that was the last.
    """

    watcher: Jid
    channels: tuple[str, ...]
    records: tuple[Record, ...]
    ended: bool = False


@dataclass(slots=True)
class _Watch:
    channels: tuple[str, ...]
    until_ns: int
    individual: bool
    as_one: bool = False
    said_ns: dict[str, int] = field(default_factory=dict)
    held: dict[str, Record] = field(default_factory=dict)

    def ripe(self, now_ns: int) -> Iterator[Record]:
        """What was held back long enough, taken out."""
        for channel in list(self.held):
            pace = "" if self.as_one else channel
            if now_ns - self.said_ns.get(pace, -(10**18)) >= QUIET_BETWEEN_S * 1e9:
                yield self.held.pop(channel)
                if not self.as_one:
                    self.said_ns[pace] = now_ns

    def tell(self, watcher: Jid, now_ns: int) -> Due | None:
        records = tuple(self.ripe(now_ns))
        if records:
            self.said_ns[""] = now_ns
        ended = now_ns >= self.until_ns
        return Due(watcher, self.channels, records, ended=ended) if records or ended else None


class Watches:
    """Watches by full JID, so that only the device that asked is told; they end by themselves."""

    def __init__(self) -> None:
        self._watches: dict[Jid, _Watch] = {}

    def start(self, watcher: Jid, channels: Sequence[str], *, until_ns: int, individual: bool = True) -> None:
        """Replace what this chat watches. When there are too many, who has most of them loses the oldest.

        `individual`: rights were given to this very address; the others have places of their own and take nobody's.
        """
        self._watches.pop(watcher, None)
        count = Counter(other.bare for other, watch in self._watches.items() if watch.individual == individual)
        if count[watcher.bare] >= PER_PERSON:
            self._end_oldest(watcher.bare)
        elif count.total() >= (MAX_WATCHES if individual else OF_DOMAINS):
            self._end_oldest(max(count, key=lambda who: count[who]))
        self._watches[watcher] = _Watch(tuple(channels), until_ns, individual)

    def channels(self, watcher: Jid) -> tuple[str, ...]:
        """What this chat watches, in the order asked."""
        watch = self._watches.get(watcher)
        return watch.channels if watch else ()

    def as_one(self, watcher: Jid) -> None:
        """Pace this watch as a whole: its client shows one message that changes, not one a channel."""
        if watch := self._watches.get(watcher):
            watch.as_one = True

    def stop(self, watcher: Jid) -> int:
        """End the watch of this chat; returns how many channels it had."""
        ended = self._watches.pop(watcher, None)
        return len(ended.channels) if ended else 0

    def gone(self, watcher: Jid) -> None:
        """This device (full JID) went offline or does not exist: what it is sent would pile up with its server."""
        self._watches.pop(watcher, None)

    def keep(self, allowed: Callable[[Jid], bool]) -> None:
        """End the watches of all whom `allowed`, asked with the full JID, does not want any more."""
        for watcher in [watcher for watcher in self._watches if not allowed(watcher)]:
            del self._watches[watcher]

    def _end_oldest(self, person: Jid) -> None:
        del self._watches[next(watcher for watcher in self._watches if watcher.bare == person)]

    def feed(self, record: Record, now_ns: int) -> list[Due]:
        """What to say at once because of this record; more within QUIET_BETWEEN_S is held back."""
        told = []
        for watcher, watch in self._watches.items():
            if record.channel in watch.channels and now_ns < watch.until_ns:
                watch.held[record.channel] = record
                if due := watch.tell(watcher, now_ns):
                    told.append(due)
        return told

    def due(self, now_ns: int) -> list[Due]:
        """What was held back long enough, and the end of watches whose time is over; call about once a second."""
        told = [due for watcher, watch in self._watches.items() if (due := watch.tell(watcher, now_ns))]
        for due in told:
            if due.ended:
                del self._watches[due.watcher]
        return told
