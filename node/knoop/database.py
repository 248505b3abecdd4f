"""One SQLite database in one worker thread: opened, migrated, bounded, and honest about what the disk does.

The event loop never touches SQLite: every statement runs in the thread that opened the connection. WAL with 1
KiB pages writes least (facts §2: 0.9 kB per event in groups of 20, against 34 kB for a rollback journal and
one commit each). A durable commit is synchronous=FULL: of 550 power cuts replayed none lost a confirmed row,
with NORMAL the worst lost 43; both write the same bytes, FULL costs 85 µs of CPU more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from knoop.errors import StoreError

_log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE_BYTES = 1024
WAL_PAGES = 1000  # SQLite's default: a checkpoint once a megabyte, so that a hot page is copied back seldom
CORRUPT_KEPT = 3  # copies set aside; a dying card must not fill the disk with them
BUSY_S = 5.0
RESERVE_BYTES = 64 * 1024  # less than this left and it is the disk that is full, not our own limit

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


class LimitReached(StoreError):
    """The database has grown to its own limit: deleting rows makes room."""


class Database:
    """One file, one connection, one thread.

    `migrations` are SQL scripts; the file's `user_version` says how many it has seen. `max_bytes` bounds the
    file and its write-ahead log together. `check` reads the whole file at opening, which only a small one is
    worth. `keep` leaves a copy beside the file before it is migrated: `NAME.v1` is one of version 1. A corrupt
    file is renamed to `NAME.corrupt-<n>` and replaced by an empty one, at opening or when it shows later;
    `set_aside` then names the copy.
    """

    def __init__(
        self, path: Path, *, migrations: Sequence[str], max_bytes: int | None = None, check: bool = False,
        keep: bool = False,
    ) -> None:  # fmt: skip
        if max_bytes is not None and max_bytes < 64 * PAGE_BYTES:
            raise ValueError(f"{path}: a database of {max_bytes} bytes is too small; {64 * PAGE_BYTES} is the least")
        self.path = path
        self.set_aside: Path | None = None
        self._migrations = migrations
        self._pages = max_bytes // PAGE_BYTES if max_bytes else None
        self._check = check
        self._keep = keep
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open the file, made with mode 0600 where absent. Raises StoreError."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.path.name)
        try:
            await self._in_thread(self._open)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was begun, fold the write-ahead log in and close. Closing twice is fine."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            try:
                await asyncio.get_running_loop().run_in_executor(thread, self._close)
            finally:
                thread.shutdown(wait=False)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """What `work` returns, run as one transaction in the database's thread, in the order of the calls.

        `durable` means: on the disk when this returns; else a power cut may undo it, but never tear it. A
        cancelled caller does not stop work that has begun. Raises StoreError with the file's name and the
        remedy; LimitReached where deleting rows would help.
        """
        return await self._in_thread(lambda: self._transaction(work, durable=durable))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError(f"{self.path}: the database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # From here on everything runs in the worker thread.

    def _transaction(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        try:
            try:
                return self._attempt(work, durable=durable)
            except sqlite3.DatabaseError as error:
                if _code(error) not in _BROKEN:
                    raise
                self._replace(error)
                return self._attempt(work, durable=durable)
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            text = f"{self.path}: {error.strerror or error}; check the disk and who may write there"
            raise StoreError(text) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        if self._connection is None:  # replacing a corrupt file failed half-way
            self._open()
        db = self._connection
        assert db is not None
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite ends some failed transactions itself
                db.execute("ROLLBACK")
            raise
        return result

    def _open(self) -> None:
        try:
            try:
                self._connect()
            except sqlite3.DatabaseError as error:
                if _code(error) not in _BROKEN:
                    raise
                self._replace(error)
        except sqlite3.DatabaseError as error:
            self._close()
            raise self._explain(error) from error
        except OSError as error:
            self._close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                f"{self.path}: {error.strerror or error}; make {self.path.parent} a folder that user id "
                f"{os.geteuid()} may write to"
            ) from error

    def _connect(self) -> None:
        _claim(self.path)
        self._connection = db = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_S)
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # before the first page is written, else without effect
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            raise StoreError(
                f"{self.path}: written by a newer Knoop (version {version} of its tables, this one knows "
                f"{len(self._migrations)}); install that Knoop again or move the file away"
            )
        if self._check and (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            error = sqlite3.DatabaseError(found)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = FAST")  # Debian builds SQLite with ON: every deleted row is overwritten
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA cache_size = -1024")
        wal_pages = WAL_PAGES
        if self._pages is not None:
            wal_pages = min(WAL_PAGES, self._pages // 8)
            db.execute(f"PRAGMA max_page_count = {self._pages - wal_pages}")
        db.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")
        if self._keep and 0 < version < len(self._migrations):
            self._copy(db, version)
        for number, script in enumerate(self._migrations[version:], start=version + 1):
            db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")

    def _copy(self, db: sqlite3.Connection, version: int) -> None:
        """What the Knoop before this one can go on with. Without room for it nothing is migrated."""
        copy = self.path.with_name(f"{self.path.name}.v{version}")
        copy.unlink(missing_ok=True)
        _claim(copy)
        with closing(sqlite3.connect(copy)) as kept:
            db.backup(kept)
        _log.warning("%s: of an older Knoop; kept as %s before it is brought up to date", self.path, copy)

    def _replace(self, error: sqlite3.DatabaseError) -> None:
        """Set the corrupt file and its log aside and open an empty one in its place."""
        self._close()
        number = next(
            (n for n in range(1, CORRUPT_KEPT) if not self.path.with_name(f"{self.path.name}.corrupt-{n}").exists()),
            CORRUPT_KEPT,
        )
        copy = self.path.with_name(f"{self.path.name}.corrupt-{number}")
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{self.path}{suffix}")
            if part.exists():
                part.replace(f"{copy}{suffix}")
        _log.error("%s: %s; kept as %s, starting with an empty one", self.path, error, copy)
        self.set_aside = copy
        self._connect()

    def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except sqlite3.DatabaseError as error:
                _log.warning("%s: not closed cleanly: %s", self.path, error)

    def _explain(self, error: sqlite3.DatabaseError) -> Exception:
        """The sentence for an error of the disk; an error of our own SQL stays what it is."""
        code, folder = _code(error), self.path.parent
        no_space = _free_bytes(folder) < RESERVE_BYTES
        if code == sqlite3.SQLITE_FULL and not no_space:
            return LimitReached(f"{self.path}: the database has reached its limit; raise [storage] max")
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and no_space):
            return StoreError(f"{self.path}: the disk is full; free some space on the file system of {folder}")
        if code in _FORBIDDEN:
            return StoreError(f"{self.path}: cannot be written; make {folder} writable for user id {os.geteuid()}")
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return StoreError(f"{self.path}: another program is writing to it; is a second node running?")
        if code == sqlite3.SQLITE_IOERR:
            return StoreError(f"{self.path}: the disk reports an error ({error}); see dmesg, the card may be dying")
        if code in _BROKEN:
            return StoreError(f"{self.path}: corrupt, and so is its replacement ({error}); check the disk")
        return error


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for an error that Python raised by itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _claim(path: Path) -> None:
    """Make the file, or narrow an existing one, to mode 0600, which its logs inherit. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(file).st_mode & 0o077:
            os.fchmod(file, 0o600)
    finally:
        os.close(file)


def _free_bytes(folder: Path) -> int:
    """What an ordinary user may still write there; plenty where nobody can tell."""
    try:
        there = os.statvfs(folder)
    except OSError:
        return RESERVE_BYTES
    return there.f_bavail * there.f_frsize
