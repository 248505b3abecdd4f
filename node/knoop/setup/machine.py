"""The machine that is set up: the card's partition, its own folders, and how a file gets there whole."""

from __future__ import annotations

import errno
import json
import os
import select
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knoop import credential, files, installed
from knoop.setup import moved
from knoop_hw.logs import printable

BOOT = Path("/boot/firmware")
ERRORS = "knoop-errors.txt"
SWEPT, FREE = "knoop-sweep.tmp", "wiping-free"
CERTIFICATES = (".pem", ".crt", ".cer")
LARGEST = 2**20  # bytes of a file on the card that is read
ROOM = 2**29  # bytes that are free on a card's partition at most: whatever has more is no such card
SYSTEMCTL, MOUNT = "/usr/bin/systemctl", "/usr/bin/mount"  # as root, not whatever a PATH says
PATIENCE_S = 30.0
SHOWN_S = 5.0  # a serial line takes 1,000 characters in 0.1 s; one that was told to wait (Ctrl-S) may wait for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`boot`: the FAT partition that any computer shows; `root`: `/`, or another folder that stands for it."""

    boot: Path = BOOT
    root: Path = credential.ROOT

    @property
    def live(self) -> bool:
        """Whether this is the machine that we run on."""
        return self.root == credential.ROOT

    @property
    def node(self) -> Path:
        """The configuration; beside it are the one before it, and the one whose account is still to be made."""
        return self.root / "etc/knoop/node.toml"

    @property
    def previous(self) -> Path:
        return self.node.with_name("node.toml.previous")

    @property
    def pending(self) -> Path:
        return self.node.with_name("node.toml.pending")

    @property
    def state(self) -> Path:
        """What a setup remembers: root's alone."""
        return self.root / "var/lib" / installed.SETUP

    def in_reach(self, name: str) -> Path | None:
        """A file on the card with a plain name; None where there is none."""
        path = self.boot / name
        return path if Path(name).name == name and path.is_file() and path.stat().st_size <= LARGEST else None

    def card(self) -> dict[str, bytes]:
        """What lies on the card and is meant for a setup. Raises OSError for what is there and cannot be read."""
        found = {}
        for name in (moved.NAME, *moved.IMAGERS):
            if path := self.in_reach(name):
                found[name] = path.read_bytes()
            elif (self.boot / name).exists():
                raise OSError(errno.EFBIG, "it is no file of at most 1 MiB", str(self.boot / name))
        return found

    def authorities(self) -> dict[str, bytes]:
        """The certificates that lie there for `ca_file`. Raises OSError."""
        there = (self.in_reach(path.name) for path in self.boot.glob("*") if path.suffix.lower() in CERTIFICATES)
        return {path.name: path.read_bytes() for path in there if path}

    def taken(self, path: Path) -> bytes:
        """What a half wrote for us into its own folder; b'' where there is no ordinary file of a size that may be.

        Only that: a half that somebody has taken over must not have root read another file, or for ever.
        """
        with suppress(OSError), files.ordinary(path) as handle:
            if handle is not None and (size := os.fstat(handle).st_size) <= LARGEST:
                return os.read(handle, size)
        return b""

    def read(self, path: Path) -> str:
        """A file's text, '' where there is none."""
        try:
            return path.read_text("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def put(self, path: Path, text: str | bytes, *, mode: int = 0o644, shared: bool = False) -> bool:
        """Have `text` there; whether that was news. `shared`: both halves may read it. Raises OSError."""
        content = text.encode() if isinstance(text, str) else text
        group = installed.group() if shared and self.live else None
        owner = None if group is None else (0, group)
        with suppress(FileNotFoundError):
            there = path.stat()
            theirs = owner not in {None, (there.st_uid, there.st_gid)}
            if stat.S_IMODE(there.st_mode) == mode and not theirs and path.read_bytes() == content:
                return False
        path.parent.mkdir(mode=0o700 if path.parent == self.state else 0o755, parents=True, exist_ok=True)
        files.put(path, content, mode=mode, owner=owner)
        return True

    def link(self, path: Path, target: str) -> bool:
        """Have a symbolic link there; whether that was news. Raises OSError."""
        if path.is_symlink() and str(path.readlink()) == target:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(path)
        files.sync(path.parent)
        return True

    def remembered(self, name: str) -> Mapping[str, Any]:
        """What was kept under this name; empty where nothing is, or nothing that can be read."""
        try:
            data = json.loads(self.read(self.state / name) or "{}")
        except (ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def remember(self, name: str, data: Mapping[str, Any]) -> None:
        """Keep it, mode 600. Raises OSError."""
        self.put(self.state / name, json.dumps(data), mode=0o600)

    def wipe(self, name: str, spans: tuple[moved.Span, ...]) -> None:
        """Write over these parts of a file on the card, in its place: a copy would leave the old blocks as they are.

        A power cut meanwhile leaves a secret that is none: `wiping` knows then where it stood. Raises OSError.
        """
        content = (self.boot / name).read_bytes()
        self.remember(f"wiping-{name}", {"spans": spans, "rest": moved.rest(content, spans)})
        self._over(name, moved.wiped(content, spans))
        files.remove(self.state / f"wiping-{name}")

    def wiping(self) -> None:
        """Go on where a power cut ended it; a file that somebody changed since is left to be read. Raises OSError."""
        for name in (moved.NAME, *moved.IMAGERS):
            if not (told := self.remembered(f"wiping-{name}")):
                continue
            try:
                spans = tuple((int(start), int(end)) for start, end in told["spans"])
            except (KeyError, TypeError, ValueError):  # no word of ours: the card is read as it is
                spans = ()
            content = b""
            with suppress(FileNotFoundError):
                content = (self.boot / name).read_bytes()
            if not all(0 <= start < end <= len(content) for start, end in spans):
                spans = ()
            if spans and moved.rest(content, spans) == told.get("rest") and content != moved.wiped(content, spans):
                with self.writable():
                    self._over(name, moved.wiped(content, spans))
            files.remove(self.state / f"wiping-{name}")

    def _over(self, name: str, content: bytes) -> None:
        handle = os.open(self.boot / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(handle, content, 0)
            os.fsync(handle)
        finally:
            os.close(handle)

    def sweep(self) -> None:
        """Write over what is free on the card, if a secret was wiped since the last time; the last thing that is done.

        An editor that saves a file anew leaves the former one's blocks, and a file that was there meanwhile may keep
        the rest of one. Raises OSError.
        """
        if not self.remembered(FREE):
            return
        there = os.statvfs(self.boot)
        if self.live and there.f_bavail * there.f_frsize <= ROOM:
            with self.writable():
                try:
                    with (self.boot / SWEPT).open("wb", buffering=0) as file:
                        # A page that does not fit whole is not taken at all: the rest goes cluster by cluster.
                        for size in (LARGEST, there.f_frsize):
                            with suppress(OSError):  # full, which is the end of it
                                while file.write(bytes(size)):
                                    pass
                        os.fsync(file.fileno())
                finally:
                    (self.boot / SWEPT).unlink(missing_ok=True)
        files.remove(self.state / FREE)

    def leave(self, name: str, content: bytes) -> bool:
        """Have a file on the card; whether that was news. A power cut may take it: it comes again. Raises OSError."""
        path = self.boot / name
        with suppress(FileNotFoundError):
            if path.read_bytes() == content:
                return False
        with self.writable(), path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return True

    def take_away(self, name: str) -> None:
        """Have no such file on the card. Raises OSError."""
        if (self.boot / name).exists():
            with self.writable():
                files.remove(self.boot / name)

    @contextmanager
    def writable(self) -> Iterator[None]:
        """The card can be written to meanwhile; where it is mounted read-only, it is so again afterwards."""
        if not self.live or not os.statvfs(self.boot).f_flag & os.ST_RDONLY:
            yield
            return
        self.call(MOUNT, "-o", "remount,rw", str(self.boot))
        try:
            yield
        finally:
            self.call(MOUNT, "-o", "remount,ro", str(self.boot))

    def call(self, *command: str) -> bool:
        """Run a program of this machine; whether it did. On another one nothing is run."""
        if not self.live:
            return False
        try:
            done = subprocess.run(  # noqa: S603 -- our own words
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:  # the rest is to be done all the same
            self.say(f"{' '.join(command)}: {error}")
            return False
        if done.returncode:
            self.say(f"{' '.join(command)}: {done.stderr.strip()}")
        return not done.returncode

    def say(self, *lines: str) -> None:
        """For the journal."""
        print(_printable("\n".join(lines)), flush=True)  # noqa: T201 -- a command's output

    def tell(self, text: str) -> None:
        """Have it on the card, for any editor, and on every screen; never fails."""
        try:
            self.leave(ERRORS, text.replace("\n", "\r\n").encode())
        except OSError as error:
            self.say(f"{self.boot / ERRORS} cannot be written: {error.strerror}")
        self.show(text)

    def show(self, text: str) -> None:
        """For whoever stands before a screen or a serial console of this machine: on each that the kernel has."""
        for name in self.read(self.root / "sys/class/tty/console/active").split():
            with suppress(OSError):  # one that is not there, or hangs up
                handle = os.open(self.root / "dev" / name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    left = f"\n{_printable(text.rstrip())}\n".encode()
                    while left and select.select((), (handle,), (), SHOWN_S)[1]:
                        left = left[os.write(handle, left) :]
                finally:
                    os.close(handle)


def _printable(text: str) -> str:
    """Without what would steer a screen: a server or a file may have said it."""
    return "\n".join(map(printable, text.splitlines()))
