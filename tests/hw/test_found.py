"""What is on a machine, and what is not: the folders of its kernel, nothing opened."""

from pathlib import Path

from knoop_hw.found import Found, SerialPort, machine

CABLE = "usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"
MODEM = "usb-u-blox_AG_-_www.u-blox.com_u-blox_7_-_GPS_GNSS_Receiver-if00"


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert machine(tmp_path) == Found()


def test_a_pi_with_a_meters_cable(tmp_path):
    put(tmp_path, "dev/gpiochip0", "dev/gpiochip1", "dev/ttyUSB0", "dev/ttyACM0")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp")
    by_id = tmp_path / "dev/serial/by-id"
    by_id.mkdir(parents=True)
    (by_id / CABLE).symlink_to("../../ttyUSB0")
    (by_id / MODEM).symlink_to("../../ttyACM0")
    assert machine(tmp_path) == Found(
        serial=(
            SerialPort(device=Path("/dev/serial/by-id") / CABLE, usable=True, perhaps_meter=True),
            SerialPort(device=Path("/dev/serial/by-id") / MODEM, usable=True, perhaps_meter=False),
        ),
        lines=True, lines_usable=True, temperature=True,
    )  # fmt: skip


def test_a_port_whose_device_went_is_there_and_not_usable(tmp_path):
    by_id = tmp_path / "dev/serial/by-id"
    by_id.mkdir(parents=True)
    (by_id / CABLE).symlink_to("../../ttyUSB0")
    assert [port.usable for port in machine(tmp_path).serial] == [False]


def test_lines_that_this_user_may_not_open(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/gpiochip0").symlink_to("gone")  # refused to root, too, unlike mode 000
    found = machine(tmp_path)
    assert (found.lines, found.lines_usable) == (True, False)


def test_this_machine_is_no_exception():
    machine()
