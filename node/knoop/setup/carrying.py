"""A plan becomes the machine's: network, time, name, keys, buses, password, node.toml; then the card is wiped.

Each step may be done again, and leaves a file as it was or as it is to be. Where a power cut comes between them, the
next start does them all.
"""

from __future__ import annotations

import socket

from knoop import credential, files, places
from knoop.setup import account, buses, plan
from knoop.setup.machine import FREE, SYSTEMCTL, Machine
from knoop.setup.plan import Plan

KEYS = "etc/ssh/knoop_authorized_keys"  # not in /root, which is as read-only as the rest of the image
SERVERS = "etc/systemd/timesyncd.conf.d/knoop.conf"
LOCALTIME, HOSTNAME = "etc/localtime", "etc/hostname"
UNITS, WANTED = "/usr/lib/systemd/system", "etc/systemd/system/multi-user.target.wants"
JOINS, SHELL = "wpa_supplicant@wlan0.service", "ssh.service"


def out(wanted: Plan, machine: Machine) -> bool:
    """Do all of it, in this order; whether the machine must start once more. Raises OSError."""
    _machine(wanted, machine)
    other = False
    if wanted.buses is not None:
        other = _said(wanted.buses) != _said(machine.read(machine.boot / buses.FILE))
        machine.leave(buses.FILE, wanted.buses.encode())
    if wanted.password:
        credential.store(places.PASSWORD_CREDENTIAL, wanted.password, root=machine.root)
    if wanted.node is not None:
        for name, content in wanted.beside.items():
            machine.put(machine.node.with_name(name), content, shared=True)
        if wanted.waits:
            account.expect(machine, wanted.node, wanted.invite)
        else:
            account.put(machine, wanted.node)
            account.forget(machine)
    if wanted.wipe:
        machine.remember(FREE, {"free": True})
        with machine.writable():
            for name, spans in wanted.wipe.items():
                machine.wipe(name, spans)
    return other


def _said(text: str) -> list[str]:
    """What of it the firmware goes by."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _machine(wanted: Plan, machine: Machine) -> None:
    """Network, time, name and keys."""
    root = machine.root
    if wanted.wifi:
        machine.put(root / plan.WPA, wanted.wifi, mode=0o600)
    else:
        files.remove(root / plan.WPA)
    _service(machine, JOINS, "wpa_supplicant@.service", there=bool(wanted.wifi))
    if wanted.servers:
        machine.put(root / SERVERS, f"[Time]\nNTP={' '.join(wanted.servers)}\n")
    else:
        files.remove(root / SERVERS)
    machine.link(root / LOCALTIME, f"/{plan.ZONES}/{wanted.zone or 'Etc/UTC'}")
    if name := wanted.hostname.replace("_", "-").strip("-"):
        machine.put(root / HOSTNAME, f"{name}\n")
        if machine.live:
            socket.sethostname(name)
    if wanted.keys:
        machine.put(root / KEYS, "".join(f"{line}\n" for line in wanted.keys), mode=0o600)
    else:
        files.remove(root / KEYS)
    _service(machine, SHELL, SHELL, there=bool(wanted.keys))


def _service(machine: Machine, name: str, unit: str, *, there: bool) -> None:
    """Have it run, now and at each start, or not; by the link that systemctl makes."""
    link = machine.root / WANTED / name
    if there and machine.link(link, f"{UNITS}/{unit}"):
        machine.call(SYSTEMCTL, "--no-block", "start", name)
    elif not there and files.remove(link):
        machine.call(SYSTEMCTL, "--no-block", "stop", name)
