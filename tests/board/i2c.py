"""Sensor chips on an I²C bus of the emulated board: QEMU's own chips, for Debian's own drivers.

`-M virt` has no I²C, and QEMU 7.2 has not a Raspberry Pi's. So the board gets a USB adapter, an i2c-tiny-usb, which the
host plays (usbredir's protocol, QEMU's `usb-redir`). What the adapter is asked for, it does on the bus of another
machine of QEMU's, an i.MX25, whose processor never runs: the host writes its controller's registers over qtest.

Source: the protocol's description (gitlab.freedesktop.org/spice/usbredir); of the kernel
drivers/i2c/busses/i2c-tiny-usb.c and Documentation/i2c/instantiating-devices.rst; the i.MX25 reference manual's chapter
on I²C; USB 2.0, chapter 9.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Protocol

from tests.board import recipe
from tests.board.guest import BOUND_S, Guest, connect, end
from tests.board.monitor import Monitor
from tests.board.qtest import Qtest
from tests.board.usb import Plug

# ── the chips ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_I2C1 = 0x43F8_0000
_CONTROL, _STATUS, _DATA = (_I2C1 + offset for offset in (0x08, 0x0C, 0x10))
_ENABLE, _MASTER, _SENDS, _RESTART = 0x80, 0x20, 0x10, 0x04  # I2CR: IEN, MSTA, MTX, RSTA
_REFUSED = 0x01  # I2SR: RXAK


class Chips:
    """A machine with chips of QEMU's on a bus: `Chips(folder, room="tmp105,address=0x48")`. Close it."""

    def __init__(self, folder: Path, **chips: str) -> None:
        folder.mkdir()
        sockets = {name: folder / f"{name}.sock" for name in ("qtest", "qmp")}
        devices = [word for name, chip in chips.items() for word in ("-device", f"{chip},bus=i2c-bus.0,id={name}")]
        with (folder / "qemu.log").open("wb") as said:
            self._process = subprocess.Popen(
                [
                    "setpriv", "--pdeathsig", "KILL", "qemu-system-arm", "-M", "imx25-pdk", "-S", "-nodefaults",
                    "-display", "none", "-qtest-log", "none", *devices,
                    "-qtest", f"unix:{sockets['qtest']},server=on,wait=off",
                    "-qmp", f"unix:{sockets['qmp']},server=on,wait=off",
                ],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        try:
            self._qtest = Qtest(connect(sockets["qtest"], self._process, folder))
            self._monitor = Monitor(connect(sockets["qmp"], self._process, folder))
            self.stop()
        except BaseException:
            end(self._process)
            raise

    def set(self, chip: str, **properties: int) -> None:
        """What a chip measures from now on: temperatures in m°C, magnetic fields in 10 µG (QEMU's properties)."""
        for name, value in properties.items():
            path = f"/machine/peripheral/{chip}"
            self._monitor.ask("qom-set", path=path, property=name.replace("_", "-"), value=value)

    def begin(self, address: int, *, read: bool) -> bool:
        """A start, repeated where no stop came before; whether a chip answers."""
        self._qtest.register(_CONTROL, _ENABLE | _MASTER | _SENDS | _RESTART)
        return self._send(address << 1 | read)

    def write(self, data: bytes) -> bool:
        """Whether the chip took all of it."""
        return all(self._send(byte) for byte in data)

    def read(self, length: int) -> bytes:
        """And a stop. The register gives what it got, and gets the next as long as we are the bus's master."""
        self._qtest.register(_CONTROL, _ENABLE | _MASTER)
        got = [self._qtest.register(_DATA) & 0xFF for _ in range(length)][1:]
        self.stop()
        return bytes([*got, self._qtest.register(_DATA) & 0xFF][:length])

    def stop(self) -> None:
        """Let go of the bus."""
        self._qtest.register(_CONTROL, _ENABLE)

    def close(self) -> None:
        """End the machine."""
        self._qtest.close()
        self._monitor.close()
        end(self._process)

    def _send(self, byte: int) -> bool:
        self._qtest.register(_DATA, byte)
        return not self._qtest.register(_STATUS) & _REFUSED


# ── the adapter ───────────────────────────────────────────────────────────────────────────────────────────────────────

DEVICES = "/sys/bus/i2c/devices"

# usbredir's packets: each has a type, a length and a number.
_HELLO, _CONNECT, _INTERFACES, _ENDPOINTS, _TRANSFER = 0, 1, 4, 5, 100
_ANSWERS = {6: (8, b"\0\1"), 7: (8, b"\0\1"), 9: (11, bytes(3)), 10: (11, bytes(3))}  # of configurations, there is one
_GREETING, _HEADER, _REQUEST = struct.Struct("<III"), struct.Struct("<IIQ"), struct.Struct("<BBBBHHH")
_CAPABILITIES = 1 << 4 | 1 << 5 | 1 << 6  # sizes of endpoints, numbers of 64 bits, lengths of 32: what xHCI wants
_STALL = 4

_IN, _VENDORS, _GET_DESCRIPTOR = 0x80, 0x40, 6
_VENDOR, _PRODUCT, _FULL_SPEED = 0x0403, 0xC631, 1
_NAME = "i2c-tiny-usb"
_STRINGS = (b"\x09\x04", *(text.encode("utf-16-le") for text in ("knoop", _NAME, "1")))
_DESCRIPTORS = {
    1: struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0110, 0xFF, 0, 0, 8, _VENDOR, _PRODUCT, 0x0205, 1, 2, 3, 1),
    2: struct.pack("<BBHBBBBB 9B", 9, 2, 18, 1, 1, 0, 0x80, 50, *(9, 4, 0, 0, 0, 0xFF, 0, 0, 0)),
}  # fmt: skip

