"""The private server is what a node meets in the world, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.integration.running import alive, cancelled_while_it_starts, opened

from knoop_bench.errors import LoginFailed, NotSeen, Refused, ServerFailed
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.seen import PUBSUB
from knoop_bench.witness import EVENTS, STATE, Witness

pytestmark = pytest.mark.prosody

UPLOAD = "urn:xmpp:http:upload:0"


def publish(node: str, item: str) -> str:
    return (
        f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{item}'><x xmlns='urn:test'/></item>"
        "</publish></pubsub>"
    )


def is_online(jid: str):
    return lambda seen: seen.kind == "presence" and seen.sender_bare == jid and not seen.type


@pytest.mark.parametrize("direct_tls", [True, False], ids=["direct-tls", "starttls"])
async def test_a_client_logs_in(witness, account, direct_tls):
    anna = await witness(account("anna"), direct_tls=direct_tls)
    await anna.ping()
    assert anna.full_jid.startswith(f"{anna.jid}/")


async def test_a_wrong_password_is_refused(witness, account):
    anna = account("anna")
    wrong = type(anna)(anna.jid, "wrong")
    with pytest.raises(LoginFailed, match="refused the login"):
        await witness(wrong)


@pytest.mark.parametrize("direct_tls", [True, False], ids=["direct-tls", "starttls"])
@pytest.mark.parametrize("certificate", ["expired", "wrong-host", "other-ca"])
async def test_a_client_can_tell_that_a_certificate_is_wrong(serve, certificate, direct_tls):
    server = await serve(certificate=certificate, accounts={"anna": "secret"})
    port = server.tls_port if direct_tls else server.starttls_port
    with pytest.raises(LoginFailed, match=r"certificate|CERTIFICATE"):
        async with Witness(
            server.jid("anna"), "secret", port=port, ca_file=server.ca_file, direct_tls=direct_tls
        ):
            pass


async def test_pep_reaches_a_friend_who_asked_for_the_node(witness, account):
    owner, node = account("owner"), account("node")
    anna = await witness(owner, friends=[node.jid])
    device = await witness(node, friends=[owner.jid], notify=())
    await device.wait(is_online(owner.jid))

    await device.iq("set", publish(EVENTS, "k3v9q2xa-door-1"))
    event = await anna.wait(lambda seen: any(item.node == EVENTS for item in seen.items))

    assert event.sender_bare == node.jid
    assert [(item.id, item.payload.tag) for item in event.items] == [("k3v9q2xa-door-1", "{urn:test}x")]
    assert [item.id for item in await anna.pep_items(node.jid, EVENTS)] == ["k3v9q2xa-door-1"]
    assert device.items == ()


async def test_a_stranger_gets_no_items_and_no_presence(witness, account):
    node = account("node")
    device = await witness(node)
    await device.iq("set", publish(STATE, "0"))
    eve = await witness(account("eve"), friends=[node.jid])
    with pytest.raises(Refused) as refusal:
        await eve.pep_items(node.jid, STATE)
    assert refusal.value.condition in {"forbidden", "not-authorized"}
    await eve.none(is_online(node.jid), 0.3)
    with pytest.raises(NotSeen, match="what came"):
        await eve.wait(lambda seen: bool(seen.items), 0.05)


async def test_a_room_works_at_once_and_shows_who_is_in_it(witness, account, room):
    anna, bert = await witness(account("anna")), await witness(account("bert"))
    assert "100" in (await anna.join(room, "anna")).statuses  # XEP-0045 §15.6.2: any occupant sees full JIDs
    await bert.join(room, "bert")
    sent = bert.say(room, "ahoy", type="groupchat")
    heard = await anna.wait(lambda seen: seen.type == "groupchat" and seen.body == "ahoy")
    assert (heard.id, heard.sender) == (sent, f"{room}/bert")
    with pytest.raises(Refused, match="conflict"):
        await (await witness(account("eve"))).join(room, "anna")


async def test_an_upload_slot_is_offered_and_takes_a_file(witness, account, prosody):
    anna = await witness(account("anna"))
    services = [jid for jid, _ in await anna.disco_items(prosody.host) if UPLOAD in await anna.disco(jid)]
    assert services == [f"upload.{prosody.host}"]
    slot = await anna.iq("get", f"<request xmlns='{UPLOAD}' filename='a.txt' size='3'/>", to=services[0])
    put = slot.find(f"{{{UPLOAD}}}slot/{{{UPLOAD}}}put")
    headers = {header.get("name"): header.text for header in put}
    context = ssl.create_default_context(cafile=prosody.ca_file)
    request = urllib.request.Request(put.get("url"), data=b"abc", headers=headers, method="PUT")

    def upload() -> int:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status

    assert await asyncio.to_thread(upload) == 201


async def test_what_was_acknowledged_survives_kill_and_restart_on_the_same_ports(serve):
    server = await serve(accounts={"node": "secret"})
    ports, first = (server.tls_port, server.starttls_port), server.pid
    async with Witness("node@localhost", "secret", port=server.tls_port, ca_file=server.ca_file) as node:
        await node.iq("set", publish(EVENTS, "kept"))
        await server.kill()
    assert not alive(first)
    await server.restart()
    assert (server.tls_port, server.starttls_port) == ports
    async with Witness("node@localhost", "secret", port=server.tls_port, ca_file=server.ca_file) as node:
        assert [item.id for item in await node.pep_items("node@localhost", EVENTS)] == ["kept"]


async def test_the_rate_limit_slows_a_client_down(serve):
    server = await serve(accounts={"anna": "secret"}, options=Options(rate_limit="10kb/s"))
    async with Witness("anna@localhost", "secret", port=server.tls_port, ca_file=server.ca_file) as anna:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        anna.say("anna@localhost", "x" * 15_000)
        await anna.ping()
        assert loop.time() - began_s > 0.5


async def test_nothing_is_left_after_the_block(tmp_path):
    async with Prosody(tmp_path / "server") as server:
        pid = server.pid
        assert alive(pid)
    assert not alive(pid)
    assert not server.folder.exists()


async def test_nothing_is_left_after_a_cancellation(tmp_path):
    running: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def use():
        async with Prosody(tmp_path / "server") as server:
            running.set_result(server.pid)
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    pid = await running
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)
    assert list(tmp_path.iterdir()) == []


async def test_nothing_is_left_after_a_cancellation_during_the_start(tmp_path):
    server = Prosody(tmp_path / "server")
    assert not alive(await cancelled_while_it_starts(server))
    assert list(tmp_path.iterdir()) == []


async def test_the_server_dies_with_a_user_that_is_killed_and_its_folder_can_be_used_again(tmp_path):
    folder = tmp_path / "server"
    program = (
        "import asyncio, pathlib, sys\n"
        "from knoop_bench.prosody import Prosody\n"
        "async def main():\n"
        f"    async with Prosody(pathlib.Path({str(folder)!r})) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as user:
        pid = int(await asyncio.to_thread(user.stdout.readline))
        with pytest.raises(ServerFailed, match="in use by another run"):
            await Prosody(folder).__aenter__()
        user.send_signal(signal.SIGKILL)
    async with asyncio.timeout(20):
        while alive(pid):
            await asyncio.sleep(0.01)
    async with Prosody(folder, {"anna": "secret"}) as server:
        assert server.pid
    assert not folder.exists()


async def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ServerFailed, match="holds something else"):
        await Prosody(tmp_path).__aenter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


async def test_a_server_that_does_not_start_says_why(tmp_path):
    broken = Options(settings={"this is not": "Lua"})
    with pytest.raises(ServerFailed, match=r"ended while starting(.*\n)*.*syntax error"):
        await Prosody(tmp_path / "server", options=broken).__aenter__()
    assert list(tmp_path.iterdir()) == []


async def test_a_port_that_somebody_took_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("knoop_bench.server.START_S", 1.0)
    server = Prosody(tmp_path / "server")
    taken = rf"does not answer(.*\n)*.*{server.tls_port}.*in use"
    with socket.create_server(("127.0.0.1", server.tls_port)), pytest.raises(ServerFailed, match=taken):
        await server.__aenter__()
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_prosody_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("knoop_bench.server.PATH", str(tmp_path))
    with pytest.raises(ServerFailed, match="bench/debian-packages prosody"):
        await Prosody(tmp_path / "server").__aenter__()


async def test_the_machines_own_prosody_is_never_opened(serve):
    """What the kernel says about the process: no file of it lies in /etc/prosody or /var/lib/prosody."""
    server = await serve(accounts={"anna": "secret"})
    paths = opened(server.pid)
    assert any(str(server.folder) in path for path in paths)
    assert not [path for path in paths if path.startswith(("/etc/prosody", "/var/lib/prosody"))]
    command = Path(f"/proc/{server.pid}/cmdline").read_text()
    environment = Path(f"/proc/{server.pid}/environ").read_text()
    assert "secret" not in command + environment
