"""`knoop export` and `knoop import`: a node in one file, for another card.

Export may run beside the node: SQLite's backup gives each database as it is at one moment. Import puts nothing into its
place before all of it is unpacked, of the right digest, and a database of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from knoop import __version__, archive, commands, config, installed, inventory, places
from knoop.archive import Entry, Manifest
from knoop.config import Config
from knoop.errors import NodeError, StoreError
from knoop.files import hand_over, sync
from knoop.xmpp import compat
from knoop_hw import places as common
from knoop_hw.clock import Clock, SystemClock
from knoop_hw.errors import ConfigError, DeviceError
from knoop_hw.life import lock
from knoop_hw.logs import printable

EX_FAILED = 1
BUSY_S = 10.0
SPARE_BYTES = 2**24  # what a disk should still have behind an import


def export(arguments: argparse.Namespace) -> int:
    """`knoop export`. Returns the exit code: 1 where something could not be taken along."""
    target = Path(arguments.file)
    if target.exists() and not arguments.force:
        raise NodeError(f"{target} is there already; name another file, or --force replaces it")
    loaded = _load(common.search(arguments.config))
    with _disk(target):
        state = arguments.state or common.state_of(loaded.file, "knoop")
        manifest, lacks = pack(loaded, state, target, clock=SystemClock())
    names = [one.name for one in manifest.files]
    if arguments.json:
        print(json.dumps({"ok": not lacks, "file": str(target), "files": names, "lacks": lacks}))  # noqa: T201
        return EX_FAILED if lacks else 0
    said = [f"{one.name} ({_size(one.bytes)})" if one.name.endswith(".db") else one.name for one in manifest.files]
    said += [f"Not in it: {lack}" for lack in lacks]
    password = "the account's password and " if _has_password(loaded, names) else ""
    said += [f"Wrote {target} (mode 600). It holds {password}all that the node knows: guard it.",
             "On the other card: knoop import. Stop this node first: two with one account throw each other out."]
    print("\n".join(map(printable, said)))  # noqa: T201 -- a command's output
    return EX_FAILED if lacks else 0


def pack(loaded: Config, state: Path, target: Path, *, clock: Clock) -> tuple[Manifest, list[str]]:
    """Write the archive; returns what is in it, and what could not be taken along. Raises NodeError or OSError."""
    has = inventory.configuration(loaded)
    own = (*(has.folder / name for name in has.files), *has.elsewhere, *inventory.remembered(state))
    if target.resolve() in {file.resolve() for file in own}:
        raise NodeError(f"{target} is this node's own file; give the export another name")
    found = [(f"config/{name}", has.folder / name) for name in has.files]
    lacks = [f"{file}: outside of {has.folder}; take it along by hand" for file in has.elsewhere]
    odd = [one for one in found if not archive.fits(one[0])]
    lacks += [f"{file}: its name is none for an export; rename it, or take it along by hand" for _, file in odd]
    found = [one for one in found if one not in odd]
    if loaded.xmpp.password_file and not loaded.xmpp.password_file.exists():
        lacks.append(f"the account's password: {loaded.xmpp.password_file} is not there")
    if loaded.xmpp.password_file is None:
        lacks.append(f"the account's password: it is systemd's credential '{places.PASSWORD_CREDENTIAL}'")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent) as beside:
        for part, folder in zip(("state", "board"), inventory.folders(state), strict=False):
            for name in inventory.BOARD:  # copied, too: a half that runs writes them anew
                if (source := folder / name).is_file():
                    found.append((f"{part}/{name}", shutil.copyfile(source, Path(beside, f"{part}-{name}"))))
        for name in inventory.DATABASES:
            if (source := state / name).is_file():
                found.append((f"state/{name}", _copied(source, Path(beside, name))))
            else:
                lacks.append(f"{source}: not there; --state names the folder where the node remembers")
        now_s = clock.time_ns() // 10**9
        made = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            entries = tuple(archive.entry(name, file) for name, file in found)
            manifest = Manifest(knoop=__version__, made=made, node=loaded.node.name, main=has.main, files=entries)
        except ValueError as error:
            raise NodeError(f"{target}: it {error}; move that out of the way") from None
        archive.write(target, manifest, [file for _, file in found], at_s=now_s)
    return manifest, lacks


def _has_password(loaded: Config, names: Collection[str]) -> bool:
    """Whether the file with the password is among those of an archive."""
    if loaded.xmpp.password_file is None:
        return False
    file, has = Path(os.path.abspath(loaded.xmpp.password_file)), inventory.configuration(loaded)  # noqa: PTH100 -- as there
    return any(has.folder / name == file and f"config/{name}" in names for name in has.files)


def _copied(source: Path, target: Path) -> Path:
    """A database as it is now, also while somebody writes to it."""
    target.touch(archive.MODE)
    there = f"{source.absolute().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(there, uri=True, timeout=BUSY_S)) as known, closing(sqlite3.connect(target)) as to:
            known.backup(to)
            to.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{source}: cannot be read ({error}); see `knoop doctor`") from error
    return target


def bring(arguments: argparse.Namespace) -> int:
    """`knoop import`. Returns the exit code: 1 where the node that came would not start like this."""
    with _disk(Path(arguments.file)):
        main = arguments.config or installed.default()
        state = arguments.state or common.state_of(main or Path(), "knoop")
        manifest, written = unpack(Path(arguments.file), main, state, force=arguments.force)
    findings: list[str] = []
    try:
        loaded = _load(written[f"config/{manifest.main}"])
        if installed.is_of(loaded.file):
            for key in inventory.of_the_board(loaded):
                installed.give(key, called=key.name, user=installed.BOARD)
        places.password(loaded)
    except ConfigError as error:
        findings = [str(problem) for problem in error.problems]
    if arguments.json:
        said = {"ok": not findings, "node": manifest.node, "written": list(map(str, written.values())),
                "findings": findings}  # fmt: skip
        print(json.dumps(said))  # noqa: T201 -- a command's output; escaped: an archive says what it likes
        return EX_FAILED if findings else 0
    lines = [f"Wrote {file}" for file in written.values()]
    lines += [f"{manifest.node}, as it was {manifest.made} (Knoop {manifest.knoop}).", *findings]
    lines.append("The old node must be off: two with one account throw each other out. Then:")
    lines += [f"  {command}" for command in _commands(written[f"config/{manifest.main}"], state)]
    print("\n".join(map(printable, lines)))  # noqa: T201 -- a command's output
    return EX_FAILED if findings else 0


def _commands(main: Path, state: Path) -> tuple[str, str]:
    """How to run a node that is there: a state that `knoop run` does not find is an owner that it does not know."""
    if installed.is_of(main) and installed.here():
        return "sudo knoop doctor", installed.START
    named = "" if main.resolve() == Path("node.toml").resolve() else f" --config {shlex.quote(str(main))}"
    usual = common.state_of(main, "knoop").resolve() == state.resolve()
    where = "" if usual else f"STATE_DIRECTORY={shlex.quote(str(state.absolute()))} "
    return f"knoop check{named}", f"{where}knoop run{named}"


def unpack(
    file: Path, main: Path | None, state: Path, *, force: bool = False
) -> tuple[Manifest, dict[str, Path]]:  # fmt: skip
    """Put an export into its place; `main` is the configuration's file, or its folder, there (None: here).

    Returns what it says of itself, and which of its files is where. Raises NodeError, OSError, or DeviceError while a
    node runs there; then nothing has changed.
    """
    with ExitStack() as stack:
        manifest, take = stack.enter_context(archive.opened(file))
        main = main or Path()
        inside = main.is_dir() or not (main.suffix or main.exists())  # /etc/knoop on a new card
        written = _placed(manifest, main / manifest.main if inside else main, state)
        there = [str(target) for target in written.values() if os.path.lexists(target)]
        if there and not force:
            raise NodeError(f"there already: {', '.join(there)}; import elsewhere (--config, --state), or --force")
        _with_room(manifest.files, state)
        for folder in dict.fromkeys(target.parent for name, target in written.items() if not name.startswith("config")):
            common.make_state(folder)
            taken = f"{folder} is in use by a node that runs; stop it first"
            stack.enter_context(lock(folder / "lock", taken=taken))
        staged = stack.enter_context(_staged(written))
        for one in manifest.files:
            take(one, staged[one.name])
            if (name := Path(one.name).name) in inventory.DATABASES:
                _must_be_ours(staged[one.name], inventory.DATABASES[name], called=f"{file}: its {name}")
        for target in written.values():
            if target.is_dir() and not target.is_symlink():
                raise NodeError(f"{target} is a folder, and a file goes there; nothing was changed")
        for name, target in written.items():
            _given(name, staged[name], target)
        # The configuration last, and of it the file that names the others: what is half done is no node yet.
        for name in sorted(written, key=lambda name: (name.startswith("config"), name == f"config/{manifest.main}")):
            for log in ("-wal", "-shm", "-journal") if name.endswith(".db") else ():
                Path(f"{written[name]}{log}").unlink(missing_ok=True)  # of a database that is there no more
            staged[name].replace(written[name])
            sync(written[name].parent)
    return manifest, written


def _given(name: str, staged: Path, target: Path) -> None:
    """Whose it will be: as root, the service's, or of each half's folder its owner's."""
    if not name.startswith("config"):
        hand_over([staged], target.parent)
    elif installed.is_of(target):
        installed.give(staged, called=target.name)


