"""A secret of the service's as a credential of systemd's: encrypted for this machine, else a file of root's alone.

Units take either by its name (LoadCredentialEncrypted=, systemd.exec(5)). The secret goes through a pipe: arguments and
environment are for everybody to read.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from knoop import files

ROOT = Path("/")  # of this machine
PROGRAM = "/usr/bin/systemd-creds"  # as root, not whatever a PATH says
ENCRYPTED, PLAIN = "etc/credstore.encrypted", "etc/credstore"
# With the machine's own key, also where there is a TPM: what is bound to one is lost with the next update of the
# firmware, and a node far away with it. Who wants that can encrypt it so by hand.
ENCRYPT = (PROGRAM, "encrypt", "--with-key=host")
DECRYPT = (PROGRAM, "decrypt")
LONGEST_S = 60.0  # it takes 30 ms; a board's first start may wait for randomness

Runner = Callable[[tuple[str, ...], bytes], bytes | None]


def run(command: tuple[str, ...], given: bytes) -> bytes | None:
    """What a program prints when this comes in; None where it is not there, fails or hangs."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own words
            command, input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, check=True,
            timeout=LONGEST_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def store(name: str, secret: str, *, root: Path = ROOT, runner: Runner = run) -> Path:
    """Have `secret` on the disk as the credential `name`, instead of what it was; returns the file. Needs root.

    Plain (mode 600) where this machine cannot encrypt, or for another `root`, whose key is not here. Raises OSError.
    """
    target, content = prepared(name, secret, root=root, runner=runner)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.put(target, content.encode(), mode=0o600)
    settle(target, root=root)
    return target


def prepared(name: str, secret: str, *, root: Path = ROOT, runner: Runner = run) -> tuple[Path, str]:
    """Where `store` would put it and what would stand there, for whoever writes it together with other files."""
    if root == ROOT and (sealed := _sealed(name, secret.encode(), runner)):
        return root / ENCRYPTED / name, sealed.decode("ascii")
    return root / PLAIN / name, secret


def settle(kept: Path, *, root: Path = ROOT) -> None:
    """There is one of a name: what else was stored so goes."""
    for folder in (ENCRYPTED, PLAIN):
        if (other := root / folder / kept.name) != kept:
            files.remove(other)


def find(name: str, *, root: Path = ROOT) -> Path | None:
    """Where the credential of this name is, if it is there. Raises PermissionError for whoever may not know."""
    for file in (root / ENCRYPTED / name, root / PLAIN / name):
        try:
            file.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return file
    return None


def read(name: str, *, root: Path = ROOT, runner: Runner = run) -> str | None:
    """The secret again, None where there is none. Needs root. Raises OSError, also for one of another machine."""
    if (file := find(name, root=root)) is None:
        return None
    content = file.read_bytes()
    if file.parent == root / PLAIN:
        return content.decode()
    opened = runner((*DECRYPT, f"--name={name}", "-", "-"), content)
    if opened is None:
        raise OSError(0, "was not encrypted on this machine", str(file))
    return opened.decode()


def remove(name: str, *, root: Path = ROOT) -> list[Path]:
    """Forget the credential, and what `knoop init` left beside it; returns what is gone. Raises OSError."""
    folders = (root / ENCRYPTED, root / PLAIN)
    beside = (f"{name}.old*", f".{name}.*")  # the last: written by one that met a power cut
    return [
        file for folder in folders
        for file in (folder / name, *(found for pattern in beside for found in folder.glob(pattern)))
        if files.remove(file)
    ]  # fmt: skip


def _sealed(name: str, secret: bytes, runner: Runner) -> bytes | None:
    """Encrypted as text, and proven to open again: a node whose password does not is dark until somebody comes."""
    sealed = runner((*ENCRYPT, f"--name={name}", "-", "-"), secret)
    return sealed if sealed and runner((*DECRYPT, f"--name={name}", "-", "-"), sealed) == secret else None
