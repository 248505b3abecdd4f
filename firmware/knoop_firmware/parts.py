"""An image taken apart without mounting it: its partitions, and the files of each.

Needs Debian's fdisk, mtools, squashfs-tools and e2fsprogs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from knoop_firmware.tools import run

SECTOR = 512
NAMES = ("boot", "system", "data")  # FAT, squashfs, ext4, in this order (docs/adr/0045)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A partition: where it begins and how long it is, in bytes."""

    name: str
    start: int
    size: int


def partitions(image: Path) -> list[Part]:
    """The three of an image of ours. Raises BuildError, or ValueError where it has others."""
    table = json.loads(run("sfdisk", "--json", image))["partitiontable"]["partitions"]
    if len(table) != len(NAMES):
        raise ValueError(f"{image}: {len(table)} partitions, not {len(NAMES)}: no image of Knoop's")
    return [
        Part(name=name, start=one["start"] * SECTOR, size=one["size"] * SECTOR)
        for name, one in zip(NAMES, table, strict=True)
    ]


def extract(image: Path, part: Part, folder: Path) -> Path:
    """The files of a partition in a new folder; ext4's without what belongs to the file system itself."""
    if part.name == "boot":
        folder.mkdir()
        run("mcopy", "-s", "-m", "-n", "-Q", "-i", f"{image}@@{part.start}", "::*", folder)
    elif part.name == "system":
        run("unsquashfs", "-quiet", "-no-progress", "-offset", str(part.start), "-dest", folder, image)
    else:
        folder.mkdir()
        alone = folder.with_suffix(".ext4")
        run("dd", f"if={image}", f"of={alone}", "bs=1M", "iflag=skip_bytes,count_bytes", f"skip={part.start}",
            f"count={part.size}", "conv=sparse", "status=none")  # fmt: skip
        run("debugfs", "-R", f"rdump / {folder}", alone)
        alone.unlink()
        if (folder / "lost+found").is_dir():
            (folder / "lost+found").rmdir()
    return folder
