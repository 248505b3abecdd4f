"""A cable between a guest and this machine: a network namespace of its own, in which there is nothing but a tap.

QEMU's own network lets a guest out and nobody in; from here it is seen as by a neighbour in the house. Namespace and
tap go with their last process, so nothing is left behind however a test ends. Needs root and /dev/net/tun.

    python -m tests.image.lan HANDLE      # in the namespace: hand over the tap, then lend addresses until killed
    python -m tests.image.lan ADDRESS     # in the namespace: knock at every TCP port; JSON on standard output
    python -m tests.image.lan NAME.local  # in the namespace: ask who that is; as above
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parents[2]
NAME = "lan"
MAC = "52:54:00:6b:6e:02"  # of the guest's end; its link-local address follows from it (RFC 4291 appendix A)
HOST, GUEST = "10.77.0.1", "10.77.0.2"
ADDRESSES = (GUEST, f"fe80::5054:ff:fe6b:6e02%{NAME}")  # the guest's
NEEDS = "a cable to the guest needs root and /dev/net/tun (in a container: --device /dev/net/tun, NET_ADMIN)"
_TUNSETIFF, _TAP = 0x400454CA, 0x0002 | 0x1000  # linux/if_tun.h: IFF_TAP, IFF_NO_PI
_COOKIE = b"\x63\x82\x53\x63"  # RFC 2131 §3
_KIND, _END = 53, 255
_ANSWERS = {1: 2, 3: 5}  # RFC 2132 §9.6: to DISCOVER an OFFER, to REQUEST an ACK
_LENT_S = 86400
EVERY = range(1, 1 << 16)
AT_ONCE = 64  # fewer than the tap's queue holds, so that nothing is lost and asked for again
ASKED, ASK_AGAIN_S = 100, 2.0
_MDNS = "224.0.0.251", 5353
TRIES = 4  # SYNs without an answer, within half a minute; then a port is taken for silent
KNOCK_S = 300.0
THERE_S = 300.0


@dataclass
class Lan:
    """`with Lan() as lan:`; `lan.tap` is the handle for QEMU, which need not be in the namespace."""

    tap: int = -1
    helper: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.helper = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", *_ourselves(str(theirs.fileno()))],
                cwd=HERE, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            theirs.close()
            try:
                _, handles, _, _ = socket.recv_fds(ours, 1, 1)
                assert handles, f"{NEEDS}: {self._said()}"
            except BaseException:
                self.__exit__()
                raise
        (self.tap,) = handles
        return self

    def __exit__(self, *_: object) -> None:
        if self.helper is not None and self.helper.stderr is not None:
            self.helper.kill()
            self.helper.wait()
            self.helper.stderr.close()
        if self.tap >= 0:
            os.close(self.tap)
        self.tap, self.helper = -1, None

    def device(self) -> Sequence[str]:
        """What QEMU is told; it is to inherit `tap`."""
        return "-netdev", f"tap,id={NAME},fd={self.tap}", "-device", f"virtio-net-device,netdev={NAME},mac={MAC}"

    async def run(self, *command: str, within_s: float) -> subprocess.CompletedProcess[str]:
        """A program at this end of the cable."""
        assert self.helper is not None
        process = await asyncio.create_subprocess_exec(
            "nsenter", f"--net=/proc/{self.helper.pid}/ns/net", *command, cwd=HERE, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            out, said = await asyncio.wait_for(process.communicate(), within_s)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return subprocess.CompletedProcess(command, process.returncode, out.decode(), said.decode("utf-8", "replace"))

    async def open_ports(self, address: str) -> frozenset[int]:
        """The TCP ports at which the guest listens, once it has this address.

        Raises AssertionError unless each of the others said that nobody is there.
        """
        try:
            async with asyncio.timeout(THERE_S):
                while (await self._knock(address, "1"))["silent"]:
                    pass  # for as long as it takes to learn that nobody has the address
        except TimeoutError:
            raise AssertionError(f"within {THERE_S:g} s nobody has {address} on the cable") from None
        found = await self._knock(address)
        assert not found["silent"], f"of {address} {len(found['silent'])} ports are silent: {found['silent'][:10]} …"
        assert found["closed"] + len(found["open"]) == len(EVERY)
        return frozenset(found["open"])

    async def finds(self, name: str) -> bool:
        """Whether the guest says that it is called so (`greenhouse.local`) and has the address that it was lent."""
        done = await self.run(*_ourselves(name), within_s=THERE_S)
        assert done.returncode == 0, done.stderr
        return bool(json.loads(done.stdout))

    async def _knock(self, address: str, *ports: str) -> dict[str, Any]:
        done = await self.run(*_ourselves(address, *ports), within_s=KNOCK_S)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def _said(self) -> str:
        """The last words of a helper that ended."""
        assert self.helper is not None
        assert self.helper.stderr is not None
        return self.helper.stderr.read().decode("utf-8", "replace").strip()


def knock(address: str, ports: Sequence[int]) -> dict[str, object]:
    """Which of these TCP ports are open, how many are closed, and which say nothing."""
    family, _, _, _, (_, _, *scope) = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    left, said = iter(ports), {}
    with selectors.DefaultSelector() as waiting:
        while True:
            while len(waiting.get_map()) < AT_ONCE and (port := next(left, None)) is not None:
                line = socket.socket(family, socket.SOCK_STREAM)
                line.setblocking(False)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, TRIES)
                said[port] = line.connect_ex((address, port, *scope))
                if said[port] == errno.EINPROGRESS:
                    waiting.register(line, selectors.EVENT_WRITE, (line, port))
                else:
                    line.close()
            if not waiting.get_map():
                break
            for key, _ in waiting.select():
                line, port = key.data
                said[port] = line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                waiting.unregister(line)
                line.close()
    closed = sum(code == errno.ECONNREFUSED for code in said.values())
    silent = [port for port, code in said.items() if code not in {0, errno.ECONNREFUSED}]
    return {"open": [port for port, code in said.items() if code == 0], "closed": closed, "silent": silent}


def called(name: str) -> bool:
    """Ask by mDNS (RFC 6762) until somebody says that GUEST has this name; False where nobody does for long."""
    question = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind(("", _MDNS[1]))
        here = socket.inet_aton(HOST)
        for option, value in ((socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_MDNS[0]) + here),
                              (socket.IP_MULTICAST_IF, here), (socket.IP_MULTICAST_TTL, bytes((255,))),
                              (socket.IP_MULTICAST_LOOP, bytes((0,)))):  # fmt: skip
            line.setsockopt(socket.IPPROTO_IP, option, value)
        line.settimeout(ASK_AGAIN_S)
        for _ in range(ASKED):
            line.sendto(struct.pack("!6H", 0, 0, 1, 0, 0, 0) + question + struct.pack("!2H", 1, 1), _MDNS)
            with suppress(TimeoutError):
                said = line.recv(9000)
                if said[2] & 0x80 and question in said and socket.inet_aton(GUEST) in said:
                    return True
    return False


def _serve(handle: int) -> None:
    """Plug the cable in, give its other end away, and be the router of this house."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", NAME.encode(), _TAP))
    for words in ("link set lo up", f"address add {HOST}/24 dev {NAME}", f"link set {NAME} up"):
        subprocess.run(["ip", *words.split()], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, NAME.encode())
        line.bind(("", 67))
        with socket.socket(fileno=handle) as out:
            socket.send_fds(out, [b"."], [tap])
        os.close(tap)
        while True:
            if answer := lent(line.recv(2048)):
                line.sendto(answer, ("255.255.255.255", 68))


