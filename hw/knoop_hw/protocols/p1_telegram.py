"""What a smart meter's telegram says.

Source: DSMR P1 Companion Standard 5.0.2 (Netbeheer Nederland), §6.12 OBIS codes, and 2.2 for the older meters; e-MUCS
P1 1.7.1 and 2.1 (Fluvius) for Belgium; E-Meter P1 Specification 1.1.3 (Luxmetering), table 3.1; Swedish, Austrian and
Hungarian meters as recorded telegrams have them. The OBIS groups themselves: IEC 62056-6-1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from knoop_hw.errors import BadReading

_PHASES = {"l1": 20, "l2": 40, "l3": 60}  # the phases' groups: 21.7.0, 41.7.0, 61.7.0 are the power of L1 to L3
MONTHS = 13  # of peaks that a Belgian meter keeps

# OBIS group → (field, unit). Energy is kWh and power kW, as the meter's own display has them.
_ELECTRICITY: dict[str, tuple[str, str]] = {
    "1.7.0": ("power", "kW"), "2.7.0": ("power_returned", "kW"),
    "1.8.0": ("energy", "kWh"), "2.8.0": ("returned", "kWh"),
    "1.8.1": ("energy_t1", "kWh"), "1.8.2": ("energy_t2", "kWh"),
    "2.8.1": ("returned_t1", "kWh"), "2.8.2": ("returned_t2", "kWh"),
    "96.14.0": ("tariff", ""),
    "1.4.0": ("power_average", "kW"), "1.6.0": ("power_peak", "kW"),
    "3.7.0": ("reactive", "kvar"), "4.7.0": ("reactive_returned", "kvar"),
    "3.8.0": ("reactive_energy", "kvarh"), "4.8.0": ("reactive_energy_returned", "kvarh"),
    "9.7.0": ("apparent", "kVA"), "10.7.0": ("apparent_returned", "kVA"), "14.7.0": ("frequency", "Hz"),
    "96.7.21": ("failures", ""), "96.7.9": ("long_failures", ""),
    "96.3.10": ("breaker", ""), "17.0.0": ("limit", "kW"), "31.4.0": ("fuse", "A"),
    **{f"{group + 12}.7.0": (f"voltage_{phase}", "V") for phase, group in _PHASES.items()},
    **{f"{group + 11}.7.0": (f"current_{phase}", "A") for phase, group in _PHASES.items()},
    **{f"{group + 1}.7.0": (f"power_{phase}", "kW") for phase, group in _PHASES.items()},
    **{f"{group + 2}.7.0": (f"power_returned_{phase}", "kW") for phase, group in _PHASES.items()},
    **{f"{group + 3}.7.0": (f"reactive_{phase}", "kvar") for phase, group in _PHASES.items()},
    **{f"{group + 4}.7.0": (f"reactive_returned_{phase}", "kvar") for phase, group in _PHASES.items()},
    **{f"{group + 12}.32.0": (f"sags_{phase}", "") for phase, group in _PHASES.items()},
    **{f"{group + 12}.36.0": (f"swells_{phase}", "") for phase, group in _PHASES.items()},
}  # fmt: skip
# M-Bus device type (EN 13757-3) → (field, unit).
_METERS: dict[int, tuple[str, str]] = {3: ("gas", "m³"), 7: ("water", "m³"), 4: ("heat", "GJ"), 12: ("heat", "GJ")}
_PEAKS = {f"power_peak_{n}": "kW" for n in range(1, MONTHS + 1)}

UNITS: dict[str, str] = {**dict(_ELECTRICITY.values()), **dict(_METERS.values()), **_PEAKS}

# Unit on the wire, however it is capitalized → (unit shown, how many of it are one).
_SIZES: dict[str, tuple[str, int]] = {
    "": ("", 1), "v": ("V", 1), "a": ("A", 1), "hz": ("Hz", 1), "m3": ("m³", 1), "gj": ("GJ", 1),
    **{f"{prefix}{unit.lower()}": (f"k{unit}", size)
       for unit in ("W", "Wh", "var", "varh", "VA") for prefix, size in (("k", 1), ("", 1000))},
}  # fmt: skip

_LINE = re.compile(r"^(\d)-(\d{1,2}):(\d{1,3}\.\d{1,3}\.\d{1,3})(?:[.*]255)?(\(.*\))\r?$", re.MULTILINE)
_NUMBER = r"(\d{1,16}(?:\.\d{1,16})?)"  # the standards' longest has 12 digits; 400 are no float
_VALUE = re.compile(rf"\({_NUMBER}(?:\*(\w+))?\)$")
_STAMP = r"\((\d\d)(0[1-9]|1[0-2])\d{8}[SW]?\)"  # of a meter that was never heard the month is 25
_AT = re.compile(_STAMP)
# DSMR 2.2 and 3.0 spread an M-Bus reading over two lines: the second holds only the value in brackets.
_OLD_METER = re.compile(rf"^0-(\d):24\.3\.0{_STAMP}.*\((m3|GJ)\)\r?\n\({_NUMBER}\)\r?$", re.MULTILINE)
_PEAK = re.compile(rf"{_STAMP}{_STAMP}\({_NUMBER}\*(k?W)\)")


def parse(telegram: bytes) -> dict[str, float]:
    """Field → value, for every field of UNITS in the telegram, in those units.

    Of several meters of one type, the first that has a reading counts. Raises BadReading when nothing is
    recognised.
    """
    values: dict[str, float] = {}
    types: dict[str, int] = {}
    readings: dict[str, tuple[float, str]] = {}
    text, month, peaks = telegram.decode("latin-1"), 0, ""
    for medium, bus, group, groups in _LINE.findall(text):
        if group == "1.0.0":
            month = _month(_AT.match(groups))
        elif group == "98.1.0":
            peaks = groups
        elif (found := _VALUE.search(groups)) is None:
            continue
        elif medium == "1" or (medium, bus) == ("0", "0"):
            name, expected = _ELECTRICITY.get(group, ("", ""))
            number, unit = _sized(found)
            if name and unit == expected:
                values[name] = number
        elif medium != "0":
            continue
        elif group == "24.1.0":
            types[bus] = int(float(found[1]))
        elif group.startswith("24.2.") and found[2] and _AT.match(groups):
            readings[bus] = _sized(found)
    readings |= {bus: (float(number), _SIZES[unit.lower()][0]) for bus, _, _, unit, number in _OLD_METER.findall(text)}
    for bus, (number, unit) in sorted(readings.items()):
        name, expected = _METERS.get(types.get(bus, 0), ("", ""))
        if name and unit == expected:
            values.setdefault(name, number)
    if peaks and month:
        values |= _history(peaks, month)
    if not values:
        raise BadReading("a telegram without a single known value")
    return values


def _sized(found: re.Match[str]) -> tuple[float, str]:
    unit, size = _SIZES.get((found[2] or "").lower(), ("?", 1))
    return float(found[1]) / size, unit


def _month(stamp: re.Match[str] | None) -> int:
    """Months since the year 2000 began, from 1; 0 when a meter does not know what time it is."""
    return 0 if stamp is None else int(stamp[1]) * 12 + int(stamp[2])


def _history(groups: str, now: int) -> Iterator[tuple[str, float]]:
    """The peaks of the months before this one. Each is stamped with the end of its month: the first of the next."""
    for found in _PEAK.finditer(groups):
        name = f"power_peak_{now - _month(found) + 1}"
        if name in _PEAKS:
            yield name, float(found[5]) / (1 if found[6] == "kW" else 1000)
