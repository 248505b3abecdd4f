"""Debians with Knoop in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.units import roots


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid():
        pytest.exit("systemd-nspawn needs root: sudo make test-units", 1)
    for suite in roots.SUITES:
        assert Path(roots.root(suite)).exists()
