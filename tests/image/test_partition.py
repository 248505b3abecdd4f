"""What stands on the FAT partition, as the Pi's firmware will look for it. No boot."""

from __future__ import annotations

import subprocess

import pytest
from tests.image import bootloader
from tests.image.card import Card


@pytest.fixture(scope="module")
def card(flash) -> Card:
    return flash()


def test_every_file_that_the_firmware_needs_is_there(card):
    wanted = bootloader.named(card)
    assert len(wanted) > len(bootloader.FIRMWARE) + len(bootloader.BOARDS)
    assert wanted <= card.names()


@pytest.mark.parametrize("board", bootloader.BOARDS)
def test_every_overlay_merges_with_every_board(card, board, tmp_path):
    overlays = sorted(name for name in card.names() if name.startswith("overlays/") and name.endswith(".dtbo"))
    assert overlays
    base = card.extract(board, tmp_path)
    for overlay in overlays:
        file = card.extract(overlay, tmp_path)
        done = subprocess.run(
            ["fdtoverlay", "-i", str(base), "-o", str(tmp_path / "merged.dtb"), str(file)], capture_output=True,
            text=True, check=False,
        )
        assert done.returncode == 0, f"{overlay} with {board}: {done.stderr}"


def test_the_example_is_there_and_names_nothing(card):
    """Every line of it is a remark, or it would be somebody's."""
    text = card.read("knoop.toml").decode("utf-8")
    assert "[account]" in text
    assert not [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_an_owner_can_edit_it(card):
    card.write("knoop.toml", "# mine\n")
    assert card.text("knoop.toml") == "# mine\n"
    assert card.holds(b"# mine\n")
