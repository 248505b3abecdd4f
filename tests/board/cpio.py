"""Archives that a Linux kernel unpacks into memory at boot (its early-userspace/buffer-format.rst)."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LAST = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, folder (no content) or link (its target); `mode` as in stat(2)."""

    path: str
    mode: int
    content: bytes = b""


def folder(path: str) -> Entry:
    return Entry(path=path, mode=stat.S_IFDIR | 0o755)


def file(path: str, content: bytes, *, executable: bool = False) -> Entry:
    return Entry(path=path, mode=stat.S_IFREG | (0o755 if executable else 0o644), content=content)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, mode=stat.S_IFLNK | 0o777, content=target.encode())


def tree(source: Path, path: str) -> Iterable[Entry]:
    """Everything below `source`, as it will be below `path`."""
    yield folder(path)
    for item in sorted(source.rglob("*")):
        name = f"{path}/{item.relative_to(source)}"
        if item.is_symlink():
            yield link(name, str(item.readlink()))
        elif item.is_dir():
            yield folder(name)
        else:
            yield file(name, item.read_bytes(), executable=bool(item.stat().st_mode & 0o100))


def write(archive: BinaryIO, entries: Iterable[Entry]) -> None:
    """Append the entries in this order, everything owned by root. A kernel also unpacks several archives in a row."""
    for number, entry in enumerate((*entries, Entry(path=LAST, mode=0)), start=1):
        name = entry.path.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        archive.write(_padded(b"070701" + b"".join(b"%08X" % field for field in fields) + name))
        archive.write(_padded(entry.content))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
