"""The real program in a process of its own, judged from outside: exit code, what it says, the board's trace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knoop.xmpp.link import CAP_S
from knoop_bench.server import Server
from knoop_bench.witness import Witness

KNOOP = (sys.executable, "-m", "knoop")
WHOLE = (*KNOOP, "run")
AGENT = (*KNOOP, "run", "--board")
HARDWARE = (sys.executable, "-m", "knoop_hw")
NODE = "greenhouse"
BOUND_S = 15.0  # a start takes 0.7 s on two idle cores; a busy machine must not make a test fail
POLL_S = 0.02

BOARD = """
[board]
driver = "simulated"
scenario = "scenario.toml"

[input.door]
label = "Front door"
pin = "GPIO17"

[output.lamp]
label = "Lamp"
pin = "GPIO27"
"""
SCENARIO = 'trace = "board.jsonl"\n'
# The door opens and closes each second.
TICKING = SCENARIO + 'repeat = "1s"\n' + "".join(
    f'[[step]]\nat = "{at}"\nline = "door"\nvalue = {value}\n' for at, value in (("200ms", "true"), ("700ms", "false"))
)


@dataclass(frozen=True, slots=True)
class Account:
    """An account that exists on the server under test, used by one test only."""

    jid: str
    password: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; `said` is both streams."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    def plainly(self, code: int, *sentences: str) -> None:
        """The exit code, the sentences for people, and no traceback."""
        assert self.code == code, self.said
        assert "Traceback" not in self.said
        for sentence in sentences:
            assert sentence in self.said, self.said


def alive(pid: int) -> bool:
    """Whether it runs; one that ended and waits for its parent does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii")
    except FileNotFoundError:
        return False


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this machine's user but the path."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TZ", "PYTHONPATH"}}
    return {**kept, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder)}


async def knoop(
    *arguments: object, folder: Path, stdin: str = "", within_s: float = 40.0, program: tuple[str, ...] = KNOOP
) -> Ended:
    """Run one command to its end."""
    process = await asyncio.create_subprocess_exec(
        *program, *map(str, arguments), cwd=folder, env=environment(folder),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, out.decode(), err.decode())


def opened(pid: int) -> list[str]:
    """What a process has open, as the kernel says (proc(5))."""
    found = []
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(handle.readlink()))
    return found


async def cancelled_while_it_starts(server: Server) -> int:
    """Cancel a private server's start when its process is there; returns that process's id."""
    task = asyncio.create_task(server.__aenter__())
    while server.pid is None:
        await asyncio.sleep(0)
    pid = server.pid
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    return pid


async def until(true: Callable[[], Any], what: Callable[[], str], within_s: float = BOUND_S) -> None:
    """Return when `true`; raise AssertionError with `what()` when it is not within the bound."""
    try:
        async with asyncio.timeout(within_s):
            while not true():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s:\n{what()}") from None


