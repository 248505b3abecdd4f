"""`make image`: build/image/knoop-VERSION.img and what belongs to it. As root, on Debian; says how far it is."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from knoop_firmware import base, boot, disk, overlays, release, root
from knoop_firmware.kernel import Kernel, initramfs
from knoop_firmware.recipe import CHECKOUT, SUITE
from knoop_firmware.tools import BuildError, run, scratch, step

OUT = CHECKOUT / "build" / "image"
DEB = CHECKOUT / "systemd" / "deb" / "build.py"


def main() -> int:
    """0 made · 1 not, and why · 130 Ctrl-C; then nothing is left behind but the cache."""
    parser = argparse.ArgumentParser(prog="knoop_firmware.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="where the image goes (build/image)")
    parser.add_argument("--deb", type=Path, help="this package of Knoop's instead of one made now")
    parser.add_argument("--no-compress", action="store_true", help="only the .img, for tests: half a minute less")
    parser.add_argument("--keep-root", type=Path, metavar="DIR", help="leave the unpacked root there, to look at")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _build(asked.out.resolve(), deb=asked.deb, compress=not asked.no_compress, keep=asked.keep_root)
    except KeyboardInterrupt:
        print("Interrupted; nothing was left behind.", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError) as error:  # BuildError, and what overlays.py and release.py say
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def version() -> str:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def epoch() -> int:
    """The time that everything made now gets: SOURCE_DATE_EPOCH, else that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        return int(given)
    said = subprocess.run(("git", "log", "-1", "--format=%ct"), cwd=CHECKOUT, capture_output=True, check=False)
    return int(said.stdout) if said.returncode == 0 and said.stdout.strip() else int(time.time())


def _build(out: Path, *, deb: Path | None, compress: bool, keep: Path | None) -> None:
    if os.geteuid() != 0:
        raise BuildError("An image has files of root's in it, and Debian is installed into a folder: run it as root.")
    began, when, name = time.monotonic(), epoch(), f"knoop-{version()}"
    out.mkdir(parents=True, exist_ok=True)
    if platform.machine() != "aarch64":
        base.emulation()
    with step("Kernel, firmware and tools from Debian"):
        pieces = base.pieces()
        kernel = Kernel(pieces / "kernel")
    with step("Debian itself (five minutes the first time, kept afterwards)"):
        tar = base.base()
    with scratch("knoop-image-", out) as work:
        package = deb.resolve() if deb else _package(work)
        tree = work / "root"
        if package is not None:
            with step(f"Debian with {package.name}"):
                tar = root.with_package(tar, package)
        with step("Unpacking it"):
            base.unpack(tar, tree)
        with step("Modules, files and units"):
            root.finish(tree, kernel=kernel, pieces=pieces, version=version(), epoch=when)
        with step("The boot partition"):
            early = initramfs(kernel, pieces, work, epoch=when)
            boot.assemble(work / "boot", kernel=kernel, pieces=pieces, initramfs=early, overlays=_overlays(work))
            boot.verify(work / "boot")
        with step("Pressing the root"):
            disk.squash(tree, work / "root.squashfs", epoch=when)
        number = disk.card_number(work / "root.squashfs")
        (work / "boot" / "cmdline.txt").write_text(boot.command_line(number))
        (work / "boot" / "cmdline-uart.txt").write_text(boot.command_line(number, console=False))
        with step("Writing the card"):
            disk.write(work / "card.img", boot=work / "boot", system=work / "root.squashfs", number=number, epoch=when)
            for old in out.glob("knoop-*.*"):  # the last one's papers too
                old.unlink()
            image = out / f"{name}.img"
            (work / "card.img").rename(image)
        if compress:
            with step("Compressing"):
                run("xz", "--threads=0", "-1", "--keep", "--force", image)
            with step("What lies beside it (packages, SBOM, manifest, signature)"):
                release.papers(out / f"{image.name}.xz", image, tree, version=version(), epoch=when,
                               lists=base.lists(work / "apt"), own=package)  # fmt: skip
        if keep is not None:
            run("cp", "-a", tree, keep)  # with its devices, which shutil would read to their end
    size = image.stat().st_size / disk.MIB
    print(f"{image}: {size:.0f} MiB, in {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(image)


def _package(work: Path) -> Path | None:
    """Knoop's .deb for the image's Debian, made from this checkout."""
    if not DEB.exists():
        print(f"There is no {DEB.relative_to(CHECKOUT)}: the image is made without Knoop.", file=sys.stderr)
        return None
    with step("Knoop's package"):
        said = run(sys.executable, DEB, "--arch", "arm64", "--suite", SUITE, "--out", work / "dist", cwd=CHECKOUT)
    return Path(said.decode().splitlines()[-1])


def _overlays(work: Path) -> Path:
    """The overlays for sensors' buses, compiled."""
    overlays.build(work / "overlays")
    return work / "overlays"


if __name__ == "__main__":
    sys.exit(main())
