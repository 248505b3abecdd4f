"""What people and scripts get to read."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from knoop import doctor
from knoop.doctor import finding, network

DOCS = Path(__file__).parents[3] / "docs" / "doctor.md"
LONG = "a sentence that goes on and on, so that it does not fit into one line of a terminal with eighty columns"
FOUND = [
    finding.ok("tcp", "127.0.0.1:5223 answers"),
    finding.note("clock", LONG, "sudo timedatectl set-ntp true"),
    finding.problem("configuration", LONG, LONG),
]


def test_columns():
    lines = doctor.as_text(FOUND).splitlines()
    assert lines[0] == "ok      tcp           127.0.0.1:5223 answers"
    assert all(len(line) <= 80 for line in lines)
    assert [line[:8].strip() for line in lines[:8] if line[:1] != " "] == ["ok", "note", "PROBLEM"]
    assert {line[:22].strip() for line in lines[:10] if line[:1] == " "} == {""}
    assert lines[3] == f"{'':22}→ sudo timedatectl set-ntp true"


def test_problems_come_once_more_at_the_end():
    _, _, end = doctor.as_text(FOUND).partition("\n\n")
    assert end.startswith("1 ok, 1 note, 1 problem.\n 1. configuration: a sentence")
    assert "\n    → a sentence" in end
    assert "timedatectl" not in end
    assert doctor.as_summary(FOUND[:1]) == "1 ok, 0 notes, 0 problems."


def test_nobody_forges_a_line():
    forged = finding.ok("login", "as x\nok      tls           fine\x1b[2K")
    assert len(doctor.as_line(forged).splitlines()) == 1
    assert "\x1b" not in doctor.as_line(forged)


def test_for_scripts():
    data = json.loads(json.dumps(doctor.as_data(FOUND)))
    assert data[1] == {"check": "clock", "level": "note", "text": LONG, "remedy": "sudo timedatectl set-ntp true"}


@pytest.mark.parametrize(
    ("said", "text", "remedy"),
    [
        ("h: wrong password for a@b; correct the file", "h: wrong password for a@b", "correct the file"),
        ("h: the certificate has expired: renew it", "h: the certificate has expired", "renew it"),
        ("something else", "something else", "see the log of the server"),
    ],
)  # fmt: skip
def test_our_errors_say_what_to_do_at_their_end(said, text, remedy):
    made = finding.sentence("login", said)
    assert (made.level, made.text, made.remedy) == ("problem", text, remedy)


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("begins", "ends", "level", "sentence"),
    [
        (-30, 60, "ok", "60 days more"),
        (-30, 21, "ok", "21 days more"),
        (-30, 20.9, "note", "expires in 20 days"),
        (-30, 1.5, "note", "expires in 1 day, on 2026-11-24"),
        (-30, 0, "problem", "expired on 2026-11-22 12:00 UTC"),
        (1, 60, "problem", "is not valid before 2026-11-23 12:00 UTC"),
    ],
)
def test_the_life_of_a_certificate(begins, ends, level, sentence):
    found = network.life(NOW + timedelta(days=begins), NOW + timedelta(days=ends), now=NOW)
    assert found.level == level
    assert sentence in found.text
    assert bool(found.remedy) == (level != "ok")


def test_a_pin_outlives_the_dates():
    found = network.life(NOW - timedelta(days=9), NOW - timedelta(days=1), now=NOW, pinned=True)
    assert (found.level, found.remedy) == ("note", "")


def test_the_page_has_every_check_in_its_order():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert tuple(check for check, _, _ in rows) == doctor.CHECKS
