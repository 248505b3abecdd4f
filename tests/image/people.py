"""The other end: a private Prosody that the guest reaches, what its owner writes into knoop.toml, and their chat."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.board.guest import HOST
from tests.image.machine import Board

from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness

OWNER, PASSWORD = "anna", "secret"
NODE = "greenhouse"
ANSWER_S = 120.0
# Invites, as on the Prosody of a Debian whose owner makes accounts by them; go-sendxmpp logs in by PLAIN only.
OPTIONS = Options(
    modules=("register_ibr", "invites", "invites_register", "invites_adhoc"),
    settings={
        "allow_registration": True, "registration_invite_only": True,
        "disable_sasl_mechanisms": ["DIGEST-MD5", "OAUTHBEARER"],
    },
)

_numbers = itertools.count(1)


@asynccontextmanager
async def serving(folder: Path, authority: Authority) -> AsyncIterator[Prosody]:
    """A server with an account for the owner."""
    async with Prosody(folder / "prosody", {OWNER: PASSWORD}, authority=authority, options=OPTIONS) as server:
        yield server


def way(server: Prosody) -> str:
    """`[xmpp]`: where the guest finds this server, and the one certificate that is right."""
    pem = ssl.get_server_certificate(("127.0.0.1", server.tls_port))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    return f'[xmpp]\nhost = "{HOST}"\nport = {server.tls_port}\nfingerprint = "{digest}"\n'


def knoop_toml(
    server: Prosody, account: Mapping[str, str], *, name: str = NODE, people: Mapping[str, str] | None = None,
    more: str = "",
) -> str:
    """The one file. `account` is `[account]`: JID and password, or an invite; `people` a JID's role."""
    named = f'name = "{name}"\n' if name else ""
    parts = [f'[node]\n{named}label = "Greenhouse"\n', way(server), "[account]"]
    parts += [f'{key} = "{value}"' for key, value in account.items()]
    if people:
        parts += ["\n[people]", *(f'"{jid}" = "{role}"' for jid, role in people.items())]
    return "\n".join([*parts, "", more, ""])


def account(server: Prosody, user: str = NODE) -> dict[str, str]:
    """A new account of the node's own, with a password that is found wherever it stands."""
    password = f"secret-of-{user}-{os.urandom(12).hex()}"
    return {"jid": server.add_account(user, password), "password": password}


def fresh(name: str = NODE) -> str:
    """A user nobody was yet."""
    return f"{name}{next(_numbers)}"


@dataclass(slots=True, kw_only=True)
class Person:
    """Somebody's client, and the node they write to."""

    client: Witness
    node: str
    board: Board

    async def sees(self) -> None:
        """Wait until the node shows that it is there."""
        await self.board.until(lambda: any(map(self.present, self.client.seen)), f"{self.node} online")

    async def asks(self, text: str, answer: str = "", *, within_s: float = ANSWER_S) -> str:
        """Say something and wait for the answer that has this in it."""
        after = self.client.mark
        self.client.say(self.node, text)

        def heard() -> Seen | None:
            return next((seen for seen in self.client.seen[after:] if self.says(seen) and answer in seen.body), None)

        await self.board.until(heard, f"{self.node} answers {text!r} with {answer!r}", within_s)
        found = heard()
        assert found is not None
        return found.body

    def says(self, seen: Seen) -> bool:
        """Whether the node wrote this."""
        return seen.kind == "message" and seen.type == "chat" and seen.sender_bare == self.node and bool(seen.body)

    def present(self, seen: Seen) -> bool:
        return seen.kind == "presence" and seen.sender.startswith(f"{self.node}/") and not seen.type


@asynccontextmanager
async def person(server: Prosody, board: Board, node: str, user: str = OWNER) -> AsyncIterator[Person]:
    """A client of this account, a contact of the node's."""
    async with Witness(
        server.jid(user), server.password(user), port=server.tls_port, ca_file=server.ca_file, friends=[node]
    ) as client:
        yield Person(client=client, node=node, board=board)


async def go_sendxmpp(server: Prosody, folder: Path, to: str, text: str, user: str = OWNER) -> None:
    """Say something by a client that shares no code with Knoop or its tests. It does not wait for an answer."""
    config = folder / "sendxmpprc"
    config.touch(0o600)
    config.write_text(
        f"username: {server.jid(user)}\njserver: 127.0.0.1:{server.starttls_port}\n"
        f"password: {server.password(user)}\n", "utf-8",
    )
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder),
                   "SSL_CERT_FILE": str(server.ca_file)}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "go-sendxmpp", "-f", str(config), to, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(text.encode()), ANSWER_S)
    assert process.returncode == 0, out.decode("utf-8", "replace")
