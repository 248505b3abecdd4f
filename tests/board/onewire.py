"""Thermometers on a 1-Wire bus, behind a bridge on the emulated board's I²C bus: played, as QEMU has neither.

Source: the data sheets of Analog Devices (Maxim): DS2482-100 (commands, status register), DS18B20 (commands, memory),
application note 27 (CRC). What the kernel's ds2482, wire and w1_therm make of them is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

BRIDGE = 0x18  # the DS2482's address with both of its pins low
_POWER_UP = 85.0

_STATUS, _DATA, _CONFIGURATION = 0xF0, 0xE1, 0xC3
_PRESENCE, _LEVEL, _WAS_RESET, _FIRST, _SECOND, _DIRECTION = 0x02, 0x08, 0x10, 0x20, 0x40, 0x80

_MATCH, _SKIP = 0x55, 0xCC  # a search is the bridge's triplets
_CONVERT, _READ_MEMORY = 0x44, 0xBE


def crc8(data: bytes) -> int:
    """x8+x5+x4+1, least significant bit first."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


@dataclass
class Thermometer:
    """A DS18B20; `number` is its 48 bits. What is wrong with it can be set at any time."""

    number: int
    celsius: float
    plugged: bool = True
    spoiled: bool = False  # a bit turns over on its wire
    weak: bool = False  # its power fails when it measures: it has what it says after power-up
    _memory: bytearray = field(default_factory=lambda: bytearray(b"\x50\x05\x4b\x46\x7f\xff\x0c\x10"))

    @property
    def name(self) -> str:
        """As the kernel has it."""
        return f"28-{self.number:012x}"

    @property
    def rom(self) -> bytes:
        """Its address on the wire."""
        body = b"\x28" + self.number.to_bytes(6, "little")
        return body + bytes([crc8(body)])

    def measure(self) -> None:
        """Convert T. Byte 6 is what is left to the next degree, in sixteenths."""
        sixteenths = round((_POWER_UP if self.weak else self.celsius) * 16)
        self._memory[0:2] = (sixteenths & 0xFFFF).to_bytes(2, "little")
        self._memory[6] = 0x0C if self.weak else 0x10 - (sixteenths & 0x0F)

    def memory(self) -> bytes:
        """What it says when it is read, its CRC included."""
        told = bytes(self._memory) + bytes([crc8(bytes(self._memory))])
        return bytes([told[0] ^ 4, *told[1:]]) if self.spoiled else told


class Bus:
    """Thermometers on a wire; `grounded`: it lies at 0 V, which is presence to a master, and zeros."""

    def __init__(self, thermometers: Sequence[Thermometer]) -> None:
        self.thermometers = thermometers
        self.grounded = False
        self.at_once = 0  # how often several were told to measure with one command
        self._active: list[Thermometer] = []
        self._command, self._said, self._told = 0, bytearray(), b""
        self._selected = False
        self._place = 0

    def reset(self) -> bool:
        """Whether somebody is there."""
        self._active = [one for one in self.thermometers if one.plugged]
        self._command, self._said, self._told, self._selected, self._place = 0, bytearray(), b"", False, 0
        return bool(self._active) or self.grounded

    def write(self, byte: int) -> None:
        """A command or what belongs to it."""
        if not self._command or (self._selected and self._command in {_MATCH, _SKIP}):
            self._command = byte
            self._do(byte)
            return
        self._said.append(byte)
        if self._command == _MATCH and len(self._said) == 8:
            self._active = [one for one in self._active if one.rom == self._said]
            self._selected = True

    def read(self) -> int:
        """What all say at once: a 0 wins."""
        byte, self._told = (self._told[0], self._told[1:]) if self._told else (0xFF, b"")
        return 0 if self.grounded else byte

    def triplet(self, wanted: bool) -> tuple[bool, bool, bool]:
        """A step of a search: what is read twice, and which way it went."""
        bits = [bool(one.rom[self._place // 8] >> self._place % 8 & 1) for one in self._active]
        first, second = (False, False) if self.grounded else (all(bits), not any(bits))
        way = wanted if first == second else first
        self._active = [one for one, bit in zip(self._active, bits, strict=True) if bit == way]
        self._place += 1
        return first, second, way

    def _do(self, command: int) -> None:
        self._said.clear()
        if command == _SKIP:
            self._selected = True
        elif command == _CONVERT:
            self.at_once += len(self._active) > 1
            for one in self._active:
                one.measure()
        elif command == _READ_MEMORY:
            memories = [one.memory() for one in self._active]
            self._told = bytes(_and(column) for column in zip(*memories, strict=True))


def _and(column: Sequence[int]) -> int:
    both = 0xFF
    for byte in column:
        both &= byte
    return both


class Bridge:
    """A DS2482-100: what is written to it on I²C, and what it says."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._registers = {_STATUS: _LEVEL | _WAS_RESET, _DATA: 0, _CONFIGURATION: 0}
        self._pointer = _STATUS

    def write(self, data: bytes) -> bool:
        """Whether it takes it; selecting a channel is another chip's."""
        match data[0], data[1] if len(data) > 1 else 0:
            case 0xF0, _:  # device reset
                self._registers |= {_STATUS: _LEVEL | _WAS_RESET, _CONFIGURATION: 0}
                self._pointer = _STATUS
            case 0xE1, register if register in self._registers:  # set read pointer
                self._pointer = register
            case 0xD2, value:  # write configuration
                self._registers[_CONFIGURATION] = value & 0x0F
                self._pointer = _CONFIGURATION
            case 0xB4, _:  # 1-Wire reset
                self._became(_PRESENCE if self._bus.reset() else 0)
            case 0x87, value:  # single bit
                self._became(_FIRST if value and not self._bus.grounded else 0)
            case 0xA5, byte:  # write byte
                self._bus.write(byte)
                self._became(0)
            case 0x96, _:  # read byte
                self._registers[_DATA] = self._bus.read()
                self._became(0)
            case 0x78, value:  # triplet
                first, second, way = self._bus.triplet(bool(value))
                self._became(_FIRST * first | _SECOND * second | _DIRECTION * way)
            case _:
                return False
        return True

    def read(self, length: int) -> bytes:
        return bytes([self._registers[self._pointer]]) * length

    def _became(self, status: int) -> None:
        self._registers[_STATUS] = status | (0 if self._bus.grounded else _LEVEL)
        self._pointer = _STATUS
