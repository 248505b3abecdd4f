"""state.db: rights and the audit log outlive everything, and no line of the log can be forged."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.state import AUDIT_LINES, State
from knoop.state_tables import MIGRATIONS, AlertRow, AuditLine, Grant, Silence
from knoop.unreceived import Note
from knoop_hw.logs import printable

ANNA = "anna@example.org"
FROST = AlertRow(
    "frost", "raised", 7, "", met_ns=6, value=-1.2, step=2, told={"anna@example.org": "k3v9q2xa-alert.frost-1"},
    owed=("bram@example.org",), escalated=("bram@example.org",), runs=(("k3v9q2xa", 1, 4),),
    bounced=("anna@example.org",),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


async def say(state, action, *, at_ns=1, who="anna@example.org", whose=""):
    await state.audit(at_ns=at_ns, who=who, action=action, result="done", via="chat", encrypted=True, whose=whose)


async def test_everything_outlives_a_restart(path):
    async with State.open(path) as state:
        await state.grant("bob@example.org", "viewer", ("air", "door"))
        await state.quiet("anna@example.org", 5)
        await state.save_alerts([FROST, AlertRow("smoke", "acknowledged", 8, "anna@example.org")])
        await state.silence("frost", 11, "Anna")
        await say(state, "set lamp on", at_ns=9)
    async with State.open(path) as state:
        assert await state.grants() == [Grant("bob@example.org", "viewer", ("air", "door"))]
        assert await state.quiet_until() == {"anna@example.org": 5}
        assert await state.load_alerts() == [FROST, AlertRow("smoke", "acknowledged", 8, "anna@example.org")]
        assert await state.silences() == {"frost": Silence(11, "Anna")}
        assert await state.audit_tail(5) == [
            AuditLine(
                at_ns=9,
                who="anna@example.org",
                action="set lamp on",
                result="done",
                via="chat",
                encrypted=True,
            )
        ]


async def test_what_an_older_knoop_kept_is_still_there(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
        db.execute("INSERT INTO alert VALUES ('frost', 'acknowledged', 7, 'Anna')")
        db.execute("INSERT INTO quiet VALUES ('anna@example.org', 5)")
        db.commit()
    async with State.open(path) as state:
        assert await state.load_alerts() == [AlertRow("frost", "acknowledged", 7, "Anna")]
        assert (await state.load_alerts())[0].told is None, "nobody knew then who was told"
        assert await state.quiet_until() == {"anna@example.org": 5}
        await state.save_alerts([FROST])
        assert await state.load_alerts() == [FROST]


async def test_the_second_versions_alerts_are_still_there(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{MIGRATIONS[0]}; {MIGRATIONS[1]}; PRAGMA user_version = 2;")
        db.execute("INSERT INTO alert (name, status, since_ns, by, told_json) VALUES ('frost', 'raised', 7, '', '{}')")
        db.commit()
    async with State.open(path) as state:
        assert await state.load_alerts() == [AlertRow("frost", "raised", 7, "", told={})]
        assert await state.load_unreceived() == ([], {})


async def test_what_nobody_received_is_kept_in_order_changed_and_forgotten(path):
    smoke, frost = (Note(ANNA, f"k3v9q2xa-{name}-1", name, "", "Smoke is on.", at_ns=9) for name in ("smoke", "frost"))
    again = smoke._replace(step=1, sent=2, bounces=1, back=True, body="Smoke is on (at 14:03).")
    async with State.open(path) as state:
        await state.save_unreceived([smoke, frost], [], {ANNA: 0})
        await state.save_unreceived([again], [(ANNA, "of somebody else")], {ANNA: 2, "bram@example.org": 0})
    async with State.open(path) as state:
        assert await state.load_unreceived() == ([again, frost], {ANNA: 2, "bram@example.org": 0})
        assert (await state.load_unreceived())[0][0].back is True
        await state.save_unreceived([], [(ANNA, smoke.identity)], {})
        assert await state.load_unreceived() == ([frost], {})


async def test_grants_are_replaced_and_revoked(path):
    async with State.open(path) as state:
        await state.grant("bob@example.org", "viewer")
        await state.grant("bob@example.org", "operator", ["door"])
        assert await state.grants() == [Grant("bob@example.org", "operator", ("door",))]
        assert await state.revoke("bob@example.org")
        assert not await state.revoke("bob@example.org")
        assert await state.grants() == []


async def test_alerts_quiet_times_and_silences_can_end(path):
    async with State.open(path) as state:
        await state.save_alerts([FROST])
        await state.save_alerts([])
        assert await state.load_alerts() == []
        await state.quiet("anna@example.org", 5)
        await state.quiet("anna@example.org", 0)
        assert await state.quiet_until() == {}
        await state.silence("frost", 5, "Anna")
        await state.silence("frost", 0, "Bram")
        assert await state.silences() == {}


async def test_the_audit_log_keeps_the_newest_lines(path, monkeypatch):
    monkeypatch.setattr("knoop.state.AUDIT_LINES", 20)
    monkeypatch.setattr("knoop.state.AUDIT_TRIMMED", 5)
    async with State.open(path) as state:
        for number in range(1, 54):
            await say(state, f"line {number}", at_ns=number, whose=f"person{number % 3}@example.org")
        assert [line.at_ns for line in await state.audit_tail(AUDIT_LINES)] == list(range(31, 54))
        assert [line.at_ns for line in await state.audit_tail(2)] == [52, 53]
        assert await state.audit_tail(0) == []


async def test_whoever_fills_the_audit_log_pushes_out_only_their_own_lines(path, monkeypatch):
    monkeypatch.setattr("knoop.state.AUDIT_LINES_EACH", 10)
    async with State.open(path) as state:
        await say(state, "lock off", at_ns=1, whose="anna@example.org")
        await say(state, "a stranger's line", at_ns=2, whose="")
        for number in range(100, 200):
            await say(state, f"lamp {number}", at_ns=number, whose="bram@example.org")
        assert [line.at_ns for line in await state.audit_tail(AUDIT_LINES)] == [1, 2, *range(190, 200)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("on\nanna set lamp off", r"on\nanna set lamp off"),
        ("on\x9b2K", r"on\x9b2K"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202enatas", r"\u202enatas"),
        ("a\u2028b\u2066c", r"a\u2028b\u2066c"),
        ("\ud800", r"\ud800"),
        (r"\n is no newline", r"\\n is no newline"),
        ("deur 2 °C 日本", "deur 2 °C 日本"),
    ],
)
async def test_nobody_can_forge_a_line(path, given, kept):
    async with State.open(path) as state:
        await say(state, given, who=given)
        (line,) = await state.audit_tail(1)
    assert (line.action, line.who) == (kept, kept)


@given(st.text())
def test_what_is_kept_is_printable_and_short(text):
    kept = printable(text, 50)
    assert kept.isprintable()
    assert len(kept) <= 51
    assert len(kept.splitlines()) <= 1


async def test_a_megabyte_from_a_stranger_is_cut(path):
    async with State.open(path) as state:
        await say(state, "x" * 1_000_000)
        assert len((await state.audit_tail(1))[0].action) == 501


async def test_a_damaged_state_is_set_aside_and_gives_nobody_rights(path):
    async with State.open(path) as state:
        for number in range(200):
            await state.grant(f"person{number}@example.org", "owner")
        await state.revoke("person0@example.org")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\x00" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    async with State.open(path) as state:
        assert state.set_aside == path.with_name("state.db.corrupt-1")
        assert await state.grants() == []
