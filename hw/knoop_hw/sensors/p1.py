"""A smart meter on its P1 port: Dutch, Belgian, Luxembourg's, and others that speak alike.

Sources: `p1_frames` and `p1_telegram`. Why not dsmr-parser: docs/adr/0001-p1-parser.md; what is believed, and how often
it is told: docs/adr/0021-smart-meters.md.
"""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from knoop_hw import places, rights
from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.filters import Delta, Options
from knoop_hw.protocols.p1_frames import TAG, Frames, SealedFrames
from knoop_hw.protocols.p1_telegram import UNITS, parse
from knoop_hw.protocols.p1_unchecked import Unchecked
from knoop_hw.serialport import Framing, Port, open_port
from knoop_hw.source import Field, Sample, check_chosen
from knoop_hw.timer import within

log = logging.getLogger(__name__)

Protocol = Literal["dsmr4", "dsmr2", "luxembourg"]
_SETTINGS: Mapping[Protocol, tuple[int, Framing]] = {
    "dsmr4": (115_200, "8N1"), "dsmr2": (9_600, "7E1"), "luxembourg": (115_200, "8N1"),
}  # fmt: skip
_WRONG: Mapping[Protocol, str] = {
    "dsmr4": "with a wrong CRC", "dsmr2": "with spoiled lines", "luxembourg": "with a seal that the key does not fit",
}  # fmt: skip
STANDARD = (
    "power", "power_returned", "energy_t1", "energy_t2", "returned_t1", "returned_t2", "tariff", "gas",
)  # fmt: skip
STANDARD_LUXEMBOURG = ("power", "power_returned", "energy", "returned", "gas")  # it has one tariff

# How often a value is told when node.toml does not say. The meter sends every 1 s; an SD card and a link want less.
_AS_IT_MOVES = Options(delta=Delta(2, relative=True), heartbeat_s=300)  # 2 %: what a meter of class B is accurate to
_COUNTS = Options(min_interval_s=300, heartbeat_s=300)  # a total: nothing is lost between two; gas is read no oftener
_SELDOM = Options(delta=Delta(0), heartbeat_s=3600)  # a state or a count of events: at once, and a sign of life
_DEFAULTS: tuple[tuple[str, Options], ...] = (
    (r"power_peak.*|tariff|failures|long_failures|sags.*|swells.*|breaker|limit|fuse", _SELDOM),
    (r"energy.*|returned.*|reactive_energy.*|gas|water|heat", _COUNTS),
    (r"power.*|reactive.*|apparent.*", _AS_IT_MOVES),
    (r"voltage.*", Options(delta=Delta(1), heartbeat_s=300)),  # of 230 V; the limit that matters is 10 % (EN 50160)
    (r"current.*", Options(delta=Delta(0.2), heartbeat_s=300)),  # 46 W; most meters show whole amperes
    (r"frequency", Options(delta=Delta(0.02), heartbeat_s=300)),  # the grid's own dead band
)


def _field(name: str, unit: str) -> Field:
    defaults = next(options for pattern, options in _DEFAULTS if re.fullmatch(pattern, name))
    return Field(name=name, unit=unit, digits=None if unit else 0, defaults=defaults)


