"""A certificate authority made for the occasion, and server certificates, good or wrong in one way each.

The authority's key never leaves memory, so what it signed cannot be extended once its maker has gone.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Variant = Literal["good", "expired", "wrong-host", "other-ca"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

SERVICES = ("rooms", "upload", "pubsub")  # below the host, on every private server
_LIFE = timedelta(days=30)  # longer than any run, short enough that a forgotten copy is soon worthless
_SKEW = timedelta(days=1)  # a board without a clock battery may be behind


@dataclass(frozen=True, slots=True)
class Certificate:
    """A PEM certificate and its PEM key (mode 0600)."""

    file: Path
    key_file: Path


class Authority:
    """A CA whose certificate is `ca_file`; ECDSA P-256, as small boards like it."""

    def __init__(self, folder: Path, *, name: str = "Knoop test authority") -> None:
        """Make the CA and write `ca.crt` into the existing `folder`."""
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = self._key.public_key()
        self.ca_file.write_bytes(self.sign(
            _builder(self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        ))

    def issue(self, variant: Variant = "good", *, host: str = "localhost") -> Certificate:
        """A certificate for `host`, its rooms and uploads, wrong in the way that `variant` names.

        `other-ca` is signed by an authority that nobody trusts and that is forgotten at once.
        """
        name = "elsewhere.invalid" if variant == "wrong-host" else host
        signer = self._stranger() if variant == "other-ca" else self
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issued = Certificate(self.folder / f"{variant}.crt", self.folder / f"{variant}.key")
        issued.file.write_bytes(signer.sign(
            _builder(subject, key.public_key(), expired=variant == "expired")
            .add_extension(x509.SubjectAlternativeName(_names(name)), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        ))
        _write_secret(issued.key_file, key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
        ))
        return issued

    def sign(self, builder: x509.CertificateBuilder) -> bytes:
        """The certificate that `builder` describes, issued by this CA, as PEM."""
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = builder.issuer_name(self._name).add_extension(issuer, critical=False)
        return signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _stranger(self) -> Authority:
        folder = self.folder / "other"
        folder.mkdir(mode=0o700, exist_ok=True)
        return Authority(folder, name="Unknown authority")


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now - timedelta(hours=1) if expired else now + _LIFE
    return x509.CertificateBuilder(
        subject_name=subject, public_key=key, serial_number=x509.random_serial_number(),
        not_valid_before=now - _SKEW, not_valid_after=end,
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )


def _names(host: str) -> list[x509.GeneralName]:
    # OpenSSL takes no wildcard directly below a top-level name, as `*.localhost` would be.
    hosts = (host, *(f"{service}.{host}" for service in SERVICES))
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in hosts]
    if host == "localhost":
        names.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
    return names


def _write_secret(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
