"""An invite to a server, read from its URI: which account may be made there, with which token, and who invited. Pure.

XEP-0401 §2–3 (`xmpp:…?register;preauth=…`, `xmpp:…?roster;preauth=…;ibr=y`), XEP-0445, RFC 5122.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """`domain` takes a new account for `token`. Addresses are as written in the URI, not yet prepared.

    `local` is the account's name when the invite names one, `inviter` the bare address of the person who invited.
    """

    domain: str
    token: str = field(repr=False)  # whoever has it can make the account: not for a log
    local: str = ""
    inviter: str = ""

    @property
    def account(self) -> str:
        """The address to make, or only its server where the name may be chosen."""
        return f"{self.local}@{self.domain}" if self.local else self.domain


def looks_like_one(text: str) -> bool:
    """Whether this is meant as a link, rather than as an address."""
    return re.match(r"\s*(?:xmpp|https?):", text, re.IGNORECASE) is not None


def parse(uri: str) -> Invite:
    """The invite in `uri`. Raises ValueError that says what it is instead."""
    text = uri.strip()
    if re.match(r"https?:", text, re.IGNORECASE):
        raise ValueError("this is the invite's web page: open it and copy the link that begins with xmpp:")
    if not re.match(r"xmpp:", text, re.IGNORECASE):
        raise ValueError("an invite is a link like xmpp:example.org?register;preauth=TOKEN")
    path, _, query = text[5:].partition("#")[0].partition("?")
    if path.startswith("//"):  # RFC 5122 §2.3: an authority says as whom to act; nobody exists yet
        path = path[2:].partition("/")[2]
    local, at, domain = path.partition("/")[0].rpartition("@")
    local, domain = _decoded(local), _decoded(domain)
    action, *pairs = query.split(";")
    keys = {key: _decoded(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    token = keys.get("preauth", "")
    if not domain or (at and not local):
        raise ValueError("this link names no server")
    if action not in {"register", "roster"}:
        raise ValueError(f"this link is for '{action}'; an invite has ?register;preauth=TOKEN" if action else
                         "this link is an address without an invite; an invite has ?register;preauth=TOKEN")
    if not token:
        raise ValueError("this invite has no token (preauth=…); ask for a new one")
    if action == "register":
        return Invite(domain=domain, token=token, local=local)
    if keys.get("ibr") != "y":
        raise ValueError("this invite makes a contact, not an account; ask for one that makes an account")
    if not local:
        raise ValueError("this invite does not say who invites; ask for a new one")
    return Invite(domain=domain, token=token, inviter=f"{local}@{domain}")


def _decoded(text: str) -> str:
    """Without percent-encoding; `+` is itself (RFC 5122 §2.2). Raises ValueError for what is no UTF-8."""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "replace"))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError("this link is damaged (its %-signs make no text); copy it again") from None
