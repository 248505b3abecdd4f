"""What a node loads into its memory: which modules, never how many MB; those are for `knoop bench`.

Each case is a process of its own, because what another test imported is not what a node imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from knoop_bench.meter import Meter
from knoop_bench.prosody import Prosody
from knoop_bench.stand_ins import STAND_INS
from knoop_bench.witness import EVENTS, READINGS, Witness

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "demo"
START_S = 20.0

# Not for a node: its person's terminal, its tests, its benchmarks, what is not there yet, what was not asked for.
NEVER = {
    "aiohttp", "babel", "cryptography", "difflib", "dsmr_parser", "hypothesis", "knoop_bench", "lxml", "mypy",
    "oldmemo", "omemo", "prompt_toolkit", "pymodbus", "pynmea2", "pytest", "setuptools", "twomemo", "uvloop",
}  # fmt: skip
PLUGINS = {f"xep_{number}" for number in ("0004", "0030", "0092", "0115", "0128", "0198", "0199")}  # of slixmpp
GPIO = {"gpiozero", "lgpio", "gpiod", "colorzero"}

# slixmpp colours what it logs when Pygments is there (3.3 MB). It comes with pytest and never with a node
# (test_a_node_is_installed_without_it), so these processes do without it as a node does.
AS_ON_A_NODE = """
import sys
class _Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pygments":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, _Absent())
"""
REPORT = "\nimport json; print(json.dumps(sorted(sys.modules)), flush=True)"


def loaded(code: str, *, cwd: Path = ROOT) -> set[str]:
    """The modules in memory after this code, in a fresh process; packages by their first name, too."""
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_A_NODE + code + REPORT], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return _names(done.stdout)


def _names(out: str) -> set[str]:
    names = set(json.loads(out.splitlines()[-1]))
    return names | {name.partition(".")[0] for name in names}


def test_a_node_is_installed_without_it():
    packages = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert "slixmpp" in packages
    assert not {"pygments", "pytest", "aiohttp", "lxml", "dsmr-parser"} & set(packages)


def test_help_loads_next_to_nothing():
    names = loaded("""
from knoop.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
""")
    assert not names & {*NEVER, *GPIO, "slixmpp", "sqlite3", "serial", "knoop.agent", "knoop.xmpp", "knoop_hw.board"}


def test_checking_opens_nothing_and_loads_no_line():
    names = loaded(f"""
import logging
from knoop.cli import main
main(["check", "--config", {str(DEMO / "node.toml")!r}])
""")
    assert not names & {*NEVER, *GPIO, "serial", "sqlite3", "knoop_hw.board", "knoop.agent"}


def test_the_agent_alone_loads_no_hardware_no_room_and_no_command_of_the_command_line():
    names = loaded("import knoop.agent, knoop.serve, knoop.halves")
    assert not names & {"knoop_hw.board", "knoop_hw.outputs", "knoop_hw.lines", "knoop_hw.serve"}
    assert not names & {*NEVER, *GPIO, "serial", "knoop_hw.simulated"}
    late = ("knoop_hw.sensors.", "knoop.commands.", "knoop.room", "knoop.xmpp.room", "knoop.doctor", "knoop.init")
    assert not {name for name in names if name.startswith((*late, "knoop.publishers.", "knoop.toml_schema"))}


def test_a_board_without_lines_loads_no_gpio_and_no_other_driver(tmp_path):
    """Only the drivers that the configuration names are imported."""
    names = loaded(_opening(tmp_path, '[sensor.pi]\ndriver = "system"\n'))
    assert "knoop_hw.sensors.system" in names
    assert not names & {*NEVER, *GPIO, "serial", "knoop_hw.serialport", "knoop_hw.simulated"}
    assert {name for name in names if name.startswith("knoop_hw.sensors.")} == {"knoop_hw.sensors.system"}


def test_a_simulated_board_loads_the_mock_but_no_chip(tmp_path):
    tables = '[board]\ndriver = "simulated"\n[output.lamp]\npin = "GPIO27"\n'
    names = loaded(_opening(tmp_path, tables))
    assert "gpiozero" in names
    assert not names & {*NEVER, "lgpio", "gpiod", "serial"}
    assert not {name for name in names if name.startswith("knoop_hw.sensors.")}


HARDWARE = """
import os, signal, sys, threading
from knoop_hw.cli import main
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
assert main(["--config", {config!r}, "--socket", "board.sock", "--state", "state"]) == 0
sys.modules = {{name: module for name, module in sys.modules.items() if module is not None}}
"""


@pytest.mark.parametrize("lines", [True, False])
def test_the_hardware_half_loads_no_network_no_agent_and_no_chip(tmp_path, lines):
    """What parses strangers' XML is in the other process, and so is OpenSSL; a library of lines comes with lines."""
    config = tmp_path / "node.toml"
    head = '[board]\ndriver = "simulated"\n[output.lamp]\npin = "GPIO27"\n' if lines else ""
    config.write_text(head + '[sensor.pi]\ndriver = "system"\n[xmpp]\njid = "not read here"\n', "utf-8")
    names = loaded(HARDWARE.format(config=str(config)), cwd=tmp_path)
    assert "knoop_hw.sensors.system" in names
    assert not names & {*NEVER, "ssl", "_ssl", "_hashlib", "slixmpp", "knoop", "sqlite3", "lgpio", "gpiod", "serial"}
    assert ("gpiozero" in names) is lines
    assert not names & {"http", "urllib.request", "xml.etree", "multiprocessing"}


