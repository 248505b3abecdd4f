"""A card with the image on it, as its owner has it in a card reader: the FAT partition's files, and what lies where.

Nothing is mounted: mtools and debugfs read and write the file at the partitions' offsets. While a board runs from the
card only read it; what the board has not written yet is not there.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
SIZE = 4 << 30  # a small card; QEMU's SD controller wants a power of two
QUIETLY = {**os.environ, "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "MTOOLS_LOWER_CASE": "0"}


@dataclass(frozen=True, slots=True)
class Partition:
    """An entry of the MBR; in bytes."""

    start: int
    size: int
    kind: int


@dataclass(frozen=True, slots=True)
class Card:
    """The card's content is `file`, of SIZE bytes and sparse."""

    file: Path

    @classmethod
    def flashed(cls, image: Path, file: Path) -> Card:
        """A card to which the image was written."""
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image), str(file)], check=True)
        assert file.stat().st_size <= SIZE, f"{image} does not fit onto a card of {SIZE >> 30} GiB"
        os.truncate(file, SIZE)
        return cls(file)

    def twin(self, file: Path) -> Card:
        """Another card with the same content."""
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(self.file), str(file)], check=True)
        return Card(file)

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """Those that are there."""
        with self.file.open("rb") as opened:
            record = opened.read(SECTOR)
        assert record[510:] == b"\x55\xaa", f"{self.file} has no partition table"
        found = []
        for at in range(446, 510, 16):
            kind = record[at + 4]
            start, count = struct.unpack_from("<II", record, at + 8)
            if kind:
                found.append(Partition(start * SECTOR, count * SECTOR, kind))
        return tuple(found)

    def names(self) -> frozenset[str]:
        """Every file of the FAT partition, with its folder: `overlays/w1-gpio.dtbo`."""
        done = self._mtools("mdir", "-/", "-b", "::")
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
        lines = done.stdout.decode("utf-8").splitlines()
        return frozenset(line.removeprefix("::/") for line in lines if line and not line.endswith("/"))

    def read(self, name: str) -> bytes:
        """A file of the FAT partition. Raises FileNotFoundError."""
        done = self._mtools("mcopy", f"::/{name}", "-")
        if done.returncode:
            raise FileNotFoundError(f"{name}: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout

    def text(self, name: str) -> str:
        """The same as text; '' when it is not there."""
        try:
            return self.read(name).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def write(self, name: str, content: bytes | str) -> None:
        """Put a file there, as an editor does: the old one goes."""
        data = content.encode() if isinstance(content, str) else content
        done = self._mtools("mcopy", "-o", "-", f"::/{name}", feed=data)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")

    def litter(self, content: bytes) -> int:
        """Have `content` at the start of every free sector, as deleted files leave theirs; returns of how many."""
        listed = self._mtools("mdir", "::").stdout.decode("utf-8")
        free = re.search(r"([0-9 ]+) bytes free", listed)
        assert free, listed
        sectors = int(free[1].replace(" ", "")) // SECTOR
        self.write("litter", content.ljust(SECTOR, b"\1") * sectors)
        assert self._mtools("mdel", "::/litter").returncode == 0
        return sectors

    def extract(self, name: str, folder: Path) -> Path:
        """A copy of a FAT file beside the card."""
        copy = folder / name.rpartition("/")[2]
        copy.write_bytes(self.read(name))
        return copy

    def fat(self) -> bytes:
        """The whole FAT partition, with what deleted files left behind."""
        first = self.partitions[0]
        with self.file.open("rb") as opened:
            opened.seek(first.start)
            return opened.read(first.size)

    def holds(self, secret: bytes) -> list[str]:
        """Where on the card these bytes stand, partition by partition; holes of the file are skipped."""
        return [
            f"partition {number} at {at - partition.start:#x}"
            for number, partition in enumerate(self.partitions, 1) for at in self._places(secret, partition)
        ]

    def data(self, path: str) -> bytes:
        """A file of the data partition, as it was written when the power went. Raises FileNotFoundError."""
        last = self.partitions[-1]
        done = subprocess.run(
            ["debugfs", "-R", f"cat {path}", f"{self.file}?offset={last.start}"], capture_output=True, check=False,
        )
        if b"File not found" in done.stderr:
            raise FileNotFoundError(f"{path} is not on the data partition")
        return done.stdout

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)

    def _places(self, secret: bytes, within: Partition) -> list[int]:
        found, size, end = [], 1 << 22, within.start + within.size
        with self.file.open("rb") as opened:
            at = within.start
            while at < end:
                try:
                    at = os.lseek(opened.fileno(), at, os.SEEK_DATA)
                except OSError:  # nothing but a hole is left
                    break
                if at >= end:
                    break
                block = os.pread(opened.fileno(), min(size, end - at), at)
                where = block.find(secret)
                while where >= 0:
                    found.append(at + where)
                    where = block.find(secret, where + 1)
                at += max(len(block) - len(secret) + 1, 1) if len(block) == size else len(block)
        return found

    def _mtools(self, program: str, *arguments: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        where = f"{self.file}@@{self.partitions[0].start}"
        return subprocess.run(
            [shutil.which(program) or program, "-i", where, *arguments], input=feed, capture_output=True, check=False,
            env=QUIETLY,
        )
