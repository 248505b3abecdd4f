"""Two builds of an image: which bytes differ, in which partition and file, and why, where that is known.

    python -m knoop_firmware.compare A.img B.img        # or two folders; exit status 0 the same, 1 not

What is known to differ, and was not known to be avoidable, has its reason in WHY.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from knoop_firmware.parts import Part, extract, partitions
from knoop_firmware.tools import scratch

CHUNK = 1 << 20
# What is known to differ, by the path in its partition, the first that fits.
WHY = (
    (r".*\.pyc", "compiled Python has the time of its source in it, or was compiled from another source"),
    (r"boot/cmdline.*\.txt", "names the card by a number made from the system partition: see what differs there"),
    (r"boot/initramfs\.img", "made of Debian's packages and modules: another version of one"),
    (r"boot/(vmlinuz|.*\.dtb)", "comes from Debian's kernel package: another version"),
    (r"system/usr/share/knoop-image/.*", "the list of packages: another version of one of them"),
    (r"system/usr/(lib|share/doc)/knoop/.*|.*/knoop[^/]*\.(service|socket|timer|conf|rules)", "Knoop's own package"),
    (r".*/RECORD", "pip's list of what it installed, with hashes: see the files it names"),
    (r"system/etc/ssl/certs/.*", "made by ca-certificates while it was installed"),
    (r"system/etc/ld\.so\.cache|system/var/cache/ldconfig/.*", "made by ldconfig while packages were installed"),
    (r"system/.*", "comes from Debian: compare the two lists of packages"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Span:
    """Some bytes of a file."""

    path: Path
    start: int
    size: int

    @classmethod
    def whole(cls, path: Path) -> _Span:
        return cls(path, 0, path.stat().st_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`where`: a partition, with the path of a file of it. `what` differs, and `why` ("" where that is not known)."""

    where: str
    what: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}{f'; {self.why}' if self.why else ''}"


def images(one: Path, other: Path) -> list[Difference]:
    """All that differs between two images; empty when they are the same to the last byte."""
    count, first, _ = _bytes(_Span.whole(one), _Span.whole(other))
    if not count:
        return []
    found = []
    parts = [*zip(partitions(one), partitions(other), strict=True)]
    head, at, _ = _bytes(_Span(one, 0, parts[0][0].start), _Span(other, 0, parts[0][1].start))
    if head:
        why = "the number of the card, made from the system partition" if 440 <= at < 446 else "the partition table"
        found.append(Difference(where="before the partitions", what=f"{head} bytes from byte {at}", why=why))
    with scratch("knoop-compare-") as work:
        for a, b in parts:
            found += _partition(one, other, a, b, work)
    return found or [Difference(where="between the partitions", what=f"{count} bytes from byte {first}")]


def _partition(one: Path, other: Path, a: Part, b: Part, work: Path) -> Iterator[Difference]:
    count, first, last = _bytes(_Span(one, a.start, a.size), _Span(other, b.start, b.size))
    if not count:
        return
    what = f"{count} bytes between byte {first} and byte {last}"
    if a.size != b.size:
        what += f"; {a.size} and {b.size} bytes long"
    inside = [*folders(extract(one, a, work / f"{a.name}-a"), extract(other, b, work / f"{a.name}-b"), a.name)]
    why = f"{len(inside)} files, below" if inside else "all files are the same: pressed otherwise, or its own records"
    yield Difference(where=a.name, what=what, why=why)
    yield from inside


def folders(one: Path, other: Path, name: str = "") -> Iterator[Difference]:
    """What differs between two trees: files, links, rights, owners and times."""
    ours, theirs = _tree(one), _tree(other)
    for path in sorted({*ours, *theirs}):
        where = f"{name}/{path}" if name else path
        if path not in theirs or path not in ours:
            yield Difference(where=where, what=f"only in the {'first' if path in ours else 'second'}", why=_why(where))
        elif what := _differs(ours[path], theirs[path]):
            yield Difference(where=where, what=what, why=_why(where) if what.startswith("its bytes") else "")


def _tree(root: Path) -> dict[str, Path]:
    found = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder) / name
            found[str(path.relative_to(root))] = path
    return found


def _differs(one: Path, other: Path) -> str:
    a, b = one.lstat(), other.lstat()
    if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
        return "a file, a folder or a link in the one and something else in the other"
    if one.is_symlink():
        return "" if one.readlink() == other.readlink() else f"a link to {one.readlink()} and to {other.readlink()}"
    said = []
    if one.is_file():
        count, first, _ = _bytes(_Span.whole(one), _Span.whole(other))
        if count:
            said.append(f"its bytes ({count} of {a.st_size}, from byte {first})")
    if stat.S_IMODE(a.st_mode) != stat.S_IMODE(b.st_mode):
        said.append(f"its rights ({stat.S_IMODE(a.st_mode):04o} and {stat.S_IMODE(b.st_mode):04o})")
    if (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid):
        said.append(f"its owner ({a.st_uid}:{a.st_gid} and {b.st_uid}:{b.st_gid})")
    if int(a.st_mtime) != int(b.st_mtime):
        said.append(f"its time ({int(a.st_mtime)} and {int(b.st_mtime)})")
    return ", ".join(said)


def _bytes(a: _Span, b: _Span) -> tuple[int, int, int]:
    """How many bytes differ, the first and the last of them; what only one has counts whole."""
    count, first, last = 0, -1, -1
    with a.path.open("rb") as left, b.path.open("rb") as right:
        left.seek(a.start)
        right.seek(b.start)
        for at in range(0, max(a.size, b.size), CHUNK):
            ours = left.read(max(0, min(CHUNK, a.size - at)))
            theirs = right.read(max(0, min(CHUNK, b.size - at)))
            if ours != theirs:
                places = [n for n, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y]
                places += range(min(len(ours), len(theirs)), max(len(ours), len(theirs)))
                count += len(places)
                first = at + places[0] if first < 0 else first
                last = at + places[-1]
    return count, first, last


def _why(where: str) -> str:
    return next((why for pattern, why in WHY if re.fullmatch(pattern, where)), "")


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    one, other = map(Path, arguments)
    found = [*folders(one, other)] if one.is_dir() else images(one, other)
    print("\n".join(map(str, found)) or "The same, to the last byte.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
