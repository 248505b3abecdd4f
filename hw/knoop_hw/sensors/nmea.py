"""A GPS receiver on a serial port: position, speed, fix, satellites, of any system (GPS, Galileo, GLONASS, BeiDou …).

The receiver's time is not used: this machine's clock belongs to the system (chrony, gpsd). What a sentence means:
`nmea_epochs`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import DeviceError
from knoop_hw.filters import Delta, Options
from knoop_hw.model import Quality, Type
from knoop_hw.protocols.nmea_epochs import UNITS, Epoch, Epochs, Sentences
from knoop_hw.serialport import Port, open_port
from knoop_hw.source import Field, Sample, check_chosen
from knoop_hw.timer import within

STANDARD = ("latitude", "longitude", "altitude", "speed", "fix", "satellites")
_POSITION = frozenset({"latitude", "longitude"})

# How often a value is told when node.toml does not say. A receiver sends every 1 s, and what lies still wanders: 95 %
# of the time within 8 m (GPS SPS Performance Standard 2020, §3.8), the height twice that.
_HOUR_S, _MINUTE_S = 3600.0, 60.0
_DELTAS: dict[str, Delta | None] = {
    "latitude": Delta(0.0002), "longitude": Delta(0.0002),  # 22 m of latitude, 14 m of longitude at 52°
    "altitude": Delta(20), "speed": Delta(5), "course": Delta(20), "satellites": Delta(4), "hdop": Delta(1),
    "fix": None,
}  # fmt: skip
_AT_ONCE = frozenset({"fix", "satellites"})  # as the place comes and goes at once: never a position with "fix none"
_DIGITS = {"latitude": 5, "longitude": 5, "altitude": 0, "speed": 0, "course": 0, "satellites": 0, "hdop": 1}


def _field(name: str) -> Field:
    every_s = None if name in _AT_ONCE else _MINUTE_S
    rather = Options(delta=_DELTAS[name], min_interval_s=every_s, heartbeat_s=_HOUR_S)
    kind: Type = "text" if name == "fix" else "number"
    return Field(name=name, type=kind, unit=UNITS[name], digits=_DIGITS.get(name), defaults=rather)


FIELDS: dict[str, Field] = {name: _field(name) for name in UNITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`device` is the port. `fields` are the values that become channels. The newest epoch counts, at most one in
    `every`. `timeout_s` is how long the receiver may say nothing of its fix: it does so every second, fix or not.
    """

    name: str
    device: Path
    baudrate: Annotated[int, Between(50, 4_000_000)] = 9600
    every_s: Annotated[Seconds, Between(0, 3600)] = 10.0
    fields: tuple[str, ...] = STANDARD
    timeout_s: Annotated[Seconds, Between(2, 3600)] = 30.0

    def __post_init__(self) -> None:
        """Refuse fields that no receiver has (ValueError)."""
        check_chosen(self.fields, FIELDS, of="a receiver")


def fields(config: Config) -> tuple[Field, ...]:
    """The wanted ones, whether this receiver sends them or not."""
    return tuple(FIELDS[name] for name in config.fields)


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Receiver]:  # noqa: A001 -- the contract's name
    """Open the port; raises DeviceError."""
    from pynmea2 import parse  # noqa: PLC0415 -- the library of one driver

    async with open_port(config.device, owner=f"sensor.{config.name}", baudrate=config.baudrate) as port:
        yield Receiver(config, port, Epochs(parse), clock)


class Receiver:
    """The open receiver: one tuple of samples an epoch. Without a fix the position is `missing`, and `fix` says so."""

    def __init__(self, config: Config, port: Port, epochs: Epochs, clock: Clock) -> None:
        self._config, self._port, self._epochs, self._clock = config, port, epochs, clock
        self._sentences = Sentences()
        self._bytes = 0
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """The first epoch, then the newest one when `every` has passed.

        Raises DeviceError when there is none for `timeout`, or the port is gone.
        """
        heard_ns, due_ns = self._clock.boottime_ns(), 0
        early_s = min(0.5, self._config.every_s / 2)  # half of the usual period: a receiver's second is not ours
        while True:
            left_s = self._config.timeout_s - (self._clock.boottime_ns() - heard_ns) / 1e9
            try:
                epoch = await within(self._newest(), max(left_s, 0.001), clock=self._clock)
            except TimeoutError:
                raise DeviceError(f"sensor.{self._config.name}: {self._silence()}") from None
            heard_ns = self._clock.boottime_ns()
            self._sentences.reset()
            self._bytes = self._epochs.doubted = 0
            if heard_ns >= due_ns:
                due_ns = heard_ns + int((self._config.every_s - early_s) * 1e9)
                yield tuple(self._sample(field, epoch, heard_ns) for field in self.fields)

    async def _newest(self) -> Epoch:
        """The last epoch of those that end next."""
        while True:
            data = await self._port.read()
            self._bytes += len(data)
            at_ns = self._clock.boottime_ns()
            ended = [self._epochs.feed(sentence, at_ns) for sentence in self._sentences.feed(data)]
            if epochs := [epoch for epoch in ended if epoch is not None]:
                return epochs[-1]

    def _sample(self, field: Field, epoch: Epoch, at_ns: int) -> Sample:
        value = epoch.values.get(field.name)
        quality: Quality = "ok" if value is not None else "missing"
        if quality == "ok" and epoch.estimated and field.name in _POSITION:
            quality = "estimate"
        return Sample(field=field.name, value=value, quality=quality, boottime_ns=at_ns)

    def _silence(self) -> str:
        waited, came = f"no word on the fix in {self._config.timeout_s:g} s", self._sentences
        if came.spoiled > came.intact or (self._bytes and not (came.intact or came.unsummed)):
            text = f"{waited}, but {self._bytes} bytes of garbage; check 'baudrate': receivers have 4800, 9600"
            return f"{text}, 38400 or 115200"
        if came.spoiled:
            return f"{waited}: {came.spoiled} of {came.spoiled + came.intact} sentences arrive spoiled; check the cable"
        if self._epochs.doubted:
            return f"{waited} that can be believed: sentences of one instant name two places; start it anew"
        if came.intact:
            text = f"{waited}, but {came.intact} sentences of other kinds"
            return f"{text}; let the receiver send RMC or GGA, and its time"
        if came.unsummed:
            return f"{waited}, but {came.unsummed} sentences without a checksum; switch it on in the receiver"
        return f"{waited}, and not one byte; check the cable, and whether the receiver has power"
