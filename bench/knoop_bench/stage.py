"""A stage for demo and tests: a private server, a meter on a serial port, a link that can be cut, and a real node.

Everything lives under one folder and ends with the block that entered it, also on Ctrl-C and on failure.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from knoop_bench.errors import StageFailed
from knoop_bench.meter import Meter
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "demo"
TELEGRAM = ROOT / "tests" / "data" / "p1" / "dsmr50.txt"
NODE, OWNER, VIEWER, STRANGER = "greenhouse", "anna", "bram", "mallory"
STOP_S = 8.0
# The node logs in by SCRAM whatever is offered; PLAIN inside TLS lets simple clients look at it, too.
FOR_ANY_CLIENT = Options(settings={"disable_sasl_mechanisms": ["DIGEST-MD5", "OAUTHBEARER"]})
LEFT = frozenset(
    {"prosody", "state", "node.toml", "scenario.toml", "board.jsonl", "node.log", f"{NODE}.password", "accounts.txt",
     "run"}
)


@dataclass(slots=True)
class Stage:
    """What is on it. `folder` holds the node's `node.toml`, its log `node.log`, and `board.jsonl` (output lines)."""

    folder: Path
    server: Prosody
    proxy: Proxy
    meter: Meter
    node: Node = field(init=False)

    @property
    def config(self) -> Path:
        """The node's configuration."""
        return self.folder / "node.toml"

    @property
    def room(self) -> str:
        """The fleet's room."""
        return self.server.room("fleet")

    @property
    def trace(self) -> Path:
        """Every transition of an output line of the simulated board, as JSON lines."""
        return self.folder / "board.jsonl"

    def jid(self, user: str) -> str:
        """The bare JID of one of the cast."""
        return self.server.jid(user)


@asynccontextmanager
async def stage(folder: Path, *, every_s: float = 1.0, changes: dict[str, str] | None = None) -> AsyncIterator[Stage]:
    """Set it in `folder` (an absolute path; made, and removed at the end) with the node running.

    `changes` replace pieces of the example's configuration. Raises ServerFailed or StageFailed with the tail of a log.
    """
    accounts = {user: secrets.token_urlsafe(12) for user in (NODE, OWNER, VIEWER, STRANGER)}
    with _claimed(folder):
        async with (
            Prosody(folder / "prosody", accounts, options=FOR_ANY_CLIENT) as server,
            Proxy(server.tls_port) as proxy,
            Meter([TELEGRAM], every_s=every_s) as meter,
        ):
            made = Stage(folder, server, proxy, meter)
            _configure(made, accounts[NODE], changes or {})
            listed = "".join(f"{made.jid(user)} {password}\n" for user, password in accounts.items())
            _write_private(folder / "accounts.txt", listed)
            async with Node.run(made) as node:
                made.node = node
                yield made


class Node:
    """`knoop run` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @classmethod
    @asynccontextmanager
    async def run(cls, on: Stage) -> AsyncIterator[Node]:
        """Start it; at the end it is told to stop, and killed when it takes longer than STOP_S."""
        log = on.folder / "node.log"
        environment = {
            **{key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TZ", "PYTHONPATH"}},
            "HOME": str(on.folder), "XDG_STATE_HOME": str(on.folder / "state"),
            "RUNTIME_DIRECTORY": str(on.folder / "run"),
        }
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                # setpriv ties the node's life to ours, also when we are killed.
                "setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "knoop", "run", "--config", str(on.config),
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )
        node = cls(process, log)
        try:
            yield node
        finally:
            await node.stop()

    async def stop(self) -> int:
        """End it with SIGTERM; returns its exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()

    def alive(self) -> None:
        """Raise StageFailed with the tail of its log when it has ended."""
        if self.process.returncode is not None:
            raise StageFailed(f"the node ended with exit code {self.process.returncode}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])


def _configure(on: Stage, password: str, changes: dict[str, str]) -> None:
    text = (EXAMPLE / "node.toml").read_text("utf-8")
    for old, new in {
        "port = 5223": f"port = {on.proxy.port}",
        'ca_file = "ca.pem"': f'ca_file = "{on.server.ca_file}"',
        'device = "meter"': f'device = "{on.meter.device}"',
        **changes,
    }.items():
        if text.count(old) != 1:
            raise StageFailed(f"{EXAMPLE / 'node.toml'} must hold {old!r} exactly once")
        text = text.replace(old, new)
    on.config.write_text(text, "utf-8")
    shutil.copy(EXAMPLE / "scenario.toml", on.folder)
    _write_private(on.folder / f"{NODE}.password", password)


def _write_private(file: Path, text: str) -> None:
    file.touch(0o600)
    file.write_text(text, "utf-8")


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """An empty folder that is ours alone, gone at the end; what an earlier, killed run left is cleared away."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StageFailed(f"{folder} is in use by another demo: end that one first") from None
        _clear(folder)
        try:
            yield
        finally:
            _clear(folder)
            folder.rmdir()
    finally:
        os.close(held)


def _clear(folder: Path) -> None:
    """Empty a folder that holds nothing but what a stage makes; raises StageFailed for any other."""
    entries = list(folder.iterdir())
    if strange := sorted(entry.name for entry in entries if entry.name not in LEFT):
        raise StageFailed(f"{folder} holds something else ({', '.join(strange)}): move it away first")
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
