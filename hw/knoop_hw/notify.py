"""What systemd wants to hear (sd_notify(3)); silent when nobody listens."""

from __future__ import annotations

import os
import socket

from knoop_hw.clock import monotonic_us

WAIT_S = 0.05  # for room in its queue, which is full only where systemd does not read


def notify(state: str) -> None:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1` or `STOPPING=1` to NOTIFY_SOCKET, if there is one that takes it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(WAIT_S)
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return  # a supervisor that went away, or freezes, must not take us along


def reloading() -> None:
    """Say that a reload begins (Type=notify-reload); it is over with the next `READY=1`, whatever became of it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={monotonic_us()}")
