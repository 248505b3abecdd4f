"""A card that brings an invite instead of an account."""

from __future__ import annotations

import time

from tests.image.machine import Board
from tests.image.people import OWNER, fresh, knoop_toml, person, serving
from tests.integration.invites import invite


async def test_an_invite_becomes_an_account(flash, authority, tmp_path, report):
    card, user = flash(), fresh()
    async with serving(tmp_path, authority) as server:
        link = await invite(server)
        wanted = {"jid": server.jid(user), "invite": link}
        card.write("knoop.toml", knoop_toml(server, wanted, people={server.jid(OWNER): "owner"}))
        with Board(card, tmp_path / "board") as board:
            async with person(server, board, server.jid(user)) as owner:
                await owner.sees()
                report("from power-on to online, with an invite", f"{time.monotonic() - board.began_s:.0f} s")
                assert "Greenhouse" in await owner.asks("status")
                token = link.partition("preauth=")[2].partition(";")[0]
                assert token
                await board.until(lambda: token.encode() not in card.fat(), "the invite leaves the FAT partition")
    card.remove()
