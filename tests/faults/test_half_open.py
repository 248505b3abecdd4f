"""A link of which nothing comes any more is found within 30 s, at rest and while publishing, and the node comes back.

Measured from the fault to the line in the node's log. What makes it so: a ping every 12 s that must be answered within
15 s (knoop.xmpp.fresh), and TCP_USER_TIMEOUT (knoop.xmpp.dial) where not even the other kernel answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.running import SCENARIO, TICKING, Way, environment, running, write

from knoop.errors import LinkError
from knoop.xmpp import compat
from knoop.xmpp import session as session_module
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody
from knoop_bench.proxy import BOTH, Proxy
from knoop_hw.clock import SystemClock

pytestmark = pytest.mark.prosody

WITHIN_S = 30.0
WAYS = (("up",), ("down",), BOTH)


async def test_whichever_way_is_dead_the_link_ends(tmp_path, authority, monkeypatch):
    """The same in a twentieth of the time."""
    for name, value in (("PING_EVERY_S", 0.3), ("TICK_EVERY_S", 0.1), ("DEAD_AFTER_S", 0.6)):
        monkeypatch.setattr(session_module, name, value)
    async def ends(server: Prosody, *ways: Any) -> None:
        async with Proxy(server.tls_port) as wire:
            account = Account(
                jid=compat.jid(f"greenhouse@localhost/{'-'.join(ways)}"), password="secret", host="127.0.0.1",
                port=wire.port, ca_file=authority.ca_file,
            )
            session = await Session.open(
                account, clock=SystemClock(), context=tls_context(account), on_message=lambda *_: None,
                on_presence=lambda _: None, admits=lambda _: False,
            )  # fmt: skip
            await session.ping()
            wire.stall(*ways)
            async with asyncio.timeout(10):
                with pytest.raises(LinkError, match="no answer to a ping within"):
                    await session.lost()
            await session.close()

    async with Prosody(tmp_path / "server", {"greenhouse": "secret"}, authority=authority) as server:
        await asyncio.gather(*(ends(server, *ways) for ways in WAYS))


@pytest.mark.long
async def test_a_half_open_link_is_found_in_time_and_the_node_comes_back(tmp_path, authority: Authority, capsys):
    loop = asyncio.get_running_loop()
    found: dict[str, tuple[float, float]] = {}
    one_by_one = asyncio.Lock()
    async with AsyncExitStack() as stack:

        async def measured(what: str, doing: str, break_it: Callable[[Prosody, Proxy], None]) -> None:
            folder = tmp_path / f"{what} {doing}"
            folder.mkdir()
            async with one_by_one:  # each looks for ports that nobody has
                server = await stack.enter_async_context(
                    Prosody(folder / "server", {"greenhouse": "secret"}, authority=authority)
                )
                wire = await stack.enter_async_context(Proxy(server.tls_port))
            scenario = SCENARIO if doing == "at rest" else TICKING
            write(folder, Way(wire.port, server.ca_file), jid="greenhouse@localhost", scenario=scenario)
            node = await stack.enter_async_context(running(folder))
            await node.online()
            await asyncio.sleep(5)  # not in the instant after a login
            began_s = loop.time()
            break_it(server, wire)
            await node.says("link down: ", within_s=2 * WITHIN_S)
            found_s, began_s = loop.time() - began_s, loop.time()
            wire.resume()
            told(server, signal.SIGCONT)
            await node.online(times=2)
            found[f"{what}, {doing}"] = (found_s, loop.time() - began_s)

        breaks = {"+".join(ways): partial(stalled, ways=ways) for ways in WAYS}
        breaks["stopped server"] = lambda server, _wire: told(server, signal.SIGSTOP)
        await asyncio.gather(*(
            measured(what, doing, break_it) for what, break_it in breaks.items() for doing in ("at rest", "publishing")
        ))
    with capsys.disabled():
        for what, (found_s, back_s) in found.items():
            print(f"\n{what}: found after {found_s:.1f} s, back {back_s:.1f} s after it was mended", end="")
    assert len(found) == 2 * len(breaks)
    assert max(found_s for found_s, _ in found.values()) <= WITHIN_S


def stalled(_: Prosody, wire: Proxy, *, ways: tuple[Any, ...]) -> None:
    wire.stall(*ways)


def told(server: Prosody, number: signal.Signals) -> None:
    assert server.pid is not None
    os.kill(server.pid, number)


@pytest.mark.long
async def test_an_address_that_is_gone_is_found_in_time(tmp_path: Path):
    """In a network of its own, whose only address is taken away: nobody refuses, nobody answers."""
    process = await asyncio.create_subprocess_exec(
        "unshare", "-rn", "setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.faults.vanishing",
        str(tmp_path), env=environment(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )
    out, _ = await asyncio.wait_for(process.communicate(), 3 * WITHIN_S)
    assert process.returncode == 0, out
    print(out.decode())
    assert float(out.decode().split()[0]) <= WITHIN_S
