"""Each overlay goes onto a tree with Debian's labels; what knoop.setup writes brings the lines that were asked for."""

import subprocess

import pytest

from knoop.setup.buses import PULSES, config_txt
from knoop_hw import bus, pwm
from knoop_hw.tables import KERNEL_PWM

# What a board's tree of Debian's 6.12 has of what we touch; tests/image/test_overlays.py has the real ones.
BOARD = """/dts-v1/;
/ {
    compatible = "raspberrypi,3-model-b", "brcm,bcm2837";
    #address-cells = <1>; #size-cells = <1>;
    soc: soc {
        gpio: gpio { i2c1_gpio2: i2c1-gpio2 { brcm,pins = <2 3>; brcm,function = <4>; };
                     uart0_gpio14: uart0-gpio14 { brcm,pins = <14 15>; brcm,function = <4>; };
                     uart1_gpio14: uart1-gpio14 { brcm,pins = <14 15>; brcm,function = <2>; }; };
        uart0: serial-full { status = "okay"; bt: bluetooth { compatible = "brcm,bcm43438-bt"; }; };
        uart1: serial-small { status = "okay"; pinctrl-0 = <&uart1_gpio14>; };
        i2c1: i2c { status = "okay"; pinctrl-0 = <&i2c1_gpio2>; clock-frequency = <100000>; };
        spi: spi { status = "disabled"; };
        pwm: pwm { status = "disabled"; };
    };
};
"""


@pytest.fixture(scope="module")
def overlays():
    from knoop_firmware import overlays

    return overlays


