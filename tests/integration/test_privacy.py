"""What leaves the house, seen from the kernel: which sockets a running node has, and where they lead."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from pathlib import Path

import pytest
from tests.integration.running import POLL_S, WHOLE, Owned, Way, opened, running, write

pytestmark = pytest.mark.prosody

ADDRESSES = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet")


def sockets(pid: int) -> set[tuple[str, str, str]]:
    """Protocol, state and the other end's port of each socket of a process that is no Unix socket (proc(5))."""
    mine = {name.removeprefix("socket:[")[:-1] for name in opened(pid) if name.startswith("socket:[")}
    found = set()
    for protocol in ADDRESSES:
        table = Path(f"/proc/{pid}/net/{protocol}")
        for line in table.read_text("ascii").splitlines()[1:] if table.exists() else ():
            words = line.split()
            if mine & {*words}:
                found.add((protocol, words[3], words[2].rpartition(":")[2]))
    return found


async def test_a_node_listens_nowhere_and_calls_nobody_but_its_server(prosody, account, witness, tmp_path):
    """From its first moment, through a conversation, to its end."""
    device, anna = account("greenhouse"), account("anna")
    write(tmp_path, Way.to(prosody), jid=device.jid, password=device.password, people={anna.jid: '"owner"'})
    seen: set[tuple[str, str, str]] = set()

    async def look(pid: int) -> None:
        while True:
            seen.update(sockets(pid))
            await asyncio.sleep(POLL_S)

    owner = Owned(owner=await witness(anna, friends=[device.jid]), jid=device.jid)
    async with running(tmp_path) as node:
        looking = asyncio.create_task(look(node.pid))
        await owner.shows("", after=0)
        await owner.asks("status", "")
        await owner.asks("set lamp on", "Lamp is on.")
        seen.update(sockets(node.pid))
        assert not looking.done(), looking
        looking.cancel()
    established = "01"
    assert ("tcp", established, f"{prosody.tls_port:04X}") in seen
    assert {(protocol, port) for protocol, _, port in seen} == {("tcp", f"{prosody.tls_port:04X}")}


async def test_the_password_is_in_no_argument_environment_or_log(prosody, account, tmp_path):
    """However much the log says: nor what a login is made of, by which passwords can be tried."""
    device = account("greenhouse")
    assert len(device.password) > 5, "else it could be anywhere"
    write(tmp_path, Way.to(prosody), jid=device.jid, password=device.password)
    secrets = {device.password, b64encode(device.password.encode()).decode(), device.password.encode().hex()}
    async with running(tmp_path, command=(*WHOLE, "--verbose")) as node:
        await node.online()
        seen = [Path(f"/proc/{node.pid}/{name}").read_bytes().decode() for name in ("cmdline", "environ")]
    assert "slixmpp" not in node.log, "it logs what a login sends"
    for text in (*seen, node.log):
        assert not [secret for secret in secrets if secret in text]
        assert not re.search(r"<auth|<response|\b[prsv]=[\w+/]{16,}", text)
