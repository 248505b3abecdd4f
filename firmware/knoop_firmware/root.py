"""The root of the image: Debian, Knoop's package, `firmware/files`, and nothing that only installs packages."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from knoop_firmware.base import compiler, in_root, take, unpack
from knoop_firmware.kernel import Kernel, install_modules
from knoop_firmware.recipe import BASE_KEY, CHECKOUT, FILES, PYTHON, RADIOS, REMOVED
from knoop_firmware.tools import cached, digest, run

UNITS = "usr/lib/systemd/system"
ABOUT = "usr/share/knoop-image"

ENABLED = ("systemd-networkd.service", "systemd-networkd-wait-online.service", "systemd-resolved.service",
           "systemd-timesyncd.service")  # fmt: skip
# Started by nobody, whatever asks for it. No console has a login, since nobody has a password.
MASKED = (
    "getty@.service", "serial-getty@.service", "console-getty.service", "container-getty@.service", "getty.target",
    "autovt@.service", "debug-shell.service", "systemd-logind.service",
    "systemd-firstboot.service", "systemd-homed-firstboot.service", "systemd-hwdb-update.service",
    "systemd-remount-fs.service", "systemd-pcrphase.service", "systemd-journal-catalog-update.service",
    "ssh.socket", "wpa_supplicant.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service", "systemd-rfkill.socket", "systemd-rfkill.service",
)  # fmt: skip
DISABLED = ("ssh.service",)  # until the owner gives a key


def with_package(tar: Path, package: Path) -> Path:
    """Debian's root with Knoop's .deb in it, as a tar: kept until either changes."""

    def make(folder: Path) -> None:
        unpack(tar, folder / "root")
        _install(folder / "root", package)
        run("tar", "--create", "--numeric-owner", "--xattrs", "--file", folder / "root.tar", "--directory",
            folder / "root", ".")  # fmt: skip
        shutil.rmtree(folder / "root")

    return cached("image-knoop", digest(BASE_KEY, package, "knoop 2"), make) / "root.tar"


def _install(root: Path, package: Path) -> None:
    """By Debian's own dpkg, with the package's scripts, emulated."""
    shutil.copyfile(package, root / package.name)
    quiet = root / "usr/sbin/policy-rc.d"
    quiet.write_text("#!/bin/sh\nexit 101\n")
    quiet.chmod(0o755)
    python = root / "usr/bin" / f"python{PYTHON}"
    python.rename(python.with_suffix(".real"))
    python.write_text("#!/bin/sh\nexit 0\n")  # what it would compile is compiled below, without emulation
    python.chmod(0o755)
    in_root(root, "dpkg", "--install", "--force-unsafe-io", f"/{package.name}")
    python.with_suffix(".real").rename(python)
    run(*compiler(), "-m", "compileall", "-q", "-f", "--invalidation-mode", "timestamp", "-s", root, "-p", "/",
        root / "usr/lib/knoop/lib")  # fmt: skip
    quiet.unlink()
    (root / package.name).unlink()


def finish(root: Path, *, kernel: Kernel, pieces: Path, version: str, epoch: int) -> None:
    """Everything else that belongs into the root of a card, and what does not out of it."""
    take_along(root, pieces)
    trim(root)
    install_modules(kernel, root)
    radios(root, pieces)
    files(root)
    identity(root, version=version, epoch=epoch)
    units(root)
    same_times(root, epoch)


def take_along(root: Path, pieces: Path) -> None:
    """The list of what is installed, before dpkg's folder goes, and that of what was only unpacked."""
    about = root / ABOUT
    about.mkdir()
    shutil.copyfile(root / "var/lib/dpkg/status", about / "dpkg-status")
    shutil.copyfile(pieces / "packages.txt", about / "unpacked.txt")


