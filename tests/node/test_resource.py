"""The resource that a node keeps: nobody can guess it, and it is the same after a restart."""

import asyncio

import pytest

from knoop import resource
from knoop.errors import StoreError
from knoop.state import State
from knoop.xmpp.account import Account


async def test_it_is_made_once_and_stays_the_same_after_a_restart(tmp_path):
    async with State.open(tmp_path / "state.db") as state:
        assert await resource.kept(state, made="knoop-first") == "knoop-first"
        assert await resource.kept(state, made="knoop-second") == "knoop-first"
    async with State.open(tmp_path / "state.db") as state:
        assert await resource.kept(state, made="knoop-third") == "knoop-first"


async def test_a_disk_that_does_not_say_lets_the_server_choose_and_the_node_goes_on(caplog):
    class Dying:
        async def run(self, _work):
            await asyncio.sleep(0)
            raise StoreError("state.db: the disk does not answer", "failing")

    assert await resource.kept(Dying(), made="knoop-new") == ""
    assert "the server chooses" in caplog.text


@pytest.mark.parametrize("jid", ["greenhouse@example.org", "greenhouse@example.org/shed"])
def test_an_account_logs_in_as_node_toml_says(load, jid):
    config = load(f'[node]\nname = "greenhouse"\n[xmpp]\njid = "{jid}"\n[people]\n"anna@example.org" = "owner"\n')
    assert str(Account.of(config, "secret").jid) == jid
