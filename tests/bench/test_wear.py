"""What the store writes to a card stays what docs/adr/0024 promises."""

from __future__ import annotations

import json

import pytest

from knoop_bench import wear


@pytest.mark.parametrize("link", ["up", "slow", "down"])
@pytest.mark.parametrize("full", [False, True])
async def test_twenty_channels_a_second_write_less_than_a_kilobyte_a_reading(tmp_path, monkeypatch, link, full):
    monkeypatch.setattr(wear, "FULL_BYTES", 256 * 1024)
    found = await wear.measure(tmp_path, 20, link, full=full, commits=60)
    assert 60 < found.written < 1000  # less than it keeps would mean that something else is measured
    assert full or 40 < found.kept < 100


def test_it_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(wear, "COMMITS", 2)
    monkeypatch.setattr(wear, "CHANNELS", (3,))
    monkeypatch.setattr(wear, "FULL_BYTES", 128 * 1024)
    assert wear.main(["--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["channels"], one["link"], one["full"]) for one in said] == [
        (3, "up", False), (3, "slow", False), (3, "down", False), (3, "up", True), (3, "down", True),
    ]  # fmt: skip
    assert wear.main([]) == 0
    assert "bytes written a reading" in capsys.readouterr().out
