"""What goes over the wire, as XML, and back. Pure; docs/wire.md is the contract, schema/ its letter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, cast, get_args
from xml.etree import ElementTree as ET

from knoop.health import Level
from knoop.record import Record
from knoop_hw.model import NAME, Channel, Class, Quality, Type, Value

READINGS: Final = "urn:knoop:1:readings"
EVENTS: Final = "urn:knoop:1:events"  # a node; its payload is READINGS
STATE: Final = "urn:knoop:1:state"
ABOUT: Final = "urn:knoop:1:about"

BATCH_READINGS = 100
BATCH_BYTES = 32 * 1024
STATE_CHANNELS = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = 1_000_000  # nanoseconds
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")
NUMBER: Final = r"-?[0-9]+(\.[0-9]+)?"


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """The records in order, each list one item: of one run, all of known or all of unknown time.

    At most 100 readings or 32 KiB; events and alarms travel alone.
    """
    batch: list[Record] = []
    room = 0
    for record in records:
        needed = size(record)
        fits = len(batch) < BATCH_READINGS and needed <= room
        if batch and not (fits and _together(batch[0], record)):
            yield batch
            batch = []
        if not batch:
            room = BATCH_BYTES - 256  # the root
        batch.append(record)
        room -= needed
    if batch:
        yield batch


def readings(records: Sequence[Record]) -> ET.Element:
    """The payload of one item: records that `batches` put together; ValueError when it would not have."""
    if not records:
        raise ValueError("an item without a reading")
    first = records[0]
    if not all(_together(first, record) for record in records[1:]):
        raise ValueError("readings of different runs, or events, in one item")
    return together(records)


def together(records: Sequence[Record]) -> ET.Element:
    """One element for readings of one run, all of known or, in one boot, all of unknown time, whatever their class."""
    first = records[0]
    root = ET.Element(f"{{{READINGS}}}readings", run=first.run)
    if first.at_ns is None:
        root.attrib |= {"clock": "unsynced", "boot": first.boot, "boottime": str(first.boottime_ns // _MS)}
    else:
        root.set("at", timestamp(first.at_ns))
    start = _instant_ms(first)
    for record in records:
        child = _reading(root, READINGS, record)
        if delta := _instant_ms(record) - start:
            child.set("dt", str(delta))
        if record.cls != "telemetry":
            child.set("class", record.cls)
        if record.quality != "ok":
            child.set("quality", record.quality)
    return root


def event(record: Record) -> ET.Element:
    """The payload of one event or alarm. Raises ValueError for telemetry."""
    if record.cls == "telemetry":
        raise ValueError(f"{record.channel}: telemetry is no event")
    return readings((record,))


def state(
    channels: Iterable[Channel], latest: Mapping[str, Record], *, at_ns: int | None
) -> list[tuple[str, ET.Element]]:
    """Item ids and payloads that hold every channel and its last record, at most 200 channels each.

    `at_ns` is now, None while the clock is not synced. A channel without a record is `missing`.
    """
    every = list(channels)
    parts = [every[start : start + STATE_CHANNELS] for start in range(0, len(every), STATE_CHANNELS)] or [[]]
    return [(str(number), _state(part, latest, at_ns)) for number, part in enumerate(parts)]


def about(
    *, version: str, digest: str, channels: Iterable[Channel], verbs: Iterable[str], health: Level = "fine"
) -> ET.Element:
    """What this node is: its version, channels, units and verbs. `digest` changes when the channels do."""
    root = ET.Element(f"{{{ABOUT}}}about", version=_attribute(version), digest=_attribute(digest), health=health)
    for channel in channels:
        child = ET.SubElement(
            root,
            f"{{{ABOUT}}}channel",
            {"name": channel.name, "kind": channel.kind, "type": channel.type, "class": channel.cls},
        )
        optional = {
            "unit": _attribute(channel.unit),
            "label": _attribute(channel.label),
            "digits": "" if channel.digits is None else str(channel.digits),
            "min": "" if channel.minimum is None else number(channel.minimum),
            "max": "" if channel.maximum is None else number(channel.maximum),
            "writable": "true" if channel.writable else "",
            "confirm": "true" if channel.confirm else "",
        }
        child.attrib |= {name: value for name, value in optional.items() if value}
    for verb in verbs:
        ET.SubElement(root, f"{{{ABOUT}}}verb", name=_attribute(verb))
    return root


def parse_readings(element: ET.Element) -> list[Record]:
    """The readings in a READINGS or STATE payload. Raises ValueError for whatever its schema refuses.

    Unknown attributes, and elements of other namespaces, are ignored. Times are of millisecond precision;
    `boot` and `boottime_ns` are known only where the clock was not. In a state, a channel without a reading
    yet is left out.
    """
    namespace, _, name = element.tag.removeprefix("{").partition("}")
    if (namespace, name) not in {(READINGS, "readings"), (STATE, "state")}:
        raise ValueError(f"{element.tag}: neither readings nor a state")
    if "".join([element.text or "", *(child.tail or "" for child in element)]).strip():
        raise ValueError(f"{name}: text between the readings")
    in_state, ours = namespace == STATE, f"{{{namespace}}}"
    _start(element, in_state=in_state)
    children = [child for child in element if child.tag.startswith(ours)]
    if not children and not in_state:
        raise ValueError("readings: an item without a reading")
    records = [_parse(element, child, child.tag.removeprefix(ours), in_state=in_state) for child in children]
    return [record for record in records if record is not None]


def number(value: float) -> str:
    """The shortest decimal that reads back as `value`, no exponent. ValueError for NaN and infinity."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no place on the wire")
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = repr(value)
    return format(Decimal(text), "f").removesuffix(".0") if "e" in text else text.removesuffix(".0")


