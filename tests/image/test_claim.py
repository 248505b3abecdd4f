"""Nobody owns it yet: the code on the card and on the screen, who takes it, and the power that goes meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.image import qr
from tests.image.card import Card
from tests.image.lan import ADDRESSES, Lan
from tests.image.machine import STARTED, Board
from tests.image.people import ANSWER_S, account, fresh, go_sendxmpp, knoop_toml, person

from knoop import claims
from knoop_bench.prosody import Prosody

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = "claim.png"
WELCOME = "Welcome: I am Greenhouse"
END_OF_PNG = b"IEND"


@dataclass(frozen=True, slots=True)
class Unowned:
    """A card with an account and no owner, and its computer, which is off."""

    card: Card
    board: Board
    jid: str
    password: str
    folder: Path

    async def link(self) -> str:
        """What a telephone reads from the picture on the card."""

        def whole() -> bool:
            try:
                return END_OF_PNG in self.card.read(PICTURE)
            except FileNotFoundError:
                return False

        await self.board.until(whole, f"{PICTURE} on the card")
        return qr.read(self.card.extract(PICTURE, self.folder))

    async def claimed(self, server: Prosody) -> None:
        """Make somebody the owner and let the node answer them."""
        link = await self.link()
        async with person(server, self.board, self.jid) as owner:
            await owner.asks(f"claim {claims.find(link)}", WELCOME)
            await owner.asks("status", "Up ")


def unowned(card: Card, server: Prosody, folder: Path) -> Unowned:
    """One whose file names an account and nobody else."""
    own = account(server, fresh())
    card.write("knoop.toml", knoop_toml(server, own))
    return Unowned(card, Board(card, folder), own["jid"], own["password"], folder)


@dataclass(frozen=True, slots=True)
class First:
    """A first start that nothing disturbed: what its code says and how long it took."""

    home: Unowned
    link: str
    took_s: float


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first(flash, server, tmp_path_factory) -> AsyncIterator[First]:
    home = unowned(flash(), server, tmp_path_factory.mktemp("first"))
    with Lan() as home.board.lan, home.board as board:
        link = await home.link()
        yield First(home, link, time.monotonic() - board.began_s)
    home.card.remove()


async def test_a_telephone_reads_the_code_and_another_client_claims_the_node(first, server, tmp_path, report):
    home, board = first.home, first.home.board
    report("from power-on to the code on the card", f"{first.took_s:.0f} s")
    assert first.link.startswith(f"xmpp:{home.jid}?message;body=claim%20")
    await board.until(lambda: qr.whole(board.console), "the code on the console", ANSWER_S)
    assert qr.on_console(board.console, tmp_path) == first.link
    await go_sendxmpp(server, tmp_path, home.jid, f"claim {claims.find(first.link)}")
    async with person(server, board, home.jid) as owner:  # the same account: the other client has gone by now
        await owner.sees()
        await owner.asks("status", "Up ")
    await board.until(lambda: PICTURE not in home.card.names(), "the picture goes from the card", ANSWER_S)


async def test_without_a_key_for_ssh_no_port_is_open(first, report):
    board, lan = first.home.board, first.home.board.lan
    assert lan is not None
    await board.says(STARTED)
    for address in ADDRESSES:
        began_s = time.monotonic()
        assert await lan.open_ports(address) == set()
        report(f"all TCP ports of {address}", f"{time.monotonic() - began_s:.0f} s")


async def test_the_password_is_nowhere_on_the_card(first):
    """Neither in a file nor in what is left of one; the credential is encrypted."""
    first.home.board.cut()
    assert first.home.card.holds(first.home.password.encode()) == []


async def test_the_power_may_go_at_any_moment_of_the_first_start(  # noqa: PLR0917 -- fixtures
    first, flash, server, tmp_path, pytestconfig, report
):  # fmt: skip
    """Two cards at a time: one computer alone leaves a processor idle for a third of its start."""
    first.home.board.cut()
    chance, number = random.Random(pytestconfig.getoption("--seed")), pytestconfig.getoption("--cuts")
    moments, turn = [chance.uniform(0, first.took_s) for _ in range(number)], asyncio.Semaphore(2)

    async def cut(moment_s: float) -> float:
        async with turn:
            home = unowned(flash(), server, tmp_path / fresh("cut"))
            with home.board as board:
                await asyncio.sleep(moment_s)
                board.cut()
                board.start()
                await home.claimed(server)
                took_s = time.monotonic() - board.began_s
            home.card.remove()
            return took_s

    async with asyncio.TaskGroup() as group:
        cuts = [group.create_task(cut(moment_s)) for moment_s in moments]
    report("the power went after", ", ".join(f"{moment_s:.0f} s" for moment_s in moments))
    report("claimed after the next power-on within", ", ".join(f"{cut.result():.0f} s" for cut in cuts))
