"""The way to the server, kept open: unlimited tries with full jitter, one fresh session after another."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from knoop.errors import LinkError, LoginRefused
from knoop.xmpp.session import LOGIN_TIMEOUT_S, Account, Session, tls_context
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

BASE_S = 1.0
CAP_S = 60.0  # a server that comes back sees a fleet return within a minute, spread evenly
REFUSED_BASE_S = 60.0  # a refused login locks accounts when hammered
REFUSED_CAP_S = 1800.0
BOTH = frozenset({"direct", "starttls"})
REMEMBER_FOR = 3  # failures, after which the way that worked may be another one
STEADY_S = 60.0  # a session that lived this long was a good one: the next failure starts from BASE_S again


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
        self._account = account
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 -- spreads reconnects, guards nothing
        self._parts = parts

    def _modes(self, failures: int, worked: str, *, hung: bool) -> frozenset[str]:
        """How to try: SRV records say it themselves; at a fixed address first the way that worked last.

        After failures both, but STARTTLS alone after one that hung: a server there that ignores a TLS hello would
        otherwise hold each try. Only then, since at a port for direct TLS it hides the reason of the failure.
        """
        if self._account.host and worked and failures < REMEMBER_FOR:
            return frozenset({worked})
        return frozenset({"starttls"}) if self._account.host and hung else BOTH

    async def run(self, serve: Callable[[Session], Awaitable[None]]) -> None:
        """Serve for ever. Raises LoginRefused only when the very first login is refused, and none was proven before."""
        context = tls_context(self._account)
        failures, said, worked, hung = 0, "", "", False
        while True:
            opened_ns = self._clock.boottime_ns()
            opened = False
            try:
                session = await Session.open(
                    self._account, clock=self._clock, context=context,
                    modes=self._modes(failures, worked, hung=hung), **self._parts,
                )
                opened, said, worked = True, "", session.mode
                self.proven = True
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
            steady, hung = lasted_s > STEADY_S, not (opened or hung) and lasted_s >= LOGIN_TIMEOUT_S
            failures = 0 if steady else failures + 1
            base_s, cap_s = (REFUSED_BASE_S, REFUSED_CAP_S) if refused else (BASE_S, CAP_S)
            wait_s = pause_s(failures, base_s=base_s, cap_s=cap_s, rng=self._rng)
            if reason != said:  # an outage is one line, not one a minute
                log.warning("link down: %s; trying again for as long as it takes", reason)
                said = reason
            await self._clock.sleep(wait_s)
