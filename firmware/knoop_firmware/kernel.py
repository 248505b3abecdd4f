"""The kernel's modules that the boards need, and the initramfs: both made here, nothing arm64 runs."""

from __future__ import annotations

import lzma
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from knoop_firmware.recipe import EARLY, INIT, MODULES
from knoop_firmware.tools import BuildError, run

TABLES = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
STATIC = {"busybox": "busybox-static/usr/bin/busybox", "e2fsck": "e2fsck-static/usr/sbin/e2fsck.static"}


class Kernel:
    """An unpacked kernel package: where its parts are, and what each module needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.release = next((folder / "usr/lib/modules").iterdir()).name
        self.modules = folder / "usr/lib/modules" / self.release
        self.image = folder / "boot" / f"vmlinuz-{self.release}"
        self.trees = folder / "usr/lib" / f"linux-image-{self.release}" / "broadcom"
        lib = folder / "lib"  # depmod looks there, and Debian's packages no longer have it
        if not lib.exists():
            lib.symlink_to("usr/lib")
        if not (self.modules / "modules.dep").exists():
            run("depmod", "--basedir", folder, self.release)
        self.needs = dict(_needs(self.modules / "modules.dep"))

    def closure(self, paths: Iterable[str]) -> list[str]:
        """These modules with all that they need, what is needed first."""
        found: dict[str, None] = {}
        for path in paths:
            for needed in reversed(self.needs[path]):
                found[needed] = None
            found[path] = None
        return list(found)

    def called(self, name: str) -> str | None:
        """The path of a module; None when it is part of the kernel itself. Raises BuildError when there is none."""
        same = name.replace("-", "_")
        for path in self.needs:
            if PurePosixPath(path).name.partition(".")[0].replace("-", "_") == same:
                return path
        if re.search(rf"/{re.sub('[-_]', '[-_]', name)}\.ko$", (self.modules / TABLES[1]).read_text(), re.MULTILINE):
            return None
        raise BuildError(f"The kernel {self.release} has no module {name}: see EARLY in recipe.py")


def _needs(table: Path) -> Iterable[tuple[str, tuple[str, ...]]]:
    for line in table.read_text().splitlines():
        path, _, needed = line.partition(":")
        yield path, tuple(needed.split())


def install_modules(kernel: Kernel, root: Path) -> None:
    """The modules that MODULES names, with what they need, into `root`."""
    if gone := [prefix for prefix in MODULES if not any(_named(path, prefix) for path in kernel.needs)]:
        raise BuildError(f"The kernel {kernel.release} has no {' '.join(gone)}: see MODULES in recipe.py")
    wanted = kernel.closure(path for path in kernel.needs if any(_named(path, prefix) for prefix in MODULES))
    target = root / "usr/lib/modules" / kernel.release
    for path in (*wanted, *TABLES):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(kernel.modules / path, target / path)
    run("depmod", "--basedir", root, kernel.release)

def _named(path: str, prefix: str) -> bool:
    name = path.removeprefix("kernel/")
    if prefix.endswith("/*.ko.xz"):
        return PurePosixPath(name).match(prefix)
    return name.startswith(prefix) if prefix.endswith("/") else name == prefix


def initramfs(kernel: Kernel, pieces: Path, work: Path, *, epoch: int) -> bytes:
    """What the kernel unpacks first: busybox, e2fsck, the modules of EARLY and firmware/initramfs/init."""
    tree = work / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "etc"):
        (tree / name).mkdir(parents=True)
    for name, place in STATIC.items():
        shutil.copyfile(pieces / place, tree / "bin" / name)
        (tree / "bin" / name).chmod(0o755)
    shutil.copyfile(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    _early(kernel, tree)
    paths = sorted(tree.rglob("*"))
    for path in paths:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    listed = "".join(f"{path.relative_to(tree)}\n" for path in paths).encode()
    archive = run("cpio", "--create", "--quiet", "--format=newc", "--owner=0:0", "--reproducible", "--directory", tree,
                  stdin=listed)  # fmt: skip
    (work / "initramfs.cpio").write_bytes(archive)
    return run("zstd", "--quiet", "-19", "--stdout", work / "initramfs.cpio")


def _early(kernel: Kernel, tree: Path) -> None:
    """Unpacked already, since busybox need not know how; in the order in which they are loaded."""
    wanted = [path for name in EARLY if (path := kernel.called(name))]
    home = tree / "lib/modules" / kernel.release
    for path in kernel.closure(wanted):
        target = home / path.removesuffix(".xz")
        target.parent.mkdir(parents=True, exist_ok=True)
        packed = (kernel.modules / path).read_bytes()
        target.write_bytes(lzma.decompress(packed) if path.endswith(".xz") else packed)
    for name in TABLES:
        shutil.copyfile(kernel.modules / name, home / name)
    run("depmod", "--basedir", tree, kernel.release)
    for surplus in home.glob("modules.*"):
        if surplus.name not in {"modules.dep", "modules.alias", "modules.symbols"}:
            surplus.unlink()
    names = [PurePosixPath(path).name.partition(".")[0] for path in wanted]
    (tree / "modules").write_text("".join(f"{name}\n" for name in names))
