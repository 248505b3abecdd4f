"""From the bytes of a GPS receiver to epochs: what it says of one instant. Pure.

Sources: NMEA 0183 4.10, §5.3 (framing, checksum) and §8.3 (GGA, GNS, GSA, RMC, VTG); gpsd's "NMEA Revealed" for what
receivers make of it. The time in the sentences only tells epochs apart: it is never our clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Any, Final

LONGEST = 256  # bytes of a sentence; 82 by the standard, receivers with many decimals send up to 100
CARRIED_S = 10.0  # some receivers send a kind of sentence every fifth second only (SiRF: GSA)
APART = 1e-4  # degrees between two sentences of one epoch, which name one place: 11 m; plotters mix their sources
AGREED_S = 5.0  # after that long with one sentence an epoch it is believed alone
KMH_OF_A_KNOT = 1.852
STANDING_KMH = 2.0  # a receiver that lies still shows up to 1 km/h, and any course
NONE: Final = "none"

_SUMMED = re.compile(rb"([$!][ -)+-~]+)\*([0-9A-Fa-f]{2})")  # printable, with one asterisk
_WHOLE = re.compile(rb"[ -~]*")
_OURS = re.compile(r"\$[A-OQ-Z][A-Z](RMC|GGA|GNS|GSA|VTG),")  # P begins what is a maker's own
_TIMELESS = frozenset({"GSA", "VTG"})
_TIME = re.compile(r"\d{6}(\.\d+)?")
_DECIMAL = re.compile(r"-?\d{1,9}(\.\d{1,9})?")
_LATITUDE = re.compile(r"\d\d[0-5]\d\.\d{1,9}")
_LONGITUDE = re.compile(r"[01]\d\d[0-5]\d\.\d{1,9}")

# GGA's quality in the letters of the younger sentences (RMC, GNS): A alone, D differential, P precise, R RTK, F float
# RTK, E estimated (dead reckoning), M typed in, S simulated, N none.
_QUALITY: Mapping[str, str] = dict(zip("012345678", "NADPRFEMS", strict=True))
_BEST_FIRST = "RFDPAEMSN"
_MEASURED = "RFDPAE"
FIXES: Mapping[str, str] = {
    "R": "rtk", "F": "float", "D": "dgps", "E": "estimated", "M": "manual", "S": "simulated", "N": NONE,
}  # fmt: skip


def intact(line: bytes) -> str | None:
    """The sentence `$…*HH` that a line is, if its checksum fits."""
    match = _SUMMED.fullmatch(line.rstrip())
    if match is None or reduce(xor, match[1][1:], 0) != int(match[2], 16):
        return None
    return match[0].decode("ascii")


class Sentences:
    """Cuts a stream of bytes into sentences. `intact`, `spoiled`, `unsummed` count what came since the last `reset`."""

    def __init__(self) -> None:
        self._rest = b""
        self._long = False
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.intact = self.spoiled = self.unsummed = 0

    def feed(self, data: bytes) -> list[str | None]:
        """The sentences that `data` completes; None for one that arrived spoiled, or without a checksum.

        Other text is nothing: a receiver may greet at its start.
        """
        *lines, self._rest = re.split(rb"[\r\n]+", self._rest + data)
        found: list[str | None] = []
        for line in lines:
            start = max(line.rfind(b"$"), line.rfind(b"!"))
            sentence = None if self._long else intact(line[max(start, 0) :])
            if self._long or start > 0 or (sentence is None and (b"*" in line or not _WHOLE.fullmatch(line))):
                self.spoiled += 1
                found.append(None)  # also what stands in front of a sentence: it lost its end
            if sentence is not None:
                self.intact += 1
                found.append(sentence)
            elif start == 0 and b"*" not in line:
                self.unsummed += 1
                found.append(None)
            self._long = False
        if len(self._rest) > LONGEST:
            self._rest, self._long = b"", True
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What is known at one instant, by the names of `UNITS`; what is not is left out.

    `estimated`: the position is reckoned from the one before, not measured.
    """

    values: Mapping[str, float | str]
    estimated: bool = False


