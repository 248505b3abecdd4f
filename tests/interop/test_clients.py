"""Clients that share no code with Knoop, as Debian packages them: what each of them sees of a node.

What is seen goes into a table that is printed at the end: client × feature × server.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.running import BOARD, Way, running, until, write
from tests.interop.conftest import SCENARIO, SENSOR
from tests.interop.table import Table

from knoop.commands import table as verbs
from knoop_bench.prosody import Prosody
from knoop_bench.stage import FOR_ANY_CLIENT

HERE = Path(__file__).parent
GAJIM = ("/usr/bin/python3", str(HERE / "gajims_library.py"))  # Debian's own Python has its packages
FOR_A_MINUTE = 60.0
ROSE = """
[alert.warm]
when = "air.temperature > 10"
severity = "warning"
"""


@asynccontextmanager
async def program(*command: str, env: dict[str, str], feed: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of another project, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        *command, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **env},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )
    try:
        if feed:
            assert process.stdin is not None
            process.stdin.write(feed.encode())
            await process.stdin.drain()
            process.stdin.close()
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_gajims_library_discovers_and_runs_every_command(house, server, record: Table, tmp_path):
    home = await house(server, {"anna": "owner"}, more=ROSE)
    anna = home.people["anna"]
    certificate = tmp_path / "server.pem"
    certificate.write_text(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", server.tls_port)), "ascii")
    task = {
        "jid": anna.jid, "password": anna.password, "host": "127.0.0.1", "port": server.tls_port,
        "certificate": str(certificate), "node": home.jid,
        "say": ["status", "lamp on", "watch air for 1min", "nonsense"],
    }
    async with (
        program(*GAJIM, env={"HOME": str(tmp_path)}, feed=json.dumps(task)) as ran,
        asyncio.timeout(FOR_A_MINUTE),
    ):
        out, _ = await ran.communicate()
    seen = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]

    def of(what: str) -> list[dict]:
        return [one for one in seen if one["saw"] == what]

    said = out.decode()
    assert not of("failure"), said
    assert of("end"), said
    client = record.of("nbxmpp (Gajim)")
    client("login", bool(of("login")))
    client("presence", bool(of("presence")))
    [disco] = of("disco")
    client("disco: commands", "http://jabber.org/protocol/commands" in disco["features"])
    [listed] = of("commands")
    asked = {node: [one for one in of("command") if one["node"] == node] for node in listed["nodes"]}
    assert len(asked) >= len(verbs()) - 1, listed
    for node, stages in asked.items():
        last = stages[-1]
        assert last["status"] == "completed", (node, stages)
        assert bool(last["notes"]) != bool(last["fields"] or last["text"]), f"{node}: either a note or a form: {last}"
    client(f"ad-hoc: all {len(asked)} commands", ok=True)
    client("chat", any("greenhouse: 1 alert" in one["body"] for one in of("message")))
    client("set by chat", any(one["body"] == "Lamp is on." for one in of("message")))
    assert home.node.moves()[-1] is True
    client("receipts", len({one["of"] for one in of("receipt")}) == len(task["say"]))
    client("markers", any(one["kind"] == "displayed" for one in of("marker")))
    [items] = of("items")
    client("pub-sub items", set(items["payloads"]) == {"readings"})
    if server.NAME == "Prosody":  # ejabberd 23.01 pushes a whitelisted node's items to subscribers only
        client("pub-sub +notify", any(one["node"] == "urn:knoop:1:events" for one in of("event")))


class Terminal:
    """A program on a terminal of its own, driven and read through a private tmux."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "tmux"

    async def _tmux(self, *arguments: str, **env: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "tmux", "-S", str(self._socket), *arguments, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **env},
        )
        out, _ = await process.communicate()
        return out.decode()

    async def start(self, *command: str, **env: str) -> None:
        await self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "45", *command, **env)

    async def type(self, text: str, *, enter: bool = True) -> None:
        await self._tmux("send-keys", "-l", text)
        if enter:
            await self._tmux("send-keys", "Enter")

    async def screen(self) -> str:
        return await self._tmux("capture-pane", "-p", "-S", "-200")

    async def shows(self, *texts: str, within_s: float = 20.0) -> str:
        """Wait until one of `texts` is on the screen; returns it."""
        screen = ""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    screen = await self.screen()
                    if found := next((text for text in texts if text in screen), ""):
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"none of {texts} is on the screen:\n{screen}") from None

    async def stop(self) -> None:
        await self._tmux("kill-server")


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    await made.stop()


