"""A serial port read and written by the event loop:

Pyserial opens and sets it up, the kernel checks its parity, the loop watches its file descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from knoop_hw import rights
from knoop_hw.errors import DeviceError
from knoop_hw.kernel.ports import serial_ports
from knoop_hw.life import in_a_thread
from knoop_hw.source import Stuck

LIMIT = 64 * 1024  # unread bytes; beyond it the kernel's own buffer fills and then drops, as on any slow reader
CHUNK = 4096
OPEN_LIMIT_S = 10.0  # an adapter that hangs answers its control messages after 5 s each, or not at all
WRITE_LIMIT_S = 5.0
_DRAIN_S = 0.005  # between two looks whether all has left; six characters at 9600 baud

Framing = Literal["8N1", "7E1", "8E1", "8O1", "8N2", "7O1"]


@asynccontextmanager
async def open_port(
    device: Path, *, owner: str, baudrate: int = 115_200, framing: Framing = "8N1"
) -> AsyncIterator[Port]:
    """Open a port for one reader and its writers. `owner` (`sensor.meter`) begins every message.

    Raises DeviceError when the device is absent, not permitted or in use by another program, Stuck when it does not
    open in 10 s.
    """
    opening = in_a_thread(lambda: _opened(device, baudrate, framing), name="knoop-open")
    try:
        async with asyncio.timeout(OPEN_LIMIT_S):
            opened = await asyncio.shield(opening)
    except TimeoutError:
        opening.add_done_callback(_let_go)
        text = f"{device} does not open within {OPEN_LIMIT_S:g} s; pull it out and plug it in again"
        raise Stuck(f"{owner}: {text}", returned=opening) from None
    except asyncio.CancelledError:
        opening.add_done_callback(_let_go)
        raise
    except (OSError, ValueError, termios.error) as error:
        raise DeviceError(f"{owner}: {_remedy(device, error)}") from None
    port = Port(opened, owner=owner, device=device)
    try:
        yield port
    finally:
        port.close()


def _opened(device: Path, baudrate: int, framing: Framing) -> Any:
    import serial  # noqa: PLC0415 -- the library of few drivers

    first = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _echo_nothing(first)
        opened = serial.Serial(
            str(device), baudrate, bytesize=int(framing[0]), parity=framing[1], stopbits=int(framing[2]),
            timeout=0, exclusive=True,
        )  # fmt: skip
    finally:
        os.close(first)
    try:
        _check_every_byte(opened.fileno())
        fcntl.ioctl(opened.fileno(), termios.TIOCEXCL)  # pyserial's lock stops only who asks for it
    except BaseException:
        opened.close()
        raise
    return opened


def _echo_nothing(fd: int) -> None:
    """Have the kernel say nothing back, at once: a new port is set up like a terminal's, and a device that talks while
    pyserial looks at the settings gets its own words as ours.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another program's port is not to be changed
    settings = termios.tcgetattr(fd)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    fcntl.flock(fd, fcntl.LOCK_UN)  # pyserial's own is another one


def _let_go(opening: asyncio.Future[Any]) -> None:
    """What nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _check_every_byte(fd: int) -> None:
    """Have the kernel mark what came with a wrong parity or stop bit, and breaks (termios(3), PARMRK).

    Pyserial leaves all of it unchecked. Without parity INPCK still marks wrong stop bits: a wrong speed shows.
    """
    settings = termios.tcgetattr(fd)
    settings[0] &= ~(termios.IGNPAR | termios.IGNBRK | termios.BRKINT)  # BRKINT would throw away what is unread
    settings[0] |= termios.INPCK | termios.PARMRK
    settings[6][termios.VMIN] = 1  # with pyserial's 0 nothing to read would look like a hang-up
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    termios.tcflush(fd, termios.TCIFLUSH)  # what came before has no marks


def unmark(data: bytes) -> tuple[bytes, int, bytes]:
    """Undo PARMRK (termios(3)): what was sent, how many bytes of it were spoiled, and the mark cut off at the end.

    A spoiled byte X is marked 0xFF 0x00 X and becomes 0xFF, which no text has in it; a real 0xFF comes doubled. Put
    the cut-off mark in front of the next data.
    """
    clean, spoiled, at = bytearray(), 0, 0
    while (mark := data.find(0xFF, at)) >= 0:
        clean += data[at:mark]
        second = data[mark + 1 : mark + 2]
        size = 3 if second == b"\x00" else 2 if second == b"\xff" else 1
        if not second or mark + size > len(data):
            return bytes(clean), spoiled, data[mark:]
        clean.append(0xFF)
        spoiled += size == 3
        at = mark + size
    return bytes(clean + data[at:]), spoiled, b""


def _remedy(device: Path, error: Exception) -> str:
    """Why a port does not open and what to do. pyserial's text is only used when nothing is known."""
    number = error.args[0] if isinstance(error, termios.error) else getattr(error, "errno", None)
    if number in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
        return f"{device} does not exist; plug it in or correct 'device'; ports here: {_ports()}"
    if number in {errno.EACCES, errno.EPERM}:
        return f"{device} may not be opened by {rights.us()}; {rights.remedy(device)}"
    if number in {errno.EAGAIN, errno.EBUSY}:
        return f"{device} is in use by another program; `fuser -v {device}` names it"
    # pyserial gives no errno for a file that is no terminal, only this text.
    no_port = number is None and "configure port" in str(error)
    if no_port or number in {errno.ENOTTY, errno.EINVAL, errno.EISDIR, errno.ENODEV, errno.ENXIO, errno.EIO}:
        return f"{device} is not a working serial port; ports here: {_ports()}"
    return f"{device} does not open: {error}"


