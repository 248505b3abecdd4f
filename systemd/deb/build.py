#!/usr/bin/env python3
"""Build knoop_VERSION-1~debN_ARCH.deb: both halves with their libraries in an environment of their own, to be installed
without a network. The last line printed is where it is: `build.py --arch arm64 --suite trixie --out dist`.

Nothing of the other architecture or the other Python is run, and only wheels with the hashes of requirements.txt are
fetched (kept in ~/.cache/knoop). The same commit gives the same bytes, wherever and whenever (docs/adr/0042).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNITS, ROOT = HERE.parents[0], HERE.parents[1]
REQUIREMENTS = ROOT / "requirements.txt"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_26", "manylinux_2_28")
LIBC = "2.28"  # the newest that a wheel of these may want; Debian 12 has 2.36
REVISION = "1"  # of the package, when it changes and Knoop does not
HOME = "usr/lib/knoop"
PROGRAMS = {"knoop": "knoop.cli", "knoop-hw": "knoop_hw.cli"}
# gpiozero names setuptools as a requirement and imports it nowhere: 7 MB on the card, byte code included.
UNNEEDED_PACKAGES = ("setuptools",)
# Sources of compiled modules, launchers for Windows, other people's tests and their manual pages: 2 MB.
UNNEEDED = re.compile(r".*\.(pyx|pxd|pxi|c|h|exe)|slixmpp/test/.*|[^/]+\.data/(data|scripts)/.*|(.*/)?__pycache__/.*")
METADATA = re.compile(r"[^/]+\.dist-info/((METADATA|WHEEL)|(licenses/)?(LICEN[CS]E|NOTICE|COPYING|AUTHORS)[^/]*)")
# Whose wheels name no licence in a way a program can read.
LICENCES = {
    "prompt_toolkit": "BSD-3-Clause", "pyasn1_modules": "BSD-2-Clause", "pyserial": "BSD-3-Clause",
    "segno": "BSD-3-Clause", "uvloop": "MIT or Apache-2.0", "wcwidth": "MIT",
}  # fmt: skip
RIGHTS = r"(copyright )?(\(c\)|©|copyright)"
NOT_THEIRS = r"\{|Free Software Foundation"  # a form to fill in, and whose the licence's own text is
# Where files of systemd/ go: by their ending, under the package's name.
PLACES = {
    ".service": "usr/lib/systemd/system", ".socket": "usr/lib/systemd/system", ".rules": "usr/lib/udev/rules.d",
    ".sysusers": "usr/lib/sysusers.d", ".tmpfiles": "usr/lib/tmpfiles.d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Suite:
    """A Debian, and the Python that is its own."""

    number: int
    python: tuple[int, int]

    @property
    def dotted(self) -> str:
        return "{}.{}".format(*self.python)

    @property
    def digits(self) -> str:
        return "{}{}".format(*self.python)


SUITES = {"bookworm": Suite(12, (3, 11)), "trixie": Suite(13, (3, 13))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What is built for whom."""

    arch: str
    suite: str
    epoch: int  # s; the time of every file

    @property
    def system(self) -> Suite:
        return SUITES[self.suite]

    @property
    def upstream(self) -> str:
        """0.2.0rc1 comes before 0.2.0, which dpkg is told by a tilde."""
        version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        return re.sub(r"(?<=\d)\.?(a|b|rc|dev)(?=\d)", r"~\1", version)

    @property
    def version(self) -> str:
        return f"{self.upstream}-{REVISION}~deb{self.system.number}"

    @property
    def name(self) -> str:
        return f"knoop_{self.version}_{self.arch}.deb"

    @property
    def site(self) -> str:
        return f"{HOME}/lib/python{self.system.dotted}/site-packages"


def build(package: Package, out: Path) -> Path:
    """The package's file in `out`, which is made when missing. Raises SystemExit with what went wrong."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="knoop-deb-") as folder:
        root = Path(folder) / "root"
        libraries(package, root / package.site)
        unpack(ours(package, Path(folder)), root / package.site)
        environment(package, root)
        units(root)
        papers(package, root)
        control(package, root)
        tidy(package, root)
        draft = Path(folder) / package.name
        # 10.1 MB in 3 s, instead of 8.9 in 25. One thread: where xz cuts must not tell how many there were.
        how = ("--root-owner-group", "--threads-max=1", "-Zxz", "-z1")
        run("dpkg-deb", *how, "--build", root, draft, epoch=package.epoch)
        return Path(shutil.move(draft, out / package.name))


def libraries(package: Package, site: Path) -> None:
    """Unpack the wheels of requirements.txt for that architecture and that Python."""
    locked = REQUIREMENTS.read_text("utf-8")
    for wheel in sorted(fetched(package).iterdir()):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in locked:
            raise SystemExit(f"{wheel} is not what {REQUIREMENTS.name} says; remove it and try again")
        if wheel.name.partition("-")[0] not in UNNEEDED_PACKAGES:
            unpack(wheel, site)


def fetched(package: Package) -> Path:
    """The folder with these wheels; from the network only when they were never fetched before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "knoop"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    wheels = cache / f"wheels-{package.arch}-{package.system.digits}-{digest[:12]}"
    if not wheels.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache, prefix="wheels-unfinished-"))
        try:
            platforms = [f"--platform={platform}_{MACHINES[package.arch]}" for platform in PLATFORMS]
            pip("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--implementation", "cp",
                "--python-version", package.system.digits, *platforms, "--dest", draft, "--requirement", REQUIREMENTS)
            draft.chmod(0o755)
            if not wheels.exists():
                draft.rename(wheels)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return wheels


