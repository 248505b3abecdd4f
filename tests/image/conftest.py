"""The built image, cards with it, computers that start from them, and a server for them all."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.image.card import Card
from tests.image.machine import installed
from tests.image.people import serving
from tests.measured import pytest_terminal_summary, report

from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody

__all__ = ["pytest_terminal_summary", "report"]  # pytest finds them by their names here

BUILT = Path(__file__).parents[2] / "build" / "image"

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--image", type=Path, help="the image under test; by default what `make image` made last")
    parser.addoption("--cuts", type=int, default=5, help="how often the power goes while a card starts the first time")
    parser.addoption("--seed", type=int, default=7, help="decides when it goes")


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Path:
    """The image, as it is flashed."""
    installed()
    found = request.config.getoption("--image")
    images = [found] if found else sorted(BUILT.glob("knoop-*.img"), key=lambda file: file.stat().st_mtime)
    assert images, f"there is no image in {BUILT}: `make image` makes one"
    return Path(images[-1])


@pytest.fixture(scope="module")
def flash(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Card]:
    """`card = flash()`: a card with the image, as it comes from the flasher. Each takes up to 1 GB until removed."""

    def make() -> Card:
        return Card.flashed(image, tmp_path_factory.mktemp("card") / f"card{next(_numbers)}.img")

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> AsyncIterator[Prosody]:
    """A server for the tests of a file."""
    async with serving(tmp_path_factory.mktemp("server"), authority) as started:
        yield started
