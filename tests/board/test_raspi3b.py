"""A Raspberry Pi 3B with Debian's own device tree: the real lines' names, and levels. QEMU gives it no edges."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.board.guest import Guest, boot
from tests.board.seam import Seam

# BCM2835 ARM Peripherals §6.1: GPFSEL (function: 3 bits a line), GPSET, GPCLR, GPLEV
GPIO = 0x3F20_0000
GPSET0, GPCLR0, GPLEV0 = GPIO + 0x1C, GPIO + 0x28, GPIO + 0x34

NAMED = """
import json
from knoop_hw import chips
chip = chips.choose(chips.here())
lines = chips.lines(chip)
print(json.dumps({
    "chip": str(chip), "size": chip.size, "names": [line.name for line in lines],
    "GPIO17": chips.line_of("GPIO17", lines).number, "GPIO27": chips.line_of("GPIO27", lines).number,
}))
"""
TABLES = """
[output.lamp]
pin = "GPIO17"

[input.door]
pin = "GPIO27"
pull = "none"

[sensor.machine]
driver = "system"

[sensor.processor]
driver = "hwmon"
device = "cpu_thermal"
fields = ["temperature"]
"""


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    board = boot(tmp_path_factory.mktemp("pi"), machine="raspi3b")
    yield board
    board.close()


def function(pi: Guest, line: int) -> int:
    """0 is an input, 1 an output, the others are the board's own."""
    return pi.qtest.register(GPIO + 4 * (line // 10)) >> 3 * (line % 10) & 7


def test_the_chip_is_found_and_its_lines_have_a_pis_names(pi):
    code, said = pi.run("python3", "-c", NAMED, within_s=120)
    assert code == 0, said
    found = json.loads(said)
    assert found["chip"] == "gpiochip0 (pinctrl-bcm2835)"
    assert found["size"] == 54
    assert {"SDA1", "SCL1", "SPI_MOSI", "TXD1", "GPIO17", "GPIO27"} < set(found["names"])
    assert (found["GPIO17"], found["GPIO27"]) == (17, 27)


def test_what_the_hardware_half_sets_is_on_the_line_and_what_is_on_the_line_it_reads(pi):
    pi.load("bcm2835_thermal")
    pi.write("/root/node.toml", TABLES)
    places = ("--config", "/root/node.toml", "--socket", "/run/board.sock", "--state", "/tmp/state")
    program = pi.start("knoop-hw", *places)
    program.says("the board is open", within_s=180)
    seam = Seam(pi, "/run/board.sock")
    try:
        assert (function(pi, 17), function(pi, 27)) == (1, 0)
        assert seam.set("lamp", True)["m"] == "done"
        assert pi.qtest.register(GPLEV0) >> 17 & 1
        assert seam.set("lamp", False)["m"] == "done"
        assert not pi.qtest.register(GPLEV0) >> 17 & 1
        assert seam.wait("door", bool)[-1].value is False
        for sensor in ("machine", "processor"):  # the same sensor behind both; QEMU's is always as warm
            told = seam.wait(f"{sensor}.temperature", bool)[-1]
            assert (told.quality, round(told.value, 1)) == ("ok", 25.2)
    finally:
        program.signal(15)
        assert program.wait() == 0, program.log
        seam.close()


def test_a_level_that_the_hardware_has_is_what_the_kernel_reads(pi):
    look = (
        "import gpiod; r = gpiod.request_lines('/dev/gpiochip0', config={22: gpiod.LineSettings()}); "
        "print(r.get_value(22).name)"
    )
    for register, name in ((GPSET0, "ACTIVE"), (GPCLR0, "INACTIVE")):
        pi.qtest.register(GPIO + 8, 1 << 3 * 2)  # an output for a moment, or the latch does not reach the pin
        pi.qtest.register(register, 1 << 22)
        code, said = pi.run("python3", "-c", look, within_s=120)
        assert (code, said.strip()) == (0, name)
