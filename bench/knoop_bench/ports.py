"""Ports on loopback that stay ours while a server is down."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections import deque
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000  # above what distributions register for their services
_BLOCK = 64  # ports a process claims at once

_ours: deque[int] = deque()  # of the blocks that this process claimed; the one used longest ago comes first


def free_ports(count: int) -> tuple[int, ...]:
    """Different TCP ports of 127.0.0.1 that nobody listens on, and that no other process is given by us.

    They lie below the kernel's range for outgoing connections: a client that keeps knocking at the port of a
    server that is down could otherwise be given that very port as its own, connect to itself and keep the
    server out.
    Raises OSError when there are none.
    """
    found: list[int] = []
    tried: set[int] = set()
    while len(found) < count:
        if not _ours or _ours[0] in tried:
            _claim()
        port = _ours.popleft()
        tried.add(port)
        _ours.append(port)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((LOOPBACK, port))
            found.append(port)
    return tuple(found)


def _claim() -> None:
    """Make one more block of ports ours: a name in the kernel's table stands for it until this process ends."""
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    below, above = range(_LOWEST, lowest), range(highest + 1, 65_536)
    starts = next(r for r in (below, above, range(_LOWEST, 65_536)) if len(r) > 8 * _BLOCK)[:-_BLOCK:_BLOCK]
    for start in secrets.SystemRandom().sample(starts, len(starts)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0knoop-ports-{start}")
        except OSError:
            claim.close()
            continue
        claim.detach()  # a descriptor that nobody closes before the process ends
        _ours.extendleft(reversed(range(start, start + _BLOCK)))
        return
    raise OSError(f"every port of {LOOPBACK} from {_LOWEST} on is claimed by another run")
