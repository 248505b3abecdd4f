"""Several files that appear together at the end, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from knoop.errors import StoreError
from knoop.files import sync


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A file to be: its text, its mode, and whether what is there now is kept beside it.

    `group`: which group's it will be (None: one's own); `private`: a folder that is made for it is one's own alone.
    """

    text: str
    mode: int
    keep: bool = True
    group: int | None = None
    private: bool = False


@contextmanager
def drafted(files: Mapping[Path, Draft]) -> Iterator[Callable[[], list[Path]]]:
    """Write all of it beside its place, on disk; calling what this yields puts each into its place, in order.

    That returns where files that were there are now: `node.toml` is kept as `node.toml.old`. Without the call, and
    whatever happens, nothing is left. Raises StoreError.
    """
    made: dict[Path, Path] = {}
    keep = [file for file, draft in files.items() if draft.keep]
    folders: list[Path] = []
    try:
        for file, draft in files.items():
            try:
                folders += _folder(file.parent, 0o700 if draft.private else 0o777)
                made[file] = _write(file, draft)
            except OSError as error:
                text = f"{file.parent}: {error.strerror}; name a folder you may write to with --directory"
                raise StoreError(text) from None
        yield lambda: _publish(made, folders, keep)
    finally:
        for temporary in made.values():
            temporary.unlink(missing_ok=True)
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()


def _folder(folder: Path, mode: int) -> list[Path]:
    """Make it with its parents; returns those that were made."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()][::-1]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    return missing


def _write(file: Path, draft: Draft) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as content:
            content.write(draft.text)
            content.flush()
            if draft.group is not None:
                os.fchown(content.fileno(), -1, draft.group)
            os.fchmod(content.fileno(), draft.mode)
            os.fsync(content.fileno())  # a node's only copy of its password: a power cut must not lose it
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


def _publish(made: dict[Path, Path], folders: list[Path], keep: Collection[Path]) -> list[Path]:
    kept = []
    for file in [*made]:
        if file in keep and file.exists():
            kept.append(file.replace(_former(file)))
        made.pop(file).replace(file)
        sync(file.parent)
    folders.clear()
    return kept


def _former(file: Path) -> Path:
    """A name for what was there that nothing has: FILE.old, FILE.old2, …"""
    number = 1
    while (place := file.with_name(f"{file.name}.old{number if number > 1 else ''}")).exists():
        number += 1
    return place
