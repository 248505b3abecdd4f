"""What was open when the half was killed. As processes: test_cli.py."""

from __future__ import annotations

import resource

import pytest

from knoop_hw.board import Board
from knoop_hw.errors import DeviceError
from knoop_hw.left import FILE, Left

LAMP = '[output.lamp]\npin = "GPIO27"\nsafe = "on"\n'


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path, boot_id="boot")


def test_what_was_open_is_known_again_whatever_became_of_the_file(left, configured, tmp_path):
    config = configured(LAMP + '[sensor.air]\ndriver = "simulated"\n', "seed = 3\n")
    left.note(config)
    assert left.recall(tmp_path / "node.toml") == config
    assert left.recall(tmp_path / "other.toml") is None
    assert Left(tmp_path, boot_id="another").recall(tmp_path / "node.toml") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 200_000, "\0" * 64])
def test_a_damaged_note_says_nothing(left, configured, tmp_path, text):
    left.note(configured(LAMP))
    (tmp_path / FILE).write_text(text, "utf-8")
    assert left.recall(tmp_path / "node.toml") is None


def test_a_full_disk_leaves_no_note_that_is_wrong(left, configured, tmp_path, caplog):
    left.note(configured(LAMP))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        left.note(configured(LAMP.replace("27", "22")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left.recall(tmp_path / "node.toml") is None
    assert "open.json: cannot be written (File too large); after a kill --safe goes by the configuration" in caplog.text


async def test_a_reload_that_is_taken_back_is_so_in_the_note(left, configured, clock, tmp_path):
    config = configured(LAMP)
    async with Board(config, clock=clock, state=tmp_path) as board:
        with pytest.raises(DeviceError):
            await board.reload(configured(LAMP + '[input.gate]\npin = "GPIO2"\npull = "down"\n'))
    assert Left(tmp_path, boot_id=clock.boot_id).recall(tmp_path / "node.toml") == config
