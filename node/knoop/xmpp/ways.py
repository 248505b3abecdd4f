"""Which servers of an account to try, and in what order, by what the tries before came to."""

from __future__ import annotations

import random

from knoop.xmpp import where
from knoop.xmpp.where import Server

REMEMBER_FOR = 3  # rounds in which nobody let us in, after which the way that worked may be another one


class Ways:
    """The ways to one account's servers, from one login to the next."""

    def __init__(self, domain: str, *, host: str = "", port: int = 0, rng: random.Random | None = None) -> None:
        """Without `host` and `port` the domain's SRV records decide."""
        self._domain, self._host, self._port, self._rng = domain, host, port, rng
        self._worked: bool | None = None  # by direct TLS
        self._rounds = 0
        self._hung: set[tuple[bool, str, int]] = set()  # without addresses: name servers turn their order

    async def servers(self) -> list[Server]:
        """In the order to try them. Names are looked up anew. Raises Unreachable where the domain has no server.

        The last ones are those that held a try since the last login: a server that takes connections and never answers
        must not keep us from one that would. At a fixed address only the way of TLS that worked, for a few rounds: a
        try with the other hides the reason of the failure.
        """
        found = where.servers(
            await where.targets(self._domain, host=self._host, port=self._port, rng=self._rng)
        )
        self._rounds += 1
        if self._host and self._worked is not None and self._rounds <= REMEMBER_FOR:
            return [server for server in found if server.direct == self._worked]
        return sorted(found, key=lambda server: (server.direct, server.host, server.port) in self._hung)

    def failed(self, server: Server, *, hung: bool) -> None:
        """This one did not let us in; `hung`: it left us waiting."""
        if hung:
            self._hung.add((server.direct, server.host, server.port))

    def worked(self, server: Server) -> None:
        """This one did."""
        self._worked, self._rounds = server.direct, 0
        self._hung.clear()
