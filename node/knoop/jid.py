"""An XMPP address whose parts are already prepared, so that equal addresses are equal objects.

Only `knoop.xmpp.compat.jid` turns text into a Jid: it applies the string preparation of RFC 6122, after which ADMIN
and admin, or ß and ss, are one address while a Cyrillic а stays different from a Latin one. Rights are decided on
these objects, never on text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Jid:
    """`local@domain/resource`; `local` and `resource` may be empty."""

    local: str
    domain: str
    resource: str = ""

    @property
    def bare(self) -> Jid:
        """The same address without its resource."""
        return Jid(self.local, self.domain)

    def __str__(self) -> str:
        local = f"{self.local}@" if self.local else ""
        resource = f"/{self.resource}" if self.resource else ""
        return f"{local}{self.domain}{resource}"