def _placed(manifest: Manifest, main: Path, state: Path) -> dict[str, Path]:
    """Where each file belongs. Raises NodeError where a link would lead somewhere else."""
    homes = {"config": main.absolute().parent, "state": state, "board": inventory.board(state)}
    placed = {}
    for one in manifest.files:
        part, _, name = one.name.partition("/")
        target = homes[part] / (main.name if one.name == f"config/{manifest.main}" else name)
        if not target.parent.resolve().is_relative_to(homes[part].resolve()):
            raise NodeError(f"{target.parent} leads out of {homes[part]}; take that link away first")
        placed[one.name] = target
    if len(set(placed.values())) != len(placed):
        raise NodeError(f"two files would be {main}; give --config another name")
    return placed


def _with_room(files: Sequence[Entry], state: Path) -> None:
    folder = next(place for place in (state, *state.absolute().parents) if place.exists())
    needed = sum(one.bytes for one in files) + SPARE_BYTES
    if (free := shutil.disk_usage(folder).free) < needed:
        raise StoreError(f"{folder}: {_size(needed)} are needed and {_size(free)} are free; make room first", "full")


@contextmanager
def _staged(written: dict[str, Path]) -> Iterator[dict[str, Path]]:
    """A name beside each place, of which nothing is left in the end, nor of folders that were made for nothing."""
    staged = {name: target.with_name(f".{target.name}.import") for name, target in written.items()}
    made = []
    try:
        for folder in dict.fromkeys(place.parent for place in staged.values()):
            missing = [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            installed.give_folders(one for one in missing if installed.is_of(one))
            made += missing
        yield staged
    finally:
        for place in staged.values():
            place.unlink(missing_ok=True)
        for folder in sorted(made, reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()


def _must_be_ours(file: Path, migrations: Sequence[str], *, called: str) -> None:
    """Whole, and with exactly the tables that this Knoop or one before it makes: no trigger, no view."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise NodeError(f"{called} is of a newer Knoop; install that one here first; nothing was changed")
            ours = version > 0 and _tables(db) == _expected(migrations[:version])
            sound = ours and db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.DatabaseError:
        sound = False
    if not sound:
        raise archive.NoExport(f"{called} is damaged, or no database of Knoop's; nothing was changed")


def _expected(migrations: Sequence[str]) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in migrations:
            db.executescript(script)
        return _tables(db)


def _tables(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    """All that a database consists of, as SQLite has it, but for how the text is broken into lines."""
    rows = db.execute("SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_master ORDER BY 1, 2").fetchall()
    return [(kind, name, table, " ".join(sql.split())) for kind, name, table, sql in rows]


@contextmanager
def _disk(file: Path) -> Iterator[None]:
    """Writing fails without saying where."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NodeError | DeviceError) or error.filename:
            raise
        raise StoreError(f"{file}: {error.strerror or error}; see to the disk and try again") from error


def _load(file: Path) -> Config:
    return config.load(file, jid=compat.jid, words=commands.words())


def _size(count: int) -> str:
    """For people: `3.1 MB`."""
    value, units = float(count), ["B", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
