"""Knoop as a service of this machine: where that is, and whose its files are (systemd/knoop.sysusers)."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from knoop.errors import StoreError
from knoop_hw import places

AGENT = GROUP = "knoop"  # the user of the half with the network; the group that both halves are in
BOARD = "knoop-hw"  # the user of the half with the devices
START = "sudo systemctl enable --now knoop-hw knoop"
RESTART = "sudo systemctl restart knoop-hw knoop"
SHARED, SECRET = 0o640, 0o600
SETUP = "knoop-setup"  # in the folder for states: what the setup of Knoop's own image remembers, root's alone


def is_of(config: Path) -> bool:
    """Whether this is the configuration of the service, or its folder."""
    return config.absolute().resolve().is_relative_to(places.SYSTEM.parent.resolve())


def here() -> bool:
    """Whether the service is installed on this machine."""
    return group() is not None and places.SYSTEM.parent.is_dir()


def default() -> Path | None:
    """The folder that root means who names none: the service's, where there is one."""
    return places.SYSTEM.parent if may() and here() else None


def group() -> int | None:
    """The group that reads the configuration; None where nothing is installed."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def of_the_setup() -> list[Path]:
    """What the setup of Knoop's own image remembers: an invite with the password to be, which card it took over last.

    Without the last one it reads the card again, and says what is missing for a node. Raises OSError.
    """
    folder = places.SYSTEM_STATE / SETUP
    return sorted(file for file in folder.iterdir() if not file.is_dir()) if folder.is_dir() else []


def opener(config: Path) -> str:
    """Who opens the devices of this configuration, where root looks at the service's; else "", this user."""
    return BOARD if may() and group() is not None and is_of(config) else ""


def may() -> bool:
    """Whether this user may make and change what is the service's."""
    return os.geteuid() == 0


def give(file: Path, *, called: str, user: str = AGENT) -> None:
    """As root: what was put into the folder of the configuration, to those who are to read it.

    `called`: its name in the end. Both halves read TOML; all else may be a secret, and is the `user`'s alone. Raises
    OSError.
    """
    shared = group()
    if not may() or shared is None:
        return
    if called.endswith(".toml"):
        os.chown(file, 0, shared)
        file.chmod(SHARED)
    else:
        try:
            them = pwd.getpwnam(user)
        except KeyError:
            raise StoreError(f"{file}: there is no user '{user}' to give it to; install Knoop's package again, which "
                             "makes it") from None
        os.chown(file, them.pw_uid, them.pw_gid)
        file.chmod(SECRET)


def give_folders(folders: Iterable[Path]) -> None:
    """The same for folders below it, that both halves get through them."""
    if may() and (shared := group()) is not None:
        for folder in folders:
            os.chown(folder, 0, shared)
            folder.chmod(0o750)
