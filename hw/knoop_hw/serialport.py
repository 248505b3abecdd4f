"""A serial port read by the event loop:

Pyserial opens and sets it up, the loop watches its file descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from knoop_hw import rights
from knoop_hw.errors import DeviceError

LIMIT = 64 * 1024  # unread bytes; beyond it the kernel's own buffer fills and then drops, as on any slow reader
CHUNK = 4096

Framing = Literal["8N1", "7E1"]


@asynccontextmanager
async def open_port(
    device: Path, *, owner: str, baudrate: int = 115_200, framing: Framing = "8N1"
) -> AsyncIterator[Port]:
    """Open a port for one reader. `owner` (`sensor.meter`) begins every message.

    Raises DeviceError when the device is absent, not permitted or in use by another program.
    """
    import serial  # noqa: PLC0415 -- the library of few drivers

    try:
        opened = serial.Serial(
            str(device), baudrate, bytesize=int(framing[0]), parity=framing[1], stopbits=int(framing[2]),
            timeout=0, exclusive=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise DeviceError(f"{owner}: {_remedy(device, error)}") from None
    port = Port(opened, owner=owner, device=device)
    try:
        yield port
    finally:
        port.close()


def _remedy(device: Path, error: Exception) -> str:
    """Why a port does not open and what to do. pyserial's text is only used when nothing is known."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return f"{device} does not exist; plug it in or correct 'device'; ports here: {_ports()}"
    if number in {errno.EACCES, errno.EPERM}:
        return f"{device} may not be opened by {rights.us()}; {rights.remedy(device)}"
    if number in {errno.EAGAIN, errno.EBUSY}:
        return f"{device} is in use by another program; `fuser -v {device}` names it"
    # pyserial gives no errno for a file that is no terminal, only this text.
    no_port = number is None and "configure port" in str(error)
    if no_port or number in {errno.ENOTTY, errno.EINVAL, errno.ENODEV, errno.ENXIO, errno.EIO}:
        return f"{device} is not a working serial port; ports here: {_ports()}"
    return f"{device} does not open: {error}"


def _ports() -> str:
    """The names that survive replugging first (udev's by-id), then the kernel's."""
    found = sorted(Path("/dev/serial/by-id").glob("*"))
    for pattern in ("ttyUSB*", "ttyACM*", "ttyAMA*", "serial[0-9]*"):
        found += sorted(Path("/dev").glob(pattern))
    return ", ".join(map(str, found)) or "none"


class Port:
    """An open port. One reader at a time."""

    def __init__(self, opened: Any, *, owner: str, device: Path) -> None:
        self._serial, self._owner, self._device = opened, owner, device
        self._fd: int = opened.fileno()
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._gone: DeviceError | None = None
        self._watching = False
        self._watch()

    async def read(self) -> bytes:
        """The bytes that arrived since the last call: at least one.

        Raises DeviceError when the device is gone.
        """
        while not self._buffer:
            if self._gone is not None:
                raise self._gone
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._gone is None:
            self._watch()
        return data

    def _watch(self) -> None:
        if not self._watching:
            self._loop.add_reader(self._fd, self._readable)
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._loop.remove_reader(self._fd)
            self._watching = False

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # what a tty says when its other end is pulled out
            self._gone = DeviceError(f"{self._owner}: {self._device} was unplugged; plug it in again")
            self._unwatch()
        self._buffer += data
        if len(self._buffer) >= LIMIT:
            self._unwatch()
        self._arrived.set()

    def close(self) -> None:
        """Let go of the port; closing twice is fine."""
        self._unwatch()
        self._gone = self._gone or DeviceError(f"{self._owner}: {self._device} is closed")
        self._arrived.set()
        self._serial.close()
