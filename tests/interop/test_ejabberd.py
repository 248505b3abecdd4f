"""The private ejabberd leaves nothing behind and touches nothing of the machine's own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.running import alive, cancelled_while_it_starts, opened

from knoop_bench.ejabberd import Ejabberd
from knoop_bench.errors import LoginFailed, ServerFailed
from knoop_bench.witness import Witness


def family(pid: int) -> set[int]:
    """A process and all that stem from it now."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("ascii").split():
            found |= family(int(child))
    return found


async def all_gone(pids: set[int]) -> None:
    async with asyncio.timeout(5):
        while any(map(alive, pids)):
            await asyncio.sleep(0.01)


@pytest.fixture
async def ejabberd(tmp_path):
    async with Ejabberd(tmp_path / "server", {"anna": "secret"}) as server:
        yield server


async def test_a_client_logs_in_both_ways_and_a_wrong_password_does_not(ejabberd):
    for direct, port in ((True, ejabberd.tls_port), (False, ejabberd.starttls_port)):
        async with Witness("anna@localhost", "secret", port=port, ca_file=ejabberd.ca_file, direct_tls=direct) as anna:
            await anna.ping()
    with pytest.raises(LoginFailed, match="refused the login"):
        await Witness(
            "anna@localhost", "wrong", port=ejabberd.tls_port, ca_file=ejabberd.ca_file
        ).__aenter__()


async def test_a_password_is_changed_while_it_runs(ejabberd):
    assert ejabberd.add_account("anna", "another") == "anna@localhost"
    async with Witness("anna@localhost", "another", port=ejabberd.tls_port, ca_file=ejabberd.ca_file) as anna:
        await anna.ping()


async def test_it_has_services_and_neither_a_name_nor_a_port_mapper_on_the_network(ejabberd):
    async with Witness("anna@localhost", "secret", port=ejabberd.tls_port, ca_file=ejabberd.ca_file) as anna:
        services = {jid for jid, _ in await anna.disco_items("localhost")}
    assert {"rooms.localhost", "pubsub.localhost", "upload.localhost"} <= services
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family(ejabberd.pid)]
    assert not [command for command in commands if b"epmd" in command or b"-sname" in command or b"secret" in command]
    assert b"secret" not in Path(f"/proc/{ejabberd.pid}/environ").read_bytes()


async def test_the_machines_own_ejabberd_is_never_opened(ejabberd):
    paths = opened(ejabberd.pid)
    assert any(str(ejabberd.folder) in path for path in paths)
    assert not [path for path in paths if path.startswith(("/etc/ejabberd", "/var/lib/ejabberd", "/var/log"))]


async def test_nothing_is_left_after_the_block_or_a_kill(tmp_path):
    async with Ejabberd(tmp_path / "server") as server:
        first = family(server.pid)
        assert len(first) > 1
        await server.kill()
        await all_gone(first)
        await server.restart()
        second = family(server.pid)
    await all_gone(second)
    assert not server.folder.exists()


async def test_nothing_is_left_after_a_cancellation_during_the_start(tmp_path):
    server = Ejabberd(tmp_path / "server")
    assert not alive(await cancelled_while_it_starts(server))
    assert list(tmp_path.iterdir()) == []


async def test_it_dies_with_a_user_that_is_killed(tmp_path):
    program = (
        "import asyncio, pathlib\n"
        "from knoop_bench.ejabberd import Ejabberd\n"
        "async def main():\n"
        f"    async with Ejabberd(pathlib.Path({str(tmp_path / 'server')!r})) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as user:
        pids = family(int(await asyncio.to_thread(user.stdout.readline)))
        user.send_signal(signal.SIGKILL)
    await all_gone(pids)


async def test_one_that_does_not_start_says_why(tmp_path):
    with pytest.raises(ServerFailed, match=r"ended while starting(.*\n)*.*no_such_option"):
        await Ejabberd(tmp_path / "server", settings={"no_such_option": 1}).__aenter__()
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_ejabberd_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("knoop_bench.server.PATH", os.fspath(tmp_path))
    with pytest.raises(ServerFailed, match="bench/debian-packages ejabberd"):
        await Ejabberd(tmp_path / "server").__aenter__()
