"""The agent's tables of `node.toml`, and the whole file: both halves are validated before anything opens."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from knoop.access import Hours, Person, Role, part_of_the_day
from knoop.alerts import Rule
from knoop.confusable import doubts
from knoop.disk import CHANNELS
from knoop.geoloc import missing
from knoop.jid import Jid
from knoop.kept import Storage
from knoop.network import Network
from knoop.parse.naming import clashes
from knoop.rules import AlertTable
from knoop.rules import load as load_rules
from knoop_hw import config as hw_config
from knoop_hw import decode, include, tables
from knoop_hw.decode import Between, Document, Seconds
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.model import Channel, Class

T = TypeVar("T")
# Keys of the plan that this version does not have: saying so is kinder than "unknown".
PLANNED = frozenset({("people", "encryption"), ("publish", "microblog")})
TABLES = ("node", "xmpp", "people", "room", "alert", "network", "publish", "storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`[node]`: who this is. `name` is the room nick and the word it is addressed by.

    A device without a value for `missing_s` raises the alert `DEVICE_missing`; 0: never. `strangers`: whether owners
    are asked about those who have no rights. `claim_file` names a new owner instead of the boot partition's.
    """

    name: str
    label: str = ""
    lang: Literal["en", "nl"] = "en"
    missing_s: Seconds = 300.0
    loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    strangers: Literal["silent", "ask"] = "silent"
    claim_file: Path | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", self.name):
            raise ValueError(f"name {self.name!r} must be a lower-case word like 'greenhouse'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Xmpp:
    """`[xmpp]`: the account. Without `host` and `port` the domain's SRV records say where its server is.

    `muc_service` is a room service elsewhere that is trusted to say who is who.
    """

    jid: str
    password_file: Path | None = None
    host: str = ""
    port: Annotated[int, Between(0, 65535)] = 0
    ca_file: Path | None = None
    fingerprint: str = ""
    muc_service: str = ""

    def __post_init__(self) -> None:
        if bool(self.host) != bool(self.port):
            raise ValueError("'host' and 'port' go together")
        if self.fingerprint and not re.fullmatch(r"[0-9a-fA-F]{64}", self.fingerprint.replace(":", "")):
            raise ValueError("'fingerprint' must be a SHA-256 in hex, 64 digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonTable:
    """`[people."JID"]`, or just the role. `only` narrows to these channels; `notify` None: owner alarm and event.

    `quiet` are ranges of the day, `22:00-07:00`, by the machine's local clock.
    """

    SHORTHAND: ClassVar[str] = "role"

    role: Literal["viewer", "operator", "owner"]
    name: str = ""
    only: tuple[str, ...] = ()
    notify: tuple[Class, ...] | None = None
    lang: Literal["", "en", "nl"] = ""
    quiet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """`[room."JID"]`: a room to be in, which classes to say there, and whether people may ask and command there."""

    nick: str = ""
    password: str = ""
    classes: tuple[Class, ...] = ("alarm",)
    commands: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """`[publish]`: `pep` keeps the readings at our own account, a service's JID there; `off` publishes nothing.

    `geolocation`: the sensor whose place our own account tells those who may read everything (XEP-0080).
    """

    pubsub: str = "pep"
    geolocation: str = ""

    @property
    def service(self) -> str:
        """The JID of the pub-sub service, '' for our own account."""
        return "" if self.pubsub in {"pep", "off"} else self.pubsub


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
    network: Network | None
    hw: tables.Config = field(repr=False)
    files: tuple[str, ...] = field(default=(), compare=False)
    """What was read, the included ones behind the file that includes them."""
    notes: tuple[Problem, ...] = field(default=(), compare=False)
    """What this version calls otherwise than the file does, and which addresses to look at twice."""


def load(path: Path, *, jid: Callable[[str], Jid], words: Collection[str] = ()) -> Config:
    """Decode and validate the file for both halves. Raises ConfigError with every problem at once.

    `jid` turns text into a prepared address (`knoop.xmpp.compat.jid`) and raises ValueError. `words` are what people
    say to the node (`knoop.commands.words`): no channel may be called so.
    """
    document = include.load(path)
    problems: list[Problem] = []
    hw = hw_config.load(document, problems)
    raw, network = document.data.get("network"), None
    if raw is not None:
        network = decode.into(Network, raw, document=document, path=("network",), problems=problems)
    return _Loader(path, document, problems, hw, jid, words, network).load()


def channels(hw: tables.Config, network: Network | None) -> tuple[Channel, ...]:
    """Every channel with a value: the board's, then the agent's own."""
    return (*hw.channels(), *([network.channel] if network else []), *CHANNELS)


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
    network: Network | None

    @property
    def channels(self) -> tuple[Channel, ...]:
        return channels(self.hw, self.network)

    @property
    def names(self) -> set[str]:
        return {name for channel in self.channels for name in (channel.name, channel.name.partition(".")[0])}

    def load(self) -> Config:
        self._no_verbs()
        self._no_clashes()
        for table in self.document.data:
            if table not in TABLES and table not in hw_config.TABLES:
                known = decode.suggest(table, sorted((*TABLES, *hw_config.TABLES)))
                self._problem((table,), f"unknown table; {known}")
        node, xmpp = self._one(Node, "node"), self._one(Xmpp, "xmpp")
        account = self._address(xmpp.jid, ("xmpp", "jid")) if xmpp else None
        if xmpp and xmpp.ca_file and not xmpp.ca_file.is_file():
            text = f"{xmpp.ca_file} does not exist; name the CA's PEM file, or leave the key out"
            self._problem(("xmpp", "ca_file"), text)
        publish, storage = self._publish(), self._one(Storage, "storage")
        people, rooms = self._people(account), self._addressed(Room, "room")
        if xmpp and account:
            self._trusted(rooms, account, xmpp.muc_service)
        alerts = self._many(AlertTable, "alert")
        rules = load_rules(
            alerts, self.hw, people, channels=self.channels, missing_s=node.missing_s if node else 0.0, jid=self.jid,
            problem=lambda alert, key, text: self._problem(("alert", alert, *([key] if key else [])), text),
        )
        for name, text in storage.unknown(self.names, rules) if storage else ():
            self._problem(("storage", "retain_for", name), text)
        self.problems[:] = [_planned(problem) for problem in self.problems]
        if self.problems or not (node and xmpp and account and publish and storage):
            raise ConfigError(self.problems)
        return Config(
            file=self.path, node=node, xmpp=xmpp, jid=account, people=people, rooms=rooms, rules=rules,
            publish=publish, storage=storage, network=self.network, hw=self.hw, files=self.document.read,
            notes=(*self.document.notes, *(self.document.problem(("people", str(jid)), text)
                                           for jid, text in doubts((p.jid for p in people), account))),
        )  # fmt: skip

    def _trusted(self, rooms: Mapping[Jid, Room], account: Jid, muc_service: str) -> None:
        """Whoever runs a room's service says who is in the room; for commands it must be trusted."""
        service = self._address(muc_service, ("xmpp", "muc_service")) if muc_service else None
        if service and (service.local or service.resource):
            self._problem(("xmpp", "muc_service"), f"a service's domain is meant, like {service.domain}")
        for jid, room in rooms.items():
            ours = f".{jid.domain}".endswith(f".{account.domain}") or (service and jid.domain == service.domain)
            if room.commands and not ours:
                text = f"{jid.domain} is not of our own server {account.domain} and could invent who is speaking: take "
                text += "no commands there, or name it in 'xmpp.muc_service' if you trust it"
                self._problem(("room", str(jid), "commands"), text)

    def _no_verbs(self) -> None:
        for table in ("input", "output", "sensor"):
            tables = self.document.data.get(table)
            for name in tables if isinstance(tables, dict) else ():
                if name in self.words:
                    text = f"'{name}' is a word people say to the node; choose another name"
                    self._problem((table, name), text)
        node = self.document.data.get("node")
        name = node.get("name") if isinstance(node, dict) else None
        if name in self.words:
            self._problem(("node", "name"), f"'{name}' is a word people say to nodes; choose another name")

    def _no_clashes(self) -> None:
        tables = {table: self.document.data.get(table) for table in ("input", "output", "sensor")}
        homes = {name: table for table, there in tables.items() if isinstance(there, dict) for name in there}
        for channel, text in clashes(self.channels, self.words):
            device = channel.name.partition(".")[0]
            self._problem((homes[device], device, "aliases") if device in homes else (device, "aliases"), text)

    def _people(self, account: Jid | None) -> tuple[Person, ...]:
        tables = self._addressed(PersonTable, "people")
        names = self.names
        if account and account.bare in tables:  # it would answer its own answers
            self._problem(("people", str(account.bare)), "that is this node's own account; name who talks to it")
        for jid, entry in tables.items():
            for name in entry.only:
                if name not in names:
                    suggestion = decode.suggest(name, sorted(names))
                    self._problem(("people", str(jid), "only"), f"there is no channel '{name}'; {suggestion}")
        if tables and not any(entry.role == "owner" for entry in tables.values()):
            text = "nobody is an owner; give one person the role 'owner', or name nobody here and claim the node"
            self._problem(("people",), text)
        return tuple(
            Person(
                jid=jid, role=Role.parse(entry.role), name=entry.name, only=entry.only, lang=entry.lang,
                notify=None if entry.notify is None else frozenset(entry.notify), quiet=self._hours(jid, entry.quiet),
            )
            for jid, entry in tables.items()
        )

    def _publish(self) -> Publish | None:
        publish = self._one(Publish, "publish")
        if publish is not None and publish.geolocation:
            if publish.pubsub == "off":
                text = 'pubsub = "off" publishes nothing; leave one of them out'
            else:
                text = missing(publish.geolocation, self.hw.channels())
            if text:
                self._problem(("publish", "geolocation"), text)
        if publish is None or publish.pubsub in {"pep", "off"}:
            return publish
        where = ("publish", "pubsub")
        if not re.search(r"[.@:]", publish.pubsub):  # a word is an address, too, but nobody's service is called so
            text = f"'{publish.pubsub}' is neither 'pep' nor 'off' nor a service's address like 'pubsub.example.org'"
            self._problem(where, text)
            return None
        service = self._address(publish.pubsub, where)
        if service is None or service.resource:
            if service:
                self._problem(where, f"'pep', 'off' or a service's bare address is meant: {service.bare}")
            return None
        return replace(publish, pubsub=str(service))

    def _hours(self, jid: Jid, ranges: tuple[str, ...]) -> tuple[Hours, ...]:
        hours = []
        for text in ranges:
            try:
                hours.append(part_of_the_day(text))
            except ValueError as error:
                self._problem(("people", str(jid), "quiet"), str(error))
        return tuple(hours)

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
