"""A Raspberry Pi 3B with the image's own kernel, device tree, initramfs and command line, from a fresh card on."""

from __future__ import annotations

import subprocess
import time

from tests.image import bootloader
from tests.image.machine import Board
from tests.image.people import OWNER, account, fresh, knoop_toml, person, serving

THERMOMETER = """[board]
buses = ["w1:GPIO17"]

[sensor.machine]
driver = "system"
"""


async def test_from_a_flashed_card_to_an_answer(flash, authority, tmp_path, report):
    card = flash()
    async with serving(tmp_path, authority) as server:
        own = account(server, fresh())
        card.write("knoop.toml", knoop_toml(server, own, people={server.jid(OWNER): "owner"}, more=THERMOMETER))
        before = bootloader.merged(card, bootloader.PI_3B, tmp_path / "before")
        began = time.monotonic()
        with Board(card, tmp_path / "board", machine="raspi3b") as board:
            async with person(server, board, own["jid"]) as owner:
                await owner.sees()
                report("from power-on to online on raspi3b", f"{time.monotonic() - began:.0f} s, {board.starts} starts")
                assert "Greenhouse" in await owner.asks("status")
            await board.until(lambda: own["password"].encode() not in card.fat(), "the password leaves the card")
            after = bootloader.merged(card, bootloader.PI_3B, tmp_path / "after")
        assert bootloader.node_of(before, "compatible", "w1-gpio") is None
        wire = bootloader.node_of(after, "compatible", "w1-gpio")
        assert wire is not None
        line = subprocess.run(["fdtget", str(after), wire, "gpios"], capture_output=True, text=True, check=True)
        assert line.stdout.split()[1] == "17"
    card.remove()
