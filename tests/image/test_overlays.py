"""The overlays on the device trees that are on the card: Debian's own, for every board that the image serves."""

import shutil
import subprocess

import pytest

from knoop.setup.buses import config_txt
from knoop_hw import bus

CHIPS = [f"i2c:{chip}@{0x10 + number:#04x}" for number, chip in enumerate(bus.CHIPS)]
EVERYTHING = config_txt(["w1:GPIO17:pullup", "i2c:400kHz", "spi", "uart", *CHIPS], pulses=["GPIO18", "GPIO13"])
NOTHING_BUT_LINES = config_txt([], lines=["GPIO2", "GPIO3", "GPIO14", "GPIO15"], pulses=["GPIO12"])
BOARDS = (
    "bcm2711-rpi-4-b", "bcm2711-rpi-400", "bcm2711-rpi-cm4-io", "bcm2837-rpi-3-a-plus", "bcm2837-rpi-3-b",
    "bcm2837-rpi-3-b-plus", "bcm2837-rpi-cm3-io3", "bcm2837-rpi-zero-2-w",
)  # fmt: skip
ONEWIRE, I2C, SPI, PWM = "/onewire", "/soc/i2c@7e804000", "/soc/spi@7e204000", "/soc/pwm@7e20c000"
FULL, SMALL = "/soc/serial@7e201000", "/soc/serial@7e215040"


@pytest.fixture(scope="module")
def kernel_trees():
    from knoop_firmware.base import pieces

    found = {path.stem: path for path in (pieces() / "kernel").rglob("*.dtb")}
    assert set(BOARDS) <= set(found)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from knoop_firmware import overlays

    assert shutil.which("fdtoverlay"), "needs Debian's device-tree-compiler"
    folder = tmp_path_factory.mktemp("overlays")
    overlays.build(folder)
    return folder


def get(tree, node, name, kind="s"):
    said = subprocess.run(["fdtget", "-t", kind, tree, node, name], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def muxed(tree, node):
    """The lines that a device is given, through its phandles."""
    from knoop_firmware.overlays import by_handle

    handles = [int(one) for one in get(tree, node, "pinctrl-0", "u").split()]
    return {line for handle in handles for line in get(tree, by_handle(tree, handle), "brcm,pins", "u").split()}


@pytest.mark.parametrize("board", BOARDS)
def test_every_bus_comes_to_its_lines(board, kernel_trees, made, tmp_path):
    from knoop_firmware import overlays

    tree = tmp_path / "merged.dtb"
    overlays.merge(kernel_trees[board], EVERYTHING, made, tree)
    assert [get(tree, node, "status") for node in (ONEWIRE, I2C, SPI, PWM, FULL, SMALL)] == [*["okay"] * 5, "disabled"]
    assert get(tree, f"{FULL}/bluetooth", "status") == "disabled"
    assert get(tree, ONEWIRE, "gpios", "u").split()[1] == "17"
    assert get(tree, I2C, "clock-frequency", "u") == "400000"
    for number, (chip, (compatible, address)) in enumerate(bus.CHIPS.items()):
        node = f"{I2C}/{chip}@{address:02x}"
        assert (get(tree, node, "compatible"), int(get(tree, node, "reg", "u"))) == (compatible, 0x10 + number)
    assert [muxed(tree, node) for node in (ONEWIRE, I2C, SPI, PWM, FULL)] == [
        {"17"}, {"2", "3"}, {"7", "8", "9", "10", "11"}, {"18", "13"}, {"14", "15"},
    ]  # fmt: skip


@pytest.mark.parametrize("board", BOARDS)
def test_lines_are_free_for_a_node_that_names_no_bus(board, kernel_trees, made, tmp_path):
    from knoop_firmware import overlays

    tree = tmp_path / "merged.dtb"
    overlays.merge(kernel_trees[board], NOTHING_BUT_LINES, made, tree)
    assert get(tree, I2C, "status") == get(tree, SMALL, "status") == "disabled"
    assert muxed(tree, PWM) == {"12"}


def test_debians_kernel_has_a_driver_for_every_chip():
    """It comes by itself where it says the device tree's name for the chip, and is loaded at boot where it does not."""
    from knoop_firmware.base import pieces
    from knoop_firmware.recipe import FILES

    loaded = (FILES / "usr/lib/modules-load.d/knoop-chips.conf").read_text().split()
    kernel = pieces() / "kernel"
    drivers = [*kernel.rglob("drivers/iio/**/*.ko*"), *kernel.rglob("drivers/hwmon/*.ko*")]
    aliases = [
        line
        for path in drivers
        for line in subprocess.run(["modinfo", "-F", "alias", path], capture_output=True, text=True, check=True)
        .stdout.splitlines()
    ]
    for chip, (compatible, _) in bus.CHIPS.items():
        by_itself = any(alias.startswith("of:") and f"C{compatible}" in alias for alias in aliases)
        assert by_itself or (f"i2c:{chip}" in aliases and chip in loaded), chip