def trim(root: Path) -> None:
    for pattern in REMOVED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def radios(root: Path, pieces: Path) -> None:
    """The firmware of our boards' Wi-Fi; Debian's two packages of it are for two hundred devices."""
    source = pieces / "firmware-brcm80211/usr/lib/firmware"
    target = root / "usr/lib/firmware"
    for folder in ("brcm", "cypress"):
        for pattern in RADIOS:
            for path in (source / folder).glob(pattern):
                if _ours(path.name):
                    (target / folder).mkdir(parents=True, exist_ok=True)
                    (target / folder / path.name).unlink(missing_ok=True)
                    shutil.copy2(path, target / folder / path.name, follow_symlinks=False)
    for path in (pieces / "raspi-firmware/usr/lib/firmware/brcm").iterdir():
        if not (target / "brcm" / path.name).exists():
            shutil.copy2(path, target / "brcm" / path.name, follow_symlinks=False)
    licence = root / "usr/share/doc/firmware-brcm80211"
    licence.mkdir(exist_ok=True, parents=True)
    shutil.copyfile(pieces / "firmware-brcm80211/usr/share/doc/firmware-brcm80211/copyright", licence / "copyright")


def _ours(name: str) -> bool:
    """A chip's program, or its settings on a Raspberry Pi; not those on other makers' boards, nor for PCIe and USB."""
    board = re.fullmatch(r"[a-z]+\d+[a-z0-9]*-sdio\.(.+)\.(txt|bin|clm_blob|txcap_blob)", name)
    return "-sdio" in name and (board is None or board[1].startswith(("raspberrypi,", "Raspberry Pi")))


def files(root: Path) -> None:
    """`firmware/files` as it is, but for `boot`, which goes to the FAT partition."""
    for folder in sorted(FILES.iterdir()):
        if folder.name != "boot" and folder.is_dir():
            take(folder, root / folder.name)
    watchdog = CHECKOUT / "systemd" / "watchdog.conf"
    if watchdog.exists():
        target = root / "usr/lib/systemd/system.conf.d/knoop-watchdog.conf"
        target.parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(watchdog, target)


def identity(root: Path, *, version: str, epoch: int) -> None:
    """What says which image this is, and the places of what says which card this is: those are filled at first boot."""
    (root / "data").mkdir()
    (root / "boot/firmware").mkdir(parents=True)
    (root / "etc/machine-id").touch()  # empty: the initramfs lays one over it before systemd looks
    names = root / "etc/resolv.conf"
    names.unlink(missing_ok=True)
    names.symlink_to("../run/systemd/resolve/resolv.conf")  # not the stub, which nobody serves here
    release = root / "usr/lib/os-release"
    with release.open("a") as text:
        text.write(f'IMAGE_ID=knoop\nIMAGE_VERSION="{version}"\n')
    clock = root / "usr/lib/clock-epoch"  # systemd sets a clock that is earlier to this file's time
    clock.touch()
    os.utime(clock, (epoch, epoch))
    for stamp in (root / "etc/.updated", root / "var/.updated"):  # nothing to bring up to date at first boot
        stamp.touch()


def units(root: Path) -> None:
    """Switch units on and off, by the links that systemctl makes; our own are on when they say where they belong."""
    ours = [path.name for path in sorted((FILES / UNITS).glob("*.*"))
            if path.is_file() and re.search(r"^\[Install\]", path.read_text(), re.MULTILINE)]  # fmt: skip
    run("systemctl", "--quiet", f"--root={root}", "disable", *DISABLED)
    run("systemctl", "--quiet", f"--root={root}", "enable", *ENABLED, *ours)
    for name in MASKED:
        link = root / "etc/systemd/system" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    generators = root / "etc/systemd/system-generators"  # sockets for ssh of its own accord
    generators.mkdir(exist_ok=True)
    (generators / "systemd-ssh-generator").symlink_to("/dev/null")
    run("systemctl", "--quiet", f"--root={root}", "set-default", "multi-user.target")


def same_times(root: Path, epoch: int) -> None:
    """What was made just now gets the time of the source, so that two builds are the same. Not what Python compiled."""
    for folder, names, leaves in os.walk(root):
        for name in (*names, *leaves):
            path = os.path.join(folder, name)  # noqa: PTH118 - 15,000 of them
            if not name.endswith(".py") and os.lstat(path).st_mtime > epoch:
                os.utime(path, (epoch, epoch), follow_symlinks=False)
    os.utime(root, (epoch, epoch))
