"""What a disk refuses, from SQLite's or the kernel's error to a sentence with the remedy, and a reason."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from knoop.errors import Trouble

RESERVE_BYTES = 64 * 1024  # less than this left and it is the disk that is full, not our own limit

BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
# Somebody set it up so: no disk will ever get over that by itself.
_SET_UP = {
    errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
}  # fmt: skip


def result_code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for an error that Python raised by itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether the file does not hold what SQLite, or Python, which has no code for it, wrote there."""
    return result_code(error) in BROKEN or "decode to UTF-8" in str(error)


def reason(error: OSError) -> Trouble:
    """What an error of the kernel's says of the disk."""
    return "full" if error.errno in _NO_ROOM else "other" if error.errno in _SET_UP else "failing"


def not_opened(path: Path, error: OSError) -> tuple[str, Trouble]:
    """Why the file cannot even be opened or made, and what to do."""
    remedy = f"make {path.parent} a folder that user id {os.geteuid()} may write to"
    if reason(error) == "full":
        remedy = f"free some space on the file system of {path.parent}"
    return f"{path}: {error.strerror or error}; {remedy}", reason(error)


def refused(path: Path, error: sqlite3.DatabaseError) -> tuple[str, Trouble] | None:
    """What is wrong with the disk of `path`, and what to do; None where it is not the disk's doing."""
    code, folder, what = result_code(error), path.parent, ""
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, *_FORBIDDEN} and lacks_room(folder):
        return f"{path}: the disk is full; free some space on the file system of {folder}", "full"
    if code in _FORBIDDEN:
        what = f"cannot be written; make {folder} writable for user id {os.geteuid()}"
    elif code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        what = "another program is writing to it; is a second node running?"
    elif code == sqlite3.SQLITE_IOERR:
        what = f"the disk reports an error ({error}); see dmesg, the card may be dying"
    elif damaged(error):
        what = f"corrupt, and so is its replacement ({error}); check the disk"
    return (f"{path}: {what}", "failing") if what else None


def lacks_room(folder: Path) -> bool:
    """Whether it has no room for an ordinary user: no space, no inode, no quota. SQLite does not say."""
    try:
        there = os.statvfs(folder)
        if there.f_bavail * there.f_frsize < RESERVE_BYTES:
            return True
        file = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, bytes(1024))
        finally:
            os.close(file)
    except OSError as error:
        return error.errno in _NO_ROOM
    return False
