"""A name server on loopback that knows what a test told it, and a resolver that asks nobody else."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiodns

A, AAAA, SRV = 1, 28, 33
LOOPBACK = "127.0.0.1"

Records = Mapping[tuple[str, int], Sequence[bytes]]


def name(host: str) -> bytes:
    """A name in wire form; '.' is the root."""
    return b"".join(bytes([len(label)]) + label.encode() for label in host.split(".") if label) + b"\0"


def srv(port: int, host: str, *, priority: int = 1, weight: int = 0) -> bytes:
    """The data of an SRV record."""
    return struct.pack("!HHH", priority, weight, port) + name(host)


def ip(address: str) -> bytes:
    """The data of an A or AAAA record."""
    return ipaddress.ip_address(address).packed


class Names(asyncio.DatagramProtocol):
    """Answers with its records, NXDOMAIN for the rest, and nothing at all to the first `silent` questions."""

    def __init__(self, records: Records, *, silent: int = 0) -> None:
        self.records = records
        self.silent = silent
        self.asked: list[tuple[str, int]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        labels, at = [], 12
        while size := data[at]:
            labels.append(data[at + 1 : at + 1 + size].decode())
            at += 1 + size
        question = data[12 : at + 5]
        asked = ".".join(labels).lower(), struct.unpack_from("!H", data, at + 1)[0]
        self.asked.append(asked)
        if len(self.asked) <= self.silent:
            return
        found = self.records.get(asked, ())
        head = struct.pack("!2sHHHHH", data[:2], 0x8180 if found else 0x8183, 1, len(found), 0, 0)
        answers = (
            b"\xc0\x0c" + question[-4:] + struct.pack("!IH", 60, len(record)) + record for record in found
        )  # fmt: skip
        self.transport.sendto(head + question + b"".join(answers), address)


@asynccontextmanager
async def names(records: Records, *, silent: int = 0, timeout_s: float = 1.0) -> AsyncIterator[tuple[Names, Any]]:
    """The name server, and an `aiodns.DNSResolver` that asks it."""
    server = Names(records, silent=silent)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=(LOOPBACK, 0))
    port = transport.get_extra_info("sockname")[1]
    resolver = aiodns.DNSResolver(nameservers=[LOOPBACK], udp_port=port, tcp_port=port, timeout=timeout_s, tries=1)
    try:
        yield server, resolver
    finally:
        await resolver.close()
        transport.close()
