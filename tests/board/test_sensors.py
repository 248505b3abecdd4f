"""Chips read by the kernel's own drivers and ours, hwmon and IIO: what they measure; how they fail and come back."""

from __future__ import annotations

import json
import signal
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from tests.board import recipe
from tests.board.conftest import Half
from tests.board.guest import Guest
from tests.board.i2c import DEVICES, Adapter, Chips
from tests.board.readings import about, away, once_down_once_up

ROOM, CELLAR, FREEZER, AIR, COMPASS = 0x48, 0x49, 0x4C, 0x77, 0x1E
CHIPS = {
    "room": f"tmp105,address={ROOM}", "cellar": f"tmp105,address={CELLAR}", "freezer": f"tmp421,address={FREEZER}",
    "air": f"dps310,address={AIR}", "compass": f"lsm303dlhc_mag,address={COMPASS}",
}  # fmt: skip
DOOR = """
[input.door]
pin = "GPIO5"
debounce = "0ms"
"""
LAMP = """
[output.lamp]
pin = "GPIO2"
"""
ROOM_AND_AIR = """
[sensor.room]
driver = "hwmon"
device = "{bus}-0048"
fields = ["temperature"]
every = "100ms"

[sensor.air]
driver = "iio"
device = "dps310"
fields = ["temperature", "pressure"]
every = "100ms"
"""
OTHERS = """
[sensor.cellar]
driver = "hwmon"
device = "{bus}-0049"
fields = ["temperature"]
every = "100ms"

[sensor.freezer]
driver = "hwmon"
device = "tmp421"
fields = ["temperature", "temperature2"]
every = "100ms"
"""
# Its driver takes 2 s for a value: it waits for the chip at its slowest.
COMPASS_TOO = """
[sensor.compass]
driver = "iio"
device = "lsm303dlhc_magn"
fields = ["magn_x"]
every = "100ms"
"""
WHICH = """
[sensor.which]
driver = "hwmon"
device = "tmp105"
fields = ["temperature"]
"""
VALUES = {
    "room.temperature": 20, "air.temperature": 24.7, "air.pressure": 929.5, "cellar.temperature": 12,
    "freezer.temperature": 18, "freezer.temperature2": 4, "compass.magn_x": 21,
}  # fmt: skip


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chips]:
    made = Chips(tmp_path_factory.mktemp("bus") / "chips", **CHIPS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def adapter(guest: Guest, chips: Chips) -> Iterator[Adapter]:
    """Plugged in, its chips declared, except for the tmp421, which its driver finds by itself."""
    guest.load(*recipe.HWMON, *recipe.IIO)
    set_all(chips)
    with closing(Adapter(guest, chips)) as adapter:
        adapter.plug()
        declare(adapter)
        yield adapter


def set_all(chips: Chips) -> None:
    """What they measure at the beginning of each test; QEMU's dps310 always has the same weather."""
    chips.set("room", temperature=20_000)
    chips.set("cellar", temperature=12_000)
    chips.set("freezer", temperature0=18_000, temperature1=4_000)
    chips.set("compass", mag_x=21_000)


def declare(adapter: Adapter) -> None:
    """As a device tree would; a table of names has each but once."""
    adapter.declare(tmp105=ROOM, dps310=AIR, lsm303dlhc_magn=COMPASS)
    adapter.declare(tmp105=CELLAR)


def called(adapter: Adapter, address: int) -> str:
    """What the guest's kernel calls a chip's hwmon device now."""
    code, said = adapter.guest.run("/bin/busybox", "ls", f"{DEVICES}/{adapter.bus()}-{address:04x}/hwmon")
    assert code == 0, said
    return said.strip()


@pytest.fixture
def started(adapter: Adapter, hardware: Callable[[str], Half]) -> Callable[[str], Half]:
    """`half = started(tables)`: a hardware half that has read all its chips."""

    def start(tables: str) -> Half:
        half = hardware(tables.format(bus=adapter.bus()))
        well(half)
        return half

    return start


def well(half: Half) -> None:
    """Return when every chip of its tables is read, and gives what it gave at the beginning."""
    tables = half.guest.read(f"{half.folder}/node.toml")
    for channel, value in VALUES.items():
        if f"[sensor.{channel.partition('.')[0]}]" in tables:
            half.seam.wait(channel, about(value))


def test_what_a_chip_measures_is_what_is_read(started, chips):
    half = started(ROOM_AND_AIR + OTHERS + COMPASS_TOO + WHICH)
    try:
        chips.set("room", temperature=-12_250)
        chips.set("freezer", temperature1=-18_000)
        chips.set("compass", mag_x=43_000)
        half.seam.wait("room.temperature", about(-12.25))
        half.seam.wait("freezer.temperature2", about(-18))
        half.seam.wait("compass.magn_x", about(43))
    finally:
        set_all(chips)
    well(half)
    assert half.seam.readings("which.temperature")[-1].quality == "missing"
    (said,) = (line for line in half.program.log.splitlines() if "sensor.which: " in line)
    assert "2 hwmon devices are 'tmp105'; say which: " in said
    assert 'device = "0-0048"' in said
    assert 'device = "0-0049"' in said


def test_a_chip_that_comes_back_under_another_number(started, adapter):
    half = started(ROOM_AND_AIR + OTHERS)
    before = called(adapter, ROOM), called(adapter, CELLAR)
    adapter.withdraw(ROOM, CELLAR)
    half.seam.wait("room.temperature", away)
    half.seam.wait("cellar.temperature", away)
    adapter.declare(tmp105=CELLAR)
    adapter.declare(tmp105=ROOM)
    well(half)
    assert (called(adapter, CELLAR), called(adapter, ROOM)) == before
    once_down_once_up(half, "room", "cellar")
    assert all(told.quality == "ok" for told in half.seam.readings("freezer.temperature"))


def test_a_chip_that_does_not_answer(started, adapter):
    half = started(ROOM_AND_AIR + OTHERS)
    adapter.deaf = {ROOM, AIR}
    try:
        for channel in ("room.temperature", "air.pressure", "air.temperature"):
            assert half.seam.wait(channel, away)[-1].quality == "error"
    finally:
        adapter.deaf = set()
    well(half)
    once_down_once_up(half, "room", "air")
    assert all(told.quality == "ok" for told in half.seam.readings("cellar.temperature"))


def test_a_bus_that_hangs(started, adapter, lines, report):
    """What is on it says so; nothing else notices."""
    half = started(DOOR + ROOM_AND_AIR)
    adapter.moves.clear()
    began = time.monotonic()
    try:
        for level in (True, False):
            lines.drive(5, level)
            half.seam.wait_value("door", level)
        half.seam.wait("room.temperature", away)
        half.seam.wait("air.pressure", away)
        report("a bus that hangs, until both chips on it say so", f"{time.monotonic() - began:.1f} s")
        lines.drive(5, True)
        half.seam.wait_value("door", True)
    finally:
        adapter.moves.set()
    well(half)
    once_down_once_up(half, "room", "air")


def test_a_stop_while_a_bus_hangs(started, adapter, lines, report):
    """Outputs are safe at once, whatever a driver of the kernel's waits for."""
    half = started(LAMP + ROOM_AND_AIR)
    mark = lines.recorded
    assert half.seam.set("lamp", True)["m"] == "done"
    adapter.moves.clear()
    try:
        half.seam.wait("room.temperature", away)
        half.program.signal(signal.SIGTERM)
        began = time.monotonic()
        lines.wait_moves(2, [True, False], since=mark)
        report("a stop while a bus hangs, until outputs are safe", f"{time.monotonic() - began:.1f} s")
        assert half.program.wait() == 0
        report("a stop while a bus hangs, until it has ended", f"{time.monotonic() - began:.1f} s")
    finally:
        adapter.moves.set()


def test_a_bus_that_is_pulled_out(started, adapter, lines):
    half = started(DOOR + ROOM_AND_AIR + OTHERS)
    adapter.pull()
    for channel in VALUES.keys() - {"compass.magn_x"}:
        half.seam.wait(channel, away)
    lines.drive(5, True)
    half.seam.wait_value("door", True)
    adapter.plug()
    declare(adapter)
    well(half)
    once_down_once_up(half, "room", "air", "cellar", "freezer")


def test_probe_lists_them_and_what_it_proposes_reads_them(guest, adapter, hardware):
    code, log = guest.run("knoop", "probe", "--json", half="node", within_s=120)
    assert code == 0, log
    found = json.loads(log)
    there = {(sensor["kind"], sensor["name"], sensor.get("address")) for sensor in found["sensors"]}
    bus = adapter.bus()
    assert there >= {
        ("hwmon", "tmp105", f"{bus}-0048"), ("hwmon", "tmp105", f"{bus}-0049"), ("hwmon", "tmp421", f"{bus}-004c"),
        ("iio", "dps310", f"{bus}-0077"), ("iio", "lsm303dlhc_magn", f"{bus}-001e"),
    }, found["sensors"]  # fmt: skip
    code, proposed = guest.run("knoop", "probe", "--toml", half="node", within_s=120)
    assert code == 0, proposed
    names = {sensor.get("device"): name for name, sensor in tomllib.loads(proposed)["sensor"].items()}
    half = hardware(proposed)
    for device, field, value in (
        (f"{bus}-0048", "temperature", 20), (f"{bus}-0049", "temperature", 12), ("tmp421", "temperature2", 4),
        ("dps310", "pressure", 929.5),
    ):  # fmt: skip
        half.seam.wait(f"{names[device]}.{field}", about(value))
