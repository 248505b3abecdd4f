"""What a subscriber missed and asks for: the request and a page of the answer, as XML. Pure; see docs/wire.md.

A page holds readings oldest first, in the order they came. It ends with a cursor (XEP-0059 §2.2): the row of its last
reading, and a mark of that reading, because a row's number is another reading's in a database that was made anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from xml.etree import ElementTree as ET

from knoop import payload
from knoop.record import Record
from knoop_hw.model import NAME

HISTORY: Final = "urn:knoop:1:history"
RSM: Final = "http://jabber.org/protocol/rsm"

_H, _RSM = f"{{{HISTORY}}}", f"{{{RSM}}}"
_RUN, _SEQ, _CURSOR = "[a-z0-9]{8}", "[1-9][0-9]{0,17}", r"([0-9]{1,18})\.([0-9a-f]{8})"
_FARTHEST_NS = 2**63 - 1  # the year 2262; SQLite keeps no larger integer
_BESIDE = 512  # bytes of a page that are no reading: the element itself, the cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the history: behind the reading in `row`, known by its `mark`."""

    row: int
    mark: str

    @classmethod
    def at(cls, record: Record) -> Cursor:
        """Behind this reading."""
        return cls(row=record.row, mark=blake2b(record.identity.encode(), digest_size=4).hexdigest())

    def __str__(self) -> str:
        """What nobody but us needs to understand."""
        return f"{self.row}.{self.mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for; all bounds are included. `channel` and `run` '' mean any. `most` is of readings a page."""

    channel: str = ""
    run: str = ""
    first: int = 0
    last: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    after: Cursor | None = None
    most: int = payload.BATCH_READINGS


class Unsupported(ValueError):
    """What XEP-0059 knows and a node does not do: pages go forward only."""


def parse(element: ET.Element) -> Query:
    """The query in a `history` element.

    It is taken whole or not at all: what is not known here could have been a limit. Raises ValueError for what is
    wrong, Unsupported for what RSM knows and we do not, LookupError for a cursor that cannot be ours.
    """
    known = {"channel", "run", "from", "to"}
    if strange := [name for name in element.keys() if not name.startswith("{") and name not in known]:  # noqa: SIM118
        raise ValueError(f"{strange[0]}: not known here")
    if len(element) > 1 or any(child.tag != f"{_RSM}set" for child in element):
        raise ValueError("history: at most one set of XEP-0059 belongs in it")
    channel, run = element.get("channel"), element.get("run")
    if (channel is not None and not re.fullmatch(NAME, channel)) or (run is not None and not re.fullmatch(_RUN, run)):
        raise ValueError("channel, run: not of their form")
    after, most = _set(element[0]) if len(element) else (None, payload.BATCH_READINGS)
    start, end = element.get("from"), element.get("to")
    if run is not None:
        first, last = _seq(start, 0), None if end is None else _seq(end, 0)
        if last is not None and last < first:
            raise ValueError("to: before from")
        return Query(channel=channel or "", run=run, first=first, last=last, after=after, most=most)
    since_ns, until_ns = _time(start), _time(end)
    if since_ns is not None and until_ns is not None and until_ns < since_ns:
        raise ValueError("to: before from")
    return Query(channel=channel or "", since_ns=since_ns, until_ns=until_ns, after=after, most=most)


def fitting(records: Sequence[Record], *, most: int) -> Sequence[Record]:
    """As many of these, from the first on, as go into one page: 32 KiB; one at least where there is one."""
    left = payload.BATCH_BYTES - _BESIDE
    for number, record in enumerate(records[:most]):
        left -= payload.size(record)
        if left < 0 and number:
            return records[:number]
    return records[:most]


def page(records: Sequence[Record], *, complete: bool) -> ET.Element:
    """The `history` element of an answer. Readings of one run that stand together share an element of the wire's."""
    root = ET.Element(f"{_H}history", {"complete": "true" if complete else "false"})
    root.extend(payload.together(group) for group in _groups(records))
    if records:
        rsm = ET.SubElement(root, f"{_RSM}set")
        ET.SubElement(rsm, f"{_RSM}first").text = str(Cursor.at(records[0]))
        ET.SubElement(rsm, f"{_RSM}last").text = str(Cursor.at(records[-1]))
    return root


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    for record in records:
        if group and _key(group[0]) != _key(record):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _key(record: Record) -> tuple[str, str | None]:
    """What one element has one of: unknown times compare only within one boot."""
    return record.run, record.boot if record.at_ns is None else None


def _set(element: ET.Element) -> tuple[Cursor | None, int]:
    """Where to begin, and how much is wanted at most."""
    if any(child.tag in {f"{_RSM}before", f"{_RSM}index"} for child in element):
        raise Unsupported("set: pages go forward only")
    after, most = element.findall(f"{_RSM}after"), element.findall(f"{_RSM}max")
    if len(after) > 1 or len(most) > 1 or len(element) > len(after) + len(most):
        raise ValueError("set: holds one max and one after, and nothing else")
    wanted = payload.BATCH_READINGS
    if most:
        text = (most[0].text or "").strip()
        if not re.fullmatch("[1-9][0-9]{0,8}", text):
            raise ValueError(f"max: {text!r} is no number from 1")
        wanted = min(wanted, int(text))
    if not after:
        return None, wanted
    found = re.fullmatch(_CURSOR, (after[0].text or "").strip())
    if found is None:
        raise LookupError("after: none of ours")
    return Cursor(row=int(found[1]), mark=found[2]), wanted


def _seq(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(_SEQ, text):
        raise ValueError(f"{text!r} is no seq: with run, from and to are numbers from 1")
    return int(text)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    return max(-_FARTHEST_NS, min(_FARTHEST_NS, payload.parse_timestamp(text)))
