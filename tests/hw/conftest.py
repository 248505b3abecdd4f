"""What the tests of the hardware half share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

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


# A property that is slow on a loaded machine is still true.
settings.register_profile("knoop", deadline=None)
settings.load_profile("knoop")
