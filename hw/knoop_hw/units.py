"""The units a channel may have, as people read them, and how many decimals they are worth.

A unit travels as its display symbol (SI brochure, 9th edition, chapter 5, and the customary ones beside it).
A new driver that needs another one adds a line here.
"""

from __future__ import annotations

# Symbol → decimals shown to people when neither the channel nor the driver says otherwise. They follow what
# the usual instrument resolves: a DS18B20 0.06 °C, a smart meter 1 Wh, a house's mains 0.1 V.
DIGITS: dict[str, int] = {
    "": 2,
    "°C": 1, "K": 1, "°F": 1,
    "%": 0, "ppm": 0, "ppb": 0, "µg/m³": 0, "pH": 2,
    "Pa": 0, "hPa": 1, "kPa": 2, "bar": 2,
    "V": 1, "mV": 0, "A": 2, "mA": 0, "Ω": 0, "kΩ": 1,
    "W": 0, "kW": 3, "VA": 0, "Wh": 0, "kWh": 3, "GJ": 3, "Hz": 2,
    "l": 0, "l/min": 1, "m³": 3, "m³/h": 2,
    "mm": 1, "cm": 1, "m": 2, "km": 2, "m/s": 1, "km/h": 1, "mm/h": 1, "°": 0,
    "g": 0, "kg": 2, "lx": 0, "dB": 0, "dBm": 0,
    "ms": 0, "s": 0, "min": 0, "h": 1, "d": 1,
    "B": 0, "kB": 0, "MB": 1, "GB": 1, "KiB": 0, "MiB": 1, "GiB": 1,
}  # fmt: skip


def known(symbol: str) -> bool:
    """Whether `symbol` is a unit of this table; the empty one means a plain number."""
    return symbol in DIGITS


def digits(symbol: str) -> int:
    """Decimals shown to people for a value in this unit; raises KeyError for one that is not in the table."""
    return DIGITS[symbol]
