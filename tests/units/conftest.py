"""Debians with Knoop in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.units import needs, roots


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if lacking := needs.lacking():
        pytest.exit("\n".join(lacking), 1)
    for suite in roots.SUITES:
        assert Path(roots.root(suite)).exists()
