"""What Raspberry Pi Imager's customisation wrote on the card, in each of its formats. Pure.

`rpi-preseed.toml` (Imager 2.0.11 on; `custom.toml` was like it), cloud-init's `user-data` and `network-config` (2.x),
`firstrun.sh` (1.x, and 2.x for images that say so). Nothing of it is ever run. See src/customization_generator.cpp
of github.com/raspberrypi/rpi-imager.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from knoop.init.setup import node_name
from knoop.setup import moved, wifi
from knoop.setup.tables import Ssh, Time
from knoop.setup.wifi import Radio

*PRESEEDS, USER, NETWORK, FIRSTRUN = moved.IMAGERS
# A user's password, hashed, and what is said where `imager_custom` is not there.
_LEFT = re.compile(
    r"userconf '[^']*' '([^']*)'|^\s*psk=([0-9a-f]{64})$|^\s*echo \"\$FIRSTUSER:([^\"]+)\"", re.MULTILINE
)
_VALUE = rb"(?:pass\w*|psk)[\"']?[ \t]*[:=][ \t]*[\"']?(%b)"
NO_USERS = "a user and a password are set there: nobody logs in here by password, so they count for nothing"


@dataclass(slots=True, kw_only=True)
class Given:
    """What these files say. `radios` without a key are open, or moved: `moved` has their names.

    `secrets`: for each file the texts to be wiped. `notes`: what is left out, in sentences.
    """

    hostname: str = ""
    zone: str = ""
    country: str = ""
    radios: tuple[Radio, ...] = ()
    moved: tuple[bytes, ...] = ()
    keys: tuple[str, ...] = ()
    secrets: dict[str, list[str]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)

    def join(self, file: str, ssid: bytes, password: str, *, hidden: bool, country: str) -> None:
        """One Wi-Fi more."""
        self.country = country.upper() if re.fullmatch("[A-Za-z]{2}", country) else self.country
        taken = moved.was(password)
        try:
            psk = "" if taken or not password else wifi.key(ssid, password)
        except UnicodeEncodeError:
            psk = ""
        self.radios = (*self.radios, Radio(ssid=ssid, psk=psk, hidden=hidden))
        if taken:
            self.moved = (*self.moved, ssid)
        self.wipe(file, password)

    def wipe(self, file: str, secret: str) -> None:
        """Have it wiped from that file, unless it is already."""
        if secret and not moved.was(secret):
            self.secrets.setdefault(file, []).append(secret)


def read(files: Mapping[str, bytes]) -> Given:
    """What all of them say; a later format before an earlier one. What is broken is left out with a note."""
    given = Given()
    for name, content in files.items():
        try:
            text = content.decode("utf-8")
            if name in PRESEEDS:
                _preseed(given, name, tomllib.loads(text))
            elif name in {USER, NETWORK}:
                _cloud(given, name, text)
            elif name == FIRSTRUN:
                _script(given, name, text)
        except (ValueError, AttributeError, TypeError, KeyError) as error:  # not what Imager writes
            kind = type(error).__name__
            given.notes.append(f"{name} is not what Raspberry Pi Imager writes ({kind}), and is left out")
    _sound(given)
    return given


def _sound(given: Given) -> None:
    """Leave out what would not do in the machine's own files."""
    given.hostname = node_name(given.hostname)
    given.radios = tuple(radio for radio in given.radios if 1 <= len(radio.ssid) <= 32)
    try:
        Time(zone=given.zone)
    except ValueError:
        given.zone = ""
    try:
        given.keys = Ssh(key="\n".join(given.keys)).lines
    except ValueError as error:
        given.keys = ()
        given.notes.append(f"ssh {error}")


def spans(content: bytes, secrets: Iterable[str]) -> tuple[tuple[moved.Span, ...], bool]:
    """Where these texts stand in a file; and whether each of them does.

    Where one does as a password's value, only there: a network's name may be the same text. A script has no such keys.
    """
    places: dict[str, list[moved.Span]] = {}
    for secret in secrets:
        raw = re.escape(secret.encode())
        valued = () if content.startswith(b"#!") else re.finditer(_VALUE % raw, content)
        places[secret] = [match.span(1) for match in valued] or [match.span() for match in re.finditer(raw, content)]
    return tuple(sorted({span for one in places.values() for span in one})), all(places.values())


