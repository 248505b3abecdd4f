"""Two processes: `knoop-hw` with the board, `knoop run --board` with the server, and what happens when one is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tests.integration.running import AGENT, BOARD, HARDWARE, SCENARIO, TICKING, Running, Way, environment, until
from tests.integration.two import Halves, own_code, renew_code

from knoop_bench.prosody import Prosody
from knoop_bench.witness import EVENTS, READINGS

pytestmark = pytest.mark.prosody

AIR = '\n[sensor.air]\ndriver = "simulated"\nevery = "50ms"\n'
BELL = '\n[output.bell]\npin = "GPIO5"\n'
AWAY = "the hardware half is away"
OPEN = "the board is open"
TAKEN = "reload: the new configuration is taken"


class Observed(Halves):
    """With a look at every reading that its owner got, and at those on the agent's disk."""

    def seen(self, channel: str) -> list[tuple[str, int]]:
        """(run, seq) of each reading of a channel that its owner got as an item, in order."""
        items = [item for item in self.owner.items if item.node in {READINGS, EVENTS} and item.payload is not None]
        return [
            (item.payload.get("run"), int(child.get("seq")))
            for item in items for child in item.payload if child.get("channel") == channel
        ]  # fmt: skip

    def whole(self, channel: str) -> dict[str, int]:
        """Run → the last number that its owner got of it, after looking that none is missing and none came twice.

        The first ones of the first run may have been published before the owner was subscribed to them.
        """
        runs: dict[str, list[int]] = defaultdict(list)
        for run, seq in self.seen(channel):
            runs[run].append(seq)
        for run, seqs in runs.items():
            first = min(seqs) if run == next(iter(runs)) else 1
            assert sorted(seqs) == list(range(first, first + len(seqs))), (channel, run, seqs)
        return {run: max(seqs) for run, seqs in runs.items()}

    async def more(self, channel: str, count: int) -> None:
        """Wait for so many further readings of a channel."""
        wanted = len(self.seen(channel)) + count
        await until(lambda: len(self.seen(channel)) >= wanted, lambda: self.agent.log + self.hw.log)

    def stored(self) -> dict[str, list[int]]:
        """Channel → the numbers of its readings that are on the agent's disk."""
        found: dict[str, list[int]] = defaultdict(list)
        with sqlite3.connect(f"file:{self.agent.folder}/state/knoop/readings.db?mode=ro", uri=True) as db:
            all_of_them = "SELECT channel, seq FROM reading r JOIN series s ON s.id = r.series ORDER BY r.id"
            for channel, seq in db.execute(all_of_them):
                found[channel].append(seq)
        db.close()
        return found

    def safe(self, channel: str, stored: dict[str, list[int]]) -> set[int]:
        """The numbers that are on the disk, each of them once, or at the server, which is as good (docs/adr/0025).

        What was published before the owner was subscribed is taken to be there.
        """
        assert len(stored[channel]) == len(set(stored[channel]))
        seen = [seq for _, seq in self.seen(channel)]
        return {*range(1, min(seen, default=1)), *seen, *stored[channel]}


@pytest.fixture
async def halves(prosody: Prosody, account, witness, tmp_path) -> AsyncIterator[Any]:
    """`async with halves(board=…) as both:` nothing runs yet; what runs at the end is stopped."""

    @asynccontextmanager
    async def make(*, way: Way | None = None, **more: Any) -> AsyncIterator[Observed]:
        device, anna = account("greenhouse"), account("anna")
        config = {"jid": device.jid, "password": device.password, "people": {anna.jid: '"owner"'}, "board": BOARD}
        owner = await witness(anna, friends=[device.jid])
        hw, agent = Running(tmp_path, command=HARDWARE), Running(tmp_path, command=AGENT)
        both = Observed(
            hw=hw, agent=agent, owner=owner, jid=device.jid, way=way or Way.to(prosody), config=config | more
        )
        both.write()
        try:
            yield both
        finally:
            for half in (agent, hw):
                await half.stop()
                assert "Traceback" not in half.log, half.log

    return make


