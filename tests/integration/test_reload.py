"""SIGHUP: the real program takes another node.toml while it runs, or says why not and goes on as it was."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.integration.running import BOARD, TICKING, Owned, Running, Way, until, write
from tests.integration.running import running as started

from knoop_bench.prosody import Prosody
from knoop_bench.witness import READINGS

pytestmark = pytest.mark.prosody

AIR = '\n[sensor.air]\ndriver = "simulated"\nevery = "50ms"\n'
BELL = '\n[output.bell]\npin = "GPIO5"\n'
TAKEN = "node.toml is taken"
KEPT = "the new configuration is not taken"


@dataclass(slots=True, kw_only=True)
class Reloading(Owned):
    """A running node, its owner, and what is in its file."""

    node: Running
    way: Way
    config: dict[str, Any]

    def write(self, **more: Any) -> None:
        self.config |= more
        write(self.node.folder, self.way, **self.config)

    async def reload(self, says: str = TAKEN) -> None:
        """SIGHUP, and the sentence in the log that ends it once more than before; its owner sees it back."""
        before, after = self.node.log.count(says), self.owner.mark
        up = self.node.log.count("connected as")
        self.node.tell(signal.SIGHUP)
        await self.node.says(says, times=before + 1)
        if says == TAKEN:
            await self.node.online(times=up + 1)
            gone = await self.shows("unavailable", after=after)
            await self.shows("", after=gone.number + 1)


@pytest.fixture
async def running(prosody: Prosody, account, witness, tmp_path) -> AsyncIterator[Any]:
    """`async with running(board=…) as reloading:` a node that is logged in, and its owner, who sees it."""

    @asynccontextmanager
    async def start(board: str = BOARD, *, before: tuple[str, ...] = (), **more: Any) -> AsyncIterator[Reloading]:
        device, anna = account("greenhouse"), account("anna")
        config = {"jid": device.jid, "password": device.password, "people": {anna.jid: '"owner"'}, "board": board}
        owner = await witness(anna, friends=[device.jid])
        node, config = Running(tmp_path, before=before), config | more
        made = Reloading(node=node, owner=owner, jid=device.jid, way=Way.to(prosody), config=config)
        made.write()
        made.node.start()
        try:
            await made.node.online()
            await owner.wait(lambda seen: seen.kind == "presence" and seen.sender.endswith("/knoop"))
            yield made
        finally:
            assert await made.node.stop() == 0, made.node.log
            assert "Traceback" not in made.node.log, made.node.log

    return start


async def test_what_is_wrong_changes_nothing_and_the_owners_are_told(running, account, witness):
    bram = account("bram")
    async with running() as node:
        node.write(people=node.config["people"] | {bram.jid: '{ role = "owner", lang = "nl" }'})
        await node.reload()
        seeing = await witness(bram, friends=[node.jid])
        await node.asks("lamp on", "Lamp is on")
        node.write(board=BOARD.replace("GPIO27", "GPIO99") + "\n[input.bell]\npul = 3\n")
        await node.reload(KEPT)
        await node.told("The new node.toml was not taken: 3 problems, see the log. I go on with the old one.")
        await seeing.wait(lambda seen: seen.body.startswith("Ik heb de nieuwe node.toml niet overgenomen: 3 problemen"))
        for problem in ("output.lamp.pin: expected a line", "input.bell.pul: unknown key", "'pin' is missing"):
            assert node.node.log.count(problem) == 1
        assert node.node.moves() == [True]
        assert node.node.log.count("connected as") == 2
        (node.node.folder / "node.toml").write_text("[node\n", "utf-8")
        await node.reload(KEPT)
        await node.told("The new node.toml was not taken: 1 problem, see the log.")
        (node.node.folder / "password").unlink()
        node.write(board=BOARD)
        (node.node.folder / "password").unlink()
        await node.reload(KEPT)
        assert "does not exist; put the account's password into it" in node.node.log
        node.write()
        await node.reload("nothing changed")
        await node.asks("lamp", "Lamp is on")
        assert node.node.log.count("connected as") == 2


async def test_labels_people_and_alerts_take_effect(running, account, witness):
    async with running() as node:
        bram = account("bram")
        await node.asks("lamp on", "Lamp is on")
        people = node.config["people"] | {bram.jid: '{ role = "viewer", lang = "nl" }'}
        rule = '[alert.burning]\nwhen = "lamp == on"\nseverity = "critical"\n'
        board = BOARD.replace("Front door", "Back door").replace('"Lamp"', '"Desk lamp"')
        node.write(board=board, people=people, more=rule)
        after = node.owner.mark
        await node.reload()
        await node.told("Critical alert burning: Desk lamp is on", after=after)
        await node.asks("door", "Back door is closed")
        seeing = await witness(bram, friends=[node.jid])
        await seeing.wait(lambda seen: seen.kind == "presence" and seen.sender == f"{node.jid}/knoop", 15)
        seeing.say(node.jid, "lamp")
        await seeing.wait(lambda seen: seen.body.startswith("Desk lamp is aan"))
        assert node.node.moves() == [True], "a label is no reason to move"
        node.write(more="")
        await node.reload()
        await node.asks("status", "")
        node.write(people={next(iter(people)): '"owner"'})
        await node.reload()
        assert "bram" not in await node.asks("who", "")


async def test_a_lamp_whose_table_stays_does_not_notice_and_its_time_goes_on(running):
    async with running() as node:
        await node.asks("lamp on for 4 s", "Lamp is on")
        node.write(board=BOARD.replace('label = "Front door"', 'debounce = "50ms"') + BELL)
        await node.reload()
        node.write(board=BOARD + BELL)
        await node.reload()
        await node.asks("bell on", "Bell is on")
        assert node.node.moves("bell") == [True]
        await until(lambda: node.node.moves() == [True, False], lambda: node.node.log)
        await until(lambda: "lamp: set to False by lease" in node.node.log, lambda: node.node.log)
        node.write(board=BOARD)
        await node.reload()
        assert node.node.moves("bell") == [True, False], "named no more: left safe"


async def test_a_lamp_whose_own_table_changes_moves_exactly_so(running):
    async with running() as node:
        await node.asks("lamp on", "Lamp is on")
        node.write(board=BOARD + "active_low = true\n")
        await node.reload()
        assert node.node.moves() == [True, False, True]  # safe, and then off the other way round
        await node.asks("lamp on", "Lamp is on")
        assert node.node.moves() == [True, False, True, False]


async def test_a_new_password_that_is_refused_changes_nothing(running):
    async with running() as node:
        await node.asks("lamp on", "Lamp is on")
        password = node.config["password"]
        node.write(password="wrong", board=BOARD + "active_low = true\n")
        await node.reload(KEPT)
        assert f"wrong password for {node.jid}" in node.node.log
        await node.told("The new node.toml was not taken: 1 problem")
        await node.asks("lamp", "Lamp is on")
        assert node.node.log.count("connected as") == 1
        assert node.node.moves() == [True]
        node.write(password=password, board=BOARD)
        await node.reload("nothing changed")


async def test_what_acted_before_a_reload_does_not_act_again_behind_it(running):
    async with running() as node:
        form = "<command xmlns='http://jabber.org/protocol/commands' node='unwatch'/>"
        unwatch = f"<iq to='{node.jid}/knoop' type='set' id='twice'>{form}</iq>"
        node.owner.say(node.jid, "lamp on", id="once")
        await node.told("Lamp is on")
        await node.asks("lamp off", "Lamp is off")
        node.owner.send_raw(unwatch)
        await node.owner.wait(lambda seen: seen.kind == "iq" and seen.xml.get("id") == "twice")
        await node.asks("watch door", "I tell you")
        node.write(board=BOARD.replace("Front door", "Back door"))
        await node.reload()
        node.owner.say(node.jid, "lamp on", id="once")
        after = node.owner.mark
        node.owner.send_raw(unwatch)
        await node.owner.wait(lambda seen: seen.kind == "iq" and seen.xml.get("id") == "twice", after=after)
        await node.asks("unwatch", "Stopped watching 1 value")
        await node.asks("lamp", "Lamp is off")
        assert node.node.moves() == [True, False]


async def test_a_ca_file_that_was_broken_meanwhile_changes_nothing(running, prosody):
    """Its name is as before, so nothing says that the account changed; the next login reads it all the same."""
    async with running() as node:
        own = node.node.folder / "ca.pem"
        own.write_bytes(prosody.ca_file.read_bytes())
        node.way = Way(node.way.port, own)
        node.write()
        await node.reload()
        own.write_text("no certificate", "utf-8")
        node.write(board=BOARD.replace("Front door", "Back door"))
        await node.reload(KEPT)
        assert "is no CA certificate that can be read" in node.node.log
        await node.asks("door", "Front door is closed")


@pytest.mark.parametrize("name", ["password", "node.toml"])
async def test_a_file_that_is_none_keeps_nobody_waiting(running, name):
    """A pipe that nobody writes to would hold the reload, and then the end, for ever."""
    async with running() as node:
        (node.node.folder / name).unlink()
        os.mkfifo(node.node.folder / name, 0o600)
        await node.reload(KEPT)
        await node.asks("door", "Front door is closed")


async def test_a_line_that_does_not_open_takes_everything_back(running):
    async with running() as node:
        await node.asks("lamp on", "Lamp is on")
        after = node.owner.mark
        moved = BOARD.replace('pin = "GPIO17"', 'pin = "GPIO2"\npull = "down"').replace("Front door", "Back door")
        node.write(board=moved + BELL)
        await node.reload(KEPT)
        await node.told("The new node.toml was not taken: 1 problem", after=after)
        assert "input.door: GPIO2 has a resistor that pulls it up" in node.node.log
        await node.asks("door", "Front door is closed")
        await node.asks("lamp", "Lamp is on")
        assert (node.node.moves(), node.node.moves("bell")) == ([True], [])


async def test_twenty_reloads_lose_no_reading_tell_nothing_twice_and_leak_nothing(running):
    """Readings as items, events as sentences: both without a gap and without a repeat."""
    async with running(board=BOARD + AIR, scenario=TICKING) as node:
        open_now, process = [], Path(f"/proc/{node.node.pid}")
        for number in range(20):
            node.write(board=BOARD.replace("Lamp", f"Lamp {number}") + AIR)
            await node.told("Front door is", after=node.owner.mark)  # at once: what is being sent is on its way
            await node.reload()
            if number in {4, 19}:
                await node.owner.wait(lambda seen: bool(seen.items), after=node.owner.mark)
                open_now.append([len(list((process / what).iterdir())) for what in ("fd", "task")])
        (files, threads), (files_after, threads_after) = open_now
        assert files_after <= files + 1, "a file or socket is left open by a reload"
        assert threads_after <= threads + 1, "a thread is left behind by a reload"
        await node.told("Front door is", after=node.owner.mark)
        items = [item for item in node.owner.items if item.node == READINGS and item.payload is not None]
        told = [
            (item.payload.get("run"), child.get("channel"), int(child.get("seq")))
            for item in items for child in item.payload
        ]  # fmt: skip
        assert len(told) == len(set(told))
        in_order = [seq for _, channel, seq in told if channel == "air.temperature"]
        assert in_order == list(range(in_order[0], in_order[0] + len(in_order)))
        assert len({run for run, channel, _ in told if channel == "air.temperature"}) == 1
        assert len(in_order) >= 100
        said = [seen.id for seen in node.owner.seen if seen.body.startswith("Front door is")]
        assert len(said) == len(set(said)) >= 10
        numbers = [int(identity.rpartition("-")[2]) for identity in said]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_told_to_stop_amid_a_reload_it_stops(running):
    async with running(board=BOARD + 'dead_man = "1s"\n') as node:
        await node.asks("lamp on", "Lamp is on")
        node.write(board=BOARD + 'dead_man = "1s"\n' + BELL)
        for _ in range(5):
            node.node.tell(signal.SIGHUP)
        await node.node.says(TAKEN)
        assert await node.node.stop() == 0
        assert node.node.moves() == [True, False]


async def test_a_dead_man_holds_on_while_a_server_that_hangs_delays_the_reload(serve, tmp_path):
    """The old agent says good-bye for 2 s: longer than the dead man waits for a beat."""
    server = await serve(accounts={"greenhouse": "secret"})
    board = BOARD + 'initial = "on"\ndead_man = "1s"\n'
    write(tmp_path, Way.to(server), jid=server.jid("greenhouse"), board=board)
    async with started(tmp_path) as node:
        await node.online()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            write(tmp_path, Way.to(server), jid=server.jid("greenhouse"), board=board.replace("Front", "Back"))
            node.tell(signal.SIGHUP)
            await node.says(TAKEN)
            assert node.moves() == [True]
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await node.online(times=2)
        assert node.moves() == [True]


async def test_what_takes_a_start_is_refused(running):
    async with running() as node:
        await node.asks("lamp on", "Lamp is on")
        node.write(scenario="seed = 2\n")
        after = node.owner.mark
        await node.reload(KEPT)
        assert "another driver, chip or scenario takes a new start" in node.node.log
        await node.told("The new node.toml was not taken: 1 problem", after=after)
        await node.asks("lamp", "Lamp is on")
        assert node.node.moves() == [True]


async def test_systemd_hears_when_a_reload_begins_and_that_it_is_over(running, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)

        async def heard(wanted: str) -> str:
            async with asyncio.timeout(10):
                while True:
                    said = (await asyncio.get_running_loop().sock_recv(systemd, 4096)).decode()
                    if said.startswith(wanted):
                        return said
                    assert said == "WATCHDOG=1"

        async with running(before=("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}")) as node:
            await heard("READY=1")
            for board, says in ((BOARD + BELL, TAKEN), (BOARD + "x = 1", KEPT), (BOARD + BELL, "nothing changed")):
                node.write(board=board)
                earliest = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                await node.reload(says)
                said = await heard("RELOADING=1")
                moment = int(said.removeprefix("RELOADING=1\nMONOTONIC_USEC="))
                assert earliest <= moment <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                await heard("READY=1")
            assert await node.node.stop() == 0
            await heard("STOPPING=1")


async def test_an_included_file_is_read_again_as_well(running):
    async with running(board=BOARD.replace('label = "Lamp"\n', "")) as node:
        file = node.node.folder / "node.toml"
        common = node.node.folder / "common.toml"
        common.write_text('[output.lamp]\nlabel = "Desk lamp"\n', "utf-8")
        file.write_text('include = ["common.toml"]\n' + file.read_text("utf-8"), "utf-8")
        await node.reload()
        await node.asks("desk lamp on", "Desk lamp is on")
        common.write_text("[output.lamp]\nlabel = 3\n", "utf-8")
        await node.reload(KEPT)
        assert "common.toml:2: output.lamp.label: expected text in quotes, not 3" in node.node.log
        common.write_text('[output.lamp]\nlabel = "Work lamp"\n', "utf-8")
        await node.reload()
        await node.asks("work lamp", "Work lamp is on")
        assert node.node.moves() == [True]


async def test_the_agents_own_channel_comes_and_goes(running):
    """`network.signal` needs nothing of the hardware half: it is asked, watched over and published as any other."""
    table = '\n[network]\nevery = "1s"\nroot = "."\n[alert.weak]\nwhen = "network.signal < -75"\n'
    async with running() as node:
        wireless = node.node.folder / "proc/self/net/wireless"
        wireless.parent.mkdir(parents=True)
        wireless.write_text("\n\n wlan0: 0000   30.  -80.  -256        0      0      0      0     12        0\n")
        await node.asks("network", "I do not understand")
        node.write(board=BOARD + table)
        await node.reload()
        await node.told("Alert weak: network signal is −80 dBm")
        await node.asks("network", "Network signal is −80 dBm")
        await node.owner.wait(lambda seen: any(item.id.endswith("-network.signal-1") for item in seen.items))
        node.write(board=BOARD)
        await node.reload()
        await node.asks("network", "I do not understand")


async def test_a_terminal_that_goes_away_stops_the_node(running):
    """The hangup of a terminal that the node was started from is no wish for another configuration."""
    async with running() as node:
        assert await node.node.stop() == 0
        master, slave = pty.openpty()
        after = node.owner.mark
        node.node.start(terminal=slave)
        os.close(slave)
        await node.node.online(times=2)
        await node.owner.wait(lambda seen: seen.kind == "presence" and seen.sender.endswith("/knoop") and not seen.type,
                              after=after)
        await node.asks("lamp on", "Lamp is on")
        os.close(master)
        assert await node.node.ended() == 0
        assert node.node.moves() == [True, False]
        assert "reload" not in node.node.log
