"""What an output's text may be: line ends that are some."""

from __future__ import annotations

import pytest

from knoop_hw.protocols.told import Write


@pytest.mark.parametrize("text", [r"B{value}\n", r"B{value}\r\n"])
def test_a_line_end_in_single_quotes_is_refused_with_the_remedy(text):
    with pytest.raises(ValueError, match=r"^write: in single quotes \\[nr] is two characters .* use double quotes$"):
        Write(write=text)


@pytest.mark.parametrize("text", ["B{value}\n", "B{value}\r\n", r"\B{value}"])
def test_a_line_end_and_a_backslash_of_the_devices_own_are_fine(text):
    assert Write(write=text).of(True) == text.replace("{value}", "1").encode()
