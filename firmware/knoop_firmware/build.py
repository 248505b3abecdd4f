"""`make image`: build/image/knoop-VERSION.img and what belongs to it. As root, on Debian; says how far it is."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
import tomllib
from pathlib import Path

from knoop_firmware import base, boot, disk, overlays, release, root
from knoop_firmware.kernel import Kernel, initramfs
from knoop_firmware.recipe import CHECKOUT, SUITE
from knoop_firmware.tools import BuildError, alone, kept, run, scratch, step, undisturbed

OUT = CHECKOUT / "build" / "image"
DEB = CHECKOUT / "systemd" / "deb" / "build.py"
UNFINISHED = ".knoop-image-"
TIMES = range(1 << 32)  # those that squashfs can have


def main() -> int:
    """0 made · 1 not, and why · 130 Ctrl-C; then nothing is left behind but the cache."""
    parser = argparse.ArgumentParser(prog="knoop_firmware.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="where the image goes (build/image)")
    parser.add_argument("--deb", type=Path, help="this package of Knoop's instead of one made now")
    parser.add_argument("--no-compress", action="store_true", help="the .img alone, for tests: nothing to pass on")
    parser.add_argument("--keep-root", type=Path, metavar="DIR", help="leave the unpacked root there, to look at")
    asked = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    try:
        _checked(asked.deb, compress=not asked.no_compress)
        out = asked.out.resolve()
        out.mkdir(parents=True, exist_ok=True)
        with alone(out, UNFINISHED):
            _build(out, deb=asked.deb, compress=not asked.no_compress, keep=asked.keep_root)
    except KeyboardInterrupt:
        print("Interrupted; what was half done is gone.", file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, OSError) as error:  # BuildError, and what overlays.py and release.py say
        print(f"\n{error}", file=sys.stderr)
        if "No space left on device" in str(error):
            print(f"Free some space, or take it elsewhere: where the image goes ({asked.out}) by --out, what is kept "
                  f"({kept()}) by XDG_CACHE_HOME, what is made from (/tmp) by TMPDIR; see docs/image.md.",
                  file=sys.stderr)  # fmt: skip
        return 1
    return 0


def version() -> str:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def epoch() -> int:
    """The time that everything made now gets: SOURCE_DATE_EPOCH, else that of the last commit. In seconds since 1970.

    Raises BuildError where SOURCE_DATE_EPOCH is none.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        if not (given.isascii() and given.isdecimal() and int(given) in TIMES):
            raise BuildError(f"SOURCE_DATE_EPOCH={given}: seconds since 1970 are wanted, as `date +%s` prints them; "
                             "unset it, and files get the time of the last commit")  # fmt: skip
        return int(given)
    try:
        return int(run("git", "log", "-1", "--format=%ct", cwd=CHECKOUT))
    except (BuildError, ValueError):
        print("git names no commit here, so files get today's time and the next build differs from this one; "
              "SOURCE_DATE_EPOCH sets another.", file=sys.stderr)  # fmt: skip
        return int(time.time())


def _checked(deb: Path | None, *, compress: bool) -> None:
    """What is wrong is said now, not after minutes."""
    if os.geteuid() != 0:
        raise BuildError("An image has files of root's in it, and Debian is installed into a folder: run it as root.")
    if deb is not None and not deb.is_file():
        raise BuildError(f"--deb {deb}: there is no such package")
    if compress:
        release.signer(os.environ.get("KNOOP_SIGNING_KEY"))


def _build(out: Path, *, deb: Path | None, compress: bool, keep: Path | None) -> None:
    began, when, stem = time.monotonic(), epoch(), f"knoop-{version()}"
    if platform.machine() != "aarch64":
        base.emulation()
    with step("Kernel, firmware and tools from Debian"):
        pieces = base.pieces()
        kernel = Kernel(pieces / "kernel")
    with step("Debian itself (five minutes the first time, kept afterwards)"):
        tar = base.base()
    with scratch(UNFINISHED, out) as work:
        if compress:
            with step("Debian's lists of today"):  # over the network, so before all that is not kept
                lists = base.lists(work / "apt")
        package = deb.resolve() if deb else _package(work)
        tree = work / "root"
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
            (work / "made").mkdir()
            image = work / "made" / f"{stem}.img"
            disk.write(image, boot=work / "boot", system=work / "root.squashfs", number=number, epoch=when)
        if compress:
            with step("Compressing"):
                run("xz", "--threads=0", "-1", "--keep", image)
            with step("What lies beside it (packages, SBOM, manifest, signature)"):
                release.papers(Path(f"{image}.xz"), image, tree, version=version(), epoch=when, lists=lists,
                               own=package, place=out)  # fmt: skip
        if keep is not None:
            run("cp", "-a", tree, keep)  # with its devices, which shutil would read to their end
        run("sync", *(work / "made").iterdir())  # else a power cut may leave them empty in the former ones' places
        with undisturbed():
            _put(work / "made", out, stem)
    image = out / image.name
    size = image.stat().st_size / disk.MIB
    print(f"{image}: {size:.0f} MiB, in {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(image)


def _put(made: Path, out: Path, stem: str) -> None:
    """Put what was made in the place of the former image and its papers, which describe another.

    Where the power goes meanwhile, what lies there belongs to one image, and there is an .img only with all of it.
    """
    for suffix in (".img", ".img.xz", *release.PAPERS):
        (out / f"{stem}{suffix}").unlink(missing_ok=True)
    for path in sorted(made.iterdir(), key=lambda path: path.suffix == ".img"):
        path.rename(out / path.name)


def _package(work: Path) -> Path:
    """Knoop's .deb for the image's Debian, made from this checkout."""
    with step("Knoop's package"):
        run(sys.executable, DEB, "--arch", "arm64", "--suite", SUITE, "--out", work / "dist", cwd=CHECKOUT)
    return next((work / "dist").glob("*.deb"))


def _overlays(work: Path) -> Path:
    """The overlays for sensors' buses, compiled."""
    overlays.build(work / "overlays")
    return work / "overlays"


if __name__ == "__main__":
    sys.exit(main())
