"""What comes from Debian: an installed root, and packages that are only unpacked. Both are kept in the cache."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from knoop_firmware import recipe
from knoop_firmware.recipe import PIECES, PYTHON, SOURCES, SUITE
from knoop_firmware.tools import BuildError, cached, run, scratch

BINFMT = Path("/proc/sys/fs/binfmt_misc")
QEMU = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")


def emulation() -> None:
    """Let this machine's kernel run programs for arm64; Debian's units do that at boot, where there is a systemd."""
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
    if not (BINFMT / "qemu-aarch64").exists():
        try:
            (BINFMT / "register").write_bytes(QEMU.read_bytes().strip())
        except OSError as error:
            raise BuildError(
                f"Programs for arm64 cannot be run here: {error}. Is qemu-user-static installed, and are you root?"
            ) from error


def base() -> Path:
    """Debian's root as a tar, five minutes the first time; beside it `packages.txt`: name, version, architecture."""
    return cached("image-base", recipe.BASE_KEY, _base) / "root.tar"


def _base(folder: Path) -> None:
    options = [f"--dpkgopt=path-exclude={path}" for path in recipe.EXCLUDED]
    options += [f"--dpkgopt=path-include={path}" for path in recipe.INCLUDED]
    _fetch(
        "mmdebstrap", "--mode=root", "--variant=essential", "--architectures=arm64", f"--keyring={recipe.KEYRING}",
        '--aptopt=APT::Install-Recommends "false"', *options, f"--include={','.join(recipe.PACKAGES)}",
        SUITE, folder / "root.tar", *SOURCES,
    )  # fmt: skip


def _fetch(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> bytes:
    """Run what talks to Debian's archive, and checks its signature and every hash; without a network it says so."""
    try:
        return run(*command, env=env, cwd=cwd)
    except BuildError as error:
        if "Failed to fetch" not in str(error):
            raise
        raise BuildError(f"{error}\nIt comes from deb.debian.org: is that reachable from here? What was made before is "
                         "kept, so simply try again.") from error  # fmt: skip


def pieces() -> Path:
    """The kernel and PIECES, each unpacked into a folder with its name; the kernel's is `kernel`. Half a minute."""
    return cached("image-pieces", recipe.PIECES_KEY, _pieces)


def _pieces(folder: Path) -> None:
    with scratch("knoop-apt-") as work:
        env = {"APT_CONFIG": str(_apt(work))}
        _fetch("apt-get", "-qq", "update", env=env)
        about = run("apt-cache", "show", "linux-image-arm64", env=env).decode()
        kernel = re.search(r"^Depends:.*?(linux-image-\S+)", about, re.MULTILINE)
        if kernel is None:
            raise BuildError(f"{SUITE} names no kernel for arm64:\n{about[:500]}")
        debs = work / "debs"
        debs.mkdir()
        (folder / "control").mkdir()  # what Debian says of each, for the list of what is in the image
        _fetch("apt-get", "-qq", "download", kernel[1], *PIECES, env=env, cwd=debs)
        with (folder / "packages.txt").open("w") as listed:
            for deb in sorted(debs.iterdir()):
                name, version, arch = (
                    run("dpkg-deb", "--field", deb, field).decode().strip()
                    for field in ("Package", "Version", "Architecture")
                )
                listed.write(f"{name}\t{version}\t{arch}\t{run('sha256sum', deb).split()[0].decode()}\n")
                run("dpkg-deb", "--extract", deb, folder / ("kernel" if name.startswith("linux-") else name))
                run("dpkg-deb", "--control", deb, folder / "control" / name)


def lists(work: Path) -> Path:
    """Debian's signed lists of today, in a new folder `work`: what each version's .deb hashes to."""
    _fetch("apt-get", "-qq", "update", env={"APT_CONFIG": str(_apt(work))})
    return work / "lists"


def compiler() -> tuple[str | Path, ...]:
    """The command of the image's Python on this machine's own processor: compiling emulated takes two minutes.

    Byte code is the same on every processor. It runs with its own C library, whatever this machine has.
    """
    folder = cached("image-python", recipe.PYTHON_KEY, _python)
    loader = next(folder.glob("usr/lib/*/ld-linux-*"))
    return (loader, "--library-path", loader.parent, folder / f"usr/bin/python{PYTHON}", "-I", "-B")


def _python(folder: Path) -> None:
    with scratch("knoop-apt-") as work:
        config = _apt(work, run("dpkg", "--print-architecture").decode().strip())
        _fetch("apt-get", "-qq", "update", env={"APT_CONFIG": str(config)})
        _fetch("apt-get", "-qq", "download", *recipe.PYTHON_PIECES, env={"APT_CONFIG": str(config)}, cwd=work)
        for deb in sorted(work.glob("*.deb")):
            run("dpkg-deb", "--extract", deb, folder)


def _apt(work: Path, arch: str = "arm64") -> Path:
    """The configuration of an apt for another machine's packages; nothing of this machine's is read or changed."""
    for name in ("lists/partial", "cache/archives/partial", "etc/parts", "etc/sources.d"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    (work / "etc/sources.list").write_text("\n".join(SOURCES) + "\n")
    config = work / "apt.conf"
    config.write_text(f"""
Dir::State::lists "{work}/lists"; Dir::State::status "{work}/status"; Dir::Cache "{work}/cache";
Dir::Etc "{work}/etc"; Dir::Etc::sourcelist "{work}/etc/sources.list";
Dir::Etc::parts "{work}/etc/parts"; Dir::Etc::sourceparts "{work}/etc/sources.d";
APT::Architecture "{arch}"; APT::Architectures {{ "{arch}"; }}; Acquire::Languages "none"; APT::Sandbox::User "root";
APT::Update::Error-Mode "any";  // else a list that cannot be had is a warning, and what it names has no hash
""")
    return config


def unpack(tar: Path, root: Path) -> None:
    """Lay Debian's root out at `root`."""
    root.mkdir()
    run("tar", "--extract", "--numeric-owner", "--same-permissions", "--xattrs", "--file", tar, "--directory", root)


def in_root(root: Path, *command: str) -> bytes:
    """What `command` says inside of `root`, emulated; it has a /proc and sees no network of ours by name.

    The /proc is mounted for this program alone: it goes with it, also after kill -9, and no removing walks into it.
    """
    return run("unshare", "--mount-proc", f"--root={root}", *command,
               env={"PATH": "/usr/sbin:/usr/bin", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root",
                    "LC_ALL": "C.UTF-8"})  # fmt: skip


def take(source: Path, target: Path) -> None:
    """Copy a folder into another, over what is there, links as links."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
