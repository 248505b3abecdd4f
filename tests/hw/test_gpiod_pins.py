"""What can be told of the gpiod factory without a kernel; tests/board/test_pins.py has the rest."""

from __future__ import annotations

from knoop_hw.gpiod_pins import _short


def test_a_consumers_name_is_cut_where_the_kernel_would():
    assert _short("knoop door") == "knoop door"
    assert _short("knoop " + "é" * 20).encode() == b"knoop " + "é".encode() * 12
