"""What is on a machine, and what is not: the folders of its kernel, nothing opened."""

import io
from pathlib import Path

import pytest
from tests.hw.trees import CABLE, MODEM, a_pi, a_pis_chips, cells, link, put, tree

from knoop_hw import found
from knoop_hw.chips import Chip
from knoop_hw.errors import DeviceError
from knoop_hw.found import Found, Line, Unseen
from knoop_hw.kernel.buses import Attached, Bus
from knoop_hw.kernel.functions import Function, functions
from knoop_hw.kernel.ports import SerialPort
from knoop_hw.kernel.sensed import Camera, Measured


def machine(root: Path, look=list, **more) -> Found:
    return found.machine(root, look=look, **more)


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    return a_pi(tmp_path)


def lines(there: Found) -> dict[str, Line]:
    return {line.name: line for line in there.lines}


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert machine(tmp_path) == Found(drivers=machine(tmp_path).drivers)


def test_a_board_says_what_it_is(pi, tmp_path):
    assert (machine(pi).board, machine(pi).kernel) == ("Raspberry Pi 3 Model B Rev 1.2", "6.1.0-56-arm64")


def test_a_pc_is_what_its_firmware_says(tmp_path):
    put(tmp_path, {"sys/class/dmi/id/sys_vendor": "LENOVO\n", "sys/class/dmi/id/product_name": "20XW\n"})
    assert machine(tmp_path).board == "LENOVO 20XW"


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_headers_lines_with_who_has_them(pi):
    there = machine(pi, a_pis_chips)
    assert there.chip == "gpiochip0"
    assert [line.name for line in there.lines] == [f"GPIO{number}" for number in range(28)]
    assert lines(there)["GPIO17"] == Line(
        name="GPIO17", position=11, called="GPIO17", state="used", consumer="fan", direction="output"
    )
    assert lines(there)["GPIO27"] == Line(name="GPIO27", position=13, called="GPIO27", state="free", direction="input")
    assert lines(there)["GPIO2"] == Line(name="GPIO2", position=3, called="SDA1", state="free", function="I²C (i2c1)")


def device(root: Path, node: str, name: str, driver: str = "") -> None:
    """A device of the platform's with its node in the tree (drivers/base/core.c: `of_node`), bound to a driver or not.

    As Debian's kernel shows them on its own tree of a Raspberry Pi 3B (emulated).
    """
    link(root, f"sys/bus/platform/devices/{name}/of_node", str(root / "proc/device-tree" / node))
    if driver:
        put(root, {f"sys/bus/platform/drivers/{driver}/uevent": ""})
        link(root, f"sys/bus/platform/devices/{name}/driver", f"../../drivers/{driver}")


def test_a_function_that_no_driver_makes_leaves_its_lines_free(pi):
    """Its lines are given to it when its driver comes (Documentation/driver-api/pin-control.rst)."""
    device(pi, "soc/i2c@7e804000", "3f804000.i2c")
    device(pi, "soc/serial@7e201000", "3f201000.serial", "uart-pl011")
    assert sorted(functions(pi)) == ["GPIO14", "GPIO15", "GPIO4"]
    assert functions(pi)["GPIO4"].kind == "1-Wire", "a device that sysfs does not show may be anything"


def test_while_drivers_still_come_a_function_has_its_lines(pi):
    device(pi, "soc/i2c@7e804000", "3f804000.i2c")
    put(pi, {"run/udev/queue": ""})
    assert functions(pi)["GPIO2"].kind == "I²C"


def test_of_two_devices_of_one_node_one_driver_is_enough(pi):
    """A serial port shows twice: as itself, and as a bus of one (serial0)."""
    device(pi, "soc/serial@7e201000", "3f201000.serial", "uart-pl011")
    device(pi, "soc/serial@7e201000", "serial0")
    assert functions(pi)["GPIO14"].kind == "UART"


def test_levels_and_functions_as_only_root_reads_them(pi):
    """The first line is one of a real Raspberry Pi 3B (kernel 4.19), the second has the form of kernels since 5.10."""
    put(pi, {"sys/kernel/debug/pinctrl/3f200000.gpio/pins": (
        "registered pins: 54\n"
        "pin 0 (gpio0) function gpio_in in hi; irq 0 (none)\n"
        "pin 17 (gpio17) 17:pinctrl-bcm2835 function gpio_out in lo; irq 0 (none)\n"
        "pin 18 (gpio18) 18:pinctrl-bcm2835 function alt5 in hi; irq 0 (none)\n"
    )})  # fmt: skip
    there = lines(machine(pi, a_pis_chips))
    assert (there["GPIO0"].level, there["GPIO0"].direction) == (True, "input")
    assert (there["GPIO17"].level, there["GPIO17"].direction) == (False, "output")
    assert (there["GPIO18"].level, there["GPIO18"].function, there["GPIO18"].direction) == (True, "alt5", "")
    assert there["GPIO27"].level is None


