"""`knoop setup` with an invite against a real server: an account of the node's own, whatever moment the power goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.running import Ended, knoop
from tests.integration.test_init import invite, invite_token, server

from knoop.xmpp import compat, register
from knoop.xmpp.account import Account
from knoop_bench.ports import free_ports
from knoop_bench.prosody import Prosody
from knoop_bench.witness import Witness
from knoop_hw.clock import SystemClock

pytestmark = pytest.mark.prosody


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def invited(tmp_path_factory, authority) -> AsyncIterator[Prosody]:
    """A server that makes accounts for who is invited only."""
    async with server(tmp_path_factory.mktemp("invited"), authority) as started:
        yield started


class Board:
    """A card and a machine in two folders."""

    def __init__(self, folder: Path, to: Prosody) -> None:
        self.boot, self.root, self.to = folder / "boot", folder / "root", to
        self.boot.mkdir()
        self.root.mkdir()
        self.card = self.boot / "knoop.toml"
        self.node = self.root / "etc/knoop/node.toml"
        self.record = self.root / "var/lib/knoop-setup/account.json"

    def write(self, name: str, account: str, *, port: int = 0) -> None:
        self.card.write_text(f"""\
[node]
name = "{name}"

[account]
{account}

[xmpp]
host = "127.0.0.1"
port = {port or self.to.tls_port}
ca_file = "{self.to.ca_file}"
""", "utf-8")

    async def setup(self, *more: str) -> Ended:
        return await knoop("setup", "--boot", self.boot, "--root", self.root, *more, folder=self.root.parent)

    @property
    def errors(self) -> str:
        file = self.boot / "knoop-errors.txt"
        return file.read_text("utf-8") if file.exists() else ""

    @property
    def password(self) -> str:
        return (self.root / "etc/credstore/xmpp.password").read_text("utf-8")

    async def logs_in(self, name: str) -> None:
        """An independent client has the account with the password that the node keeps."""
        async with Witness(f"{name}@localhost", self.password, port=self.to.tls_port, ca_file=self.to.ca_file):
            pass


@pytest.fixture
def board(tmp_path, invited) -> Board:
    return Board(tmp_path, invited)


async def made(board: Board, name: str) -> None:
    (await board.setup("--account")).plainly(0, f"made the account {name}@localhost")
    await board.logs_in(name)
    assert f'jid = "{name}@localhost"' in board.node.read_text("utf-8")
    assert not board.node.with_name("node.toml.pending").exists()
    assert not board.record.exists()
    assert not board.errors


async def test_an_invite_becomes_an_account_once_the_network_is_there(board, invited):
    link = await invite(invited)
    board.write("attic", f'invite = "{link}"')
    ended = await board.setup()
    ended.plainly(0)
    assert not board.node.exists()  # nothing starts that could not log in
    assert invite_token(link) not in board.card.read_text("utf-8") + ended.said
    assert board.node.with_name("node.toml.pending").exists()
    await made(board, "attic")
    (await board.setup("--account")).plainly(0)
    (await board.setup()).plainly(0)
    password = board.password
    board.write("loft", f'invite = "{link}"')  # a copy that somebody kept, with another name
    (await board.setup()).plainly(0)
    assert board.password == password
    node = board.node.read_text("utf-8")
    assert 'jid = "attic@localhost"' in node
    assert 'name = "loft"' in node


async def test_a_power_cut_between_the_server_and_the_disk_loses_no_account(board, invited):
    link = await invite(invited)
    board.write("cellar", f'invite = "{link}"')
    (await board.setup()).plainly(0)
    kept = json.loads(board.record.read_text("utf-8"))
    account = Account(jid=compat.jid("cellar@localhost"), password=kept["password"], host="127.0.0.1",
                      port=invited.tls_port, ca_file=invited.ca_file)
    await register.register(account, token=invite_token(link), clock=SystemClock())
    await made(board, "cellar")
    assert board.password == kept["password"]


async def test_an_account_whose_commit_was_cut_is_committed_at_the_next_start(board, invited):
    board.write("porch", f'invite = "{await invite(invited)}"')
    (await board.setup()).plainly(0)
    pending = board.node.with_name("node.toml.pending")
    before = {file: file.read_bytes() for file in (pending, board.record)}
    await made(board, "porch")
    for remains in ((pending, board.record), (board.record,)):  # cut before either of the last two steps
        for file in remains:
            file.write_bytes(before[file])
        (await board.setup("--account")).plainly(0)
        assert not pending.exists()
        assert not board.record.exists()
        await board.logs_in("porch")


async def test_a_used_invite_is_told_on_the_card_and_another_one_is_enough(board, invited):
    link = await invite(invited)
    other = Account(jid=compat.jid("other@localhost"), password="other", host="127.0.0.1", port=invited.tls_port,
                    ca_file=invited.ca_file)
    await register.register(other, token=invite_token(link), clock=SystemClock())
    board.write("shed", f'invite = "{link}"')
    (await board.setup()).plainly(0)
    (await board.setup("--account")).plainly(77, "does not take this invite")
    assert "does not take this invite" in board.errors
    assert invite_token(link) not in board.errors
    (await board.setup()).plainly(0)
    assert board.errors  # until something is changed
    board.write("shed", f'invite = "{await invite(invited)}"')
    (await board.setup()).plainly(0)
    assert not board.errors
    await made(board, "shed")


async def test_a_name_that_is_taken_is_told_and_another_one_is_enough(board, invited):
    link = await invite(invited)
    board.write("taken", f'invite = "{link}"')
    (await board.setup()).plainly(0)
    (await board.setup("--account")).plainly(77, "'taken' is taken on localhost")
    text = board.card.read_text("utf-8")
    board.card.write_text(text.replace("[account]\n", '[account]\njid = "fresh@localhost"\n'), "utf-8")
    (await board.setup()).plainly(0)
    await made(board, "fresh")
    assert 'name = "taken"' in board.node.read_text("utf-8")


async def test_without_the_server_it_is_tried_again_and_a_former_node_goes_on(board, invited):
    board.write("barn", 'jid = "greenhouse@localhost"\npassword = "correct horse"')
    (await board.setup()).plainly(0)
    before = board.node.read_text("utf-8")
    link = await invite(invited)
    board.write("barn", f'invite = "{link}"', port=free_ports(1)[0])
    (await board.setup()).plainly(0)
    for _ in range(2):
        (await board.setup("--account")).plainly(69)
        assert board.node.read_text("utf-8") == before
        assert board.password == "correct horse"
    port = f"port = {invited.tls_port}"
    text = board.card.read_text("utf-8")
    lines = [port if line.startswith("port = ") else line for line in text.splitlines()]
    board.card.write_text("\n".join(lines), "utf-8")
    (await board.setup()).plainly(0)
    await made(board, "barn")
    assert board.node.with_name("node.toml.previous").read_text("utf-8") == before
