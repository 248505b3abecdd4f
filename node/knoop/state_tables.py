"""The tables of state.db, version by version, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from knoop_hw.model import Value

# `flag`: the resource that the node logs in with, and which claim files were taken.
MIGRATIONS = (
    """
CREATE TABLE granted (jid TEXT PRIMARY KEY, role TEXT NOT NULL, only_json TEXT NOT NULL) STRICT;
CREATE TABLE audit (id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
  result TEXT NOT NULL, via TEXT NOT NULL, encrypted INTEGER NOT NULL) STRICT;
CREATE TABLE alert (name TEXT PRIMARY KEY, status TEXT NOT NULL, since_ns INTEGER NOT NULL, by TEXT NOT NULL)
STRICT; CREATE TABLE quiet (jid TEXT PRIMARY KEY, until_ns INTEGER NOT NULL) STRICT; CREATE TABLE flag (name
TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
""",
    """
ALTER TABLE alert ADD COLUMN met_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN value_json TEXT NOT NULL DEFAULT 'null';
ALTER TABLE alert ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN told_json TEXT NOT NULL DEFAULT 'null';
ALTER TABLE alert ADD COLUMN owed_json TEXT NOT NULL DEFAULT '[]';
ALTER TABLE alert ADD COLUMN escalated_json TEXT NOT NULL DEFAULT '[]';
ALTER TABLE alert ADD COLUMN runs_json TEXT NOT NULL DEFAULT '[]';
CREATE TABLE silence (alert TEXT PRIMARY KEY, until_ns INTEGER NOT NULL, by TEXT NOT NULL) STRICT;
""",
    """
ALTER TABLE alert ADD COLUMN bounced_json TEXT NOT NULL DEFAULT '[]';
CREATE TABLE unreceived (id INTEGER PRIMARY KEY, jid TEXT NOT NULL, identity TEXT NOT NULL, channel TEXT NOT NULL,
  change TEXT NOT NULL, body TEXT NOT NULL, at_ns INTEGER NOT NULL, step INTEGER NOT NULL, sent INTEGER NOT NULL,
  bounces INTEGER NOT NULL, back INTEGER NOT NULL, UNIQUE(jid, identity)) STRICT;
CREATE TABLE receipts (jid TEXT PRIMARY KEY, missed INTEGER NOT NULL) STRICT;
""",
    """
ALTER TABLE audit ADD COLUMN stanza BLOB;
ALTER TABLE audit ADD COLUMN whose TEXT NOT NULL DEFAULT '';
UPDATE audit SET whose = substr(who, 1, instr(who || '/', '/') - 1) WHERE result <> 'refused: stranger';
CREATE INDEX audit_whose ON audit (whose, id);
CREATE TABLE code (jid TEXT PRIMARY KEY, digest BLOB NOT NULL, wish_json TEXT NOT NULL, boot TEXT NOT NULL,
  until_ns INTEGER NOT NULL, tries INTEGER NOT NULL) STRICT;
CREATE TABLE claim (digest BLOB PRIMARY KEY, role TEXT NOT NULL, only_json TEXT NOT NULL, name TEXT NOT NULL,
  by TEXT NOT NULL, until_ns INTEGER NOT NULL) STRICT;
CREATE TABLE knock (jid TEXT PRIMARY KEY, answer TEXT NOT NULL, at_ns INTEGER NOT NULL) STRICT;
""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One line of the audit log: when (UTC nanoseconds since 1970), who (full address), what, how it ended.

    `via` is the way it came: chat, form, or room and the room's address. `encrypted`: from end to end.
    """

    at_ns: int
    who: str
    action: str
    result: str
    via: str
    encrypted: bool

    @property
    def origin(self) -> str:
        """Who, by which way and how; of the console once."""
        return ", ".join(dict.fromkeys((self.who, self.via, *(("encrypted",) if self.encrypted else ()))))


LAST_LINES = "SELECT at_ns, who, action, result, via, encrypted FROM audit ORDER BY id DESC LIMIT ?"


def lines_of(rows: Sequence[tuple[Any, ...]]) -> list[AuditLine]:
    """What LAST_LINES gives as lines, newest last."""
    return [
        AuditLine(at_ns=at_ns, who=who, action=action, result=result, via=via, encrypted=bool(encrypted))
        for at_ns, who, action, result, via, encrypted in reversed(rows)
    ]


@dataclass(frozen=True, slots=True)
class Grant:
    """A right given in chat to a bare JID; `only` names the channels it is limited to, none for no limit."""

    jid: str
    role: str
    only: tuple[str, ...] = ()


class AlertRow(NamedTuple):
    """Where an alert stood when last saved; `by` is who acknowledged it.

    `since_ns` is when it came to this status and `met_ns` since when what it is about holds (UTC, 0: not known).
    `told` maps a bare JID to the id of the first message about it, None where a version before this one did not
    know; `owed`, `escalated`, `step`, `runs` and `bounced` are those of `reminders.Call`.
    """

    name: str
    status: str
    since_ns: int
    by: str
    met_ns: int = 0
    value: Value = None
    step: int = 0
    told: Mapping[str, str] | None = None
    owed: tuple[str, ...] = ()
    escalated: tuple[str, ...] = ()
    runs: tuple[tuple[str, int, int], ...] = ()
    bounced: tuple[str, ...] = ()


class Silence(NamedTuple):
    """Until when (UTC nanoseconds since 1970) nobody is told of an alert, and who asked for that."""

    until_ns: int
    by: str
