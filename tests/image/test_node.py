"""One card from a mistake to a node: the file is wrong, is corrected, and then it is there; what it is like then.

The card is a `virt` machine's, whose lines the host drives and observes. The tests follow one another.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.image.card import Card
from tests.image.machine import JOURNAL, MEMORY_MB, STARTED, Board
from tests.image.people import OWNER, Person, account, knoop_toml, person

from knoop_bench.prosody import Prosody
from knoop_bench.witness import EVENTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINES = """[input.door]
label = "Front door"
pin = "GPIO5"
pull = "none"

[output.lamp]
label = "Lamp"
pin = "GPIO6"

[sensor.machine]
driver = "system"
"""
WRONG = LINES.replace("pull =", "pul =")
RATIO = 1.6  # of the time to the login to that of the same system without Knoop
PAIRS = 3
RAM_MB = 190
NO_KNOOP = " ".join(f"systemd.mask={unit}" for unit in (
    "knoop.service", "knoop-hw.service", "knoop-board.socket", "knoop-setup.service", "knoop-account.service",
    "knoop-claim.path",
))  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Home:
    """The card, its computer, its server, and the account that is in its file."""

    card: Card
    board: Board
    server: Prosody
    account: dict[str, str]
    stack: AsyncExitStack
    owner: Person | None = None

    def file(self, tables: str) -> str:
        return knoop_toml(self.server, self.account, people={self.server.jid(OWNER): "owner"}, more=tables)

    async def online(self) -> Person:
        """The owner's client, once the node is there."""
        if self.owner is None:
            self.owner = await self.stack.enter_async_context(person(self.server, self.board, self.account["jid"]))
        await self.owner.sees()
        return self.owner


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(flash, server, tmp_path_factory) -> AsyncIterator[Home]:
    card = flash()
    async with AsyncExitStack() as stack:
        board = Board(card, tmp_path_factory.mktemp("board"))
        stack.callback(board.cut)
        yield Home(card=card, board=board, server=server, account=account(server), stack=stack)
    card.remove()


async def test_a_mistake_is_said_on_the_card_and_on_the_console(home, report):
    text = home.file(WRONG)
    for _ in range(2):  # as an editor that saves twice
        home.card.write("knoop.toml", text)
    home.board.start()
    line = 1 + text.splitlines().index('pul = "none"')
    await home.board.until(lambda: f"knoop.toml:{line}:" in home.card.text("knoop-errors.txt"), "knoop-errors.txt")
    report("from power-on to knoop-errors.txt", f"{time.monotonic() - home.board.began_s:.0f} s")
    assert "did you mean 'pull'?" in home.card.text("knoop-errors.txt")
    await home.board.says(f"knoop.toml:{line}:")


async def test_corrected_it_is_there_after_the_next_start(home, report):
    home.board.cut()
    secret = home.account["password"].encode()
    assert home.card.litter(secret) <= len(home.card.holds(secret)), "it stands in every free sector"
    home.card.write("knoop.toml", home.file(LINES))
    home.board.start()
    owner = await home.online()
    report("from power-on to online, first time", f"{time.monotonic() - home.board.began_s:.0f} s")
    assert "Greenhouse" in await owner.asks("status")
    await home.board.until(lambda: not home.card.text("knoop-errors.txt"), "knoop-errors.txt goes")


async def test_the_password_is_in_no_file_that_can_be_read(home):
    secret = home.account["password"]
    await home.board.until(lambda: secret not in home.card.text("knoop.toml"), "the password leaves the file")
    assert "moved into the node" in home.card.text("knoop.toml")
    assert not [place for place in home.card.holds(secret.encode()) if not place.startswith("partition 1")]


async def test_the_password_is_not_in_what_an_editor_left_either(home):
    """It stood in the file with the mistake, in the corrected one, and in every sector that was free."""
    secret = home.account["password"].encode()
    await home.board.until(lambda: home.card.holds(secret) == [], "the password leaves the FAT's free space", 120)


async def test_a_line_that_changes_outside_is_an_item_at_a_subscriber(home):
    owner = await home.online()
    assert home.board.lines is not None
    after = owner.client.mark
    home.board.lines.drive(5, True)

    def came() -> bool:
        items = [item for seen in owner.client.seen[after:] for item in seen.items if item.node == EVENTS]
        readings = [item.payload[0] for item in items if item.payload is not None]
        return any((one.get("channel"), one.text) == ("door", "true") for one in readings)

    await home.board.until(came, "the door's item", 60)


async def test_a_command_moves_a_line(home):
    owner, lines = await home.online(), home.board.lines
    assert lines is not None
    mark = lines.recorded
    assert lines.is_output(6)
    await owner.asks("lamp on", "Lamp is on")
    await owner.asks("lamp off", "Lamp is off")
    assert lines.moves(6, since=mark) == [True, False]


async def test_what_it_needs_of_memory(home, report):
    """MemTotal - MemAvailable, as the kernel tells its balloon: what could not be had without swapping."""
    await home.online()
    assert home.board.monitor is not None
    balloon = "/machine/peripheral/balloon"
    home.board.monitor.ask("qom-set", path=balloon, property="guest-stats-polling-interval", value=2)

    def told() -> dict[str, Any]:
        assert home.board.monitor is not None
        return dict(home.board.monitor.ask("qom-get", path=balloon, property="guest-stats"))

    seen = {told()["last-update"]}
    # The first may be what the driver said when it was loaded.
    await home.board.until(lambda: seen.add(told()["last-update"]) or len(seen) > 2, "memory statistics", 60)
    now = told()["stats"]
    used_mb = (now["stat-total-memory"] - now["stat-available-memory"]) / 1e6
    report(f"memory in use at rest, of {MEMORY_MB} MB", f"{used_mb:.0f} MB")
    assert used_mb <= RAM_MB


async def test_how_long_a_start_takes_beside_one_without_knoop(home, report):
    """The same card twice: with Knoop's units masked until systemd has started everything; as it is, to the login.

    What else this machine does makes one of the two longer at times: a pair that is above the limit is taken again.
    """
    ratios = []
    while not ratios or (ratios[-1] > RATIO and len(ratios) < PAIRS):
        bare_s, bare_cpu_s = await _start(home, f"{JOURNAL} {NO_KNOOP}")
        whole_s, whole_cpu_s = await _start(home, JOURNAL)
        ratios.append(whole_s / bare_s)
        report("without Knoop", f"{bare_s:.1f} s, {bare_cpu_s:.1f} s of processor time")
        report("to the login", f"{whole_s:.1f} s, {whole_cpu_s:.1f} s of processor time")
        report("ratio", f"{ratios[-1]:.2f}, of processor time {whole_cpu_s / bare_cpu_s:.2f}")
    assert ratios[-1] <= RATIO


async def _start(home: Home, more: str) -> tuple[float, float]:
    """Power off and on, to the login or, without Knoop, to systemd's last start: in seconds, and of processor time."""
    board, owner = home.board, await home.online()
    board.cut()
    before, after = board.console.count(STARTED), owner.client.mark
    board.more = more
    board.start()
    if NO_KNOOP in more:
        await board.says(STARTED, times=before + 1)
    else:
        await board.until(lambda: any(map(owner.present, owner.client.seen[after:])), "online again")
    return time.monotonic() - board.began_s, board.cpu_s()
