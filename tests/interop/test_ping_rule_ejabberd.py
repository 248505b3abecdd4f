"""An answered ping proves that the server has what was sent before it: no message is lost for it, on ejabberd."""

from tests.faults.ping_rule import hold

from knoop_bench.ejabberd import Ejabberd


async def test_what_a_pong_confirmed_arrives_on_ejabberd_too(tmp_path, authority):
    async with Ejabberd(tmp_path / "ejabberd", authority=authority) as server:
        await hold(server, cuts=150, seed=1)
