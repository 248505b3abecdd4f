"""Both halves on a few lines of the emulated board, as a rig of tests/hw/law.py. Their server is away all the time.

A person's commands come through the seam: while the agent hangs, the host takes its place, and gives it back.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from tests.board.guest import HOST, Guest, Program
from tests.board.qtest import Lines
from tests.board.recipe import SITE
from tests.board.seam import Seam
from tests.hw.law import Half, Move

NODE = f"""
[node]
name = "greenhouse"

[xmpp]
jid = "greenhouse@example.org"
password_file = "password"
host = "{HOST}"
port = 9

[people]
"anna@example.org" = "owner"
"""
COMMANDS = {
    "hw": ("knoop-hw", "--config", "node.toml", "--socket", "board.sock", "--state", "hw"),
    "agent": ("knoop", "run", "--config", "node.toml", "--board", "board.sock"),
}
FORKED = {"hw": "hw", "agent": "node"}
UP = {"hw": "the board is open", "agent": "greenhouse is up"}
NONE = 27  # a line that is not there: `law` names one more than it has rows, and seldom opens it
BEAT_S = 0.1  # of the stand-in: the agent that comes back has its own 0.5 s


class Pair:
    """`pins` are its own; other pairs have others. Blocks the event loop: give each a thread."""

    slack_s = 1.0  # programs are ten times slower here, and two of them share a core

    def __init__(self, guest: Guest, lines: Lines, folder: str, numbers: Sequence[int]) -> None:
        self.pins = tuple(f"GPIO{number}" for number in (*numbers, NONE))
        self._guest, self._lines, self._numbers, self._folder = guest, lines, numbers, folder
        self._programs: dict[Half, Program] = {}
        self._starts = {"hw": 0, "agent": 0}
        self._upgrades = 0
        guest.write(f"{folder}/password", "secret", mode=0o600)
        guest.write(f"{folder}/hw/.keep", "")

    # ── law.Rig ──

    async def begin(self, tables: str) -> None:
        await self.stop("hw")
        self._guest.run("/bin/busybox", "rm", "-rf", f"{self._folder}/hw/")
        self._write(tables)

    async def start(self, half: Half) -> None:
        if self._runs(half):
            return
        self._starts[half] += 1
        log = f"{self._folder}/{half}.log"
        program = self._guest.start(
            *COMMANDS[half], half=FORKED[half], cwd=self._folder, log=log, XDG_STATE_HOME=f"{self._folder}/state"
        )
        self._programs[half] = program
        program.says(UP[half], times=self._starts[half])

    async def stop(self, half: Half) -> None:
        if self._runs(half):
            self._programs[half].signal(signal.SIGTERM)
            code = self._programs[half].wait()
            assert code == 0, self._programs[half].log

    async def kill(self, half: Half) -> None:
        self._programs[half].signal(signal.SIGKILL)
        self._programs[half].wait()
        if half == "hw":
            code, said = self._guest.run(*COMMANDS["hw"], "--safe", half="hw", cwd=self._folder)
            assert code == 0, said
        else:  # five kills in a row make it start in safe mode (docs/adr/0043), and here they are the plan's
            self._guest.run("/bin/busybox", "rm", "-f", f"{self._folder}/state/knoop/starts.json")

    async def pause(self, half: Half, for_s: float) -> None:
        self._programs[half].signal(signal.SIGSTOP)
        time.sleep(for_s)  # the event itself lasts so long
        self._programs[half].signal(signal.SIGCONT)

    async def upgrade(self, half: Half) -> None:
        if half == "agent":
            await self.stop("agent")
            await self.start("agent")
            return
        self._upgrades += 1
        self._guest.write(f"/{SITE}/knoop_hw/new{self._numbers[0]}.py", f"NEW = {self._upgrades}\n")
        self._tell("hw", signal.SIGUSR2, "upgrade: ")
        if "leaving" in self._programs["hw"].log.splitlines()[-1]:
            self._programs["hw"].wait()
            await self.start("hw")

    async def reload(self, half: Half, tables: str) -> None:
        self._write(tables)
        self._tell(half, signal.SIGHUP, "reload: ")

    async def set(self, name: str, value: bool) -> None:
        self.arm({name: value})

    async def cut(self, for_s: float) -> None:
        raise NotImplementedError("the server is away all the time")

    async def wait(self, for_s: float) -> None:
        time.sleep(for_s)  # the event itself lasts so long

    def now_s(self) -> float:
        return time.monotonic()

    async def moves(self) -> Sequence[Move]:
        return [Move(change.at_s, f"GPIO{change.line}", change.level) for change in self._lines.changes()
                if change.line in self._numbers]  # fmt: skip

    # ── and more ──

    def level(self, index: int) -> bool:
        """What its line of this index shows outside."""
        return self._lines.level(self._numbers[index])

    def arm(self, values: dict[str, bool]) -> None:
        """Set outputs, with the agent's place given back to it: it has connected, and beats."""
        agent = self._programs["agent"]
        agent.signal(signal.SIGSTOP)
        seam = Seam(self._guest, f"{self._folder}/board.sock", beat_s=BEAT_S)
        try:
            for name, value in values.items():
                answer = seam.set(name, value)
                assert answer["m"] == "done", answer
        finally:
            agent.signal(signal.SIGCONT)
        seam.wait_replaced()
        seam.close()

    def close(self) -> None:
        """End both, whatever they are doing."""
        for half in ("agent", "hw"):
            if self._runs(half):
                self._programs[half].signal(signal.SIGCONT)
                self._programs[half].signal(signal.SIGTERM)
                self._programs[half].wait()
            log = self._guest.read(f"{self._folder}/{half}.log") if self._starts[half] else ""
            assert "Traceback" not in log, log

    def _runs(self, half: Half) -> bool:
        return half in self._programs and self._programs[half].code is None

    def _write(self, tables: str) -> None:
        self._guest.write(f"{self._folder}/node.toml", NODE + tables)

    def _tell(self, half: Half, number: signal.Signals, answer: str) -> None:
        program = self._programs[half]
        before = program.log.count(answer)
        program.signal(number)
        program.says(answer, times=before + 1)
