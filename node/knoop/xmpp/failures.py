"""What a login's failure means to a person: the error to raise, with what to do. Pure."""

from __future__ import annotations

from knoop.errors import LoginRefused, Sign, Unreachable, Untrusted
from knoop.jid import Jid

# OpenSSL's X509_V_ERR_* (openssl/x509_vfy.h) → what to tell a person.
CERTIFICATE = {
    9: "is not valid yet: check this machine's clock",
    10: "has expired: renew it on the server, and check this machine's clock",
    18: "is self-signed: put the server's CA certificate into 'xmpp.ca_file' or its SHA-256 into 'xmpp.fingerprint'",
    62: "is for another host name: correct 'xmpp.jid', or the certificate on the server",
}
# OpenSSL's reasons for a peer that knows only TLS 1.1 or older, by its own alert or by ours.
OLD_TLS = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
UNKNOWN_CA = "is not signed by a CA this machine trusts: put the right CA certificate into 'xmpp.ca_file'"


def unreachable(where: str, why: str) -> Unreachable:
    """Nobody there speaks XMPP with us, or not now."""
    text = f"{where}: no XMPP server to talk to ({why}); check the network, 'xmpp.host' and 'xmpp.port'"
    return Unreachable(text)


def no_service(domain: str) -> Unreachable:
    """RFC 2782: a target of '.' means that the service is decidedly not available at this domain."""
    text = f"{domain}: its DNS says that it has no XMPP service (an SRV target of '.'); correct 'xmpp.jid'"
    return Unreachable(text)


def untrusted(where: str, verify_code: int) -> Untrusted:
    """The certificate failed OpenSSL's check with this code."""
    return Untrusted(f"{where}: the certificate {CERTIFICATE.get(verify_code, UNKNOWN_CA)}", "certificate")


def not_pinned(where: str) -> Untrusted:
    """The certificate is another one than the person named."""
    return Untrusted(f"{where}: the certificate is not the one in 'xmpp.fingerprint'", "pin")


def no_tls(where: str) -> Untrusted:
    """STARTTLS is not offered: RFC 6120 §13.8.1 has every server offer it, so somebody may have taken it away."""
    text = f"{where}: no TLS is offered; nothing is sent in clear. Switch it on at the server, or find who removes it"
    return Untrusted(text, "plaintext")


def handshake(where: str, reason: str) -> Unreachable | Untrusted:
    """TLS failed for this reason of OpenSSL's: it is too old (1.2 is the least: RFC 9325 §3.1.1), or none at all."""
    if reason in OLD_TLS:
        return Untrusted(f"{where}: only TLS before 1.2 is spoken there; let the server offer 1.2 or 1.3", "plaintext")
    return unreachable(where, "no TLS there")


def breach(where: str, why: str, sign: Sign) -> Untrusted:
    """The guard ended the stream."""
    return Untrusted(f"{where}: the stream was refused: {why}", sign)


def no_safe_login(where: str) -> LoginRefused:
    """Every mechanism that the server offers would give the password away, or prove nothing."""
    return LoginRefused(f"{where}: the server offers no SCRAM login over TLS; nothing weaker is used", "mechanism")


def refused(where: str, jid: Jid, condition: str, *, iterations: tuple[int, int]) -> LoginRefused | Unreachable:
    """A SASL failure of this condition (RFC 6120 §6.5). One that is the server's trouble is no refusal."""
    if condition == "not-authorized":
        text = f"{where}: wrong password for {jid.bare}; correct the file in "
        return LoginRefused(text + "'xmpp.password_file' or the credential 'xmpp.password'")
    if condition == "aborted":  # by us: see compat
        text = f"{where}: the server asks for too few or too many SCRAM iterations; "
        text += "let it keep this account's password with {} to {}".format(*iterations)
        return LoginRefused(text, "mechanism")
    if condition == "temporary-auth-failure":
        return unreachable(where, "it cannot check passwords just now")
    return LoginRefused(f"{where}: login refused for {jid.bare} ({condition})")