class Running:
    """`knoop run`, or one half, on `folder/node.toml`. `start` and `stop` may be repeated; the log goes on."""

    def __init__(self, folder: Path, *, before: tuple[str, ...] = (), command: tuple[str, ...] = WHOLE) -> None:
        self.folder = folder
        self._before, self._command = before, command
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / ("hardware.log" if command[:3] == HARDWARE else "node.log")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @property
    def code(self) -> int | None:
        """The exit code once it has ended."""
        return self._process.poll() if self._process else None

    def start(self, *, terminal: int | None = None) -> None:
        """Start it as a service would be, or from a `terminal`, which then controls it."""
        before = (*self._before, *(() if terminal is None else ("setsid", "--ctty")))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                # setpriv ties its life to ours, also when we are killed.
                ["setpriv", "--pdeathsig", "KILL", *before, *self._command, "--config", "node.toml"],
                cwd=self.folder, env=environment(self.folder), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL if terminal is None else terminal, start_new_session=terminal is None,
            )

    async def says(self, text: str, *, times: int = 1, within_s: float = BOUND_S) -> None:
        """Wait until the log holds `text` so often."""

        def there() -> bool:
            if self.code is not None and self.log.count(text) < times:
                raise AssertionError(f"it ended with {self.code}:\n{self.log}")
            return self.log.count(text) >= times

        await until(there, lambda: f"{text!r} is not in\n{self.log}", within_s)

    async def online(self, *, times: int = 1) -> None:
        """Wait until it has logged in so often; again takes as long as the link's longest pause and its login."""
        await self.says("connected as", times=times, within_s=BOUND_S if times == 1 else CAP_S + BOUND_S)

    async def ended(self, within_s: float = BOUND_S) -> int:
        await until(lambda: self.code is not None, lambda: self.log, within_s)
        assert self.code is not None
        return self.code

    def tell(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        if self._process is None or self.code is not None:
            return self.code or 0
        self.tell(how)
        try:
            return await self.ended(8.0)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def moves(self, channel: str = "lamp") -> list[bool]:
        """Every transition of an output's line, as probes on the board's pins saw it."""
        trace = self.folder / "board.jsonl"
        lines = [json.loads(line) for line in trace.read_text("utf-8").splitlines()] if trace.exists() else []
        return [line["level"] for line in lines if line["channel"] == channel]


@asynccontextmanager
async def running(folder: Path, **more: Any) -> AsyncIterator[Running]:
    """A started node; ended with the block."""
    node = Running(folder, **more)
    node.start()
    try:
        yield node
    finally:
        await node.stop()


@dataclass(frozen=True, slots=True)
class Way:
    """Where a server is."""

    port: int
    ca_file: Path

    @classmethod
    def to(cls, server: Server, *, starttls: bool = False) -> Way:
        return cls(server.starttls_port if starttls else server.tls_port, server.ca_file)


def write(
    folder: Path, way: Way, *, jid: str, password: str = "secret", people: Mapping[str, str] | None = None,
    board: str = BOARD, scenario: str = SCENARIO, more: str = "", resource: str = "knoop",
) -> Path:
    """A `node.toml` with its password file and scenario; `people` maps a JID to its TOML value.

    Tests know the node's `resource` beforehand; '' is what users have, one that nobody can guess (docs/adr/0034).
    """
    jid = jid if "/" in jid or not resource else f"{jid}/{resource}"
    table = "\n".join(f'"{person}" = {value}' for person, value in (people or {"anna@localhost": '"owner"'}).items())
    config = folder / "node.toml"
    config.write_text(
        f'[node]\nname = "{NODE}"\n\n'
        f'[xmpp]\njid = "{jid}"\npassword_file = "password"\nhost = "127.0.0.1"\nport = {way.port}\n'
        f'ca_file = "{way.ca_file}"\n\n[people]\n{table}\n{board}\n{more}\n',
        "utf-8",
    )
    (folder / "scenario.toml").write_text(scenario, "utf-8")
    secret = folder / "password"
    secret.touch(0o600)
    secret.write_text(password, "utf-8")
    return config


def chat(way: Way, node: str, person: str, folder: Path, password: str = "secret") -> tuple[object, ...]:
    """The arguments of `knoop chat` for a person of this server."""
    file = folder / f"{person.partition('@')[0]}.password"
    file.write_text(password, "utf-8")
    return (
        "chat", node, "--as", person, "--password-file", file, "--host", "127.0.0.1", "--port", way.port,
        "--ca-file", way.ca_file,
    )


@dataclass(slots=True, kw_only=True)
class Owned:
    """A node (`jid`) and its owner's client: what the owner says to it, and what they see of it."""

    owner: Witness
    jid: str

    async def asks(self, text: str, answer: str) -> str:
        """Say something and wait for the answer that begins so."""
        after = self.owner.mark
        self.owner.say(self.jid, text)
        return (await self.told(answer, after=after)).body

    async def told(self, text: str, *, after: int = 0) -> Any:
        """Wait for a message that begins so."""
        return await self.owner.wait(
            lambda seen: seen.sender_bare == self.jid and seen.kind == "message" and seen.body.startswith(text),
            15, after=after,
        )

    async def shows(self, kind: str, *, after: int) -> Any:
        """Wait for a presence of this type."""
        return await self.owner.wait(
            lambda seen: seen.kind == "presence" and seen.sender == f"{self.jid}/knoop" and seen.type == kind,
            15, after=after,
        )
