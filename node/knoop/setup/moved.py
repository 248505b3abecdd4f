"""What a setup finds on the card, and what stands where a secret stood: of the same length, and no secret. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

TEXT, SHORT = "(moved into the node)", "(moved)"
NAME = "knoop.toml"
IMAGERS = ("custom.toml", "rpi-preseed.toml", "user-data", "network-config", "firstrun.sh")  # what Imager writes
Span = tuple[int, int]  # bytes of a file, from and to
LONGEST = 1000  # characters of a secret; whatever is longer is something else


def mark(length: int) -> bytes:
    """What replaces so many bytes: a sentence where one fits, else what YAML takes without quotes, too."""
    text = next((text for text in (TEXT, SHORT) if len(text) <= length), "_" * length)
    return text.ljust(length).encode()


def was(value: str) -> bool:
    """Whether this is such a text: what stood there is in the node, and is to stay as it is."""
    return value.rstrip(" ") in {TEXT, SHORT} or re.fullmatch("_{1,6}", value) is not None


def usable(value: str, *, what: str) -> None:
    """Refuse what stands over several lines, or is longer than any secret (ValueError)."""
    if not value.isprintable() or len(value) > LONGEST:
        raise ValueError(f"{what}: write it in one line, between quotes, without anything that does not print")


def wiped(content: bytes, spans: Iterable[Span]) -> bytes:
    """The same file without its secrets."""
    whole = bytearray(content)
    for start, end in spans:
        whole[start:end] = mark(end - start)
    return bytes(whole)


def rest(content: bytes, spans: Iterable[Span]) -> str:
    """A digest of all but these parts, and of its length: the same before, after and in the middle of wiping them."""
    whole = bytearray(content)
    for start, end in spans:
        whole[start:end] = bytes(end - start)
    return digest(bytes(whole))


def digest(*contents: bytes) -> str:
    """One of several files, in hex."""
    said = hashlib.blake2b(digest_size=32)
    for content in contents:
        said.update(len(content).to_bytes(8, "big") + content)
    return said.hexdigest()
