"""Every test here runs against Prosody and against ejabberd, each a private server on loopback."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.running import BOARD, NODE, TICKING, Account, Running, Way, running, write
from tests.interop.table import Table, rendered

from knoop_bench.certificates import Authority
from knoop_bench.ejabberd import Ejabberd
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.seen import Seen
from knoop_bench.server import Server
from knoop_bench.witness import Witness

SENSOR = """
[sensor.air]
driver = "simulated"
label = "Air"
every = "500ms"
"""
SCENARIO = TICKING + "[sensor.air]\ntemperature = 12\n"
# The accounts of nodes are named in advance, because Prosody 0.12 wants a list of who may make pub-sub nodes.
NODES = tuple(f"{NODE}{number}" for number in range(1, 200))

_numbers = itertools.count(1)
_unused = iter(NODES)


def make(software: str, folder: Path, authority: Authority, *, closed: bool = False) -> Server:
    """A private server; on a `closed` one no account may make nodes on the pub-sub service."""
    if software == "prosody":
        return Prosody(
            folder, authority=authority, options=Options(pubsub_owners=() if closed else NODES)
        )
    modules = {"mod_pubsub": {"access_createnode": "none"}} if closed else {}
    return Ejabberd(folder, authority=authority, modules=modules)


@pytest.fixture(scope="session", params=["prosody", "ejabberd"])
def software(request: pytest.FixtureRequest) -> str:
    """Which server it is."""
    return str(request.param)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(
    software: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> AsyncIterator[Server]:
    """One server for all tests: do not stop it, use `serve` for that."""
    async with make(software, tmp_path_factory.mktemp("server") / software, authority) as made:
        yield made


@pytest.fixture
async def serve(software: str, tmp_path: Path, authority: Authority) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """`own = await serve(closed=True)`: a server of the test's own, stopped after it."""
    async with AsyncExitStack() as stack:

        async def start(**more: Any) -> Server:
            folder = tmp_path / f"{software}-{next(_numbers)}"
            return await stack.enter_async_context(make(software, folder, authority, **more))

        yield start


def account(server: Server, name: str) -> Account:
    """A new account whose name begins so; a node's are those of NODES."""
    user = next(_unused) if name == NODE else f"{name}{next(_numbers)}"
    password = secrets.token_urlsafe(12)
    return Account(server.add_account(user, password), password)


@dataclass(frozen=True, slots=True)
class House:
    """A running node on a server, with its people: `people["anna"]` is the account that the test calls so."""

    server: Server
    node: Running
    account: Account
    people: Mapping[str, Account]
    stack: AsyncExitStack

    @property
    def jid(self) -> str:
        return self.account.jid

    async def visit(self, name: str, **more: Any) -> Witness:
        """A person's client, until the test ends; one of `friends`, which by default is the node, is seen present."""
        person = self.people[name]
        more.setdefault("friends", [self.jid])
        client = Witness(
            person.jid, person.password, port=self.server.tls_port, ca_file=self.server.ca_file, **more
        )
        await self.stack.enter_async_context(client)
        if more["friends"]:
            await client.wait(self.present)
        return client

    def present(self, seen: Seen) -> bool:
        return seen.kind == "presence" and seen.sender.startswith(f"{self.jid}/") and not seen.type


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[House]]]:
    """`home = await house(server, {"anna": "owner", "eve": ""}, more="…")`: a node that works until the test ends.

    `people` gives each their role; '' is an account without rights.
    """
    async with AsyncExitStack() as stack:

        async def start(
            server: Server, people: Mapping[str, str], *, more: str = "", board: str = BOARD + SENSOR
        ) -> House:
            own = account(server, NODE)
            accounts = {name: account(server, name) for name in people}
            roles = {accounts[name].jid: f'"{role}"' for name, role in people.items() if role}
            write(
                tmp_path, Way.to(server), jid=own.jid, password=own.password, people=roles, board=board,
                scenario=SCENARIO, more=more,
            )
            node = await stack.enter_async_context(running(tmp_path))
            await node.online()
            return House(server, node, own, accounts, stack)

        yield start


async def hears(person: Witness, node: str, fits: str | Callable[[str], bool], *, after: int = 0) -> Seen:
    """Wait for what the node says in chat: exactly this text, or one that fits."""
    fitting = fits if callable(fits) else lambda text: text == fits
    return await person.wait(
        lambda seen: seen.type == "chat" and seen.sender_bare == node and bool(seen.body) and fitting(seen.body),
        after=after,
    )


async def asks(person: Witness, node: str, text: str, answer: str | Callable[[str], bool]) -> str:
    """Say something to the node and wait for its answer."""
    after = person.mark
    person.say(node, text)
    return (await hears(person, node, answer, after=after)).body


_seen: list[tuple[str, str, str, str]] = []


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Table:
    """The table of client × feature × server; it is printed at the end of the run."""
    named = "software" in request.fixturenames
    return Table(_seen, str(request.getfixturevalue("software")) if named else "")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the clients saw."""
    if _seen:
        terminalreporter.section("client × feature × server")
        for line in rendered(_seen):
            terminalreporter.write_line(line)
