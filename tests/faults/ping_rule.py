"""The rule that accepted messages rest on, tried on a real server: what was sent before an answered ping is there.

    python -m tests.faults.ping_rule --long [--software ejabberd] [--seed 7]

A session of the node's sends messages and pings behind them, while its connection is cut at moments that a seed
chooses: between two stanzas, inside one, before the ping, between ping and pong, or after everything, or only the
answers, stood still for a while. Nothing is sent twice here, so what was not confirmed and yet arrived is what an
outbox would have repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from knoop.errors import LinkError
from knoop.xmpp import compat
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.outbound import message
from knoop.xmpp.session import Session
from knoop_bench.ejabberd import Ejabberd
from knoop_bench.prosody import Prosody
from knoop_bench.proxy import Proxy
from knoop_bench.server import Server
from knoop_bench.witness import Witness
from knoop_hw.clock import SystemClock

ONLINE, OFFLINE, SENDER = "anna", "bram", "greenhouse"
FLOWS_S = 0.04  # after so long at most a connection is cut; a portion and its pong take about 2 ms on loopback
DRAINED_EVERY = 40  # messages for somebody who is away: servers keep a limited number and send the rest back
ARRIVES_S = 10.0
HOW = ("at an instant", "between stanzas", "amid the bytes", "after a stall", "before the answers")
FLOWS_BYTES = 40_000  # a login's portions come to so many in about 30 ms
LARGE = 20_000  # characters: more than one TLS record, so that a cut leaves half a stanza


@dataclass(slots=True)
class Outcome:
    """What was sent, what a pong confirmed, and what arrived; all by the message's id."""

    cuts: int = 0
    sent: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    arrived: Counter[str] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> set[str]:
        """What the rule says is there, and is not."""
        return self.confirmed - set(self.arrived)

    @property
    def twice(self) -> set[str]:
        """What arrived more often than it was sent."""
        return {one for one, times in self.arrived.items() if times > 1}

    @property
    def unconfirmed(self) -> set[str]:
        """What an outbox would send again."""
        return self.sent - self.confirmed

    def __str__(self) -> str:
        there = len(self.unconfirmed & set(self.arrived))
        return (
            f"{self.cuts} cuts {dict(self.how)}: {len(self.sent)} sent, {len(self.confirmed)} confirmed, of these "
            f"{len(self.lost)} lost; {len(self.unconfirmed)} not confirmed, of these {there} arrived all the same"
        )


async def hold(server: Server, *, cuts: int, seed: int) -> None:
    """Assert that the rule holds: nothing confirmed is missing, and the cuts were such that something could have been.

    Says what came of it.
    """
    outcome = await attempt(server, cuts=cuts, seed=seed)
    print(f"{server.NAME}, seed {seed}: {outcome}")
    assert outcome.lost == set(), f"seed {seed}: {outcome}"
    assert outcome.twice == set(), f"seed {seed}: {outcome}"
    assert outcome.cuts == cuts, f"seed {seed}: {outcome}"
    assert outcome.confirmed, f"seed {seed}: {outcome}"
    assert outcome.unconfirmed - set(outcome.arrived), f"seed {seed}: no cut lost anything: {outcome}"


async def attempt(server: Server, *, cuts: int, seed: int) -> Outcome:
    """Cut a node's connection so often while it sends to somebody online and to somebody who is away."""
    rng, outcome = random.Random(seed), Outcome()
    for user in (ONLINE, OFFLINE, SENDER):
        server.add_account(user, secrets.token_urlsafe(12))
    away: set[str] = set()
    async with Proxy(server.tls_port) as wire, _visit(server, ONLINE) as anna:
        account = Account(
            jid=compat.jid(f"{server.jid(SENDER)}/knoop"), password=server.password(SENDER), host="127.0.0.1",
            port=wire.port, ca_file=server.ca_file,
        )
        for _ in range(cuts):
            away |= await _until_cut(account, wire, server, rng, outcome)
            if len(away) >= DRAINED_EVERY:
                await _drain(server, away & outcome.confirmed, outcome)
                away.clear()
        await _drain(server, away & outcome.confirmed, outcome)
        await anna.ping()
        outcome.arrived.update(seen.id for seen in anna.seen if seen.id in outcome.sent)
    return outcome


async def _until_cut(
    account: Account, wire: Proxy, server: Server, rng: random.Random, outcome: Outcome
) -> set[str]:
    """One login, messages and pings until the connection ends; returns what was for somebody who is away."""
    away: set[str] = set()
    session = await Session.open(
        account, clock=SystemClock(), context=tls_context(account), on_message=lambda _message, _late: None,
        on_presence=lambda _presence: None, admits=lambda _sender: False,
    )
    how = HOW[outcome.cuts % len(HOW)]
    left = rng.randrange(1, 40) if how == "between stanzas" else -1
    ends = asyncio.create_task(_cut(wire, rng, how)) if left < 0 else None
    try:
        while True:
            portion = []
            for _ in range(rng.randrange(1, 11)):
                one = f"m{len(outcome.sent)}"
                to = server.jid(rng.choice((ONLINE, ONLINE, OFFLINE)))
                if to == server.jid(OFFLINE):
                    away.add(one)
                body = "x" * (rng.randrange(LARGE) if rng.random() < 0.05 else rng.randrange(10, 400))
                outcome.sent.add(one)
                session.send(message(to, body, one))
                portion.append(one)
                left -= 1
                if left == 0:
                    await asyncio.sleep(rng.choice((0, 0, 0.0005)))
                    ends = asyncio.create_task(wire.cut())
            await session.ping()
            outcome.confirmed.update(portion)
    except LinkError:
        outcome.cuts += 1
        outcome.how[how] += 1
    finally:
        if ends is not None:
            await ends
        await session.close()
        wire.resume()
        await wire.restore()
    return away


async def _cut(wire: Proxy, rng: random.Random, how: str) -> None:
    if how == "amid the bytes":
        wire.reset_after(rng.randrange(1, FLOWS_BYTES))
        return
    await asyncio.sleep(rng.uniform(0, FLOWS_S))
    if how != "at an instant":
        wire.stall(*(("down",) if how == "before the answers" else ()))
        await asyncio.sleep(rng.uniform(0, FLOWS_S / 2))
    await wire.cut()


def _visit(server: Server, user: str) -> Witness:
    return Witness(server.jid(user), server.password(user), port=server.tls_port, ca_file=server.ca_file)


async def _drain(server: Server, wanted: set[str], outcome: Outcome) -> None:
    """Let who was away come back, until they have what is `wanted`, or the bound is over."""
    async with _visit(server, OFFLINE) as bram:
        until = time.monotonic() + ARRIVES_S
        while wanted - {seen.id for seen in bram.seen} and time.monotonic() < until:
            await bram.ping()
        await bram.ping()
        outcome.arrived.update(seen.id for seen in bram.seen if seen.id in outcome.sent)


async def _main(software: str, *, cuts: int, seed: int) -> None:
    made = {"prosody": Prosody, "ejabberd": Ejabberd}[software]
    with tempfile.TemporaryDirectory() as folder:
        async with made(Path(folder) / software) as server:
            await hold(server, cuts=cuts, seed=seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--software", choices=("prosody", "ejabberd"), default="prosody")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="150 cuts, not 15")
    chosen = parser.parse_args()
    asyncio.run(_main(chosen.software, cuts=150 if chosen.long else 15, seed=chosen.seed))
