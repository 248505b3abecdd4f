"""What an IIO device says: the names of its values in node.toml, their units, and how a raw value becomes one.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-iio, "What:" for the names, "Units after application of scale
and offset" for the units; `__iio_device_attr_init` in drivers/iio/industrialio-core.c for which scale is whose. Shared
by the driver `iio` and the probe, so that they never disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    """`times`: from the ABI's unit to ours. `digits`: where the unit's own are not what such chips resolve."""

    unit: str
    times: Decimal = Decimal(1)
    digits: int | None = None


_MILLI = Decimal("0.001")
# In the order in which they are shown. Voltages and currents stay in the ABI's thousandths: what an ADC measures may
# be the microvolts of a load cell as well as a battery.
_KINDS: dict[str, _Kind] = {
    "temp": _Kind("°C", _MILLI), "humidityrelative": _Kind("%", _MILLI, 1), "pressure": _Kind("hPa", Decimal(10)),
    "illuminance": _Kind("lx"), "concentration": _Kind("%", digits=4), "massconcentration": _Kind("µg/m³", digits=1),
    "voltage": _Kind("mV", digits=1), "current": _Kind("mA"), "power": _Kind("mW"),
    "energy": _Kind("Wh", 1 / Decimal(3600), 1), "resistance": _Kind("Ω"), "capacitance": _Kind("nF"),
    "ph": _Kind("pH"), "electricalconductivity": _Kind("µS/cm", Decimal(10000)),
    "distance": _Kind("m", digits=3), "proximity": _Kind(""), "velocity": _Kind("m/s"),
    "accel": _Kind("m/s²"), "gravity": _Kind("m/s²"), "anglvel": _Kind("rad/s"), "angl": _Kind("rad"),
    "incli": _Kind("°", digits=1), "phase": _Kind("rad"), "magn": _Kind("µT", Decimal(100), 1), "intensity": _Kind(""),
    "uvindex": _Kind(""), "colortemp": _Kind("K"), "chromaticity": _Kind(""),
    "count": _Kind("", digits=0), "index": _Kind("", digits=0), "steps": _Kind("", digits=0), "activity": _Kind("%"),
}  # fmt: skip
# A share of the air in % is what nobody says of these.
_SUBSTANCES = {
    "concentration_co2": _Kind("ppm", Decimal(10**4)), "concentration_voc": _Kind("ppb", Decimal(10**7)),
    "concentration_ethanol": _Kind("ppm", Decimal(10**4), 1), "concentration_h2": _Kind("ppm", Decimal(10**4), 1),
    "concentration_o2": _Kind("%", digits=2),
}  # fmt: skip
_WORDS = {"temp": "temperature", "humidityrelative": "humidity"}
_SHORT = {
    **{name: name.removeprefix("concentration_") for name in _SUBSTANCES},
    **{f"massconcentration_{size}": size for size in ("pm1", "pm2p5", "pm4", "pm10")},
}
# voltage0, voltage0-voltage1, temp_ambient, concentration0_co2
_NAME = re.compile(r"(?P<kind>[a-z]+)(?P<index>[0-9]*)(?:-(?P=kind)(?P<minus>[0-9]+))?(?P<modifier>(?:_[a-z0-9]+)*)")
# voltage0, voltage0_voltage1, temperature_ambient
_FIELD = re.compile(_NAME.pattern.replace("-(?P=", "_(?P="))
_RAW = re.compile(r"in_(.+)_(?:raw|input)")
# Not the value of now: the highest and lowest since some time, an average, an error of the chip's.
_OTHERWISE = ("_peak", "_trough", "_mean", "_quadrature_correction")


def field(name: str) -> Field:
    """A field as node.toml names it, with its unit. Raises ValueError that says what it could be."""
    kind = _kind(_abi_name(name))
    if kind is None:
        word = re.split(r"[\d_]", name, maxsplit=1)[0]
        words = [*_SHORT.values(), *(_WORDS.get(known, known) for known in _KINDS)]
        meant = _SHORT.get(name) or (name.replace(word, _WORDS[word], 1) if word in _WORDS else "")
        hint = f"did you mean '{meant}'?" if meant else suggest(word, words)
        raise ValueError(f"'{name}' is not a value of an IIO device; {hint}")
    return Field(name=name, unit=kind.unit, digits=kind.digits)


def channels(folder: Path) -> tuple[Channel, ...]:
    """What this device measures, the usual things first; nothing is measured yet. Raises OSError."""
    there = frozenset(file.name for file in folder.iterdir())
    names = {match[1] for file in there if (match := _RAW.fullmatch(file)) and not match[1].endswith(_OTHERWISE)}
    return tuple(_channel(folder, there, name) for name in sorted(names, key=_order))


def _channel(folder: Path, there: frozenset[str], name: str) -> Channel:
    kind, read = _kind(name), partial(_read, folder, there, name)
    return Channel(
        name=name, field="" if kind is None else _field_name(name), unit="" if kind is None else kind.unit,
        label=text_of(folder / f"in_{name}_label"), read=read,
    )  # fmt: skip


def _field_name(name: str) -> str:
    match = _NAME.fullmatch(name)
    assert match is not None, name  # it has a kind
    word = _WORDS.get(match["kind"], match["kind"])
    minus = "" if match["minus"] is None else f"_{word}{match['minus']}"
    return _SHORT.get(name, f"{word}{match['index']}{minus}{match['modifier']}")


def _abi_name(field_name: str) -> str:
    """The other way round; "" for what no device has."""
    long = {short: name for name, short in _SHORT.items()}.get(field_name)
    if long is not None:
        return long
    match = _FIELD.fullmatch(field_name)
    if match is None or match["kind"] in _WORDS:  # ours is the word
        return ""
    kind = {word: known for known, word in _WORDS.items()}.get(match["kind"], match["kind"])
    minus = "" if match["minus"] is None else f"-{kind}{match['minus']}"
    name = f"{kind}{match['index']}{minus}{match['modifier']}"
    return "" if name in _SHORT else name  # one word for one thing


def _kind(name: str) -> _Kind | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return _SUBSTANCES.get(f"{match['kind']}{match['modifier']}", _KINDS.get(match["kind"]))


def _order(name: str) -> tuple[int, list[int | str], str]:
    """The usual things first, then by number; pairs after the inputs that they are made of."""
    match = _NAME.fullmatch(name)
    kinds = [*_KINDS]
    rank = kinds.index(match["kind"]) if match and match["kind"] in _KINDS else len(kinds)
    index = int(match["index"] or -1) if match else -1
    pair = int(match["minus"]) if match and match["minus"] is not None else -1
    return rank, [pair >= 0, index, pair], name


def _read(folder: Path, there: frozenset[str], name: str) -> float:
    """The processed value where there is one; else (raw + offset) × scale.

    The raw value comes first: chips whose inputs share an amplifier tell its scale as the last conversion left it
    (drivers/iio/adc/hx711.c, mcp3422.c).
    """
    kind = _kind(name) or _Kind("")
    if f"in_{name}_input" in there:
        value = number(folder / f"in_{name}_input")
    else:
        value = number(folder / f"in_{name}_raw")
        for what in ("offset", "scale"):
            file = next((file for file in _whose(name, what) if file in there), None)
            if file is None:  # "not present if the offset is always 0"; without both it is as if processed
                continue
            said = number(folder / file)
            if what == "scale" and not said:
                raise BadReading(f"{file} is 0: every value would be")
            value = value + said if what == "offset" else value * said
    return as_float(value * kind.times, f"in_{name}")


def _whose(name: str, what: str) -> Iterator[str]:
    """The files that may hold a channel's `what`, its own before those that it shares:

    by type and modifier, by type (pairs have one of their own), by direction, by all.
    """
    yield f"in_{name}_{what}"
    if match := _NAME.fullmatch(name):
        kind = match["kind"]
        if match["minus"] is not None:
            yield f"in_{kind}-{kind}_{what}"
        yield f"in_{kind}{match['modifier']}_{what}"
        yield f"in_{kind}_{what}"
    yield f"in_{what}"
    yield what