def test_without_the_right_to_read_levels_that_is_said(pi):
    link(pi, "sys/kernel/debug", "gone")  # refused to root, too, unlike mode 700
    (missed,) = machine(pi, a_pis_chips).unseen
    assert missed.what == "levels"
    assert missed.remedy.startswith("sudo knoop probe; ")


def test_without_the_right_to_ask_the_chip_functions_are_known_all_the_same(pi):
    put(pi, {"sys/kernel/debug/x": ""})
    closed = "anna may not open /dev/gpiochip0; sudo usermod -aG gpio anna, then log in again"
    there = machine(pi, lambda: [(Chip(path="/dev/gpiochip0", closed=closed), ())])
    assert there.unseen == (Unseen(
        what="GPIO lines", why="anna may not open /dev/gpiochip0",
        remedy="sudo usermod -aG gpio anna, then log in again",
    ),)  # fmt: skip
    assert lines(there)["GPIO2"].function == "I²C (i2c1)"
    assert {line.state for line in there.lines} == {"unknown"}


def test_a_missing_library_is_one_thing_not_looked_at(pi):
    put(pi, {"sys/kernel/debug/x": ""})

    def look():
        raise DeviceError("board: the Python package gpiod is not installed; `pip install gpiod`")

    assert machine(pi, look).unseen == (
        Unseen(what="GPIO lines", why="the Python package gpiod is not installed", remedy="`pip install gpiod`"),
    )


def test_a_board_that_is_no_raspberry_pi_has_as_many_lines_as_its_chip(tmp_path):
    """As `-M virt` of QEMU: a PL061 with eight lines without names."""
    there = machine(tmp_path, lambda: [(Chip(path="/dev/gpiochip0", label="9030000.pl061", size=8),
                                        a_pis_chips()[1][1])])  # fmt: skip
    assert [(line.name, line.position, line.state) for line in there.lines] == [
        (f"GPIO{number}", None, "free") for number in range(8)
    ]


def test_of_several_chips_the_one_that_is_named_has_the_lines(tmp_path):
    several = [(Chip(path=f"/dev/gpiochip{number}", label="x", size=8), a_pis_chips()[1][1]) for number in (0, 1)]
    assert machine(tmp_path, lambda: several).lines == ()
    there = machine(tmp_path, lambda: several, chip="gpiochip1")
    assert (there.chip, len(there.lines)) == ("gpiochip1", 8)


# ── what the device tree says ─────────────────────────────────────────────────────────────────────────────────────────


def test_functions_of_the_board_have_lines(pi):
    i2c, uart = Function(kind="I²C", name="i2c1"), Function(kind="UART", name="serial0")
    assert functions(pi) == {
        "GPIO2": i2c, "GPIO3": i2c, "GPIO14": uart, "GPIO15": uart, "GPIO4": Function(kind="1-Wire", name="onewire@4"),
    }  # fmt: skip


def test_a_function_below_something_that_is_off_is_off(pi):
    tree(pi, {"soc/status": "disabled"})
    assert set(functions(pi)) == {"GPIO4"}


def a_pi_5(root: Path) -> None:
    """As rp1.dtsi and bcm2712.dtsi name things (Raspberry Pi's kernel; the binding brcm,bcm2712c0-pinctrl.yaml)."""
    tree(root, {
        "axi/pcie@120000/rp1/gpio@d0000/compatible": "raspberrypi,rp1-gpio",
        "axi/pcie@120000/rp1/gpio@d0000/rp1_i2c1_2_3/phandle": cells(7),
        "axi/pcie@120000/rp1/gpio@d0000/rp1_i2c1_2_3/pins": "gpio2\0gpio3",
        "axi/pcie@120000/rp1/i2c@74000/pinctrl-0": cells(7),
        "soc/pinctrl@7d504100/compatible": "brcm,bcm2712-pinctrl",
        "soc/pinctrl@7d504100/uarta_24_pins/phandle": cells(8),
        "soc/pinctrl@7d504100/uarta_24_pins/pin_rts/pins": "gpio24",
        "soc/pinctrl@7d504100/uarta_24_pins/pin_txd/pins": "gpio26",
        "soc/serial@7d50c000/pinctrl-0": cells(8),
    })  # fmt: skip


