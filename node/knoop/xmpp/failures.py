"""What a login's failure means to a person: the error to raise, with what to do. Pure."""

from __future__ import annotations

from knoop.errors import LoginRefused, Unreachable, Untrusted
from knoop.jid import Jid

# OpenSSL's X509_V_ERR_* (openssl/x509_vfy.h) → what to tell a person.
CERTIFICATE = {
    9: "is not valid yet: check this machine's clock",
    10: "has expired: renew it on the server, and check this machine's clock",
    18: "is self-signed: put the server's CA certificate into 'xmpp.ca_file' or its SHA-256 into 'xmpp.fingerprint'",
    62: "is for another host name: correct 'xmpp.jid', or the certificate on the server",
}
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
    return Untrusted(f"{where}: the certificate {CERTIFICATE.get(verify_code, UNKNOWN_CA)}")


def not_pinned(where: str) -> Untrusted:
    """The certificate is another one than the person named."""
    return Untrusted(f"{where}: the certificate is not the one in 'xmpp.fingerprint'")


def no_safe_login(where: str) -> LoginRefused:
    """Every mechanism that the server offers would give the password away, or prove nothing."""
    return LoginRefused(f"{where}: the server offers no SCRAM login over TLS; nothing weaker is used")


def refused(where: str, jid: Jid, condition: str, *, most_iterations: int) -> LoginRefused | Unreachable:
    """A SASL failure of this condition (RFC 6120 §6.5). One that is the server's trouble is no refusal."""
    if condition == "not-authorized":
        text = f"{where}: wrong password for {jid.bare}; correct the file in "
        return LoginRefused(text + "'xmpp.password_file' or the credential 'xmpp.password'")
    if condition == "aborted":  # by us: see compat
        text = f"{where}: the server asks for too many SCRAM iterations; "
        return LoginRefused(text + f"let it keep this account's password with at most {most_iterations}")
    if condition == "temporary-auth-failure":
        return unreachable(where, "it cannot check passwords just now")
    return LoginRefused(f"{where}: login refused for {jid.bare} ({condition})")
