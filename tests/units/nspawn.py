"""A Debian that is booted: systemd as process 1 under systemd-nspawn, with everything in it that units are made of.

It shares the network of this machine (a Prosody on loopback is within its reach) and writes into memory only. Its
processes and mounts go with it, also when the test's own process is killed. What that takes: needs.py.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.running import Ended
from tests.units import needs

BOUND_S = 90.0  # a boot takes 1 s; a busy machine must not make a test fail
POLL_S = 0.02
SIGRTMIN_HALT = signal.SIGRTMIN + 14  # systemd(1): power off at once
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
               "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
_numbers = itertools.count(1)


class Container:
    """A Debian over `root`, which stays as it is. `with Container(root(suite), tmp_path) as container: …`.

    `folder`: where the console's log goes, and what is to be there before the boot (`prepare`). `binds`: what is shown
    inside, read-only: inside → outside.
    """

    def __init__(self, root: Path, folder: Path, *, binds: dict[str, Path] | None = None) -> None:
        self.name = f"knoop-{os.getpid()}-{next(_numbers)}"
        self._root, self._folder, self._binds = root, folder / self.name, dict(binds or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._groups = [Path(mount, self.name) for mount in needs.hierarchies()]
        (self._folder / "above").mkdir(parents=True)

    def prepare(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Have a file there before the boot."""
        file = self._folder / "above" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def start(self) -> Self:
        """Boot, and return once systemd has nothing left to start. Raises AssertionError when that takes too long."""
        memory, above = self._folder / "memory", self._folder / "above"
        memory.mkdir(exist_ok=True)
        # Mounts and processes are of namespaces of their own, whose first process is killed when ours ends.
        script = (
            'set -e; mount -t tmpfs -o size=2g,mode=755 tmpfs "$1"; mkdir -m 755 "$1/upper" "$1/work" "$1/root"; '
            'mount -t overlay overlay -o "lowerdir=$2:$3,upperdir=$1/upper,workdir=$1/work" "$1/root"; '
            'root=$1/root; shift 3; exec systemd-nspawn --directory="$root" "$@"'
        )
        above.chmod(0o755)
        command = (
            "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
            "--mount-proc", "--kill-child", "sh", "-c", script, "sh", str(memory), str(above), str(self._root),
            "--quiet", "--register=no", "--keep-unit", "--boot",
            # What systemd cannot set up it leaves out, and goes on: DeviceAllow= and IPAddressDeny= are programs of
            # BPF, and PrivateNetwork= has a loopback to bring up. To ask the clock is what a unit may forbid, not we.
            "--capability=CAP_BPF,CAP_NET_ADMIN", "--system-call-filter=bpf adjtimex clock_adjtime",
            f"--machine={self.name}", "--console=read-only", "--link-journal=no", "--resolv-conf=bind-host",
            "--timezone=off", *(f"--bind-ro={outside}:{inside}" for inside, outside in self._binds.items()),
        )
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        for group in self._groups:
            _remove_stale(group.parent)
            group.mkdir()
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                ("sh", "-c", 'for group in $GROUPS_OF_KNOOP; do echo 0 > "$group/cgroup.procs"; done; exec "$@"', "sh",
                 *command),
                env={**environment, "GROUPS_OF_KNOOP": " ".join(map(str, self._groups))},
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )
        self.until(self._find_leader, "systemd is not there")
        self.until(lambda: self._inside("run/systemd/private").exists(), "systemd does not answer")
        state = self.run("systemctl", "is-system-running", "--wait", check=False).out.strip()
        if state not in {"running", "degraded"}:
            raise AssertionError(f"it booted to {state!r}:\n{self.console}")
        return self

    __enter__ = start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Be gone, with everything in it. Closing twice is fine."""
        if self._process is not None:
            for number in (SIGRTMIN_HALT, signal.SIGKILL):
                if self._leader:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self._leader, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(BOUND_S / 3)
                    break
            else:
                self._process.kill()
                self._process.wait(BOUND_S)
            self._process, self._leader = None, 0
        for group in self._groups:
            _remove(group)
        with contextlib.suppress(OSError):
            Path("/run/systemd/nspawn/propagate", self.name).rmdir()

    def run(
        self, *argv: str, check: bool = True, stdin: str = "", within_s: float = BOUND_S,
        environment: dict[str, str] | None = None,
    ) -> Ended:
        """Run a command inside, as root and in no sandbox. With `check` anything but 0 is an AssertionError."""
        enter = ("nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd")
        done = subprocess.run(
            [*enter, *argv], input=stdin, capture_output=True, text=True, errors="replace", timeout=within_s,
            check=False, env={**ENVIRONMENT, **(environment or {})},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)} → {done.returncode}:\n{done.stdout}{done.stderr}")
        return Ended(done.returncode, done.stdout, done.stderr)

    def read(self, path: str) -> str:
        return self.run("cat", path).out

    def write(self, path: str, content: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file inside; its folders are made."""
        script = 'mkdir -p "${1%/*}"; umask 077; cat > "$1"; chown "$3" "$1"; chmod "$2" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", owner, stdin=content)

    def exists(self, path: str) -> bool:
        return self.run("test", "-e", path, check=False).code == 0

    def journal(self, unit: str = "") -> str:
        """What a unit said, and what systemd said of it; everything without one."""
        which = ("--unit", unit) if unit else ()
        return self.run("journalctl", "--no-pager", "--quiet", "--output=cat", *which, check=False).out

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """A unit's properties (systemctl show)."""
        said = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").out
        return dict(line.split("=", 1) for line in said.splitlines())

    def state(self, unit: str) -> str:
        """`active`, `inactive`, `failed`, `activating` …"""
        return self.show(unit, "ActiveState")["ActiveState"]

    def main_pid(self, unit: str) -> int:
        """The id, inside, of a unit's main process; 0 without one."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def until(self, true: Callable[[], object], what: str | Callable[[], str], within_s: float = BOUND_S) -> None:
        """Return when `true`; raise AssertionError with `what` and the console when it is not within the bound."""
        end = time.monotonic() + within_s
        while not true():
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"the container is gone:\n{self.console}")
            if time.monotonic() > end:
                said = what if isinstance(what, str) else what()
                raise AssertionError(f"{said} (within {within_s:g} s):\n{self.console}")
            time.sleep(POLL_S)

    @property
    def console(self) -> str:
        """What it said while it booted: its last lines."""
        text = self._console.read_text("utf-8", "replace") if self._console.exists() else ""
        return "\n".join(text.splitlines()[-60:])

    @property
    def _console(self) -> Path:
        return self._folder / "console.log"

    def _inside(self, path: str) -> Path:
        return Path(f"/proc/{self._leader}/root") / path

    def _find_leader(self) -> bool:
        """Process 1 of the container: nspawn's child that is first in a namespace of its own."""
        assert self._process is not None
        for nspawn in _children(self._process.pid):
            for child in _children(nspawn):
                with contextlib.suppress(OSError):
                    ids = _field(Path(f"/proc/{child}/status").read_text("ascii", "replace"), "NSpid").split()
                    if ids[-1] == "1" and Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                        self._leader = child
                        return True
        return False


def _children(pid: int) -> Sequence[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _field(status: str, name: str) -> str:
    return next((line.partition(":")[2] for line in status.splitlines() if line.startswith(f"{name}:")), "")


def _remove_stale(parent: Path) -> None:
    """Groups of test runs that were killed."""
    for group in parent.glob("knoop-*-*"):
        pid = group.name.split("-")[1]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            _remove(group)
            with contextlib.suppress(OSError):
                Path("/run/systemd/nspawn/propagate", group.name).rmdir()


def _remove(group: Path) -> None:
    """A control group and those below it, once their last process is gone."""
    end = time.monotonic() + BOUND_S
    while group.exists():
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(POLL_S)
