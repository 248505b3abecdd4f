"""What both halves need from the machine while they live: a lock, a terminal that may hang up, a file read apart."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, TypeVar

from knoop_hw.errors import DeviceError

T = TypeVar("T")
LOAD_TIMEOUT_S = 10.0  # reading and checking takes 0.3 s on a slow board


def lock(file: Path, *, taken: str) -> IO[bytes]:
    """Hold `file` until it is closed or this process ends. Raises DeviceError with the sentence `taken`, or OSError.

    Nothing is written: a disk that is full or has become read-only must not keep a half from starting.
    """
    held = open(file, "rb", opener=_made)  # noqa: SIM115 -- it is held by staying open
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise DeviceError(taken) from None
    return held


def _made(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def at_a_terminal() -> bool:
    """Whether a terminal controls this process, and hangs up on it when it goes (credentials(7))."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(terminal)
    return True


async def in_a_thread(load: Callable[[], T]) -> T:
    """What `load` returns or raises, or TimeoutError, in a thread that nobody has to wait for.

    A pipe that nobody writes to, or a file server that is gone, must not hold up the end of a half.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # it goes on when nobody waits any more

    def work() -> None:
        try:
            outcome.set_result(load())
        except Exception as error:  # noqa: BLE001 -- raised again by who waits
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True, name="reload").start()
    async with asyncio.timeout(LOAD_TIMEOUT_S):
        return await asyncio.wrap_future(outcome)
