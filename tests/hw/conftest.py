"""What the tests of the hardware half share."""

from __future__ import annotations

import os
import pty
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from knoop_hw import config, decode
from knoop_hw.clock import FakeClock

P1 = Path(__file__).parents[1] / "data/p1"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., config.Config]:
    """A configuration from TOML text (and that of a scenario), which must be right."""

    def load(text: str, scenario: str = "") -> config.Config:
        (tmp_path / "scenario.toml").write_text(scenario)
        head = '[board]\ndriver = "simulated"\nscenario = "scenario.toml"\n'
        problems: list[object] = []
        loaded = config.load(decode.parse(head + text, str(tmp_path / "node.toml")), problems)
        assert [str(problem) for problem in problems] == []
        return loaded

    return load


@pytest.fixture
def line() -> Iterator[tuple[int, Path]]:
    """A serial line: the other end's descriptor, and the device."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    device = Path(os.ttyname(slave))
    os.close(slave)
    yield master, device
    with suppress(OSError):  # a test may have closed it
        os.close(master)