FIELDS: dict[str, Field] = {name: _field(name, unit) for name, unit in UNITS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`device` is the port.

    `protocol`: "dsmr4" is DSMR 4 and 5, Belgium, and all that speak alike in the clear (115200 8N1, CRC); "dsmr2" is
    2.2 and 3.0 (9600 7E1, no CRC); "luxembourg" is encrypted. `fields` are the values that become channels. The newest
    telegram counts, at most one in `every`. `timeout_s` is how long the meter may be silent: it sends every 1 s (DSMR
    5) or 10 s. `key_file` holds Luxembourg's key, 32 hexadecimal digits, readable by nobody else; systemd's credential
    `sensor.NAME.key` goes before it.
    """

    name: str
    device: Path
    protocol: Protocol = "dsmr4"
    every_s: Annotated[Seconds, Between(0, 3600)] = 10.0
    fields: tuple[str, ...] | None = None
    timeout_s: Annotated[Seconds, Between(2, 3600)] = 30.0
    key_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse fields that no meter has, and a key where none belongs (ValueError)."""
        if self.fields is not None:
            check_chosen(self.fields, FIELDS, of="a meter")
        if self.key_file is None:
            return
        if _KEY.fullmatch(self.key_file.name):
            text = "this is the key itself; put it into a file that only Knoop can read (chmod 600) and name that file"
            raise ValueError(f"key_file: {text}")
        if self.protocol != "luxembourg":
            raise ValueError('key_file: only protocol = "luxembourg" has a key; leave it out')

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names of the values that become channels."""
        return self.fields or (STANDARD_LUXEMBOURG if self.protocol == "luxembourg" else STANDARD)


def fields(config: Config) -> tuple[Field, ...]:
    """The wanted ones, whether this meter sends them or not."""
    return tuple(FIELDS[name] for name in config.wanted)


def lacks(config: Config) -> Iterator[str]:
    """The key, where one is needed; whether it may be read is known only to the user that reads it."""
    if config.protocol != "luxembourg":
        return
    file = places.credential(f"sensor.{config.name}.key") or config.key_file
    if file is None:
        yield f"key_file: no key: {_no_key(config)}"
        return
    with suppress(PermissionError):
        if not file.exists():
            yield f"key_file: {file} does not exist; put the key into it, mode 600"


def _no_key(config: Config) -> str:
    credential = f"sensor.{config.name}.key"
    return f"name a file in 'key_file', or give the credential '{credential}'; the grid operator knows the key"


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Meter]:  # noqa: A001 -- the contract's name
    """Open the port; raises DeviceError, also when the key cannot be read."""
    baudrate, framing = _SETTINGS[config.protocol]
    frames: Frames | SealedFrames = Frames(crc=config.protocol == "dsmr4")
    if config.protocol == "luxembourg":
        frames = SealedFrames(unsealer(read_key(config)))
    async with open_port(config.device, owner=f"sensor.{config.name}", baudrate=baudrate, framing=framing) as port:
        yield Meter(config, port, frames, clock)


_KEY = re.compile(r"[0-9A-Fa-f]{32}")
# Security control byte, and the authentication key that all meters of Luxembourg have.
AAD = bytes.fromhex("3000112233445566778899AABBCCDDEEFF")


def read_key(config: Config) -> bytes:
    """The 16 bytes of the meter's key; raises DeviceError with the remedy, and never with the key."""
    owner = f"sensor.{config.name}"
    credential = places.credential(f"{owner}.key")
    file = credential or config.key_file
    if file is None:
        raise DeviceError(f"{owner}: no key: {_no_key(config)}")
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text("ascii").strip()
    except FileNotFoundError:
        raise DeviceError(f"{owner}: {file} does not exist; put the key into it, mode 600") from None
    except PermissionError:
        raise DeviceError(f"{owner}: {file} may not be read by {rights.us()}; give it to that user (chown)") from None
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise DeviceError(f"{owner}: {file} cannot be read: {error.strerror}") from None
    if mode & 0o077 and credential is None:  # systemd guards its own
        raise DeviceError(f"{owner}: {file} can be read by others (mode {mode:o}); run: chmod 600 {file}")
    if not _KEY.fullmatch(text):
        raise DeviceError(f"{owner}: {file} holds no key; it is 32 hexadecimal digits, from the grid operator")
    return bytes.fromhex(text)


def unsealer(key: bytes, aad: bytes = AAD) -> Callable[[bytes, bytes], bytes | None]:
    """What opens a frame: AES-128-GCM with a tag of 12 bytes; None when it was not sealed with this key."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- the library of one country's meters
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    def unseal(nonce: bytes, sealed: bytes) -> bytes | None:
        mode = modes.GCM(nonce, sealed[-TAG:], min_tag_length=TAG)
        decryptor = Cipher(algorithms.AES(key), mode).decryptor()
        decryptor.authenticate_additional_data(aad)
        try:
            return decryptor.update(sealed[:-TAG]) + decryptor.finalize()
        except InvalidTag:
            return None

    return unseal


class Meter:
    """The open meter: one tuple of samples for a telegram; a field that the telegram lacks is `missing`."""

    def __init__(self, config: Config, port: Port, frames: Frames | SealedFrames, clock: Clock) -> None:
        self._config, self._port, self._frames, self._clock = config, port, frames, clock
        self._unchecked = Unchecked() if config.protocol == "dsmr2" else None
        self._bytes = 0
        self._heard = self._noted = False
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """The first telegram, then the newest one when `every` has passed.

        Raises DeviceError when there is none for `timeout`, or the port is gone.
        """
        heard_ns, due_ns = self._clock.boottime_ns(), 0
        early_s = min(0.5, self._config.every_s / 2)  # half of the shortest period: a meter's second is not ours
        while True:
            left_s = self._config.timeout_s - (self._clock.boottime_ns() - heard_ns) / 1e9
            try:
                telegram = await within(self._newest(), max(left_s, 0.001), clock=self._clock)
            except TimeoutError:
                raise DeviceError(f"sensor.{self._config.name}: {self._silence()}") from None
            at_ns = self._clock.boottime_ns()
            if at_ns >= due_ns:
                try:
                    values = parse(telegram)
                except BadReading:
                    continue
                due_ns = at_ns + int((self._config.every_s - early_s) * 1e9)
                yield self._samples(values, at_ns)
            heard_ns = at_ns

    async def _newest(self) -> bytes:
        """The last telegram of those that arrive next."""
        while True:
            data = await self._port.read()
            self._bytes += len(data)
            telegrams = self._frames.feed(data)
            if self._unchecked is not None:
                now_ns = self._clock.boottime_ns()
                telegrams = [telegram for telegram in telegrams if self._unchecked.believes(telegram, now_ns)]
            self._count()
            if telegrams:
                self._heard = True
                return telegrams[-1]

    def _samples(self, values: Mapping[str, float], at_ns: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(
                field=field.name,
                value=values.get(field.name),
                quality="ok" if field.name in values else "missing",
                boottime_ns=at_ns,
            )
            for field in self.fields
        )

    @property
    def _dropped(self) -> int:
        return self._frames.spoiled + (self._unchecked.doubted if self._unchecked else 0)

    def _silence(self) -> str:
        waited = f"no telegram in {self._config.timeout_s:g} s"
        if self._port.spoiled:
            return f"{waited}, but {self._port.spoiled} bytes with a wrong parity; check the cable and 'protocol'"
        if self._dropped:
            suspect = "the key and the cable" if self._config.protocol == "luxembourg" else "the cable and 'protocol'"
            return f"{waited}, but {self._dropped} {_WRONG[self._config.protocol]}; check {suspect}"
        if self._bytes:
            what = f"{self._bytes} bytes of something else"
            return f"{waited}, but {what}; check 'protocol', and that the cable inverts the signal"
        return f"{waited}; check the cable (its request line must be high) and 'protocol'"

    def _count(self) -> None:
        """One line when some begin to arrive spoiled; where all are, `_silence` says so."""
        if self._dropped and self._heard and not self._noted:
            self._noted = True
            log.warning(
                "sensor.%s: a telegram %s was dropped; further ones are only counted",
                self._config.name,
                _WRONG[self._config.protocol],
            )
