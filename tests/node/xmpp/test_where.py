"""Where a login goes: SRV by priority and weight, both services mixed, '.' for none, both families of addresses."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.node.xmpp.dns import AAAA, SRV, A, ip, names, srv

from knoop.errors import Unreachable
from knoop.xmpp import where
from knoop.xmpp.where import DIRECT, MOST, STARTTLS, Server, Srv, Target, in_order, servers, targets

FOUR = "127.0.0.1"


def record(host: str, *, priority: int = 0, weight: int = 0, service: str = DIRECT) -> Srv:
    return Srv(service=service, priority=priority, weight=weight, port=5223, host=host)


def order(*records: Srv, seed: int = 1) -> list[str]:
    return [found.host for found in in_order(records, random.Random(seed))]


def test_a_lower_priority_comes_first_whatever_its_weight_and_service():
    a, b = record("a", priority=10, weight=100), record("b", priority=5, weight=1, service=STARTTLS)
    assert {tuple(order(a, b, record("c", priority=20), seed=seed)) for seed in range(50)} == {("b", "a", "c")}


def test_within_a_priority_chance_follows_the_weights():
    """RFC 2782: who has three times the weight comes first three times as often."""
    rng = random.Random(1)
    both = record("one", weight=10), record("three", weight=30)
    ways = Counter(next(in_order(both, rng)).host for _ in range(4000))
    assert 0.70 <= ways["three"] / 4000 <= 0.80


def test_a_weight_of_nothing_is_seldom_first_and_never_forgotten():
    rng = random.Random(1)
    seen = [[found.host for found in in_order((record("some", weight=100), record("none")), rng)] for _ in range(2000)]
    assert all(sorted(one) == ["none", "some"] for one in seen)
    assert 0 < sum(one[0] == "none" for one in seen) < 100


def test_equal_servers_share_the_logins():
    rng = random.Random(1)
    first = Counter(next(in_order([record(host, weight=5) for host in "abcd"], rng)).host for _ in range(4000))
    assert max(first.values()) < 1.3 * min(first.values())


def test_addresses_of_one_host_are_one_try_and_without_srv_it_is_tried_both_ways():
    found = [Target(service=DIRECT, host="x", address=address, port=5223) for address in ("::1", FOUR)]
    assert servers(found) == [Server(direct=True, host="x", port=5223, addresses=("::1", FOUR))]
    assert [one.direct for one in servers([Target(service="", host="x", address=FOUR, port=5222)])] == [True, False]
    assert [one.direct for one in servers([Target(service=STARTTLS, host="x", address=FOUR, port=5222)])] == [False]


async def test_both_services_are_asked_for_and_mixed():
    known = {
        ("_xmpps-client._tcp.knoop.test", SRV): [srv(5223, "b.knoop.test", priority=20)],
        ("_xmpp-client._tcp.knoop.test", SRV): [
            srv(5222, "a.knoop.test", priority=10), srv(5222, "c.knoop.test", priority=30),
        ],
        ("a.knoop.test", A): [ip(FOUR)], ("b.knoop.test", A): [ip("127.0.0.2")],
        ("b.knoop.test", AAAA): [ip("::1")], ("c.knoop.test", A): [ip("127.0.0.3"), ip("127.0.0.4")],
    }  # fmt: skip
    async with names(known) as (_, resolver):
        found = await targets("knoop.test", resolver=resolver)
    assert [(one.service, str(one)) for one in found] == [
        (STARTTLS, "127.0.0.1:5222"), (DIRECT, "[::1]:5223"), (DIRECT, "127.0.0.2:5223"),
        (STARTTLS, "127.0.0.3:5222"), (STARTTLS, "127.0.0.4:5222"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("direct", "starttls", "found"),
    [
        (".", ".", None),  # decidedly none
        ("", ".", None),
        (".", "", [("", "127.0.0.1:5222")]),  # no direct TLS: of the rest nothing is said
        ("", "", [("", "127.0.0.1:5222")]),
        (".", "a.knoop.test", [(STARTTLS, "127.0.0.2:7000")]),
        ("a.knoop.test", ".", [(DIRECT, "127.0.0.2:7000")]),
    ],
)
async def test_a_target_of_a_dot_means_no_service(direct, starttls, found):
    known = {("knoop.test", A): [ip(FOUR)], ("a.knoop.test", A): [ip("127.0.0.2")]}
    known |= {("_xmpps-client._tcp.knoop.test", SRV): [srv(7000, direct)]} if direct else {}
    known |= {("_xmpp-client._tcp.knoop.test", SRV): [srv(7000, starttls)]} if starttls else {}
    async with names(known) as (_, resolver):
        if found is None:
            with pytest.raises(Unreachable, match=r"^knoop\.test: its DNS says that it has no XMPP service"):
                await targets("knoop.test", resolver=resolver)
        else:
            assert [(one.service, str(one)) for one in await targets("knoop.test", resolver=resolver)] == found


async def test_a_lost_datagram_is_no_answer():
    """A name server that was silent once did not say that there are no SRV records."""
    known = {
        ("_xmpps-client._tcp.knoop.test", SRV): [srv(5223, "a.knoop.test")], ("a.knoop.test", A): [ip(FOUR)],
    }  # fmt: skip
    async with names(known, silent=2, timeout_s=0.1) as (server, resolver):
        found = await targets("knoop.test", resolver=resolver)
    assert [str(one) for one in found] == ["127.0.0.1:5223"]
    assert server.asked.count(("_xmpps-client._tcp.knoop.test", SRV)) == 2


async def test_an_address_needs_no_look_up():
    async with names({}) as (server, resolver):
        assert [str(one) for one in await targets("knoop.test", host="::1", port=5222)] == ["[::1]:5222"]
        known = {("_xmpps-client._tcp.knoop.test", SRV): [srv(5223, "127.0.0.1")]}
        server.records = known
        assert [str(one) for one in await targets("knoop.test", resolver=resolver)] == ["127.0.0.1:5223"]
    assert {kind for _, kind in server.asked} == {SRV}


async def test_an_answer_without_end_costs_no_more_than_a_long_one(monkeypatch):
    """A name server with 1000 records made 900 threads, one for each name that only the machine could know."""
    looked_up = []

    async def nobody(host):
        looked_up.append(host)
        return []

    monkeypatch.setattr(where, "_system", nobody)
    known = {("_xmpps-client._tcp.knoop.test", SRV): [srv(5223, f"h{n}.test") for n in range(30)]}
    known["_xmpps-client._tcp.one.test", SRV] = [srv(5223, "many.test")]
    known["many.test", A] = [ip(f"127.0.0.{n}") for n in range(1, 31)]
    async with names(known) as (_, resolver):
        assert await targets("knoop.test", resolver=resolver, rng=random.Random(1)) == ()
        assert len(looked_up) == MOST
        assert len(await targets("one.test", resolver=resolver)) == MOST
