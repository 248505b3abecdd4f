"""A private Prosody on loopback: own state, own certificates, gone when its user is.

The machine's own Prosody, its configuration under /etc and its data under /var are never read or written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from knoop_bench.certificates import Certificate
from knoop_bench.prosody_config import Options, Ports, account, account_file, configuration
from knoop_bench.server import Server


class Prosody(Server):
    """What `Server` says, as `options` say."""

    NAME: ClassVar[str] = "Prosody"
    PROGRAMS: ClassVar[Mapping[str, str]] = {"prosody": "prosody"}

    def __init__(
        self, folder: Path, accounts: Mapping[str, str] | None = None, *, options: Options | None = None, **more: Any
    ) -> None:
        super().__init__(folder, accounts, **more)
        self._options = options or Options()

    def add_account(self, user: str, password: str) -> str:
        """Make or change an account, also while the server runs; returns its bare JID."""
        self._accounts[user] = password
        file = account_file(self.folder, self.host, user)
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as content:
            content.write(account(password))
        draft.replace(file)
        return self.jid(user)

    def _configure(self, certificate: Certificate) -> None:
        for user, password in self._accounts.items():
            self.add_account(user, password)
        ports = Ports(tls=self.tls_port, starttls=self.starttls_port, https=self.https_port)
        text = configuration(self.folder, self.host, ports, certificate, self._options)
        (self.folder / "prosody.cfg.lua").write_text(text, "utf-8")

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        return ("prosody", "-F", "--config", str(self.folder / "prosody.cfg.lua")), {}
