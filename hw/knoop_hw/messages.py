"""The Board protocol, version 1: what the two halves say to each other.

Frozen dataclasses inside a process, one JSON object a line between processes. A line is at most 64 KiB; an unknown
key or message is an error, because the two halves are always of one version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from knoop_hw.model import Channel, Reading

VERSION = 1
MAX_LINE = 64 * 1024
LATE_NS = 5_000_000_000  # a line moves in microseconds and who asked looks on; after so long they have turned away
SetError = Literal["interlock", "min-off", "range", "unknown", "device", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """hw → agent, first: who speaks and which channels there are, with all that people call them.

    `digest` changes when the channels do, also when only a label or an alias does.
    """

    v: int = VERSION
    version: str
    run: str
    boot: str
    digest: str
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """hw → agent: readings in order; `upto` numbers the last of them within this run."""

    upto: int
    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """hw → agent: this half is about to end, and waits a moment for all that it said to be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """agent → hw: everything up to `upto` is safe; the hardware half may forget it."""

    upto: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """agent → hw, every 0.5 s: the agent lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """agent → hw: move an output; `for_ms` returns it to its former value after that time; `by` is a bare JID.

    `asked_ns` is the boottime at which it was asked. Both halves have the same clock, so that one which hung does not
    do late what nobody expects any more (`LATE_NS`).
    """

    id: int
    channel: str
    value: bool | float
    for_ms: int | None = None
    by: str
    asked_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """hw → agent: the output moved; `reading` is the level read back from the line."""

    id: int
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """hw → agent: the output did not move; `text` says why in a sentence."""

    id: int
    error: SetError
    text: str


Message = Hello | Readings | Leaving | Stored | Beat | Set | Done | Failed
KINDS: dict[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Hello, Readings, Leaving, Stored, Beat, Set, Done, Failed)
}


def encode(message: Message) -> bytes:
    """One line of JSON, newline included. Raises ValueError when it exceeds MAX_LINE."""
    line = json.dumps(
        {"m": type(message).__name__.lower(), **_plain(message)},
        separators=(",", ":"), ensure_ascii=False, allow_nan=False,
    ).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"{type(message).__name__.lower()}: {len(line)} bytes exceed the line limit of {MAX_LINE}")
    return line


def decode(line: bytes) -> Message:
    """The message in one line. Raises ValueError that names what is wrong with it."""
    if len(line) > MAX_LINE:
        raise ValueError(f"a line of {len(line)} bytes exceeds the limit of {MAX_LINE}")
    try:
        raw = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(raw, dict) or (kind := KINDS.get(str(raw.pop("m", "")))) is None:
        raise ValueError("not a message of the Board protocol")
    if raw.get("v", VERSION) != VERSION:
        raise ValueError(f"version {raw['v']!r} of it, where this half speaks {VERSION}: install both from one release")
    for key in ("channels", "items"):
        if not isinstance(raw.get(key, []), list):
            raise ValueError(f"{key}: not a list")  # noqa: TRY004 -- one error type for a bad line
    if "channels" in raw:
        raw["channels"] = tuple(_build(Channel, item) for item in raw["channels"])
    if "items" in raw:
        raw["items"] = tuple(_build(Reading, item) for item in raw["items"])
    if "reading" in raw:
        raw["reading"] = _build(Reading, raw["reading"])
    message: Message = _build(kind, raw)
    return message


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _plain(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name in _KNOWN[type(value)]:
        item = getattr(value, name)
        if item is None:
            continue
        if isinstance(item, tuple):
            plain[name] = [one if isinstance(one, str) else _plain(one) for one in item]
        elif isinstance(item, Reading):
            plain[name] = _plain(item)
        else:
            plain[name] = item
    return plain


# The keys of each message and part, with their annotations: looked up once, not for each of a batch's readings.
_KNOWN: dict[type, dict[str, str]] = {
    kind: {field.name: str(field.type) for field in fields(kind)} for kind in (*KINDS.values(), Channel, Reading)
}
# What JSON may hold for a field, by its annotation. A bool is an int to Python, not to us.
_ACCEPTS: dict[str, tuple[type, ...]] = {
    "int": (int,), "str": (str,), "bool": (bool,), "int | None": (int,), "float | None": (int, float),
    "bool | float": (bool, int, float), "Value": (bool, int, float, str),
}


def _names(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise ValueError(f"channel.aliases: {raw!r} is not a list of names")
    return tuple(raw)


def _build(kind: type[Any], raw: Any) -> Any:
    name = kind.__name__.lower()
    if not isinstance(raw, Mapping):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 -- one error type for a bad line
    known = _KNOWN[kind]
    for key, item in raw.items():
        if key not in known:
            raise ValueError(f"{name}: unknown key {key!r}")
        accepts = _ACCEPTS.get(known[key])
        if accepts and (not isinstance(item, accepts) or (isinstance(item, bool) and bool not in accepts)):
            raise ValueError(f"{name}.{key}: {item!r} is not of type {known[key]}")
        if isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise ValueError(f"{name}.{key}: {str(item)[:25]} is no number of 64 bits")
    if kind is Reading:
        raw = {"value": None, **raw}
    if kind is Channel and "aliases" in raw:
        raw = {**raw, "aliases": _names(raw["aliases"])}
    try:
        return kind(**raw)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
