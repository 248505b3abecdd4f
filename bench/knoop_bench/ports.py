"""Ports on loopback that stay ours while a server is down."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000  # above what distributions register for their services
_TRIES = 500


def free_ports(count: int) -> tuple[int, ...]:
    """Different TCP ports of 127.0.0.1 that nobody listens on.

    They lie below the kernel's range for outgoing connections: a client that keeps knocking at the port of a
    server that is down could otherwise be given that very port as its own, connect to itself and keep the
    server out.
    Raises OSError when there are none.
    """
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    candidates = range(_LOWEST, lowest) if lowest - _LOWEST > _TRIES else range(highest + 1, 65_536)
    if len(candidates) < _TRIES:
        candidates = range(_LOWEST, 65_536)
    with contextlib.ExitStack() as held:  # held until all are found, so that they differ
        ports: list[int] = []
        for port in secrets.SystemRandom().sample(candidates, _TRIES):
            if len(ports) == count:
                return tuple(ports)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                ports.append(port)
    raise OSError(f"{count} free ports on {LOOPBACK} were not found in {_TRIES} tries")
