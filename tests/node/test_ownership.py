"""Whose a node is: what its machine shows while it is nobody's, and how who lost it gets it back there."""

import asyncio
import contextlib
import json
import os
import stat
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.node.house import ANNA, PEOPLE, greenhouse

from knoop import claim, claims, commands, config, ownership
from knoop.access import Access, Role
from knoop.claiming import Claims
from knoop.errors import NodeError, StoreError
from knoop.jid import Jid
from knoop.ownership import LONGEST, LOOK_S, OWNERS, PICTURE, TEXT
from knoop.state import State
from knoop.xmpp import compat
from knoop_hw import places
from knoop_hw.clock import FakeClock

NODE = Jid("greenhouse", "example.org")
TOML = """
[node]
name = "greenhouse"

[xmpp]
jid = "greenhouse@example.org"
password_file = "password"
"""


@contextlib.asynccontextmanager
async def kept(folder, people=(), file=None):
    """A house whose ownership is kept; `said` is what its owners are told."""
    async with greenhouse(folder, readings=False) as house:
        house.access = Access(people)
        house.config = SimpleNamespace(jid=NODE, node=SimpleNamespace(claim_file=file or folder / "none"))
        house.said = []
        house.keeping = keeping = asyncio.create_task(ownership.keep(house, house.said.append))
        try:
            yield house
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def until(house, true):
    async with asyncio.timeout(20):
        while not true():
            assert not house.keeping.done(), house.keeping
            await asyncio.sleep(0.005)
            await house.clock.advance(LOOK_S)


async def taken(house):
    """The file on the card made Eve an owner: people are told, she has the right, and the audit log has it."""
    eve = Jid("eve", "example.org")
    await until(house, lambda: house.said and house.access.person(eve))
    assert house.access.person(eve).role is Role.OWNER
    async with asyncio.timeout(20):
        while not (lines := await house.state.audit_tail(9)):
            await asyncio.sleep(0.005)
    assert [(line.who, line.result, line.via) for line in lines] == [("eve@example.org", "done: owner", "console")]


def shown(folder):
    return claims.find((folder / TEXT).read_text("utf-8").splitlines()[2])


async def test_a_node_that_nobody_owns_shows_its_code_in_the_log_and_in_files_only_its_user_can_read(tmp_path, caplog):
    async with kept(tmp_path) as house:
        await until(house, lambda: "no owner yet" in caplog.text)
        code = shown(tmp_path)
        assert await house.claims.find(code) == OWNERS
        assert f"claim {code}” to greenhouse@example.org" in caplog.text
        assert claims.link(NODE, code) in caplog.text
        assert claims.link(NODE, code) in (tmp_path / TEXT).read_text("utf-8")
        assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
        assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (TEXT, PICTURE)} == {0o600}


async def test_the_code_is_the_same_after_a_restart_and_another_when_the_file_is_not_right(tmp_path, caplog):
    async with kept(tmp_path) as house:
        await until(house, lambda: "no owner yet" in caplog.text)
    first = shown(tmp_path)
    caplog.clear()
    async with kept(tmp_path) as house:
        await until(house, lambda: "no owner yet" in caplog.text)
        assert shown(tmp_path) == first
    (tmp_path / TEXT).write_text("claim aaaa-bbbb-cccc-dddd\n", "utf-8")
    caplog.clear()
    async with kept(tmp_path) as house:
        await until(house, lambda: "no owner yet" in caplog.text)
        assert shown(tmp_path) not in {first, "aaaa-bbbb-cccc-dddd"}
        assert await house.claims.find(first) is None


async def test_a_node_that_starts_and_a_command_beside_it_show_the_same_code(tmp_path):
    async with State.open(tmp_path / "state.db") as one, State.open(tmp_path / "state.db") as other:
        codes = await asyncio.gather(*(ownership.current(Claims(state), tmp_path, NODE) for state in (one, other) * 3))
    assert {*codes} == {shown(tmp_path)}


async def test_the_files_go_when_it_is_claimed(tmp_path):
    async with kept(tmp_path) as house:
        await until(house, (tmp_path / PICTURE).exists)
        assert await house.claims.take(shown(tmp_path), "eve@example.org")
        await house.rights_changed()
        await until(house, lambda: not (tmp_path / TEXT).exists() and not (tmp_path / PICTURE).exists())


async def test_a_node_with_an_owner_shows_nothing(tmp_path, caplog):
    (tmp_path / TEXT).write_text("old", "utf-8")
    async with State.open(tmp_path / "state.db") as state:
        await Claims(state).make(OWNERS)  # while there was none yet
    async with kept(tmp_path, PEOPLE) as house:
        await until(house, lambda: not (tmp_path / TEXT).exists())
        assert await house.claims.offers() == ()
    assert "owner" not in caplog.text


