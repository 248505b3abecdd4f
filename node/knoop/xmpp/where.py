"""Where a domain's server is, as a login will look for it: SRV records (RFC 6120 §3.2, XEP-0368), else its address."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from slixmpp.xmlstream.resolver import default_resolver, resolve

DIRECT, STARTTLS = "xmpps-client", "xmpp-client"
PORT = 5222  # RFC 6120 §3.2.2: where no SRV record says it


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One address to try. `service` is the SRV record's, '' where there was none: then both ways of TLS are tried."""

    service: str
    host: str
    address: str
    port: int

    def __str__(self) -> str:
        """As people write it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


async def targets(domain: str, *, host: str = "", port: int = 0, resolver: Any = None) -> tuple[Target, ...]:
    """Every address in the order a login tries them; none when no name leads to one.

    `host` and `port` of the configuration replace SRV. `resolver` is an `aiodns.DNSResolver`; the default is the one
    that a login makes.
    """
    loop = asyncio.get_running_loop()
    if host:
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror:
            return ()
        return tuple(Target(service="", host=host, address=str(entry[4][0]), port=port) for entry in found)
    answer = await resolve(
        domain, PORT, services=[DIRECT, STARTTLS], resolver=resolver or default_resolver(loop=loop), loop=loop
    )
    named = (Target(service=service, host=name, address=str(ip), port=at) for service, name, ip, at in answer)
    return tuple(dict.fromkeys(named))
