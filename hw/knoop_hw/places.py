"""Where things are on this machine: the configuration, the state, the socket. Reads the environment for both halves, so
that no other module has to.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from knoop_hw.errors import ConfigError, Problem

SYSTEM = Path("/etc/knoop/node.toml")
SYSTEM_STATE = Path("/var/lib")
SYSTEM_SOCKET = Path("/run/knoop/board.sock")
IMAGE = Path("/usr/share/knoop-image")  # there only on Knoop's own image: what it says of itself
FIRST_PASSED = 3  # SD_LISTEN_FDS_START: the first descriptor that systemd passes on


def search(explicit: Path | None) -> Path:
    """The configuration to use: `--config`, `./node.toml`, XDG, `/etc/knoop`. Raises ConfigError naming them all."""
    if explicit:
        return explicit
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (Path("node.toml"), xdg / "knoop" / "node.toml", SYSTEM)
    for place in places:
        if _is_file(place):
            return place
    listed = ", ".join(str(place) for place in places)
    raise ConfigError([Problem("", 0, "", f"no configuration found at {listed}; name one with --config FILE")])


def _is_file(place: Path) -> bool:
    """The service's counts as there where it may not be seen: who reads it says that it is forbidden."""
    try:
        return place.is_file()
    except PermissionError:
        return place == SYSTEM


def state_directory(name: str) -> Path:
    """What a half remembers: systemd's STATE_DIRECTORY, else XDG's folder of that name. Created 0700 when missing."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = Path(given) if given else base / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def state_of(config: Path, name: str) -> Path:
    """The same for a command beside a running half: what systemd's service of the system's file remembers, if it is
    that file. Before its first start root makes the folder as systemd would; who cannot has their own.
    """
    system = SYSTEM_STATE / name
    if not os.environ.get("STATE_DIRECTORY") and config.resolve().is_relative_to(SYSTEM.parent):
        if not system.is_dir() and os.geteuid() == 0 and _users(name):
            make_state(system)
        if system.is_dir():
            return system
    return state_directory(name)


def make_state(folder: Path) -> None:
    """Make a folder to remember in, 0700, with its parents; a service's is its user's. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0 and folder.parent == SYSTEM_STATE and (owner := _users(folder.name)):
            os.chown(folder, *owner)


def _users(name: str) -> tuple[int, int] | None:
    """The user and group of a half that is a service: it is called as its folder is."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return None
    return user.pw_uid, user.pw_gid


def status_file() -> Path | None:
    """Where a node says how it is: systemd's RUNTIME_DIRECTORY, else XDG's folder `knoop`, created 0700 when missing.

    None where there is neither: then nobody is told.
    """
    given, own = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0], os.environ.get("XDG_RUNTIME_DIR", "")
    if not given and not own:
        return None
    folder = Path(given) if given else Path(own) / "knoop"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder / "status.json"


def credential(name: str) -> Path | None:
    """The file of this name that systemd passed (LoadCredential=, systemd.exec(5)); None when it did not."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    file = Path(folder, name)
    return file if folder and file.is_file() else None


def board_socket(config: Path) -> Path:
    """Where the halves of this configuration meet: the system's socket for the system's file, else the user's own."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if not own or config.resolve().is_relative_to(SYSTEM.parent):
        return SYSTEM_SOCKET
    return Path(own) / "knoop" / SYSTEM_SOCKET.name


def passed_socket() -> int | None:
    """The descriptor of a listening socket that systemd opened for this process (sd_listen_fds(3)); None without one.

    What was read is removed from the environment: a process that this one starts must not believe that it is meant.
    """
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or not int(count):
        return None
    if int(count) > 1:
        text = f"systemd passed {count} sockets, but one is meant; give the .socket unit one ListenStream="
        raise ConfigError([Problem("", 0, "", text)])
    return FIRST_PASSED
