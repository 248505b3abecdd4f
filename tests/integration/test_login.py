"""A login at a real server: what it proves on both sides, and what a wrong password costs."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from knoop.errors import LoginRefused
from knoop.xmpp import compat
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_hw.clock import SystemClock

pytestmark = pytest.mark.prosody


async def opened(account: Account, *, most: ssl.TLSVersion | None = None) -> Session:
    """A session; `most` is the newest TLS that the node offers."""
    context = tls_context(account)
    if most is not None:
        context.maximum_version = most
    return await Session.open(
        account, clock=SystemClock(), context=context, on_message=lambda *_: None, on_presence=lambda _: None,
        admits=lambda _: False,
    )


def account_at(server: Prosody, password: str, *, starttls: bool = False) -> Account:
    port = server.starttls_port if starttls else server.tls_port
    return Account(jid=compat.jid(f"{server.jid('greenhouse')}/knoop"), password=password, host="127.0.0.1", port=port,
                   ca_file=server.ca_file)


@pytest.mark.parametrize("starttls", [False, True], ids=["direct-tls", "starttls"])
async def test_with_tls_1_2_the_login_is_bound_to_its_channel(serve, starttls):
    """SCRAM-…-PLUS by tls-unique (RFC 5929): whoever stands between with a certificate of his own cannot pass it on."""
    server = await serve(accounts={"greenhouse": "secret"})
    session = await opened(account_at(server, "secret", starttls=starttls), most=ssl.TLSVersion.TLSv1_2)
    try:
        mechanism = session._stream.plugin["feature_mechanisms"].mech
        assert mechanism.name.endswith("-PLUS")
        assert mechanism.gs2_header == b"p=tls-unique,,"
        assert session._stream.socket.version() == "TLSv1.2"
    finally:
        await session.close()


async def test_with_tls_1_3_python_has_no_channel_to_bind_to_and_says_that_it_could_not(serve):
    """`n` says that we can not, `y` that the server can not: a server that can, and is told `y`, knows of an attack."""
    server = await serve(accounts={"greenhouse": "secret"})
    session = await opened(account_at(server, "secret"))
    try:
        mechanism = session._stream.plugin["feature_mechanisms"].mech
        assert session._stream.socket.version() == "TLSv1.3"
        assert not mechanism.name.endswith("-PLUS")
        assert mechanism.gs2_header[:1] in {b"n", b"y"}
        offered = session._stream.plugin["feature_mechanisms"].mech_list
        assert (mechanism.gs2_header[:1] == b"y") == (not any(name.endswith("-PLUS") for name in offered))
    finally:
        await session.close()


async def test_a_wrong_password_is_one_failure_for_the_server(serve):
    """Prosody offers two mechanisms, and their -PLUS: whoever counts failures must not count four."""
    server = await serve(accounts={"greenhouse": "secret"}, options=Options(log_level="debug"))
    with pytest.raises(LoginRefused, match="wrong password"):
        await opened(account_at(server, "wrong"), most=ssl.TLSVersion.TLSv1_2)
    log = Path(server.folder / "server.log").read_text("utf-8", "replace")
    assert len(re.findall(r"Sending\[c2s_unauthed\]: <failure", log)) == 1, log
