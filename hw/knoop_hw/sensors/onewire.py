"""DS18B20, DS18S20, DS1822, DS1825 and DS28EA00 on a 1-Wire bus, through the kernel's w1_therm.

Source, all of the kernel: Documentation/w1/slaves/w1_therm.rst, Documentation/ABI/testing/sysfs-driver-w1_therm,
drivers/w1/slaves/w1_therm.c. The file `w1_slave` is read and not `temperature`: only there is the sensor's memory to
be seen, and without that a data wire that lies at ground is a fine 0 °C (nine zeros have the right CRC).

85 °C is what a sensor says that has lost its power since it was told to measure. It is asked again at once, which
makes it measure anew; should it say 85 °C once more, its memory decides: the maker's sensors have in byte 6 what is
left of a degree (0x10 at 85 °C), and 0x0c after power-up. A DS18S20 and copies (most have 0x0c always; Petrich,
github.com/cpetrich/counterfeit_DS18B20) prove nothing by it. They are believed when their reading before was at most
5 K away: what is in the world does not jump there from 20 °C, and what comes from 84 °C must not be refused for ever.
A copy that starts at 85 °C sharp is refused until it is 1/16 K warmer or colder.
"""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Scalar, Seconds
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.source import PATIENCE_S, Field, Sample, Source, check_names, poll

FAMILIES = ("10", "22", "28", "3b", "42")
LOWEST, HIGHEST = -55.0, 125.0  # °C that any of them can measure (their datasheets)
POWER_UP = 85.0
NEAR_K = 5.0  # what stands in the sun warms up by some K a minute; a room is 60 K away
ASK_S = 2.0  # 0.75 s for 12 bits, twice where it says 85 °C, and some for a busy bus
_SHAPE = re.compile(r"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)\n(?:[0-9a-f]{2} ){9}t=(-?\d{1,6})\n")
_ADDRESS = rf"(?:{'|'.join(FAMILIES)})-[0-9a-f]{{12}}"
_buses: dict[Path, threading.Lock] = {}  # of those where all measure at once: who reads meanwhile gets nothing


def _address(raw: Any) -> str:
    address = raw.strip().lower() if isinstance(raw, str) else ""
    if not re.fullmatch(_ADDRESS, address):
        raise ValueError(raw)
    return address


Address = Annotated[
    str, Scalar('an address such as "28-0316a2794aff" (`ls /sys/bus/w1/devices`)', _address,
                schema={"type": "string", "pattern": f"(?i)^{_ADDRESS}$"}),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`address` of one sensor, whose channel has the table's name, or `sensors`: a name for each address.

    `every_s`: how often. Those of one table measure at once where `therm_bulk_read` of their bus may be written, else
    one after the other, 0.75 s each. `root`: where sys is mounted.
    """

    address: Address = ""
    sensors: dict[str, Address] = field(default_factory=dict)
    every_s: Annotated[Seconds, Between(1, 86400)] = 30.0
    root: Path = Path("/")

    def __post_init__(self) -> None:
        """Refuse both, none, and one sensor twice (ValueError)."""
        if bool(self.address) == bool(self.sensors):
            raise ValueError("give 'address' for one sensor, or 'sensors = { name = \"28-…\" }' for several")
        check_names("sensors", self.sensors)
        if len(set(self.sensors.values())) < len(self.sensors):
            raise ValueError("sensors: two of them have one address")

    @property
    def addresses(self) -> Mapping[str, str]:
        """Each field's sensor."""
        return self.sensors or {"": self.address}


def fields(config: Config) -> tuple[Field, ...]:
    """A temperature each."""
    return tuple(Field(name=name, unit="°C") for name in config.addresses)


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Source]:  # noqa: A001 -- the contract's name
    """Begin to measure; DeviceError when none of the sensors is on a bus."""
    there = config.root / "sys/bus/w1/devices"
    if not any((there / address).exists() for address in config.addresses.values()):
        which = ", ".join(config.addresses.values())
        if here := _here(there):
            raise DeviceError(f"{which}: not on a 1-Wire bus, where there are {', '.join(here)}; correct the address")
        raise DeviceError(f"{which}: not on a 1-Wire bus; is 1-Wire on (dtoverlay=w1-gpio), and all three wires right?")
    yield _Thermometers(config, there, clock)


def _here(there: Path) -> list[str]:
    """The addresses of all thermometers that are on a bus."""
    return sorted(place.name for place in there.glob("*-*") if re.fullmatch(_ADDRESS, place.name))


