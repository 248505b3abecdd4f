"""What both halves need while they live: a lock, a terminal that may hang up, a file read apart, tasks that end."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from knoop_hw.errors import ConfigError, DeviceError, NotAsBefore

log = logging.getLogger(__name__)

T = TypeVar("T")
LOAD_TIMEOUT_S = 10.0  # reading and checking takes 0.3 s on a slow board


class Held:
    """A file or folder that is ours until `close` or until this process ends. Closing twice is fine."""

    def __init__(self, number: int) -> None:
        self._number: int | None = number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._number is not None:
            number, self._number = self._number, None
            os.close(number)


def lock(file: Path, *, taken: str) -> Held:
    """Hold `file` until it is closed or this process ends. Raises DeviceError with the sentence `taken`, or OSError.

    A link that somebody put there is not followed, and a pipe not waited for. Nothing is written: a disk that is full
    or has become read-only must not keep a half from starting. Where the file cannot even be made there, its folder is
    held instead.
    """
    number = _open(file)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise DeviceError(taken) from None
    return Held(number)


def _open(file: Path) -> int:
    try:
        number = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        return os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    there = os.fstat(number)
    if not stat.S_ISREG(there.st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "is no ordinary file", str(file))
    if os.geteuid() == 0 and there.st_nlink == 1:  # not what somebody linked to from there
        with suppress(OSError):  # on a disk that takes nothing it is as it was before
            owner = file.parent.stat()
            os.fchown(number, owner.st_uid, owner.st_gid)  # what root holds must not keep the service out for ever
    return number


def at_a_terminal() -> bool:
    """Whether a terminal controls this process, and hangs up on it when it goes (credentials(7))."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(terminal)
    return True


def in_a_thread(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """What `work` returns or raises, in a thread that nobody has to wait for.

    An executor's threads are joined when the interpreter exits; nothing waits for a daemon.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # it goes on when nobody waits any more

    def run() -> None:
        try:
            outcome.set_result(work())
        except StopIteration as error:  # no future takes it, and one that is never done waits for ever
            outcome.set_exception(RuntimeError(f"{error!r} is no answer"))
        except BaseException as error:  # noqa: BLE001 -- raised where it is awaited
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name=name).start()
    return asyncio.wrap_future(outcome)


async def in_time(load: Callable[[], T]) -> T:
    """What `load` returns or raises, or TimeoutError.

    A pipe that nobody writes to, or a file server that is gone, must not hold up the end of a half.
    """
    async with asyncio.timeout(LOAD_TIMEOUT_S):
        return await in_a_thread(load, name="reload")


@contextmanager
def refusing(not_taken: Callable[..., None]) -> Iterator[None]:
    """A reload: why it fails goes to `not_taken`, a line each, and the half lives on; only NotAsBefore ends it."""
    try:
        yield
    except NotAsBefore:
        raise
    except ConfigError as error:
        not_taken(*map(str, error.problems))
    except DeviceError as error:
        not_taken(*str(error).splitlines())
    except TimeoutError:
        not_taken(f"it took more than {LOAD_TIMEOUT_S:g} s to read; is one of the files a pipe?")
    except Exception:  # whatever a file can do to us, the outputs stay guarded
        log.exception("reload")
        not_taken("it could not be read; this is a mistake of Knoop's")


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel these, and return when they have ended, however."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