async def test_a_file_that_lies_in_wait_for_the_code_is_not_followed(tmp_path):
    """Whoever may write into the folder owns the node already; nothing of another place is overwritten all the same."""
    victim = tmp_path / "victim"
    victim.write_text("mine", "utf-8")
    state = tmp_path / "state"
    state.mkdir()
    for name in (TEXT, PICTURE, f".{TEXT}", f".{PICTURE}"):
        (state / name).symlink_to(victim)
    async with kept(state) as house:
        await until(house, lambda: not (state / PICTURE).is_symlink())
    assert victim.read_text("utf-8") == "mine"


async def test_a_file_on_the_card_makes_an_owner_once_and_all_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    file = tmp_path / "knoop-claim.txt"
    file.write_text("# lost my telephone\neve@example.org\n", "utf-8")
    async with kept(tmp_path, PEOPLE, file) as house:
        await taken(house)
        [sentence] = house.said
        assert house.voice("en").sentence(sentence) == (
            "eve@example.org is an owner of Greenhouse now: knoop-claim.txt on its card says so. Is that not right? "
            "Say: revoke eve@example.org"
        )
        await house.state.revoke("eve@example.org")
    caplog.clear()
    async with kept(tmp_path, PEOPLE, file) as house:
        await until(house, lambda: "was taken before" in caplog.text or house.said)
        assert house.said == []
        assert house.access.person(Jid("eve", "example.org")) is None, "revoked stays revoked"
    file.write_text("# once more\neve@example.org\n", "utf-8")
    async with kept(tmp_path, PEOPLE, file) as house:
        await until(house, lambda: house.said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"anna@example.org\neve@example.org\n", "names nobody"), (b"", "names nobody"),
        (b"\xff\xfe\x00", "names nobody"),
        (b"cleo@example.org", "node.toml says what cleo@example.org may here"), (b"*@example.org", "names nobody"),
        (b"#" + b"x" * 3000 + b"\neve@example.org", "names nobody"),
        (b"greenhouse@example.org", "greenhouse@example.org is this node itself"),
        (b"#" + b"x" * (LONGEST - 14) + b"\neve@example.organic", "it has more than 2000 bytes"),
    ],
)
async def test_a_file_that_is_not_right_makes_nobody_an_owner(tmp_path, caplog, content, said):
    file = tmp_path / "knoop-claim.txt"
    file.write_bytes(content)
    async with kept(tmp_path, PEOPLE, file) as house:
        await until(house, lambda: said in caplog.text)
        assert await house.state.grants() == []


async def test_a_pipe_in_its_place_holds_nobody_up(tmp_path, caplog):
    file = tmp_path / "knoop-claim.txt"
    os.mkfifo(file)
    async with kept(tmp_path, (), file) as house:
        await until(house, lambda: "no owner yet" in caplog.text)


async def test_what_stands_there_and_cannot_be_read_hides_no_code(tmp_path, caplog):
    """A folder, or a card whose sectors are gone: the node goes on to show how to claim it."""
    folder, loop = tmp_path / "folder", tmp_path / "loop"
    folder.mkdir()
    loop.symlink_to(loop)
    for file in (folder, loop):
        caplog.clear()
        before = len([*Path("/proc/self/fd").iterdir()])
        async with kept(tmp_path, (), file) as house:
            await until(house, lambda: "no owner yet" in caplog.text)
        assert len([*Path("/proc/self/fd").iterdir()]) <= before
    assert f"{loop} cannot be read: Too many levels of symbolic links" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_a_file_that_an_editor_of_windows_wrote_is_read(tmp_path, encoding):
    file = tmp_path / "knoop-claim.txt"
    file.write_bytes("# mijn nieuwe telefoon\r\neve@example.org\r\n".encode(encoding))
    async with kept(tmp_path, PEOPLE, file) as house:
        await taken(house)


async def test_a_disk_that_fails_after_a_file_was_taken_hides_no_owner(tmp_path, monkeypatch):
    file = tmp_path / "knoop-claim.txt"
    file.write_text("eve@example.org", "utf-8")

    async def fails(*_values, **_more):
        raise StoreError("the disk is full", "failing")

    monkeypatch.setattr(State, "audit", fails)
    async with kept(tmp_path, PEOPLE, file) as house:
        await until(house, lambda: house.said)
        await until(house, lambda: house.access.person(Jid("eve", "example.org")) is not None)


# The command ----------------------------------------------------------------------------------------------------------


def loaded(folder, more=""):
    file = folder / "node.toml"
    file.write_text(TOML + more, "utf-8")
    return config.load(file, jid=compat.jid, words=commands.words())


