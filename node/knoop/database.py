"""One SQLite database in one worker thread: opened, migrated, bounded, and honest about what the disk does.

The event loop never touches SQLite: every statement runs in the thread that opened the connection. WAL with 1
KiB pages writes least (measured: 0.9 kB per event in groups of 20, against 34 kB for a rollback journal and
one commit each). A durable commit is synchronous=FULL: of 550 power cuts replayed none lost a confirmed row,
with NORMAL the worst lost 43; both write the same bytes, FULL costs 85 µs of CPU more.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from knoop.errors import StoreError
from knoop.files import claim, set_aside
from knoop.refusals import damaged, lacks_room, not_opened, reason, refused, result_code
from knoop.worker import Worker

_log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE_BYTES = 1024
WAL_PAGES = 1000  # SQLite's default: a checkpoint once a megabyte, so that a hot page is copied back seldom
BUSY_S = 5.0


class LimitReached(StoreError):
    """The database has grown to its own limit: deleting rows makes room."""


class Database:
    """One file, one connection, one thread.

    `migrations` are SQL scripts; the file's `user_version` says how many it has seen. `max_bytes` bounds the
    file and its write-ahead log together. `check` reads the whole file at opening, which only a small one is
    worth. `keep` leaves a copy beside the file before it is migrated: `NAME.v1` is one of version 1. A corrupt
    file is renamed to `NAME.corrupt-<n>` and replaced by an empty one, at opening or when it shows later;
    `set_aside` then names the copy.

    A disk that takes nothing at opening does not stop anybody: what is there can be read until it does, and what is
    written tries to open the file anew (docs/adr/0031); `blank` where it cannot be read either. `trouble` is what the
    disk refused last, None once a durable change went through after it. `begun` and `ended` count calls, which a disk
    that hangs keeps apart, `replaced` how often a corrupt file was, `undone` the transactions that changed nothing.
    """

    def __init__(
        self, path: Path, *, migrations: Sequence[str], max_bytes: int | None = None, check: bool = False,
        keep: bool = False,
    ) -> None:  # fmt: skip
        if max_bytes is not None and max_bytes < 64 * PAGE_BYTES:
            raise ValueError(f"{path}: a database of {max_bytes} bytes is too small; {64 * PAGE_BYTES} is the least")
        self.path = path
        self.set_aside: Path | None = None
        self.trouble: StoreError | None = None
        self.begun = self.ended = self.replaced = self.undone = 0
        self._viewing = self.blank = False
        self._migrations = migrations
        self._pages = max_bytes // PAGE_BYTES if max_bytes else None
        self._check = check
        self._keep = keep
        self._thread: Worker | None = None
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open the file, made with mode 0600 where absent. Raises StoreError for what is not the disk's doing."""
        self._thread = Worker(self.path.name)
        try:
            await self._in_thread(self._begin)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was begun, fold the write-ahead log in and close. Closing twice is fine.

        Who does not wait for that loses nothing that was confirmed: the next start reads the log.
        """
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

    async def prove(self) -> None:
        """Write a page and have it on the disk, or raise StoreError: whether it works shows only when it is used."""
        await self.run(lambda db: db.execute(f"PRAGMA user_version = {len(self._migrations)}"))
        self.trouble = None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError(f"{self.path}: the database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._counted, call)

    # From here on everything runs in the worker thread.

    def _counted(self, call: Callable[[], T]) -> T:
        self.begun += 1
        try:
            return call()
        except StoreError as error:
            if error.reason != "other":
                self.trouble = error
            raise
        finally:
            self.ended += 1

    def _transaction(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        mends = [self._afresh, self._replace]  # what a failing disk gives may look damaged, and be whole when read anew
        try:
            while True:
                try:
                    return self._attempt(work, durable=durable)
                except sqlite3.DatabaseError as error:
                    if self._viewing and result_code(error) == sqlite3.SQLITE_READONLY:
                        self._stop_looking()
                    elif damaged(error) and mends:
                        mends.pop(0)(error)
                    else:
                        raise
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            text = f"{self.path}: {error.strerror or error}; check the disk and who may write there"
            raise StoreError(text, reason(error)) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        if self._connection is None:  # replacing a corrupt file failed half-way
            self._open()
        db = self._connection
        assert db is not None
        before = db.total_changes
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            self.undone += 1
            if db.in_transaction:  # SQLite ends some failed transactions itself
                db.execute("ROLLBACK")
            raise
        if durable and db.total_changes != before:
            self.trouble = None
        return result

    def _begin(self) -> None:
        """Open it; where the disk does not let us, look at what is there."""
        try:
            self._open()
        except StoreError as error:
            if error.reason == "other":
                raise
            self._look()
            self.trouble = error
            _log.error("%s (until then what is there is only read, and nothing new is kept)", error)

    def _stop_looking(self) -> None:
        """Open it after all, or look on; raises StoreError."""
        view, self._connection = self._connection, None
        if view is not None and not self._keep:  # SQLite lets nobody write beside it
            view.close()
        try:
            self._open()
            self._viewing = self.blank = False
        except StoreError:
            if self._keep and not self.blank:
                self._connection = view  # what was read once may not be read again
            else:
                self._look()
            raise

    def _afresh(self, error: sqlite3.DatabaseError) -> None:
        _log.error("%s: %s; reading it anew", self.path, error)
        self._close()
        self._viewing = self.blank = False
        self._open()

    def _look(self) -> None:
        """Read what is there without writing; where that fails as well, nothing is there."""
        self._viewing, self.blank = True, False
        try:
            db = self._view()
        except (OSError, sqlite3.DatabaseError) as error:
            _log.error("%s: cannot be read either (%s); what it knows is missing until it can be", self.path, error)
            self.blank, db = True, sqlite3.connect(":memory:", isolation_level=None)
            self._migrate(db, 0)
        db.execute("PRAGMA query_only = ON")
        self._connection = db

    def _view(self) -> sqlite3.Connection:
        """The file as it is, or a copy in memory, brought up to date, of one that is small and precious."""
        log = Path(f"{self.path}-wal")
        hot = log.exists() and log.stat().st_size > 0
        # SQLite writes files even to read (wal.html §8), unless told that these are as they will stay.
        way = "readonly_shm=1" if hot else "immutable=1"
        db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&{way}", uri=True, isolation_level=None)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if self._check and (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        if not self._keep:
            if version == len(self._migrations):
                return db
            raise sqlite3.DatabaseError(f"version {version} of its tables is not this one's")
        memory = sqlite3.connect(":memory:", isolation_level=None)
        with closing(db):
            db.backup(memory)
        self._migrate(memory, version)
        return memory

    def _open(self) -> None:
        try:
            try:
                self._connect()
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                self._replace(error)
        except sqlite3.DatabaseError as error:
            self._close()
            raise self._explain(error) from error
        except OSError as error:
            self._close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(*not_opened(self.path, error)) from error

    def _connect(self) -> None:
        claim(self.path)
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
        db.execute("PRAGMA secure_delete = FAST")  # Debian builds SQLite with ON: every deleted row is overwritten
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA cache_size = -1024")
        wal_pages = WAL_PAGES if self._pages is None else min(WAL_PAGES, self._pages // 8)
        db.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")
        db.execute(f"PRAGMA journal_size_limit = {2 * wal_pages * PAGE_BYTES}")  # after one large transaction
        if self._keep and 0 < version < len(self._migrations):
            self._copy(db, version)
        self._migrate(db, version)
        if self._pages is not None:
            self._bound(db, self._pages - wal_pages)

    def _migrate(self, db: sqlite3.Connection, version: int) -> None:
        """All or nothing, from `version` on. A node that starts and a command beside it begin the same; one does it."""
        newest, script = len(self._migrations), ";".join(self._migrations[version:])
        if not script:
            return
        try:
            db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {newest}; COMMIT;")
        except sqlite3.OperationalError:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if db.execute("PRAGMA user_version").fetchone() != (newest,):
                raise

    def _bound(self, db: sqlite3.Connection, pages: int) -> None:
        """Let the file grow to `pages`. One that is larger but holds less, after a migration, is made smaller first."""
        (has,), (free,) = (db.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "freelist_count"))
        if has - free <= pages < has:
            try:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.OperationalError as error:
                _log.warning("%s: stays larger than it was to be (%s)", self.path, error)
        db.execute(f"PRAGMA max_page_count = {pages}")

    def _copy(self, db: sqlite3.Connection, version: int) -> None:
        """What the Knoop before this one can go on with. Without room for it nothing is migrated."""
        copy = self.path.with_name(f"{self.path.name}.v{version}")
        copy.unlink(missing_ok=True)
        claim(copy)
        with closing(sqlite3.connect(copy)) as kept:
            db.backup(kept)
        _log.warning("%s: of an older Knoop; kept as %s before it is brought up to date", self.path, copy)

    def _replace(self, error: sqlite3.DatabaseError) -> None:
        """Set the corrupt file and its log aside and open an empty one in its place.

        Raises OSError where the disk cannot read it: what it is then, nobody knows.
        """
        self._close()
        self.set_aside = set_aside(self.path)
        _log.error("%s: %s; kept as %s, starting with an empty one", self.path, error, self.set_aside)
        self.replaced += 1
        self._connect()

    def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except sqlite3.DatabaseError as error:
                _log.warning("%s: not closed cleanly: %s", self.path, error)

    def _explain(self, error: sqlite3.DatabaseError) -> Exception:
        """The error for one of the disk's, or our own limit; one of our own SQL stays what it is."""
        if result_code(error) == sqlite3.SQLITE_FULL and not lacks_room(self.path.parent):
            return LimitReached(f"{self.path}: the database has reached its limit; raise [storage] max")
        said = refused(self.path, error)
        return StoreError(*said) if said else error
