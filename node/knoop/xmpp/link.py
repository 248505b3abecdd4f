"""The way to the server, kept open: unlimited tries with full jitter, one fresh session after another."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from knoop.errors import LinkError, LoginRefused
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop.xmpp.ways import Ways
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

BASE_S = 1.0
CAP_S = 60.0  # a server that comes back sees a fleet return within a minute, spread evenly
REFUSED_BASE_S = 60.0  # a refused login locks accounts when hammered
REFUSED_CAP_S = 1800.0
STEADY_S = 60.0  # a session that lived this long was a good one: the next failure starts from BASE_S again
OPENED_MOST = 2  # failures that shorter ones count for: a flaky link that lets us in costs 2 s a time, not 30


def pause_s(failures: int, *, base_s: float, cap_s: float, rng: random.Random) -> float:
    """Full jitter: uniform below an exponentially growing, capped bound."""
    return rng.uniform(0, min(cap_s, base_s * 2.0 ** min(failures, 16)))


class Link:
    """Opens sessions and hands each to `serve` until it ends."""

    def __init__(
        self, account: Account, *, clock: Clock, rng: random.Random | None = None, proven: bool = False, **parts: Any
    ) -> None:
        """`proven`: this account has logged in before, so that a refusal may be the server's trouble of the hour."""
        self.proven = proven
        self.resource = ""  # for an account that names none; '' lets the server choose one
        self._account = account
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 -- spreads reconnects, guards nothing
        self._parts = parts

    async def run(self, serve: Callable[[Session], Awaitable[None]]) -> None:
        """Serve for ever. Raises LoginRefused only when the very first login is refused, and none was proven before."""
        context = tls_context(self._account)
        if not self._account.jid.resource:
            self._account = replace(self._account, jid=replace(self._account.jid, resource=self.resource))
        ways = Ways(self._account.jid.domain, host=self._account.host, port=self._account.port, rng=self._rng)
        failures, said = 0, ""
        while True:
            opened_ns = self._clock.boottime_ns()
            opened = False
            try:
                session = await Session.open(
                    self._account, ways=ways, clock=self._clock, context=context, **self._parts
                )
                opened, said, self.proven = True, "", True
                try:
                    await serve(session)
                finally:
                    await session.close()
            except LinkError as error:
                stopping = asyncio.current_task()
                if stopping is not None and stopping.cancelling():
                    raise asyncio.CancelledError from None  # told to stop in the instant in which the link ended
                refused, reason = isinstance(error, LoginRefused), str(error)
                if refused and not self.proven:
                    raise
            lasted_s = (self._clock.boottime_ns() - opened_ns) / 1e9
            let_in = opened and "(conflict)" not in reason  # two nodes with one account throw each other out
            failures = 0 if lasted_s > STEADY_S else min(failures + 1, OPENED_MOST) if let_in else failures + 1
            base_s, cap_s = (REFUSED_BASE_S, REFUSED_CAP_S) if refused else (BASE_S, CAP_S)
            wait_s = pause_s(failures, base_s=base_s, cap_s=cap_s, rng=self._rng)
            if reason != said:  # an outage is one line, not one a minute
                log.warning("link down: %s; trying again for as long as it takes", reason)
                said = reason
            await self._clock.sleep(wait_s)