def ours(package: Package, folder: Path) -> Path:
    """Knoop itself as a wheel, built by the hatchling of the virtual environment."""
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT, epoch=package.epoch)
    (wheel,) = folder.glob("knoop-*.whl")
    return wheel


def unpack(wheel: Path, site: Path) -> None:
    """Put there what a wheel has, without what nobody reads at run time."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            about = ".dist-info/" in name
            if name.endswith("/") or UNNEEDED.fullmatch(name) or (about and not METADATA.fullmatch(name)):
                continue
            if ".data/" in name:
                raise SystemExit(f"{wheel.name}: {name}: a wheel that puts files elsewhere; say in build.py where")
            target = site / name
            if not target.resolve().is_relative_to(site.resolve()) or target.exists():
                raise SystemExit(f"{wheel.name}: {name}: outside of its folder, or there already")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


def environment(package: Package, root: Path) -> None:
    """What `python -m venv` makes, with the target's Python, which need not be on this machine."""
    home, dotted = root / HOME, package.system.dotted
    write(home / "pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {dotted}\n")
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to(f"../../../bin/python{dotted}")
    (root / "usr/bin").mkdir()
    for program, module in PROGRAMS.items():
        # -I: neither the folder it is started in, nor PYTHONPATH, nor a home directory decides which code runs.
        text = f"#!/{HOME}/bin/python3 -I\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
        write(home / "bin" / program, text, mode=0o755)
        (root / "usr/bin" / program).symlink_to(f"../lib/knoop/bin/{program}")


def units(root: Path) -> None:
    """The files of systemd/, each where systemd and udev look."""
    for file in sorted(UNITS.iterdir()):
        if folder := PLACES.get(file.suffix):
            name = f"{file.stem}.conf" if file.suffix in {".sysusers", ".tmpfiles"} else file.name
            write(root / folder / name, file.read_text("utf-8"))


def papers(package: Package, root: Path) -> None:
    """Changelogs, licences and examples under /usr/share/doc/knoop."""
    doc = root / "usr/share/doc/knoop"
    title = f"knoop ({package.version}) {package.suite}; urgency=medium"
    signed = f" -- {field('Maintainer')}  {formatdate(package.epoch)}"
    packed(doc / "changelog.Debian.gz", f"{title}\n\n  * What is new: changelog.gz beside this.\n\n{signed}\n")
    packed(doc / "changelog.gz", (ROOT / "CHANGELOG.md").read_text("utf-8"))
    write(doc / "copyright", copyright_file(package, root / package.site))
    packed(doc / "LICENSE.gz", (ROOT / "LICENSE").read_text("utf-8"))
    write(doc / "README.Debian", (HERE / "README.Debian").read_text("utf-8"))
    for example in ("desk.toml", "greenhouse.toml", "subscriber.py"):
        write(doc / "examples" / example, (ROOT / "examples" / example).read_text("utf-8"))
    write(root / "usr/share/lintian/overrides/knoop", (HERE / "lintian-overrides").read_text("utf-8"))


def copyright_file(package: Package, site: Path) -> str:
    """Whose work is inside and on what terms (Debian's copyright format 1.0), by what the wheels say themselves."""
    stanzas = [(HERE / "copyright").read_text("utf-8").strip()]
    for metadata in sorted(site.glob("*.dist-info/METADATA")):
        said = HeaderParser().parsestr(metadata.read_text("utf-8"))
        name = metadata.parent.name.partition("-")[0]
        if name == "knoop":
            continue
        licence = LICENCES.get(name) or said["License-Expression"] or said["License"]
        texts = sorted(path for path in metadata.parent.rglob("*") if "LICEN" in path.name)
        owners = sorted({line for path in texts for line in rights(path)}) or ["the authors of " + said["Name"]]
        where = [f"/{path.relative_to(site.parents[5])}" for path in texts] or ["in its source distribution"]
        top = sorted({f"/{package.site}/{entry}" for entry in tops(name, site)})
        stanzas.append("\n".join((
            "Files: " + "\n ".join(top), "Copyright: " + "\n ".join(owners), f"License: {spdx(licence)}",
            f" {said['Name']} {said['Version']}. Its licence is here:", *(f" {place}" for place in where),
        )))  # fmt: skip
    return "\n\n".join(stanzas) + "\n"


