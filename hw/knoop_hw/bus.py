"""What `[board] buses` may name, and which lines of the header each takes. Pure: the one table of it.

Source: raspberrypi.com, "GPIO and the 40-pin header" (alternative functions). What switches a bus on is another's
business: config.txt's on Raspberry Pi OS, `knoop.setup.buses` on Knoop's own image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

EXPECTED = "expected i2c, i2c:bme280, spi, uart or w1:GPIO4"
SLOWEST_KHZ, FASTEST_KHZ = 10, 400  # the BCM2835's controller is specified to 400 (BCM2835 ARM Peripherals, 3)
STANDARD_KHZ = 100
Kind = Literal["i2c", "spi", "uart", "w1", "chip"]
LINES: Mapping[Kind, tuple[str, ...]] = {
    "i2c": ("GPIO2", "GPIO3"), "spi": ("GPIO7", "GPIO8", "GPIO9", "GPIO10", "GPIO11"), "uart": ("GPIO14", "GPIO15"),
}  # fmt: skip
# Chips on I²C that cannot say that they are there and that Debian's kernel has drivers for, with the name that a device
# tree gives them (its `compatible`) and the address that most boards have.
CHIPS = {
    "ads1115": ("ti,ads1115", 0x48), "bh1750": ("rohm,bh1750", 0x23), "bme280": ("bosch,bme280", 0x76),
    "bmp180": ("bosch,bmp180", 0x77), "bmp280": ("bosch,bmp280", 0x76), "bmp380": ("bosch,bmp380", 0x76),
    "jc42": ("jedec,jc-42.4-temp", 0x18), "lm75": ("national,lm75", 0x48), "sht3x": ("sensirion,sht3x", 0x44),
    "sht4x": ("sensirion,sht4x", 0x44), "tmp102": ("ti,tmp102", 0x48),
}  # fmt: skip
FIRST_ADDRESS, LAST_ADDRESS = 0x08, 0x77  # the others are reserved (UM10204, 3.1.12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """One bus of the header, or a chip on I²C, which takes no line more.

    `speed_khz` is I²C's; `pullup`: the processor's own resistor holds a 1-Wire bus; `chip` at `address`: one of CHIPS.
    """

    text: str
    kind: Kind
    lines: tuple[str, ...] = ()
    speed_khz: int = STANDARD_KHZ
    pullup: bool = False
    chip: str = ""
    address: int = 0


def named(text: str) -> Bus:
    """`i2c`, `i2c:400kHz`, `i2c:bme280@0x77`, `spi`, `uart`, `w1:GPIO4:pullup`. Raises ValueError with a sentence."""
    if match := re.fullmatch(r"w1:(GPIO(?:\d|1\d|2[0-7]))(:pullup)?", text):
        return Bus(text=text, kind="w1", lines=(match[1],), pullup=bool(match[2]))
    if match := re.fullmatch(r"i2c:(\d{1,4})kHz", text):
        speed_khz = int(match[1])
        if not SLOWEST_KHZ <= speed_khz <= FASTEST_KHZ:
            raise ValueError(f"'{text}' is too fast or too slow; {SLOWEST_KHZ}kHz to {FASTEST_KHZ}kHz go")
        return Bus(text=text, kind="i2c", lines=LINES["i2c"], speed_khz=speed_khz)
    if match := re.fullmatch(r"i2c:([a-z][a-z0-9]*)(?:@(0x[0-9a-f]{2}))?", text):
        return _chip(text, match[1], match[2])
    for kind, lines in LINES.items():
        if text == kind:
            return Bus(text=text, kind=kind, lines=lines)
    raise ValueError(f"unknown bus '{text}'; {EXPECTED}")


def _chip(text: str, said: str, address: str | None) -> Bus:
    from knoop_hw.kernel.overlays import called  # noqa: PLC0415 -- 4 kB of names, for those who have such a chip

    chip = called(said)
    if chip not in CHIPS:
        raise ValueError(f"unknown chip '{said}'; the kernel's drivers here are for {', '.join(CHIPS)}")
    at = CHIPS[chip][1] if address is None else int(address, 16)
    if not FIRST_ADDRESS <= at <= LAST_ADDRESS:
        raise ValueError(f"'{text}': no chip is at that address; {FIRST_ADDRESS:#04x} to {LAST_ADDRESS:#04x} are")
    return Bus(text=text, kind="chip", chip=chip, address=at)


def clashes(buses: Iterable[Bus]) -> Iterator[tuple[int, str]]:
    """Each bus, by its index, that wants what one before it has, a line or an address: what to say of it."""
    there = [*buses]
    taken: dict[str, Bus] = {}
    at: dict[int, Bus] = {}
    for index, bus in enumerate(there):
        if bus.kind == "chip" and all(other.kind != "i2c" for other in there):
            yield index, f"'{bus.text}' is on I²C, which is not named; add \"i2c\""
        elif bus.kind == "chip" and (first := at.setdefault(bus.address, bus)) is not bus:
            where = f"at {bus.address:#04x}, where {first.text} is"
            yield index, f"'{bus.text}' is {where}; give it its other address: …@0x…"
        if others := [line for line in bus.lines if line in taken]:
            other = taken[others[0]]
            said = "is there twice" if other.kind == bus.kind else f"needs {others[0]}, which the bus {other.text} has"
            yield index, f"'{bus.text}' {said}; leave one of them out"
        for line in bus.lines:
            taken.setdefault(line, bus)
