"""Devices that count: each says numbers that only grow, so that what is missing is known from outside."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import termios
import tty
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

UNASKED = 40  # lines between two polls: the driver hears the last 50 of those that came at once (docs/text.md)
POLL = "?"
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Fed:
    """A number that a device has said; `at_s` is the loop's time."""

    channel: str
    number: int
    at_s: float


@dataclass(slots=True, eq=False)
class Device:
    """A pseudo-terminal whose other end the driver `lines` reads. It speaks once it is asked, and goes on."""

    name: str
    master: int
    slave: int
    number: int = 0
    unasked: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def open(cls, name: str) -> Device:
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        device = cls(name, master, slave)
        asyncio.get_running_loop().add_reader(master, device.hear)
        return device

    @property
    def path(self) -> str:
        return os.ttyname(self.slave)

    def hear(self) -> None:
        """A poll: somebody listens, and has read what was said before (or soon will)."""
        with suppress(BlockingIOError):
            if os.read(self.master, 4096):
                self.unasked = 0
                self.asked.set()

    def forget(self) -> None:
        """Nobody listens any more; what they asked, said or reserved is gone with them."""
        with suppress(BlockingIOError):
            while os.read(self.master, 4096):
                pass
        termios.tcflush(self.slave, termios.TCIOFLUSH)
        fcntl.ioctl(self.slave, termios.TIOCNXCL)
        self.asked.clear()

    def say(self) -> bool:
        """The next number; False when nobody would hear it now."""
        if not self.asked.is_set() or self.unasked >= UNASKED:
            return False
        line = f"n={self.number + 1} level={(self.number + 1) % 2}\n".encode()
        try:
            written = os.write(self.master, line)
        except BlockingIOError:
            return False
        assert written == len(line), "a line that was cut"
        self.number += 1
        self.unasked += 1
        return True

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.slave)


class Feeder:
    """`async with Feeder(["f1", "f2"], slow=["bell"], slow_every=30) as feeder:`; `fed` is the ground truth.

    The slow ones say one number for so many of all others together.
    """

    def __init__(self, names: Iterable[str], *, slow: Iterable[str] = (), slow_every: int = 30) -> None:
        self.fed: list[Fed] = []
        self._names, self._slow_names, self._slow_every = list(names), list(slow), slow_every
        self._fast: list[Device] = []
        self._slow: list[Device] = []

    async def __aenter__(self) -> Self:
        self._fast = [Device.open(name) for name in self._names]
        self._slow = [Device.open(name) for name in self._slow_names]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for device in self.devices:
            device.close()

    @property
    def devices(self) -> list[Device]:
        return [*self._fast, *self._slow]

    def forget(self) -> None:
        """Who listened is dead."""
        for device in self.devices:
            device.forget()

    async def listened_to(self) -> None:
        """Return when every device has been asked."""
        for device in self.devices:
            await device.asked.wait()

    async def run(self, *, count: int, per_s: float, enough: asyncio.Event) -> None:
        """Say `count` numbers in all and go on until `enough`, so many a second, none while nobody listens."""
        loop = asyncio.get_running_loop()
        due_s, turn = loop.time(), 0
        while len(self.fed) < count or not enough.is_set():
            devices = self._slow if self._slow and len(self.fed) % self._slow_every == 0 else self._fast
            turn += 1
            for at in range(len(devices)):
                device = devices[(turn + at) % len(devices)]
                if device.say():
                    self.fed.append(Fed(f"{device.name}.n", device.number, loop.time()))
                    break
            due_s = max(due_s + 1 / per_s, loop.time() - 1.0)
            await asyncio.sleep(due_s - loop.time())
