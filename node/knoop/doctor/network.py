"""The way to the server: names, connections, TLS. Says nothing about who we are."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from knoop.doctor.finding import Finding, not_looked_at, note, ok, problem
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.failures import CERTIFICATE, UNKNOWN_CA
from knoop.xmpp.where import DIRECT, STARTTLS, Target, targets
from knoop_hw.clock import Clock

CONNECT_S = 5.0
HANDSHAKE_S = 8.0  # a Raspberry Pi Zero on a phone network
SOON = timedelta(days=21)  # Let's Encrypt renews 30 days before the end: whatever is nearer was not renewed
NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name
NOT_YET, EXPIRED = 9, 10  # X509_V_ERR_*
HEADER = (
    "<stream:stream to='{}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)  # fmt: skip
WAYS = {DIRECT: "direct TLS", STARTTLS: "STARTTLS"}
ELSE = "check the network, the domain in 'xmpp.jid', 'xmpp.host' and 'xmpp.port'"


def dns(account: Account, found: Sequence[Target]) -> Iterator[Finding]:
    """What names lead to."""
    domain = account.jid.domain
    if account.host:
        if found:
            yield not_looked_at("dns", f"'xmpp.host' says {account.where}; when the server moves it must say so, too")
        else:
            yield problem("dns", f"no address is known for {account.host}", "correct 'xmpp.host', or DNS")
    elif not found:
        remedy = "is the network up? Else correct 'xmpp.jid', or set 'xmpp.host' and 'xmpp.port'"
        yield problem("dns", f"no SRV record and no address is known for {domain}", remedy)
    elif not found[0].service:
        text = f"{domain} has no SRV record: {found[0]} is tried, with both ways of TLS"
        yield note("dns", text, f"add _xmpps-client._tcp.{domain} for direct TLS, or leave it while it works")
    else:
        ways = dict.fromkeys(f"{target.host} by {WAYS[target.service]}" for target in found)
        yield ok("dns", f"{domain}: {', '.join(ways)} ({_addresses(found)})")


def _addresses(found: Sequence[Target]) -> str:
    count = len({target.address for target in found})
    return "1 address" if count == 1 else f"{count} addresses"


async def find(account: Account, resolver: object) -> tuple[Target, ...]:
    """Where to go, in the order of a login."""
    return await targets(account.jid.domain, host=account.host, port=account.port, resolver=resolver)


async def tcp(found: Sequence[Target]) -> tuple[list[Finding], tuple[Target, ...]]:
    """The findings, and the addresses that answer, in the same order."""
    reasons = await asyncio.gather(*(_connects(target) for target in found))
    open_ = tuple(target for target, reason in zip(found, reasons, strict=True) if not reason)
    refused = [f"{target} ({reason})" for target, reason in zip(found, reasons, strict=True) if reason]
    if not open_:
        remedy = f"is the server up, does a firewall forbid it? Else {ELSE}"
        return [problem("tcp", f"nobody answers at {', '.join(refused)}", remedy)], ()
    if refused:
        remedy = "take what does not answer out of DNS, or open it: it may cost every login time"
        return [note("tcp", f"{open_[0]} answers, but not {', '.join(refused)}", remedy)], open_
    return [ok("tcp", f"{', '.join(map(str, open_))} {'answers' if len(open_) == 1 else 'answer'}")], open_


async def _connects(target: Target) -> str:
    """Why it does not, '' when it does."""
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(target.address, target.port)
    except TimeoutError:
        return f"silent for {CONNECT_S:g} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    writer.transport.abort()
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A handshake: with its reason to refuse (0: none), or, with `failed`, none at all."""

    target: Target
    mode: str = ""
    version: str = ""
    der: bytes = b""
    refused: int = 0
    failed: str = ""


async def shake_hands(account: Account, open_: Sequence[Target]) -> Seen:
    """The first address that comes to a certificate, in the way that a login would; else the last failure."""
    seen = Seen(target=open_[0], failed="no way to TLS")
    for target in open_:
        for mode in {DIRECT: ("direct",), STARTTLS: ("starttls",)}.get(target.service, ("direct", "starttls")):
            seen = await _handshake(account, target, mode)
            if not seen.failed:
                return seen
    return seen


