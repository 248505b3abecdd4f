"""A Raspberry Pi 3B with the image's own kernel, device tree, initramfs and command line, from a fresh card on."""

from __future__ import annotations

import time

from tests.image.bootloader import onewire_line
from tests.image.machine import Board
from tests.image.people import OWNER, account, fresh, knoop_toml, person, serving

from knoop.setup import buses

BUS, LINE = "w1:GPIO17", 17
THERMOMETER = f"""[board]
buses = ["{BUS}"]

[sensor.machine]
driver = "system"
"""


async def test_from_a_flashed_card_to_an_answer(flash, authority, tmp_path, report):
    """Its bus stands in the firmware's file already, which spares a restart: test_imager.py has that one."""
    card = flash()
    async with serving(tmp_path, authority) as server:
        own = account(server, fresh())
        card.write("knoop.toml", knoop_toml(server, own, people={server.jid(OWNER): "owner"}, more=THERMOMETER))
        card.write(buses.FILE, buses.config_txt([BUS]))
        assert onewire_line(card, tmp_path / "before") == LINE
        began = time.monotonic()
        with Board(card, tmp_path / "board", machine="raspi3b") as board:
            async with person(server, board, own["jid"]) as owner:
                await owner.sees()
                report("from power-on to online on raspi3b", f"{time.monotonic() - began:.0f} s")
                assert "Greenhouse" in await owner.asks("status")
            await board.until(lambda: own["password"].encode() not in card.fat(), "the password leaves the card")
            assert board.starts == 1
        assert onewire_line(card, tmp_path / "after") == LINE
    card.remove()
