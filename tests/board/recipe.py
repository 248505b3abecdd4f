"""What the guest is made of: Debian's arm64 kernel and Python and the wheels of requirements.txt, all in memory.

Nothing arm64 is run to make it: packages are only unpacked. The result is kept outside the checkout, in a folder
named after this recipe, so that a fresh clone finds it. The node's own code is never part of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.board import cpio

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INGREDIENTS = (HERE / "recipe.py", HERE / "cpio.py", HERE / "requirements.txt", ROOT / "requirements.txt")

SUITE = "bookworm"  # the older of the two Debians we serve; for its Python there is a wheel of lgpio, to compare with
SOURCES = (
    f"deb http://deb.debian.org/debian {SUITE} main",
    f"deb http://deb.debian.org/debian-security {SUITE}-security main",
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = "python3,linux-image-arm64,busybox-static"
PYTHON = "python3.11"
TARGET = ("--python-version", "311", "--implementation", "cp", "--only-binary", ":all:", *(
    f"--platform=manylinux{version}_aarch64" for version in ("2014", "_2_17", "_2_28", "_2_34")
))  # fmt: skip
SITE = f"usr/local/lib/{PYTHON}/dist-packages"  # Debian's Python looks there, and in no other folder of ours

WANTED = re.compile(
    rf"(usr/)?lib/(aarch64-linux-gnu/([^/]+\.so[^/]*)?|ld-linux[^/]*|)|usr/bin/{PYTHON}|bin/busybox|usr/lib/{PYTHON}/.*"
    r"|bin/udevadm|lib/systemd/systemd-udevd|lib/udev/rules\.d/(50-udev-default|60-serial)\.rules"
)
UNWANTED = re.compile(r".*/(lib(perl|icu|systemd-shared)[^/]*|test|idlelib|tkinter|lib2to3|ensurepip|distutils)(/.*)?")
# A terminal and a network card of `-M virt`; PL061 and the Pi's pin controller are part of Debian's kernel.
MODULES = ("virtio_mmio", "virtio_console", "failover", "net_failover", "virtio_net")
# Drivers for tests that load them (Guest.load), each behind those that it needs.
USB = ("usb-common", "usbcore", "xhci-hcd", "xhci-pci")
SERIAL = (*USB, "usbserial", "ftdi_sio")
I2C = (*USB, "i2c-tiny-usb")
HWMON = ("lm75", "tmp421")
IIO = (
    "industrialio", "dps310", "kfifo_buf", "industrialio-triggered-buffer", "st_sensors", "st_sensors_i2c", "st_magn",
    "st_magn_i2c",
)  # fmt: skip
ONEWIRE = ("wire", "ds2482", "w1_therm")
PIS = ("i2c-bcm2835", "bcm2835_thermal")
LATER = (*SERIAL, *I2C, *HWMON, *IIO, *ONEWIRE, *PIS)
PI = "bcm2837-rpi-3-b.dtb"


@dataclass(frozen=True, slots=True)
class Base:
    """Where the parts of a guest are."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def archive(self) -> Path:
        """The start of what the kernel unpacks."""
        return self.folder / "base.cpio"

    @property
    def pi_tree(self) -> Path:
        """Debian's device tree of a Raspberry Pi 3B."""
        return self.folder / PI


def base() -> Base:
    """The base, made first if it is not there yet: half a minute with a fast network. Several at once wait for one."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "knoop"
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in INGREDIENTS)).hexdigest()
    made = Base(cache / f"board-{digest[:12]}")
    with (cache / "board.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.folder.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="board-unfinished-") as folder:
                draft = Path(folder) / "draft"
                draft.mkdir()
                _make(Base(draft), Path(folder))
                draft.rename(made.folder)
            for other in cache.glob("board-????????????"):  # 150 MB each, and made anew in half a minute
                if other != made.folder:
                    shutil.rmtree(other)
    return made


def _make(draft: Base, work: Path) -> None:
    root = work / "root"
    _debian(root, draft, work)
    _wheels(root / SITE)
    with draft.archive.open("wb") as archive:
        cpio.write(archive, cpio.tree(root, "."))


def _debian(root: Path, draft: Base, work: Path) -> None:
    """Have Debian's packages unpacked into a tar and take what is wanted; no program of theirs runs, nobody is root."""
    everything, log = work / "debian.tar", work / "mmdebstrap.log"
    command = ("mmdebstrap", "--mode=chrootless", "--variant=extract", "--architectures=arm64", f"--keyring={KEYRING}",
               f"--include={PACKAGES}")
    with log.open("wb") as said:
        done = subprocess.run([*command, SUITE, str(everything), *SOURCES], stdout=said, stderr=said, check=False)
    if done.returncode:
        raise SystemExit(f"The guest's packages could not be had:\n{log.read_text('utf-8', 'replace')[-3000:]}")
    with tarfile.open(everything) as packages:
        for member in packages:
            path = member.name.removeprefix("./")
            if target := _place(path, root, draft):
                _take(packages, member, target)
    (root / "usr/bin/python3").symlink_to(PYTHON)
    everything.unlink()


def _place(path: str, root: Path, draft: Base) -> Path | None:
    """Where a file of Debian's goes, or None when the guest does without."""
    if path.startswith("boot/vmlinuz-"):
        return draft.kernel
    if path.endswith(f"/broadcom/{PI}"):
        return draft.pi_tree
    name = path.rpartition("/")[2]
    if path.startswith("lib/modules/") and name.removesuffix(".ko") in (*MODULES, *LATER):
        return root / "lib/modules" / name
    return root / path if WANTED.fullmatch(path) and not UNWANTED.fullmatch(path) else None


def _take(packages: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if member.isdir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
    elif content := packages.extractfile(member):
        target.write_bytes(content.read())
        target.chmod(member.mode & 0o777)


def _wheels(site: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", str(site))
    for requirements in (ROOT / "requirements.txt", HERE / "requirements.txt"):
        how = ("--upgrade", "--no-deps", "--no-compile", "--require-hashes", "--requirement", str(requirements))
        subprocess.run([*pip, *how, *TARGET], check=True)

