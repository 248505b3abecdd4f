"""A real Prosody for the whole run, fresh accounts for every test, and observers."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.running import Account

from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody
from knoop_bench.witness import Witness

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prosody(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> AsyncIterator[Prosody]:
    """One server for all tests: do not stop it, use `serve` for that."""
    async with Prosody(tmp_path_factory.mktemp("server") / "prosody", authority=authority) as server:
        yield server


@pytest.fixture
async def serve(tmp_path: Path, authority: Authority) -> AsyncIterator[Callable[..., Any]]:
    """`server = await serve(certificate="expired")`: a server of the test's own, stopped after it."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Prosody:
            folder = tmp_path / f"prosody-{next(_numbers)}"
            return await stack.enter_async_context(Prosody(folder, authority=authority, **options))

        yield start


@pytest.fixture
def account(prosody: Prosody) -> Callable[[str], Account]:
    """`account("anna")`: a new account whose name begins so."""

    def make(name: str) -> Account:
        password = secrets.token_urlsafe(12)
        return Account(prosody.add_account(f"{name}{next(_numbers)}", password), password)

    return make


@pytest.fixture
async def witness(prosody: Prosody) -> AsyncIterator[Callable[..., Any]]:
    """`anna = await witness(account("anna"), friends=[node.jid])`: an observer, gone after the test."""
    async with AsyncExitStack() as stack:

        async def enter(account: Account, **options: Any) -> Witness:
            direct = options.get("direct_tls", True)
            options.setdefault("port", prosody.tls_port if direct else prosody.starttls_port)
            options.setdefault("ca_file", prosody.ca_file)
            observer: AbstractAsyncContextManager[Witness] = Witness(account.jid, account.password, **options)
            return await stack.enter_async_context(observer)

        yield enter


@pytest.fixture
def room(prosody: Prosody) -> str:
    """The JID of a room that nobody has used."""
    return prosody.room(f"room{next(_numbers)}")
