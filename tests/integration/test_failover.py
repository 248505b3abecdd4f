"""Several servers of one domain: a login goes on to the next one when one is not there, hangs, or cannot just now."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from tests.integration.hostile import BIND, HEADER, PROCEED, SASL, STARTTLS, STREAMS, Hostile, Peer, Script, mechanisms
from tests.node.xmpp.dns import SRV, A, Names, ip, names, srv

from knoop.errors import LoginRefused, Unreachable, Untrusted
from knoop.xmpp import compat, where
from knoop.xmpp import session as session_module
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
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


async def forgets_to_challenge(peer: Peer) -> None:
    await peer.stream(mechanisms("SCRAM-SHA-1"))
    await peer.hears(rb"<auth[^>]*>")


async def forgets_to_bind(peer: Peer) -> None:
    await peer.stream(mechanisms("SCRAM-SHA-1"))
    await peer.scram()
    await peer.stream(BIND)
    await peer.hears(rb"<iq")


async def forgets_to_begin_tls(peer: Peer) -> None:
    await peer.stream(STARTTLS)
    await peer.hears(rb"<starttls[^>]*>")
    await peer.say(PROCEED)
    await asyncio.sleep(3600)


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


HANGING = {"SASL": (forgets_to_challenge, True), "bind": (forgets_to_bind, True), "TLS": (forgets_to_begin_tls, False)}


@pytest.mark.parametrize("stage", HANGING)
async def test_the_next_server_lets_us_in_when_the_first_hangs_in(stage, certificate, account, monkeypatch):
    script, direct = HANGING[stage]
    async with (
        Hostile(certificate, script, direct=direct) as first,
        Hostile(certificate, lets_in, direct=True) as second,
        domain(monkeypatch, (first.port, direct), (second.port, True)),
    ):
        await (await opened(account)).close()
        assert second.handshakes == 1


async def test_being_told_to_stop_amid_a_login_leaves_nothing_behind(certificate, account, monkeypatch):
    """A task of slixmpp's waited for bind's answer, for two minutes on a stream that had ended."""
    at_bind = asyncio.Event()

    async def script(peer: Peer) -> None:
        await forgets_to_bind(peer)
        at_bind.set()

    async with Hostile(certificate, script, direct=True) as only, domain(monkeypatch, (only.port, True)):
        before = {*asyncio.all_tasks()}
        login = asyncio.create_task(opened(account))
        await at_bind.wait()
        login.cancel()
        await asyncio.wait({login})
        assert login.cancelled()
        async with asyncio.timeout(20):
            while not {*asyncio.all_tasks()} <= before:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "starttls"])
async def test_a_certificate_for_the_name_that_dns_leads_to_is_none_for_ours(authority, account, monkeypatch, direct):
    """RFC 6125 §6.2.1: whoever forges DNS can have a right certificate for a name of their own."""
    theirs = authority.issue(host="s0.test")
    script = lets_in if direct else lets_in_by_starttls
    async with Hostile(theirs, script, direct=direct) as only, domain(monkeypatch, (only.port, direct)):
        with pytest.raises(Untrusted, match="is for another host name"):
            await opened(account)
        assert b"<auth" not in only.got


async def test_a_pin_holds_at_every_server(authority, account, monkeypatch):
    """The fingerprint replaces the check against CAs, also where a name server leads somewhere else."""
    pinned, other = authority.issue("expired"), authority.issue()
    wanted = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pinned.file.read_text())).hexdigest()
    account = replace(account, ca_file=None, fingerprint=wanted)
    async with (
        Hostile(other, lets_in, direct=True) as direct,
        Hostile(other, lets_in_by_starttls, direct=False) as starttls,
        Hostile(pinned, lets_in, direct=True) as right,
    ):
        async with domain(monkeypatch, (direct.port, True), (starttls.port, False)):
            with pytest.raises(Untrusted, match="not the one in"):
                await opened(account)
        async with domain(monkeypatch, (direct.port, True), (starttls.port, False), (right.port, True)):
            await (await opened(account)).close()
        assert not direct.got
        assert b"<auth" not in starttls.got


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


async def test_one_port_of_both_services_is_tried_by_direct_tls_where_starttls_finds_no_stream(
    certificate, account, monkeypatch
):
    """That somebody took the connection is not yet a way of TLS that stood."""
    async with Hostile(certificate, lets_in, direct=True) as only:
        known = {
            (f"_{service}._tcp.localhost", SRV): [srv(only.port, "s.test", priority=priority)]
            for priority, service in enumerate(("xmpp-client", "xmpps-client"))
        }
        async with names({**known, ("s.test", A): [ip(LOOPBACK)]}) as (_, resolver):
            monkeypatch.setattr(where, "default_resolver", lambda **_: resolver)
            session = await opened(account)
            assert session.mode == "direct"
            await session.close()


async def test_what_the_server_said_last_is_told(certificate, account, monkeypatch):
    async with (
        Hostile(certificate, ends_with("system-shutdown"), direct=True) as only,
        domain(monkeypatch, (only.port, True)),
    ):
        with pytest.raises(Unreachable, match=r"no XMPP server to talk to \(system-shutdown\)"):
            await opened(account)
