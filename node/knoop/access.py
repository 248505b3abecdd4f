"""Who may do what: pure, decided on prepared addresses, default deny.

People come from node.toml, grants from chat. A grant gives rights to an address that node.toml does not name,
and only narrows those of one that it does: what the file says cannot be exceeded by a message. Nor can what the
granting owner has: see `commands.revoke.not_for_you` for whose rights are whose to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from knoop.jid import Jid
from knoop_hw.model import Class

Hours = tuple[int, int]  # minutes of the day, from and to; a range that ends before it begins goes over midnight

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?([01]\d|2[0-3]):([0-5]\d)")

EVERYBODY = "*"  # as the local part: every account of that domain; only node.toml may say so


class Role(IntEnum):
    """What a person may do; each role may all that the one before it may.

    NONE is what `revoke` leaves of somebody whom node.toml names.
    """

    NONE = 0
    VIEWER = 1
    OPERATOR = 2
    OWNER = 3

    @classmethod
    def parse(cls, text: str) -> Role:
        """The role called `text`; raises ValueError that lists the roles."""
        try:
            return cls[text.upper()]
        except KeyError:
            known = ", ".join(str(role) for role in cls if role)
            raise ValueError(f"unknown role {text!r}; expected one of {known}") from None

    def __str__(self) -> str:
        return self.name.lower()


def part_of_the_day(text: str) -> Hours:
    """The hours in a text like `22:00-07:00`; raises ValueError for one that is no part of a day."""
    match = _HOURS.fullmatch(text)
    begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
    if begin == end:
        raise ValueError(f"'{text}' is no part of a day; write it like \"22:00-07:00\"")
    return begin, end


def usual_notify(role: Role) -> frozenset[Class]:
    """What people are told unasked when node.toml does not say: owners alarms and events, others alarms."""
    return frozenset({"alarm", "event"}) if role is Role.OWNER else frozenset({"alarm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with rights. `only` limits them to these channels or devices (`air` is all of `air.*`).

    `notify` None means `usual_notify`. `lang` empty means the node's language. `quiet`: when they want to hear only
    what is critical, every day by the machine's local clock.
    """

    jid: Jid
    role: Role
    name: str = ""
    only: tuple[str, ...] = ()
    notify: frozenset[Class] | None = None
    lang: str = ""
    quiet: tuple[Hours, ...] = ()

    @property
    def title(self) -> str:
        """How to speak of them to others."""
        return self.name or str(self.jid)

    @property
    def told(self) -> frozenset[Class]:
        """The classes of readings this person is told of unasked."""
        return usual_notify(self.role) if self.notify is None else self.notify

    def reads(self, channel: str) -> bool:
        """Whether `only` covers this channel."""
        return not self.only or channel in self.only or channel.partition(".")[0] in self.only

    def quiet_at(self, minute: int) -> bool:
        """Whether this minute of the day lies in their quiet hours."""
        return any(
            begin <= minute < end if begin <= end else minute >= begin or minute < end for begin, end in self.quiet
        )

    def covers(self, other: Person) -> bool:
        """Whether all that `other` may touch may be touched by this person, too; roles are another question."""
        return not self.only or (bool(other.only) and all(self.reads(name) for name in other.only))


class Access:
    """The rights of everybody; immutable, `with_grants` makes the next one.

    Raises ValueError when two people have one address.
    """

    def __init__(self, people: Iterable[Person], grants: Iterable[Person] = ()) -> None:
        self._people: dict[Jid, Person] = {}
        for person in people:
            if person.jid != person.jid.bare:
                raise ValueError(f"{person.jid}: rights belong to a bare JID, without a resource")
            if person.jid in self._people:
                raise ValueError(f"{person.jid} is named twice")
            self._people[person.jid] = person
        self._grants = {grant.jid.bare: grant for grant in grants if grant.jid.local != EVERYBODY}

    def with_grants(self, grants: Iterable[Person]) -> Access:
        """The same people with other grants."""
        return Access(self._people.values(), grants)

    def named(self, jid: Jid) -> bool:
        """Whether node.toml itself gives this address rights, by name or by its domain."""
        return jid.bare in self._people or Jid(EVERYBODY, jid.domain) in self._people

    def individual(self, jid: Jid) -> bool:
        """Whether rights were given or taken under this very address, not just to its domain."""
        return jid.bare in self._people or jid.bare in self._grants

    def role_in_file(self, jid: Jid) -> Role:
        """What node.toml alone says of this address, by name or by its domain."""
        person = self._people.get(jid.bare) or self._people.get(Jid(EVERYBODY, jid.domain))
        return person.role if person is not None else Role.NONE

    def person(self, jid: Jid) -> Person | None:
        """The person behind an address, with the rights that count; None for a stranger."""
        person = self._effective(jid.bare)
        return person if person is not None and person.role > Role.NONE else None

    def title(self, jid: Jid) -> str:
        """How to speak of this address to others: as a person where it is one's."""
        person = self.person(jid)
        return person.title if person is not None else str(jid.bare)

    def everyone(self) -> tuple[Person, ...]:
        """All who have rights, by role, then by address; a whole domain is one entry with local part *."""
        named = (self._effective(jid) for jid in {*self._people, *self._grants})
        return tuple(sorted((p for p in named if p and p.role), key=lambda p: (-p.role, p.jid)))

    def readers_of_all(self) -> frozenset[Jid]:
        """The addresses that may read every channel: the members of the nodes' whitelist."""
        return frozenset(p.jid for p in self.everyone() if not p.only and p.jid.local != EVERYBODY)

    def told(self, cls: Class, channel: str) -> tuple[Person, ...]:
        """The people to tell of a reading of this class and channel without being asked."""
        return tuple(p for p in self.everyone() if p.jid.local != EVERYBODY and cls in p.told and p.reads(channel))

    def _effective(self, jid: Jid) -> Person | None:
        person, grant = self._people.get(jid), self._grants.get(jid)
        if person is not None:
            return _narrowed(person, grant) if grant is not None else person
        if grant is not None:
            return grant
        everybody = self._people.get(Jid(EVERYBODY, jid.domain)) if jid.local else None
        return replace(everybody, jid=jid, name="") if everybody is not None else None


def within(person: Person, only: tuple[str, ...]) -> tuple[str, ...]:
    """What of `only` (empty: of everything) `person` has; empty means no limit, or nothing where both had one."""
    if not person.only or not only:
        return person.only or only
    asked = replace(person, only=only)
    both = tuple(name for name in only if person.reads(name))
    return both + tuple(name for name in person.only if asked.reads(name) and name not in both)


def _narrowed(person: Person, grant: Person) -> Person:
    only = within(person, grant.only)
    if person.only and not only:
        return replace(person, role=Role.NONE)
    return replace(person, role=min(person.role, grant.role), only=only)
