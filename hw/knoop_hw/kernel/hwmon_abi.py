"""What a hwmon device says: the names of its values in node.toml, their units, and when one is no reading.

Source: the kernel's Documentation/hwmon/sysfs-interface.rst. Shared by the driver `hwmon` and the probe, so that they
never disagree.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from knoop_hw.decode import suggest
from knoop_hw.errors import BadReading
from knoop_hw.kernel.attributes import Channel, as_float, number
from knoop_hw.kernel.buses import text_of
from knoop_hw.source import Field


@dataclass(frozen=True, slots=True)
class _Kind:
    """`word` as node.toml has it, `per` how many of the ABI's unit are one of ours; `digits` as such chips resolve."""

    word: str
    unit: str
    per: int
    digits: int | None = None


_KINDS = {
    "temp": _Kind("temperature", "°C", 1000), "humidity": _Kind("humidity", "%", 1000, 1),
    "in": _Kind("voltage", "V", 1000, 3), "curr": _Kind("current", "A", 1000, 3),
    "power": _Kind("power", "W", 10**6, 2), "energy": _Kind("energy", "Wh", 3600 * 10**6, 1),
    "fan": _Kind("fan", "rpm", 1),
}  # fmt: skip
_BY_WORD = {kind.word: prefix for prefix, kind in _KINDS.items()}
_ITEM = re.compile(rf"({'|'.join(_KINDS)})(0|[1-9]\d*)_(?:input|average)")


def field(name: str) -> Field:
    """A field as node.toml names it, with its unit. Raises ValueError that says what it could be."""
    match = re.fullmatch(r"([a-z]+)(\d*)", name)
    word, item = match.groups() if match else (name, "")
    if not (prefix := _BY_WORD.get(word, word if word in _KINDS else "")):
        raise ValueError(f"'{name}' is not a value of a hwmon device; {suggest(word, _BY_WORD)}")
    if (meant := _field_name(prefix, int(item or 0))) != name:
        raise ValueError(f"'{name}' is not a value of a hwmon device; did you mean '{meant}'?")
    return Field(name=name, unit=_KINDS[prefix].unit, digits=_KINDS[prefix].digits)


def channels(folder: Path) -> tuple[Channel, ...]:
    """What this device measures, the usual things first; nothing is measured yet. Raises OSError."""
    there = frozenset(file.name for file in folder.iterdir())
    items = {(match[1], int(match[2])) for file in there if (match := _ITEM.fullmatch(file))}
    found = {(prefix, item) for prefix, item in items if item or prefix == "in"}  # "in[0-*]", "temp[1-*]"
    return tuple(
        Channel(
            name=f"{prefix}{item}", field=_field_name(prefix, item), unit=_KINDS[prefix].unit,
            label=text_of(folder / f"{prefix}{item}_label"), read=partial(_read, folder, there, prefix, item),
        )
        for prefix, item in sorted(found, key=lambda one: ([*_KINDS].index(one[0]), one[1]))
    )  # fmt: skip


def _field_name(prefix: str, item: int) -> str:
    """Voltages are counted from 0, and keep their number; of all else a chip mostly has one, which needs none."""
    return f"{_KINDS[prefix].word}{item if prefix == 'in' or item > 1 else ''}"


def _read(folder: Path, there: frozenset[str], prefix: str, item: int) -> float | None:
    """The value, or the average where the chip tells no other.

    None where the channel is switched off. Its `fault` is read after it, so that one that begins meanwhile counts.
    Alarms say that a limit was passed, not that the value is wrong.
    """
    name = f"{prefix}{item}"
    if f"{name}_enable" in there and not number(folder / f"{name}_enable"):
        return None
    file = f"{name}_input" if f"{name}_input" in there else f"{name}_average"
    try:
        value = number(folder / file)
    except OSError as error:
        if error.errno == errno.ENODATA and f"{name}_enable" in there:  # switched off just now
            return None
        raise
    if f"{name}_fault" in there and number(folder / f"{name}_fault"):
        raise BadReading(f"{name}_fault: nothing is connected, or it is broken")
    return as_float(value / Decimal(_KINDS[prefix].per), file)