def test_a_raspberry_pi_5_names_its_lines_and_not_its_processors(tmp_path):
    """Its Bluetooth has gpio24 to gpio27 of the processor; those of the header are free."""
    a_pi_5(tmp_path)
    assert {line: str(function) for line, function in functions(tmp_path).items()} == {
        "GPIO2": "I²C (i2c@74000)", "GPIO3": "I²C (i2c@74000)",
    }  # fmt: skip


def test_a_broken_tree_is_no_reason_to_fail(tmp_path):
    tree(tmp_path, {"soc/i2c/pinctrl-0": b"\1\2\3", "soc/pins/phandle": b"", "soc/spi/pinctrl-0": cells(99)})
    assert functions(tmp_path) == {}


# ── buses ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_buses_and_what_hangs_on_them(pi):
    assert machine(pi).buses == (
        Bus(kind="i2c", name="i2c-1", label="bcm2835 (i2c@7e804000)", device="/dev/i2c-1", devices=(
            Attached(address="0x68", name="ds3231"), Attached(address="0x76", name="bme280", driver="bmp280"),
        )),
        Bus(kind="w1", name="w1_bus_master1", devices=(
            Attached(address="28-0316b0d6cdff", name="DS18B20, temperature"),
        )),
        Bus(kind="pwm", name="pwmchip0", channels=2),
    )  # fmt: skip


def test_spi_is_there_for_programs_when_it_has_a_device_file(tmp_path):
    put(tmp_path, {"dev/spidev0.0": "", "sys/bus/spi/devices/spi0.0/modalias": "spi:spidev\n"})
    (tmp_path / "sys/class/spi_master/spi0").mkdir(parents=True)
    assert machine(tmp_path).buses == (
        Bus(kind="spi", name="spi0", device="/dev/spidev0.0", devices=(Attached(address="spi0.0", name="spidev"),)),
    )


def test_buses_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 1):
        put(tmp_path, {f"sys/bus/i2c/devices/i2c-{number}/name": "x\n"})
    assert [bus.name for bus in machine(tmp_path).buses] == ["i2c-1", "i2c-2", "i2c-10"]


# ── serial ports ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ports_on_usb_and_the_boards_own(pi):
    by_id = Path("/dev/serial/by-id")
    assert machine(pi).serial == (
        SerialPort(device=by_id / CABLE, node="ttyUSB0", usable=True),
        SerialPort(device=by_id / MODEM, node="ttyACM0", usable=True, perhaps_gps=True),
        SerialPort(device=Path("/dev/serial0"), kind="board", node="ttyAMA0", usable=True),
    )


@pytest.mark.parametrize(("name", "meter"), [
    ("usb-FTDI_P1_Converter_Cable_P1Y2XXXX-if00-port0", True), ("usb-Smart_Meter_Cable-if00", True),
    ("usb-1a86_USB_Serial-if00-port0", False), ("usb-FTDI_FT232R_USB_UART_AP1X0Z-if00-port0", False),
])  # fmt: skip
def test_a_cable_is_a_meters_where_its_name_says_so_and_not_by_its_chip(tmp_path, name, meter):
    link(tmp_path, f"dev/serial/by-id/{name}", "../../ttyUSB0")
    assert [port.perhaps_meter for port in machine(tmp_path).serial] == [meter]


def test_a_port_with_the_kernels_console_says_so(pi):
    put(pi, {"sys/class/tty/console/active": "tty1 ttyAMA0\n"})
    assert machine(pi).serial[-1].console


def test_a_port_that_a_pc_only_might_have_is_none(tmp_path):
    """`type` is for root only; without it the parent tells (8250_core.c names it)."""
    put(tmp_path, {"dev/ttyS0": "", "dev/ttyS1": "", "sys/devices/pnp0/00:03/uevent": "",
                   "sys/devices/platform/serial8250/uevent": ""})  # fmt: skip
    link(tmp_path, "sys/class/tty/ttyS0/device", "../../../devices/pnp0/00:03")
    link(tmp_path, "sys/class/tty/ttyS1/device", "../../../devices/platform/serial8250")
    assert [port.node for port in machine(tmp_path).serial] == ["ttyS0"]


def test_a_port_whose_device_went_is_there_and_not_usable(tmp_path):
    link(tmp_path, f"dev/serial/by-id/{CABLE}", "../../ttyUSB0")
    assert [port.usable for port in machine(tmp_path).serial] == [False]


# ── sensors and cameras ───────────────────────────────────────────────────────────────────────────────────────────────


