"""Who looks over our shoulder: a chat that wants a channel's changes for a while. Pure: times come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knoop.jid import Jid
from knoop.record import Record

QUIET_BETWEEN_S = 5.0  # a person reads a line in about that time; the value that ends a pause is the newest
MAX_WATCHES = 50


@dataclass(slots=True)
class _Watch:
    channels: frozenset[str]
    until_ns: int
    said_ns: dict[str, int]
    held: dict[str, Record]


class Watches:
    """Watches by full JID, so that only the device that asked is told; they end by themselves."""

    def __init__(self) -> None:
        self._watches: dict[Jid, _Watch] = {}

    def start(self, watcher: Jid, channels: Sequence[str], *, until_ns: int) -> None:
        """Replace what this chat watches; the oldest watch goes when there are too many."""
        self._watches.pop(watcher, None)
        if len(self._watches) >= MAX_WATCHES:
            del self._watches[next(iter(self._watches))]
        self._watches[watcher] = _Watch(frozenset(channels), until_ns, {}, {})

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

    def feed(self, record: Record, now_ns: int) -> list[tuple[Jid, Record]]:
        """What to say at once because of this record; more within QUIET_BETWEEN_S is held back."""
        told = []
        for watcher, watch in self._watches.items():
            if record.channel not in watch.channels or now_ns >= watch.until_ns:
                continue
            if now_ns - watch.said_ns.get(record.channel, -(10**18)) >= QUIET_BETWEEN_S * 1e9:
                watch.said_ns[record.channel] = now_ns
                told.append((watcher, record))
            else:
                watch.held[record.channel] = record
        return told

    def due(self, now_ns: int) -> list[tuple[Jid, Record]]:
        """What was held back long enough, and drops watches whose time is over; call about once a second."""
        told = []
        for watcher, watch in list(self._watches.items()):
            for channel, record in list(watch.held.items()):
                if now_ns - watch.said_ns[channel] >= QUIET_BETWEEN_S * 1e9:
                    del watch.held[channel]
                    watch.said_ns[channel] = now_ns
                    told.append((watcher, record))
            if now_ns >= watch.until_ns:
                del self._watches[watcher]
        return told