def _ports(root: Path = Path("/")) -> str:
    """Those that `knoop probe` lists, and what udev has given no name that survives replugging."""
    there = serial_ports(root)
    named = {port.node for port in there}
    found = [port.device for port in there]
    for pattern in ("ttyUSB*", "ttyACM*"):
        names = sorted(path.name for path in (root / "dev").glob(pattern))
        found += (Path("/dev") / name for name in names if name not in named)
    return ", ".join(map(str, found)) or "none"


class Port:
    """An open port: one reader at a time; writers take turns. `spoiled` counts the bytes that the kernel marked."""

    def __init__(self, opened: Any, *, owner: str, device: Path) -> None:
        self._serial, self._owner, self._device = opened, owner, device
        self._fd: int = opened.fileno()
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._mark = b""
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = asyncio.Event()
        self._turn = asyncio.Lock()
        self._gone: DeviceError | None = None
        self._watching = False
        self.spoiled = 0
        self._watch()

    async def read(self) -> bytes:
        """The bytes that arrived since the last call: at least one. A spoiled one is 0xFF.

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

    async def write(self, data: bytes) -> None:
        """Send all of `data`; return when it has left for the device.

        Raises DeviceError when the device is gone, or has not taken it within 5 s: then what is left is forgotten.
        """
        try:
            async with asyncio.timeout(WRITE_LIMIT_S), self._turn:
                try:
                    await self._send(data)
                except BaseException:
                    self._forget()
                    raise
        except TimeoutError:
            text = f"{self._device} takes nothing; nothing has left for {WRITE_LIMIT_S:g} s: is the device stuck?"
            raise DeviceError(f"{self._owner}: {text}") from None

    async def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            if self._gone is not None:
                raise self._gone
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                await self._room()
            except OSError:
                self._lost()
        while self._gone is None and self._unsent():
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await self._ended.wait()
        if self._gone is not None:
            raise self._gone

    async def _room(self) -> None:
        """Return when something can be written, or the port is gone."""
        self._writable.clear()
        self._loop.add_writer(self._fd, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            if self._gone is None:  # else that is done, and the number may be another file's
                self._loop.remove_writer(self._fd)

    def _unsent(self) -> int:
        """Bytes that wait in the kernel; 0 for a device that does not tell."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4)))[0])
        except OSError:
            return 0

    def _forget(self) -> None:
        """Throw away what did not leave: closing would wait for it, with the event loop, for up to 30 s."""
        if self._gone is None:
            with suppress(OSError, termios.error):
                termios.tcflush(self._fd, termios.TCOFLUSH)

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
            self._lost()
            return
        clean, spoiled, self._mark = unmark(self._mark + data)
        self.spoiled += spoiled
        self._buffer += clean
        if len(self._buffer) >= LIMIT:
            self._unwatch()
        if clean:
            self._arrived.set()

    def _lost(self) -> None:
        self._end(f"{self._device} was unplugged; plug it in again")

    def _end(self, why: str) -> None:
        self._unwatch()
        self._loop.remove_writer(self._fd)
        self._gone = self._gone or DeviceError(f"{self._owner}: {why}")
        for waiting in (self._arrived, self._writable, self._ended):
            waiting.set()

    def close(self) -> None:
        """Let go of the port; closing twice is fine."""
        if not self._serial.is_open:
            return
        self._end(f"{self._device} is closed")
        with suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        self._serial.close()