def lent(asked: bytes) -> bytes:
    """What a DHCP client is told: GUEST is theirs, without a way out or a name server. b'' for what is no question."""
    at, kind = 240, 0
    while asked[236:240] == _COOKIE and at + 2 < len(asked) and asked[at] != _END:
        if asked[at] == _KIND:
            kind = asked[at + 2]
        at += 2 + asked[at + 1] if asked[at] else 1
    if kind not in _ANSWERS:
        return b""
    host, mask = socket.inet_aton(HOST), b"\xff\xff\xff\x00"
    head = struct.pack("!4B4s8x4s8x16s", 2, 1, 6, 0, asked[4:8], socket.inet_aton(GUEST), asked[28:44])
    options = bytes((_KIND, 1, _ANSWERS[kind], 54, 4)) + host + bytes((51, 4)) + struct.pack("!I", _LENT_S)
    return head.ljust(236, b"\0") + _COOKIE + options + bytes((1, 4)) + mask + bytes((_END,))


def _ourselves(*arguments: str) -> Sequence[str]:
    return sys.executable, "-m", "tests.image.lan", *arguments


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        _serve(int(sys.argv[1]))
    if sys.argv[1].endswith(".local"):
        json.dump(called(sys.argv[1]), sys.stdout)
    else:
        json.dump(knock(sys.argv[1], [*map(int, sys.argv[2:])] or EVERY), sys.stdout)
