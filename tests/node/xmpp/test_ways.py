"""The order of servers from one login to the next."""

from __future__ import annotations

import pytest

from knoop.xmpp import where
from knoop.xmpp.ways import REMEMBER_FOR, Ways
from knoop.xmpp.where import DIRECT, Target


@pytest.fixture
def found(monkeypatch) -> list[Target]:
    """What the look-up brings."""
    found: list[Target] = []

    async def targets(*_names, **_options):
        return tuple(found)

    monkeypatch.setattr(where, "targets", targets)
    return found


async def test_the_way_that_worked_at_a_fixed_address_is_tried_alone_and_not_for_ever(found):
    found.append(Target(service="", host="127.0.0.1", address="127.0.0.1", port=5222))
    ways = Ways("example.org", host="127.0.0.1", port=5222)
    both = await ways.servers()
    assert [server.direct for server in both] == [True, False], "STARTTLS hides why direct TLS failed"
    ways.worked(both[1])
    for _ in range(REMEMBER_FOR):
        assert await ways.servers() == [both[1]]
    assert await ways.servers() == both


async def test_a_server_that_left_us_waiting_is_the_last_one_until_the_next_login(found):
    """One that ignores a TLS hello must not hold every try."""
    found += [Target(service=DIRECT, host=host, address="127.0.0.1", port=5223) for host in "abc"]
    ways = Ways("example.org")
    a, b, c = await ways.servers()
    ways.failed(a, hung=True)
    ways.failed(b, hung=False)
    assert await ways.servers() == [b, c, a]
    ways.worked(b)
    assert await ways.servers() == [a, b, c], "priorities hold again"


async def test_where_srv_records_lead_both_ways_of_tls_stay_what_they_say(found):
    found.append(Target(service=DIRECT, host="a", address="127.0.0.1", port=5223))
    ways = Ways("example.org")
    ways.worked((await ways.servers())[0])
    found[0] = Target(service="xmpp-client", host="a", address="127.0.0.1", port=5222)
    assert [server.direct for server in await ways.servers()] == [False]


async def test_a_server_that_hung_is_known_again_though_its_addresses_come_in_another_order(found):
    """Name servers turn the order from answer to answer: it was tried first again each time."""
    found += [Target(service=DIRECT, host="a", address=f"127.0.0.{n}", port=5223) for n in (1, 2)]
    found.append(Target(service=DIRECT, host="b", address="127.0.0.3", port=5223))
    ways = Ways("example.org")
    ways.failed((await ways.servers())[0], hung=True)
    found[:2] = found[1::-1]
    assert [server.host for server in await ways.servers()] == ["b", "a"]
