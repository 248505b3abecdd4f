"""The tables that only the card's `knoop.toml` has: what becomes of them is the machine's, not node.toml's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from knoop import invitation
from knoop.setup import moved
from knoop_hw import decode
from knoop_hw.decode import Document
from knoop_hw.errors import Problem

T = TypeVar("T")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-[a-z0-9-]+@openssh\.com) [A-Za-z0-9+/]{40,}=*( .*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`[[wifi.network]]`: one Wi-Fi. `hidden`: the access point does not say its name.

    `password` has 8 to 63 characters, or is the key itself, 64 hex digits; without one the Wi-Fi is open.
    """

    ssid: str
    password: str = field(default="", repr=False)
    hidden: bool = False

    def __post_init__(self) -> None:
        _named(self.ssid)
        _passes(self.password)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wifi:
    """`[wifi]`: the Wi-Fi to be in, or several as `[[wifi.network]]`; the first ones are preferred.

    `country` (ISO 3166-1, two letters) says which channels are allowed.
    """

    ssid: str = ""
    password: str = field(default="", repr=False)
    country: str = ""
    hidden: bool = False
    network: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if not self.ssid and (self.password or self.hidden):
            raise ValueError("'ssid' is missing: the name of the Wi-Fi")
        if not self.ssid and not self.network:
            raise ValueError("names no Wi-Fi; give 'ssid' and 'password', or leave the table out")
        if self.ssid:
            _named(self.ssid)
        _passes(self.password)
        if self.country and not re.fullmatch("[A-Z]{2}", self.country):
            raise ValueError('country: two capital letters such as "NL" or "GB" are meant')

    @property
    def networks(self) -> tuple[Network, ...]:
        """All of them, in the order of preference."""
        own = (Network(ssid=self.ssid, password=self.password, hidden=self.hidden),) if self.ssid else ()
        return (*own, *self.network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """`[time]`: the zone, as in `Europe/Amsterdam`, and who is asked what time it is; without `servers` Debian's."""

    zone: str = ""
    servers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.zone and not _ZONE.fullmatch(self.zone):
            raise ValueError('zone: something like "Europe/Amsterdam" or "UTC" is meant')
        for server in self.servers:
            if not _HOST.fullmatch(server):
                raise ValueError(f"servers: {server!r} is neither a name nor an address of a server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`[account]`: the node's own, `jid` with `password`; or an `invite`, with which it is made.

    With an invite `jid` is only needed for another name than the node's.
    """

    jid: str = ""
    password: str = field(default="", repr=False)
    invite: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.password and self.invite:
            raise ValueError("invite: makes an account with a password of its own; leave out one of the two")
        if not self.jid and not self.invite:
            raise ValueError("'jid' is missing: the address of the node's own account (or 'invite')")
        moved.usable(self.password, what="password")
        moved.usable(self.invite, what="invite")
        if self.invite and not moved.was(self.invite):
            try:
                invitation.parse(self.invite)
            except ValueError as error:
                raise ValueError(f"invite: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """`[ssh]`: public keys, one a line; whoever has a private one may log in as root. Without any nobody may."""

    key: str

    def __post_init__(self) -> None:
        if "PRIVATE KEY" in self.key:
            raise ValueError("key: this is a private key; keep it to yourself, and give the one from the .pub file")
        for number, line in enumerate(self.lines, 1):
            if not _KEY.fullmatch(line):
                text = f"line {number} of it is no public key; one begins with ssh-ed25519 or ssh-rsa, in the .pub file"
                raise ValueError(f"key: {text}")

    @property
    def lines(self) -> tuple[str, ...]:
        """One key each."""
        stripped = (line.strip() for line in self.key.splitlines())
        return tuple(line for line in stripped if line and not line.startswith("#"))


TABLES: Mapping[str, type[Any]] = {"wifi": Wifi, "time": Time, "account": Account, "ssh": Ssh}


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """These tables as a file has them."""

    wifi: Wifi | None = None
    time: Time | None = None
    account: Account | None = None
    ssh: Ssh | None = None


def decoded(document: Document, problems: list[Problem]) -> Own:
    """Take them out of a file; appends every problem."""
    there = {
        name: decode.into(kind, document.data[name], document=document, path=(name,), problems=problems)
        for name, kind in TABLES.items() if name in document.data
    }  # fmt: skip
    return Own(**there)


def _named(ssid: str) -> None:
    if not 1 <= len(ssid.encode()) <= 32 or not ssid.isprintable():  # IEEE 802.11-2020 §9.4.2.2
        raise ValueError("ssid: the name of a Wi-Fi has 1 to 32 characters")


def _passes(password: str) -> None:
    if not password or moved.was(password) or re.fullmatch("[0-9a-fA-F]{64}", password):
        return
    if not re.fullmatch(r"[ -~]{8,63}", password):  # IEEE 802.11-2020 annex J.4.1
        raise ValueError("password: a Wi-Fi's password has 8 to 63 characters out of ASCII")