async def _handshake(account: Account, target: Target, mode: str) -> Seen:
    context = tls_context(account)
    refused = 0
    while True:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                version, der = await _tls(account.jid.domain, target, mode, context)
            return Seen(target=target, mode=mode, version=version, der=der, refused=refused)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code in {NOT_YET, EXPIRED} and not context.verify_flags & NO_CHECK_TIME:
                context.verify_flags |= NO_CHECK_TIME  # dates are looked at apart
            else:
                refused = error.verify_code
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to see whose it is
        except TimeoutError:
            return Seen(target=target, mode=mode, failed=f"it says nothing for {HANDSHAKE_S:g} s")
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
            return Seen(target=target, mode=mode, failed=reason or "it hung up")


async def _tls(domain: str, target: Target, mode: str, context: ssl.SSLContext) -> tuple[str, bytes]:
    """TLS's version and the certificate. Raises what ssl and sockets raise, EOFError for a server that offers none."""
    if mode == "direct":
        secure: dict[str, Any] = {"ssl": context, "server_hostname": domain}
        reader, writer = await asyncio.open_connection(target.address, target.port, **secure)
    else:
        reader, writer = await asyncio.open_connection(target.address, target.port)
    try:
        if mode == "starttls":
            writer.write(HEADER.format(domain).encode())
            features = await reader.readuntil(b"</stream:features>")
            if b"urn:ietf:params:xml:ns:xmpp-tls" not in features:
                raise EOFError("it offers no STARTTLS")
            writer.write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            await reader.readuntil(b"proceed")
            await reader.readuntil(b">")
            await writer.start_tls(context, server_hostname=domain)
        made = writer.get_extra_info("ssl_object")
        return made.version(), made.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()


def tls(account: Account, seen: Seen) -> Iterator[Finding]:
    """Version, chain and host name, or the pin."""
    pinned = account.fingerprint.replace(":", "").lower()
    shown = hashlib.sha256(seen.der).hexdigest()
    if seen.failed:
        remedy = "is it a port for XMPP clients (5223 for direct TLS, 5222 for STARTTLS)? Correct 'xmpp.port'"
        yield problem("tls", f"{seen.target} does not come to TLS ({seen.failed})", remedy)
    elif pinned and pinned != shown:
        text = f"the certificate is not the one in 'xmpp.fingerprint': its SHA-256 is {shown}"
        yield problem("tls", text, "ask who runs the server whether it was renewed, and only then change it")
    elif seen.refused:
        text, _, remedy = CERTIFICATE.get(seen.refused, UNKNOWN_CA).partition(": ")
        yield problem("tls", f"{seen.target}: the certificate {text}", remedy)
    else:
        trust = "the pinned certificate" if pinned else f"a trusted certificate for {account.jid.domain}"
        way = "direct" if seen.mode == "direct" else "by STARTTLS"
        yield ok("tls", f"{seen.version}, {way}, with {trust}")


def certificate(account: Account, seen: Seen, *, clock: Clock) -> Iterator[Finding]:
    """How long it is valid. A pinned one is taken whatever its dates are."""
    from cryptography import x509  # noqa: PLC0415 -- only who asks pays for it

    made = x509.load_der_x509_certificate(seen.der)
    now = datetime.fromtimestamp(clock.time_ns() / 1e9, UTC)
    yield life(made.not_valid_before_utc, made.not_valid_after_utc, now=now, pinned=bool(account.fingerprint))


def life(begins: datetime, ends: datetime, *, now: datetime, pinned: bool = False) -> Finding:
    """The finding about a certificate's dates (UTC)."""
    if now < begins:
        text = f"is not valid before {begins:%Y-%m-%d %H:%M} UTC"
        remedy = f"this machine thinks it is {now:%Y-%m-%d %H:%M}: check its clock (`timedatectl`)"
    elif now >= ends:
        text, remedy = f"expired on {ends:%Y-%m-%d %H:%M} UTC", "renew it on the server, and check this machine's clock"
    elif ends - now < SOON:
        days = (ends - now).days
        text = f"expires in {days} {'day' if days == 1 else 'days'}, on {ends:%Y-%m-%d}"
        return note("certificate", text, "renew it on the server: from then on the node does not log in")
    else:
        return ok("certificate", f"valid until {ends:%Y-%m-%d}, {(ends - now).days} days more")
    if pinned:
        return note("certificate", f"{text}; 'xmpp.fingerprint' trusts it nevertheless")
    return problem("certificate", text, remedy)
