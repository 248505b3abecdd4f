"""docs/privacy.md and docs/en-303-645.md say what is: every table, file and node is named, every proof exists."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from knoop import inventory, readings_tables, state_tables
from knoop.geoloc import GEOLOC
from knoop.xmpp import nodes
from knoop_hw import left, restore, source, totals

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "privacy.md").read_text("utf-8")
STANDARD = (ROOT / "docs" / "en-303-645.md").read_text("utf-8")
ROWS = [line for line in STANDARD.splitlines() if line.startswith("|")][2:]


def tables(migrations) -> set[str]:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in migrations:
            db.executescript(script)
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_the_page_names_every_table_and_file():
    """A table that is added is about somebody: say so on the page, and for how long."""
    kept = tables(state_tables.MIGRATIONS) | tables(readings_tables.MIGRATIONS)
    kept |= {*inventory.DATABASES, left.FILE, restore.FILE, totals.FILE, "status.json", "claim.txt", "claim.png"}
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    assert [name for name in sorted(kept) if f"`{name}`" not in rows] == []


def test_the_page_names_every_node_at_the_server_and_how_much_it_keeps():
    for node in nodes.NODES:
        assert f"`{node.name}`" in PAGE
    assert f"`{nodes.EVENTS.name}` ({nodes.EVENTS.max_items})" in PAGE
    assert GEOLOC == "http://jabber.org/protocol/geoloc"
    assert "XEP-0080" in PAGE


def test_no_driver_has_a_camera_or_a_microphone():
    """Both pages promise it. A driver that has one must be told of there."""
    for name in source.names():
        code = Path(source.load(name).__file__).read_text("utf-8")
        assert not re.search(r"/dev/video|libcamera|picamera|v4l2|/dev/snd|alsa|pyaudio|sounddevice", code), name


def test_the_thirteen_provisions_and_data_protection_are_there():
    numbers = [re.match(r"\| (\d+(?:\.\d+)?) ", row)[1] for row in ROWS]
    assert numbers == [*(f"5.{number}" for number in range(1, 14)), "6"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split()[1])
def test_each_provision_names_what_shows_it(row):
    """Tests that exist, or a command; what is missing is called so."""
    said, shown = row.split("|")[2:4]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown)
    assert named or re.search(r"`(make|knoop) ", shown) or "not there yet" in said
    for file, name in named:
        assert re.search(rf"def {name}\b", (ROOT / file).read_text("utf-8")), f"{file}::{name}"
