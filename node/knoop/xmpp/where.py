"""Where a domain's server is, as a login looks for it: SRV records (RFC 6120 §3.2, XEP-0368), else its address."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, zip_longest
from typing import Any

from slixmpp.xmlstream.resolver import default_resolver

from knoop.xmpp.failures import no_service
from knoop_hw.life import in_a_thread

DIRECT, STARTTLS = "xmpps-client", "xmpp-client"
PORT = 5222  # RFC 6120 §3.2.2: where no SRV record says it
ASKED = 3  # times that a name server may be silent for its 1 s: a phone network loses a datagram now and then
MOST = 10  # records, and addresses of one host, that a login takes: an answer of 1000 would cost 1000 threads
SYSTEM_S = 5.0  # the machine's own look-up (/etc/hosts, .local), where DNS knows no address
_UNKNOWN = {1, 4}  # ARES_ENODATA, ARES_ENOTFOUND: an answer, and it says no


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One try of a login: a host's port in one way of TLS, at whichever of its addresses answers first."""

    direct: bool
    host: str
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Srv:
    """An SRV record (RFC 2782) of `service`."""

    service: str
    priority: int
    weight: int
    port: int
    host: str


def in_order(records: Iterable[Srv], rng: random.Random) -> Iterator[Srv]:
    """Both services' records mixed (XEP-0368 §5): by priority, within one by chance in proportion to the weights."""
    ranked = sorted(records, key=lambda record: (record.priority, record.weight))  # weight 0 first: RFC 2782 says so
    for _, group in groupby(ranked, key=lambda record: record.priority):
        left = list(group)
        while left:
            chosen = rng.randint(0, sum(record.weight for record in left))
            for record in left:
                chosen -= record.weight
                if chosen <= 0:
                    break
            left.remove(record)
            yield record


def servers(found: Iterable[Target]) -> list[Server]:
    """What to try, in this order: addresses of one host together, and where no SRV record says it both ways of TLS."""
    made = []
    for (service, host, port), group in groupby(found, key=lambda target: (target.service, target.host, target.port)):
        addresses = tuple(target.address for target in group)
        ways = {DIRECT: (True,), STARTTLS: (False,)}.get(service, (True, False))
        made += [Server(direct=direct, host=host, port=port, addresses=addresses) for direct in ways]
    return made


async def targets(
    domain: str, *, host: str = "", port: int = 0, resolver: Any = None, rng: random.Random | None = None
) -> tuple[Target, ...]:
    """Every address in the order a login tries them; none when no name leads to one.

    `host` and `port` of the configuration replace SRV. `resolver` is an `aiodns.DNSResolver`. Raises Unreachable where
    the domain says that it has no server.
    """
    if host:
        return tuple(Target(service="", host=host, address=address, port=port) for address in await _system(host))
    resolver = resolver or default_resolver(loop=asyncio.get_running_loop())
    asked = await asyncio.gather(_srv(resolver, domain, DIRECT), _srv(resolver, domain, STARTTLS))
    records = [record for record in chain(*asked) if record.host]
    if not records and any(asked) and not (asked[0] and not asked[1]):
        raise no_service(domain)  # only direct TLS is: that leaves the domain's own address
    if not records:
        records = [Srv(service="", priority=0, weight=0, port=PORT, host=domain)]
    rng = rng or random.Random()  # noqa: S311 -- spreads logins over servers, guards nothing
    ordered = list(islice(in_order(records, rng), MOST))
    hosts = list(dict.fromkeys(record.host for record in ordered))
    known = dict(zip(hosts, await asyncio.gather(*(_addresses(resolver, name) for name in hosts)), strict=True))
    named = (
        Target(service=record.service, host=record.host, address=address, port=record.port)
        for record in ordered for address in known[record.host]
    )  # fmt: skip
    return tuple(dict.fromkeys(named))


async def _srv(resolver: Any, domain: str, service: str) -> list[Srv]:
    """The records, with host '' for a target of '.'; none where there are none, or no name server answers.

    RFC 6120 §3.2.1: without an answer the domain's own address is tried as well.
    """
    for _ in range(ASKED):
        try:
            answer = await resolver.query_dns(f"_{service}._tcp.{domain}", "SRV")
        except Exception as error:  # noqa: BLE001 -- aiodns.error.DNSError, and whatever a strange name raises
            if error.args and error.args[0] in _UNKNOWN:
                return []
            continue
        return [
            Srv(service=service, priority=data.priority, weight=data.weight, port=data.port,
                host=str(data.target).rstrip("."))
            for data in (record.data for record in answer.answer) if hasattr(data, "weight")
        ]  # fmt: skip
    return []


async def _addresses(resolver: Any, host: str) -> list[str]:
    """The addresses of a name, IPv6 and IPv4 in turn (RFC 8305 §4)."""
    if _literal(host):
        return [host]
    six, four = await asyncio.gather(_of(resolver, host, socket.AF_INET6), _of(resolver, host, socket.AF_INET))
    both = [address for pair in zip_longest(six, four) for address in pair if address]
    return both[:MOST] or await _system(host)


async def _of(resolver: Any, host: str, family: socket.AddressFamily) -> list[str]:
    for _ in range(ASKED):
        try:
            answer = await resolver.getaddrinfo(host, family)
        except Exception as error:  # noqa: BLE001 -- as above
            if error.args and error.args[0] in _UNKNOWN:
                return []
            continue
        return [node.addr[0].decode() for node in answer.nodes]
    return []


async def _system(host: str) -> list[str]:
    """As this machine looks names up; none where it finds none in time.

    In a thread of its own: a name server that is silent holds it for up to a minute, and nobody's end waits for that.
    """
    host = host.strip("[]")
    try:
        async with asyncio.timeout(SYSTEM_S):
            found = await in_a_thread(lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM), name="resolve")
    except (OSError, UnicodeError):  # a TimeoutError is an OSError; UnicodeError: a label that is too long
        return []
    return _alternating([str(entry[4][0]) for entry in found])


def _alternating(addresses: Sequence[str]) -> list[str]:
    """The same, families in turn, beginning with the one that the machine prefers."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    other = [address for address in addresses if address not in first]
    return list(dict.fromkeys(address for pair in zip_longest(first, other) for address in pair if address))


def _literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
