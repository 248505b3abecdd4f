"""Files: made for nobody else's eyes, on the disk with their names, set aside when a database is damaged."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CORRUPT_KEPT = 3  # copies set aside; a dying card must not fill the disk with them


def claim(path: Path) -> None:
    """Make the file, or narrow an existing one, to mode 0600, which its logs inherit. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(file).st_mode & 0o077:
            os.fchmod(file, 0o600)
    finally:
        os.close(file)


def sync(folder: Path) -> None:
    """The names in a folder are on the disk, too (fsync(2): a file's own fsync does not say so). Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(path: Path, content: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Have `content` at `path` when this returns, of this mode and for this user and group (None: one's own).

    Raises OSError; then, and after a power cut meanwhile, what was there before still is.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # of one that was killed while it wrote
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:  # noqa: PTH123 -- its mode
            file.write(content)
            file.flush()
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write to a full disk names none
        raise
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def remove(path: Path) -> bool:
    """Have nothing there, also after a power cut; whether that was news. Raises OSError."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync(path.parent)
    return True


def hand_over(made: Iterable[Path], folder: Path) -> None:
    """What root makes beside a service's files is the service's: the owner of `folder`. Raises OSError.

    Files that are there and have no other name: to all else somebody may have linked from there.
    """
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for file in made:
        with ordinary(file) as handle:
            if handle is not None:
                os.fchown(handle, owner.st_uid, owner.st_gid)


@contextmanager
def ordinary(path: Path) -> Iterator[int | None]:
    """A handle to read a file that has no other name; None where there is none, or something else. Raises OSError.

    For root among files that somebody else may have put there: no link is followed and no pipe waited for.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:  # none, a link, a socket
            raise
        yield None
        return
    try:
        there = os.fstat(handle)
        yield handle if stat.S_ISREG(there.st_mode) and there.st_nlink == 1 else None
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Rename a corrupt file and its logs to `NAME.corrupt-<n>`, over the last of them where there are enough.

    Raises OSError where the disk cannot read it: what it is then, nobody knows.
    """
    _read_whole(path)
    _read_whole(Path(f"{path}-wal"))
    copies = [path.with_name(f"{path.name}.corrupt-{number}") for number in range(1, CORRUPT_KEPT + 1)]
    copy = next((copy for copy in copies if not copy.exists()), copies[-1])
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{copy}{suffix}")
    return copy


def _read_whole(path: Path) -> None:
    """Have every byte of it from the disk, if it is there."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        at = 0
        while read := os.pread(file, 2**16, at):
            at += len(read)
    finally:
        os.close(file)
