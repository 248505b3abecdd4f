"""What wpa_supplicant is told of the Wi-Fi: keys instead of passwords. Pure (wpa_supplicant.conf(5))."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ROUNDS, BYTES = 4096, 32  # IEEE 802.11-2020 annex J.4.1
_BLOCK = re.compile(r"^network=\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_SSID = re.compile(r"^\tssid=((?:[0-9a-f]{2})+)$", re.MULTILINE)
_PSK = re.compile(r"^\tpsk=([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """One Wi-Fi as the machine joins it: `psk` is 64 hex digits, '' for an open one."""

    ssid: bytes
    psk: str = field(default="", repr=False)
    hidden: bool = False


def key(ssid: bytes, password: str) -> str:
    """The key that a password stands for: for one network only, and the password cannot be read from it."""
    if re.fullmatch("[0-9a-fA-F]{64}", password):
        return password.lower()
    return hashlib.pbkdf2_hmac("sha1", password.encode(), ssid, ROUNDS, BYTES).hex()


def conf(radios: Iterable[Radio], country: str) -> str:
    """The whole file; what comes first is preferred."""
    lines = ["# Written by `knoop setup` from the card's files; what you change here goes with the next change there."]
    lines += ["ctrl_interface=DIR=/run/wpa_supplicant"]
    lines += [f"country={country}"] if country else []
    listed = [*radios]
    for rank, radio in zip(range(len(listed), 0, -1), listed, strict=True):
        name = "".join(char if char.isprintable() else "?" for char in radio.ssid.decode("utf-8", "replace"))
        lines += ["", f"# {name}", "network={", f"\tssid={radio.ssid.hex()}", f"\tpriority={rank}"]
        lines += ["\tscan_ssid=1"] if radio.hidden else []
        lines += [f"\tpsk={radio.psk}", "\tkey_mgmt=WPA-PSK WPA-PSK-SHA256", "\tieee80211w=1"] if radio.psk else [
            "\tkey_mgmt=NONE"
        ]
        lines += ["}"]
    return "\n".join([*lines, ""])


def keys_in(text: str) -> Mapping[bytes, str]:
    """The keys in a file of ours, by the network's name."""
    found: dict[bytes, str] = {}
    for block in _BLOCK.findall(text):
        ssid, psk = _SSID.search(block), _PSK.search(block)
        if ssid and psk:
            found[bytes.fromhex(ssid[1])] = psk[1]
    return found
