"""Both halves in the guest, and their server on the host."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.board.guest import HOST, Guest, Program
from tests.integration.running import Account, Way, write

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "hw": ("knoop-hw", "--config", "node.toml", "--socket", "board.sock", "--state", "hw"),
    "node": ("knoop", "run", "--config", "node.toml", "--board", "board.sock"),
}
UP = {"hw": "the board is open", "node": "connected as"}


class Node:
    """A folder in the guest with `node.toml`, and each half's process while it runs. Calls may block."""

    def __init__(self, guest: Guest, folder: str, draft: Path) -> None:
        self.guest, self.folder, self._draft = guest, folder, draft
        self.halves: dict[str, Program] = {}
        self._starts = {"hw": 0, "node": 0}

    def write(self, way: Way, account: Account, **more: Any) -> None:
        """What running.write writes, as the guest sees the host; the simulated board's scenario stays behind."""
        config = write(self._draft, way, jid=account.jid, password=account.password, **more)
        ca_file = f"{self.folder}/ca.pem"
        text = config.read_text("utf-8").replace(str(way.ca_file), ca_file).replace("127.0.0.1", HOST)
        self.guest.write(f"{self.folder}/node.toml", text)
        self.guest.write(ca_file, way.ca_file.read_text("ascii"))
        self.guest.write(f"{self.folder}/password", account.password, mode=0o600)

    def log(self, half: str) -> str:
        """All that a half said, over its lives."""
        return self.guest.read(f"{self.folder}/{half}.log")

    def start(self, half: str, *, plainly: bool = False, up: str = "") -> None:
        """Start a half and wait until it says that it is up; `plainly`: as the command, imports and all."""
        self._starts[half] += 1
        self.halves[half] = self.guest.start(
            *COMMANDS[half], half=None if plainly else half, cwd=self.folder, log=f"{self.folder}/{half}.log",
            XDG_STATE_HOME=f"{self.folder}/state",
        )
        self.halves[half].says(up or UP[half], times=self._starts[half] if not up else 1, within_s=120)

    def stop(self, half: str, how: signal.Signals = signal.SIGTERM) -> int:
        """End a half; returns its exit code."""
        self.halves[half].signal(how)
        return self.halves[half].wait()

    def close(self) -> None:
        """End what runs; nobody may have said a traceback."""
        for half in ("node", "hw"):
            if half in self.halves and self.halves[half].code is None:
                self.halves[half].signal(signal.SIGCONT)
                self.stop(half)
            if half in self.halves:
                assert "Traceback" not in self.log(half), self.log(half)


async def later(call: Any, *arguments: Any, **more: Any) -> Any:
    """A blocking call, while observers go on observing."""
    return await asyncio.to_thread(call, *arguments, **more)