def run(folder, made, **more):
    return claim.claim(Namespace(**{"again": False, "png": None, "json": False, "state": folder, **more}), made)


def test_the_command_shows_code_link_and_picture(tmp_path, capsys):
    made = loaded(tmp_path)
    assert run(tmp_path, made, png=tmp_path / "qr.png") == 0
    out = capsys.readouterr().out
    code = shown(tmp_path)
    assert f"  claim {code}\n" in out
    assert f"  {claims.link(NODE, code)}\n" in out
    assert "█" in out
    assert (tmp_path / "qr.png").read_bytes() == (tmp_path / PICTURE).read_bytes()
    assert stat.S_IMODE((tmp_path / "qr.png").stat().st_mode) == 0o600


def test_a_folder_that_no_node_has_shows_no_code(tmp_path):
    with pytest.raises(NodeError, match=r"elsewhere: no such folder; --state names the one"):
        run(tmp_path / "elsewhere", loaded(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_what_root_makes_beside_a_service_is_the_services(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def given_away(handle, user, group):
        given[Path(f"/proc/self/fd/{handle}").readlink().name] = (user, group)

    monkeypatch.setattr(os, "fchown", given_away)
    assert run(tmp_path, loaded(tmp_path)) == 0
    owner = (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    assert given == dict.fromkeys(("state.db", TEXT, PICTURE), owner)


def test_the_command_finds_what_the_systems_service_remembers(tmp_path, monkeypatch):
    etc, var = tmp_path / "etc/knoop", tmp_path / "var/lib"
    (var / "knoop").mkdir(parents=True)
    monkeypatch.setattr(places, "SYSTEM", etc / "node.toml")
    monkeypatch.setattr(places, "SYSTEM_STATE", var)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert places.state_of(etc / "node.toml", "knoop") == var / "knoop"
    assert places.state_of(tmp_path / "node.toml", "knoop") == tmp_path / "own/knoop"
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "given"))
    assert places.state_of(etc / "node.toml", "knoop") == tmp_path / "given"


def test_the_command_says_for_programs_what_the_node_shows(tmp_path, capsys):
    made = loaded(tmp_path)
    for _ in range(2):
        assert run(tmp_path, made, json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"ok": True, "code": shown(tmp_path), "uri": claims.link(NODE, shown(tmp_path)),
                        "jid": str(NODE), "first": True}
    assert run(tmp_path, made, json=True, again=True) == 0
    assert json.loads(capsys.readouterr().out)["code"] != told["code"]


async def test_a_node_with_an_owner_gives_a_code_only_when_it_is_wanted_again_and_for_an_hour(tmp_path):
    made, clock = loaded(tmp_path, '[people]\n"anna@example.org" = "owner"\n'), FakeClock()
    with pytest.raises(NodeError, match=r"greenhouse has an owner: anna@example\.org.*knoop claim --again"):
        await claim.offered(made, tmp_path, again=False, clock=clock)
    offered = await claim.offered(made, tmp_path, again=True, clock=clock)
    assert not offered.first
    assert not (tmp_path / TEXT).exists(), "it is for whoever stands here"
    async with State.open(tmp_path / "state.db") as state:
        found = await Claims(state).find(offered.code)
        assert found.open(clock.time_ns() + 3599 * 10**9)
        assert not found.open(clock.time_ns() + 3600 * 10**9)
        assert not found.open(None)
        [line] = await state.audit_tail(5)
        assert (line.who, line.action) == ("console", "knoop claim --again")


async def test_a_machine_without_the_time_gives_no_code_that_would_have_to_end(tmp_path):
    made = loaded(tmp_path, '[people]\n"anna@example.org" = "owner"\n')
    with pytest.raises(NodeError, match="what time it is"):
        await claim.offered(made, tmp_path, again=True, clock=FakeClock(time_ns=0))


async def test_an_owner_by_a_chat_is_an_owner(tmp_path):
    async with State.open(tmp_path / "state.db") as state:
        await state.grant(str(ANNA.bare), "owner")
    with pytest.raises(NodeError, match=r"has an owner: anna@example\.org"):
        await claim.offered(loaded(tmp_path), tmp_path, again=False, clock=FakeClock())


async def test_the_command_works_beside_a_node_that_runs(tmp_path, caplog):
    async with kept(tmp_path) as house:
        await until(house, lambda: "no owner yet" in caplog.text)
        offered = await claim.offered(loaded(tmp_path), tmp_path, again=False, clock=FakeClock())
        assert offered.code == shown(tmp_path)
        again = await claim.offered(loaded(tmp_path), tmp_path, again=True, clock=FakeClock())
        assert await house.claims.find(offered.code) is None
        assert await house.claims.find(again.code) == OWNERS
