"""What a node runs beside itself is the same after many links as after one."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.integration.inprocess import node
from tests.integration.running import BOARD, Way, until, write

from knoop.xmpp import link
from knoop_bench.prosody import Prosody
from knoop_bench.proxy import Proxy

pytestmark = pytest.mark.prosody

LINKS = 5
MOMENTARY = 2  # of a kind, because something is just being done; what a link leaves behind would be one for each
SAME_S = 0.15
OURS = ("/node/knoop/", "/hw/knoop_hw/", "/slixmpp/")


def tasks():
    """The node's tasks, and slixmpp's, by what they run."""
    found = Counter()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and any(place in code.co_filename for place in OURS):
            found[code.co_qualname] += 1
    return found


async def settled():
    """Return when what runs has been the same for a while."""
    loop = asyncio.get_running_loop()
    now, since_s = tasks(), loop.time()
    while loop.time() - since_s < SAME_S:
        await asyncio.sleep(0.01)
        before, now = now, tasks()
        if now != before:
            since_s = loop.time()


async def test_links_leave_no_task_behind(tmp_path, authority, monkeypatch):
    monkeypatch.setattr(link, "pause_s", lambda *_args, **_named: 0.05)
    accounts = {"greenhouse": "secret", "anna": "secret"}
    async with Prosody(tmp_path / "prosody", accounts, authority=authority) as server, Proxy(server.tls_port) as wire:
        file = write(tmp_path, Way(wire.port, server.ca_file), jid=server.jid("greenhouse"), board=BOARD)
        async with node(file, password="secret") as made:
            presence = made.agent.presence
            counts, sessions = [], []
            for _ in range(LINKS):
                await until(lambda: presence.session is not None and presence.session not in sessions, str)
                sessions.append(presence.session)
                made.reads("door", bool(len(sessions) % 2))
                await until(lambda: not tasks()["Presence._follow"], str)  # five questions to a server that may be slow
                await settled()
                counts.append(tasks())
                await wire.cut()
                await wire.restore()
            grown = counts[-1] - counts[0]
            assert max(grown.values(), default=0) <= MOMENTARY, grown
            assert counts[0].total() > 10
