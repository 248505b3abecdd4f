"""Who was cut off asks the node for what it missed: the bench's subscriber, and the one that users copy."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from tests.integration.running import SCENARIO, Way, running, write

from knoop_bench.errors import Refused
from knoop_bench.proxy import Proxy
from knoop_bench.subscriber import HISTORY, Subscriber
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

EXAMPLE = Path(__file__).parents[2] / "examples" / "subscriber.py"
MOVING = f"""{SCENARIO}
repeat = "200ms"
[[step]]
at = "50ms"
line = "door"
value = true
[[step]]
at = "150ms"
line = "door"
value = false
"""


async def test_what_came_while_the_link_was_cut_is_asked_for(tmp_path, prosody, account):
    house, anna, bram, mallory = (account(name) for name in ("node", "anna", "bram", "mallory"))
    write(
        tmp_path, Way.to(prosody), jid=house.jid, password=house.password, scenario=MOVING, resource="",
        people={anna.jid: '"owner"', bram.jid: '{ role = "viewer", only = ["lamp"] }'},
    )

    def client(who, port=prosody.tls_port):
        return Witness(who.jid, who.password, port=port, ca_file=prosody.ca_file, notify=())

    async with (
        Proxy(prosody.tls_port) as wire, running(tmp_path) as node,
        Subscriber(lambda: client(anna), house.jid) as there,
        Subscriber(lambda: client(anna, wire.port), house.jid) as cut_off,
    ):
        await there.ready()
        await cut_off.ready()
        async with copied(tmp_path, house, anna, wire.port, prosody.ca_file) as example:
            await example.has(lambda lines: sum(line["pushed"] for line in lines) > 3)
            await wire.cut()
            seen = there.verdict().readings
            await there.until(lambda verdict: verdict.readings > seen + 3, within_s=15)
            before = len(example.lines)
            await wire.restore()
            await cut_off.ready()
            await cut_off.until(lambda verdict: bool(verdict.lost), within_s=15)
            await cut_off.close_gaps(within_s=15)
            verdict = cut_off.verdict()
            assert verdict.repaired >= 3, str(verdict)
            assert (verdict.lost, verdict.inversions, verdict.conflicts) == ((), (), ()), str(verdict)
            await example.has(lambda lines: whole(lines) and not all(line["pushed"] for line in lines[before:]))
        assert f"following {house.jid}" in example.said
        assert "of them repeats (" in example.said
        await what_others_get(node, house.jid, there.full_jid, client(bram), client(mallory))


def whole(lines):
    """Every event of the door once, from the first one on, with some by push behind those by history."""
    numbers = [line["seq"] for line in lines if line["channel"] == "door"]
    return lines[-1]["pushed"] and sorted(numbers) == [*range(min(numbers), max(numbers) + 1)]


async def what_others_get(node, jid, full, bram, mallory):
    ask = f"<history xmlns='{HISTORY}' {{}}/>"
    async with bram, mallory:
        assert HISTORY in await bram.disco(full)
        answer = await bram.iq("get", ask.format(""), to=full)
        assert {child.get("channel") for child in answer.iter() if child.get("seq")} == {"lamp"}
        for channel in ("door", "cellar"):
            with pytest.raises(Refused) as refusal:
                await bram.iq("get", ask.format(f"channel='{channel}'"), to=full)
            assert refusal.value.condition == "item-not-found"
        for stranger, to in ((mallory, full), (mallory, f"{jid}/nobody"), (mallory, jid)):
            with pytest.raises(Refused) as refusal:
                await stranger.iq("get", ask.format(""), to=to)
            assert refusal.value.condition == "service-unavailable"
    assert "Traceback" not in node.log


class copied:  # noqa: N801 -- `async with copied(…) as example:`
    """examples/subscriber.py as a user runs it, ended by Ctrl-C; `lines` are what it printed."""

    def __init__(self, folder, house, person, port, ca_file):
        (folder / "subscriber.password").write_text(f"{person.password}\n", "utf-8")
        self.lines, self.said = [], ""
        self._more = asyncio.Event()
        self._command = (
            sys.executable, EXAMPLE, person.jid, house.jid, "--password-file", folder / "subscriber.password", "--json",
            "--host", "127.0.0.1", "--port", str(port), "--ca-file", ca_file,
        )

    async def __aenter__(self):
        self._process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", *self._command, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(10):
                await self._reading
                self.said = (await self._process.stderr.read()).decode()
                await self._process.wait()
        finally:
            self._reading.cancel()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _read(self):
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))
            self._more.set()

    async def has(self, wanted):
        async with asyncio.timeout(20):
            while not (self.lines and wanted(self.lines)):
                self._more.clear()
                await self._more.wait()