def test_sensors_of_the_kernel_with_their_channels(pi):
    there = [(sensor.kind, sensor.name, [item.name for item in sensor.channels]) for sensor in machine(pi).sensors]
    assert there == [
        ("iio", "bme280", ["temp", "humidityrelative", "pressure"]), ("iio", "ads1115", ["voltage0", "voltage1"]),
        ("hwmon", "sht4x", ["temp1", "humidity1"]),
        ("hwmon", "rp1_adc", ["temp1", "5 V"]), ("hwmon", "cpu_thermal", ["temp1"]),
        ("thermal", "cpu-thermal", ["temp"]),
    ]  # fmt: skip


def test_a_thermometer_on_1_wire_is_there_once(pi):
    """w1_therm shows each as hwmon, too."""
    assert (pi / "sys/class/hwmon/hwmon0/name").read_text() == "w1_slave_temp\n"
    there = machine(pi)
    assert "w1_slave_temp" not in {sensor.name for sensor in there.sensors}
    assert "28-0316b0d6cdff" in {device.address for bus in there.buses for device in bus.devices}


def test_their_values_in_our_units_when_asked(pi):
    """sysfs-bus-iio: (raw + offset) × scale, in milli-°C, milli-%, kPa, mV; the channel's own before its type's."""
    told = {(sensor.device, item.field): (item.value, item.unit) for sensor in machine(pi, values=True).sensors
            for item in sensor.channels if sensor.name not in {"cpu-thermal", "cpu_thermal"}}  # fmt: skip
    assert told == {
        ("bme280", "temperature"): (21.44, "°C"), ("bme280", "humidity"): (48.3, "%"),
        ("bme280", "pressure"): (1013.25, "hPa"), ("ads1115", "voltage0"): ((1000 - 10) * 0.125, "mV"),
        ("ads1115", "voltage1"): ((20 - 10) * 2, "mV"),
        ("sht4x", "temperature"): (20.125, "°C"), ("sht4x", "humidity"): (51.2, "%"),
        ("rp1_adc", "temperature"): (40, "°C"), ("rp1_adc", "voltage1"): (5.012, "V"),
    }  # fmt: skip


def test_two_channels_that_are_called_alike_keep_their_own_values(pi):
    put(pi, {"sys/class/hwmon/hwmon2/in2_input": "3300\n", "sys/class/hwmon/hwmon2/in2_label": "5 V\n"})
    told = [item.value for sensor in machine(pi, values=True).sensors
            for item in sensor.channels if item.name == "5 V"]  # fmt: skip
    assert told == [5.012, 3.3]


def test_where_a_sensor_hangs_is_told(pi):
    there = [(sensor.name, sensor.bus, sensor.address) for sensor in machine(pi).sensors]
    assert [one for one in there if one[1] in {"i2c", "w1"}] == [
        ("bme280", "i2c", "1-0076"), ("ads1115", "i2c", "1-0048"), ("sht4x", "i2c", "1-0044"),
    ]  # fmt: skip


def test_a_zone_tells_its_temperature_unasked(pi):
    assert machine(pi).sensors[-1].channels == (Measured(name="temp", unit="°C", value=48.312),)


@pytest.mark.parametrize("content", ["", "nan\n", "no\n"])
def test_a_sensor_that_says_nonsense_has_no_value(pi, content):
    put(pi, {"sys/bus/iio/devices/iio:device0/in_temp_input": content})
    assert [item.value for item in machine(pi, values=True).sensors[0].channels if item.name == "temp"] == [None]


class Busy(io.FileIO):
    """A file that answers EAGAIN: Python's lowest layer makes None of it, and its highest a TypeError of that."""

    def readall(self):
        return None

    def readinto(self, _buffer):
        return None


def test_a_file_that_says_try_again_is_no_reason_to_fail(pi, monkeypatch):
    really = io.open

    def opened(file, *how, **more):
        busy = str(file).endswith("/iio:device0/name")
        return io.TextIOWrapper(io.BufferedReader(Busy(file))) if busy else really(file, *how, **more)

    monkeypatch.setattr(io, "open", opened)
    assert [sensor.name for sensor in machine(pi).sensors][:2] == ["iio:device0", "ads1115"]


def test_cameras_but_no_decoders(pi):
    assert machine(pi).cameras == (
        Camera(name="imx219", device="/dev/media1", by="libcamera"),
        Camera(name="HD Webcam: HD Webcam", device="/dev/video0", by="v4l2"),
    )


def test_this_machine_is_no_exception():
    found.machine(values=True)
