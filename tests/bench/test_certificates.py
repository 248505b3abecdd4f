"""Certificates that a TLS library accepts, or refuses for the one reason asked for."""

from __future__ import annotations

import asyncio
import ssl
import stat

import pytest

from knoop_bench.certificates import VARIANTS, Authority

REASONS = {
    "expired": "certificate has expired",
    "wrong-host": "Hostname mismatch",
    "other-ca": "unable to get local issuer certificate|self-signed certificate",
}


async def handshake(authority: Authority, variant: str, host: str = "localhost") -> str:
    certificate = authority.issue(variant)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate.file, certificate.key_file)
    trusting = ssl.create_default_context(cafile=authority.ca_file)
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on

    async def talk(reader, writer):
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=serving)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=host)
        version = writer.get_extra_info("ssl_object").version()
        writer.transport.abort()
        return version


@pytest.mark.parametrize("host", ["localhost", "rooms.localhost", "127.0.0.1"])
async def test_a_good_certificate_is_good(tmp_path, host):
    assert await handshake(Authority(tmp_path), "good", host) == "TLSv1.3"


@pytest.mark.parametrize("variant", REASONS)
async def test_a_wrong_certificate_is_wrong_for_its_reason(tmp_path, variant):
    with pytest.raises(ssl.SSLCertVerificationError, match=REASONS[variant]):
        await handshake(Authority(tmp_path), variant)


def test_only_the_owner_can_read_a_key_and_the_authority_leaves_none(tmp_path):
    authority = Authority(tmp_path)
    issued = [authority.issue(variant) for variant in VARIANTS]
    keys = {path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()}
    assert keys == {certificate.key_file for certificate in issued}
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
