"""Who supervises us hears of us, and cannot hold us up."""

from __future__ import annotations

import socket
import threading

import pytest

from knoop_hw.notify import notify


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """The socket that systemd reads, which nobody reads here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_what_is_said_arrives(systemd):
    notify("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_a_systemd_that_froze_does_not_stop_us(systemd):
    """Its socket stays when it freezes, and the queue of that fills: the loop then stood still for ever."""
    full, sender = False, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender:
        sender.setblocking(False)
        while not full:
            try:
                sender.sendto(b"WATCHDOG=1", systemd.getsockname())
            except BlockingIOError:
                full = True
    saying = threading.Thread(target=notify, args=["WATCHDOG=1"], daemon=True)
    saying.start()
    saying.join(5)
    assert not saying.is_alive()


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here"])
def test_nobody_who_listens_is_no_trouble(address, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
