"""Whether this user may open a device, and what to do when not."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path


def may(path: Path) -> bool:
    """Whether this process may read and write it."""
    return os.access(path, os.R_OK | os.W_OK)


def us() -> str:
    """This process's user, as a person knows them."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # systemd's DynamicUser, containers
        return f"user id {os.geteuid()}"


def remedy(path: Path) -> str:
    """How this user comes to be one who may open it; never fails."""
    try:
        status = path.stat()
    except OSError:
        return "look at it with `ls -l`: it is gone, or in a folder that is not for us"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if status.st_mode & 0o060 == 0o060 and group != "root":
        return f"sudo usermod -aG {group} {us()}, then log in again, or restart the node"
    return f"its group '{group}' may not either: give it one by a udev rule, as 99-com.rules of Raspberry Pi OS does"
