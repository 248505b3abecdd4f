"""Safe mode by itself: whom it answers and what, over the real rights and audit log; a server in memory."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from knoop import beside, commands, config, household, safe
from knoop.beside import Found
from knoop.database import Database
from knoop.errors import StoreError
from knoop.execution import Execution
from knoop.health import SafeMode
from knoop.safe import SafeNode, remembered
from knoop.state import State
from knoop.xmpp import compat
from knoop.xmpp.fresh import digest
from knoop_hw.clock import FakeClock
from knoop_hw.errors import ConfigError, Problem

NODE = """
[node]
name = "attic"
[xmpp]
jid = "attic@example.org"
password_file = "password"
[people]
"anna@example.org" = "owner"
"bram@example.org" = "operator"
[output.lamp]
pin = "GPIO17"
[alert.hot]
when = "lamp == on"
"""
ANNA, BRAM, EVE = "anna@example.org/phone", "bram@example.org/laptop", "eve@example.net/x"
CLIENT = "{jabber:client}"
REFUSED = "I am in safe mode, so I did nothing. I crashed 5 times shortly after I had started."


class Server:
    """The end of a login that keeps what it is sent."""

    jid, mode = "attic@example.org/x", "direct"

    def __init__(self) -> None:
        self.sent: list[ET.Element] = []

    def send(self, stanza: ET.Element) -> None:
        self.sent.append(stanza)

    async def lost(self) -> None:
        await asyncio.Event().wait()


class Attic:
    """A node in safe mode that is logged in."""

    def __init__(self, node: SafeNode, clock: FakeClock) -> None:
        self.node, self.clock, self.server = node, clock, Server()
        self._life = asyncio.create_task(node._serve(self.server))
        self._count = 0

    def hear(self, text: str, sender: str = ANNA, *, inner: str = "", late: bool = False, name: str = "") -> None:
        self._count += 1
        head = f"xmlns='jabber:client' type='chat' from='{sender}' id='{name or self._count}'"
        body = f"<body>{text}</body>" if text else ""
        self.node._message(ET.fromstring(f"<message {head}>{body}{inner}</message>"), late)

    @property
    def said(self) -> list[tuple[str, str]]:
        bodies = ((stanza.get("to", ""), stanza.findtext(f"{CLIENT}body")) for stanza in self.server.sent)
        return [(to, body) for to, body in bodies if body is not None]

    async def answered(self, count: int) -> list[tuple[str, str]]:
        """So many messages in all; then none is being thought of any more."""
        async with asyncio.timeout(20):
            while len(self.said) < count or self.node._answers:
                await asyncio.sleep(0.005)
        assert len(self.said) == count, self.said
        return self.said

    async def close(self) -> None:
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)
        await self.node.execution.close()


@pytest.fixture
async def attic(tmp_path: Path):
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(State.open(tmp_path / "state.db"))
        made = await opened(tmp_path, state)
        stack.push_async_callback(made.close)
        await made.answered(1)  # what owners are told
        yield made


async def opened(folder: Path, state: State, **more: object) -> Attic:
    (folder / "node.toml").write_text(NODE, "utf-8")
    loaded = config.load(folder / "node.toml", jid=compat.jid, words=commands.words())
    clock = FakeClock()
    why = SafeMode(crashes=5, until_ns=clock.boottime_ns() + 600 * 10**9)
    node = SafeNode(loaded, clock=clock, state=state, password="x", safe=why, apart=False, status=None,
                    **{"tells": True, **more})  # fmt: skip
    await node._restore()
    return Attic(node, clock)


async def test_owners_are_told_once_however_often_it_logs_in(attic):
    assert attic.said[0][0] == "anna@example.org"
    assert attic.said[0][1].startswith("⚠ attic is in safe mode. I crashed 5 times")
    presence = attic.server.sent[0]
    assert (presence.tag, presence.findtext(f"{CLIENT}status")) == (f"{CLIENT}presence", "Safe mode: I only answer.")
    again = asyncio.create_task(attic.node._serve(attic.server))
    await asyncio.sleep(0)
    await attic.answered(1)
    again.cancel()


async def test_only_what_changes_nothing_is_answered_and_all_else_is_refused_and_not_done_later(attic):
    attic.hear("status", BRAM)
    attic.hear("lamp on", name="m1")
    attic.hear("allow eve@example.net owner")
    attic.hear("ack hot")
    said = await attic.answered(5)
    assert sorted(to for to, _ in said[1:]) == [ANNA] * 3 + [BRAM]
    assert sum(text.startswith(REFUSED) for _, text in said) == 3
    assert sum(text.startswith("🔴 attic: safe mode.") for _, text in said) == 1
    assert await attic.node.house.state.grants() == []
    lines = {(line.action, line.result) for line in await attic.node.house.state.audit_tail(10)}
    assert ("lamp on", "refused: safe mode") in lines
    assert digest("anna@example.org", "m1") in await attic.node.house.state.audited_stanzas(10)


async def test_strangers_get_silence_and_their_codes_are_kept_by_nobody(attic):
    attic.hear("status", EVE)
    attic.hear("claim ABCD-EFGH-JKMN-PQRS", EVE)
    attic.hear("status", "attic@rooms.example.org/anna")
    attic.hear("status", "not@an@address")
    attic.hear("hello", EVE, inner="<request xmlns='urn:xmpp:receipts'/>")
    attic.hear("status")
    assert [to for to, _ in await attic.answered(2)] == ["anna@example.org", ANNA]
    assert {stanza.get("to") for stanza in attic.server.sent} <= {None, "anna@example.org", ANNA}


@pytest.mark.parametrize(
    ("inner", "late", "answer"),
    [
        ("<encrypted xmlns='eu.siacs.conversations.axolotl'/>", False, "I cannot read encrypted messages yet."),
        ("<replace xmlns='urn:xmpp:message-correct:0' id='m'/>", False, "I do not act on corrections."),
        ("<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>", False, REFUSED),
        ("", True, REFUSED),
    ],
)
async def test_what_cannot_count_is_said_to(attic, inner, late, answer):
    attic.hear("status", inner=inner, late=late)
    assert (await attic.answered(2))[1][1].startswith(answer)
    attic.hear("status", EVE, inner=inner, late=late)
    attic.hear("status")
    await attic.answered(3)
    kept = [(line.who, line.encrypted) for line in await attic.node.house.state.audit_tail(10)]
    assert sorted(kept) == [(ANNA, "encrypted" in inner), (EVE, "encrypted" in inner)]


async def test_a_repeat_is_answered_once_a_reaction_never_and_a_receipt_is_given(attic):
    for _ in range(3):
        attic.hear("status", name="m7", inner="<request xmlns='urn:xmpp:receipts'/>")
    attic.hear("", inner="<reactions xmlns='urn:xmpp:reactions:0' id='m'><reaction>👍</reaction></reactions>")
    await attic.answered(2)
    receipts = [stanza for stanza in attic.server.sent if stanza.find("{urn:xmpp:receipts}received") is not None]
    assert len(receipts) == 1


async def test_rights_given_and_taken_in_chat_count(tmp_path):
    async with State.open(tmp_path / "state.db") as state:
        await state.grant("cleo@example.org", "viewer")
        await state.grant("bram@example.org", "none")
        attic = await opened(tmp_path, state, tells=False)
        attic.hear("status", "cleo@example.org/tablet")
        attic.hear("status", BRAM)
        attic.hear("log", "cleo@example.org/tablet")
        said = await attic.answered(2)
        assert {to for to, _ in said} == {"cleo@example.org/tablet"}
        assert any(text.startswith("You may not log here.") for _, text in said)
        await attic.close()


async def test_without_state_only_owners_of_the_file_are_answered(tmp_path):
    async with AsyncExitStack() as stack:
        state = await remembered(stack, tmp_path / "state.db", bare=True)
        attic = await opened(tmp_path, state, tells=False)
        attic.hear("status", BRAM)
        attic.hear("status")
        attic.hear("log")
        assert {to for to, _ in await attic.answered(2)} == {ANNA}
        assert not (tmp_path / "state.db").exists()
        await attic.close()


async def test_what_of_rights_the_disk_did_not_say_at_the_start_nobody_has(tmp_path, monkeypatch):
    """Nor later, when it answers again; and who was a viewer in node.toml is not an owner by a grant of old."""
    async with State.open(tmp_path / "state.db") as state:
        await state.grant("bram@example.org", "owner")
        with monkeypatch.context() as patch:
            patch.setattr(State, "grants", lambda _state: (_ for _ in ()).throw(StoreError("no answer")))
            attic = await opened(tmp_path, state, tells=False)
        await attic.node.house.recall()
        attic.hear("log", BRAM)
        attic.hear("status")
        assert {to for to, _ in await attic.answered(1)} == {ANNA}
        await attic.close()


async def test_a_file_that_cannot_be_read_says_nothing_of_rights(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    async with State.open(path) as state:
        await state.grant("bram@example.org", "none")
    fails = StoreError(f"{path}: Input/output error", "failing")
    monkeypatch.setattr(Database, "_open", lambda _database: (_ for _ in ()).throw(fails))
    monkeypatch.setattr(Database, "_view", lambda _database: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    async with AsyncExitStack() as stack:
        attic = await opened(tmp_path, await remembered(stack, path, bare=False), tells=False)
        attic.hear("status", BRAM)
        attic.hear("status")
        assert {to for to, _ in await attic.answered(1)} == {ANNA}
        await attic.close()


async def test_what_the_disk_has_said_of_rights_counts_also_where_it_says_no_more(tmp_path, monkeypatch):
    async def hangs(_execution: Execution) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Execution, "restore", hangs)
    monkeypatch.setattr(safe, "PATIENT_S", 0.3)
    async with State.open(tmp_path / "state.db") as state:
        await state.grant("anna@example.org", "none")
        attic = await opened(tmp_path, state, tells=False)
        attic.hear("status")
        attic.hear("status", BRAM)
        assert {to for to, _ in await attic.answered(1)} == {BRAM}
        await attic.close()


async def test_however_many_ask_the_machine_is_looked_at_by_one_process(attic, monkeypatch):
    looks, go = [], asyncio.Event()

    async def machine(file: Path) -> list[Found]:
        looks.append(file)
        await go.wait()
        return [Found("clock", "ok", "it is right", "")]

    monkeypatch.setattr(household, "machine", machine)
    for _ in range(3):
        attic.hear("doctor")
    while not looks:
        await asyncio.sleep(0)
    go.set()
    assert [text for _, text in (await attic.answered(4))[1:]] == [
        "🟢 attic: nothing is wrong with this machine.\nFine: clock."
    ] * 3
    assert len(looks) == 1
    attic.hear("doctor")
    await attic.answered(5)
    assert len(looks) == 2, "and the next one looks anew"


async def test_a_configuration_that_is_wrong_by_now_is_what_the_doctor_finds(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(NODE.replace('"operator"', '"oprator"'), "utf-8")
    [found] = await beside.machine(file)
    assert (found.check, found.level, found.text.startswith(f"{file}:")) == ("configuration", "problem", True)
    assert "oprator" in found.text
    assert found.remedy


async def test_it_does_not_end_for_a_start_that_would_be_the_last_one(attic, tmp_path):
    """With exit code 78 nobody would be answered any more."""
    wrong: list[Problem] = [Problem("node.toml", 7, "people", "is wrong")]

    def load() -> None:
        if wrong:
            raise ConfigError(wrong)

    over = asyncio.create_task(attic.node._over(load))
    await attic.clock.advance(600)
    async with asyncio.timeout(20):
        while not attic.node.house.health().safe.until_ns > attic.clock.boottime_ns():
            await asyncio.sleep(0.005)
    assert not over.done()
    attic.hear("status")
    assert "In 10 min I try to start as usual." in (await attic.answered(2))[1][1]
    wrong.clear()
    await attic.clock.advance(601)
    await asyncio.wait_for(over, 20)


async def test_it_opens_no_readings_and_knows_no_alert(attic, tmp_path):
    assert not attic.node.house.alerts.rules
    with pytest.raises(StoreError):
        await attic.node.house.store.backlog()
    assert not (tmp_path / "readings.db").exists()


def test_a_disk_that_hangs_keeps_no_owner_from_an_answer(tmp_path, monkeypatch):
    """And what waits for it does not keep the process from its end."""
    released = threading.Event()
    monkeypatch.setattr(Database, "_begin", lambda _database: released.wait())
    monkeypatch.setattr(safe, "OPEN_S", 0.1)

    async def life() -> list[tuple[str, str]]:
        async with AsyncExitStack() as stack:
            attic = await opened(tmp_path, await remembered(stack, tmp_path / "state.db", bare=False), tells=False)
            attic.hear("status")
            said = await attic.answered(1)
            await attic.close()
            return said

    try:
        [(to, text)] = asyncio.run(asyncio.wait_for(life(), 20))
    finally:
        released.set()
    assert (to, text.startswith("🔴 attic: safe mode.")) == (ANNA, True)
