"""USB devices that the host plugs into the emulated board, plays, and pulls out again.

The names of ports are made by Debian's own udev with its own rules, as on a real board.
"""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.board import recipe
from tests.board.guest import BOUND_S, Guest, Program

_numbers = itertools.count(1)
HOLD = """
import os, signal, sys
os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
print("READY", flush=True)
signal.pause()
"""


def udev(guest: Guest) -> Program:
    """Start udev in the guest, and the drivers of USB."""
    guest.load(*recipe.USB)
    daemon = guest.start("/lib/systemd/systemd-udevd")
    guest.wait_for("/run/udev/control")
    return daemon


def hold(guest: Guest, path: str) -> Program:
    """A program that keeps a device open, whatever becomes of it."""
    guest.write("/root/hold_open.py", HOLD)
    holder = guest.start("python3", "/root/hold_open.py", path)
    holder.says("READY")
    return holder


class Plug:
    """A USB device that the host plays: plugged into the guest and pulled out as often as wanted.

    `_play` is what it does while it is plugged in, in a thread of its own, until `line` is closed.
    """

    def __init__(self, guest: Guest, driver: str, **properties: str) -> None:
        self.guest = guest
        self._driver, self._properties = driver, properties
        self._name, self.plugged = "", False
        self._line: socket.socket
        self._player: threading.Thread

    def plug(self) -> Self:
        self._name = f"plug{next(_numbers)}"
        path = self.guest.folder / f"{self._name}.sock"
        address = {"type": "unix", "data": {"path": str(path)}}
        backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
        self.guest.monitor.ask("chardev-add", id=self._name, backend=backend)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(path))
        self._player = threading.Thread(target=self._play, args=(self._line,), name=self._name, daemon=True)
        self._player.start()
        self.guest.monitor.plug(self._driver, self._name, chardev=self._name, **self._properties)
        self.plugged = True
        return self

    def pull(self) -> None:
        """Take it out; the guest's kernel hears of it at once."""
        self.plugged = False
        self.guest.monitor.pull(self._name)
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._player.join()
        self._line.close()
        with suppress(RuntimeError):  # some devices take it with them
            self.guest.monitor.ask("chardev-remove", id=self._name)

    def close(self) -> None:
        if self.plugged:
            self.pull()

    def _play(self, line: socket.socket) -> None:
        raise NotImplementedError


class Cable(Plug):
    """A serial cable (an FT232 to the guest's kernel); the host is what is at its other end."""

    def __init__(self, guest: Guest, serial: str) -> None:
        guest.load(*recipe.SERIAL)
        super().__init__(guest, "usb-serial", serial=serial)
        self.device = f"/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_{serial}-if00-port0"
        self._said, self._news = bytearray(), threading.Condition()
        self._repeated, self._every_s = b"", 0.1

    def node(self) -> str:
        """Where the name by id leads now, such as /dev/ttyUSB0; waits until it is there."""
        deadline = time.monotonic() + BOUND_S
        while True:
            code, said = self.guest.run("/bin/busybox", "readlink", "-f", self.device)
            if not code and "ttyUSB" in said:
                return said.strip()
            assert time.monotonic() < deadline, f"udev makes no {self.device}"

    def repeat(self, data: bytes, every_s: float) -> None:
        """Say it again and again while it is plugged in, as a meter does."""
        self._repeated, self._every_s = data, every_s

    def hears(self, true: Callable[[bytes], bool], within_s: float = BOUND_S) -> bytes:
        """What the guest sent so far, once `true` of it."""
        with self._news:
            if not self._news.wait_for(lambda: true(bytes(self._said)), within_s):
                raise AssertionError(f"not within {within_s:g} s: {bytes(self._said)!r}")
            return bytes(self._said)

    def _play(self, line: socket.socket) -> None:
        with suppress(OSError):
            while True:
                readable, _, _ = select.select([line], [], [], self._every_s)
                if not readable:
                    line.sendall(self._repeated)
                    continue
                data = line.recv(4096)
                if not data:
                    return
                with self._news:
                    self._said += data
                    self._news.notify_all()
