"""A TCP connection to whichever address of a host answers first (RFC 8305), which the kernel gives up when it is dead.

asyncio's own `happy_eyeballs_delay` is not used: uvloop has none, and a socket needs its options before it connects.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

STAGGER_S = 0.25  # RFC 8305 §5: until the next address is tried as well
USER_TIMEOUT_S = 20.0  # RFC 5482: so long may what we sent stay unacknowledged by the other end's kernel


async def connect(addresses: Iterable[str], port: int) -> socket.socket:
    """A connected socket. Raises the OSError of the first address when all fail; the caller bounds the time."""
    waiting = list(addresses)
    tries: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    won: socket.socket | None = None
    try:
        while won is None and (waiting or tries):
            if waiting:
                tries.add(asyncio.create_task(_try(waiting.pop(0), port)))
            done, tries = await asyncio.wait(
                tries, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if isinstance(error := task.exception(), OSError):
                    errors.append(error)
                elif won is None:
                    won = task.result()
                else:
                    task.result().close()
    finally:
        for task in tries:
            task.add_done_callback(_discard)  # nothing is awaited here: a cancellation would lose the one that won
            task.cancel()
    if won is None:
        raise errors[0] if errors else OSError("no address to connect to")
    return won


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _try(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        harden(sock)
        where = (address, port) if family == socket.AF_INET else _scoped(address, port)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _scoped(address: str, port: int) -> tuple[str, int, int, int]:
    """`fe80::1%eth0` with its interface as a number: asyncio looks nothing up."""
    address, _, scope = address.partition("%")
    return (address, port, 0, (int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)) if scope else 0)


def harden(sock: socket.socket) -> None:
    """Let the kernel end a connection whose other end is gone; ours pings, so no keepalive of TCP's is needed."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(USER_TIMEOUT_S * 1000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
