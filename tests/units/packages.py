"""Packages of Knoop for tests: one of this checkout, and what an upgrade to a later one would bring."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
BUILD = "systemd/deb/build.py"
PARTS = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.txt", "node", "hw", "bench", "systemd",
         "examples")  # fmt: skip


def build(suite: str, out: Path, *, arch: str = "amd64", root: Path = ROOT, epoch: int = 0) -> Path:
    """Build a package of the checkout at `root`. `epoch`: the time of its files, without git."""
    environment = os.environ | ({"SOURCE_DATE_EPOCH": str(epoch)} if epoch else {})
    command = (sys.executable, str(root / BUILD), "--arch", arch, "--suite", suite, "--out", str(out))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def built(suite: str, factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout for that Debian: built once for a run, however many processes it has."""
    here = factory.getbasetemp()
    folder = (here.parent if "PYTEST_XDIST_WORKER" in os.environ else here) / "packages" / suite
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(folder.glob("*.deb"), None) or build(suite, folder)


def checkout(folder: Path) -> Path:
    """A copy of what a package is built from, at another place and with other dates."""
    folder.mkdir(parents=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, copy_function=shutil.copyfile, symlinks=True,
                            ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / part, folder / part)
    return folder


def later(package: Path, folder: Path, *, version: str, changed: str) -> Path:
    """The same package as a later version beside it, with a remark more in a module, such as `knoop_hw/serve.py`."""
    tree = folder / "later"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    (module,) = tree.glob(f"usr/lib/knoop/lib/*/site-packages/{changed}")
    module.write_text(module.read_text("utf-8") + f"# {version}\n", "utf-8")
    control = tree / "DEBIAN/control"
    old = field(package, "Version")
    control.write_text(control.read_text("utf-8").replace(f"Version: {old}", f"Version: {version}"), "utf-8")
    made = package.parent / f"knoop_{version}_{field(package, 'Architecture')}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(made)], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return made


def field(package: Path, name: str) -> str:
    command = ("dpkg-deb", "--field", str(package), name)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