@pytest.fixture(scope="module")
def folder(overlays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlays")
    assert {path.name for path in overlays.build(folder)} == {
        f"knoop-{name}.dtbo"
        for name in ("w1", "i2c", "i2c-off", "spi", "uart", "uart-off", "pwm", "pwm-2chan", *bus.CHIPS)
    }
    source, tree = folder / "board.dts", folder / "board.dtb"
    source.write_text(BOARD)
    subprocess.run(["dtc", "-q", "-@", "-O", "dtb", "-o", tree, source], check=True)
    return folder


@pytest.fixture
def merged(overlays, folder, tmp_path):
    def merge(*buses, pulses=(), lines=()):
        out = tmp_path / "merged.dtb"
        overlays.merge(folder / "board.dtb", config_txt(buses, pulses=pulses, lines=lines), folder, out)

        def read(node, name, kind="s"):
            return subprocess.run(
                ["fdtget", "-t", kind, out, node, name], check=True, capture_output=True, text=True
            ).stdout.strip()

        return read

    return merge


def test_a_one_wire_bus_is_on_the_line_that_was_named(merged):
    tree = merged("w1:GPIO17")
    assert (tree("/onewire", "compatible"), tree("/onewire", "status")) == ("w1-gpio", "okay")
    assert tree("/onewire", "gpios", "u").split()[1:] == ["17", "6"]
    assert [tree("/soc/gpio/knoop-w1-pins", name, "u") for name in ("brcm,pins", "brcm,pull")] == ["17", "0"]
    assert merged("w1:GPIO5:pullup")("/soc/gpio/knoop-w1-pins", "brcm,pull", "u") == "2"


def test_i2c_has_the_speed_that_was_named(merged):
    assert merged("i2c")("/soc/i2c", "clock-frequency", "u") == "100000"
    assert merged("i2c:400kHz")("/soc/i2c", "clock-frequency", "u") == "400000"


@pytest.mark.parametrize("chip", bus.CHIPS)
def test_a_chip_is_on_i2c_at_its_address_or_where_it_was_said_to_be(merged, chip):
    compatible, address = bus.CHIPS[chip]
    node = f"/soc/i2c/{chip}@{address:02x}"
    tree = merged("i2c", f"i2c:{chip}")
    assert (tree(node, "compatible"), int(tree(node, "reg", "u"))) == (compatible, address)
    assert merged("i2c", f"i2c:{chip}@0x1a")(node, "reg", "x") == "1a"


def test_chips_are_called_as_they_are_sold(merged):
    assert merged("i2c", "i2c:sht31", "i2c:mcp9808")("/soc/i2c/sht3x@44", "compatible") == "sensirion,sht3x"


def test_spi_has_two_selects_that_are_lines(merged):
    tree = merged("spi")
    assert tree("/soc/spi", "status") == "okay"
    assert tree("/soc/spi", "cs-gpios", "u").split()[1::3] == ["8", "7"]
    assert tree("/soc/spi/spidev@1", "reg", "u") == "1"


def test_a_uart_takes_the_lines_from_the_console_and_bluetooth(merged):
    tree = merged("uart")
    assert tree("/soc/serial-small", "status") == "disabled"
    assert tree("/soc/serial-full/bluetooth", "status") == "disabled"
    assert tree("/soc/serial-full", "pinctrl-0", "x") == tree("/soc/gpio/uart0-gpio14", "phandle", "x")
    assert "cmdline=cmdline-uart.txt\n" in config_txt(["uart"])


def test_pulses_come_out_where_outputs_are(merged):
    tree = merged(pulses=["GPIO12"])
    assert (tree("/soc/gpio/knoop-pwm-pins", "brcm,pins", "u"), tree("/soc/pwm", "status")) == ("12", "okay")
    tree = merged(pulses=["GPIO19", "GPIO12"])
    assert tree("/soc/gpio/knoop-pwm-pins", "brcm,pins", "u") == "12 19"
    assert tree("/soc/gpio/knoop-pwm-pins", "brcm,function", "u") == "4 2"


def test_lines_of_the_node_are_freed_of_what_has_them_by_itself(merged):
    tree = merged("w1:GPIO4", lines=["GPIO2", "GPIO15"])
    assert tree("/soc/i2c", "status") == tree("/soc/serial-small", "status") == "disabled"
    tree = merged("w1:GPIO3")  # a bus that has a line of another's
    assert tree("/soc/i2c", "status") == "disabled"
    tree = merged("spi", lines=["GPIO17"])
    assert tree("/soc/i2c", "status") == tree("/soc/serial-small", "status") == "okay"


def test_everything_at_once(merged):
    tree = merged("w1:GPIO4", "i2c:50kHz", "spi", "uart", pulses=["GPIO18", "GPIO13"])
    assert tree("/onewire", "status") == tree("/soc/spi", "status") == tree("/soc/pwm", "status") == "okay"


def test_a_parameter_that_an_overlay_has_not_is_no_silent_default(overlays, folder, tmp_path):
    with pytest.raises(RuntimeError, match="pinn"):
        overlays.merge(folder / "board.dtb", "dtoverlay=knoop-w1,pinn=3", folder, tmp_path / "out.dtb")


@pytest.mark.parametrize(
    ("buses", "pulses", "said"),
    [
        (["can"], [], "unknown bus 'can'; expected i2c, i2c:bme280, spi, uart or w1:GPIO4"),
        (["i2c:1000kHz"], [], "'i2c:1000kHz' is too fast or too slow; 10kHz to 400kHz go"),
        (["w1:GPIO28"], [], "unknown bus 'w1:GPIO28'; expected i2c, i2c:bme280, spi, uart or w1:GPIO4"),
        (["w1:GPIO14", "uart"], [], "'uart' needs GPIO14, which the bus w1:GPIO14 has; leave one of them out"),
        (["i2c", "i2c:400kHz"], [], "'i2c:400kHz' is there twice; leave one of them out"),
        (["w1:GPIO4", "w1:GPIO5"], [],
         "w1:GPIO4 and w1:GPIO5: the image has one 1-Wire bus, which takes many sensors; join their wires"),
        (["i2c", "i2c:bme999"], [], "unknown chip 'bme999'; the kernel's drivers here are for " + ", ".join(bus.CHIPS)),
        (["i2c", "i2c:bme280@0x80"], [], "'i2c:bme280@0x80': no chip is at that address; 0x08 to 0x77 are"),
        (["i2c:bme280"], [], """'i2c:bme280' is on I²C, which is not named; add "i2c\""""),
        (["i2c", "i2c:bme280", "i2c:bmp280"], [],
         "'i2c:bmp280' is at 0x76, where i2c:bme280 is; give it its other address: …@0x…"),
        (["i2c", "i2c:bme280", "i2c:bme280@0x77"], [],
         "i2c:bme280 and i2c:bme280@0x77: the image takes one chip of a kind; leave one of them out"),
        ([], ["GPIO5"], "GPIO5 has no pulses of the kernel's; take one of GPIO12, GPIO13, GPIO18, GPIO19"),
        ([], ["GPIO12", "GPIO18"], "GPIO18 shows the same pulses as GPIO12; take GPIO13 or GPIO19"),
    ],
)
def test_what_cannot_be_had_is_said(buses, pulses, said):
    with pytest.raises(ValueError) as refused:
        config_txt(buses, pulses=pulses)
    assert str(refused.value) == said


def test_nothing_asked_for_changes_nothing():
    assert [line for line in config_txt([]).splitlines() if not line.startswith("#")] == []


def test_pulses_are_where_the_hardware_half_looks_for_them():
    assert tuple(PULSES) == KERNEL_PWM
    assert {line: f"pin={line[4:]},func={function}" for line, (function, _) in PULSES.items()} == pwm.OVERLAYS
    assert {line: channel for line, (_, channel) in PULSES.items()} == pwm.CHANNELS[r".*20c000\.pwm"]


def test_every_bus_has_lines_of_the_header_and_none_has_anothers():
    everything = [bus.named(text) for text in ("i2c", "spi", "uart", "w1:GPIO4")]
    assert not [*bus.clashes(everything)]
