"""Modbus registers, pure: what stands where, the fewest requests that read it all, values from words and back.

Source: MODBUS Application Protocol Specification V1.1b3 (modbus.org), §4.3 data model, §6 functions, §7 exceptions.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from knoop_hw import units
from knoop_hw.decode import Between

Table = Literal["holding", "input", "coil", "discrete"]
Number = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
Stored = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64", "bool"]
Order = Literal["big", "little"]
Address = Annotated[int, Between(0, 0xFFFF)]

BITS = ("coil", "discrete")  # tables whose entries are one bit
MOST_BITS = 2000  # of one request (§6.1)
# How manuals number the entries of a table: the first of them is address 0 on the wire (§4.4).
NUMBERED: Mapping[Table, tuple[int, ...]] = {
    "coil": (1,), "discrete": (10_001, 100_001), "input": (30_001, 300_001), "holding": (40_001, 400_001),
}  # fmt: skip
# §7: what a device says when it cannot. Code → (its words, whether asking again soon may help).
EXCEPTIONS = {
    1: ("illegal function", False), 2: ("illegal data address", False), 3: ("illegal data value", False),
    4: ("device failure", False), 5: ("still working on it", True), 6: ("device busy", True),
    8: ("memory parity error", False), 10: ("gateway path unavailable", False), 11: ("gateway: no response", True),
}  # fmt: skip
_CODES: Mapping[Number, str] = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip


def words_of(kind: Number) -> int:
    """How many registers a value takes."""
    return struct.calcsize(_CODES[kind]) // 2


def unpack(kind: Number, order: Order, words: Sequence[int]) -> float:
    """The number in these registers: the bytes of each are big-endian (§4.2), their order is the device's choice."""
    ordered = words if order == "big" else words[::-1]
    raw = struct.pack(f">{len(words)}H", *ordered)
    value: float = struct.unpack(f">{_CODES[kind]}", raw)[0]
    if kind != "float32" or not math.isfinite(value):
        return value
    # A float32 is worth 6 to 9 digits: 230.1 must not become 230.10000610351562.
    return next(short for digits in (6, 7, 8, 9, 17) if struct.pack(">f", short := float(f"{value:.{digits}g}")) == raw)


def pack(kind: Number, order: Order, value: float) -> tuple[int, ...]:
    """The registers that hold `value`, rounded where the type is whole. Raises ValueError for one that does not fit."""
    whole = kind not in {"float32", "float64"}
    try:
        raw = struct.pack(f">{_CODES[kind]}", round(value) if whole else value)
    except (struct.error, OverflowError, ValueError):
        raise ValueError(f"{value:g} does not fit into {kind}") from None
    words = struct.unpack(f">{len(raw) // 2}H", raw)
    return words if order == "big" else words[::-1]


