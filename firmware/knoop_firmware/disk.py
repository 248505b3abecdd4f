"""From folders to a card: three partitions in a file, made without mounting anything and without being root."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from knoop_firmware.tools import BuildError, run, scratch

MIB = 1 << 20
FIRST = 4  # MiB; SD cards erase in blocks of 4 MiB
BOOT = 128  # MiB: 60 used, the rest for a second kernel
DATA = 64  # MiB; it takes the rest of the card at the first boot
LABEL = "KNOOP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where partitions begin and how long they are, in MiB. Source: the file systems; nothing is left between them."""

    system: int

    @property
    def data_at(self) -> int:
        return FIRST + BOOT + self.system

    @property
    def total(self) -> int:
        return self.data_at + DATA


def squash(root: Path, target: Path, *, epoch: int) -> None:
    """`root` as a file system that cannot be written; the same bytes for the same content."""
    # -xattrs: file capabilities. 128 KiB blocks and zstd 9: see docs/image.md for what others cost.
    run("mksquashfs", root, target, "-comp", "zstd", "-Xcompression-level", "9", "-noappend", "-root-mode", "755",
        "-no-progress", "-quiet", env={"SOURCE_DATE_EPOCH": str(epoch)})  # fmt: skip


def card_number(system: Path) -> str:
    """The disk identifier of a card with this system: 8 hex digits, by which the initramfs knows it."""
    with system.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def write(image: Path, *, boot: Path, system: Path, number: str, epoch: int) -> None:
    """The whole card at `image`, sparse. Raises BuildError when the boot partition is too small."""
    layout = Layout(system=-(-system.stat().st_size // MIB))
    with image.open("wb") as card:
        card.truncate(layout.total * MIB)
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image, stdin=_table(layout, number).encode())
    with scratch("knoop-card-", image.parent) as work:
        fat, data = work / "boot.img", work / "data.img"
        _fat(fat, boot, number, epoch)
        _data(data, epoch)
        for part, at in ((fat, FIRST), (system, FIRST + BOOT), (data, layout.data_at)):
            run("dd", f"if={part}", f"of={image}", "bs=1M", f"seek={at}", "conv=notrunc,sparse", "status=none")


def _table(layout: Layout, number: str) -> str:
    return f"""label: dos
label-id: 0x{number}
unit: sectors
start={FIRST}MiB, size={BOOT}MiB, type=c, bootable
start={FIRST + BOOT}MiB, size={layout.system}MiB, type=83
start={layout.data_at}MiB, size={DATA}MiB, type=83
"""


def _fat(target: Path, content: Path, number: str, epoch: int) -> None:
    with target.open("wb") as file:
        file.truncate(BOOT * MIB)
    run("mkfs.vfat", "--invariant", "-F", "32", "-n", LABEL, "-i", number, target)
    for path in sorted(content.rglob("*")):
        os.utime(path, (epoch, epoch))
    if sum(path.stat().st_size for path in content.rglob("*")) > BOOT * MIB * 0.95:
        raise BuildError(f"What belongs on the boot partition does not fit into {BOOT} MiB: see BOOT in disk.py")
    env = {"SOURCE_DATE_EPOCH": str(epoch)}
    for folder in (content, *sorted(path for path in content.rglob("*") if path.is_dir())):
        place = f"::{folder.relative_to(content)}".removesuffix(".")
        if folder != content:
            run("mmd", "-i", target, place, env=env)
        if files := sorted(path for path in folder.iterdir() if path.is_file()):  # mcopy -s has its own order
            run("mcopy", "-Q", "-m", "-i", target, *files, place, env=env)


def _data(target: Path, epoch: int) -> None:
    """Empty. It grows a thousandfold, so its blocks are those of a large one; mke2fs would take 1 KiB."""
    with target.open("wb") as file:
        file.truncate(DATA * MIB)
    # Its number and its hash seed are the same on every card: neither is a secret, and two builds then differ less.
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-i", "16384", "-J", "size=8", "-m", "1", "-L", "knoop-data",
        "-U", "6b6e6f6f-7000-4000-8000-646174610000", "-E", "hash_seed=6b6e6f6f-7000-4000-8000-686173680000,"
        "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0", target,
        env={"SOURCE_DATE_EPOCH": str(epoch), "E2FSPROGS_FAKE_TIME": str(epoch)})  # fmt: skip