# The adapter's own requests; the last two bits of one that is a transfer say whether it is the first and the last.
_FUNCTIONS, _DELAY, _RESULT, _MOVE, _LAST = 1, 2, 3, 4, 2
_CAN = 0x0EFF_0009  # I2C_FUNC_I2C and I2C_FUNC_SMBUS_EMUL of linux/i2c.h
_ANSWERED, _NOBODY = b"\1", b"\2"


class Played(Protocol):
    """A chip of the host's own."""

    def write(self, data: bytes) -> bool:
        """Whether it takes it."""

    def read(self, length: int) -> bytes: ...


class Adapter(Plug):
    """An i2c-tiny-usb with these chips behind it, and those `played` by address, to be plugged into the guest."""

    def __init__(self, guest: Guest, chips: Chips, played: Mapping[int, Played] = MappingProxyType({})) -> None:
        guest.load(*recipe.I2C)
        super().__init__(guest, "usb-redir")
        self.deaf: set[int] = set()  # addresses where nobody answers, as if the chip's wire were off
        self.moves = threading.Event()  # while it is clear the adapter does nothing, as if its bus were held low
        self.moves.set()
        self._chips, self._played = chips, played
        self._result = _NOBODY

    def bus(self) -> str:
        """The number of its bus in the guest now; waits until it is there."""
        deadline = time.monotonic() + BOUND_S
        look = f"busybox grep -l {_NAME} {DEVICES}/i2c-*/name"
        while True:
            _, said = self.guest.run("/bin/busybox", "sh", "-c", look)
            if said.startswith(DEVICES):
                return said.removeprefix(f"{DEVICES}/i2c-").partition("/")[0]
            assert time.monotonic() < deadline, said

    def declare(self, **chips: int) -> None:
        """Tell the guest's kernel that these chips (its names for them) are on the bus, as a device tree would."""
        for chip, address in chips.items():
            self._tell("new_device", f"{chip} {address:#04x}")

    def withdraw(self, *addresses: int) -> None:
        """Have the kernel take its drivers off these chips."""
        for address in addresses:
            self._tell("delete_device", f"{address:#04x}")

    def close(self) -> None:
        self.moves.set()
        super().close()

    def _tell(self, file: str, text: str) -> None:
        code, said = self.guest.run("/bin/busybox", "sh", "-c", f"echo {text} > {DEVICES}/i2c-{self.bus()}/{file}")
        assert code == 0, said

    def _play(self, line: socket.socket) -> None:
        with suppress(OSError, EOFError), line.makefile("rb") as packets:
            _, length, _ = _GREETING.unpack(_exactly(packets, _GREETING.size))
            _exactly(packets, length)
            self._introduce(line)
            while True:
                kind, length, number = _HEADER.unpack(_exactly(packets, _HEADER.size))
                data = _exactly(packets, length)
                if kind == _TRANSFER:
                    self.moves.wait()
                    _say(line, _TRANSFER, self._transfer(data), number)
                elif kind in _ANSWERS:
                    _say(line, *_ANSWERS[kind], number)

    def _introduce(self, line: socket.socket) -> None:
        hello = struct.pack("<64sI", b"knoop", _CAPABILITIES)
        line.sendall(_GREETING.pack(_HELLO, len(hello), 0) + hello)
        kinds = b"\0" + b"\xff" * 15  # in each direction one, for control
        sizes = struct.pack("<32H", *(2 * (8, *(15 * (0,)))))
        _say(line, _ENDPOINTS, 2 * kinds + bytes(64) + sizes)
        _say(line, _INTERFACES, struct.pack("<I 32s 32s 64x", 1, b"", b"\xff"))
        _say(line, _CONNECT, struct.pack("<BBBB HH", _FULL_SPEED, 0xFF, 0, 0, _VENDOR, _PRODUCT))

    def _transfer(self, data: bytes) -> bytes:
        """A control transfer and its answer; what we do not know is stalled."""
        endpoint, request, way, _, value, index, length = _REQUEST.unpack_from(data)
        answer: bytes | None = None
        if way & _VENDORS:
            answer = self._do(request, index, length if way & _IN else data[_REQUEST.size :])
        elif request == _GET_DESCRIPTOR:
            answer = _descriptor(value)
        told = (answer or b"")[:length]
        status = _STALL if answer is None else 0
        done = len(told) if way & _IN else length
        return _REQUEST.pack(endpoint, request, way, status, value, index, done) + told

    def _do(self, request: int, address: int, data: bytes | int) -> bytes | None:
        """What i2c-tiny-usb.c asks for; `data` is what is written, or how much is read."""
        answers = {_FUNCTIONS: struct.pack("<I", _CAN), _DELAY: b"", _RESULT: self._result}
        if request in answers or not request & _MOVE:
            return answers.get(request)
        told: bytes | None = None if address in self.deaf else b""
        if told is not None and address in self._played:
            told = _move(self._played[address], data)
        elif told is not None:
            told = _move(self._chips, data) if self._chips.begin(address, read=isinstance(data, int)) else None
        if request & _LAST or told is None:
            self._chips.stop()
        self._result = _NOBODY if told is None else _ANSWERED
        return told or b""


def _move(chip: Played, data: bytes | int) -> bytes | None:
    """Read or write; None when the chip does not take it."""
    if isinstance(data, int):
        return chip.read(data)
    return b"" if chip.write(data) else None


def _say(line: socket.socket, kind: int, data: bytes, number: int = 0) -> None:
    line.sendall(_HEADER.pack(kind, len(data), number) + data)


def _descriptor(value: int) -> bytes | None:
    kind, number = divmod(value, 256)
    if kind == 3 and number < len(_STRINGS):
        return bytes([2 + len(_STRINGS[number]), 3]) + _STRINGS[number]
    return _DESCRIPTORS.get(kind)


def _exactly(packets: BinaryIO, length: int) -> bytes:
    data = packets.read(length)
    if len(data) < length:
        raise EOFError
    return data
