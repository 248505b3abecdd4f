"""Where a node is (XEP-0080), on both servers: who may know, who may no more, and that it can be taken back."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import tty

import pytest
from tests.integration.running import BOARD
from tests.integration.test_geolocation import talk
from tests.interop.conftest import SENSOR, asks

from knoop.geoloc import GEOLOC
from knoop_bench.errors import Refused

REFUSED = {"forbidden", "not-allowed", "not-authorized", "subscription-required", "item-not-found"}
ON, OFF = '[publish]\ngeolocation = "gps"\n', "[publish]\n"


@pytest.fixture
async def port():
    master, slave = pty.openpty()
    tty.setraw(slave)
    talking = asyncio.create_task(talk(master))
    yield os.ttyname(slave)
    talking.cancel()
    os.close(master)
    os.close(slave)


async def item_of(reader, home):
    """The place, as soon as the server has it."""
    async with asyncio.timeout(10):
        while True:
            try:
                if items := await reader.pep_items(home.jid, GEOLOC):
                    return items[0]
            except Refused:
                pass
            await asyncio.sleep(0.05)


async def closed(reader, home):
    async with asyncio.timeout(10):
        while True:
            try:
                await reader.pep_items(home.jid, GEOLOC)
            except Refused as refusal:
                assert refusal.condition in REFUSED
                return
            await asyncio.sleep(0.05)


async def test_only_readers_know_where_it_is(house, server, port):
    gps = f'{BOARD}{SENSOR}\n[sensor.gps]\ndriver = "nmea"\ndevice = "{port}"\nevery = 0\n'
    home = await house(server, {"anna": "owner", "bram": "", "eve": ""}, board=gps, more=ON)
    anna = await home.visit("anna", notify=())
    eve = await home.visit("eve", friends=[], notify=(GEOLOC,))
    item = await item_of(anna, home)
    assert (item.id, item.payload.findtext(f"{{{GEOLOC}}}lat")) == ("knoop", "52.370215")
    await closed(eve, home)
    bram = home.people["bram"].jid
    await asks(anna, home.jid, f"allow {bram} viewer", lambda text: text.startswith(f"{bram}: viewer"))
    reader = await home.visit("bram", notify=())
    assert (await item_of(reader, home)).id == "knoop"
    await asks(anna, home.jid, f"revoke {bram}", bool)
    await closed(reader, home)
    assert (await item_of(anna, home)).payload.findtext(f"{{{GEOLOC}}}lon") == "4.8951683"
    file = home.node.folder / "node.toml"
    file.write_text(file.read_text("utf-8").replace(ON, OFF), "utf-8")
    home.node.tell(signal.SIGHUP)
    await home.node.says("the place was taken off the server")
    await closed(anna, home)
    await eve.ping()
    assert not eve.items