# ── starting and stopping ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_both_start_and_the_lamp_obeys_and_each_ends_by_itself(halves):
    async with halves() as both:
        await both.start()
        await both.asks("lamp on", "Lamp is on")
        assert both.hw.moves() == [True]
        assert await both.agent.stop() == 0
        assert both.hw.moves() == [True], "the agent goes and no output notices"
        assert await both.hw.stop(signal.SIGINT) == 0
        assert both.hw.moves() == [True, False]
        assert not (both.hw.folder / "knoop/board.sock").exists()


async def test_the_agent_waits_for_the_hardware_half_before_it_logs_in(halves):
    async with halves() as both:
        both.agent.start()
        await both.agent.says("waiting for the hardware half: ")
        assert "knoop/board.sock: No such file or directory" in both.agent.log
        assert "connected as" not in both.agent.log
        both.hw.start()
        await both.online()
        assert "the hardware half is there: run " in both.agent.log
        await both.asks("lamp on", "Lamp is on")


async def test_an_agent_that_waits_can_be_stopped_and_reloaded(halves):
    async with halves() as both:
        both.agent.start()
        await both.agent.says("waiting for the hardware half")
        both.write(board=BOARD.replace("Front door", "Back door"))
        both.agent.tell(signal.SIGHUP)
        await both.agent.says("node.toml is taken")
        assert await both.agent.stop() == 0
        assert "connected as" not in both.agent.log


async def test_what_is_wrong_ends_the_hardware_half_with_its_exit_code(halves):
    async with halves() as both:
        both.write(board=BOARD.replace("GPIO27", "GPIO99"))
        both.hw.start()
        assert await both.hw.ended() == 78
        assert "output.lamp.pin: expected a line" in both.hw.log
        both.write(board=BOARD + '[input.gate]\npin = "GPIO2"\npull = "down"\n')
        both.hw.start()
        assert await both.hw.ended() == 74
        assert "input.gate: GPIO2 has a resistor that pulls it up" in both.hw.log
        both.write(board=BOARD, more='[nonsense]\nkey = "what only the agent may judge"\n')
        both.hw.start()
        await both.hw.says(OPEN)
        other = Running(both.hw.folder, command=(*HARDWARE, "--state", "elsewhere"))
        other.start()
        assert await other.ended() == 74
        assert "board.sock is another knoop-hw's, which is running; stop it" in other.log


async def test_systemd_may_open_the_socket_and_keeps_it(halves, tmp_path):
    """LISTEN_FDS as systemd does it: an agent that comes before the half is there is in the queue."""
    path = tmp_path / "knoop/board.sock"
    path.parent.mkdir()
    start = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def activate() -> subprocess.Popen[bytes]:
            def third() -> None:
                os.dup2(listening.fileno(), 3)

            with (tmp_path / "hardware.log").open("ab") as log:
                return subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", start, *HARDWARE, "--config", "node.toml"],
                    cwd=tmp_path, env=environment(tmp_path) | {"LISTEN_FDS": "1"}, stdout=log, stderr=log,
                    pass_fds=(3,), preexec_fn=third,  # noqa: PLW1509 -- there is no other way to number 3
                )  # fmt: skip

        async with halves() as both:
            both.agent.start()
            both.hw._process = activate()
            await both.online()
            await both.asks("lamp on", "Lamp is on")
            assert await both.hw.stop() == 0
            assert path.exists(), "it is systemd's"
            await both.agent.says("waiting for the hardware half")
            both.hw._process = activate()
            await both.agent.says("the hardware half is there")
            await both.asks("lamp on", "Lamp is on")
            assert both.hw.moves() == [True, False, True]


