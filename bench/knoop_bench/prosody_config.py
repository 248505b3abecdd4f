"""What a private Prosody is told: its configuration and its accounts, as Lua.

Works with Prosody 0.12 (Debian 12) and 13 (Debian 13). Nothing of the machine's own Prosody is named in it.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knoop_bench.certificates import Certificate
from knoop_bench.ports import LOOPBACK

Lua = str | bool | int | Sequence["Lua"] | Mapping[str, "Lua"]
Storage = Literal["internal", "memory"]

MODULES = (
    "blocklist", "bookmarks", "carbons", "csi_simple", "disco", "mam", "pep", "ping", "posix", "private",
    "roster", "saslauth", "smacks", "time", "tls", "uptime", "vcard4", "vcard_legacy", "version",
)

_ALPHANUMERIC = frozenset((string.ascii_letters + string.digits).encode())
_PLAIN = _ALPHANUMERIC | frozenset(b" /._:-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the server listens, on loopback."""

    tls: int
    starttls: int
    https: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may differ from one private server to the next.

    `storage`: "internal" keeps data on disk, as Debian's Prosody does; "memory" forgets all but accounts.
    `rate_limit`: bytes a second per client connection, as "10kb/s", Debian's default; None is no limit.
    `public_jids`: new rooms show the real JIDs of those in them; Prosody's own default hides them.
    `pubsub_owners`: users who may make nodes on the service: with Prosody 0.12 a fixed list, who then own every node
    there; Prosody 13 also lets each account make and own its nodes.
    `settings`: further global settings, which win; `modules`: further modules of the host.
    """

    storage: Storage = "internal"
    rate_limit: str | None = None
    public_jids: bool = True
    pubsub_owners: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warn"] = "info"
    modules: tuple[str, ...] = ()
    settings: Mapping[str, Lua] | None = None


def configuration(folder: Path, host: str, ports: Ports, certificate: Certificate, options: Options) -> str:
    """The text of `prosody.cfg.lua` for a server whose state is all under `folder`."""
    tls: Mapping[str, Lua] = {"certificate": str(certificate.file), "key": str(certificate.key_file)}
    limited = {"limits": {"c2s": {"rate": options.rate_limit}}} if options.rate_limit else {}
    everything: Mapping[str, Lua] = {
        "run_as_root": True,
        "data_path": str(folder / "data"),
        "installer_plugin_path": str(folder / "plugins"),  # by default under /var/lib/prosody
        "certificates": str(certificate.file.parent),
        "log": {options.log_level: str(folder / "server.log")},
        "modules_enabled": [*MODULES, *(("limits",) if limited else ()), *options.modules],
        "modules_disabled": ["s2s"],
        "authentication": "internal_plain",
        "disable_sasl_mechanisms": ["PLAIN", "DIGEST-MD5", "OAUTHBEARER"],
        "c2s_require_encryption": True,
        "default_storage": options.storage,
        "storage": {"accounts": "internal"},
        "interfaces": [LOOPBACK],
        "local_interfaces": [LOOPBACK],
        "c2s_ports": [ports.starttls],
        "c2s_direct_tls_ports": [ports.tls],
        "http_ports": [],
        "https_ports": [ports.https],
        "component_ports": [],
        "ssl": tls,
        "c2s_direct_tls_ssl": tls,
        "https_ssl": tls,
        # Nagle's algorithm adds up to 40 ms to every answer.
        "network_settings": {"nagle": False},
        **limited,
        **(options.settings or {}),
    }
    rooms: Mapping[str, Lua] = {
        "muc_room_locking": False,
        "muc_room_default_public_jids": options.public_jids,
        "restrict_room_creation": False,
    }
    upload: Mapping[str, Lua] = {
        "http_host": host,
        "http_external_url": f"https://{host}:{ports.https}/",
    }
    pubsub: Mapping[str, Lua] = {
        "admins": [f"{user}@{host}" for user in options.pubsub_owners],  # 0.12 knows nobody else who may make nodes
        "add_permissions": {"prosody:registered": ["pubsub:create-node"]},  # 13; 0.12 does not read it
    }
    return "\n".join((
        _assignments(everything),
        f"VirtualHost {_lua(host)}",
        f'Component {_lua(f"rooms.{host}")} "muc"',
        _assignments(rooms),
        f'Component {_lua(f"upload.{host}")} "http_file_share"',
        _assignments(upload),
        f'Component {_lua(f"pubsub.{host}")} "pubsub"',
        _assignments(pubsub),
        "",
    ))


def account_file(folder: Path, host: str, user: str) -> Path:
    """Where Prosody's internal storage looks for the password of `user`."""
    return folder / "data" / _stored(host) / "accounts" / f"{_stored(user)}.dat"


def account(password: str) -> str:
    """The content of an account's file."""
    return f"return {_lua({'password': password})};\n"


def _assignments(settings: Mapping[str, Lua]) -> str:
    return "\n".join(f"{key} = {_lua(value)};" for key, value in settings.items())


def _lua(value: Lua) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # Decimal escapes say every byte without a thought about quoting.
        return '"' + "".join(chr(b) if b in _PLAIN else f"\\{b:03}" for b in value.encode()) + '"'
    if isinstance(value, Mapping):
        return "{ " + " ".join(f"[{_lua(key)}] = {_lua(item)};" for key, item in value.items()) + " }"
    return "{ " + " ".join(f"{_lua(item)};" for item in value) + " }"


def _stored(name: str) -> str:
    return "".join(chr(b) if b in _ALPHANUMERIC else f"%{b:02x}" for b in name.encode())
