"""An answered ping proves that the server has what was sent before it: no message is lost for it, on Prosody."""

import secrets

import pytest
from tests.faults.ping_rule import hold

from knoop_bench.prosody import Prosody

pytestmark = pytest.mark.prosody


async def test_what_a_pong_confirmed_arrives(tmp_path, authority):
    async with Prosody(tmp_path / "prosody", authority=authority) as server:
        await hold(server, cuts=15, seed=secrets.randbits(32))


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
async def test_what_a_pong_confirmed_arrives_after_many_cuts(tmp_path, authority, seed):
    async with Prosody(tmp_path / "prosody", authority=authority) as server:
        await hold(server, cuts=200, seed=seed)
