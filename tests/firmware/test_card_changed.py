"""What decides at each start of the image whether `knoop setup` runs: a card that is as it was costs no Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from knoop.setup import claimed, moved
from knoop.setup.machine import CERTIFICATES, ERRORS, SWEPT

SCRIPT = Path(__file__).parents[2] / "firmware/files/usr/lib/knoop-image/card-changed"
FILES = (moved.NAME, *moved.IMAGERS)
AGAIN = (ERRORS, SWEPT, claimed.PICTURE, claimed.BY_CARD)


@pytest.fixture
def card(tmp_path):
    """The card's folder and that of the setup, which has taken the card over."""
    boot, state = tmp_path / "boot", tmp_path / "state"
    boot.mkdir()
    state.mkdir()
    for name in FILES:
        (boot / name).write_text(f"of {name}\n", "utf-8")
    assert changed(boot, state), "nothing was ever noted"
    note(boot, state)
    return boot, state


def changed(boot: Path, state: Path) -> bool:
    done = subprocess.run([SCRIPT, "check", boot, state], capture_output=True, text=True, check=False)
    assert (done.returncode in {0, 1}, done.stdout, done.stderr) == (True, "", "")
    return done.returncode == 0


def note(boot: Path, state: Path) -> None:
    subprocess.run([SCRIPT, "note", boot, state], check=True)


def test_a_card_that_is_as_it_was_is_no_news(card):
    assert not changed(*card)


@pytest.mark.parametrize("name", FILES)
def test_each_file_that_a_setup_reads_counts(card, name):
    boot, _ = card
    (boot / name).write_text("something else\n", "utf-8")
    assert changed(*card)
    note(*card)
    assert not changed(*card)
    (boot / name).unlink()
    assert changed(*card)


@pytest.mark.parametrize("end", CERTIFICATES)
def test_so_does_a_certificate_that_was_renewed(card, end):
    boot, _ = card
    for text in ("one\n", "another\n"):
        (boot / f"home{end}").write_text(text, "utf-8")
        assert changed(*card)
        note(*card)
        assert not changed(*card)


def test_a_name_in_capitals_counts_as_well(card):
    boot, _ = card
    (boot / "HOME CA.CER").write_text("one\n", "utf-8")
    assert changed(*card)


def test_it_is_noted_where_no_setup_has_ever_kept_anything(card, tmp_path):
    boot, _ = card
    note(boot, tmp_path / "new")
    assert not changed(boot, tmp_path / "new")


def test_a_file_that_got_anothers_name_is_news(card):
    boot, _ = card
    (boot / "user-data").write_text("", "utf-8")
    note(*card)
    (boot / "user-data").rename(boot / "network-config")
    assert changed(*card)


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_looked_at_at_each_start_is_never_skipped(card, name):
    boot, _ = card
    (boot / name).write_text("", "utf-8")
    assert changed(*card)
    note(*card)
    assert changed(*card)


def test_a_wipe_that_was_cut_off_is_ended(card):
    _, state = card
    (state / f"wiping-{moved.NAME}").write_text("{}", "utf-8")
    assert changed(*card)


def test_without_a_memory_it_runs(card, tmp_path):
    boot, _ = card
    assert changed(boot, tmp_path / "gone")
