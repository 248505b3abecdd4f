"""Who logs in and where, and what a server's certificate must pass."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from knoop.config import Config
from knoop.jid import Jid
from knoop_hw.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who logs in, and where. Without `host` and `port` the domain's SRV records decide (RFC 6120 §3.2, XEP-0368).

    `fingerprint` is the SHA-256 of the server's certificate in hex; it replaces the check against CAs.
    """

    jid: Jid
    password: str
    host: str = ""
    port: int = 0
    ca_file: Path | None = None
    fingerprint: str = ""

    @classmethod
    def of(cls, config: Config, password: str) -> Account:
        """The account of a configuration; without a resource it logs in with the one that `resource` keeps."""
        xmpp = config.xmpp
        return cls(
            jid=config.jid, password=password, host=xmpp.host, port=xmpp.port, ca_file=xmpp.ca_file,
            fingerprint=xmpp.fingerprint,
        )

    def __repr__(self) -> str:
        """Without the password: this may stand in a log."""
        return f"Account({self.jid})"

    @property
    def where(self) -> str:
        """The address for people."""
        return f"{self.host}:{self.port}" if self.host else self.jid.domain


def tls_context(account: Account) -> ssl.SSLContext:
    """The checks a server's certificate must pass: chain, dates and host, or the pinned fingerprint; TLS ≥ 1.2.

    Raises ConfigError for a `ca_file` that is none.
    """
    try:
        context = ssl.create_default_context(cafile=str(account.ca_file) if account.ca_file else None)
    except OSError:  # an ssl.SSLError is one
        text = "is no CA certificate that can be read; name a PEM file, or leave it out where the server's CA is public"
        raise ConfigError([Problem(str(account.ca_file), 0, "", text)]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if account.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # replaced by the pin, compared before the first byte is sent
    return context
