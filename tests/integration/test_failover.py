"""Several servers of one domain: a login goes on to the next one when one is not there, hangs, or cannot just now."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.integration.hostile import HEADER, SASL, STREAMS, Hostile, Peer, Script, mechanisms
from tests.node.xmpp.dns import SRV, A, Names, ip, names, srv

from knoop.errors import LoginRefused, Unreachable, Untrusted
from knoop.xmpp import compat, where
from knoop.xmpp import session as session_module
from knoop.xmpp.session import Account, Session, tls_context
from knoop.xmpp.ways import Ways
from knoop_bench.ports import LOOPBACK, free_ports
from knoop_hw.clock import SystemClock

ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
PATIENCE_S = 0.4


async def lets_in(peer: Peer) -> None:
    await peer.log_in()


async def lets_in_by_starttls(peer: Peer) -> None:
    await peer.secure()
    await peer.log_in()


def ends_with(condition: str) -> Script:
    async def script(peer: Peer) -> None:
        await peer.hears(rb"<stream:stream[^>]*>")
        why = f"<{condition} xmlns='{ERRORS}'>c.test</{condition}>"
        await peer.say(f"{HEADER}<stream:error xmlns:stream='{STREAMS}'>{why}</stream:error></stream:stream>")

    return script


def refuses_with(condition: str) -> Script:
    async def script(peer: Peer) -> None:
        await peer.stream(mechanisms("SCRAM-SHA-1"))
        await peer.hears(rb"<auth[^>]*>")
        await peer.say(f"<failure xmlns='{SASL}'><{condition}/></failure>")

    return script


async def says_nothing(peer: Peer) -> None:
    await peer.hears(rb"<stream:stream[^>]*>")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "SERVER_S", PATIENCE_S)


@pytest.fixture
def certificate(authority):
    return authority.issue()


@pytest.fixture
def account(authority) -> Account:
    return Account(jid=compat.jid("greenhouse@localhost/knoop"), password="secret", ca_file=authority.ca_file)


@asynccontextmanager
async def domain(monkeypatch: pytest.MonkeyPatch, *servers: tuple[int, bool]) -> AsyncIterator[Names]:
    """localhost has these servers, in this order: port, and whether by direct TLS."""
    known: dict[tuple[str, int], list[bytes]] = {}
    for number, (port, direct) in enumerate(servers):
        service = f"_{'xmpps' if direct else 'xmpp'}-client._tcp.localhost"
        known.setdefault((service, SRV), []).append(srv(port, f"s{number}.test", priority=10 * number))
        known[f"s{number}.test", A] = [ip(LOOPBACK)]
    async with names(known) as (server, resolver):
        monkeypatch.setattr(where, "default_resolver", lambda **_: resolver)
        yield server


async def opened(account: Account, ways: Ways | None = None) -> Session:
    return await Session.open(
        account, ways=ways, clock=SystemClock(), context=tls_context(account), on_message=lambda *_: None,
        on_presence=lambda _: None, admits=lambda _: False,
    )  # fmt: skip


FAILING: dict[str, Script] = {
    "hangs after TLS": says_nothing,
    "temporary-auth-failure": refuses_with("temporary-auth-failure"),
    "system-shutdown": ends_with("system-shutdown"),
    "see-other-host": ends_with("see-other-host"),
    "resource-constraint": ends_with("resource-constraint"),
}


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "starttls"])
@pytest.mark.parametrize("failing", FAILING)
async def test_the_next_server_lets_us_in_when_the_first(failing, direct, certificate, account, monkeypatch):
    async def by_starttls(peer: Peer) -> None:
        await peer.secure()
        await FAILING[failing](peer)

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            Hostile(certificate, FAILING[failing] if direct else by_starttls, direct=direct)
        )
        second = await stack.enter_async_context(Hostile(certificate, lets_in, direct=True))
        asked = await stack.enter_async_context(domain(monkeypatch, (first.port, direct), (second.port, True)))
        session = await opened(account)
        await session.close()
        assert first.handshakes == 1
        assert second.handshakes == 1
        assert not [name for name, _ in asked.asked if name.startswith("c.test")], "nobody sends us anywhere else"


async def test_the_next_server_lets_us_in_when_the_first_is_not_there_or_hangs_in_tls(
    certificate, account, monkeypatch, caplog
):
    (nobody,) = free_ports(1)
    with socket.create_server((LOOPBACK, 0)) as deaf:  # takes the connection, as a stopped process does
        async with (
            Hostile(certificate, lets_in_by_starttls, direct=False) as last,
            domain(monkeypatch, (nobody, True), (deaf.getsockname()[1], True), (last.port, False)),
        ):
            ways = Ways("localhost")
            session = await opened(account, ways)
            assert session.mode == "starttls"
            assert "no XMPP server to talk to (it does not finish the login)" in caplog.text
            assert "logged in at s2.test instead" in caplog.text
            await session.close()


async def test_an_untrusted_server_is_passed_over_and_told_of_when_nobody_else_is_there(
    authority, certificate, account, monkeypatch
):
    (nobody,) = free_ports(1)
    expired = authority.issue("expired")
    async with Hostile(expired, lets_in, direct=True) as bad:
        async with domain(monkeypatch, (bad.port, True), (nobody, True)):
            with pytest.raises(Untrusted, match="has expired"):
                await opened(account)
        async with (
            Hostile(certificate, lets_in, direct=True) as good,
            domain(monkeypatch, (bad.port, True), (good.port, True)),
        ):
            await (await opened(account)).close()
        assert b"<auth" not in bad.got


async def test_a_wrong_password_is_not_tried_at_the_next_server(certificate, account, monkeypatch):
    """It is the same account there: asking around would lock it the sooner."""
    async with (
        Hostile(certificate, refuses_with("not-authorized"), direct=True) as first,
        Hostile(certificate, lets_in, direct=True) as second,
        domain(monkeypatch, (first.port, True), (second.port, True)),
    ):
        with pytest.raises(LoginRefused, match="wrong password"):
            await opened(account)
        assert second.knocks == 0


async def test_a_login_ends_in_time_however_many_servers_hang(certificate, account, monkeypatch):
    monkeypatch.setattr(session_module, "LOGIN_TIMEOUT_S", 2 * PATIENCE_S)
    async with AsyncExitStack() as stack:
        hanging = [await stack.enter_async_context(Hostile(certificate, says_nothing, direct=True)) for _ in range(3)]
        good = await stack.enter_async_context(Hostile(certificate, lets_in, direct=True))
        await stack.enter_async_context(
            domain(monkeypatch, *((server.port, True) for server in hanging), (good.port, True))
        )
        ways = Ways("localhost")
        with pytest.raises(Unreachable, match="does not finish the login"):
            await opened(account, ways)
        assert hanging[2].knocks + good.knocks == 0, "its time was over"
        monkeypatch.setattr(session_module, "LOGIN_TIMEOUT_S", 30.0)
        await (await opened(account, ways)).close()
        assert [server.knocks for server in hanging] == [1, 1, 1], "those that hung come last in the next round"


async def test_what_the_server_said_last_is_told(certificate, account, monkeypatch):
    async with (
        Hostile(certificate, ends_with("system-shutdown"), direct=True) as only,
        domain(monkeypatch, (only.port, True)),
    ):
        with pytest.raises(Unreachable, match=r"no XMPP server to talk to \(system-shutdown\)"):
            await opened(account)