def _opening(folder: Path, tables: str) -> str:
    """Code that opens a board with these tables, as `knoop run` does, and closes it."""
    file = folder / "node.toml"
    file.write_text(tables, "utf-8")
    return f"""
import asyncio
from pathlib import Path
from knoop_hw import config, decode
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
async def main():
    problems = []
    loaded = config.load(decode.load(Path({str(file)!r})), problems)
    assert not problems, problems
    async with Board(loaded, clock=SystemClock()):
        await asyncio.sleep(0.1)
asyncio.run(main())
"""


# What a driver may load when its sensor is opened, and nobody else.
SEALED = "p1, sealed"
LIBRARIES = {name: stand_in.libraries for name, stand_in in STAND_INS.items()} | {SEALED: {"serial", "cryptography"}}
# Each driver in a copy of one process that has loaded what any board does: as good as a process of its own, and 20
# times as fast. What is loaded only counts when the sensor works: then its channel has a reading.
EACH_ALONE = """
import json, os, sys
from pathlib import Path
from knoop_hw.cli import NOT_HERE, load
sys.modules.update(dict.fromkeys(NOT_HERE))
import asyncio
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock

def told():
    return sorted(name for name, module in sys.modules.items() if module is not None)

async def opened(config):
    async with asyncio.timeout(10), Board(config, clock=SystemClock()) as board:
        while not any(reading.value is not None for reading in board.latest.values()):
            await asyncio.sleep(0.01)
        return told()

for file in sys.argv[1:]:
    if not (pid := os.fork()):
        code = 1
        try:
            config = load(Path(file))
            print(json.dumps([told(), asyncio.run(opened(config))]), flush=True)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        sys.exit(f"{file} failed")
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """By driver: the modules when its table has been read, and when its sensor has a reading."""
    return asyncio.run(_alone(tmp_path_factory.mktemp("alone")))


async def _alone(folder: Path) -> dict[str, tuple[set[str], set[str]]]:
    async with AsyncExitStack() as stack:
        tables = {}
        for name, stand_in in STAND_INS.items():
            place = folder / name
            place.mkdir()
            tables[name] = await stack.enter_async_context(stand_in.opened(place, True))
        key = folder / "key"
        key.touch(0o600)
        key.write_text("AA" * 16, "ascii")
        meter = await stack.enter_async_context(Meter([ROOT / "tests/data/p1/sealed/smarty-made.bin"], every_s=0.01))
        tables[SEALED] = f"""
