"""Running programs, saying how far it is, and keeping what took long to make."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SBIN = "/usr/sbin:/sbin"  # sfdisk, debugfs and others; not in a user's PATH, nor of who became root by plain `su`
KEPT = 2  # of each kind in the cache: the newest, and the one before a change that may be taken back


class BuildError(RuntimeError):
    """The image cannot be made; the text says why, and what to do."""


def run(
    *command: str | Path, stdin: bytes | None = None, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> bytes:
    """What `command` prints; a failure has the end of what it said. In a process group of its own, ended with us."""
    path = f"{os.environ.get('PATH') or os.defpath}:{SBIN}"
    if shutil.which(command[0], path=path) is None:
        raise BuildError(f"{command[0]} is not installed here; `make image` installs what it needs")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd,
        env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})}, process_group=0,
    )  # fmt: skip
    try:
        said, _ = process.communicate(stdin)
    except BaseException:
        with suppress(ProcessLookupError):  # it ended just then
            os.killpg(process.pid, signal.SIGTERM)  # mmdebstrap unmounts what it mounted
        process.communicate()
        raise
    if process.returncode:
        what = " ".join(str(word) for word in command)[:300]
        raise BuildError(f"{what}\nended with {process.returncode}:\n{said.decode('utf-8', 'replace')[-3000:]}")
    return said


@contextmanager
def step(what: str) -> Iterator[None]:
    """A line of progress, with the seconds that it took."""
    sys.stderr.write(f"{what} … ")
    sys.stderr.flush()
    began = time.monotonic()
    try:
        yield
    except BaseException:
        sys.stderr.write("\n")
        raise
    sys.stderr.write(f"{time.monotonic() - began:.0f} s\n")


def digest(*parts: bytes | str | Path) -> str:
    """12 hex digits of all that something is made from: text, bytes, and files by what is in them."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:12]


def kept() -> Path:
    """Where `cached` keeps it: XDG_CACHE_HOME, else ~/.cache of whoever makes it, which under sudo is root."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "knoop"


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `kind`-`key` of `kept()`, made first if it is not there yet; whole or not at all."""
    cache = kept()
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{kind}-{key}"
    with (cache / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(f"{kind}-unfinished-*"):  # by a power cut or kill -9; nobody else has the lock
            shutil.rmtree(left)
        if not made.exists():
            with scratch(f"{kind}-unfinished-", cache) as work:
                (work / "draft").mkdir()
                make(work / "draft")
                (work / "draft").rename(made)
        made.touch()
        others = sorted(cache.glob(f"{kind}-{'?' * 12}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for other in others[KEPT:]:
            shutil.rmtree(other)
    return made


@contextmanager
def scratch(prefix: str, where: Path | None = None) -> Iterator[Path]:
    """A folder for a while; gone afterwards, also after Ctrl-C, and after another one that comes meanwhile."""
    folder = tempfile.TemporaryDirectory(prefix=prefix, dir=where)
    try:
        yield Path(folder.name)
    finally:
        with undisturbed():
            folder.cleanup()


@contextmanager
def alone(folder: Path, prefix: str) -> Iterator[None]:
    """Nobody else makes anything in `folder` meanwhile; what one that was killed left there (`prefix`…) goes first.

    Raises BuildError where somebody does.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"{folder}: another one is made there just now; wait for it, or name another folder "
                             "with --out") from None  # fmt: skip
        for left in folder.glob(f"{prefix}*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(handle)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whoever interrupts meanwhile is heard afterwards. Only in the main thread."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda one, _: came.append(one))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


def words(text: str) -> Sequence[str]:
    """The words of a list that is written one item a line, without what follows a #."""
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]
