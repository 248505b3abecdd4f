"""The two halves as processes, together with the owner of the node, and the law's rig that is made of them."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hw.law import Half, Move
from tests.integration.running import HARDWARE, SCENARIO, Owned, Running, Way, knoop, until, write

from knoop_bench.proxy import Proxy

ROOT = Path(__file__).parents[2]
HEAD = '\n[board]\ndriver = "simulated"\nscenario = "scenario.toml"\n'


@dataclass(slots=True, kw_only=True)
class Halves(Owned):
    """Both halves, and the owner of the node."""

    hw: Running
    agent: Running
    way: Way
    config: dict[str, Any]
    looked_at: int = 0  # up to where the owner's log has been read for presence

    def write(self, **more: Any) -> None:
        self.config |= more
        write(self.agent.folder, self.way, **self.config)

    async def start(self) -> None:
        self.hw.start()
        self.agent.start()
        await self.online()

    async def online(self, times: int = 1) -> None:
        """Wait until the agent has logged in so often in all, and its owner has seen it go and come again."""
        await self.agent.online(times=times)
        if times > 1:
            self.looked_at = (await self.shows("unavailable", after=self.looked_at)).number + 1
        self.looked_at = (await self.shows("", after=self.looked_at)).number + 1


def own_code(folder: Path) -> tuple[str, ...]:
    """What starts a hardware half whose code is a copy in `folder`, so that it can be made newer."""
    code = folder / "code"
    shutil.copytree(ROOT / "hw/knoop_hw", code / "knoop_hw", ignore=shutil.ignore_patterns("__pycache__"))
    return ("env", f"PYTHONPATH={code}")


def renew_code(folder: Path) -> None:
    with (folder / "code/knoop_hw/units.py").open("a") as file:
        file.write("# newer\n")


class TwoProcesses:
    """`law.Rig`: the simulated board's trace is the observer, the signals are real ones."""

    pins = tuple(f"GPIO{number}" for number in range(4, 28))
    slack_s = 0.6  # two cores, and other tests beside it

    def __init__(self, both: Halves, wire: Proxy) -> None:
        self._both, self._wire = both, wire
        self._number = 0
        both.hw._before = own_code(both.hw.folder)

    def _half(self, half: Half) -> Running:
        return self._both.hw if half == "hw" else self._both.agent

    async def begin(self, tables: str) -> None:
        self._number += 1
        self._both.write(board=HEAD + tables, scenario=SCENARIO)
        self._both.hw._command = (*HARDWARE, "--state", f"state-{self._number}")

    async def start(self, half: Half) -> None:
        hw, agent = self._both.hw, self._both.agent
        if half == "agent":
            up, after = agent.log.count("is up: "), self._both.owner.mark
            agent.start()
            await agent.says("is up: ", times=up + 1)
            await self._both.owner.wait(
                lambda seen: seen.kind == "presence" and seen.sender.endswith("/knoop") and not seen.type,
                15, after=after,
            )
            return
        opened, there = hw.log.count("the board is open"), agent.log.count("the hardware half is there")
        hw.start()
        await hw.says("the board is open", times=opened + 1)
        if agent._process is not None and agent.code is None:
            await agent.says("the hardware half is there", times=there + 1)

    async def stop(self, half: Half) -> None:
        await self._half(half).stop()

    async def kill(self, half: Half) -> None:
        await self._half(half).stop(signal.SIGKILL)
        if half == "hw":
            folder = self._both.hw.folder
            ended = await knoop("--safe", "--config", "node.toml", folder=folder, program=self._both.hw._command)
            assert ended.code == 0, ended.said

    async def pause(self, half: Half, for_s: float) -> None:
        self._half(half).tell(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            self._half(half).tell(signal.SIGCONT)

    async def upgrade(self, half: Half) -> None:
        if half == "hw":
            hw = self._both.hw
            renew_code(hw.folder)
            said = hw.log.count("upgrade: ")
            hw.tell(signal.SIGUSR2)
            await until(lambda: hw.log.count("upgrade: ") > said, lambda: hw.log)
            if "leaving" not in hw.log.rpartition("upgrade: ")[2]:
                return
            assert await hw.ended() == 0
        else:
            await self.stop("agent")
        await self.start(half)

    async def reload(self, half: Half, tables: str) -> None:
        process = self._half(half)
        self._number += 1
        people = self._both.config["people"] | {f"bram{self._number}@localhost": '"viewer"'}
        self._both.write(board=HEAD + tables, people=people if half == "agent" else self._both.config["people"])
        said = process.log.count("reload: ")
        process.tell(signal.SIGHUP)
        await until(lambda: process.log.count("reload: ") > said, lambda: process.log)
        assert "not taken" not in process.log, process.log

    async def cut(self, for_s: float) -> None:
        await self._wire.cut()
        await asyncio.sleep(for_s)
        await self._wire.restore()

    async def set(self, name: str, value: bool) -> None:
        word = "on" if value else "off"
        await self._both.asks(f"{name} {word}", f"{name.capitalize()} is {word}")

    async def wait(self, for_s: float) -> None:
        await asyncio.sleep(for_s)

    def now_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def moves(self) -> Sequence[Move]:
        trace = self._both.hw.folder / "board.jsonl"
        lines = trace.read_text("utf-8").splitlines() if trace.exists() else []
        entries = [json.loads(line) for line in lines]
        return [Move(entry["t_ns"] / 1e9, entry["line"], bool(entry["level"])) for entry in entries]
