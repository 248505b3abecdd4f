"""A node moves to another card while it runs, and leaves: seen from its server and from the people who know it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.integration.running import NODE, Owned, Way, knoop, running, write

from knoop_bench.errors import Refused
from knoop_bench.prosody_config import Options
from knoop_bench.witness import NODES, STATE, Witness

pytestmark = pytest.mark.prosody

AIR = '[sensor.air]\ndriver = "simulated"\nevery = "200ms"\n'
ROSTER = "jabber:iq:roster"


async def roster(witness: Witness) -> set[str]:
    """Who is in the roster of an account."""
    answer = await witness.iq("get", f"<query xmlns='{ROSTER}'/>")
    return {item.get("jid", "") for item in answer.iter(f"{{{ROSTER}}}item")}


async def test_a_node_moves_to_another_card_while_it_runs(prosody, account, witness, tmp_path):
    """Readings, a right that was given in chat, and the password are there; what it said before is not said again."""
    device, anna, bram = account("greenhouse"), account("anna"), account("bram")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    write(old, Way.to(prosody), jid=device.jid, password=device.password, people={anna.jid: '"owner"'}, more=AIR)
    owner = Owned(owner=await witness(anna, friends=[device.jid]), jid=device.jid)
    async with running(old) as node:
        await node.online()
        await owner.shows("", after=0)  # what comes before that is kept by the server, and late
        await owner.asks(f"allow {bram.jid} viewer", bram.jid)
        guest = await witness(bram, friends=[device.jid])
        packed = await knoop("export", tmp_path / "card.tar.gz", "--config", "node.toml", folder=old)
        assert packed.code == 1, packed.said  # the server's CA is not below the node's folder
        assert packed.out.count("Not in it: ") == 1, packed.said
        assert "ca.pem" in packed.out or "outside of" in packed.out
        assert node.code is None, "it runs on"
    assert (tmp_path / "card.tar.gz").stat().st_mode & 0o777 == 0o600
    new.mkdir()
    came = await knoop("import", tmp_path / "card.tar.gz", folder=new)
    came.plainly(0, "Wrote ", "The old node must be off")
    assert device.password not in packed.said + came.said
    after = guest.mark
    async with running(new) as node:
        await Owned(owner=guest, jid=device.jid).shows("", after=after)
        after = guest.mark
        guest.say(device.jid, "status")
        said = await guest.wait(lambda seen: seen.kind == "message" and seen.body, after=after)
        assert said.sender_bare == device.jid
        refused = await knoop("import", tmp_path / "card.tar.gz", "--force", folder=new)
        refused.plainly(74, "in use by a node that runs; stop it first")
        assert "Traceback" not in node.log


@pytest.fixture
async def server(serve):
    """One where accounts can be cancelled (XEP-0077)."""
    options = Options(modules=("register",), settings={"allow_registration": False})
    return await serve(accounts={NODE: "secret", "anna": "secret", "bram": "secret"}, options=options)


def client(server, user: str, **more: object) -> Witness:
    return Witness(server.jid(user), "secret", port=server.tls_port, ca_file=server.ca_file, **more)


def known(server) -> list[Path]:
    """The files in which a Prosody keeps what it has of the node's account."""
    return [file for file in (server.folder / "data").rglob("*") if file.is_file() and file.stem.startswith(NODE)]


async def test_a_purged_node_leaves_nothing_at_its_server(server, tmp_path):
    jid = server.jid(NODE)
    people = {server.jid("anna"): '"owner"', server.jid("bram"): '"viewer"'}
    write(tmp_path, Way.to(server), jid=jid, people=people, more=AIR)
    async with client(server, "anna", friends=[jid]) as anna, client(server, "bram", friends=[jid]):
        async with running(tmp_path) as node:
            await node.online()
            await anna.wait(lambda seen: any(item.node == STATE for item in seen.items))
            running_still = await knoop("purge", "--yes", "--server", "--config", "node.toml", folder=tmp_path)
            running_still.plainly(74, "in use by a node that runs")
        flags = ("--yes", "--server", "--json", "--person", server.jid("bram"))
        one = await knoop("purge", *flags, "--config", "node.toml", folder=tmp_path)
        said = json.loads(one.out)
        assert (one.code, said["left"]) == (1, [f"node.toml: still names {server.jid('bram')}: take that out by hand"])
        assert f"{server.jid('bram')} in the roster" in said["gone"]
        assert sum(" in urn:knoop:1:" in gone for gone in said["gone"]) == len(NODES)
        async with client(server, NODE) as itself:
            assert await roster(itself) == {server.jid("anna")}
        assert (await anna.pep_items(jid, STATE)), "who else may read reads on"
        whole = await knoop("purge", "--yes", "--server", "--config", "node.toml", folder=tmp_path)
        whole.plainly(0, *(f"Gone: {node} at " for node in NODES), f"Gone: {server.jid('anna')} at ")
        for node_name in NODES:
            with pytest.raises(Refused):
                await anna.pep_items(jid, node_name)
        async with client(server, NODE) as itself:
            assert await roster(itself) == set()
            for node_name in NODES:
                with pytest.raises(Refused, match="item-not-found"):
                    await itself.pep_items(jid, node_name)
        again = await knoop("purge", "--yes", "--server", "--config", "node.toml", folder=tmp_path)
        again.plainly(0, "Gone: nothing was there")


async def test_an_account_goes_with_all_that_the_server_keeps_of_it(server, tmp_path):
    jid = server.jid(NODE)
    write(tmp_path, Way.to(server), jid=jid, people={server.jid("anna"): '"owner"'})
    async with client(server, "anna", friends=[jid]) as anna:
        async with running(tmp_path) as node:
            await node.online()
            await Owned(owner=anna, jid=jid).asks("status", "")
        assert any("archive" in str(file) for file in known(server)), "else this proves nothing about archives"
        gone = await knoop("purge", "--yes", "--account", "--configuration", "--config", "node.toml", folder=tmp_path)
        gone.plainly(0, f"Gone: the account {jid} at ")
        assert not (tmp_path / "node.toml").exists()
        assert not (tmp_path / "password").exists()
        assert known(server) == [], "Prosody deletes what it has of an account with it"


async def test_a_server_that_deletes_no_account_is_named_and_the_rest_stays_here(prosody, account, tmp_path):
    device = account("greenhouse")
    write(tmp_path, Way.to(prosody), jid=device.jid, password=device.password)
    failed = await knoop("purge", "--yes", "--account", "--configuration", "--config", "node.toml", folder=tmp_path)
    failed.plainly(1, "localhost lets no account delete itself (service-unavailable): ask who runs it.")
    assert (tmp_path / "password").exists()


async def test_nothing_goes_here_when_the_server_does_not_answer(tmp_path):
    write(tmp_path, Way(port=1, ca_file=tmp_path / "password"), jid="greenhouse@localhost")
    (tmp_path / "ca.pem").write_text("", "utf-8")
    state = tmp_path / "state" / "knoop"
    state.mkdir(parents=True)
    (state / "counters.json").write_text("{}", "utf-8")
    text = (tmp_path / "node.toml").read_text("utf-8")
    (tmp_path / "node.toml").write_text(re.sub("ca_file = .*\n", "", text), "utf-8")
    failed = await knoop("purge", "--yes", "--server", "--configuration", "--config", "node.toml", folder=tmp_path)
    failed.plainly(69)
    assert (state / "counters.json").exists()
    assert (tmp_path / "node.toml").exists()


