"""Whether this user may open a device, and what to do when not."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path


def may(path: Path, user: str = "") -> bool:
    """Whether this process, or a user of this name, may read and write it; of another an ACL is not known.

    Nobody may what is not there, and who is not there may nothing: `remedy` says so.
    """
    if not user:
        return os.access(path, os.R_OK | os.W_OK)
    try:
        them, there = pwd.getpwnam(user), path.stat()
    except (KeyError, OSError):
        return False
    groups = os.getgrouplist(user, them.pw_gid)
    bits = there.st_mode >> (6 if there.st_uid == them.pw_uid else 3 if there.st_gid in groups else 0)
    return bits & 0o6 == 0o6


def us(user: str = "") -> str:
    """This process's user, or who is meant instead, as a person knows them."""
    if user:
        return user
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # systemd's DynamicUser, containers
        return f"user id {os.geteuid()}"


def remedy(path: Path, user: str = "") -> str:
    """How this user, or who is meant instead, comes to be one who may open it; never fails."""
    try:
        if user:
            pwd.getpwnam(user)
    except KeyError:
        return f"there is no user '{user}' on this machine; install Knoop's package again, which makes it"
    try:
        status = path.stat()
    except OSError:
        return "look at it with `ls -l`: it is gone, or in a folder that is not for us"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if status.st_mode & 0o060 == 0o060 and group != "root":
        return f"sudo usermod -aG {group} {us(user)}, then log in again, or restart the node"
    return f"its group '{group}' may not either: give it one by a udev rule, as 99-com.rules of Raspberry Pi OS does"
