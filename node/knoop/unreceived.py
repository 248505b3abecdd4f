"""Alarms that reached nobody yet as far as we know: which to send again, and when to stop. Pure.

The server accepted them, and a connection to a phone that breaks at that moment loses them all the same. A receipt
(XEP-0184) says that a client has one; until it comes the message is sent again, with the same id. A bounce says that
nobody has it. Only who gave a receipt before is waited for: to others a repeat would come with every alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from knoop.alerts import PREFIX

PAUSES_S = (60.0, 240.0, 1500.0)  # 1, 5 and 30 min after it was sent; then an alert's own reminders go on
LAST_S = 300.0  # for so long after the last time it may still come back
LOGIN_S = 10.0  # receipts that a server kept for us come in the first seconds of a login
BOUNCED_S = 300.0  # what sent it back, a full mailbox or a server that is away, lasts for minutes
MOST_BOUNCES = 3  # times to try again what came back
MOST_SENT = 10  # by a link that comes and goes all the time
MOST_MISSED = 3  # alarms without a receipt in a row: they have another client now, or are away and have our messages
MOST_NOTES = 200  # 60 kB; of more than these nobody reads each
AT_ONCE = 2  # a second: 0.8 kB, so that a link of 1 kB/s still answers pings
HELD_S = 60.0

Fate = Literal["send", "hold", "drop"]


class Note(NamedTuple):
    """One alarm to one person, as it was sent first.

    `change` is what became of the alert ('' for a channel of another kind). `at_ns` is when it was said (UTC, 0: not
    known), `step` how many pauses are over, `sent` how often it was sent, `bounces` how often it came back, and
    `back` that it did so and has not been sent since.
    """

    jid: str
    identity: str
    channel: str
    change: str
    body: str
    at_ns: int = 0
    step: int = 0
    sent: int = 1
    bounces: int = 0
    back: bool = False


class Unreceived:
    """The notes of a node, oldest first. Pauses are boottime and are not kept: they begin anew with each login."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], Note] = {}
        self._due: dict[tuple[str, str], int] = {}
        self._login: set[tuple[str, str]] = set()  # to be sent because we logged in, not because a pause is over
        self._missed: dict[str, int] = {}  # who gives receipts, and how many of late were missed
        self._unsaved: set[tuple[str, str]] = set()
        self._kept: set[tuple[str, str]] = set()  # on the disk

    def restore(self, notes: Iterable[Note], missed: Mapping[str, int]) -> None:
        """Go on where the last start ended; `login` is to follow."""
        self._notes |= {(note.jid, note.identity): note for note in notes}
        self._kept |= self._notes.keys()
        self._missed |= missed

    def gives_receipts(self, jid: str) -> bool:
        """Whether a receipt of this person is worth waiting for."""
        return jid in self._missed

    def note(self, note: Note, now_ns: int) -> None:
        """This is about to be sent. It takes the place of what the person was told before about the same alert."""
        key, before = (note.jid, note.identity), self._notes.get((note.jid, note.identity))
        if note.channel.startswith(PREFIX):
            for other in [*self._notes.values()]:
                if (other.jid, other.channel) == (note.jid, note.channel) and other.identity != note.identity:
                    self._give_up(other)
        if before is not None:  # the outbox sends it once more
            note = note._replace(at_ns=before.at_ns, step=before.step, sent=before.sent + 1, bounces=before.bounces)
        self._keep(note, now_ns + _pause_ns(note.step))
        self._login.discard(key)
        if len(self._notes) > MOST_NOTES:
            self._drop(next(iter(self._notes.values())))

    def received(self, jid: str, identity: str) -> bool:
        """A client of this person has it; False when nothing was waited for."""
        note = self._notes.get((jid, identity))
        if note is None:
            return False
        self._drop(note)
        self._missed[jid] = 0
        return True

    def bounced(self, jid: str, identity: str, now_ns: int) -> Note | None:
        """It came back. The note, if that is news; with more `bounces` than MOST_BOUNCES it was the last time."""
        note = self._notes.get((jid, identity))
        if note is None or note.back:
            return None
        note = note._replace(back=True, bounces=note.bounces + 1)
        if note.bounces > MOST_BOUNCES:
            self._drop(note)
        else:
            self._login.discard((jid, identity))
            self._keep(note, now_ns + round(BOUNCED_S * 1e9))
        return note

    def login(self, now_ns: int) -> None:
        """We are connected, anew: what was sent to a person before may have gone with their server or their phone."""
        for key, note in self._notes.items():
            if note.back:
                self._due[key] = now_ns + round(BOUNCED_S * 1e9)
            else:
                self._login.add(key)
                self._due[key] = now_ns + round(LOGIN_S * 1e9)

    def due(self, now_ns: int, fate: Callable[[Note], Fate]) -> tuple[Note, ...]:
        """What to send again now, a few at once; `fate` says of each whether that is still right. Only with a link."""
        again: list[Note] = []
        for key, note in [*self._notes.items()]:
            if len(again) == AT_ONCE:
                break
            if now_ns < self._due.setdefault(key, now_ns + round(LOGIN_S * 1e9)):
                continue
            what = fate(note)
            if what == "hold":
                self._due[key] = now_ns + round(HELD_S * 1e9)
            elif what == "drop":
                self._give_up(note)
            elif self._go_on(note, now_ns):
                again.append(self._notes[key])
        return tuple(again)

    def unsaved(self) -> tuple[list[Note], list[tuple[str, str]], Mapping[str, int]]:
        """The notes that are not on the disk yet, those that are to go from it, and who gives receipts."""
        notes = [note for key, note in self._notes.items() if key in self._unsaved]
        return notes, [key for key in self._unsaved if key not in self._notes], dict(self._missed)

    def saved(self, notes: Iterable[Note], gone: Iterable[tuple[str, str]]) -> None:
        """These are on the disk, and those are not any more."""
        written = {(note.jid, note.identity): note for note in notes}
        self._kept = (self._kept | written.keys()) - {*gone}
        for key in {*written, *gone}:
            if self._notes.get(key) == written.get(key):
                self._unsaved.discard(key)
            else:  # it changed, came or went meanwhile
                self._unsaved.add(key)

    def _go_on(self, note: Note, now_ns: int) -> bool:
        """Take the next step with what is due; whether it is to be sent."""
        key = (note.jid, note.identity)
        if not note.back and key not in self._login:  # a pause is over
            if note.step == len(PAUSES_S):
                self._give_up(note)
                return False
            note = note._replace(step=note.step + 1)
        self._login.discard(key)
        sends = note.back or (self.gives_receipts(note.jid) and note.sent < MOST_SENT)
        if sends:
            note = note._replace(sent=note.sent + 1, back=False)
        self._keep(note, now_ns + _pause_ns(note.step))
        return sends

    def _give_up(self, note: Note) -> None:
        """It is not waited for any more; after a minute and more that says something about the person's client."""
        self._drop(note)
        if note.step and note.jid in self._missed and not note.bounces:
            self._missed[note.jid] += 1
            if self._missed[note.jid] >= MOST_MISSED:
                del self._missed[note.jid]

    def _keep(self, note: Note, due_ns: int) -> None:
        key = (note.jid, note.identity)
        self._notes[key], self._due[key] = note, due_ns
        self._unsaved.add(key)

    def _drop(self, note: Note) -> None:
        key = (note.jid, note.identity)
        del self._notes[key]
        self._due.pop(key, None)
        self._login.discard(key)
        if key in self._kept:
            self._unsaved.add(key)
        else:  # a disk that takes nothing for days needs not hear of what came and went
            self._unsaved.discard(key)


def _pause_ns(step: int) -> int:
    return round((PAUSES_S[step] if step < len(PAUSES_S) else LAST_S) * 1e9)