# What an epoch may have, with its unit. `fix`: none, gps (nobody says whether 2d or 3d), 2d, 3d, dgps, float, rtk …
UNITS: Mapping[str, str] = {
    "latitude": "°", "longitude": "°", "altitude": "m", "speed": "km/h", "course": "°", "fix": "", "satellites": "",
    "hdop": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What one sentence says."""

    kind: str
    time: str = ""
    letter: str = ""
    place: tuple[float, float] | None = None
    values: Mapping[str, float | str]


@dataclass(slots=True)
class _Open:
    """The epoch that is being said."""

    time: str = ""
    kinds: set[str] = field(default_factory=set)
    places: list[tuple[float, float]] = field(default_factory=list)
    letters: str = ""
    values: dict[str, float | str] = field(default_factory=dict)
    spoiled: bool = False


class Epochs:
    """Puts the sentences of one instant together. `parse` is pynmea2's; what it cannot take counts as spoiled.

    An epoch ends where a sentence of another time begins. The first may lack its beginning and is left out, and so is
    each in which something was spoiled: the checksum is eight bits of XOR, and where one error is there are more.
    For the same reason a receiver that says each position twice (RMC, GGA) is believed only when it does. What a later
    epoch does not say holds on for a while, but never a position. `doubted` counts the epochs that name two.
    """

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse
        self._open: _Open | None = None
        self._known: dict[str, tuple[float | str, int]] = {}  # and when it was said
        self._first = True
        self._torn = False  # something spoiled stands between two epochs: it may belong to either
        self._agreed_ns: int | None = None
        self.doubted = 0

    def feed(self, sentence: str | None, at_ns: int) -> Epoch | None:
        """The epoch that `sentence` ends, which came at this boottime; None is a spoiled one."""
        if sentence is None:
            self._spoil()
            return None
        match = _OURS.match(sentence)
        if match is None:
            return None
        try:
            said = _read(match[1], self._parse(sentence))
        except Exception:  # noqa: BLE001 -- whatever the library makes of a line must not cost more than its epoch
            self._spoil()
            return None
        if said.kind in _TIMELESS:
            if self._open is not None:
                _add(said, self._open)
            return None
        ended = None
        if self._open is None or not _same(said.time, self._open.time) or (
            not said.time and said.kind in self._open.kinds
        ):
            ended = None if self._open is None else self._ended(self._open, at_ns)
            self._open = _Open(time=said.time, spoiled=self._torn)
        self._torn = False
        if said.kind not in self._open.kinds:  # of two of a kind (GP and GL) the first
            _add(said, self._open)
        return ended

    def _spoil(self) -> None:
        self._torn = True
        if self._open is not None:
            self._open.spoiled = True

    def _ended(self, now: _Open, at_ns: int) -> Epoch | None:
        first, self._first = self._first, False
        if first or now.spoiled:
            return None
        if not now.places or any(letter not in _MEASURED for letter in now.letters):
            return self._unfixed(now, at_ns)
        if any(abs(a - b) > APART for one in now.places for a, b in zip(one, now.places[0], strict=True)):
            self.doubted += 1
            return None
        if len(now.places) > 1:
            self._agreed_ns = at_ns
        elif self._agreed_ns is not None and at_ns - self._agreed_ns <= AGREED_S * 1e9:
            return None
        self._known |= {name: (value, at_ns) for name, value in now.values.items()}
        known = self._lately(at_ns)
        letter, dimension = str(known.get("quality") or now.letters[0]), known.get("dimension")
        values = {name: known[name] for name in UNITS if name in known}
        values["latitude"], values["longitude"] = (round(angle, 7) for angle in now.places[0])  # 1 cm
        values["fix"] = FIXES.get(letter) or {"2": "2d", "3": "3d"}.get(str(dimension), "gps")
        if dimension == "2":
            values.pop("altitude", None)  # it is the last one known, or what somebody typed
        speed = values.get("speed")
        if not isinstance(speed, float) or speed < STANDING_KMH:
            values.pop("course", None)
        return Epoch(values=values, estimated=letter == "E")

    def _unfixed(self, now: _Open, at_ns: int) -> Epoch:
        """No position, or one that nobody measured; where only one sentence says so it is believed."""
        if "satellites" in now.values:
            self._known["satellites"] = now.values["satellites"], at_ns
        self._known = {name: known for name, known in self._known.items() if name == "satellites"}
        typed = next((letter for letter in now.letters if letter in "MS"), "N")
        values: dict[str, float | str] = {"fix": NONE if "N" in now.letters else FIXES[typed]}
        return Epoch(values=values | self._lately(at_ns))

    def _lately(self, at_ns: int) -> dict[str, float | str]:
        return {name: value for name, (value, since) in self._known.items() if at_ns - since <= CARRIED_S * 1e9}


def _add(said: _Said, now: _Open) -> None:
    now.kinds.add(said.kind)
    now.letters += said.letter
    now.places += [said.place] if said.place else []
    best = max(str(part.get("dimension", "")) for part in (said.values, now.values))  # GSA comes once a system
    now.values = {**said.values, **now.values, **({"dimension": best} if best else {})}


def _read(kind: str, said: Any) -> _Said:
    """A sentence of pynmea2's; raises whatever."""
    values: dict[str, float | str | None] = {}
    letter = "" if kind in _TIMELESS else _letter(kind, said)
    if kind == "VTG":
        values["speed"] = _number(said, "spd_over_grnd_kmph", 0, 1852)
        values["course"] = _number(said, "true_track", 0, 360)
    elif kind == "GSA":
        values["dimension"] = _raw(said, "mode_fix_type")
        values["hdop"] = _number(said, "hdop", 0, 99)
    elif kind == "RMC":
        knots = _number(said, "spd_over_grnd", 0, 1000)
        values["speed"] = None if knots is None else round(knots * KMH_OF_A_KNOT, 2)
        values["course"] = _number(said, "true_course", 0, 360)
    else:
        values["quality"] = letter
        values["satellites"] = _number(said, "num_sats", 0, 99)
        values["hdop"] = _number(said, "horizontal_dil" if kind == "GGA" else "hdop", 0, 99)
        if kind == "GNS" or _raw(said, "altitude_units") == "M":
            values["altitude"] = _number(said, "altitude", -1000, 100_000)
    there = {name: value for name, value in values.items() if value not in {None, ""}}
    if kind in _TIMELESS:
        return _Said(kind=kind, values=there)
    time = _raw(said, "timestamp")
    if time and not _TIME.fullmatch(time):
        raise ValueError(time)
    place = _place(said) if letter and letter in _MEASURED else None
    return _Said(kind=kind, time=time, letter=letter, place=place, values=there)


def _place(said: Any) -> tuple[float, float]:
    """The measured position; raises ValueError where it should be and is none: pynmea2 has 0° for some of those."""
    latitude = _LATITUDE.fullmatch(_raw(said, "lat")) and _raw(said, "lat_dir") in {"N", "S"}
    longitude = _LONGITUDE.fullmatch(_raw(said, "lon")) and _raw(said, "lon_dir") in {"E", "W"}
    if not latitude or not longitude or abs(said.latitude) > 90 or abs(said.longitude) > 180:
        raise ValueError(said)
    return said.latitude, said.longitude


def _same(one: str, other: str) -> bool:
    return one == other or (bool(one) and bool(other) and float(one) == float(other))


def _letter(kind: str, said: Any) -> str:
    """What a sentence says of the fix, "" where it says nothing."""
    if kind == "GGA":
        return _QUALITY.get(_raw(said, "gps_qual"), "")
    mode = _raw(said, "mode_indicator")
    best = next((letter for letter in _BEST_FIRST if letter in mode), "")  # GNS has one a system
    if kind == "GNS":
        return best
    if _raw(said, "status") != "A":
        return best if best in {"M", "S"} else "N"
    return best or "A"  # before NMEA 2.3 there was no mode


def _raw(said: Any, name: str) -> str:
    """A field as it was sent: pynmea2 takes `nan` for a number, and leaves as text what is none."""
    at = type(said).name_to_idx[name]
    return str(said.data[at]) if at < len(said.data) else ""


def _number(said: Any, name: str, low: float, high: float) -> float | None:
    raw = _raw(said, name)
    return value if _DECIMAL.fullmatch(raw) and low <= (value := float(raw)) <= high else None
