"""What has to be there before a Debian can be booted, found out by doing it: tests that cannot run say why."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MACHINE = "x86_64"
# And the Debian package that has each.
PROGRAMS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg",
            "setpriv": "util-linux", "unshare": "util-linux", "nsenter": "util-linux", "openssl": "openssl"}
# What a container begins with (nspawn.py).
MOUNTS = """set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$1/upper,workdir=$1/work" "$1/root"
"""


def lacking() -> list[str]:
    """A line for each thing that is missing; none where the tests can run."""
    if os.geteuid():
        return ["Not root, which systemd-nspawn needs: sudo make test-units"]
    return [*_machine(), *_programs(), *_groups(), *_mounts()]


def hierarchies() -> Iterator[str]:
    """Where groups of our own are made: below our own one in cgroup v2, and in systemd's of v1 where that is."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        number, controllers, path = line.split(":", 2)
        own["cgroup2" if number == "0" else controllers] = path
    for line in Path("/proc/self/mounts").read_text("ascii").splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup2":
            yield where + own["cgroup2"].rstrip("/")
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            yield where + own["name=systemd"].rstrip("/")


def _machine() -> Iterator[str]:
    if (machine := os.uname().machine) != MACHINE:
        yield f"A {machine} machine: the Debians of these tests, and their probes, are {MACHINE} ones."


def _programs() -> Iterator[str]:
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            yield f"{program} is missing: bench/debian-packages {package}"


def _groups() -> Iterator[str]:
    kinds = {line.split()[2] for line in Path("/proc/self/mounts").read_text("ascii").splitlines()}
    if "cgroup2" not in kinds:
        yield "Control groups v2 are mounted nowhere: mount -t cgroup2 cgroup2 /sys/fs/cgroup, or a newer kernel."
    for mount in hierarchies():
        group = Path(mount, f"knoop-{os.getpid()}-0")
        try:
            group.mkdir()
            group.rmdir()
        except OSError as error:
            yield f"{mount}: {error.strerror}: no control group can be made there; in a container: --privileged."


def _mounts() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc",
                   "sh", "-c", MOUNTS, "sh", folder)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return  # and said already
        if done.returncode:
            yield ("No namespace with an overlay mount in it can be made here; in a container: --privileged. "
                   f"{done.stderr.strip()}")
