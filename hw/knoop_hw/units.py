"""The units a channel may have, as people read them, and how many decimals they are worth.

A unit travels as its display symbol (SI brochure, 9th edition, chapter 5, and the customary ones beside it).
A new driver that needs another one adds a line here.
"""

from __future__ import annotations

from knoop_hw.mistaken import suggest

# Symbol → decimals shown to people when neither the channel nor the driver says otherwise. They follow what
# the usual instrument resolves: a DS18B20 0.06 °C, a smart meter 1 Wh, a house's mains 0.1 V.
DIGITS: dict[str, int] = {
    "": 2,
    "°C": 1, "K": 1, "°F": 1,
    "%": 0, "ppm": 0, "ppb": 0, "µg/m³": 0, "pH": 2,
    "Pa": 0, "hPa": 1, "kPa": 2, "bar": 2,
    "V": 1, "mV": 0, "A": 2, "mA": 0, "Ω": 0, "kΩ": 1, "nF": 1, "µT": 1, "µS/cm": 0,
    "W": 0, "mW": 0, "kW": 3, "VA": 0, "var": 0, "kVA": 3, "kvar": 3, "Wh": 0, "kWh": 3, "kvarh": 3, "GJ": 3, "Hz": 2,
    "l": 0, "l/min": 1, "l/h": 0, "L": 0, "L/min": 1, "L/h": 0, "m³": 3, "m³/h": 2,
    "1/s": 2, "1/min": 1, "1/h": 0, "rpm": 0,
    "mm": 1, "cm": 1, "m": 2, "km": 2, "m/s": 1, "km/h": 1, "mm/h": 1, "°": 0, "m/s²": 2, "rad": 3, "rad/s": 2,
    "g": 0, "kg": 2, "lx": 0, "dB": 0, "dBm": 0,
    "ms": 0, "s": 0, "min": 0, "h": 1, "d": 1,
    "B": 0, "kB": 0, "MB": 1, "GB": 1, "KiB": 0, "MiB": 1, "GiB": 1,
}  # fmt: skip


def known(symbol: str) -> bool:
    """Whether `symbol` is a unit of this table; the empty one means a plain number."""
    return symbol in DIGITS


def check(symbol: str) -> None:
    """Refuse what is no such unit (ValueError that begins with the key `unit`)."""
    if not known(symbol):
        raise ValueError(f"unit: '{symbol}' is not a unit Knoop knows; {suggest(symbol, DIGITS)}")


def digits(symbol: str) -> int:
    """Decimals shown to people for a value in this unit; raises KeyError for one that is not in the table."""
    return DIGITS[symbol]


# What a counter may count, and how fast: symbol → (what it is, how much of it). Of a rate it is how much in a second.
# Both letters for the litre are the SI brochure's (table 8).
_AMOUNTS: dict[str, tuple[str, float]] = {
    "": ("count", 1),
    "l": ("volume", 1e-3), "L": ("volume", 1e-3), "m³": ("volume", 1),
    "Wh": ("energy", 3600), "kWh": ("energy", 3.6e6), "GJ": ("energy", 1e9),
    "mm": ("length", 1e-3), "cm": ("length", 1e-2), "m": ("length", 1), "km": ("length", 1e3),
}  # fmt: skip
_RATES: dict[str, tuple[str, float]] = {
    "1/min": ("count", 1 / 60), "1/s": ("count", 1), "1/h": ("count", 1 / 3600), "Hz": ("count", 1),
    "l/min": ("volume", 1e-3 / 60), "l/h": ("volume", 1e-3 / 3600), "m³/h": ("volume", 1 / 3600),
    "L/min": ("volume", 1e-3 / 60), "L/h": ("volume", 1e-3 / 3600),
    "W": ("energy", 1), "kW": ("energy", 1e3),
    "mm/h": ("length", 1e-3 / 3600), "m/s": ("length", 1), "km/h": ("length", 1e3 / 3600),
}  # fmt: skip


def rates(amount: str) -> tuple[str, ...]:
    """The units in which one can say how fast something in `amount` comes; none for a unit that is not counted."""
    what = _AMOUNTS.get(amount, ("",))[0]
    return tuple(rate for rate, (of, _) in _RATES.items() if of == what)


def per_second(amount: str, rate: str) -> float:
    """How many `rate` one `amount` a second is: 60 for l and l/min. Raises KeyError for what `rates` does not name."""
    of, size = _AMOUNTS[amount]
    what, each = _RATES[rate]
    if of != what:
        raise KeyError(rate)
    return size / each
