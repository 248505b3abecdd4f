"""The law of outputs in two real processes: each event once, with as many of its rows as tell something."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.hw import law
from tests.integration.running import AGENT, HARDWARE, Running, Way
from tests.integration.two import Halves, TwoProcesses

from knoop_bench.prosody import Prosody
from knoop_bench.proxy import Proxy

pytestmark = pytest.mark.prosody


@pytest.fixture
async def rig(prosody: Prosody, account, witness, tmp_path) -> AsyncIterator[TwoProcesses]:
    device, anna = account("greenhouse"), account("anna")
    config = {"jid": device.jid, "password": device.password, "people": {anna.jid: '"owner"'}}
    owner = await witness(anna, friends=[device.jid])
    hw, agent = Running(tmp_path, command=HARDWARE), Running(tmp_path, command=AGENT)
    async with Proxy(prosody.tls_port) as wire:
        both = Halves(
            hw=hw, agent=agent, owner=owner, jid=device.jid, way=Way(wire.port, prosody.ca_file), config=config
        )
        try:
            yield TwoProcesses(both, wire)
        finally:
            for half in (agent, hw):
                await half.stop()
                assert "Traceback" not in half.log, half.log


@pytest.mark.parametrize("event", law.EVENTS)
async def test_lines_make_these_transitions_and_no_others(event, rig):
    await law.obey(law.telling(event, len(rig.pins) - 1), rig)