def tops(name: str, site: Path) -> Iterator[str]:
    """What belongs to a distribution, as patterns: its metadata, and what its wheel put at the top."""
    top = {"pyserial": "serial", "cffi": "*cffi*", "pyyaml": "*yaml*"}.get(name, name)
    if not any(site.glob(top)):
        raise SystemExit(f"{name}: its wheel has nothing of that name; say in build.py what it puts at the top")
    yield f"{name}-*.dist-info/*"
    yield top + ("/*" if (site / top).is_dir() else "")


def rights(file: Path) -> Iterator[str]:
    """The lines of a licence that say whose it is."""
    for line in file.read_text("utf-8", "replace").splitlines():
        said = line.strip(" *#.\t").removeprefix("SPDX-FileCopyrightText: ")
        if re.match(RIGHTS + r".*\d{4}", said, re.IGNORECASE) and not re.search(NOT_THEIRS, said):
            yield re.sub(rf"{RIGHTS}(\s*\(c\))?\s*(by )?", "", said, flags=re.IGNORECASE)


def spdx(licence: str) -> str:
    """A licence's name as Debian's format spells it: one word, with `or` and `and` between."""
    words = licence.replace(" OR ", " or ").replace(" AND ", " and ")
    return {"MIT License": "Expat", "BSD": "BSD-3-Clause"}.get(words, re.sub(r"\bMIT\b(?!-)", "Expat", words))


def control(package: Package, root: Path) -> None:
    """The folder DEBIAN: control, checksums and the maintainer's scripts."""
    major, minor = package.system.python
    values = {
        "VERSION": package.version, "ARCH": package.arch, "SIZE": str(installed_kib(root)), "LIBC": LIBC,
        "PYTHON": f"{major}.{minor}", "NEXT": f"{major}.{minor + 1}",
        "UNITS": " ".join(sorted(path.name for path in (root / PLACES[".service"]).glob("*") if enabled(path))),
    }  # fmt: skip
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"  # noqa: S324 -- dpkg's format
            for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())  # fmt: skip
    write(root / "DEBIAN/md5sums", "".join(sums))
    for name in ("control", "postinst", "prerm", "postrm"):
        text = re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], (HERE / name).read_text("utf-8"))
        write(root / "DEBIAN" / name, text, mode=0o644 if name == "control" else 0o755)


def enabled(unit: Path) -> bool:
    """Whether a unit says when it is to be started."""
    return "\n[Install]\n" in unit.read_text("utf-8")


def installed_kib(root: Path) -> int:
    """As Debian counts (Policy 5.6.20): each file in whole KiB, one for whatever is none."""
    paths = [path for path in root.rglob("*") if path.relative_to(root).parts[0] != "DEBIAN"]
    return sum(-(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1 for path in paths)


def tidy(package: Package, root: Path) -> None:
    """Rights and times as they are for everybody, whatever the umask and the clock."""
    for path in (*root.rglob("*"), root):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (package.epoch, package.epoch), follow_symlinks=False)


def field(name: str) -> str:
    """A field of the control file."""
    return HeaderParser().parsestr((HERE / "control").read_text("utf-8"))[name]


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """`mode`: 0644 or 0755."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)


def packed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def pip(*arguments: str | Path, epoch: int = 0) -> None:
    run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, epoch=epoch)


def run(*command: str | Path, epoch: int) -> None:
    """Run a program that says on stderr what is wrong. Raises SystemExit."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*map(str, command)], env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} {command[1]}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def commit_time() -> int:
    """The time that all files get: SOURCE_DATE_EPOCH, else that of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    asked = ("git", "-C", str(ROOT), "log", "-1", "--format=%ct")
    done = subprocess.run(asked, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git does not say when this was committed: {done.stderr.strip()}\n"
                         "Say the time of its files in SOURCE_DATE_EPOCH (seconds since 1970).")
    return int(done.stdout)


def here() -> str:
    """This machine's architecture, as Debian calls it."""
    machine = os.uname().machine
    if machine not in MACHINES.values():
        raise SystemExit(f"{machine}: no package is made for this machine itself; say for which, with --arch")
    return next(arch for arch, name in MACHINES.items() if name == machine)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a Debian package of Knoop.")
    parser.add_argument("--arch", choices=sorted(MACHINES), help="default: this machine's")
    parser.add_argument("--suite", choices=sorted(SUITES), required=True, help="the Debian it is for")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist")
    arguments = parser.parse_args()
    package = Package(arch=arguments.arch or here(), suite=arguments.suite, epoch=commit_time())
    print(build(package, arguments.out))


if __name__ == "__main__":
    main()
