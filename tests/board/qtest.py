"""The lines of the emulated board, from outside: QEMU's qtest protocol (QEMU's docs/devel/qtest.rst).

The host drives the controller's inputs and hears of every change of its outputs; the guest's kernel sees real
interrupts and real registers, and knows nothing of this.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

BOUND_S = 20.0
_CHANGE = re.compile(rb"IRQ (raise|lower) (\d+)")


@dataclass(frozen=True, slots=True)
class Change:
    """An output line changed, as the host saw it; `at_s` is the host's monotonic time."""

    line: int
    level: bool
    at_s: float


class Qtest:
    """One connection. `drive` from any one thread; changes are recorded by a thread of its own."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._news = threading.Condition()
        self._changes: list[Change] = []
        self._answers: list[bytes] = []
        self._gone = False
        self._asking = threading.Lock()
        threading.Thread(target=self._listen, name="qtest", daemon=True).start()

    def ask(self, *commands: str) -> list[str]:
        """Send commands in one write; returns the answers. Raises RuntimeError, ConnectionError or TimeoutError."""
        with self._asking, self._news:
            self._answers.clear()
            self._socket.sendall("".join(f"{command}\n" for command in commands).encode())
            there = self._news.wait_for(lambda: self._gone or len(self._answers) >= len(commands), BOUND_S)
            answers = [answer.decode() for answer in self._answers]
        if self._gone:
            raise ConnectionError("the emulator is gone")
        if not there:
            raise TimeoutError(f"no answer to {commands}")
        for command, answer in zip(commands, answers, strict=True):
            if not answer.startswith("OK"):
                raise RuntimeError(f"{command}: {answer}")
        return answers

    def register(self, address: int, value: int | None = None) -> int:
        """Write a register of 32 bits, or read it."""
        if value is not None:
            self.ask(f"writel {address:#x} {value:#x}")
            return value
        return int(self.ask(f"readl {address:#x}")[0].split()[1], 0)

    def changes(self, since: int = 0) -> Sequence[Change]:
        """What was recorded, from the `since`th on."""
        with self._news:
            return tuple(self._changes[since:])

    def wait(
        self, true: Callable[[Sequence[Change]], bool], *, since: int = 0, within_s: float = BOUND_S
    ) -> Sequence[Change]:
        """Return the changes from the `since`th on once `true` of them. Raises AssertionError that shows them."""
        with self._news:
            if not self._news.wait_for(lambda: self._gone or true(self._changes[since:]), within_s) or self._gone:
                raise AssertionError(f"not within {within_s:g} s; changes: {self._changes[since:]}")
            return tuple(self._changes[since:])

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._socket.close()

    def _listen(self) -> None:
        rest = b""
        with suppress(OSError):
            while data := self._socket.recv(65_536):
                at_s = time.monotonic()
                *lines, rest = (rest + data).split(b"\n")
                with self._news:
                    for line in lines:
                        if change := _CHANGE.fullmatch(line.strip()):
                            self._changes.append(Change(int(change[2]), change[1] == b"raise", at_s))
                        elif line:
                            self._answers.append(line)
                    self._news.notify_all()
        with self._news:
            self._gone = True
            self._news.notify_all()


class Lines:
    """The eight lines of `-M virt`'s controller (a PL061), each an input or an output as the guest wishes."""

    COUNT = 8
    DATA = 0x0903_03FC  # all eight levels (PrimeCell PL061 reference manual, GPIODATA)
    DIRECTION = 0x0903_0400

    def __init__(self, qtest: Qtest, device: str) -> None:
        self._qtest, self._device = qtest, device
        qtest.ask(f"irq_intercept_out {device}")

    def drive(self, line: int, level: bool) -> None:
        """Put an input line at a level; returns when the controller has seen it."""
        self._qtest.ask(self._command(line, level))

    def drive_many(self, levels: Sequence[tuple[int, bool]]) -> None:
        """The same, one after the other in one go: as fast as the emulator takes them."""
        self._qtest.ask(*(self._command(line, level) for line, level in levels))

    def _command(self, line: int, level: bool) -> str:
        return f"set_irq_in {self._device} unnamed-gpio-in {line} {int(level)}"

    def level(self, line: int) -> bool:
        """What the line shows now."""
        return bool(self._qtest.register(self.DATA) >> line & 1)

    def is_output(self, line: int) -> bool:
        """Whether the guest drives it."""
        return bool(self._qtest.register(self.DIRECTION) >> line & 1)

    def changes(self, since: int = 0) -> Sequence[Change]:
        """What output lines did, from the `since`th change on."""
        return self._qtest.changes(since)

    @property
    def recorded(self) -> int:
        """How many changes of outputs there were so far: a mark to look from."""
        return len(self._qtest.changes())

    def moves(self, line: int, *, since: int = 0) -> list[bool]:
        """Every transition of an output line, in order."""
        return [change.level for change in self._qtest.changes(since) if change.line == line]

    def wait_moves(
        self, line: int, levels: Sequence[bool], *, since: int = 0, within_s: float = BOUND_S
    ) -> Sequence[Change]:
        """Return when the line made exactly these transitions; AssertionError when it did not, or made others."""

        def there(changes: Sequence[Change]) -> bool:
            return len([change for change in changes if change.line == line]) >= len(levels)

        made = [change for change in self._qtest.wait(there, since=since, within_s=within_s) if change.line == line]
        assert [change.level for change in made] == list(levels), made
        return made