def timestamp(at_ns: int) -> str:
    """UTC nanoseconds since 1970 as `2026-11-22T10:15:03.120Z` (XEP-0082 §3.2), cut to milliseconds."""
    instant = _EPOCH + timedelta(milliseconds=at_ns // _MS)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def parse_timestamp(text: str) -> int:
    """The inverse of `timestamp`, for up to nine decimals; raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a UTC time such as 2026-11-22T10:15:03.120Z")
    seconds = (datetime.fromisoformat(match[1]).replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
    return seconds * 10**9 + int((match[2] or "").ljust(9, "0"))


def _together(first: Record, record: Record) -> bool:
    """Whether both may be in one item; unknown times compare only within one boot."""
    return (
        first.cls == record.cls == "telemetry"
        and first.run == record.run
        and (first.at_ns is None) == (record.at_ns is None)
        and (first.at_ns is not None or first.boot == record.boot)
    )


def _instant_ms(record: Record) -> int:
    return (record.boottime_ns if record.at_ns is None else record.at_ns) // _MS


def _state(channels: Iterable[Channel], latest: Mapping[str, Record], at_ns: int | None) -> ET.Element:
    root = ET.Element(f"{{{STATE}}}state")
    if at_ns is None:
        root.set("clock", "unsynced")
    else:
        root.set("at", timestamp(at_ns))
    for channel in channels:
        record = latest.get(channel.name)
        if record is None:
            child = ET.SubElement(root, f"{{{STATE}}}{channel.type}", channel=channel.name, quality="missing")
            if channel.unit:
                child.set("unit", _attribute(channel.unit))
            continue
        child = _reading(root, STATE, record)
        child.set("run", record.run)
        child.set("quality", record.quality)
        if record.cls != "telemetry":
            child.set("class", record.cls)
        if at_ns is not None and record.at_ns is not None:
            child.set("dt", str(record.at_ns // _MS - at_ns // _MS))
        elif at_ns is not None:
            child.set("clock", "unsynced")
    return root


def _reading(root: ET.Element, namespace: str, record: Record) -> ET.Element:
    child = ET.SubElement(root, f"{{{namespace}}}{record.type}", channel=record.channel, seq=str(record.seq))
    if record.unit:
        child.set("unit", _attribute(record.unit))
    child.text = _text(record.value)
    return child


def _text(value: Value) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):  # a parser reads \r as \n (XML 1.0 §2.11), so we say so at once
        return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", value.replace("\r\n", "\n").replace("\r", "\n"))
    return number(value)


def _attribute(text: str) -> str:
    """A text fit for an attribute, where a parser reads each kind of space as a space (XML 1.0 §3.3.3)."""
    return re.sub(r"[\t\n\r]", " ", _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text))


def size(record: Record) -> int:
    """Bytes that a reading takes, at most: as if every byte of a text became `&amp;`."""
    value = record.value
    inside = 5 * len(value.encode("utf-8", "replace")) if isinstance(value, str) else len(_text(value) or "")
    return 150 + len(record.channel) + len(record.unit.encode()) + inside


def _start(root: ET.Element, *, in_state: bool) -> tuple[int | None, int]:
    """UTC and boottime nanoseconds that the children's `dt` counts from."""
    if "at" in root.attrib:
        if "clock" in root.attrib or not (in_state or root.attrib.keys().isdisjoint({"boot", "boottime"})):
            raise ValueError("at: an unsynced clock knows no time")
        return parse_timestamp(root.attrib["at"]), 0
    _match(root, "clock", "unsynced")
    if in_state:
        return None, 0
    _match(root, "boot", r"(?s).+")
    return None, int(_match(root, "boottime", r"[0-9]{1,15}")) * _MS


def _parse(root: ET.Element, child: ET.Element, kind: str, *, in_state: bool) -> Record | None:
    channel = _match(child, "channel", NAME)
    if kind not in get_args(Type) or len(child):
        raise ValueError(f"{channel}: {kind} is no reading; expected number, boolean or text around a value")
    quality = _match(child, "quality", "|".join(get_args(Quality)), None if in_state else "ok")
    value = _value(kind, child.text or "", quality)
    unsynced = in_state and "clock" in child.attrib and _match(child, "clock", "unsynced") != ""
    cls = _match(child, "class", "|".join(get_args(Class)), "telemetry")
    dt_ns = int(_match(child, "dt", r"-?[0-9]{1,15}", "0")) * _MS
    if in_state and quality == "missing" and child.attrib.keys().isdisjoint({"seq", "run"}):
        return None
    start_ns, boottime_ns = _start(root, in_state=in_state)
    return Record(
        run=_match(child if in_state else root, "run", "[a-z0-9]{8}"),
        channel=channel,
        seq=int(_match(child, "seq", "[1-9][0-9]{0,17}")),
        cls=cast("Class", cls),
        type=cast("Type", kind),
        value=value,
        unit=child.get("unit", ""),
        quality=cast("Quality", quality),
        boot="" if in_state else root.get("boot", ""),
        boottime_ns=boottime_ns + dt_ns if start_ns is None and not in_state else 0,
        at_ns=None if start_ns is None or unsynced else start_ns + dt_ns,
    )


def _value(kind: str, text: str, quality: str) -> Value:
    if quality in {"missing", "error"}:
        if text.strip():
            raise ValueError(f"{text!r} with quality {quality}, which has no value")
        return None
    if kind == "text":
        return text
    if kind == "boolean":
        if text not in {"true", "false"}:
            raise ValueError(f"{text!r} is neither true nor false")
        return text == "true"
    if not re.fullmatch(NUMBER, text) or not math.isfinite(value := float(text)):
        raise ValueError(f"{text!r} is no number")
    return value


def _match(element: ET.Element, name: str, pattern: str, default: str | None = None) -> str:
    """The attribute `name`, which must be of this form; `default` where it may be absent."""
    text = element.get(name, default)
    if text is None:
        raise ValueError(f"{element.tag.partition('}')[2]}: without {name}")
    if text != default and not re.fullmatch(pattern, text):
        raise ValueError(f"{name}: {text!r} is not allowed")
    return text
