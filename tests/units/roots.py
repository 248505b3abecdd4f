"""Debians to boot: minimal roots with systemd, D-Bus, udev and Python, made once by mmdebstrap and kept.

They are kept outside the checkout, in folders named after what they are made of, so that a fresh clone finds them.
Knoop is no part of them. The Python packages that it needs lie beside (`libraries`), as requirements.txt has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.units import needs

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

SUITES: Mapping[str, str] = {"bookworm": "3.11", "trixie": "3.13"}  # and the Python that each has
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What Raspberry Pi OS and Debian's own images have as well. procps is not there, so that no unit relies on it.
PACKAGES = "systemd,systemd-sysv,dbus,udev,python3,ca-certificates"
PATIENT = '--aptopt=Acquire::Retries "5"'  # of a slow mirror; it changes nothing in a root, so none is named after it
# A container has no terminal, no clock and no packages to look after.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "getty.target",
    "console-getty.service", "systemd-logind.service", "systemd-networkd-wait-online.service",
    "systemd-firstboot.service", "systemd-udevd.service", "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket", "systemd-udev-trigger.service", "systemd-timesyncd.service",
)  # fmt: skip
_running: set[subprocess.Popen[str]] = set()


def root(suite: str) -> Path:
    """The folder of that Debian's root, made first if it is not there yet (a minute). Several at once wait for one.

    It is shared: nobody may write to it. `Container` puts a layer above it.
    """
    return _cached(f"units-{suite}", repr((_command(suite, "-"), MASKED)), lambda folder: _debian(suite, folder))


def libraries(suite: str) -> Path:
    """A folder of Python packages for that Debian's Python: those of requirements.txt."""
    ingredients = repr(_pip(suite, "-")) + (ROOT / "requirements.txt").read_text("utf-8")
    return _cached(f"units-python-{suite}", ingredients, lambda folder: _run(suite, *_pip(suite, str(folder))))


def _cached(name: str, ingredients: str, make: Callable[[Path], None]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "knoop"
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(ingredients.encode()).hexdigest()
    made = cache / f"{name}-{digest[:12]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            for unfinished in cache.glob(f"{name}-unfinished-*"):  # of one that was killed: the lock is ours
                shutil.rmtree(unfinished)
            with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}-unfinished-") as folder:
                draft = Path(folder) / "draft"
                make(draft)
                draft.rename(made)
            for other in cache.glob(f"{name}-????????????"):
                if other != made:
                    shutil.rmtree(other)
    return made


def _command(suite: str, archive: str) -> tuple[str, ...]:
    sources = (f"deb http://deb.debian.org/debian {suite} main",
               f"deb http://deb.debian.org/debian-security {suite}-security main")
    return ("mmdebstrap", "--mode=root", "--variant=minbase", f"--keyring={KEYRING}", f"--include={PACKAGES}",
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
            suite, archive, *sources)


def _debian(suite: str, folder: Path) -> None:
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    program, *arguments = _command(suite, str(archive))
    _run(suite, program, PATIENT, *arguments)
    _run(suite, "tar", "--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--file", str(archive),
         "--directory", str(folder))
    archive.unlink()
    folder.chmod(0o755)
    (folder / "etc/machine-id").write_text("")  # each container gets its own
    for unit in MASKED:
        (folder / "etc/systemd/system" / unit).symlink_to("/dev/null")


def _pip(suite: str, folder: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", folder,
            "--no-deps", "--require-hashes", "--requirement", str(ROOT / "requirements.txt"),
            "--only-binary", ":all:", "--implementation", "cp", "--python-version", SUITES[suite].replace(".", ""),
            *(f"--platform=manylinux{glibc}_x86_64" for glibc in ("2014", "_2_17", "_2_28", "_2_34")))


def _run(suite: str, *command: str) -> None:
    """Raises SystemExit with what it said. It is ended when this process ends, in whatever way."""
    process = subprocess.Popen(("setpriv", "--pdeathsig", "TERM", *command), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    _running.add(process)
    try:
        said, _ = process.communicate()
    finally:
        _running.discard(process)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed, for {suite}:\n{said[-3000:]}")


def main() -> None:
    """Make what is missing, of both Debians at once: each waits for the network most of the time."""
    if lacking := needs.lacking():
        raise SystemExit("\n".join(lacking))
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(make, suite) for make, suite in itertools.product((root, libraries), SUITES)]
        try:
            for job in as_completed(jobs):
                print(job.result(), flush=True)
        except BaseException:  # one failed, or somebody stopped us: nobody waits for the others
            for process in tuple(_running):
                process.terminate()
            raise


if __name__ == "__main__":
    main()
