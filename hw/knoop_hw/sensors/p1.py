"""A Dutch or Belgian smart meter on its P1 port.

Source: DSMR P1 Companion Standard 5.0.2 (Netbeheer Nederland), §5.2 CRC, §6.2 telegram, §6.12 OBIS codes; 2.2
for the older meters; e-MUCS P1 1.7.1 (Fluvius) for Belgium. Why not dsmr-parser: docs/adr/0001-p1-parser.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds, suggest
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.serialport import Framing, Port, open_port
from knoop_hw.source import Field, Sample
from knoop_hw.timer import within

log = logging.getLogger(__name__)

_PHASES = {
    "l1": 20,
    "l2": 40,
    "l3": 60,
}  # the phases' OBIS groups: 21.7.0, 41.7.0, 61.7.0 are the power of L1 to L3

# OBIS code → (field, unit on the wire). Energy is kWh and power kW, as the meter's own display has them.
_ELECTRICITY: dict[str, tuple[str, str]] = {
    "1-0:1.7.0": ("power", "kW"), "1-0:2.7.0": ("power_returned", "kW"),
    "1-0:1.8.1": ("energy_t1", "kWh"), "1-0:1.8.2": ("energy_t2", "kWh"),
    "1-0:2.8.1": ("returned_t1", "kWh"), "1-0:2.8.2": ("returned_t2", "kWh"),
    "0-0:96.14.0": ("tariff", ""),
    "1-0:1.4.0": ("power_average", "kW"), "1-0:1.6.0": ("power_peak", "kW"),
    "0-0:96.7.21": ("failures", ""), "0-0:96.7.9": ("long_failures", ""),
    **{f"1-0:{group + 12}.7.0": (f"voltage_{phase}", "V") for phase, group in _PHASES.items()},
    **{f"1-0:{group + 11}.7.0": (f"current_{phase}", "A") for phase, group in _PHASES.items()},
    **{f"1-0:{group + 1}.7.0": (f"power_{phase}", "kW") for phase, group in _PHASES.items()},
    **{f"1-0:{group + 2}.7.0": (f"power_returned_{phase}", "kW") for phase, group in _PHASES.items()},
    **{f"1-0:{group + 12}.32.0": (f"sags_{phase}", "") for phase, group in _PHASES.items()},
    **{f"1-0:{group + 12}.36.0": (f"swells_{phase}", "") for phase, group in _PHASES.items()},
}  # fmt: skip
# M-Bus device type (EN 13757-3) → (field, unit on the wire, unit shown).
_METERS: dict[int, tuple[str, str, str]] = {
    3: ("gas", "m3", "m³"), 7: ("water", "m3", "m³"), 4: ("heat", "GJ", "GJ"), 12: ("heat", "GJ", "GJ"),
}  # fmt: skip

FIELDS: dict[str, Field] = {
    **{name: Field(name=name, unit=unit, digits=None if unit else 0) for name, unit in _ELECTRICITY.values()},
    **{name: Field(name=name, unit=shown) for name, _, shown in _METERS.values()},
}
STANDARD = (
    "power", "power_returned", "energy_t1", "energy_t2", "returned_t1", "returned_t2", "tariff", "gas",
)  # fmt: skip

LONGEST = 8192  # bytes of a telegram; the longest seen, with 13 months of peak demand, is below 2 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`device` is the port. `protocol`: "dsmr4" is DSMR 4 to 5 and Belgium, "dsmr2" is 2.2 and 3.0.

    `fields` are the values that become channels. `timeout_s` is how long the meter may be silent: it sends
    every 1 s (DSMR 5) or 10 s.
    """

    name: str
    device: Path
    protocol: Literal["dsmr4", "dsmr2"] = "dsmr4"
    fields: tuple[str, ...] = STANDARD
    timeout_s: Annotated[Seconds, Between(2, 3600)] = 30.0

    def __post_init__(self) -> None:
        """Refuse fields that no meter has (ValueError)."""
        for name in self.fields:
            if name not in FIELDS:
                raise ValueError(f"fields: '{name}' is not a value of a meter; {suggest(name, FIELDS)}")
        if not self.fields or len(set(self.fields)) < len(self.fields):
            raise ValueError("fields: name each value once, and at least one")


def fields(config: Config) -> tuple[Field, ...]:
    """The configured ones, whether this meter sends them or not."""
    return tuple(FIELDS[name] for name in config.fields)


def crc16(data: bytes) -> int:
    """CRC-16/ARC:

    Polynomial x16+x15+x2+1, least significant bit first, no initial value (DSMR 5.0.2 §5.2.12).
    """
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(map(_crc_of, range(256)))
_HEADER = re.compile(rb"/[A-Za-z]{3}\d[^\r\n]{0,64}\r\n\r\n")


