"""Whose stanzas are heard at all: decided on a whole stanza's sender and kind, before anything is made of it.

    our server, account and pub-sub service ▶ always
    our rooms ▶ always; but requests, each of which is answered, a few
    people ▶ as much as anybody types; where the right is only their domain's, all of that domain together; and while
        our server is behind with what we say, a few questions each, owners apart
    strangers ▶ messages: a few each, and a few of all; requests: a few of all; anything else: never

What is left out costs its parsing and a look into a table: no handler, no answer, no line in the audit log. Strangers
have a budget together because an attacker has as many addresses as he likes. A room's presences are never left out:
they say who is behind a nick, and a table with gaps would be wrong about that; a room cannot be joined by force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from xml.etree import ElementTree as ET

from knoop.access import EVERYBODY, Access, Role
from knoop.budgets import ANYBODY, Budgets
from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp.inbound import CLIENT
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

# Each pair is how many at once, and how many a second on and on.
ASKED = (400, 20.0)  # of one person; `execution` lets them ask less, and history pages come 4 a second
SAID_BESIDE = (2000, 200.0)  # receipts and the like: a client that was away confirms a day's events at once
# While the server has not taken what we said: an answer has 2 kB, and Debian's Prosody takes 10 kB/s. More, and our own
# pings are late behind the answers to one person, with whatever everybody else asks.
WHILE_BEHIND = (15, 0.5)
OF_A_DOMAIN_BEHIND = (40, 1.0)
OF_A_DOMAIN = (1000, 50.0)  # of all together who have only their domain's rights
OF_A_STRANGER = (30, 0.5)  # somebody who was given a code to send mistypes it a few times
OF_STRANGERS = (60, 2.0)
REFUSED = (20, 1 / 60)  # answers to strangers; what fills our way to the server makes our people's answers late
SIZES = (ASKED, SAID_BESIDE, WHILE_BEHIND, OF_A_DOMAIN_BEHIND, OF_A_DOMAIN, OF_A_STRANGER, OF_STRANGERS, REFUSED)
TOLD_EVERY_S = 60.0  # in the log


class Admission:
    """`access` is who has rights now, `service` is the pub-sub service that we publish at. `left_out` counts."""

    def __init__(
        self, *, own: Jid, rooms: Collection[Jid], service: str, access: Callable[[], Access], clock: Clock
    ) -> None:
        self.left_out = 0
        self._rooms = frozenset(rooms)
        self._trusted = {own.bare, Jid("", own.domain), *([compat.jid(service)] if service else [])}
        self._access, self._clock = access, clock
        self._buckets = {size: Budgets(burst=size[0], per_s=size[1]) for size in SIZES}
        self._told: tuple[int, int] | None = None  # when the log had it last (boottime), and `left_out` then

    def follow(self, former: Admission) -> None:
        """Go on counting where another one ended."""
        self.left_out, self._buckets, self._told = former.left_out, former._buckets, former._told

    def hears(self, stanza: ET.Element, behind: bool = False) -> bool:
        """Whether this message, presence or IQ goes on to whom it is for. Call it once for each.

        `behind`: our server has not taken all that we said.
        """
        kind, now_ns = stanza.get("type", ""), self._clock.boottime_ns()
        request = stanza.tag == f"{CLIENT}iq" and kind in {"get", "set"}
        try:
            sender = compat.jid(stanza.get("from", "")).bare
        except ValueError:
            sender = ANYBODY
        if not stanza.get("from") or sender in self._trusted:
            return True
        if sender in self._rooms:
            return not request or self._enough(REFUSED, sender, now_ns)
        access = self._access()
        person = access.person(sender)
        if person is not None:
            asks = request or kind == "subscribe" or stanza.find(f"{CLIENT}body") is not None
            individual, together = access.individual(sender), Jid(EVERYBODY, sender.domain)
            sizes = [(ASKED if asks else SAID_BESIDE, OF_A_DOMAIN)]
            if asks and behind and person.role < Role.OWNER:
                sizes.append((WHILE_BEHIND, OF_A_DOMAIN_BEHIND))
            return all(
                self._enough(own, sender, now_ns) and (individual or self._enough(of_all, together, now_ns))
                for own, of_all in sizes
            )
        if request:
            return self._enough(REFUSED, ANYBODY, now_ns)
        says = stanza.tag == f"{CLIENT}message" and kind in {"", "normal", "chat"} and sender != ANYBODY
        return says and self._enough(OF_A_STRANGER, sender, now_ns) and self._enough(OF_STRANGERS, ANYBODY, now_ns)

    def _enough(self, size: tuple[int, float], who: Jid, now_ns: int) -> bool:
        enough, _ = self._buckets[size].spend(who, now_ns)
        if not enough:
            self.left_out += 1
            at_ns, left_out = self._told or (now_ns, 0)
            if self._told is None or now_ns - at_ns >= TOLD_EVERY_S * 1e9:
                self._told = (now_ns, self.left_out)
                name = "somebody without rights" if who == ANYBODY else str(who)
                log.warning("%s sends faster than it may: %d left out", name, self.left_out - left_out)
        return enough
