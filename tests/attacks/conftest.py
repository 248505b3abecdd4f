"""A house of its own for each test. Who shares one over a file makes it there (`besieged`, `captured` of `rig`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.attacks.rig import Captive, House, besieged, captured

from knoop_bench.certificates import Authority
from knoop_bench.witness import Witness


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[House]:
    """A node on a private Prosody."""
    async with besieged(tmp_path, authority) as made:
        yield made


@pytest.fixture
async def captive(tmp_path: Path, authority: Authority) -> AsyncIterator[Captive]:
    """A node whose server is the attacker."""
    async with captured(tmp_path, authority) as made:
        yield made


@pytest.fixture
async def mallory(house: House) -> AsyncIterator[Witness]:
    """A stranger who knows the node's address."""
    async with house.visit("mallory") as witness:
        yield witness


@pytest.fixture
async def anna(house: House) -> AsyncIterator[Witness]:
    """The owner."""
    async with house.visit("anna") as witness:
        yield witness