class Frames:
    """Cuts a stream of bytes into telegrams. Pure; whatever stands between telegrams is skipped.

    Spoiled bytes cost the telegram they are in and no other: every `/` may begin a telegram, and the last one
    in front of an end that fits it is taken. `spoiled` counts the ends that fitted none.
    """

    def __init__(self, *, crc: bool = True) -> None:
        self._crc = crc
        self._end = re.compile(rb"!([0-9A-Fa-f]{4})\r" if crc else rb"!()[\r\n]")
        self._tail = 6 if crc else 2  # bytes from the exclamation mark that must be there to judge it
        self._buffer = bytearray()
        self._searched = 0
        self.spoiled = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The telegrams that `data` completes, from `/` to `!`."""
        self._buffer += data
        telegrams: list[bytes] = []
        while (mark := self._buffer.find(b"!", self._searched)) >= 0:
            if len(self._buffer) < mark + self._tail:
                self._searched = mark
                return telegrams
            telegram = self._telegram(mark)
            if telegram is not None:
                telegrams.append(telegram)
            elif b"/" in self._buffer[:mark]:
                self.spoiled += 1
            del self._buffer[: mark + 1]
            self._searched = 0
        self._searched = len(self._buffer)
        if self._searched > LONGEST:
            del self._buffer[: -LONGEST // 2]
            self._searched = len(self._buffer)
            self.spoiled += 1
        return telegrams

    def _telegram(self, mark: int) -> bytes | None:
        end = self._end.match(self._buffer, mark)
        if end is None:
            return None
        start = mark
        while (start := self._buffer.rfind(b"/", 0, start)) >= 0:
            if _HEADER.match(self._buffer, start, mark) is None:
                continue
            telegram = bytes(self._buffer[start : mark + 1])
            if not self._crc or crc16(telegram) == int(end[1], 16):
                return telegram
        return None


_LINE = re.compile(rb"^(\d-(\d{1,2}):(\d+\.\d+\.\d+))(?:\*255)?(\(.*\))\r?$", re.MULTILINE)
_VALUE = re.compile(rb"\((\d+(?:\.\d+)?)(?:\*(\w+))?\)$")
# DSMR 2.2 and 3.0 spread an M-Bus reading over two lines: the second holds only the value in brackets.
_OLD_METER = re.compile(rb"^0-(\d):24\.3\.0\(.*\((m3|GJ)\)\r?\n\((\d+(?:\.\d+)?)\)\r?$", re.MULTILINE)


def parse(telegram: bytes) -> dict[str, float]:
    """Field → value, for every field of FIELDS in the telegram, in the units of FIELDS.

    Of several meters of one type, the first that has a reading counts. Raises BadReading when nothing is
    recognised.
    """
    values: dict[str, float] = {}
    types: dict[bytes, int] = {}
    readings: dict[bytes, tuple[float, str]] = {}
    for code, bus, group, groups in _LINE.findall(telegram):
        found = _VALUE.search(groups)
        if found is None:
            continue
        number, unit = float(found[1]), found[2].decode("ascii", "replace") if found[2] else ""
        name, expected = _ELECTRICITY.get(code.decode(), ("", ""))
        if name and unit == expected:
            values[name] = number
        elif group == b"24.1.0":
            types[bus] = int(number)
        elif group.startswith(b"24.2.") and unit:
            readings[bus] = (number, unit)
    readings |= {bus: (float(number), unit.decode()) for bus, unit, number in _OLD_METER.findall(telegram)}
    for bus, (number, unit) in sorted(readings.items()):
        name, expected, _ = _METERS.get(types.get(bus, 0), ("", "", ""))
        if name and unit == expected:
            values.setdefault(name, number)
    if not values:
        raise BadReading("a telegram without a single known value")
    return values


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Meter]:  # noqa: A001 -- the contract's name
    """Open the port; raises DeviceError."""
    baudrate, framing = _SETTINGS[config.protocol]
    async with open_port(config.device, owner=f"sensor.{config.name}", baudrate=baudrate, framing=framing) as port:
        yield Meter(config, port, clock)


_SETTINGS: Mapping[str, tuple[int, Framing]] = {"dsmr4": (115_200, "8N1"), "dsmr2": (9_600, "7E1")}


class Meter:
    """The open meter: one tuple of samples a telegram; a field that the telegram lacks is `missing`."""

    def __init__(self, config: Config, port: Port, clock: Clock) -> None:
        self._config, self._port, self._clock = config, port, clock
        self._spoiled = 0
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """Raises DeviceError when the meter is silent for `timeout` or its port is gone."""
        frames = Frames(crc=self._config.protocol == "dsmr4")
        heard_ns = self._clock.boottime_ns()
        while True:
            left_s = self._config.timeout_s - (self._clock.boottime_ns() - heard_ns) / 1e9
            try:
                data = await within(self._port.read(), max(left_s, 0.001), clock=self._clock)
            except TimeoutError:
                raise DeviceError(f"sensor.{self._config.name}: {self._silence(frames)}") from None
            for telegram in frames.feed(data):
                heard_ns = self._clock.boottime_ns()
                try:
                    values = parse(telegram)
                except BadReading:
                    frames.spoiled += 1
                else:
                    yield self._samples(values, heard_ns)
            self._count(frames.spoiled)

    def _samples(self, values: Mapping[str, float], at_ns: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(
                field=name,
                value=values.get(name),
                quality="ok" if name in values else "missing",
                boottime_ns=at_ns,
            )
            for name in self._config.fields
        )

    def _silence(self, frames: Frames) -> str:
        waited = f"no telegram in {self._config.timeout_s:g} s"
        if frames.spoiled:
            return f"{waited}, but {frames.spoiled} with a wrong CRC; check the cable and 'protocol'"
        return f"{waited}; check the cable (its request line must be high) and 'protocol'"

    def _count(self, spoiled: int) -> None:
        """One line when telegrams begin to arrive spoiled; the board says the rest."""
        if spoiled > self._spoiled:
            if self._spoiled == 0:
                log.warning(
                    "sensor.%s: a telegram with a wrong CRC was dropped; further ones are only counted",
                    self._config.name,
                )
            self._spoiled = spoiled