[sensor.it]
driver = "p1"
protocol = "luxembourg"
device = "{meter.device}"
key_file = "{key}"
"""
        files = [folder / f"{name}.toml" for name in tables]
        for file, text in zip(files, tables.values(), strict=True):
            file.write_text(text, "utf-8")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", AS_ON_A_NODE + EACH_ALONE, *map(str, files), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        out, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
        said = [tuple(set(names) for names in json.loads(line)) for line in out.splitlines()]
        return dict(zip(tables, said, strict=True))


def _packages(modules: set[str]) -> set[str]:
    """The libraries among them, and what of ours does not belong to the hardware half."""
    found = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    return {name for name in found if not name.startswith("_")} - {"knoop_hw"}


@pytest.mark.parametrize("name", LIBRARIES)  # that each driver is there: tests/bench/test_drivers.py
class TestADriverAlone:
    def test_its_table_loads_it_and_no_library(self, alone, name):
        modules, _ = alone[name]
        assert _drivers(modules) == {f"knoop_hw.sensors.{name.partition(',')[0]}"}
        assert not _packages(modules)

    def test_its_sensor_loads_its_own_libraries_and_no_other_driver(self, alone, name):
        _, modules = alone[name]
        assert _drivers(modules) == {f"knoop_hw.sensors.{name.partition(',')[0]}"}
        assert _packages(modules) == LIBRARIES[name]

    def test_it_needs_no_network(self, alone, name):
        _, modules = alone[name]
        assert not modules & {"_ssl", "ssl", "_hashlib", "http", "http.client", "urllib.request", "socketserver"}
        assert not modules & {"xml.etree", "multiprocessing", "concurrent.futures.process", "sqlite3"}


def _drivers(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("knoop_hw.sensors.")}


@pytest.mark.prosody
@pytest.mark.parametrize("loop", ["auto", "uvloop"])
async def test_the_demo_node_at_work(tmp_path, loop):
    """`knoop run`, connected, with lines, drivers and every publisher, after its first readings arrived."""
    async with Prosody(tmp_path / "prosody", {"greenhouse": "node-secret", "anna": "anna-secret"}) as server:
        config = _demo(tmp_path, server, loop)
        code = AS_ON_A_NODE + "from knoop.cli import main\nmain(sys.argv[1:])" + REPORT
        anna = Witness(
            server.jid("anna"), "anna-secret", port=server.tls_port, ca_file=server.ca_file,
            friends=[server.jid("greenhouse")],
        )  # fmt: skip
        async with anna:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, "run", "--config", str(config), stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
            )  # fmt: skip
            try:
                await _at_work(anna, process)
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(START_S):
                    out, log = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    assert process.returncode == 0, log.decode()
    names = _names(out.decode())
    assert {"knoop.publishers.pubsub", "knoop.publishers.chat", "knoop.publishers.room"} <= names
    assert {"knoop_hw.sensors.p1", "knoop_hw.sensors.system", "knoop_hw.simulated", "serial", "gpiozero"} <= names
    assert {name for name in NEVER if name in names} == ({"uvloop"} if loop == "uvloop" else set())
    assert not names & {"lgpio", "gpiod", "knoop.terminal", "knoop.xmpp.console"}
    plugins = {name.split(".")[2] for name in names if name.startswith("slixmpp.plugins.xep_")}
    assert plugins == PLUGINS, "a plugin answers people by itself: XEP-0325 lets anybody set things"


async def _at_work(anna: Witness, process: asyncio.subprocess.Process) -> None:
    """Return when the owner saw a reading and the node is in its room: every sink is open then."""
    await anna.wait(lambda seen: any(item.node in {READINGS, EVENTS} for item in seen.items), START_S)
    assert process.stderr is not None
    async with asyncio.timeout(START_S):
        while b"in room" not in (line := await process.stderr.readline()):
            assert line, "the node ended"


def _demo(folder: Path, server: Prosody, loop: str) -> Path:
    text = (DEMO / "node.toml").read_text("utf-8")
    for old, new in {
        "port = 5223": f"port = {server.tls_port}",
        'ca_file = "ca.pem"': f'ca_file = "{server.ca_file}"',
        'name = "greenhouse"': f'name = "greenhouse"\nloop = "{loop}"',
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    shutil.copy(DEMO / "scenario.toml", folder)
    secret = folder / "greenhouse.password"
    secret.touch(0o600)
    secret.write_text("node-secret", "utf-8")
    config = folder / "node.toml"
    config.write_text(text, "utf-8")
    return config