class Believed:
    """Which answers of a sensor are readings; see the module's docstring for the rule about 85 °C."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._honest: set[str] = set()  # those whose memory has told of a measurement

    def of(self, address: str, ask: Callable[[], str]) -> float:
        """°C that this sensor measured, asked once or twice. Raises BadReading, and OSError as `ask` does."""
        before = self._before.pop(address, None)
        celsius, measured = answer(address, ask())
        if celsius == POWER_UP and not measured:
            celsius, measured = answer(address, ask())
            near = before is not None and abs(before - POWER_UP) <= NEAR_K
            if celsius == POWER_UP and not measured and (address in self._honest or not near):
                raise BadReading(f"{address}: 85 °C, which it says before it has measured; does its power fail?")
        if measured:
            self._honest.add(address)
        self._before[address] = celsius
        return celsius


def answer(address: str, text: str) -> tuple[float, bool]:
    """What `w1_slave` says in °C, and whether its memory proves that this was measured. Raises BadReading."""
    if not text.strip():  # newer kernels: no presence, or the CRC is wrong five times
        raise BadReading(f"{address}: no answer; look at its wires, and for the resistor of 4.7 kΩ from data to 3.3 V")
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise BadReading(f"{address}: the kernel's answer is not understood: {text.splitlines()[0][:60]!r}")
    memory, celsius = bytes.fromhex(match[1]), int(match[3]) / 1000
    if not any(memory):
        raise BadReading(f"{address}: nothing but zeros; the data wire lies at ground")
    if match[2] == "NO" or memory == b"\xff" * 9:
        raise BadReading(f"{address}: its answer was spoiled (CRC); is its wire long, or near a mains cable?")
    if not LOWEST <= celsius <= HIGHEST:
        raise BadReading(f"{address}: {celsius:g} °C, which it cannot measure; does its power fail?")
    fine = memory[4] & 0x60 == 0x60 and not address.startswith("10")  # 12 bits; what is left of fewer is not known
    told = 0 < memory[6] <= 0x10 and memory[6] != 0x0C and (memory[0] + memory[6]) & 0x0F == 0
    return celsius, fine and told


class _Thermometers:
    def __init__(self, config: Config, there: Path, clock: Clock) -> None:
        self._config, self._there, self._clock = config, there, clock
        self._believed = Believed()

    @property
    def fields(self) -> tuple[Field, ...]:
        return fields(self._config)

    def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        limit_s = PATIENCE_S + ASK_S * len(self._config.addresses)
        return poll(self._take, every_s=self._config.every_s, clock=self._clock, limit_s=limit_s)

    def _take(self) -> tuple[Sample, ...]:
        """One round, bus by bus; raises BadReading when no sensor of the table has a reading."""
        rounds: dict[Path, list[str]] = {}
        for name, address in self._config.addresses.items():
            rounds.setdefault((self._there / address).resolve().parent, []).append(name)
        taken: dict[str, Sample] = {}
        wrong: list[ValueError] = []
        for bus, names in rounds.items():
            with _at_once(bus):
                for name in names:
                    at_ns, value = self._clock.boottime_ns(), None
                    try:
                        value = self._ask(self._config.addresses[name])
                    except BadReading as error:
                        wrong.append(error)
                    taken[name] = Sample(
                        field=name, value=value, quality="error" if value is None else "ok", boottime_ns=at_ns
                    )
        if len(wrong) == len(taken):
            raise BadReading(f"{wrong[0]}" + ("; nor has any other of its table a reading" if len(wrong) > 1 else ""))
        return tuple(taken[name] for name in self._config.addresses)

    def _ask(self, address: str) -> float:
        memory = self._there / address / "w1_slave"
        try:
            return self._believed.of(address, lambda: memory.read_text("ascii", "replace"))
        except FileNotFoundError:
            raise BadReading(f"{address}: gone from its bus; was it pulled?") from None
        except OSError as error:
            raise BadReading(f"{address}: {error.strerror}") from None


@contextmanager
def _at_once(bus: Path) -> Iterator[None]:
    """All sensors of a bus measure now, and what is read inside is that; where we may not, each when it is read."""
    trigger = bus / "therm_bulk_read"
    try:
        asked = trigger.open("r+b", buffering=0)
    except OSError:  # a kernel before 5.8, or not for this user
        yield
        return
    with asked, _buses.setdefault(bus, threading.Lock()):
        asked.write(b"trigger\n")  # returns when they have measured; a failure shows in what is read
        yield
