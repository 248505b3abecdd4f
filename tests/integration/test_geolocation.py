"""Where the node is: from a receiver's port to the people who may know, on the server's own terms."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import tty
from functools import reduce
from operator import xor

import pytest
from tests.integration.running import BOARD, Running, Way, running, write

from knoop.geoloc import GEOLOC
from knoop_bench.errors import Refused

pytestmark = pytest.mark.prosody


def sentence(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode(), 0):02X}\r\n".encode()


async def talk(master: int) -> None:
    """A receiver in Amsterdam that has a fix, ten times as fast as real ones."""
    for number in range(10_000):
        time = f"12{number // 60 % 60:02}{number % 60:02}"
        place = "5222.2129,N,00453.7101,E"
        os.write(master, sentence(f"GPGGA,{time},{place},1,08,1.0,2.0,M,47.0,M,,"))
        os.write(master, sentence(f"GPRMC,{time},A,{place},0.0,,221126,,,A"))
        await asyncio.sleep(0.1)


async def test_a_reader_sees_it_a_stranger_does_not_and_it_goes_with_the_configuration(
    prosody, account, witness, tmp_path
):
    device, anna, bram = account("greenhouse"), account("anna"), account("bram")
    master, slave = pty.openpty()
    tty.setraw(slave)
    gps = f'{BOARD}\n[sensor.gps]\ndriver = "nmea"\ndevice = "{os.ttyname(slave)}"\nevery = 0\n'
    people = {anna.jid: '"owner"', bram.jid: '{ role = "viewer", only = ["door"] }'}
    more = '[publish]\ngeolocation = "gps"\n'
    account_of = {"jid": device.jid, "password": device.password, "people": people, "board": gps}
    write(tmp_path, Way.to(prosody), **account_of, more=more)
    owner = await witness(anna, friends=[device.jid], notify=(GEOLOC,))
    viewer = await witness(bram, friends=[device.jid], notify=(GEOLOC,))
    talking = asyncio.create_task(talk(master))
    try:
        async with running(tmp_path) as node:
            seen = await owner.wait(lambda seen: any(item.node == GEOLOC for item in seen.items))
            assert seen.sender == device.jid
            [item] = seen.items
            values = {child.tag.rpartition("}")[2]: child.text for child in item.payload}
            assert (item.id, item.payload.tag) == ("knoop", f"{{{GEOLOC}}}geoloc")
            assert values.pop("timestamp").endswith("Z")
            assert values == {"lat": "52.370215", "lon": "4.8951683", "alt": "2", "speed": "0"}
            with pytest.raises(Refused):
                await viewer.pep_items(device.jid, GEOLOC)
            await reloaded(node, lambda: write(tmp_path, Way.to(prosody), **account_of))
            gone = await owner.wait(lambda seen: any(item.node == GEOLOC for item in seen.items), after=seen.number + 1)
            assert [len(item.payload) for item in gone.items] == [0]
            await node.says("the place was taken off the server")
            with pytest.raises(Refused, match="item-not-found"):
                await owner.pep_items(device.jid, GEOLOC)
            await viewer.ping()
            assert not [item for item in viewer.items if item.node == GEOLOC]
    finally:
        talking.cancel()
        os.close(master)
        os.close(slave)


async def reloaded(node: Running, change) -> None:
    """SIGHUP behind a change of the file, and the node is online again."""
    up = node.log.count("connected as")
    change()
    node.tell(signal.SIGHUP)
    await node.online(times=up + 1)
