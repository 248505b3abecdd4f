"""lgpio as a choice; on a machine without lines there is only what it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from knoop_hw.errors import DeviceError
from knoop_hw.lgpio_pins import lgpio_factory


def test_no_gpio_here_and_no_trace_of_having_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError, match=r"^board: (lgpio is not installed|this machine has no GPIO chip)"):
        lgpio_factory()
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert "LG_WD" not in os.environ


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lgpio", None)
    with pytest.raises(DeviceError, match=r"^board: lgpio is not installed; `pip install lgpio`"):
        lgpio_factory()
