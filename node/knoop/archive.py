"""The file that `knoop export` writes and `knoop import` reads: a tar.gz with a manifest in front.

Reading trusts nothing: only plain files with names that were expected, of the sizes and digests that the manifest
gives, one after the other. No link, device, extended header or path of the archive's own is ever followed, and no more
is unpacked than was announced.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from knoop.errors import NodeError
from knoop.files import sync

FORMAT = 1
MANIFEST = "manifest.json"
MODE = 0o600
PART = 2**16
BLOCK = 512  # of a tar file
MANIFEST_BYTES = 2**18
MOST_FILES = 200  # twice as many as a configuration may have
SPEED = 3  # of gzip's nine: 64 MB of readings take a Raspberry Pi seconds, and the next steps save little
LARGEST = {"config": 2**20, "state": 2**33 - 1, "board": 2**20}  # bytes of one file; a tar header knows no more
CHANGED = "changed while it was read; try again"
NAME_CHARACTERS = 100  # what a tar header holds in one field
_PART = r"[A-Za-z0-9_@+%=-][A-Za-z0-9_@+%=., -]{0,63}"
NAME = re.compile(rf"config/{_PART}(/{_PART}){{0,4}}|state/(state|readings)\.db|(state|board)/(counters|outputs)\.json")


class NoExport(NodeError):
    """The file is no export, is damaged, or has something in it that no export has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file: `config/NAME`, `state/NAME` or `board/NAME`, its size in bytes and its SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if type(self.bytes) is not int:
            raise TypeError(self)
        if not fits(self.name):
            raise ValueError(f"has a file {self.name!r}, which no export has")
        if not 0 <= self.bytes <= LARGEST[self.name.partition("/")[0]]:
            raise ValueError(f"has a file {self.name!r} of {self.bytes} bytes, which is too much")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"has no digest for {self.name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in an export: by which Knoop, when (UTC), of which node; `main` is the configuration's file."""

    knoop: str
    made: str
    node: str
    main: str
    files: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(said, str) for said in (self.knoop, self.made, self.node, self.main)):
            raise TypeError(self)
        names = [entry.name for entry in self.files]
        if len(names) > MOST_FILES or len({name.lower() for name in names}) != len(names):
            raise ValueError(f"has more than {MOST_FILES} files, or two whose names differ by case at most")
        if f"config/{self.main}" not in names or "/" in self.main:
            raise ValueError("has no configuration")


def fits(name: str) -> bool:
    """Whether a file of this name in the archive would be read back."""
    return NAME.fullmatch(name) is not None and len(name) <= NAME_CHARACTERS


def entry(name: str, file: Path) -> Entry:
    """What the manifest says of this file. Raises OSError, and ValueError for one that no export may have."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as content:
        while part := content.read(PART):
            digest.update(part)
            size += len(part)
    return Entry(name=name, bytes=size, sha256=digest.hexdigest())


def write(target: Path, manifest: Manifest, sources: Sequence[Path], *, at_s: int) -> None:
    """Have the archive on the disk, mode 0600, when this returns; `sources` belong to the manifest's files, in order.

    `at_s`: what time its files get. Raises OSError, or NodeError for a file that changed meanwhile; then what was there
    before still is.
    """
    beside = target.with_name(f".{target.name}.new")
    try:
        with os.fdopen(_new(beside), "wb") as raw:
            with gzip.GzipFile("", "wb", SPEED, raw, mtime=at_s) as packed:
                text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1).encode()
                _add(packed, MANIFEST, len(text), io.BytesIO(text), at_s)
                for one, source in zip(manifest.files, sources, strict=True):
                    with source.open("rb") as content:
                        if _add(packed, one.name, one.bytes, content, at_s) != one.sha256:
                            raise NodeError(f"{one.name} {CHANGED}")
                packed.write(bytes(2 * BLOCK))
            raw.flush()
            os.fsync(raw.fileno())
        beside.replace(target)
        sync(target.parent)
    finally:
        beside.unlink(missing_ok=True)


def _new(file: Path) -> int:
    """A new file of nobody else's."""
    file.unlink(missing_ok=True)
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)


def _add(packed: gzip.GzipFile, name: str, size: int, content: IO[bytes], at_s: int) -> str:
    """Returns the digest of what went in."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, MODE, at_s
    packed.write(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    digest, left = hashlib.sha256(), size
    while left:
        part = content.read(min(PART, left))
        if not part:
            raise NodeError(f"{name} {CHANGED}")
        digest.update(part)
        packed.write(part)
        left -= len(part)
    packed.write(bytes(-size % BLOCK))
    return digest.hexdigest()


@contextmanager
def opened(file: Path) -> Iterator[tuple[Manifest, Callable[[Entry, Path], None]]]:
    """The manifest of an archive, and how to unpack: call it once for each of its files, in their order.

    That writes a new file, mode 0600, and has it on the disk; the caller removes it again should anything fail. Raises
    NoExport for whatever is not as it should be, OSError for the disk's own.
    """
    with file.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
        with _judged(file):
            manifest = _manifest(_take(stream, _header(stream, MANIFEST, MANIFEST_BYTES)))

        def unpack(one: Entry, target: Path) -> None:
            with _judged(file):
                _unpack(stream, one, target)

        yield manifest, unpack


@contextmanager
def _judged(file: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.HeaderError, ValueError) as error:
        why = f"it {error}" if str(error).startswith("has ") else "it is damaged, or something else"
        raise NoExport(f"{file} is no export of Knoop: {why}; nothing was changed") from None


def _header(stream: gzip.GzipFile, name: str, most: int) -> int:
    """The size of the next file, which is to be this one."""
    info = tarfile.TarInfo.frombuf(stream.read(BLOCK), "ascii", "strict")
    if info.type != tarfile.REGTYPE or info.name != name:
        raise ValueError(f"has something else where {name!r} should be")
    if not 0 <= info.size <= most:
        raise ValueError(f"has a file {name!r} of {info.size} bytes, which is too much")
    return info.size


def _take(stream: gzip.GzipFile, size: int) -> bytes:
    """So many bytes, without those that fill the last block up."""
    content = stream.read(size)
    padding = -size % BLOCK
    if len(content) != size or len(stream.read(padding)) != padding:
        raise EOFError
    return content


def _manifest(text: bytes) -> Manifest:
    try:
        raw: Any = json.loads(text)
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise ValueError(f"has another format than this Knoop knows ({FORMAT})")
        files = tuple(Entry(**one) for one in raw.pop("files"))
        manifest = Manifest(**raw, files=files)
    except (TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("has no manifest that can be read") from None
    return manifest


def _unpack(stream: gzip.GzipFile, one: Entry, target: Path) -> None:
    if _header(stream, one.name, one.bytes) != one.bytes:
        raise ValueError(f"has another size of {one.name!r} than it says")
    digest, left = hashlib.sha256(), one.bytes
    with os.fdopen(_new(target), "wb") as made:
        while left:
            part = stream.read(min(PART, left))
            if not part:
                raise EOFError
            digest.update(part)
            made.write(part)
            left -= len(part)
        made.flush()
        os.fsync(made.fileno())
    padding = -one.bytes % BLOCK
    if len(stream.read(padding)) != padding:
        raise EOFError
    if digest.hexdigest() != one.sha256:
        raise ValueError(f"has another content of {one.name!r} than its digest says")