def scaled(value: float, scale: float) -> float:
    """`value` times `scale`, without what binary arithmetic adds: 2305 × 0.1 is 230.5."""
    return value if scale == 1 else float(f"{value * scale:.15g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """`[sensor.N.registers]`: one value of the device. `at` is the address on the wire, which begins at 0.

    Manuals that number holding registers from 40001 and input registers from 30001 mean `at` = number − 40001 or
    − 30001. It is never guessed: 40001 is an address, too. `type` is how the value is stored; without one "uint16", and
    true or false in a table of bits. `order` is which word of a longer value comes first: "big" is the high one.
    `bit` (0 is the lowest) makes one bit of a register a value. `scale`: what one step is worth, as 0.1. `missing` is
    what the device says when it has no value, as 0x8000; "not a number" always means that.
    """

    FORM: ClassVar[str] = "{ at = 0 }"

    at: Address
    table: Table = "holding"
    type: Stored | None = None
    order: Order = "big"
    bit: Annotated[int, Between(0, 15)] | None = None
    scale: float = 1.0
    missing: float | None = None
    unit: str = ""
    digits: Annotated[int, Between(0, 9)] | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself (ValueError)."""
        if self.table in BITS and (self.type not in {None, "bool"} or self.bit is not None):
            key = "type" if self.bit is None else "bit"
            raise ValueError(f'{key}: a {self.table} is true or false; leave it out, or take table = "holding"')
        if self.bit is not None and self.type not in {None, "bool", "uint16"}:
            raise ValueError("type: a bit is one of the 16 of a register; leave type out")
        if self.boolean:
            for key, plain in (("scale", 1), ("missing", None), ("unit", ""), ("digits", None)):
                if getattr(self, key) != plain:
                    raise ValueError(f"{key}: this value is true or false; leave it out")
        if self.order == "little" and self.size == 1:
            raise ValueError("order: a single register has no order of words; leave it out")
        if self.scale == 0:
            raise ValueError("scale: 0 would make every value 0")
        units.check(self.unit)
        if self.at + self.size > 0x10000:
            raise ValueError(f"at: {self.size} registers from {self.at} on go beyond 65535, the last one")

    @property
    def boolean(self) -> bool:
        """Whether its value is true or false."""
        return self.table in BITS or self.type == "bool" or self.bit is not None

    @property
    def number(self) -> Number:
        """How its number is stored."""
        return "uint16" if self.type is None or self.type == "bool" else self.type

    @property
    def size(self) -> int:
        """Entries of its table that it takes."""
        return 1 if self.table in BITS else words_of(self.number)

    def value(self, words: Sequence[int]) -> bool | float | None:
        """What its entries say; None where the device has no value."""
        if self.boolean:
            return bool(words[0] if self.bit is None else words[0] >> self.bit & 1)
        raw = unpack(self.number, self.order, words)
        if not math.isfinite(raw) or self._is_missing(raw):
            return None
        value = scaled(raw, self.scale)
        return value if math.isfinite(value) else None

    def _is_missing(self, raw: float) -> bool:
        """The manual may write −32768 or 0x8000: both are the same 16 bits."""
        if self.missing is None:
            return False
        around = 0 if self.number.startswith("float") else 1 << 16 * self.size
        return self.missing in {raw, raw + around, raw - around}

    @property
    def advice(self) -> str:
        """What to try when the device has nothing at this address; "" where the address looks right."""
        first = next((first for first in reversed(NUMBERED[self.table]) if first <= self.at < first + 10_000), None)
        if first is None or self.table == "coil":
            return ""
        return f"; a manual that says {self.at} means at = {self.at - first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """`[output.N]` of a sensor with driver = "modbus": `coil` or `register` is its address on the wire, from 0.

    `type`, `order` and `scale` are a register's, as in `[sensor.N.registers]`; a switch in a register is 1 or 0. A coil
    is written with function 5, one register with 6, more with 16; then it is read back. `kind` is the output's.
    """

    kind: Literal["switch", "number"] = "switch"
    coil: Address | None = None
    register: Address | None = None
    type: Number = "uint16"
    order: Order = "big"
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse both, neither, and what a coil cannot have (ValueError)."""
        if (self.coil is None) == (self.register is None):
            raise ValueError("coil: give either coil = N or register = N")
        if self.coil is not None and (self.type, self.order, self.scale) != ("uint16", "big", 1):
            raise ValueError("coil: a coil is on or off; leave out type, order and scale")
        if self.coil is not None and self.kind == "number":
            raise ValueError("coil: a coil is on or off; a number needs register = N")
        self.entry  # noqa: B018 -- its own rules hold, too

    @property
    def entry(self) -> Register:
        """What is written, as what is read."""
        if self.coil is not None:
            return Register(at=self.coil, table="coil")
        return Register(at=self.register or 0, type=self.type, order=self.order, scale=self.scale)

    def words(self, value: float) -> tuple[int, ...]:
        """The entries that mean `value`. Raises ValueError for one that does not fit."""
        if self.kind == "switch":
            value = self.scale if value else 0
        return (int(bool(value)),) if self.coil is not None else pack(self.type, self.order, value / self.scale)

    def value(self, words: Sequence[int]) -> bool | float | None:
        """What its entries say: of a switch whether it is on."""
        shown = self.entry.value(words)
        return shown if shown is None or self.kind == "number" else bool(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One request: `count` entries of `table` from `at` on, and the values in them."""

    table: Table
    at: int
    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        last = self.at + self.count - 1
        return f"{self.table} {self.at}" if self.count == 1 else f"{self.table} {self.at} to {last}"


def plan(registers: Mapping[str, Register], *, gap: int, most: int) -> tuple[Block, ...]:
    """The fewest requests that read all of these, none longer than `most` registers.

    Up to `gap` entries that nobody asked for are read along where that saves a request.
    """
    blocks: list[Block] = []
    for name, item in sorted(registers.items(), key=lambda item: (item[1].table, item[1].at)):
        limit = MOST_BITS if item.table in BITS else most
        last = blocks[-1] if blocks and blocks[-1].table == item.table else None
        if last is not None and item.at <= last.at + last.count + gap:
            count = max(last.count, item.at + item.size - last.at)
            if count <= max(limit, last.count):
                blocks[-1] = Block(table=item.table, at=last.at, count=count, names=(*last.names, name))
                continue
        blocks.append(Block(table=item.table, at=item.at, count=item.size, names=(name,)))
    return tuple(blocks)


def parts(block: Block, registers: Mapping[str, Register], *, most: int) -> tuple[Block, ...]:
    """The same values in smaller requests: what a device refuses whole it may give in parts. One value: ().

    First without what nobody asked for, then by halves.
    """
    if len(block.names) == 1:
        return ()
    tight = plan({name: registers[name] for name in block.names}, gap=0, most=most)
    if len(tight) > 1:
        return tight
    middle = len(block.names) // 2
    names: Iterable[Sequence[str]] = (block.names[:middle], block.names[middle:])
    return tuple(
        smaller for half in names for smaller in plan({name: registers[name] for name in half}, gap=0, most=most)
    )


def values(
    block: Block, registers: Mapping[str, Register], words: Sequence[int]
) -> dict[str, bool | float | None]:
    """Name → value of what one request brought."""
    found = {}
    for name in block.names:
        item = registers[name]
        start = item.at - block.at
        found[name] = item.value(words[start : start + item.size])
    return found