def _preseed(given: Given, file: str, data: Mapping[str, Any]) -> None:
    given.hostname = _text(data, "system", "hostname") or given.hostname
    given.zone = _text(data, "locale", "timezone") or given.zone
    if data.get("user"):
        given.notes.append(f"{file}: {NO_USERS}")
        given.wipe(file, _text(data, "user", "password"))
    ssh = data.get("ssh", {})
    if ssh.get("enabled"):
        given.keys = tuple(str(key) for key in ssh.get("authorized_keys", ()))
    if wlan := data.get("wlan"):
        ssid = bytes.fromhex(wlan["ssid_hex"]) if "ssid_hex" in wlan else str(wlan["ssid"]).encode()
        given.join(file, ssid, str(wlan.get("password", "")), hidden=bool(wlan.get("hidden")),
                   country=str(wlan.get("country", "")))


def _cloud(given: Given, file: str, text: str) -> None:
    import yaml  # noqa: PLC0415 -- only where such a file lies on the card

    try:
        data = yaml.safe_load(text) or {}
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError from error
    if file == USER:
        given.hostname = str(data.get("hostname") or given.hostname)
        given.zone = str(data.get("timezone") or given.zone)
        users = [one for one in (data.get("user"), *(data.get("users") or ())) if isinstance(one, Mapping)]
        keys = [key for one in (data, *users) for key in one.get("ssh_authorized_keys") or ()]
        given.keys = tuple(map(str, keys)) or given.keys
        for one in (data, *users):
            for key in ("password", "passwd", "hashed_passwd", "plain_text_passwd"):
                given.wipe(file, str(one.get(key) or ""))
        if users:
            given.notes.append(f"{file}: {NO_USERS}")
        return
    for station in (data.get("network", data).get("wifis") or {}).values():
        for name, point in (station.get("access-points") or {}).items():
            at = point or {}
            password = str(at.get("password") or (at.get("auth") or {}).get("password") or "")
            # Imager writes bytes beyond ASCII as \xHH, which YAML takes for characters of those numbers.
            given.join(file, _octets(str(name)), password, hidden=bool(at.get("hidden")),
                       country=str(station.get("regulatory-domain", "")))


def _octets(name: str) -> bytes:
    """A network's name as it was before Imager's escapes, or as somebody wrote it by hand."""
    try:
        raw = name.encode("latin-1")
        raw.decode("utf-8")
    except UnicodeError:
        return name.encode()
    return raw


def _script(given: Given, file: str, text: str) -> None:
    for words in _commands(text):
        verb, rest = words[0], words[1:]
        if verb == "set_hostname" and rest:
            given.hostname = rest[0]
        elif verb == "set_timezone" and rest:
            given.zone = rest[0]
        elif verb == "enable_ssh" and rest[:1] == ["-k"]:
            given.keys = tuple(rest[1:])
        elif verb == "set_wlan":
            hidden = "-h" in rest[:1]
            ssid, password, country = (*rest[hidden:], "", "", "")[:3]
            given.join(file, ssid.encode(), password, hidden=hidden, country=country)
    for secret in _LEFT.findall(text):
        given.wipe(file, next(filter(None, secret), ""))
    if "userconf" in text:
        given.notes.append(f"{file}: {NO_USERS}")


def _commands(text: str) -> Iterator[list[str]]:
    """The words behind `imager_custom` in each line that has it as its command."""
    for line in text.splitlines():
        before, program, rest = line.partition("/imager_custom ")
        if program and not before.strip().startswith(("if", "#")):
            words = shlex.split(rest)
            if words:
                yield words


def _text(data: Mapping[str, Any], table: str, key: str) -> str:
    value = data.get(table, {}).get(key, "")
    return value if isinstance(value, str) else ""