async def test_profanity_talks_and_runs_a_command(house, server, terminal, record: Table, tmp_path):
    home = await house(server, {"olga": "owner", "anna": "operator"})  # who is not told of every event
    anna = home.people["anna"]
    client = record.of("Profanity")
    await terminal.start(
        "profanity", HOME=str(tmp_path / "profanity"), SSL_CERT_FILE=str(server.ca_file), TERM="xterm-256color"
    )
    await terminal.shows("Profanity", "Type '/help'")
    await terminal.type(f"/connect {anna.jid} server 127.0.0.1 port {server.starttls_port} tls force")
    await terminal.shows("Enter password")
    await terminal.type(anna.password)
    await terminal.shows("logged in successfully")
    client("login", ok=True)
    await terminal.type(f"/roster add {home.jid}")
    await terminal.type(f"/sub request {home.jid}")
    await terminal.shows("is online", "Authorized subscription request", "now online")
    await terminal.type(f"/msg {home.jid} status")
    await terminal.shows("all is well")
    client("chat", ok=True)
    await terminal.type("lamp on")
    await terminal.shows("Lamp is on.")
    await until(lambda: home.node.moves()[-1:] == [True], lambda: str(home.node.moves()))
    client("set by chat", ok=True)
    await terminal.type("/win 1")
    await terminal.type(f"/cmd list {home.jid}/knoop")
    await terminal.shows("Ad hoc commands")
    client("ad-hoc: list", ok=True)
    await terminal.type(f"/cmd exec status {home.jid}/knoop")
    client("ad-hoc: run (single stage)", await terminal.shows("completed", "Up ", within_s=10) != "")


async def test_go_sendxmpp_sends_and_listens(authority, record: Table, tmp_path):
    """It logs in by PLAIN only, inside TLS: that needs a server that offers it. The node itself never uses PLAIN."""
    people = {"greenhouse": "secret", "anna": "secret"}
    async with Prosody(tmp_path / "prosody", people, authority=authority, options=FOR_ANY_CLIENT) as server:
        write(tmp_path, Way.to(server), jid=server.jid("greenhouse"), scenario=SCENARIO, board=BOARD + SENSOR)
        client = record.of("go-sendxmpp", software="prosody")
        config = tmp_path / "sendxmpprc"
        config.touch(0o600)
        config.write_text(
            f"username: {server.jid('anna')}\njserver: 127.0.0.1:{server.starttls_port}\npassword: secret\n", "utf-8"
        )
        env = {"HOME": str(tmp_path), "SSL_CERT_FILE": str(server.ca_file)}
        async with running(tmp_path) as node:
            await node.online()
            listen = ("go-sendxmpp", "-f", str(config), "-l")
            async with program(*listen, env=env) as listening:
                assert listening.stdout is not None
                heard: list[str] = []

                async def hear(fits: Callable[[str], bool]) -> str:
                    async with asyncio.timeout(20):
                        while not any(fits(line) for line in heard):
                            line = await listening.stdout.readline()
                            assert line, heard
                            heard.append(line.decode())
                    return next(line for line in heard if fits(line))

                async def say(text: str) -> None:
                    speaking = ("go-sendxmpp", "-f", str(config), server.jid("greenhouse"))
                    async with program(*speaking, env=env, feed=text) as spoke:
                        out, _ = await spoke.communicate()
                    assert spoke.returncode == 0, out.decode()

                await say("lamp on")
                await until(lambda: node.moves()[-1:] == [True], lambda: node.log)
                client("set by chat", ok=True)
                await hear(lambda line: "Front door is" in line)
                client("events by chat", ok=True)
