"""The agent's tables of `node.toml`, and the whole file: both halves are validated before anything opens."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from knoop.access import Person, Role
from knoop.alerts import Condition, Rule
from knoop.jid import Jid
from knoop_hw import config as hw_config
from knoop_hw import decode, tables
from knoop_hw.decode import Between, Document, Seconds, Size
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.model import Class

T = TypeVar("T")
# Keys of the plan that this version does not have: saying so is kinder than "unknown".
PLANNED = frozenset({("people", "encryption"), ("room", "commands"), ("publish", "microblog"), ("include", "include")})
TABLES = ("node", "xmpp", "people", "room", "alert", "publish", "storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`[node]`: who this is. `name` is the room nick and the word it is addressed by."""

    name: str
    label: str = ""
    lang: Literal["en", "nl"] = "en"
    loop: Literal["auto", "uvloop", "asyncio"] = "auto"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", self.name):
            raise ValueError(f"name {self.name!r} must be a lower-case word like 'greenhouse'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Xmpp:
    """`[xmpp]`: the account. Without `host` and `port` the domain's SRV records say where its server is."""

    jid: str
    password_file: Path | None = None
    host: str = ""
    port: Annotated[int, Between(0, 65535)] = 0
    ca_file: Path | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if bool(self.host) != bool(self.port):
            raise ValueError("'host' and 'port' go together")
        if self.fingerprint and not re.fullmatch(r"[0-9a-fA-F]{64}", self.fingerprint.replace(":", "")):
            raise ValueError("'fingerprint' must be a SHA-256 in hex, 64 digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonTable:
    """`[people."JID"]`, or just the role. `only` narrows to these channels; `notify` None: owner alarm and event."""

    SHORTHAND: ClassVar[str] = "role"

    role: Literal["viewer", "operator", "owner"]
    name: str = ""
    only: tuple[str, ...] = ()
    notify: tuple[Class, ...] | None = None
    lang: Literal["", "en", "nl"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """`[room."JID"]`: a room to be in, and which classes to say there."""

    nick: str = ""
    password: str = ""
    classes: tuple[Class, ...] = ("alarm",)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTable:
    """`[alert.NAME]`: when to call for a person, as `CHANNEL OP LITERAL`."""

    when: str
    for_s: Seconds = 0.0
    clear: str = ""
    severity: Literal["info", "warning", "critical"] = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """`[publish]`: `pep` keeps the readings at our own account; `off` publishes nothing."""

    pubsub: Literal["pep", "off"] = "pep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`[storage]`: the most `readings.db` may take, and for how long delivered readings are kept."""

    max: Size = 64 * 1024 * 1024
    retain_s: Seconds = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole, valid `node.toml`."""

    file: Path
    node: Node
    xmpp: Xmpp
    jid: Jid
    people: tuple[Person, ...]
    rooms: Mapping[Jid, Room]
    rules: tuple[Rule, ...]
    publish: Publish
    storage: Storage
    hw: tables.Config = field(repr=False)


def load(path: Path, *, jid: Callable[[str], Jid], words: Collection[str] = ()) -> Config:
    """Decode and validate the file for both halves. Raises ConfigError with every problem at once.

    `jid` turns text into a prepared address (`knoop.xmpp.compat.jid`) and raises ValueError. `words` are what people
    say to the node (`knoop.commands.words`): no channel may be called so.
    """
    document = decode.load(path)
    problems: list[Problem] = []
    hw = hw_config.load(document, problems)
    return _Loader(path, document, problems, hw, jid, words).load()


def _planned(problem: Problem) -> Problem:
    parts = problem.path.split(".")
    planned = problem.text.startswith("unknown") and (parts[0], parts[-1]) in PLANNED
    return replace(problem, text="is planned, but not there yet; leave it out") if planned else problem


@dataclass(frozen=True, slots=True)
class _Loader:
    path: Path
    document: Document
    problems: list[Problem]
    hw: tables.Config
    jid: Callable[[str], Jid]
    words: Collection[str]

    def load(self) -> Config:
        self._no_verbs()
        for table in self.document.data:
            if table not in TABLES and table not in hw_config.TABLES:
                known = decode.suggest(table, sorted((*TABLES, *hw_config.TABLES)))
                self._problem((table,), f"unknown table; {known}")
        node, xmpp = self._one(Node, "node"), self._one(Xmpp, "xmpp")
        account = self._address(xmpp.jid, ("xmpp", "jid")) if xmpp else None
        if xmpp and xmpp.ca_file and not xmpp.ca_file.is_file():
            text = f"{xmpp.ca_file} does not exist; name the CA's PEM file, or leave the key out"
            self._problem(("xmpp", "ca_file"), text)
        publish, storage = self._one(Publish, "publish"), self._one(Storage, "storage")
        people, rooms, rules = self._people(), self._addressed(Room, "room"), self._rules()
        self.problems[:] = [_planned(problem) for problem in self.problems]
        if self.problems or not (node and xmpp and account and publish and storage):
            raise ConfigError(self.problems)
        return Config(
            file=self.path, node=node, xmpp=xmpp, jid=account, people=people, rooms=rooms, rules=rules,
            publish=publish, storage=storage, hw=self.hw,
        )  # fmt: skip

    def _no_verbs(self) -> None:
        for table in ("input", "output", "sensor"):
            tables = self.document.data.get(table)
            for name in tables if isinstance(tables, dict) else ():
                if name in self.words:
                    text = f"'{name}' is a word people say to the node; choose another name"
                    self._problem((table, name), text)

    def _people(self) -> tuple[Person, ...]:
        tables = self._addressed(PersonTable, "people")
        names = {name for channel in self.hw.channels() for name in (channel.name, channel.name.partition(".")[0])}
        for jid, entry in tables.items():
            for name in entry.only:
                if name not in names:
                    suggestion = decode.suggest(name, sorted(names))
                    self._problem(("people", str(jid), "only"), f"there is no channel '{name}'; {suggestion}")
        if tables and not any(entry.role == "owner" for entry in tables.values()):
            self._problem(("people",), "nobody is an owner; give one person the role 'owner'")
        return tuple(
            Person(
                jid=jid, role=Role.parse(entry.role), name=entry.name, only=entry.only, lang=entry.lang,
                notify=None if entry.notify is None else frozenset(entry.notify),
            )
            for jid, entry in tables.items()
        )

    def _rules(self) -> tuple[Rule, ...]:
        rules = []
        for name, table in self._many(AlertTable, "alert").items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                self._problem(("alert", name), "an alert's name is a lower-case word like 'frost'")
            when = self._condition(name, "when", table.when)
            clear = self._condition(name, "clear", table.clear) if table.clear else None
            if when is None:
                continue
            try:
                rules.append(Rule(name=name, when=when, for_s=table.for_s, clear=clear, severity=table.severity))
            except ValueError as error:
                self._problem(("alert", name), str(error))
        return tuple(rules)

    def _condition(self, alert: str, key: str, text: str) -> Condition | None:
        try:
            condition = Condition.parse(text)
            condition.check({channel.name: channel for channel in self.hw.channels()})
        except ValueError as error:
            self._problem(("alert", alert, key), str(error))
            return None
        return condition

    def _problem(self, where: tuple[str, ...], text: str) -> None:
        self.problems.append(self.document.problem(where, text))

    def _one(self, kind: type[T], name: str) -> T | None:
        return self._into(kind, self.document.data.get(name, {}), (name,))

    def _many(self, kind: type[T], name: str) -> dict[str, T]:
        raw = self.document.data.get(name, {})
        if not isinstance(raw, dict):
            self._problem((name,), "expected a table")
            return {}
        decoded = {key: self._into(kind, value, (name, key)) for key, value in raw.items()}
        return {key: value for key, value in decoded.items() if value is not None}

    def _into(self, kind: type[T], raw: object, where: tuple[str, ...]) -> T | None:
        return decode.into(kind, raw, document=self.document, path=where, problems=self.problems)

    def _address(self, text: str, where: tuple[str, ...]) -> Jid | None:
        try:
            return self.jid(text)
        except ValueError as error:
            self._problem(where, str(error))
            return None

    def _addressed(self, kind: type[T], table: str) -> dict[Jid, T]:
        prepared: dict[Jid, T] = {}
        for text, value in self._many(kind, table).items():
            address = self._address(text, (table, text))
            if address is None:
                continue
            if address.resource:
                self._problem((table, text), f"a bare address is meant: {address.bare}")
            elif address in prepared:
                self._problem((table, text), f"the same address as another entry: {address}")
            else:
                prepared[address] = value
        return prepared