async def test_both_tell_systemd_how_they_are(halves, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        said: list[str] = []

        async def heard(*wanted: str) -> None:
            async with asyncio.timeout(15):
                for text in wanted:
                    while not any(text in line for line in said):
                        said.append((await asyncio.get_running_loop().sock_recv(systemd, 4096)).decode())
                    del said[: next(number for number, line in enumerate(said) if text in line) + 1]

        before = ("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}")
        async with halves() as both:
            both.hw._before = before
            both.hw.start()
            await heard("READY=1\nSTATUS=open", "WATCHDOG=1", "WATCHDOG=1")
            both.hw.tell(signal.SIGHUP)
            await heard("RELOADING=1\nMONOTONIC_USEC=", "READY=1")
            assert await both.hw.stop() == 0
            await heard("STOPPING=1")
            both.agent._before = before
            both.agent.start()
            await heard("STATUS=waiting for the hardware half: ", "READY=1\nWATCHDOG=1")
            both.hw._before = ()
            both.hw.start()
            await heard("STATUS=both halves are up", "READY=1", "WATCHDOG=1")
            assert await both.hw.stop(signal.SIGKILL) != 0
            await heard("STATUS=waiting for the hardware half: ", "WATCHDOG=1")


# ── one of them is away ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_while_the_hardware_half_is_away_wishes_are_refused_at_once_and_the_status_says_so(halves, how):
    async with halves() as both:
        await both.start()
        await both.asks("lamp on", "Lamp is on")
        await both.hw.stop(how)
        await both.agent.says("waiting for the hardware half")
        await both.asks("lamp off", "Lamp stays as it is: the hardware half is away. Try again when it is back.")
        status = await both.asks("status", f"🟠 greenhouse: {AWAY}.")
        assert "The hardware half has been away for" in status
        assert "these are the last values" in await both.asks("read", "Front door")
        both.hw.start()
        await both.agent.says("the hardware half is there")
        await both.asks("lamp on", "Lamp is on")
        assert AWAY not in await both.asks("status", "🟢")
        assert both.agent.log.count("connected as") == 1, "it stayed online"
        assert both.hw.moves() == [True, False, True]


async def test_a_wish_that_met_a_half_that_hung_never_acts(halves):
    async with halves() as both:
        await both.start()
        await both.asks("lamp off", "Lamp is off")
        both.hw.tell(signal.SIGSTOP)
        try:
            await both.asks("lamp on", "Lamp could not be set: its device does not answer")
        finally:
            both.hw.tell(signal.SIGCONT)
        await both.hw.says("asked too long ago")
        await both.asks("lamp", "Lamp is off")
        assert both.hw.moves() == []
        await both.asks("lamp on", "Lamp is on")


async def test_a_wish_that_the_half_took_to_its_grave_is_not_waited_for(halves):
    async with halves() as both:
        await both.start()
        both.hw.tell(signal.SIGSTOP)
        after = both.owner.mark
        both.owner.say(both.jid, "lamp on")
        await both.told("", after=after)  # it is being read
        both.hw.tell(signal.SIGKILL)
        await both.owner.wait(lambda seen: "hardware half" in seen.body, after=after)  # went away, or is away


async def test_a_beat_says_that_the_agent_lives_and_its_death_lets_go(halves):
    board = BOARD + 'initial = "on"\ndead_man = "1s"\n'
    async with halves(board=board) as both:
        await both.start()
        both.agent.tell(signal.SIGHUP)
        await both.agent.says("nothing changed")
        both.write(board=board, people=both.config["people"] | {"bram@localhost": '"viewer"'})
        both.agent.tell(signal.SIGHUP)
        await both.online(times=2)
        assert both.hw.moves() in ([True], [True, False]), "before the first beat it may have let go"
        await both.asks("lamp on", "Lamp is on")
        before = both.hw.moves()
        await both.agent.stop(signal.SIGKILL)
        await until(lambda: both.hw.moves() == [*before, False], lambda: both.hw.log)


# ── no reading is lost, none comes twice ──────────────────────────────────────────────────────────────────────────────


async def test_restarts_of_the_agent_lose_and_double_nothing(halves):
    """Stopped, it leaves nothing half done; killed, what it had taken comes again and is known."""
    async with halves(board=BOARD + AIR, scenario=TICKING) as both:
        await both.start()
        await both.more("air.temperature", 20)
        for number in range(3):
            assert await both.agent.stop() == 0
            both.agent.start()
            await both.online(times=number + 2)
            await both.more("air.temperature", 20)
            await both.more("door", 2)
        await both.hw.stop()
        await both.more("door", 0)
        both.agent.tell(signal.SIGTERM)
        await both.agent.ended()
        stored = both.stored()
        assert len(both.whole("air.temperature")) == 1
        assert len(both.whole("door")) == 1
        for channel in ("air.temperature", "door"):
            assert stored[channel] == list(range(1, len(stored[channel]) + 1))
            assert sum(both.whole(channel).values()) >= len(stored[channel]) - 60  # the rest waits in the outbox


async def test_an_agent_that_is_killed_loses_nothing(halves):
    async with halves(board=BOARD + AIR, scenario=TICKING) as both:
        await both.start()
        for number in range(3):
            await both.more("air.temperature", 20)
            await both.agent.stop(signal.SIGKILL)
            both.agent.start()
            await both.online(times=number + 2)
        await both.more("door", 2)
        await both.more("air.temperature", 20)
        await both.hw.stop()
        assert await both.agent.stop() == 0
        stored = both.stored()
        for channel in ("door", "air.temperature", "air.humidity"):
            assert both.safe(channel, stored) == set(range(1, max(stored[channel]) + 1)), "none is missing"
        seen = [seq for _, seq in both.seen("air.temperature")]
        assert set(range(min(seen), max(seen) + 1)) == set(seen), "the reader missed none"


async def test_a_restart_of_the_hardware_half_hands_over_everything_first(halves):
    """At its end it waits until what it measured is safe, the last transitions of its outputs included."""
    async with halves(board=BOARD + AIR, scenario=TICKING) as both:
        await both.start()
        for number in range(3):
            await both.asks("lamp on", "Lamp is on")
            await both.more("air.temperature", 10)
            assert await both.hw.stop() == 0
            both.hw.start()
            await both.agent.says("the hardware half is there", times=number + 1)
        assert "may be lost" not in both.hw.log
        await both.more("door", 2)
        await both.more("air.temperature", 10)
        runs = both.whole("air.temperature")
        assert len(runs) == 4
        assert len(both.whole("door")) == 4
        lamp = both.whole("lamp")
        assert list(lamp.values())[:3] == [3, 3, 3], "off at the start, on, and off at the end"
        assert both.agent.log.count("connected as") == 1


async def test_what_a_killed_half_wrote_is_still_read_by_an_agent_that_was_slow(halves):
    async with halves(board=BOARD + AIR, scenario=SCENARIO) as both:
        await both.start()
        await both.more("air.temperature", 5)
        both.agent.tell(signal.SIGSTOP)
        before = len(both.seen("air.temperature"))
        await asyncio.sleep(3)  # 60 of them
        await both.hw.stop(signal.SIGKILL)
        both.agent.tell(signal.SIGCONT)
        both.hw.start()
        await both.agent.says("the hardware half is there")
        await until(lambda: len(both.whole("air.temperature")) == 2, lambda: both.agent.log)
        first, _ = both.whole("air.temperature").values()
        assert first >= before + 20, "what was written while the agent could not read"


async def test_ten_thousand_readings_wait_for_an_agent(halves):
    """As many as the hardware half keeps; the agent that takes them is killed on the way."""
    names = [f"s{number}" for number in range(30)]
    board = BOARD + "".join(f'[sensor.{name}]\ndriver = "simulated"\nevery = "50ms"\n' for name in names)
    weather = "temperature = 20\nhumidity = 50\npressure = 1000\nco2 = 500\n"
    scenario = SCENARIO + "".join(f"[sensor.{name}]\n{weather}" for name in names)
    scenario += "".join(f'[[step]]\nat = "4s"\nsensor = "{name}"\nerror = "EIO"\nfor = "1h"\n' for name in names)
    async with halves(board=board, scenario=scenario) as both:
        both.hw.start()
        await both.hw.says("it is tried again", times=len(names), within_s=40)
        both.agent.start()
        await both.online()
        await both.owner.wait(lambda seen: any(item.node == READINGS for item in seen.items), 20)
        await both.agent.stop(signal.SIGKILL)
        both.agent.start()
        await both.online(times=2)
        channels = {f"{name}.{what}" for name in names for what in ("temperature", "humidity", "pressure", "co2")}

        def whole() -> bool:
            stored = both.stored()
            return channels <= stored.keys() and all(
                both.safe(channel, stored) >= set(range(1, max(stored[channel]) + 1)) for channel in channels
            )

        await until(whole, lambda: both.agent.log, 40)
        assert await both.hw.stop() == 0
        assert "may be lost" not in both.hw.log
        stored = both.stored()
        safe = [both.safe(channel, stored) for channel in channels]
        assert all(numbers == set(range(1, len(numbers) + 1)) for numbers in safe)
        assert 6_000 < sum(map(len, safe)) < 10_000


# ── another configuration, new code ───────────────────────────────────────────────────────────────────────────────────


async def test_each_half_reloads_for_itself(halves):
    async with halves() as both:
        await both.start()
        await both.asks("lamp on", "Lamp is on")
        both.write(board=BOARD + BELL)
        both.agent.tell(signal.SIGHUP)
        await both.agent.says("node.toml is taken")
        await both.online(times=2)
        assert both.hw.moves() == [True]
        assert "configuration" not in both.hw.log
        await both.agent.says("node.toml: the hardware half has no bell: ")
        both.hw.tell(signal.SIGHUP)
        await both.hw.says(TAKEN)
        await both.agent.says("the hardware half has other channels")
        await both.online(times=3)
        await both.asks("bell on", "Bell is on")
        await both.asks("lamp", "Lamp is on")
        assert (both.hw.moves(), both.hw.moves("bell")) == ([True], [True])
        assert both.agent.log.count("the hardware half has no") == 1
        both.hw.tell(signal.SIGHUP)
        await both.hw.says("reload: nothing changed")
        both.write(board=BOARD.replace("GPIO27", "GPIO99") + BELL)
        both.hw.tell(signal.SIGHUP)
        await both.hw.says("the new configuration is not taken; the old one stays")
        assert "output.lamp.pin: expected a line" in both.hw.log
        await both.asks("lamp", "Lamp is on")
        assert both.hw.moves() == [True]
        assert both.agent.log.count("connected as") == 3


async def test_other_channels_after_a_restart_are_taken_over(halves):
    async with halves() as both:
        await both.start()
        await both.hw.stop()
        both.write(board=BOARD + BELL)
        both.hw.start()
        await both.agent.says("the hardware half has other channels")
        await both.online(times=2)
        await both.asks("bell on", "Bell is on")


async def test_a_reload_with_a_dead_man_lets_nothing_go(halves):
    board = BOARD + 'dead_man = "1s"\n'
    async with halves(board=board) as both:
        await both.start()
        await both.asks("lamp on", "Lamp is on")
        both.write(board=board + BELL)
        both.hw.tell(signal.SIGHUP)
        await both.hw.says(TAKEN)
        await both.online(times=2)
        both.agent.tell(signal.SIGHUP)
        await both.online(times=3)
        await both.asks("lamp", "Lamp is on")
        assert both.hw.moves() == [True]


async def test_a_file_that_is_none_holds_up_no_end(halves):
    """A pipe that nobody writes to: the reload waits, the outputs do not."""
    async with halves(board=BOARD + 'initial = "on"\n') as both:
        both.hw.start()
        await both.hw.says(OPEN)
        (both.hw.folder / "node.toml").unlink()
        os.mkfifo(both.hw.folder / "node.toml")
        both.hw.tell(signal.SIGHUP)
        writer = None
        async with asyncio.timeout(20):
            while writer is None:  # it can be opened for writing once somebody reads
                with suppress(OSError):
                    writer = os.open(both.hw.folder / "node.toml", os.O_WRONLY | os.O_NONBLOCK)
                await asyncio.sleep(0.01)
        try:
            assert await both.hw.stop() == 0
        finally:
            os.close(writer)
        assert both.hw.moves() == [True, False]


async def test_new_code_is_started_when_no_output_would_notice(halves, tmp_path):
    async with halves() as both:
        both.hw._before = own_code(tmp_path)
        await both.start()
        both.hw.tell(signal.SIGUSR2)
        await both.hw.says("upgrade: the hardware half's code is as it was; staying")
        renew_code(tmp_path)
        await both.asks("lamp on", "Lamp is on")
        both.hw.tell(signal.SIGUSR2)
        await both.hw.says("upgrade: a restart would move lamp; the new code is used from the next start on")
        assert both.hw.moves() == [True]
        await both.asks("lamp off", "Lamp is off")
        both.hw.tell(signal.SIGUSR2)
        assert await both.hw.ended() == 0
        assert both.hw.moves() == [True, False]
        both.hw.start()
        await both.agent.says("the hardware half is there")
        await both.asks("lamp on", "Lamp is on")
