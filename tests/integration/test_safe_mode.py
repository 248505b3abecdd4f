"""A node that keeps crashing: the sixth start only answers, says why, and ends by itself (docs/adr/0043)."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.running import HARDWARE, WHOLE, Owned, Running, Way, opened, running, until, write

from knoop.starts import MOST

pytestmark = pytest.mark.prosody

IS_SAFE, IS_UP = "is in safe mode: ", " is up: "
# The program with its judgements made small, for what takes minutes.
SHORT = (sys.executable, "-c", "import knoop.starts; knoop.starts.GOOD_S = 0.5; knoop.starts.SAFE_S = 1.5; "
         "from knoop.cli import main; raise SystemExit(main())", "run")  # fmt: skip


def starts(folder: Path) -> dict[str, object]:
    return json.loads((folder / "state" / "knoop" / "starts.json").read_text("utf-8"))


async def crash(node: Running, times: int) -> None:
    """Let it begin so often, and kill it each time before it can prove anything."""
    file = node.folder / "state" / "knoop" / "starts.json"
    for _ in range(times):
        began = len(node.log)
        node.start()
        try:
            await until(lambda began=began: IS_UP in node.log[began:], lambda: node.log)
            assert starts(node.folder)["running"], file
        finally:
            await node.stop(signal.SIGKILL)


async def online(node: Running, *, times: int = 1) -> None:
    """Wait until it is in safe mode for this time and has logged in there."""
    await node.says(IS_SAFE, times=times)
    await until(lambda: "connected as" in node.log.rpartition(IS_SAFE)[2], lambda: node.log)


KILLED = "The last time I was killed: for want of memory, or because I hung. The log may know."
REFUSED = "I am in safe mode, so I did nothing."


async def test_five_kills_make_the_sixth_start_safe_and_its_owner_is_answered(tmp_path, prosody, account, witness):
    node_account, anna = account("node"), account("anna")
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password=node_account.password,
          people={anna.jid: '"owner"'})  # fmt: skip
    owner = Owned(owner=await witness(anna, friends=[node_account.jid]), jid=node_account.jid)
    node = Running(tmp_path)
    node.start()
    await owner.shows("", after=0)  # from now on they are told how it is
    await node.stop(signal.SIGKILL)
    await crash(node, MOST - 1)
    moved = node.moves()
    node.start()
    try:
        told = (await owner.told("⚠ greenhouse is in safe mode. I crashed 5 times")).body
        assert "answer about, doctor, help, log, status. In 10 min I try to start as usual." in told
        assert node.log.count(IS_SAFE) == 1
        await owner.owner.wait(
            lambda s: s.kind == "presence" and s.sender == f"{node_account.jid}/knoop" and not s.type
            and s.xml.findtext("{jabber:client}status") == "Safe mode: I only answer.", 15,
        )  # fmt: skip
        said = (await owner.asks("status", "🔴 greenhouse: safe mode.")).splitlines()
        assert said[1:3] == ["I crashed 5 times shortly after I had started.", KILLED]
        moves = await owner.asks("lamp on", REFUSED)
        assert moves.startswith(REFUSED + " I crashed 5 times")
        await owner.asks("what is the meaning of this?", REFUSED)
        assert "lamp on → refused: safe mode" in await owner.asks("log", "")
        assert "Fine: configuration, password, state" in await owner.asks("doctor", "")
        listed = (await owner.asks("help", "about: ")).splitlines()
        assert [line.partition(":")[0] for line in listed[:-1]] == ["about", "doctor", "help", "log", "status"]

        assert node.moves() == moved, "nothing is moved"
        assert not [name for name in opened(node.pid) if name.endswith(("readings.db", "board.jsonl"))]
        status = tmp_path / "knoop" / "status.json"
        await until(lambda: json.loads(status.read_text("utf-8"))["link"]["up"], lambda: status.read_text("utf-8"))
        assert json.loads(status.read_text("utf-8"))["level"] == "safe mode"
    finally:
        assert await node.stop() == 0


async def test_safe_mode_tells_a_viewer_less_and_a_stranger_nothing(tmp_path, prosody, account, witness):
    node_account, bram, mallory = (account(name) for name in ("node", "bram", "mallory"))
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password=node_account.password,
          people={"anna@localhost": '"owner"', bram.jid: '{ role = "viewer", lang = "nl" }'})  # fmt: skip
    viewer = Owned(owner=await witness(bram, friends=[node_account.jid]), jid=node_account.jid)
    stranger = await witness(mallory)
    node = Running(tmp_path)
    await crash(node, MOST)
    node.start()
    try:
        await online(node)
        await viewer.asks("stand", "")  # on a busy machine this one may come before its presence, and so too late
        said = await viewer.asks("stand", "🔴 greenhouse: veilige modus.")
        assert "vastgelopen" in said
        assert "afgebroken" not in said, "how it crashed is for its owners"
        assert "dokter" not in await viewer.asks("hulp", "over: ")
        await viewer.asks("log", "“log” mag je hier niet.")
        before = stranger.mark
        stranger.say(node_account.jid, "status")
        await node_heard(tmp_path, mallory.jid)
        await viewer.asks("over", "Knoop ")
        assert not [s for s in stranger.seen[before:] if s.kind == "message"]
        assert any("state.db" in name for name in opened(node.pid))
        await node.stop(signal.SIGKILL)
        node.start()  # safe mode crashed as well: perhaps it is the disk
        await online(node, times=2)
        assert not any("state.db" in name for name in opened(node.pid))
        assert "only those whom node.toml makes owners are answered" in node.log
    finally:
        await node.stop()


async def node_heard(folder: Path, who: str) -> None:
    """Wait until the audit log names a stranger."""

    def named() -> bool:
        with closing(sqlite3.connect(folder / "state" / "knoop" / "state.db")) as db:
            lines = db.execute("SELECT who FROM audit WHERE result = 'refused: stranger'").fetchall()
        return any(line.startswith(who) for (line,) in lines)

    await until(named, lambda: f"{who} is in no line of the audit log")


async def test_a_stop_is_no_crash_and_one_more_crash_is_one_too_many(tmp_path, prosody, account):
    node_account = account("node")
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password=node_account.password)
    node = Running(tmp_path)
    await crash(node, MOST)
    node.start()
    try:
        await node.says(IS_SAFE)
        assert await node.stop() == 0
        node.start()  # as usual ...
        await node.says(IS_UP, times=MOST + 1)
        await node.stop(signal.SIGKILL)
        node.start()  # ... but not after one more crash
        await online(node, times=2)
        assert IS_SAFE + "I crashed 6 times" in node.log
        config = tmp_path / "node.toml"
        right = config.read_text("utf-8")
        config.write_text(right.replace('"owner"', '"ownr"'), "utf-8")
        node.tell(signal.SIGHUP)  # somebody wanted to mend it: a start would end with 78, and be the last one
        await node.says("no start could take that configuration; safe mode goes on")
        assert '"ownr" is not one of' in node.log
        assert node.code is None
        config.write_text(right, "utf-8")
        node.tell(signal.SIGHUP)
        assert await node.ended() == 0
        assert starts(tmp_path)["ended"] == "well"
    finally:
        await node.stop()


async def test_a_start_that_proves_good_makes_the_next_count_anew_and_safe_mode_ends_by_itself(
    tmp_path, prosody, account
):  # fmt: skip
    node_account = account("node")
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password=node_account.password)
    node = Running(tmp_path)
    await crash(node, MOST)
    short = Running(tmp_path, command=SHORT)
    short.start()
    try:
        await short.says("safe mode ends; the next start is as usual")
        assert await short.ended() == 0
        short.start()
        await short.says(f"this start was a good one; the {MOST} before it count no more")
        await until(lambda: starts(tmp_path)["crashes"] == 0, lambda: short.log)
        await short.stop(signal.SIGKILL)
        short.start()
        await short.says(IS_UP, times=MOST + 2)
        assert starts(tmp_path)["crashes"] == 1
    finally:
        await short.stop()


async def test_a_login_that_is_refused_is_the_end_there_as_everywhere_and_no_crash(tmp_path, prosody, account):
    node_account = account("node")
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password="hunter2")
    node = Running(tmp_path, command=(*WHOLE, "--safe"))
    node.start()
    try:
        assert await node.ended() == 77
        known = starts(tmp_path)
        assert (known["ended"], known["crashes"], known["last"]) == ("well", 0, "")
        assert "hunter2" not in node.log
    finally:
        await node.stop()


async def test_state_that_stops_every_start_does_not_stop_owners_from_being_answered(
    tmp_path, prosody, account, witness
):  # fmt: skip
    node_account, anna, bram = account("node"), account("anna"), account("bram")
    people = {anna.jid: '"owner"', bram.jid: '"viewer"'}
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password=node_account.password, people=people)
    state = tmp_path / "state" / "knoop"
    state.mkdir(parents=True, mode=0o700)
    with closing(sqlite3.connect(state / "state.db")) as db:
        db.execute("PRAGMA user_version = 999")  # a downgrade
    node = Running(tmp_path)
    for times in range(1, MOST + 1):
        node.start()
        assert await node.ended() == 74
        assert starts(tmp_path)["crashes"] == times
    owner = Owned(owner=await witness(anna, friends=[node_account.jid]), jid=node_account.jid)
    viewer = Owned(owner=await witness(bram, friends=[node_account.jid]), jid=node_account.jid)
    owner.owner.say(node_account.jid, "status")
    async with running(tmp_path):
        await owner.told("I am in safe mode, so I did nothing.")  # what was said before is too late, as ever
        said = await owner.asks("status", "🔴 greenhouse: safe mode.")
        assert "The last crash: " in said
        assert "state.db: written by a newer Knoop" in said
        await owner.asks("log", "My disk does not do that now")
        before = viewer.owner.mark
        viewer.owner.say(node_account.jid, "status")  # whoever was a viewer may have been shut out in chat
        await owner.asks("about", "Knoop ")
        assert not [s for s in viewer.owner.seen[before:] if s.kind == "message"]


async def test_by_hand_it_opens_nothing_of_a_board_that_is_another_process(tmp_path, prosody, account, witness):
    node_account, anna = account("node"), account("anna")
    write(tmp_path, Way.to(prosody), jid=node_account.jid, password=node_account.password,
          people={anna.jid: '"owner"'})  # fmt: skip
    owner = Owned(owner=await witness(anna, friends=[node_account.jid]), jid=node_account.jid)
    async with (
        running(tmp_path, command=HARDWARE) as hardware,
        running(tmp_path, command=(*WHOLE, "--board", "--safe")) as node,
    ):
        told = (await owner.told("⚠ greenhouse is in safe mode. I was started so.")).body
        assert told.endswith("That lasts until I am stopped.")
        assert "devices" not in await owner.asks("doctor", "")
        assert node.code is hardware.code is None
        assert "an agent" not in hardware.log, hardware.log
